// SPDX-License-Identifier: Apache-2.0
// Compiled by a plain C++ compiler and linked with unetdn::cuda: uses every operation, the network, its trainer and its
// denoiser with every element type on cuda, so that a missing instantiation is a link error, also on machines without a
// GPU.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <vector>

#include <unetdn/core/tensor.hpp>
#include <unetdn/devices/cuda.hpp>
#include <unetdn/generated.hpp>
#include <unetdn/loss.hpp>
#include <unetdn/noise.hpp>
#include <unetdn/ops/adamw.hpp>
#include <unetdn/ops/conv2d.hpp>
#include <unetdn/ops/conv_transpose2d.hpp>
#include <unetdn/ops/elementwise.hpp>
#include <unetdn/ops/max_pool2d.hpp>
#include <unetdn/ops/output_layer.hpp>
#include <unetdn/ops/reduce.hpp>
#include <unetdn/ops/relu.hpp>
#include <unetdn/ops/sigmoid.hpp>
#include <unetdn/train/trainer.hpp>
#include <unetdn/unet.hpp>

namespace {

using unetdn::cuda;

/// Sum of the elements after a chain of element-wise operations: 9 sigmoid(0 + 0)(1 - sigmoid(0 + 0)) = 2.25.
template <class T> double elementwise_sum(cuda& dev) {
  unetdn::shape const s{1, 3, 3, 1};
  unetdn::tensor<T, cuda> x{dev, s}, y{dev, s};
  unetdn::tensor<float, cuda> wide{dev, s};
  unetdn::fill(dev, y.view(), 1);
  unetdn::convert<float>(dev, y.view(), wide.view());
  unetdn::convert<T>(dev, wide.view(), x.view());
  unetdn::fill(dev, x.view(), 0);
  unetdn::copy<T>(dev, x.view(), y.view());
  unetdn::add<T>(dev, x.view(), y.view());
  unetdn::copy_reflected<T>(dev, y.view(), x.view(), 1, 1);
  unetdn::sigmoid_forward<T>(dev, x.view(), x.view());
  unetdn::fill(dev, y.view(), 1);
  unetdn::sigmoid_backward<T>(dev, x.view(), y.view(), y.view());
  return unetdn::sum(dev, y.view());
}

/// Sum of 4 x 4 ones pooled, and of the gradient that comes back from 2 x 2 ones, alone and onto itself: 4 + 4 + 4.
template <class T> double pooling_sum(cuda& dev) {
  unetdn::tensor<T, cuda> x{dev, {1, 4, 4, 1}}, dx{dev, {1, 4, 4, 1}}, y{dev, {1, 2, 2, 1}};
  unetdn::buffer<unetdn::window_code, cuda> codes{dev, 4};
  unetdn::view<unetdn::window_code> const of_x{codes.data(), 1, 2, 2, 1};
  unetdn::fill(dev, x.view(), 1);
  unetdn::max_pool2d_forward<T>(dev, x.view(), y.view());
  unetdn::max_pool2d_backward<T>(dev, x.view(), y.view(), dx.view());
  unetdn::max_pool2d_encode<T>(dev, x.view(), of_x, y.view());
  unetdn::max_pool2d_backward_into_skip<T>(dev, of_x, y.view(), dx.view());
  return unetdn::sum(dev, y.view()) + unetdn::sum(dev, dx.view());
}

/// Sums of y, dx, dw and db where x, dy and w are one: 2x3 pixels from 3 to 5 channels, so that each y is 3, each dx
/// 20, each dw 6, each db 24.
template <class T> bool transposes(cuda& dev) {
  unetdn::conv_transpose2d_shape const s{3, 5};
  unetdn::shape const xs{1, 2, 3, 3}, ys = unetdn::conv_transpose2d_output_shape(s, xs);
  std::vector<double> const ones(60, 1.0);
  std::vector<T> packed(static_cast<std::size_t>(unetdn::conv_transpose2d_weight_size<cuda>(s)));
  unetdn::conv_transpose2d_pack_weights<cuda, T>(s, std::span<double const>(ones), packed);
  unetdn::shape const ws{1, 1, 1, int(packed.size())};
  unetdn::tensor<T, cuda> x{dev, xs}, dx{dev, xs}, y{dev, ys}, w{dev, ws};
  unetdn::tensor<float, cuda> dw{dev, ws}, db{dev, {1, 1, 1, s.out}};
  w.upload(dev, packed);
  unetdn::fill(dev, x.view(), 1);
  unetdn::conv_transpose2d_forward<T>(dev, s, x.view(), w.data(), nullptr, y.view());
  bool ok = unetdn::sum(dev, y.view()) == 3 * 120;
  unetdn::fill(dev, y.view(), 1);
  unetdn::conv_transpose2d_backward_data<T>(dev, s, y.view(), w.data(), dx.view());
  unetdn::conv_transpose2d_backward_weights<T>(dev, s, x.view(), y.view(), dw.data(), db.data(), false);
  ok = ok && unetdn::sum(dev, dx.view()) == 20 * 18;
  return ok && unetdn::sum(dev, dw.view()) == 6 * 60 && unetdn::sum(dev, db.view()) == 24 * 5;
}

/// Whether sum(relu(x)) and the gradient of that are right for x = -4 ... 4.
template <class T> bool works(cuda& dev) {
  unetdn::shape const s{1, 3, 3, 1};
  std::vector<T> host;
  for (int i = -4; i <= 4; ++i) host.push_back(T(float(i)));
  unetdn::tensor<T, cuda> x{dev, s}, y{dev, s}, dx{dev, s};
  x.upload(dev, host);
  unetdn::relu_forward(dev, x.view(), y.view());
  unetdn::relu_backward(dev, y.view(), y.view(), dx.view());
  dev.copy(x.data(), dx.data(), host.size() * sizeof(T));
  dev.synchronize();
  return unetdn::sum(dev, x.view()) == 10.0;
}

/// Whether AdamW's first step moves a weight by the rate against its gradient.
template <class T> bool updates(cuda& dev) {
  using namespace unetdn;
  buffer<float, cuda> a{dev, 5};  // weight, gradient, moments, average
  buffer<T, cuda> rounded{dev, 1};
  auto* const state = static_cast<update_state*>(dev.allocate(sizeof(update_state)));
  update_state at;
  dev.upload(state, &at, sizeof at);
  float const values[] = {1, 2, 0, 0, 1};
  dev.upload(a.data(), values, sizeof values);
  adamw_arrays<T> arrays{a.data(), a.data() + 1, a.data() + 2, a.data() + 3, a.data() + 4, 1};
  if constexpr (is_16_bit<T>) {
    arrays.network_weights = rounded.data();
    recast(dev, a.data(), rounded.data(), 1);
  }
  begin_update(dev, state, 0.5, 0.5);
  squared_norm(dev, arrays.gradient, 1, &state->squared_norm);
  adamw_step(dev, {}, {}, arrays, state);
  float weight = 0;
  dev.download(&weight, a.data(), sizeof weight);
  dev.download(&at, state, sizeof at);
  cuda::release(state);
  return std::abs(weight - 0.5f) < 1e-6f && at.squared_norm == 4 && squared_norm(dev, arrays.gradient, 1) == 4;
}

/// Whether noise of level 0 leaves four stored bytes what they are.
template <class T> bool loads(cuda& dev) {
  using namespace unetdn;
  shape const s{1, 2, 2, 1};
  tensor<T, cuda> noisy{dev, s};
  tensor<float, cuda> target{dev, s};
  auto* const memory = static_cast<std::uint8_t*>(dev.allocate(4));
  std::uint8_t const bytes[] = {0, 255, 0, 255};
  dev.upload(memory, bytes, 4);
  std::vector<float> const sigmas{0};
  noisy_batch<T>(dev, view<std::uint8_t>{memory, 1, 2, 2, 1}, target.view(), noisy.view(), {}, sigmas, {});
  add_gaussian_noise<cuda, T>(dev, noisy.view(), noisy.view(), sigmas, {});
  bool const right = sum(dev, noisy.view()) == 2 && sum(dev, target.view()) == 2;
  cuda::release(memory);
  return right;
}

/// Whether equal pictures have no loss.
template <class T> bool compares(cuda& dev) {
  using namespace unetdn;
  shape const s{1, 12, 12, 1};
  tensor<T, cuda> y{dev, s};
  tensor<float, cuda> target{dev, s};
  buffer<float, cuda> memory{dev, 2};
  auto* const loss = reinterpret_cast<double*>(memory.data());
  bool right = true;
  for (loss_kind const kind : {loss_kind::l1, loss_kind::mse, loss_kind::l1_ssim}) {
    loss_and_gradient(dev, kind, y.view(), target.view(), y.view(), loss);
    double value = 1;
    dev.download(&value, loss, sizeof value);
    right = right && std::abs(value) < 1e-6;
  }
  return right;
}

/// Whether a convolution of ones with ones counts its neighbours, forward and back: the inner pixel of 3 x 3 has
/// `taps`.
template <class T> bool convolves(cuda& dev, unetdn::conv2d_shape s, double taps) {
  using namespace unetdn;
  shape const xs{1, 3, 3, s.in};
  tensor<T, cuda> x{dev, xs}, dx{dev, xs}, y{dev, conv2d_output_shape(s, xs)};
  shape const ws{1, 1, 1, static_cast<int>(conv2d_weight_size<cuda>(s))};
  tensor<T, cuda> w{dev, ws};
  tensor<float, cuda> dw{dev, ws}, db{dev, {1, 1, 1, s.out}};
  fill(dev, x.view(), 1);
  fill(dev, w.view(), 1);
  conv2d_forward<T>(dev, s, x.view(), w.data(), nullptr, y.view());
  conv2d_backward_data<T>(dev, s, y.view(), w.data(), dx.view());
  fill(dev, y.view(), 1);
  conv2d_backward_weights<T>(dev, s, x.view(), y.view(), dw.data(), db.data(), false);
  conv2d_forward<T>(dev, s, x.view(), w.data(), nullptr, y.view());
  return sum(dev, y.view().crop(y.view().h / 2, y.view().w / 2, 1, 1)) == taps * s.in * s.out;
}

/// Whether a step of training, a session's forward pass and a denoised picture are numbers.
template <class T> bool trains_and_denoises(cuda& dev) {
  using namespace unetdn;
  unet_config const config{3, 3, 8, 1};
  training_options options;
  options.noise = parse_noise("gaussian:25");
  options.loss = loss_kind::l1_ssim;
  options.patch = 16;
  options.batch = 1;
  training_set pictures(3);
  pictures.add(image_pair{generate_picture(1, 0, 24, 20)});
  trainer<T, cuda> training(dev, config, options, pictures, 1);
  double const loss = training.step().loss;
  unet_session<T, cuda> session(dev, config, 1, 9, 7, session_mode::inference);
  session.forward(training.network());
  denoiser<T, cuda> denoise(training.average(), dev.sibling());
  return std::isfinite(loss) && std::isfinite(sum(dev, session.output())) &&
         denoise(generate_picture(1, 1, 20, 24)).width == 20;
}

/// Whether an output layer of ones counts its channels, without a loss where that is the target, and its pixels on the
/// way back.
template <class T> bool ends(cuda& dev, int outputs) {
  using namespace unetdn;
  output_layer_shape const s{8, outputs};
  shape const xs{1, 3, 3, s.in}, ys{1, 3, 3, s.out};
  shape const ws{1, 1, 1, static_cast<int>(conv2d_weight_size<cuda>(s.conv()))};
  tensor<T, cuda> x{dev, xs}, w{dev, ws}, y{dev, ys}, g{dev, ys};
  tensor<float, cuda> target{dev, ys}, dw{dev, ws}, db{dev, {1, 1, 1, s.out}};
  buffer<double, cuda> loss{dev, 1};
  fill(dev, x.view(), 1);
  fill(dev, w.view(), 1);
  fill(dev, target.view(), 8);
  output_layer_forward<T>(dev, s, x.view(), w.data(), nullptr, y.view(), {},
                          {true, target.view(), g.view(), loss.data()});
  double value = 1;
  dev.download(&value, loss.data(), sizeof value);
  bool const right = value == 0 && sum(dev, y.view()) == 72.0 * s.out;
  fill(dev, g.view(), 1);
  output_layer_backward<T>(dev, s, x.view(), w.data(), g.view(), x.view(), true, dw.data(), db.data(), false);
  return right && sum(dev, x.view()) == 72.0 * s.out && sum(dev, dw.view()) == 72.0 * s.out &&
         sum(dev, db.view()) == 9.0 * s.out;
}

template <class T> bool all_right(cuda& dev) {
  for (bool const allow : {false, true}) {
    dev.allow_tf32(allow);
    for (int const channels : {8, 40})
      if (!convolves<T>(dev, {channels, channels, 3}, 9) || !convolves<T>(dev, {channels, channels, 1}, 1))
        return false;
    if (!convolves<T>(dev, {3, 40, 3}, 9)) return false;
  }
  dev.allow_tf32(false);
  return elementwise_sum<T>(dev) == 2.25 && pooling_sum<T>(dev) == 12 && works<T>(dev) && updates<T>(dev) &&
         loads<T>(dev) && compares<T>(dev) && transposes<T>(dev) && trains_and_denoises<T>(dev) && ends<T>(dev, 1) &&
         ends<T>(dev, 3);
}

}  // namespace

int main() {
  if (!unetdn::cuda_available()) {
    std::puts(unetdn::cuda_problem().c_str());
    if (std::getenv("UNETDN_REQUIRE_CUDA")) return 1;
    try {
      cuda dev;
      return 1;
    } catch (unetdn::error const& e) {
      return unetdn::cuda_problem() == e.what() ? 0 : 1;
    }
  }
  cuda dev;
  bool const ok = all_right<float>(dev) && all_right<unetdn::bf16>(dev) && all_right<unetdn::fp16>(dev);
  std::puts(ok ? "what was tried is right on the GPU" : "something is WRONG on the GPU");
  return ok ? 0 : 1;
}
