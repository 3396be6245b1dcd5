// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <unetdn/ops/max_pool2d.hpp>

namespace unetdn {

/// 2x2 stride-2 maximum. No parameters; backward needs x, or codes of it.
template <class T, class Device> class max_pool2d {
 public:
  /// x[N,H,W,C] -> y[N,H/2,W/2,C], rounded down.
  void forward(Device& dev, view<T const> x, view<T> y) const { max_pool2d_forward<T>(dev, x, y); }

  /// dx = scatter(dy): each element goes to the first maximum of its window. x, dx [N,H,W,C], dy[N,H/2,W/2,C].
  void backward(Device& dev, view<T const> x, view<T const> dy, view<T> dx) const {
    max_pool2d_backward<T>(dev, x, dy, dx);
  }

  /// What backward_into_skip() needs of x[N,H,W,C]: codes[N,ceil(H/2),ceil(W/2),C]; and forward's y, where it is given.
  void encode(Device& dev, view<T const> x, view<window_code> codes, view<T> y = {}) const {
    max_pool2d_encode<T>(dev, x, codes, y);
  }
  /// dx = (dx + scatter(dy)) (x > 0): where x = relu(...) also feeds a skip connection whose gradient dx already holds,
  /// perhaps in the place of x. One pass instead of three. codes as encode() left them, dy[N,H/2,W/2,C], dx[N,H,W,C].
  void backward_into_skip(Device& dev, view<window_code const> codes, view<T const> dy, view<T> dx) const {
    max_pool2d_backward_into_skip<T>(dev, codes, dy, dx);
  }
};

}  // namespace unetdn
