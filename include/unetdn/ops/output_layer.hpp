// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <cstddef>
#include <type_traits>

#include <unetdn/core/collapse.hpp>
#include <unetdn/kernels/output_layer.hpp>
#include <unetdn/ops/conv2d.hpp>
#include <unetdn/ops/elementwise.hpp>
#include <unetdn/ops/reduce.hpp>
#include <unetdn/ops/sigmoid.hpp>

// A network's last layer: a 1x1 convolution to few channels, and what makes a picture of its sums. On GPUs it is one
// kernel in either direction for up to 3 outputs of up to 1024 channels, and perhaps the loss is in it; otherwise, and
// on the cpu, it is the operations that it consists of.

namespace unetdn {

/// A 1x1 convolution from `in` to `out` channels; its weights lie as those of conv2d_shape{in, out, 1}.
struct output_layer_shape {
  int in, out;

  conv2d_shape conv() const { return {in, out, 1}; }
};

/// What becomes of the layer's sums; at most one of the two.
template <class T> struct output_function {
  bool sigmoid = false;
  view<T const> residual = {};  ///< [N,H,W,out] or empty: added to the sums
};

/// A loss that is a mean over all elements, and where a GPU puts it and its gradient.
template <class T> struct pointwise_loss {
  bool squared;                       ///< (y - target)^2; otherwise |y - target|
  view<float const> target;           ///< [N,H,W,out]
  view<T> gradient;                   ///< [N,H,W,out]: with respect to the layer's sums
  double* loss;                       ///< in device memory
  float const* loss_scale = nullptr;  ///< in device memory: the gradient is multiplied by it, or by 1
};

/// Work and traffic of forward, or of backward, which has both gradients; what follows the sums is not counted.
inline op_cost output_layer_cost(output_layer_shape s, unetdn::shape x, bool backward,
                                 std::size_t element_bytes = sizeof(float)) {
  op_cost const forward = conv2d_cost(s.conv(), x, element_bytes);
  if (!backward) return forward;
  double const weights = double(s.in) * s.out;
  return {2 * forward.flops, forward.bytes + double(x.size()) * double(element_bytes) + weights * sizeof(float)};
}

/// Whether either direction is one kernel; then forward can compute a loss as well.
template <class Device> bool output_layer_is_fused(output_layer_shape s) {
  using kernel = kernels::output_layer_forward<float, 3>;
  return !detail::is_cpu<Device> && s.out <= 3 && s.in <= kernel::most_channels;
}

namespace detail {

/// Calls f with the number of outputs that kernels have room for.
template <class F> void with_outputs(output_layer_shape s, F f) {
  if (s.out == 1)
    f(std::integral_constant<int, 1>{});
  else
    f(std::integral_constant<int, 3>{});
}

template <class T>
void check_output_layer(output_layer_shape s, view<T const> const& x, view<T> const& y, output_function<T> const& f) {
  check_extents("output_layer_forward", "y", y, conv2d_output_shape(s.conv(), extents(x)));
  check(!f.sigmoid || !f.residual, "output_layer_forward: a sigmoid and a residual exclude each other");
  if (f.residual) check_same_shape("output_layer_forward", f.residual, y);
}
template <class T> void check_output_layer_extents(char const* op, view<T> const& v) {
  check(v.pixels() <= 1 << 30, op, ": a window of ", to_string(extents(v)),
        " is too large for one launch; use smaller pictures or a smaller batch");
}

/// `loss` has no memory where it is not wanted.
template <class T, class Device>
void launch_output_layer_forward(Device& dev, output_layer_shape s, view<T const> x, T const* w, T const* bias,
                                 view<T> y, output_function<T> f, pointwise_loss<T> loss) {
  check_output_layer_extents("output_layer_forward", y);
  check_weights_aligned("output_layer_forward", w);
  auto const without_memory = [&](auto& v) {
    if (!v) v = {nullptr, y.n, y.h, y.w, y.c};  // stands in nobody's way
  };
  without_memory(f.residual);
  without_memory(loss.target);
  without_memory(loss.gradient);
  double const elements = static_cast<double>(y.size());
  collapse_rows(x, y, f.residual, loss.target, loss.gradient);
  auto* const partial = loss.gradient ? static_cast<float*>(dev.scratch(reduction_blocks * sizeof(float))) : nullptr;
  auto const weight = static_cast<float>((loss.squared ? 2 : 1) / elements);
  with_outputs(s, [&](auto outputs) {
    using kernel = kernels::output_layer_forward<T, outputs.value>;
    extent3 const grid = kernel::grid(y, reduction_blocks);
    launch(dev, grid,
           kernel{x, aligned_pixels(x), w, layout<Device>(s.conv()), bias, f.sigmoid, f.residual, y, loss.target,
                  loss.gradient, loss.loss_scale, partial, weight, loss.squared});
    if (partial) launch(dev, {1}, kernels::add_partials{partial, grid.x, 1 / elements, nullptr, 0, 0, 0, loss.loss});
  });
}

/// How many parts the weight gradient has; their memory is not there yet.
template <class T, class Device>
kernels::gradient_parts output_layer_parts(output_layer_shape s, view<T const> const& g) {
  using kernel = kernels::output_layer_backward<T, 3>;
  kernels::conv_weights const weights = layout<Device>(s.conv());
  return {weights, gradient_part_count(kernel::blocks(weights), kernel::tiles(g))};
}

template <class T, class Device>
void launch_output_layer_backward(Device& dev, output_layer_shape s, view<T const> x, T const* w, view<T const> g,
                                  view<T> dx, bool relu_mask, float* dw, float* db, bool accumulate) {
  check_output_layer_extents("output_layer_backward", g);
  check_weights_aligned("output_layer_backward", w);
  check_weights_aligned("output_layer_backward", dw);
  if (g.size() == 0) return add_no_gradient(dev, layout<Device>(s.conv()), dw, db, accumulate);
  kernels::gradient_parts const parts = output_layer_parts<T, Device>(s, g);
  collapse_rows(x, g, dx);
  with_outputs(s, [&](auto outputs) {
    using kernel = kernels::output_layer_backward<T, outputs.value>;
    launch_weight_gradient(dev, kernel{x, g, w, dx, relu_mask, all_aligned(x, dx), parts}, dw, db, accumulate);
  });
}

}  // namespace detail

/// y = f(w x + bias) in each pixel:
///   y[n][i][j][k] = f(bias[k] + sum over c of w[k][c] x[n][i][j][c])
/// where f is the sigmoid, or adds the residual, or does nothing. x[N,H,W,in], y[N,H,W,out], which may be neither x nor
/// the residual; w in the device's own layout; bias[out] or null. On GPUs with up to 3 outputs sums are taken in float,
/// whatever the products' format elsewhere, and y is rounded once. Throws argument_error where extents do not fit.
template <class T, class Device>
void output_layer_forward(Device& dev, output_layer_shape s, std::type_identity_t<view<T const>> x, T const* w,
                          std::type_identity_t<T const*> bias, std::type_identity_t<view<T>> y,
                          std::type_identity_t<output_function<T>> f = {}) {
  static_assert(Device::template supports<T>, "the cpu takes float and double; cuda and emulated float, bf16, fp16");
  detail::check_output_layer<T>(s, x, y, f);
  if (y.size() == 0) return;
  if constexpr (!detail::is_cpu<Device>) {
    if (output_layer_is_fused<Device>(s)) return detail::launch_output_layer_forward<T>(dev, s, x, w, bias, y, f, {});
  }
  conv2d_forward<T>(dev, s.conv(), x, w, bias, y);
  if (f.sigmoid) sigmoid_forward<T>(dev, y, y);
  if (f.residual) add<T>(dev, f.residual, y);
}

/// The same on a GPU, and in the same pass the loss and its gradient, as loss_and_gradient defines them (loss.hpp), but
/// with respect to w x + bias. For layers that are fused. Takes output_layer_scratch_bytes() of scratch.
template <class T, class Device>
void output_layer_forward(Device& dev, output_layer_shape s, std::type_identity_t<view<T const>> x, T const* w,
                          std::type_identity_t<T const*> bias, std::type_identity_t<view<T>> y,
                          std::type_identity_t<output_function<T>> f, std::type_identity_t<pointwise_loss<T>> loss) {
  static_assert(!Device::is_host && Device::template supports<T>,
                "this form is for cuda and emulated, with float, bf16 and fp16");
  detail::check_output_layer<T>(s, x, y, f);
  detail::check_same_shape("output_layer_forward", loss.target, y);
  detail::check_same_shape("output_layer_forward", loss.gradient, y);
  check(y.size() > 0, "output_layer_forward: there is no loss of windows of ", to_string(detail::extents(y)));
  check(output_layer_is_fused<Device>(s), "output_layer_forward computes a loss of up to 3 outputs of up to ",
        kernels::output_layer_forward<T, 3>::most_channels, " channels, not of ", s.out, " of ", s.in);
  detail::launch_output_layer_forward<T>(dev, s, x, w, bias, y, f, loss);
}

/// Both gradients from g, the one with respect to w x + bias:
///   dx[n][i][j][c] = sum over k of w[k][c] g[n][i][j][k], zero where relu_mask and x is not above zero
///   dw[k][c] = sum over n, i, j of g[..][k] x[..][c],   db[k] = sum of g[..][k]
/// x, dx [N,H,W,in], perhaps the same memory; g[N,H,W,out]; dw in the device's own layout; db[out] or null; both of
/// accumulator_t<T>, added to what is there where `accumulate`, else overwritten. Sums run over fixed chunks in order:
/// equal bits in every run. Takes output_layer_scratch_bytes() of scratch. Throws argument_error where extents do not
/// fit.
template <class T, class Device>
void output_layer_backward(Device& dev, output_layer_shape s, std::type_identity_t<view<T const>> x, T const* w,
                           std::type_identity_t<view<T const>> g, std::type_identity_t<view<T>> dx, bool relu_mask,
                           accumulator_t<T>* dw, accumulator_t<T>* db, bool accumulate) {
  static_assert(Device::template supports<T>, "the cpu takes float and double; cuda and emulated float, bf16, fp16");
  detail::check_extents("output_layer_backward", "g", g, conv2d_output_shape(s.conv(), detail::extents(x)));
  detail::check_same_shape("output_layer_backward", x, dx);
  if constexpr (!detail::is_cpu<Device>) {
    if (output_layer_is_fused<Device>(s))
      return detail::launch_output_layer_backward<T>(dev, s, x, w, g, dx, relu_mask, dw, db, accumulate);
  }
  conv2d_backward_weights<T>(dev, s.conv(), x, g, dw, db, accumulate);
  conv2d_backward_data<T>(dev, s.conv(), g, w, dx, relu_mask ? x : view<T const>{});
}

/// The most scratch that a pass over x needs: forward alone, or with `training` the loss and backward as well.
template <class T, class Device>
std::size_t output_layer_scratch_bytes(Device const& dev, output_layer_shape s, unetdn::shape x, bool training) {
  if (!output_layer_is_fused<Device>(s)) return conv2d_scratch_bytes<T>(dev, s.conv(), x, training);
  if constexpr (!detail::is_cpu<Device>) {
    unetdn::shape const y = conv2d_output_shape(s.conv(), x);
    auto const parts = detail::output_layer_parts<T, Device>(s, view<T const>{nullptr, y.n, y.h, y.w, y.c});
    if (training) return std::max(detail::gradient_bytes(parts), detail::reduction_blocks * sizeof(float));
  }
  return 0;
}

}  // namespace unetdn
