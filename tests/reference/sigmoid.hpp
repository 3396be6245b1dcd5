// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cmath>
#include <cstddef>
#include <vector>

namespace unetdn::reference {

/// 1 / (1 + exp(-x)), by a function of the library that does not overflow: (1 + tanh(x / 2)) / 2.
inline std::vector<double> sigmoid_forward(std::vector<double> x) {
  for (double& v : x) v = (1 + std::tanh(v / 2)) / 2;
  return x;
}

/// dx = dy y (1 - y).
inline std::vector<double> sigmoid_backward(std::vector<double> const& y, std::vector<double> const& dy) {
  std::vector<double> dx(y.size());
  for (std::size_t i = 0; i < y.size(); ++i) dx[i] = dy[i] * y[i] * (1 - y[i]);
  return dx;
}

}  // namespace unetdn::reference
