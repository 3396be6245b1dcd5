// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <unetdn/ops/relu.hpp>

namespace unetdn {

/// y = max(x, 0). No parameters; backward needs y.
template <class T, class Device> class relu {
 public:
  /// x, y [N,H,W,C]; y may be x.
  void forward(Device& dev, view<T const> x, view<T> y) const { relu_forward<T>(dev, x, y); }
  /// dx = dy (y > 0); dx may be dy.
  void backward(Device& dev, view<T const> y, view<T const> dy, view<T> dx) const { relu_backward<T>(dev, y, dy, dx); }
};

}  // namespace unetdn
