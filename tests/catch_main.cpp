// SPDX-License-Identifier: Apache-2.0
// Catch2 2 is a header whose implementation one file compiles. Catch2 3 brings a library with main() instead.
#define CATCH_CONFIG_MAIN
#include "catch.hpp"
