// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <unetdn/ops/sigmoid.hpp>

namespace unetdn {

/// y = 1 / (1 + exp(-x)). No parameters; backward needs y.
template <class T, class Device> class sigmoid {
 public:
  /// x, y [N,H,W,C]; y may be x.
  void forward(Device& dev, view<T const> x, view<T> y) const { sigmoid_forward<T>(dev, x, y); }
  /// dx = dy y (1 - y); dx may be dy.
  void backward(Device& dev, view<T const> y, view<T const> dy, view<T> dx) const {
    sigmoid_backward<T>(dev, y, dy, dx);
  }
};

}  // namespace unetdn
