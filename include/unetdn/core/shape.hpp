// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <string>

#include <unetdn/core/error.hpp>

namespace unetdn {

/// Extents of a batch of pictures: n pictures of h rows, w columns and c channels, stored in that order (NHWC).
struct shape {
  int n = 1, h = 1, w = 1, c = 1;

  /// Number of elements.
  constexpr std::int64_t size() const { return std::int64_t(n) * h * w * c; }
  /// Number of pixels, all pictures together.
  constexpr std::int64_t pixels() const { return std::int64_t(n) * h * w; }
  friend constexpr bool operator==(shape const&, shape const&) = default;
};

/// "n x h x w x c", for error messages and tables.
inline std::string to_string(shape const& s) { return text(s.n, " x ", s.h, " x ", s.w, " x ", s.c); }

}  // namespace unetdn
