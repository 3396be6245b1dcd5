// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include <unetdn/core/error.hpp>
#include <unetdn/core/half.hpp>
#include <unetdn/core/shape.hpp>
#include <unetdn/core/view.hpp>
#include <unetdn/cpu/convolution.hpp>
#include <unetdn/cpu/winograd.hpp>
#include <unetdn/devices/cpu.hpp>
#include <unetdn/ops/checks.hpp>
#include <unetdn/ops/conv2d_kernels.hpp>
#include <unetdn/ops/cost.hpp>
#include <unetdn/ops/max_pool2d.hpp>
#include <unetdn/ops/weight_layout.hpp>

namespace unetdn {

/// A convolution from `in` to `out` channels. `kernel` is odd: stride 1 or 2, zero padding (kernel - 1) / 2, output
/// ceil(h / stride) x ceil(w / stride); or 2: stride 2, no padding, output floor(h / 2) x floor(w / 2).
struct conv2d_shape {
  int in, out, kernel, stride = 1;
};

/// What follows the convolution in the same pass over y.
template <class T> struct conv2d_epilogue {
  bool relu = false;
  view<T> pooled = {};  ///< [N,P/2,Q/2,out] or empty: takes what max_pool2d_forward makes of y
};

/// Throws argument_error unless the operations below take `s`.
inline void check_conv2d(conv2d_shape s) {
  check(s.in > 0 && s.out > 0, "conv2d needs at least one channel in and out; it has ", s.in, " in and ", s.out,
        " out");
  check(s.kernel == 2 || (s.kernel % 2 == 1 && s.kernel > 0 && s.kernel <= cpu_bodies::max_kernel),
        "conv2d takes kernel 2 or an odd one up to ", cpu_bodies::max_kernel, ", not ", s.kernel);
  check(s.kernel == 2 ? s.stride == 2 : s.stride == 1 || s.stride == 2, "conv2d with kernel ", s.kernel,
        s.kernel == 2 ? " takes stride 2, not " : " takes stride 1 or 2, not ", s.stride);
}

/// Extents of y for x. Throws argument_error where x's channels are not s.in.
inline unetdn::shape conv2d_output_shape(conv2d_shape s, unetdn::shape x) {
  check_conv2d(s);
  check(x.c == s.in, "conv2d from ", s.in, " channels got a picture with ", x.c, ": ", to_string(x));
  if (s.kernel == 2) return {x.n, x.h / 2, x.w / 2, s.out};
  return {x.n, ceil_div(x.h, s.stride), ceil_div(x.w, s.stride), s.out};
}

/// Work and traffic of one pass over x: forward, data gradient and weight gradient cost the same.
inline op_cost conv2d_cost(conv2d_shape s, unetdn::shape x, std::size_t element_bytes = sizeof(float)) {
  unetdn::shape const y = conv2d_output_shape(s, x);
  double const weights = double(s.in) * s.out * s.kernel * s.kernel;
  return {2.0 * double(y.pixels()) * weights, (double(x.size()) + double(y.size()) + weights) * double(element_bytes)};
}

namespace detail {
/// Winograd's algorithm loses digits that double is asked for.
template <class T> inline constexpr bool has_winograd = std::is_same_v<T, float>;

template <class T> void check_mask(char const* op, view<T const> mask, view<T> const& dx) {
  if (mask) check_extents(op, "mask", mask, extents(dx));
}

inline cpu_bodies::kernel_geometry geometry(conv2d_shape s) { return {s.kernel, s.stride}; }
template <class Device> weight_layout<Device> layout(conv2d_shape s) { return {s.in, s.out, s.kernel * s.kernel}; }
inline cpu_bodies::packed_weights packed(conv2d_shape s) { return {s.in, s.out, s.kernel * s.kernel}; }
inline cpu_bodies::packed_weights packed_transposed(conv2d_shape s) { return {s.out, s.in, s.kernel * s.kernel}; }

/// Position of weight (k, c, t) in canonical order.
inline auto oihw_index(conv2d_shape s) {
  return [=](int k, int c, int t) { return (std::size_t(k) * s.in + c) * std::size_t(s.kernel * s.kernel) + t; };
}
template <class Device> void check_weights(conv2d_shape s, std::size_t canonical, std::size_t packed_elements) {
  check_conv2d(s);
  std::size_t const count = std::size_t(s.in) * s.out * s.kernel * s.kernel;
  check(canonical == count, "conv2d has ", count, " weights; the canonical side holds ", canonical);
  check(packed_elements == std::size_t(layout<Device>(s).size()), "conv2d has ", layout<Device>(s).size(),
        " packed weights; the packed side holds ", packed_elements);
}
}  // namespace detail

/// Number of elements of w and dw in the device's own layout. It is described at
/// cpu_bodies::packed_weights and, for cuda and emulated, kernels::conv_weights.
template <class Device> std::int64_t conv2d_weight_size(conv2d_shape s) {
  check_conv2d(s);
  return detail::layout<Device>(s).size();
}

/// Host memory both: from w[out][in][kernel][kernel] (PyTorch's order) to the device's own layout, padding zeroed.
/// Throws argument_error where a size does not fit.
template <class Device, class T>
void conv2d_pack_weights(conv2d_shape s, std::span<float const> oihw, std::span<T> packed) {
  detail::check_weights<Device>(s, oihw.size(), packed.size());
  detail::pack_weights(detail::layout<Device>(s), oihw.data(), packed.data(), detail::oihw_index(s));
}
template <class Device, class T>
void conv2d_pack_weights(conv2d_shape s, std::span<double const> oihw, std::span<T> packed) {
  detail::check_weights<Device>(s, oihw.size(), packed.size());
  detail::pack_weights(detail::layout<Device>(s), oihw.data(), packed.data(), detail::oihw_index(s));
}

/// The other way round; also for gradients.
template <class Device, class T>
void conv2d_unpack_weights(conv2d_shape s, std::span<T const> packed, std::span<float> oihw) {
  detail::check_weights<Device>(s, oihw.size(), packed.size());
  detail::unpack_weights(detail::layout<Device>(s), packed.data(), oihw.data(), detail::oihw_index(s));
}
template <class Device, class T>
void conv2d_unpack_weights(conv2d_shape s, std::span<T const> packed, std::span<double> oihw) {
  detail::check_weights<Device>(s, oihw.size(), packed.size());
  detail::unpack_weights(detail::layout<Device>(s), packed.data(), oihw.data(), detail::oihw_index(s));
}

/// y = epilogue(x * w + bias):
///   y[n][i][j][k] = bias[k] + sum over r, q, c of x[n][stride i + r - pad][stride j + q - pad][c] w[k][c][r][q]
/// x[N,H,W,in], y[N,P,Q,out] as in conv2d_output_shape; w in the device's own layout; bias[out] or null. On the cpu in
/// float, 3x3 kernels with stride 1 and at least 8 channels in and out run by Winograd's F(4x4,3x3) (Lavin and Gray,
/// "Fast Algorithms for Convolutional Neural Networks", 2016), which computes 4 x 4 outputs together. An output's
/// arithmetic depends on the convolution's shape alone, and there on its place in its 4 x 4: a part of the picture that
/// begins at multiples of 4 has the bits of the whole picture, but for the 4 x 4 outputs at the part's rim. x, y and
/// the pooled window must not overlap. Throws argument_error where extents do not fit.
template <class T, class Device>
void conv2d_forward(Device& dev, conv2d_shape s, std::type_identity_t<view<T const>> x, T const* w,
                    std::type_identity_t<T const*> bias, std::type_identity_t<view<T>> y,
                    std::type_identity_t<conv2d_epilogue<T>> ep = {}) {
  static_assert(Device::template supports<T>, "the cpu takes float and double; cuda and emulated float, bf16, fp16");
  detail::check_extents("conv2d_forward", "y", y, conv2d_output_shape(s, detail::extents(x)));
  if (ep.pooled)
    detail::check_extents("conv2d_forward", "pooled", ep.pooled, max_pool2d_output_shape(detail::extents(y)));
  if constexpr (detail::is_cpu<Device>) {
    if constexpr (detail::has_winograd<T>) {
      if (cpu_bodies::takes_winograd(detail::geometry(s), detail::packed(s))) {
        auto job = cpu_bodies::winograd_forward_job<T>(dev.threads(), detail::packed(s), x, w, bias, ep.relu, y);
        job.pooled = ep.pooled;
        return cpu_bodies::run(dev, job);
      }
    }
    cpu_bodies::run_forward(
        dev, cpu_bodies::forward_job<T>(dev.threads(), detail::geometry(s), detail::packed(s), x, w, bias, ep.relu, y));
  } else {
    auto const layout = detail::layout<Device>(s);
    detail::launch_conv2d_forward<T>(dev, layout, s.kernel, s.stride, x, w, bias, ep.relu, y, ep.pooled);
    if (detail::takes_halo(s.kernel, s.stride)) return;
  }
  if (ep.pooled) max_pool2d_forward<T>(dev, y, ep.pooled);
}

/// dx = conv^T(dy), zero where mask <= 0:
///   dx[n][y][x][c] = sum over all i, j, r, q with stride i + r - pad = y, stride j + q - pad = x, and over k,
///                    of dy[n][i][j][k] w[k][c][r][q]
/// overwriting dx[N,H,W,in]. The mask is empty or has dx's extents (a ReLU's output); it may be the very window dx.
/// Throws argument_error where extents do not fit.
template <class T, class Device>
void conv2d_backward_data(Device& dev, conv2d_shape s, std::type_identity_t<view<T const>> dy, T const* w,
                          std::type_identity_t<view<T>> dx, std::type_identity_t<view<T const>> mask = {}) {
  static_assert(Device::template supports<T>, "the cpu takes float and double; cuda and emulated float, bf16, fp16");
  detail::check_extents("conv2d_backward_data", "dy", dy, conv2d_output_shape(s, detail::extents(dx)));
  detail::check_mask<T>("conv2d_backward_data", mask, dx);
  if constexpr (detail::is_cpu<Device>) {
    if constexpr (detail::has_winograd<T>) {
      if (cpu_bodies::takes_winograd(detail::geometry(s), detail::packed(s)))
        return cpu_bodies::run(
            dev, cpu_bodies::winograd_backward_data_job<T>(dev.threads(), detail::packed(s), dy, w, dx, mask));
    }
    cpu_bodies::run_backward_data(dev,
                                  cpu_bodies::backward_data_job<T>(dev.threads(), detail::geometry(s),
                                                                   detail::packed_transposed(s), dy, w, dx, mask),
                                  detail::packed(s));
  } else {
    detail::launch_conv2d_backward_data<T>(dev, detail::layout<Device>(s), s.kernel, s.stride, dy, w, dx, mask);
  }
}

/// dw[k][c][r][q] = sum over n, i, j of x[n][stride i + r - pad][stride j + q - pad][c] dy[n][i][j][k], and
/// db[k] = sum of dy[..][k]; added to what is there where `accumulate`, else overwriting. dw in the device's own
/// layout, its padding stays zero; db[out] or null; both of accumulator_t<T>. Sums run over fixed chunks in order:
/// equal bits for any number of threads. Throws argument_error where extents do not fit.
template <class T, class Device>
void conv2d_backward_weights(Device& dev, conv2d_shape s, std::type_identity_t<view<T const>> x,
                             std::type_identity_t<view<T const>> dy, accumulator_t<T>* dw, accumulator_t<T>* db,
                             bool accumulate) {
  static_assert(Device::template supports<T>, "the cpu takes float and double; cuda and emulated float, bf16, fp16");
  detail::check_extents("conv2d_backward_weights", "dy", dy, conv2d_output_shape(s, detail::extents(x)));
  if constexpr (detail::is_cpu<Device>) {
    if constexpr (detail::has_winograd<T>) {
      if (cpu_bodies::takes_winograd(detail::geometry(s), detail::packed(s)))
        return cpu_bodies::run(
            dev, cpu_bodies::winograd_backward_weights_job<T>(detail::packed(s), x, dy, dw, db, accumulate));
    }
    cpu_bodies::run_backward_weights(
        dev, cpu_bodies::backward_weights_job<T>(detail::geometry(s), detail::packed(s), x, dy, dw, db, accumulate));
  } else {
    detail::launch_conv2d_backward_weights<T>(dev, detail::layout<Device>(s), s.kernel, s.stride, x, dy, dw, db,
                                              accumulate);
  }
}

/// The most scratch that a pass over x needs: forward alone, or with `training` the two gradients as well. On a GPU it
/// is less where all windows are `aligned`: their pixels begin at multiples of 16 bytes where their channels allow it.
template <class T, class Device>
std::size_t conv2d_scratch_bytes(Device const& dev, conv2d_shape s, unetdn::shape x, bool training,
                                 bool aligned = false) {
  static_assert(Device::template supports<T>, "the cpu takes float and double; cuda and emulated float, bf16, fp16");
  unetdn::shape const y = conv2d_output_shape(s, x);
  if constexpr (!detail::is_cpu<Device>) {
    if (!training) return 0;
    return detail::conv2d_gradient_bytes<T>(dev, detail::layout<Device>(s), s.kernel, s.stride, x, y, aligned);
  } else {
    using namespace cpu_bodies;
    view<T> const vx{nullptr, x.n, x.h, x.w, x.c}, vy{nullptr, y.n, y.h, y.w, y.c};
    if constexpr (detail::has_winograd<T>) {
      if (takes_winograd(detail::geometry(s), detail::packed(s))) {
        auto const weights = detail::packed(s);
        auto const forward = winograd_forward_job<T>(dev.threads(), weights, vx, nullptr, nullptr, false, vy);
        std::size_t const bytes = plan_of(forward, dev.threads()).bytes();
        if (!training) return bytes;
        auto const data = winograd_backward_data_job<T>(dev.threads(), weights, vy, nullptr, vx, {});
        auto const gradient = winograd_backward_weights_job<T>(weights, vx, vy, nullptr, nullptr, false);
        return std::max({bytes, plan_of(data, dev.threads()).bytes(), plan_of(gradient, dev.threads()).bytes()});
      }
    }
    auto const forward =
        forward_job<T>(dev.threads(), detail::geometry(s), detail::packed(s), vx, nullptr, nullptr, false, vy);
    std::size_t const bytes = plan_of(forward, dev.threads()).bytes();
    if (!training) return bytes;
    auto const transposed = detail::packed_transposed(s);
    auto const data = backward_data_job<T>(dev.threads(), detail::geometry(s), transposed, vy, nullptr, vx, {});
    auto const weights =
        backward_weights_job<T>(detail::geometry(s), detail::packed(s), vx, vy, nullptr, nullptr, false);
    return std::max({bytes, plan_of(data, dev.threads(), transposed_elements(transposed)).bytes(),
                     plan_of(weights, dev.threads()).bytes()});
  }
}

}  // namespace unetdn
