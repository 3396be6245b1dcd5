// SPDX-License-Identifier: Apache-2.0
// Ignores every barrier, commit, fence and wait of every kernel in turn and demands that the operation's check then
// fails: no synchronisation is without need, and no check is too weak to miss it. A new kernel gets an entry in
// `operations`: the test fails where one of kernels/*.cu does not run here.
#include <cmath>
#include <iostream>
#include <set>
#include <span>
#include <string>
#include <vector>

#include <unetdn/core/tensor.hpp>
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

#include "catch.hpp"
#include "devices/kernels.hpp"
#include "devices/window.hpp"
#include "emulated_kernel_names.hpp"
#include "reference/conv2d.hpp"
#include "reference/conv_transpose2d.hpp"
#include "reference/loss.hpp"
#include "reference/max_pool2d.hpp"
#include "reference/output_layer.hpp"
#include "reference/reduce.hpp"
#include "reference/relu.hpp"
#include "seam/ignored_sites.hpp"

using namespace unetdn;
using namespace unetdn::test;

namespace {

bool sum_is_right(emulated& dev) {
  shape const s{2, 9, 31, 5};
  auto const values = some_numbers(s.size(), 1);
  window<float, emulated> x{dev, s, placements[0], values};
  return std::abs(sum(dev, x.view()) - reference::sum(values)) < 1e-3;  // NaN is not less
}

bool relu_is_right(emulated& dev) {
  shape const s{2, 9, 31, 5};
  auto const values = some_numbers(s.size(), 1);
  window<bf16, emulated> x{dev, s, placements[0], values}, y{dev, s, placements[1]}, dx{dev, s, placements[1]};
  relu_forward(dev, x.view(), y.view());
  relu_backward(dev, y.view(), x.view(), dx.view());
  auto const want = reference::relu_forward(values);
  return y.read() == want && dx.read() == reference::relu_backward(want, values);
}

bool squared_norm_is_right(emulated& dev) {
  auto const values = some_numbers(2500, 1);
  std::vector<float> const x(values.begin(), values.end());
  tensor<float, emulated> on_device{dev, {1, 1, 1, 2500}};
  on_device.upload(dev, x);
  double expected = 0;
  for (double const v : values) expected += v * v;
  return std::abs(squared_norm(dev, on_device.data(), 2500) - expected) < 1e-3;
}

/// A first step goes by the rate against the gradient.
bool adamw_is_right(emulated& dev) {
  constexpr int size = 300;
  auto const filled = [](double v) { return std::vector<double>(size, v); };
  shape const s{1, 1, 1, size};
  window<float, emulated> weight{dev, s, placements[0], filled(1)}, gradient{dev, s, placements[0], filled(2)};
  window<float, emulated> first{dev, s, placements[0], filled(0)}, second{dev, s, placements[0], filled(0)};
  update_state state;
  begin_update(dev, &state, 0.5, 0);
  squared_norm(dev, gradient.view().data, size, &state.squared_norm);
  adamw_step<float>(dev, {}, {},
                    {weight.view().data, gradient.view().data, first.view().data, second.view().data, nullptr, size},
                    &state);
  bool right = state.updates == 1 && state.squared_norm == 4 * size;
  for (double const v : weight.read()) right = right && std::abs(v - 0.5) < 1e-6;
  return right;
}

bool noise_is_right(emulated& dev) {
  window<std::uint8_t, emulated> bytes{dev, {1, 1, 2, 3}, placements[0], {0, 255, 0, 255, 0, 255}};
  window<float, emulated> clean{dev, {1, 1, 2, 3}, placements[0]}, same{dev, {1, 1, 2, 3}, placements[0]};
  noisy_batch<float>(dev, bytes.view(), clean.view(), {}, {}, std::vector<float>{0}, {});
  add_gaussian_noise(dev, clean.view(), same.view(), std::vector<float>{0}, {});
  return clean.read() == std::vector<double>{0, 1, 0, 1, 0, 1} && same.read() == clean.read();
}

bool elementwise_is_right(emulated& dev) {
  shape const s{1, 3, 4, 5};
  window<fp16, emulated> x{dev, s, placements[0], some_numbers(s.size(), 1)}, y{dev, s, placements[1]};
  window<float, emulated> wide{dev, s, placements[0]};
  fill(dev, y.view(), 2);
  convert<float>(dev, y.view(), wide.view());
  convert<fp16>(dev, wide.view(), y.view());
  copy_reflected(dev, y.view(), x.view(), 1, 1);
  add(dev, x.view(), y.view());
  sigmoid_forward(dev, y.view(), x.view());
  sigmoid_backward(dev, x.view(), y.view(), y.view());
  return y.read() == std::vector<double>(static_cast<std::size_t>(s.size()), y.read()[0]);
}

bool max_pool2d_is_right(emulated& dev) {
  shape const s{1, 5, 4, 3};
  auto const values = some_numbers(s.size(), 1);
  window<bf16, emulated> x{dev, s, placements[0], values}, dx{dev, s, placements[0]};
  window<bf16, emulated> y{dev, max_pool2d_output_shape(s), placements[1]};
  max_pool2d_forward(dev, x.view(), y.view());
  max_pool2d_backward(dev, x.view(), y.view(), dx.view());
  reference::max_pool2d const ref{s.n, s.h, s.w, s.c};
  auto const pooled = ref.forward(values);
  if (y.read() != pooled || dx.read() != ref.backward(values, pooled)) return false;
  window<window_code, emulated> codes{dev, max_pool2d_code_shape(s), placements[0]};
  window<bf16, emulated> again{dev, max_pool2d_output_shape(s), placements[1]};
  max_pool2d_encode<bf16>(dev, x.view(), codes.view(), again.view());
  if (again.read() != pooled) return false;
  max_pool2d_backward_into_skip(dev, codes.view(), y.view(), dx.view());
  return dx.read() == ref.backward_into_skip(values, pooled, ref.backward(values, pooled));
}

bool loss_is_right(emulated& dev) {
  shape const s{1, 15, 23, 1};
  auto const values = some_numbers(s.size(), 1), wanted = some_numbers(s.size(), 2);
  window<float, emulated> y{dev, s, placements[0], values}, target{dev, s, placements[0], wanted};
  window<float, emulated> dy{dev, s, placements[0]};
  double loss = 0;
  loss_and_gradient(dev, loss_kind::l1_ssim, y.view(), target.view(), dy.view(), &loss);
  bool right = std::abs(loss - reference::l1_ssim(values, wanted, 1, 15, 23, 1)) < 1e-4;
  auto const gradient = dy.read(), expected = reference::l1_ssim_gradient(values, wanted, 1, 15, 23, 1);
  for (std::size_t i = 0; i < gradient.size(); ++i) right = right && std::abs(gradient[i] - expected[i]) < 1e-6;
  loss_and_gradient(dev, loss_kind::mse, y.view(), target.view(), dy.view(), &loss);
  double squares = 0;
  for (std::size_t i = 0; i < values.size(); ++i) squares += (values[i] - wanted[i]) * (values[i] - wanted[i]);
  return right && std::abs(loss - squares / double(values.size())) < 1e-6;
}

template <class T> std::vector<double> rounded(std::vector<double> v) {
  for (double& e : v) e = convert<double>(convert<T>(e));
  return v;
}

bool output_layer_is_right(emulated& dev) {
  output_layer_shape const s{20, 3};
  shape const xs{1, 9, 5, 20}, ys{1, 9, 5, 3}, ws{1, 1, 1, static_cast<int>(conv2d_weight_size<emulated>(s.conv()))};
  reference::output_layer const ref{45, 20, 3};
  auto const values = some_numbers(xs.size(), 1), g_values = some_numbers(ys.size(), 2);
  auto const w_values = some_numbers(60, 3), wanted = some_numbers(ys.size(), 4);
  auto const pack = [&](std::vector<double> const& canonical) {
    std::vector<double> packed(static_cast<std::size_t>(ws.c));
    conv2d_pack_weights<emulated, double>(s.conv(), std::span<double const>{canonical}, packed);
    return packed;
  };
  window<bf16, emulated> x{dev, xs, placements[1], values}, g{dev, ys, placements[0], g_values};
  window<bf16, emulated> w{dev, ws, placements[0], pack(w_values)}, y{dev, ys, placements[1]};
  window<float, emulated> target{dev, ys, placements[0], wanted}, dw{dev, ws, placements[0]};
  window<float, emulated> db{dev, {1, 1, 1, 3}, placements[0]};
  double loss = 0;
  output_layer_backward<bf16>(dev, s, x.view(), w.view().data, g.view(), x.view(), true, dw.view().data, db.view().data,
                              false);
  bool const right =
      dw.read() == pack(ref.backward_weights(g_values, values)) && db.read() == ref.backward_bias(g_values);
  x.write(values);
  output_layer_forward<bf16>(dev, s, x.view(), w.view().data, nullptr, y.view(), {},
                             {true, target.view(), g.view(), &loss});
  auto const sums = ref.sums(values, w_values, {});
  auto const got = y.read();
  return right && got == rounded<bf16>(sums) && std::abs(loss - reference::mse(got, wanted)) < 1e-5;
}

/// The three passes of a convolution, the first with pooling, with stages enough that buffers are used again, on
/// windows whose pieces are copied asynchronously. All sums are exact: numbers of few bits.
template <class T> bool conv2d_is_right(emulated& dev, shape x_shape, conv2d_shape s) {
  shape const y_shape = conv2d_output_shape(s, x_shape);
  reference::conv2d const ref{x_shape.n, x_shape.h, x_shape.w, s.in, s.out, s.kernel, s.stride};
  auto const few_bits = [](std::int64_t count, std::uint32_t seed) {
    auto v = some_numbers(count, seed);
    for (double& e : v) e = std::round(e * 4) / 4;
    return v;
  };
  auto const x_values = few_bits(x_shape.size(), 1);
  auto const dy_values = few_bits(y_shape.size(), 2);
  auto const w_values = few_bits(std::int64_t(ref.w_size()), 3);
  shape const w_shape{1, 1, 1, static_cast<int>(conv2d_weight_size<emulated>(s))};
  std::vector<double> packed(static_cast<std::size_t>(w_shape.c));
  conv2d_pack_weights<emulated, double>(s, std::span<double const>{w_values}, packed);

  window<T, emulated> x{dev, x_shape, placements[1], x_values}, dy{dev, y_shape, placements[1], dy_values};
  window<T, emulated> w{dev, w_shape, placements[0], packed};
  window<T, emulated> y{dev, y_shape, placements[1]}, dx{dev, x_shape, placements[1]};
  window<T, emulated> pooled{dev, max_pool2d_output_shape(y_shape), placements[1]};
  window<float, emulated> dw{dev, w_shape, placements[0]}, db{dev, {1, 1, 1, s.out}, placements[0]};
  conv2d_forward<T>(dev, s, x.view(), w.view().data, nullptr, y.view(), {false, pooled.view()});
  conv2d_backward_data<T>(dev, s, dy.view(), w.view().data, dx.view());
  conv2d_backward_weights<T>(dev, s, x.view(), dy.view(), dw.view().data, db.view().data, false);
  std::vector<double> dw_values(ref.w_size());
  conv2d_unpack_weights<emulated, double>(s, dw.read(), std::span<double>{dw_values});
  auto const y_values = rounded<T>(ref.forward(x_values, w_values, {}));
  reference::max_pool2d const pool{y_shape.n, y_shape.h, y_shape.w, y_shape.c};
  return y.read() == y_values && pooled.read() == pool.forward(y_values) &&
         dx.read() == rounded<T>(ref.backward_data(dy_values, w_values)) &&
         dw_values == ref.backward_weights(x_values, dy_values) && db.read() == ref.backward_bias(dy_values);
}

bool conv2d_3x3_is_right(emulated& dev) {
  dev.pretend_warpgroups(false);
  return conv2d_is_right<bf16>(dev, {1, 20, 3, 40}, {40, 32, 3});
}
/// So many rows that the weight gradient's buffers are used again, and so many channels that the forward pass, or the
/// other one back, ends in the buffer whose memory the result takes. For the other direction there are few enough that
/// the weights stay in shared memory.
bool conv2d_3x3_by_warpgroups_is_right(emulated& dev) {
  return conv2d_is_right<bf16>(dev, {1, 42, 3, 136}, {136, 32, 3});
}
bool conv2d_3x3_by_warpgroups_back_is_right(emulated& dev) {
  return conv2d_is_right<bf16>(dev, {1, 42, 3, 32}, {32, 136, 3});
}
bool conv2d_2x2_is_right(emulated& dev) { return conv2d_is_right<fp16>(dev, {1, 23, 20, 24}, {24, 104, 2, 2}); }
bool conv2d_5x5_is_right(emulated& dev) { return conv2d_is_right<bf16>(dev, {1, 12, 10, 16}, {16, 16, 5}); }
bool conv2d_float_is_right(emulated& dev) { return conv2d_is_right<float>(dev, {1, 12, 3, 24}, {24, 36, 3}); }
bool conv2d_picture_is_right(emulated& dev) { return conv2d_is_right<bf16>(dev, {1, 24, 33, 3}, {3, 40, 3}); }
bool conv2d_picture_float_is_right(emulated& dev) { return conv2d_is_right<float>(dev, {1, 24, 33, 3}, {3, 40, 3}); }
bool conv2d_1x1_tf32_is_right(emulated& dev) {
  dev.allow_tf32(true);
  return conv2d_is_right<float>(dev, {1, 10, 10, 52}, {52, 52, 1});
}

/// All three passes, with several steps through each sum. These operands make sums exact: see test_conv_transpose2d.
/// `In` and `Out` channels have the last steps of the sums in the stage whose memory the result takes.
template <class T, int In, int Out, bool ByWarpgroups = false> bool conv_transpose2d_is_right(emulated& dev) {
  dev.pretend_warpgroups(ByWarpgroups);
  conv_transpose2d_shape const s{In, Out};
  reference::conv_transpose2d const ref{1, 6, 50, s.in, s.out};
  shape const xs{1, 6, 50, s.in}, ys = conv_transpose2d_output_shape(s, xs);
  auto const x_values = some_numbers(xs.size(), 1), dy_values = some_numbers(ys.size(), 2);
  auto const w_values = some_numbers(std::int64_t(ref.w_size()), 3);
  std::vector<float> packed(static_cast<std::size_t>(conv_transpose2d_weight_size<emulated>(s)));
  auto const pack = [&](std::vector<double> const& iohw) {
    conv_transpose2d_pack_weights<emulated, float>(s, std::span<double const>(iohw), packed);
    return std::vector<double>(packed.begin(), packed.end());
  };
  shape const ws{1, 1, 1, int(packed.size())};
  window<T, emulated> w{dev, ws, placements[0], pack(w_values)};
  window<T, emulated> x{dev, xs, placements[0], x_values}, dx{dev, xs, placements[0]};
  window<T, emulated> y{dev, ys, placements[0]}, dy{dev, ys, placements[0], dy_values};
  window<float, emulated> dw{dev, ws, placements[0]}, db{dev, {1, 1, 1, s.out}, placements[0]};
  conv_transpose2d_forward<T>(dev, s, x.view(), w.view().data, nullptr, y.view());
  conv_transpose2d_backward_data<T>(dev, s, dy.view(), w.view().data, dx.view());
  conv_transpose2d_backward_weights<T>(dev, s, x.view(), dy.view(), dw.view().data, db.view().data, false);
  return y.read() == rounded<T>(ref.forward(x_values, w_values, {})) &&
         dx.read() == rounded<T>(ref.backward_data(dy_values, w_values)) &&
         dw.read() == pack(ref.backward_weights(x_values, dy_values)) && db.read() == ref.backward_bias(dy_values);
}

bool exchange_is_right(emulated& dev) {
  using kernel_type = exchange<mistake::none>;
  constexpr int count = kernel_type::rounds * 64;
  alignas(16) float x[count * 4];
  float y[count];
  for (int i = 0; i < count * 4; ++i) x[i] = float(i + 1);
  launch(dev, {1}, kernel_type{x, y});
  for (int i = 0; i < count; ++i) {
    int const opposite = 63 - i % 64;
    int const even = opposite % 2 == 0 ? opposite : opposite - 1;
    if (y[i] != x[(i / 64 * 64 + even) * 4]) return false;
  }
  return true;
}

bool multiply_is_right(emulated& dev) {
  alignas(16) fp16 a[256], b[256];
  float c[256];
  for (int i = 0; i < 256; ++i) {
    a[i] = fp16(i / 16 == i % 16 ? 1.0f : 0.0f);  // the identity, so that c[m][n] = b[n][m]
    b[i] = fp16(float(i));
  }
  launch(dev, {1}, multiply<fp16, false>{a, b, c});
  for (int i = 0; i < 256; ++i) {
    if (c[i] != float(b[i % 16 * 16 + i / 16])) return false;
  }
  return true;
}

bool two_groups_are_right(emulated& dev) {
  alignas(16) float x[256];
  float y[64];
  for (int i = 0; i < 256; ++i) x[i] = float(i);
  launch(dev, {1}, two_groups{x, y});
  for (int t = 0; t < 64; ++t) {
    if (y[t] != x[t * 4 + 3]) return false;
  }
  return true;
}

/// The second sync separates nothing.
struct needless_sync {
  static constexpr int threads = 64;
  struct shared {
    float x[64];
  };
  float* y;

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared& s) const {
    s.x[block.thread()] = float(block.thread());
    block.sync();
    block.sync();
    y[block.thread()] = s.x[63 - block.thread()];
  }
};

bool needless_sync_is_right(emulated& dev) {
  float y[64];
  launch(dev, {1}, needless_sync{y});
  for (int t = 0; t < 64; ++t) {
    if (y[t] != float(63 - t)) return false;
  }
  return true;
}

struct operation {
  char const* name;
  check_function check;
  int sites;  // how many its kernels have: that none is found must not pass for none is needed
};

operation const operations[] = {
    {"sum", sum_is_right, 1},
    {"relu", relu_is_right, 0},
    {"squared_norm", squared_norm_is_right, 2},
    {"adamw", adamw_is_right, 2},
    {"noise", noise_is_right, 0},
    {"element-wise operations", elementwise_is_right, 0},
    {"max_pool2d", max_pool2d_is_right, 0},
    {"loss", loss_is_right, 7},
    {"output_layer", output_layer_is_right, 4},
    {"conv2d 3x3", conv2d_3x3_is_right, 19},
    {"conv2d 3x3 by warpgroups", conv2d_3x3_by_warpgroups_is_right, 29},
    {"conv2d 3x3 by warpgroups, back", conv2d_3x3_by_warpgroups_back_is_right, 29},
    {"conv2d 2x2", conv2d_2x2_is_right, 17},
    {"conv2d 5x5 to few channels", conv2d_5x5_is_right, 17},
    {"conv2d 3x3 in float", conv2d_float_is_right, 17},
    {"conv2d 3x3 of a picture", conv2d_picture_is_right, 20},
    {"conv2d 3x3 of a picture in float", conv2d_picture_float_is_right, 20},
    {"conv2d 1x1 by tf32", conv2d_1x1_tf32_is_right, 17},
    {"conv_transpose2d", conv_transpose2d_is_right<float, 100, 24>, 17},
    {"conv_transpose2d in bf16", conv_transpose2d_is_right<bf16, 100, 32>, 17},
    {"conv_transpose2d by warpgroups", conv_transpose2d_is_right<bf16, 200, 64, true>, 29},
    {"exchange (a test's kernel)", exchange_is_right, 4},
    {"multiply (a test's kernel)", multiply_is_right, 3},
    {"two_groups (a test's kernel)", two_groups_are_right, 4},
};

/// Sites whose loss the emulated device cannot show, each with the reason.
struct exception {
  char const* kernel;
  char const* word;
  char const* reason;
};

std::vector<exception> const exceptions = {};

bool is_excepted(sync_site const& site) {
  for (exception const& e : exceptions) {
    if (site.kernel == e.kernel && site.word == e.word) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("each synchronisation site of each kernel is needed, and its loss is noticed") {
  std::set<std::string> ran;
  for (operation const& op : operations) {
    site_report const report = ignore_each_site(op.check);
    INFO(op.name);
    CHECK(int(report.noticed.size() + report.unnoticed.size()) == op.sites);
    std::cout << op.name << ": " << report.noticed.size() << " of " << op.sites << " sites noticed when ignored\n";
    for (sync_site const& site : report.unnoticed) {
      INFO("ignored without any effect: " << to_string(site));
      CHECK(is_excepted(site));
    }
    for (std::string const& kernel : report.kernels) ran.insert(kernel.substr(0, kernel.find('<')));
  }
  for (char const* kernel : kernel_templates) {
    INFO(kernel << " of kernels/*.cu runs in no operation of this test");
    CHECK(ran.contains(kernel));
  }
}

TEST_CASE("a needless barrier is found") {
  // Either of two adjacent barriers suffices, so ignoring one shows nothing.
  site_report const report = ignore_each_site(needless_sync_is_right);
  CHECK(report.unnoticed.size() == 2);
  CHECK(report.noticed.empty());
}
