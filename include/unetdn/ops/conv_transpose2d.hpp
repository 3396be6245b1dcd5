// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <type_traits>

#include <unetdn/core/error.hpp>
#include <unetdn/core/half.hpp>
#include <unetdn/core/shape.hpp>
#include <unetdn/core/view.hpp>
#include <unetdn/cpu/convolution.hpp>
#include <unetdn/devices/cpu.hpp>
#include <unetdn/kernels/conv2d_warpgroup.hpp>
#include <unetdn/kernels/conv_transpose2d.hpp>
#include <unetdn/kernels/conv_transpose2d_warpgroup.hpp>
#include <unetdn/ops/conv2d.hpp>
#include <unetdn/ops/conv2d_kernels.hpp>
#include <unetdn/ops/cost.hpp>
#include <unetdn/ops/weight_layout.hpp>

namespace unetdn {

/// A transposed convolution from `in` to `out` channels with kernel 2 x 2 and stride 2: output 2h x 2w.
struct conv_transpose2d_shape {
  int in, out;
};

/// Extents of y for x. Throws argument_error where x's channels are not s.in.
inline unetdn::shape conv_transpose2d_output_shape(conv_transpose2d_shape s, unetdn::shape x) {
  check(s.in > 0 && s.out > 0, "conv_transpose2d needs at least one channel in and out; it has ", s.in, " in and ",
        s.out, " out");
  check(x.c == s.in, "conv_transpose2d from ", s.in, " channels got a picture with ", x.c, ": ", to_string(x));
  return {x.n, 2 * x.h, 2 * x.w, s.out};
}

/// Work and traffic of one pass over x: forward, data gradient and weight gradient cost the same.
inline op_cost conv_transpose2d_cost(conv_transpose2d_shape s, unetdn::shape x,
                                     std::size_t element_bytes = sizeof(float)) {
  unetdn::shape const y = conv_transpose2d_output_shape(s, x);
  double const weights = 4.0 * s.in * s.out;
  return {2.0 * double(x.pixels()) * weights, (double(x.size()) + double(y.size()) + weights) * double(element_bytes)};
}

namespace detail {
template <class Device> weight_layout<Device> layout(conv_transpose2d_shape s) { return {s.in, s.out, 4}; }
inline cpu_bodies::packed_weights packed(conv_transpose2d_shape s) { return {s.in, s.out, 4}; }
inline cpu_bodies::packed_weights packed_transposed(conv_transpose2d_shape s) { return {s.out, s.in, 4}; }

/// Position of weight (k, c, t) in canonical order: (in, out, 2, 2).
inline auto iohw_index(conv_transpose2d_shape s) {
  return [=](int k, int c, int t) { return (std::size_t(c) * s.out + k) * 4 + t; };
}
template <class Device>
void check_weights(conv_transpose2d_shape s, std::size_t canonical, std::size_t packed_elements) {
  std::size_t const count = std::size_t(4) * s.in * s.out;
  check(canonical == count, "conv_transpose2d has ", count, " weights; the canonical side holds ", canonical);
  check(packed_elements == std::size_t(layout<Device>(s).size()), "conv_transpose2d has ", layout<Device>(s).size(),
        " packed weights; the packed side holds ", packed_elements);
}

/// Whether warpgroups multiply, on a window that they can read. Fewer channels would leave most of a product idle.
template <class T, class Device>
bool transpose_takes_warpgroups(Device const& dev, kernels::conv_weights layout, view<T const> const& v) {
  if constexpr (!is_16_bit<T>) return false;
  return dev.has_warpgroups() && layout.channels >= 64 && layout.outputs >= 32 && layout.outputs % 8 == 0 &&
         layout.size() <= std::numeric_limits<int>::max() && kernels::warpgroups_can_read(v, aligned_pixels(v));
}

/// Calls f with the kernel, but for its memory, that computes the weight gradient from x and dy.
template <class T, class Device, class F>
void with_transpose_gradient(Device const& dev, kernels::conv_weights layout, view<T const> const& x,
                             view<T const> const& dy, bool with_bias, F f) {
  auto const parts = [&](auto const& type) -> kernels::gradient_parts {
    return {layout, gradient_part_count(type.blocks(layout), type.steps(x))};
  };
  if constexpr (is_16_bit<T>) {
    if (transpose_takes_warpgroups(dev, layout, x) && transpose_takes_warpgroups(dev, layout, dy)) {
      kernels::conv_transpose2d_weight_gradient_warpgroup<T> kernel{x, dy, with_bias, {layout, 0}};
      kernel.to = parts(kernel);
      return f(kernel);
    }
  }
  with_operand<T>(dev, [&](auto operand) {
    kernels::conv_transpose2d_weight_gradient<typename decltype(operand)::type> kernel{
        x, dy, aligned_pixels(x), aligned_pixels(dy), with_bias, {layout, 0}};
    kernel.to = parts(kernel);
    f(kernel);
  });
}
}  // namespace detail

/// Number of elements of w and dw in the device's own layout. It is described at
/// cpu_bodies::packed_weights and, for cuda and emulated, kernels::conv_weights.
template <class Device> std::int64_t conv_transpose2d_weight_size(conv_transpose2d_shape s) {
  return detail::layout<Device>(s).size();
}

/// Host memory both: from w[in][out][2][2] (PyTorch's order) to the device's own layout, padding zeroed. Throws
/// argument_error where a size does not fit.
template <class Device, class T>
void conv_transpose2d_pack_weights(conv_transpose2d_shape s, std::span<float const> iohw, std::span<T> packed) {
  detail::check_weights<Device>(s, iohw.size(), packed.size());
  detail::pack_weights(detail::layout<Device>(s), iohw.data(), packed.data(), detail::iohw_index(s));
}
template <class Device, class T>
void conv_transpose2d_pack_weights(conv_transpose2d_shape s, std::span<double const> iohw, std::span<T> packed) {
  detail::check_weights<Device>(s, iohw.size(), packed.size());
  detail::pack_weights(detail::layout<Device>(s), iohw.data(), packed.data(), detail::iohw_index(s));
}

/// The other way round; also for gradients.
template <class Device, class T>
void conv_transpose2d_unpack_weights(conv_transpose2d_shape s, std::span<T const> packed, std::span<float> iohw) {
  detail::check_weights<Device>(s, iohw.size(), packed.size());
  detail::unpack_weights(detail::layout<Device>(s), packed.data(), iohw.data(), detail::iohw_index(s));
}
template <class Device, class T>
void conv_transpose2d_unpack_weights(conv_transpose2d_shape s, std::span<T const> packed, std::span<double> iohw) {
  detail::check_weights<Device>(s, iohw.size(), packed.size());
  detail::unpack_weights(detail::layout<Device>(s), packed.data(), iohw.data(), detail::iohw_index(s));
}

/// y[n][2i+r][2j+q][k] = bias[k] + sum over c of x[n][i][j][c] w[c][k][r][q]
/// x[N,H,W,in], y[N,2H,2W,out]; w in the device's own layout; bias[out] or null. An output's arithmetic depends on the
/// numbers of channels, and on a GPU on x's alignment, alone. x and y must not overlap. Throws argument_error where
/// extents do not fit.
template <class T, class Device>
void conv_transpose2d_forward(Device& dev, conv_transpose2d_shape s, std::type_identity_t<view<T const>> x, T const* w,
                              std::type_identity_t<T const*> bias, std::type_identity_t<view<T>> y) {
  static_assert(Device::template supports<T>, "the cpu takes float and double; cuda and emulated float, bf16, fp16");
  detail::check_extents("conv_transpose2d_forward", "y", y, conv_transpose2d_output_shape(s, detail::extents(x)));
  if (y.size() == 0) return;
  if constexpr (detail::is_cpu<Device>) {
    cpu_bodies::run_forward(dev, cpu_bodies::transpose_forward_job<T>(dev.threads(), detail::packed(s), x, w, bias, y));
  } else {
    detail::check_kernel_extents("conv_transpose2d_forward", y);
    detail::check_weights_aligned("conv_transpose2d_forward", w);
    auto const layout = detail::layout<Device>(s);
    if constexpr (is_16_bit<T>) {
      if (detail::transpose_takes_warpgroups(dev, layout, x)) {
        kernels::conv_transpose2d_warpgroup<T, false> const kernel{
            x, w, bias, y, {}, layout, detail::aligned_pixels(y)};
        return launch(dev, kernel.grid(), kernel);
      }
    }
    detail::with_operand<T>(dev, [&](auto operand) {
      kernels::conv_transpose2d_forward<typename decltype(operand)::type> const kernel{
          x, w, bias, y, layout, detail::aligned_pixels(x), detail::aligned_pixels(y)};
      launch(dev, kernel.grid(), kernel);
    });
  }
}

/// dx[n][i][j][c] = sum over k, r, q of dy[n][2i+r][2j+q][k] w[c][k][r][q], zero where mask <= 0; overwriting
/// dx[N,H,W,in]. The mask is empty or has dx's extents (a ReLU's output); it may be the very window dx. Throws
/// argument_error where extents do not fit.
template <class T, class Device>
void conv_transpose2d_backward_data(Device& dev, conv_transpose2d_shape s, std::type_identity_t<view<T const>> dy,
                                    T const* w, std::type_identity_t<view<T>> dx,
                                    std::type_identity_t<view<T const>> mask = {}) {
  static_assert(Device::template supports<T>, "the cpu takes float and double; cuda and emulated float, bf16, fp16");
  detail::check_extents("conv_transpose2d_backward_data", "dy", dy,
                        conv_transpose2d_output_shape(s, detail::extents(dx)));
  detail::check_mask<T>("conv_transpose2d_backward_data", mask, dx);
  if constexpr (detail::is_cpu<Device>) {
    cpu_bodies::run_backward_data(
        dev, cpu_bodies::transpose_backward_data_job<T>(dev.threads(), detail::packed_transposed(s), dy, w, dx, mask),
        detail::packed(s));
  } else {
    if (dx.size() == 0) return;
    detail::check_kernel_extents("conv_transpose2d_backward_data", dy);
    detail::check_weights_aligned("conv_transpose2d_backward_data", w);
    bool const dx_aligned = detail::aligned_pixels(dx) && (!mask || detail::aligned_pixels(mask));
    auto const layout = detail::layout<Device>(s);
    if constexpr (is_16_bit<T>) {
      if (detail::transpose_takes_warpgroups(dev, layout, dy)) {
        kernels::conv_transpose2d_warpgroup<T, true> const kernel{dy, w, nullptr, dx, mask, layout, dx_aligned};
        return launch(dev, kernel.grid(), kernel);
      }
    }
    detail::with_operand<T>(dev, [&](auto operand) {
      kernels::conv_transpose2d_backward_data<typename decltype(operand)::type> const kernel{
          dy, w, dx, mask, layout, detail::aligned_pixels(dy), dx_aligned};
      launch(dev, kernel.grid(), kernel);
    });
  }
}

/// dw[c][k][r][q] = sum over n, i, j of x[n][i][j][c] dy[n][2i+r][2j+q][k], and db[k] = sum of dy[..][k]; added to what
/// is there where `accumulate`, else overwriting. dw in the device's own layout, its padding stays zero; db[out] or
/// null; both of accumulator_t<T>. Equal bits for any number of threads. Throws argument_error where extents do not
/// fit.
template <class T, class Device>
void conv_transpose2d_backward_weights(Device& dev, conv_transpose2d_shape s, std::type_identity_t<view<T const>> x,
                                       std::type_identity_t<view<T const>> dy, accumulator_t<T>* dw,
                                       accumulator_t<T>* db, bool accumulate) {
  static_assert(Device::template supports<T>, "the cpu takes float and double; cuda and emulated float, bf16, fp16");
  detail::check_extents("conv_transpose2d_backward_weights", "dy", dy,
                        conv_transpose2d_output_shape(s, detail::extents(x)));
  if constexpr (detail::is_cpu<Device>) {
    cpu_bodies::run_backward_weights(
        dev, cpu_bodies::transpose_backward_weights_job<T>(detail::packed(s), x, dy, dw, db, accumulate));
  } else {
    detail::check_kernel_extents("conv_transpose2d_backward_weights", dy);
    detail::check_weights_aligned("conv_transpose2d_backward_weights", dw);
    auto const layout = detail::layout<Device>(s);
    if (dy.size() == 0) return detail::add_no_gradient(dev, layout, dw, db, accumulate);
    detail::with_transpose_gradient<T>(dev, layout, x, dy, db != nullptr, [&](auto const& kernel) {
      detail::launch_weight_gradient(dev, kernel, dw, db, accumulate);
    });
  }
}

/// The most scratch that a pass over x needs: forward alone, or with `training` the two gradients as well; for windows
/// of any alignment, or `aligned` ones as of conv2d_scratch_bytes().
template <class T, class Device>
std::size_t conv_transpose2d_scratch_bytes(Device const& dev, conv_transpose2d_shape s, unetdn::shape x, bool training,
                                           bool aligned = false) {
  static_assert(Device::template supports<T>, "the cpu takes float and double; cuda and emulated float, bf16, fp16");
  unetdn::shape const y = conv_transpose2d_output_shape(s, x);
  if constexpr (!detail::is_cpu<Device>) {
    std::size_t bytes = 0;
    if (!training) return bytes;
    detail::each_kind_of_window<T>(aligned, [&](auto const& window) {
      detail::with_transpose_gradient<T>(
          dev, detail::layout<Device>(s), window(x), window(y), true,
          [&](auto const& kernel) { bytes = std::max(bytes, detail::gradient_bytes(kernel.to)); });
    });
    return bytes;
  } else {
    using namespace cpu_bodies;
    view<T> const vx{nullptr, x.n, x.h, x.w, x.c}, vy{nullptr, y.n, y.h, y.w, y.c};
    auto const forward = transpose_forward_job<T>(dev.threads(), detail::packed(s), vx, nullptr, nullptr, vy);
    std::size_t const bytes = plan_of(forward, dev.threads()).bytes();
    if (!training) return bytes;
    auto const transposed = detail::packed_transposed(s);
    auto const data = transpose_backward_data_job<T>(dev.threads(), transposed, vy, nullptr, vx, {});
    auto const weights = transpose_backward_weights_job<T>(detail::packed(s), vx, vy, nullptr, nullptr, false);
    return std::max({bytes, plan_of(data, dev.threads(), transposed_elements(transposed)).bytes(),
                     plan_of(weights, dev.threads()).bytes()});
  }
}

}  // namespace unetdn
