// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <type_traits>

#include <unetdn/core/error.hpp>
#include <unetdn/core/shape.hpp>
#include <unetdn/core/view.hpp>
#include <unetdn/core/window_code.hpp>
#include <unetdn/cpu/bodies.hpp>
#include <unetdn/devices/cpu.hpp>
#include <unetdn/kernels/max_pool2d.hpp>
#include <unetdn/ops/checks.hpp>
#include <unetdn/ops/cost.hpp>
#include <unetdn/ops/elementwise.hpp>

namespace unetdn {

/// Extents of y for x: floor(h / 2) x floor(w / 2).
inline unetdn::shape max_pool2d_output_shape(unetdn::shape x) { return {x.n, x.h / 2, x.w / 2, x.c}; }

/// Extents of the codes of x's windows, those that the rim cuts included: ceil(h / 2) x ceil(w / 2).
inline unetdn::shape max_pool2d_code_shape(unetdn::shape x) { return {x.n, ceil_div(x.h, 2), ceil_div(x.w, 2), x.c}; }

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

/// dx = dy scattered to the first maximum of each window in row-major order. x[N,H,W,C] is the input of forward,
/// dx[N,H,W,C]; pixels that no window covers get 0. A NaN counts as the maximum, as in forward. dx may not overlap x or
/// dy. Throws argument_error where extents do not fit.
template <class T, class Device>
void max_pool2d_backward(Device& dev, std::type_identity_t<view<T const>> x, std::type_identity_t<view<T const>> dy,
                         view<T> dx) {
  static_assert(Device::template supports<T>, "the cpu takes float and double; cuda and emulated float, bf16, fp16");
  detail::check_extents("max_pool2d_backward", "dy", dy, max_pool2d_output_shape(detail::extents(x)));
  detail::check_extents("max_pool2d_backward", "dx", dx, detail::extents(x));
  if (dx.size() == 0) return;
  if constexpr (detail::is_cpu<Device>) {
    cpu_bodies::pool_backward<T> const job{x, dy, dx};
    auto const body = cpu_bodies::bodies<cpu_bodies::gradient_bodies<T>>().pool_backward_row;
    dev.parallel(x.n * ceil_div(x.h, 2), [&](int unit, int) { body(job, unit); });
  } else {
    using kernel = kernels::max_pool2d_backward<T>;
    view<T const> const windows{nullptr, x.n, ceil_div(x.h, 2), ceil_div(x.w, 2), x.c};
    launch(dev, detail::elementwise_grid<kernel>("max_pool2d_backward", windows),
           kernel{x, dy, dx, windows, detail::all_aligned(x, dy, dx)});
  }
}

/// codes = what max_pool2d_backward_into_skip() needs of x, a byte for four numbers: x may be overwritten then.
/// x[N,H,W,C], codes[N,ceil(H/2),ceil(W/2),C]. y[N,H/2,W/2,C], where it is given, takes what max_pool2d_forward makes
/// of x, in the same pass. Throws argument_error where extents do not fit.
template <class T, class Device>
void max_pool2d_encode(Device& dev, view<T const> x, view<window_code> codes, std::type_identity_t<view<T>> y = {}) {
  static_assert(Device::template supports<T>, "the cpu takes float and double; cuda and emulated float, bf16, fp16");
  detail::check_extents("max_pool2d_encode", "codes", codes, max_pool2d_code_shape(detail::extents(x)));
  if (y) detail::check_extents("max_pool2d_encode", "y", y, max_pool2d_output_shape(detail::extents(x)));
  if (codes.size() == 0) return;
  if constexpr (detail::is_cpu<Device>) {
    cpu_bodies::pool_encode<T> const job{x, codes, y};
    auto const body = cpu_bodies::bodies<cpu_bodies::gradient_bodies<T>>().pool_encode_row;
    dev.parallel(codes.n * codes.h, [&](int unit, int) { body(job, unit); });
  } else {
    using kernel = kernels::max_pool2d_encode<T>;
    launch(dev, detail::elementwise_grid<kernel>("max_pool2d_encode", codes, kernel::size),
           kernel{x, codes, y, detail::all_aligned(x, y), detail::aligned_pixels<kernel::size>(codes)});
  }
}

/// dx = (dx + dy scattered to the first maximum of each window of x) where x > 0, elsewhere 0; `codes` are those of
/// x[N,H,W,C], dy[N,H/2,W/2,C], dx[N,H,W,C]. Pixels that no window covers get nothing scattered. dx may lie where x
/// lay, but not overlap dy. Throws argument_error where extents do not fit.
template <class T, class Device>
void max_pool2d_backward_into_skip(Device& dev, view<window_code const> codes, std::type_identity_t<view<T const>> dy,
                                   view<T> dx) {
  static_assert(Device::template supports<T>, "the cpu takes float and double; cuda and emulated float, bf16, fp16");
  char const* const op = "max_pool2d_backward_into_skip";
  detail::check_extents(op, "codes", codes, max_pool2d_code_shape(detail::extents(dx)));
  detail::check_extents(op, "dy", dy, max_pool2d_output_shape(detail::extents(dx)));
  if (dx.size() == 0) return;
  if constexpr (detail::is_cpu<Device>) {
    cpu_bodies::pool_backward_into_skip<T> const job{codes, dy, dx};
    auto const body = cpu_bodies::bodies<cpu_bodies::gradient_bodies<T>>().pool_backward_into_skip_row;
    dev.parallel(codes.n * codes.h, [&](int unit, int) { body(job, unit); });
  } else {
    using kernel = kernels::max_pool2d_backward_into_skip<T>;
    launch(dev, detail::elementwise_grid<kernel>(op, codes, kernel::size),
           kernel{codes, dy, dx, detail::all_aligned(dy, dx), detail::aligned_pixels<kernel::size>(codes)});
  }
}

}  // namespace unetdn
