// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <vector>

namespace unetdn::reference {

/// y = max(x, 0).
inline std::vector<double> relu_forward(std::vector<double> x) {
  for (double& v : x) {
    if (v < 0) v = 0;
  }
  return x;
}

/// dx = dy where y > 0, else 0.
inline std::vector<double> relu_backward(std::vector<double> const& y, std::vector<double> const& dy) {
  std::vector<double> dx(y.size(), 0.0);
  for (std::size_t i = 0; i < y.size(); ++i) {
    if (y[i] > 0) dx[i] = dy[i];
  }
  return dx;
}

}  // namespace unetdn::reference
