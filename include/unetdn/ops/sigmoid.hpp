// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <type_traits>

#include <unetdn/cpu/bodies.hpp>
#include <unetdn/kernels/sigmoid.hpp>
#include <unetdn/ops/elementwise.hpp>

namespace unetdn {

/// Either direction, an exponential counted as one operation; backward reads one operand more.
inline op_cost sigmoid_cost(unetdn::shape x, bool backward, std::size_t element_bytes = sizeof(float)) {
  return {(backward ? 3.0 : 4.0) * double(x.size()), (backward ? 3.0 : 2.0) * double(x.size()) * double(element_bytes)};
}

/// y = 1 / (1 + exp(-x)), element by element: x[N,H,W,C], y[N,H,W,C]; y may be x.
/// Throws argument_error where the shapes differ.
template <class T, class Device> void sigmoid_forward(Device& dev, view<std::type_identity_t<T> const> x, view<T> y) {
  static_assert(Device::template supports<T>, "the cpu takes float and double; cuda and emulated float, bf16, fp16");
  detail::check_same_shape("sigmoid_forward", x, y);
  if (y.size() == 0) return;
  if constexpr (std::is_same_v<Device, cpu>) {
    detail::for_each_run(dev, cpu_bodies::bodies<cpu_bodies::activation_bodies<T>>().sigmoid_forward, x, y);
  } else {
    detail::collapse(x, y);
    launch(dev, detail::elementwise_grid<kernels::sigmoid_forward<T>>("sigmoid_forward", y),
           kernels::sigmoid_forward<T>{x, y, detail::all_aligned(x, y)});
  }
}

/// dx = dy y (1 - y), from the output y of sigmoid_forward: y, dy, dx [N,H,W,C]; dx may be dy.
/// Throws argument_error where the shapes differ.
template <class T, class Device>
void sigmoid_backward(Device& dev, view<std::type_identity_t<T> const> y, view<std::type_identity_t<T> const> dy,
                      view<T> dx) {
  static_assert(Device::template supports<T>, "the cpu takes float and double; cuda and emulated float, bf16, fp16");
  detail::check_same_shape("sigmoid_backward", y, dy);
  detail::check_same_shape("sigmoid_backward", y, dx);
  if (dx.size() == 0) return;
  if constexpr (std::is_same_v<Device, cpu>) {
    detail::for_each_run(dev, cpu_bodies::bodies<cpu_bodies::gradient_bodies<T>>().sigmoid_backward, y, dy, dx);
  } else {
    detail::collapse(y, dy, dx);
    launch(dev, detail::elementwise_grid<kernels::sigmoid_backward<T>>("sigmoid_backward", dx),
           kernels::sigmoid_backward<T>{y, dy, dx, detail::all_aligned(y, dy, dx)});
  }
}

}  // namespace unetdn
