// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include <unetdn/core/error.hpp>

namespace fuzz {

/// What libFuzzer counts as a finding.
inline void require(bool ok, char const* what) {
  if (ok) return;
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

/// A refusal is one line, however hostile the bytes that it speaks of.
inline void require_one_line(unetdn::error const& refusal) {
  require(std::string_view(refusal.what()).find('\n') == std::string_view::npos, "a message of more than one line");
}

}  // namespace fuzz
