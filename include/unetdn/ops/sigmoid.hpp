// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cmath>

#include <unetdn/ops/elementwise.hpp>

namespace unetdn {

/// Either direction, an exponential counted as one operation; backward reads one operand more.
inline op_cost sigmoid_cost(unetdn::shape x, bool backward, std::size_t element_bytes = sizeof(float)) {
  return {(backward ? 3.0 : 4.0) * double(x.size()), (backward ? 3.0 : 2.0) * double(x.size()) * double(element_bytes)};
}

/// y = 1 / (1 + exp(-x)), element by element: x[N,H,W,C], y[N,H,W,C]; y may be x.
/// Throws argument_error where the shapes differ.
template <class T, class Device> void sigmoid_forward(Device& dev, view<std::type_identity_t<T> const> x, view<T> y) {
  static_assert(std::is_same_v<Device, cpu>, "sigmoid_forward runs on the cpu device only");
  detail::check_same_shape("sigmoid_forward", x, y);
  detail::map_elements(dev, x, y, [](T v, T) { return T(1) / (T(1) + std::exp(-v)); });
}

/// dx = dy y (1 - y), from the output y of sigmoid_forward: y, dy, dx [N,H,W,C]; dx may be dy.
/// Throws argument_error where the shapes differ.
template <class T, class Device>
void sigmoid_backward(Device& dev, view<std::type_identity_t<T> const> y, view<std::type_identity_t<T> const> dy,
                      view<T> dx) {
  static_assert(std::is_same_v<Device, cpu>, "sigmoid_backward runs on the cpu device only");
  detail::check_same_shape("sigmoid_backward", y, dy);
  detail::check_same_shape("sigmoid_backward", y, dx);
  detail::for_each_row(dev, y.n, y.h, std::int64_t(y.w) * y.c, [&](int image, int row) {
    for (int column = 0; column < y.w; ++column) {
      T const* const s = y.pixel(image, row, column);
      T const* const up = dy.pixel(image, row, column);
      T* const down = dx.pixel(image, row, column);
      for (int channel = 0; channel < y.c; ++channel) down[channel] = up[channel] * s[channel] * (T(1) - s[channel]);
    }
  });
}

}  // namespace unetdn
