// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cmath>
#include <vector>

namespace unetdn::reference {

inline double sum(std::vector<double> const& x) {
  double total = 0;
  for (double v : x) total += v;
  return total;
}

/// Sum of the magnitudes: what a sum's rounding errors are relative to.
inline double sum_of_magnitudes(std::vector<double> const& x) {
  double total = 0;
  for (double v : x) total += std::abs(v);
  return total;
}

}  // namespace unetdn::reference
