// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <type_traits>

#include <unetdn/core/collapse.hpp>
#include <unetdn/cpu/bodies.hpp>
#include <unetdn/kernels/relu.hpp>
#include <unetdn/ops/elementwise.hpp>

namespace unetdn {

/// Either direction; backward reads one operand more.
inline op_cost relu_cost(unetdn::shape x, bool backward, std::size_t element_bytes = sizeof(float)) {
  return {double(x.size()), (backward ? 3.0 : 2.0) * double(x.size()) * double(element_bytes)};
}

/// y = max(x, 0), element by element: x[N,H,W,C], y[N,H,W,C]; y may be x. NaN stays NaN.
/// Moves 2 sizeof(T) bytes an element. Throws argument_error where the shapes differ.
template <class T, class Device> void relu_forward(Device& dev, view<std::type_identity_t<T> const> x, view<T> y) {
  static_assert(Device::template supports<T>, "the cpu takes float and double; cuda and emulated float, bf16, fp16");
  detail::check_same_shape("relu_forward", x, y);
  if (y.size() == 0) return;
  if constexpr (std::is_same_v<Device, cpu>) {
    detail::for_each_run(dev, cpu_bodies::bodies<cpu_bodies::activation_bodies<T>>().relu_forward, x, y);
  } else {
    detail::collapse(x, y);
    kernels::relu_forward<T> const kernel{x, y, detail::all_aligned(x, y)};
    launch(dev, detail::elementwise_grid<kernels::relu_forward<T>>("relu_forward", y), kernel);
  }
}

/// dx = dy where y > 0, else 0, from the output y of relu_forward: y, dy, dx [N,H,W,C]; dx may be dy. Where y is NaN dy
/// passes. Moves 3 sizeof(T) bytes an element. Throws argument_error where the shapes differ.
template <class T, class Device>
void relu_backward(Device& dev, view<std::type_identity_t<T> const> y, view<std::type_identity_t<T> const> dy,
                   view<T> dx) {
  static_assert(Device::template supports<T>, "the cpu takes float and double; cuda and emulated float, bf16, fp16");
  detail::check_same_shape("relu_backward", y, dy);
  detail::check_same_shape("relu_backward", y, dx);
  if (dx.size() == 0) return;
  if constexpr (std::is_same_v<Device, cpu>) {
    detail::for_each_run(dev, cpu_bodies::bodies<cpu_bodies::gradient_bodies<T>>().relu_backward, y, dy, dx);
  } else {
    detail::collapse(y, dy, dx);
    kernels::relu_backward<T> const kernel{y, dy, dx, detail::all_aligned(y, dy, dx)};
    launch(dev, detail::elementwise_grid<kernels::relu_backward<T>>("relu_backward", dx), kernel);
  }
}

}  // namespace unetdn
