// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The one place that states the version; CMakeLists.txt parses these lines.
#define UNETDN_VERSION_MAJOR 0
#define UNETDN_VERSION_MINOR 1
#define UNETDN_VERSION_PATCH 0
