// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <type_traits>

#include <unetdn/core/error.hpp>
#include <unetdn/core/shape.hpp>
#include <unetdn/core/view.hpp>
#include <unetdn/cpu/bodies.hpp>
#include <unetdn/devices/cpu.hpp>
#include <unetdn/kernels/max_pool2d.hpp>
#include <unetdn/ops/checks.hpp>
#include <unetdn/ops/cost.hpp>
#include <unetdn/ops/elementwise.hpp>

namespace unetdn {

/// Extents of y for x: floor(h / 2) x floor(w / 2).
inline unetdn::shape max_pool2d_output_shape(unetdn::shape x) { return {x.n, x.h / 2, x.w / 2, x.c}; }

/// Three comparisons for each output; x read and y written once.
inline op_cost max_pool2d_cost(unetdn::shape x, std::size_t element_bytes = sizeof(float)) {
  double const outputs = double(max_pool2d_output_shape(x).size());
  return {3.0 * outputs, (double(x.size()) + outputs) * double(element_bytes)};
}

/// y[n][i][j][c] = maximum over r, q in {0, 1} of x[n][2i+r][2j+q][c]
/// x[N,H,W,C], y[N,H/2,W/2,C] rounded down: an odd last row or column is not looked at. NaN where a window holds one.
/// Throws argument_error where extents do not fit.
template <class T, class Device>
void max_pool2d_forward(Device& dev, std::type_identity_t<view<T const>> x, view<T> y) {
  static_assert(Device::template supports<T>, "the cpu takes float and double; cuda and emulated float, bf16, fp16");
  detail::check_extents("max_pool2d_forward", "y", y, max_pool2d_output_shape(detail::extents(x)));
  if (y.size() == 0) return;
  if constexpr (detail::is_cpu<Device>) {
    cpu_bodies::pool_forward<T> const job{x, y};
    auto const body = cpu_bodies::bodies<cpu_bodies::forward_bodies<T>>().pool_forward_row;
    dev.parallel(y.n * y.h, [&](int unit, int) { body(job, unit); });
  } else {
    using kernel = kernels::max_pool2d_forward<T>;
    launch(dev, detail::elementwise_grid<kernel>("max_pool2d_forward", y), kernel{x, y, detail::all_aligned(x, y)});
  }
}

/// dx = (accumulate ? dx : 0) + dy scattered to the first maximum of each window in row-major order, then times (x > 0)
/// where relu_mask. x[N,H,W,C] is the input of forward (after its ReLU, for the mask), dx[N,H,W,C]; pixels that no
/// window covers get nothing scattered. A NaN counts as the maximum, as in forward. dx may not overlap x or dy. Throws
/// argument_error where extents do not fit.
template <class T, class Device>
void max_pool2d_backward(Device& dev, std::type_identity_t<view<T const>> x, std::type_identity_t<view<T const>> dy,
                         view<T> dx, bool accumulate, bool relu_mask) {
  static_assert(Device::template supports<T>, "the cpu takes float and double; cuda and emulated float, bf16, fp16");
  detail::check_extents("max_pool2d_backward", "dy", dy, max_pool2d_output_shape(detail::extents(x)));
  detail::check_extents("max_pool2d_backward", "dx", dx, detail::extents(x));
  if (dx.size() == 0) return;
  if constexpr (detail::is_cpu<Device>) {
    cpu_bodies::pool_backward<T> const job{x, dy, dx, accumulate, relu_mask};
    auto const body = cpu_bodies::bodies<cpu_bodies::gradient_bodies<T>>().pool_backward_row;
    dev.parallel(x.n * ceil_div(x.h, 2), [&](int unit, int) { body(job, unit); });
  } else {
    using kernel = kernels::max_pool2d_backward<T>;
    view<T const> const windows{nullptr, x.n, ceil_div(x.h, 2), ceil_div(x.w, 2), x.c};
    launch(dev, detail::elementwise_grid<kernel>("max_pool2d_backward", windows),
           kernel{x, dy, dx, windows, accumulate, relu_mask, detail::all_aligned(x, dy, dx)});
  }
}

}  // namespace unetdn
