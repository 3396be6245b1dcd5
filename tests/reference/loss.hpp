// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cmath>
#include <cstddef>
#include <vector>

namespace unetdn::reference {

inline double l1(std::vector<double> const& y, std::vector<double> const& target) {
  double sum = 0;
  for (std::size_t i = 0; i < y.size(); ++i) sum += std::fabs(y[i] - target[i]);
  return sum / static_cast<double>(y.size());
}

inline double mse(std::vector<double> const& y, std::vector<double> const& target) {
  double sum = 0;
  for (std::size_t i = 0; i < y.size(); ++i) sum += std::pow(y[i] - target[i], 2);
  return sum / static_cast<double>(y.size());
}

}  // namespace unetdn::reference
