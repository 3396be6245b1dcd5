// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <type_traits>

// UNETDN_HD marks helpers that host and device code share.
#if defined(__CUDACC__)
#define UNETDN_HD __host__ __device__
#else
#define UNETDN_HD
#endif

namespace unetdn {

/// Smallest q with q * b >= a, for a >= 0 and b > 0.
template <class Integer>
UNETDN_HD constexpr Integer ceil_div(Integer a, std::type_identity_t<Integer> b) {
  return (a + b - 1) / b;
}

/// Smallest multiple of b that is at least a, for a >= 0 and b > 0.
template <class Integer>
UNETDN_HD constexpr Integer round_up(Integer a, std::type_identity_t<Integer> b) {
  return ceil_div(a, b) * b;
}

}  // namespace unetdn
