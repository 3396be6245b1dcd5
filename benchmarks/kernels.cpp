// SPDX-License-Identifier: Apache-2.0
// Speed of the operations on the cpu device: of convolutions as operations and bytes a second and as shares of the
// multiply-add peak that was measured right before.
//
//   kernels [--shape n,h,w,c,k]... [--threads N] [--benchmark_filter=...]
//
// Each --shape adds one convolution from c to k channels (k = 0: pooling alone) on n pictures of h x w; without any,
// the layers of a U-Net with 64 base channels on a 256 x 256 picture. UNETDN_ISA chooses the instruction set;
// UNETDN_CONV=direct switches Winograd's algorithm off.
#include <algorithm>
#include <benchmark/benchmark.h>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include <unetdn/core/tensor.hpp>
#include <unetdn/loss.hpp>
#include <unetdn/metrics.hpp>
#include <unetdn/noise.hpp>
#include <unetdn/ops/adamw.hpp>
#include <unetdn/ops/conv2d.hpp>
#include <unetdn/ops/conv_transpose2d.hpp>
#include <unetdn/ops/elementwise.hpp>
#include <unetdn/ops/max_pool2d.hpp>
#include <unetdn/ops/reduce.hpp>
#include <unetdn/ops/relu.hpp>
#include <unetdn/ops/sigmoid.hpp>

#include "peak.hpp"

namespace {

using namespace unetdn;

struct layer {
  int n, h, w, c, k;
};

std::vector<layer> const unet_layers{{1, 256, 256, 3, 64},    {1, 256, 256, 16, 16}, {1, 256, 256, 64, 64},
                                     {1, 128, 128, 128, 128}, {1, 64, 64, 256, 256}, {1, 32, 32, 512, 512},
                                     {1, 16, 16, 1024, 1024}};

/// How many of a convolution's multiplications are left out at most: Winograd's F(4x4,3x3) does 36 of 144.
constexpr double most_saved = 4;

/// Whether a kernel beat what is possible: then the meter is broken, and no share means anything.
bool meter_broken = false;

tensor<float, cpu> filled(cpu& dev, unetdn::shape s) {
  tensor<float, cpu> t{dev, s};
  std::fill_n(t.data(), t.size(), 0.5f);
  return t;
}

/// Registers one pass. The peak is measured beside it, because clocks and neighbours change while a program runs.
void add(std::string const& name, cpu& dev, op_cost cost, bool multiplies, std::function<void()> pass) {
  auto const run = [&dev, cost, multiplies, pass](benchmark::State& state) {
    cpu_bodies::isa const which = cpu_bodies::active_isa();
    double peak = multiplies ? benchmarks::multiply_add_peak<float>(dev, which) : 0;
    pass();  // grows scratch, warms caches
    double seconds = 0;
    std::size_t passes = 0;
    for (auto _ : state) {
      auto const begin = std::chrono::steady_clock::now();
      pass();
      double const taken = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
      state.SetIterationTime(taken);
      seconds += taken;
      ++passes;
    }
    double const rate = double(passes) / seconds;
    state.counters["GB/s"] = cost.bytes * rate * 1e-9;
    if (!multiplies) return;
    peak = std::max(peak, benchmarks::multiply_add_peak<float>(dev, which));
    state.counters["GFLOP/s"] = cost.flops * rate * 1e-9;
    state.counters["peak"] = peak * 1e-9;
    state.counters["share"] = cost.flops * rate / peak;
    if (cost.flops * rate > most_saved * peak) meter_broken = true;
  };
  benchmark::RegisterBenchmark(name.c_str(), run)->UseManualTime()->Unit(benchmark::kMillisecond);
}

std::string label(layer const& l) { return text(l.n, "x", l.h, "x", l.w, "/", l.c, "->", l.k); }

/// Operands of one benchmark, alive as long as its functions are.
struct operands {
  tensor<float, cpu> x, y, w, dw, b;

  operands(cpu& dev, unetdn::shape xs, unetdn::shape ys, std::int64_t weights)
      : x{filled(dev, xs)},
        y{filled(dev, ys)},
        w{filled(dev, {1, 1, 1, static_cast<int>(weights)})},
        dw{filled(dev, {1, 1, 1, static_cast<int>(weights)})},
        b{filled(dev, {1, 1, 1, ys.c})} {}
};

void add_conv2d(cpu& dev, layer const& l) {
  conv2d_shape const s{l.c, l.k, 3};
  unetdn::shape const xs{l.n, l.h, l.w, l.c};
  auto const o = std::make_shared<operands>(dev, xs, conv2d_output_shape(s, xs), conv2d_weight_size<cpu>(s));
  op_cost const cost = conv2d_cost(s, xs);
  add("conv2d/forward/" + label(l), dev, cost, true,
      [=, &dev] { conv2d_forward(dev, s, o->x.view(), o->w.data(), o->b.data(), o->y.view(), {true}); });
  add("conv2d/backward_data/" + label(l), dev, cost, true,
      [=, &dev] { conv2d_backward_data(dev, s, o->y.view(), o->w.data(), o->x.view(), o->x.view()); });
  add("conv2d/backward_weights/" + label(l), dev, cost, true, [=, &dev] {
    conv2d_backward_weights<float>(dev, s, o->x.view(), o->y.view(), o->dw.data(), o->b.data(), false);
  });
}

void add_conv_transpose2d(cpu& dev, layer const& l) {
  conv_transpose2d_shape const s{l.c, std::max(1, l.c / 2)};
  unetdn::shape const xs{l.n, l.h, l.w, l.c};
  auto const o =
      std::make_shared<operands>(dev, xs, conv_transpose2d_output_shape(s, xs), conv_transpose2d_weight_size<cpu>(s));
  op_cost const cost = conv_transpose2d_cost(s, xs);
  layer const named{l.n, l.h, l.w, l.c, s.out};
  add("conv_transpose2d/forward/" + label(named), dev, cost, true,
      [=, &dev] { conv_transpose2d_forward(dev, s, o->x.view(), o->w.data(), o->b.data(), o->y.view()); });
  add("conv_transpose2d/backward_data/" + label(named), dev, cost, true,
      [=, &dev] { conv_transpose2d_backward_data(dev, s, o->y.view(), o->w.data(), o->x.view(), o->x.view()); });
  add("conv_transpose2d/backward_weights/" + label(named), dev, cost, true, [=, &dev] {
    conv_transpose2d_backward_weights<float>(dev, s, o->x.view(), o->y.view(), o->dw.data(), o->b.data(), false);
  });
}

void add_max_pool2d(cpu& dev, layer const& l) {
  unetdn::shape const xs{l.n, l.h, l.w, l.c};
  auto const o = std::make_shared<operands>(dev, xs, max_pool2d_output_shape(xs), 1);
  auto const dx = std::make_shared<tensor<float, cpu>>(dev, xs);
  op_cost const cost = max_pool2d_cost(xs);
  layer const named{l.n, l.h, l.w, l.c, l.c};
  add("max_pool2d/forward/" + label(named), dev, cost, false,
      [=, &dev] { max_pool2d_forward(dev, o->x.view(), o->y.view()); });
  add("max_pool2d/backward/" + label(named), dev, {cost.flops, cost.bytes + double(xs.size()) * 2 * sizeof(float)},
      false, [=, &dev] { max_pool2d_backward(dev, o->x.view(), o->y.view(), dx->view(), true, true); });
}

/// What is bound by memory: one window of n x h x w x c elements, and for the update as many parameters.
void add_elementwise(cpu& dev, layer const& l) {
  unetdn::shape const xs{l.n, l.h, l.w, l.c};
  auto const o = std::make_shared<operands>(dev, xs, xs, xs.size());
  auto const more = std::make_shared<operands>(dev, xs, xs, xs.size());
  std::string const name = text(l.n, "x", l.h, "x", l.w, "x", l.c);
  auto const bound_by_memory = [&](std::string const& op, op_cost cost, std::function<void()> pass) {
    add(op + "/" + name, dev, cost, false, std::move(pass));
  };
  bound_by_memory("copy", copy_cost(xs), [=, &dev] { copy<float>(dev, o->x.view(), o->y.view()); });
  bound_by_memory("add", add_cost(xs), [=, &dev] { unetdn::add<float>(dev, o->x.view(), o->y.view()); });
  bound_by_memory("fill", fill_cost(xs), [=, &dev] { fill(dev, o->y.view(), 0.5f); });
  bound_by_memory("copy_reflected", copy_cost(xs),
                  [=, &dev] { copy_reflected<float>(dev, o->x.view(), o->y.view(), 1, 1); });
  bound_by_memory("relu/forward", relu_cost(xs, false),
                  [=, &dev] { relu_forward<float>(dev, o->x.view(), o->y.view()); });
  bound_by_memory("relu/backward", relu_cost(xs, true),
                  [=, &dev] { relu_backward<float>(dev, o->x.view(), o->y.view(), more->x.view()); });
  bound_by_memory("sigmoid/forward", sigmoid_cost(xs, false),
                  [=, &dev] { sigmoid_forward<float>(dev, o->x.view(), o->y.view()); });
  bound_by_memory("sigmoid/backward", sigmoid_cost(xs, true),
                  [=, &dev] { sigmoid_backward<float>(dev, o->x.view(), o->y.view(), more->x.view()); });
  bound_by_memory("sum", sum_cost(xs), [=, &dev] { benchmark::DoNotOptimize(sum(dev, o->x.view())); });
  bound_by_memory("squared_norm", squared_norm_cost(xs.size()),
                  [=, &dev] { benchmark::DoNotOptimize(squared_norm(dev, o->x.data(), o->x.size())); });
  bound_by_memory("loss/mse", loss_cost(loss_kind::mse, xs), [=, &dev] {
    loss_and_gradient<float>(dev, loss_kind::mse, o->x.view(), o->y.view(), more->x.view());
  });
  bound_by_memory("adamw", adamw_cost(xs.size(), true), [=, &dev] {
    adamw_step<float>(dev, {}, {o->x.data(), o->y.data(), o->w.data(), o->dw.data(), more->x.data(), xs.size()}, 1,
                      1e-6, 1, 0.999);
  });
  bound_by_memory("gaussian_noise", copy_cost(xs), [=, &dev] {
    std::vector<float> const sigmas(static_cast<std::size_t>(l.n), 25.f);
    add_gaussian_noise<cpu, float>(dev, o->x.view(), more->x.view(), sigmas, {1, 0, random_stream::noise});
  });
  if (std::min(l.h, l.w) < smallest_side(loss_kind::l1_ssim)) return;
  bound_by_memory("loss/l1_ssim", loss_cost(loss_kind::l1_ssim, xs), [=, &dev] {
    loss_and_gradient<float>(dev, loss_kind::l1_ssim, o->x.view(), o->y.view(), more->x.view());
  });
  bound_by_memory("ssim", {0, 2.0 * double(xs.size()) * sizeof(float)},
                  [=] { benchmark::DoNotOptimize(ssim(o->x.view(), more->x.view())); });
}

layer parse_shape(std::string const& from) {
  layer l{};
  char comma[4] = {};
  std::istringstream in{from};
  in >> l.n >> comma[0] >> l.h >> comma[1] >> l.w >> comma[2] >> l.c >> comma[3] >> l.k;
  bool const separated = std::all_of(comma, comma + 4, [](char c) { return c == ','; });
  check(in && in.eof() && separated && l.n > 0 && l.h > 1 && l.w > 1 && l.c > 0 && l.k >= 0, "--shape is '", from,
        "'; it must be n,h,w,c,k, like 1,256,256,64,64");
  return l;
}

/// The value of option `name` at argv[i], as "--name value" or "--name=value"; moves i past it.
bool option(int argc, char** argv, int& i, std::string const& name, std::string& value) {
  std::string const arg = argv[i];
  if (arg == name && i + 1 < argc) {
    value = argv[++i];
    return true;
  }
  if (arg.rfind(name + "=", 0) != 0) return false;
  value = arg.substr(name.size() + 1);
  return true;
}

int run(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  std::vector<layer> layers;
  int threads = 0;
  for (int i = 1; i < argc; ++i) {
    std::string value;
    if (option(argc, argv, i, "--shape", value))
      layers.push_back(parse_shape(value));
    else if (option(argc, argv, i, "--threads", value))
      threads = std::atoi(value.c_str());
    else
      throw argument_error(text("'", argv[i], "' is no option; there are --shape n,h,w,c,k and --threads N"));
  }
  if (layers.empty()) layers = unet_layers;

  cpu dev{threads};
  cpu_bodies::isa const which = cpu_bodies::active_isa();
  benchmark::AddCustomContext("instruction set", cpu_bodies::name(which));
  benchmark::AddCustomContext("threads", std::to_string(dev.threads()));
  for (layer const& l : layers) {
    if (l.k > 0) add_conv2d(dev, l);
    if (l.k > 0 && l.c > 3) add_conv_transpose2d(dev, l);
    if (l.c > 3) add_max_pool2d(dev, l);
    add_elementwise(dev, l);
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::ClearRegisteredBenchmarks();  // their operands live on the device
  check(!meter_broken, "a kernel beat what the multiply-add peak allows: the peak's meter is broken");
  return 0;
}

}  // namespace

int main(int argc, char** argv) try { return run(argc, argv); } catch (std::exception const& e) {
  std::fprintf(stderr, "kernels: %s\n", e.what());
  return 1;
}
