// SPDX-License-Identifier: Apache-2.0
// Speed of the operations' kernels on a GPU, each by the GPU's own clock with its cache emptied before: operations and
// bytes a second, and bytes a second as a share of a large copy's in the same run ("of copy"). It checks nothing; the
// tests do, and gpu_check.sh runs them first. `kernels` is the same for the cpu.
//
//   gpu_kernels [--shape n,h,w,c,k]... [--device cuda|emulated] [--precision float|tf32|bf16|fp16]
//               [--benchmark_filter=...] [--benchmark_format=json]
//
// Each --shape adds the operations on n pictures of h x w with c channels, convolutions having k outputs (k = 0: no
// convolutions); without any, the layers of a U-Net with 64 base channels on 16 pictures of 256 x 256. The emulated
// device runs the kernels on the processor, to try this program; its times mean nothing.
#include <algorithm>
#include <benchmark/benchmark.h>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <unetdn/core/tensor.hpp>
#include <unetdn/core/update_state.hpp>
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

#include "arguments.hpp"
#include "devices.hpp"

namespace {

using namespace unetdn;
using benchmarks::layer;
using benchmarks::option;
using benchmarks::parse_shape;

std::vector<layer> const unet_layers{{16, 256, 256, 3, 64},  {16, 256, 256, 16, 16},   {16, 256, 256, 32, 32},
                                     {16, 256, 256, 64, 64}, {16, 128, 128, 128, 128}, {16, 64, 64, 256, 256},
                                     {16, 32, 32, 512, 512}, {16, 16, 16, 1024, 1024}};

/// Times a pass. On a GPU by the GPU's own clock, with its cache emptied before: in use, another layer was there.
template <class Device> class stopwatch {
 public:
  explicit stopwatch(Device& dev) : dev_{dev} {
    if constexpr (on_gpu) flushed_ = buffer<unsigned char, Device>(dev, cache_bytes);
  }
  template <class F> double seconds(F&& pass) {
    if constexpr (on_gpu) {
      dev_.fill_zero(flushed_.data(), flushed_.bytes());
      dev_.set(begin_);
      pass();
      dev_.set(end_);
      dev_.wait(end_);
      return double(end_.milliseconds_since(begin_)) * 1e-3;
    } else {
      auto const begin = std::chrono::steady_clock::now();
      pass();
      dev_.synchronize();
      return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    }
  }

 private:
  static constexpr bool on_gpu = requires(typename Device::mark & m) { m.milliseconds_since(m); };
  static constexpr std::size_t cache_bytes = std::size_t(256) << 20;  // more than any GPU's second level
  Device& dev_;
  buffer<unsigned char, Device> flushed_;
  typename Device::mark begin_, end_;
};

/// Random numbers in [-1, 1), some over and over, into device memory. Of constants fewer bits would change from one
/// cycle to the next, and the clock would stay higher than it is in use.
template <class U, class Device> void randomise(Device& dev, U* to, std::int64_t size) {
  std::minstd_rand words{1};
  std::vector<U> block(static_cast<std::size_t>(std::min<std::int64_t>(size, 1 << 20)));
  for (U& v : block) v = convert<U>(float(words() >> 7) * 0x1p-23f - 1);
  auto const all = static_cast<std::size_t>(size);
  for (std::size_t done = 0; done < all; done += block.size())
    dev.upload(to + done, block.data(), std::min(block.size(), all - done) * sizeof(U));
}
template <class U, class Device> void randomise(Device& dev, tensor<U, Device>& t) {
  randomise(dev, t.data(), t.size());
}

/// The benchmarks of one element type on one device.
template <class T, class Device> class suite {
 public:
  using real = accumulator_t<T>;

  explicit suite(Device& dev) : dev_{dev}, watch_{std::make_shared<stopwatch<Device>>(dev)} {
    copy_rate_ = measure_copy();
  }

  /// Bytes a second of a large copy, read and written.
  double copy_rate() const { return copy_rate_; }

  void add(layer const& l) {
    if (l.k > 0) add_conv2d(l, {l.c, l.k, 3});
    if (l.k > 0 && l.c > 3) {
      for (auto const& [kernel, stride] : {std::pair{1, 1}, {2, 2}, {3, 2}}) add_conv2d(l, {l.c, l.k, kernel, stride});
      add_conv_transpose2d(l);
    }
    if (l.c > 3) add_max_pool2d(l);
    if (l.c > 3) add_output_layer(l);
    add_elementwise(l);
  }

 private:
  /// Operands of one benchmark, alive as long as its functions are.
  struct operands {
    tensor<T, Device> x, y, more;
    tensor<T, Device> w, b;
    tensor<real, Device> dw, db;

    operands(Device& dev, unetdn::shape xs, unetdn::shape ys, std::int64_t weights)
        : x{dev, xs},
          y{dev, ys},
          more{dev, xs},
          w{dev, {1, 1, 1, static_cast<int>(weights)}},
          b{dev, {1, 1, 1, ys.c}},
          dw{dev, w.shape()},
          db{dev, b.shape()} {
      for (auto* t : {&x, &y, &more, &w, &b}) randomise(dev, *t);
    }
  };

  double measure_copy() {
    // An emulated device is tried with little: its times mean nothing.
    std::size_t const bytes = std::size_t(1) << (dev_.available_bytes() == std::size_t(-1) ? 20 : 30);
    buffer<unsigned char, Device> from(dev_, bytes), to(dev_, bytes);
    double best = 0;
    for (int i = 0; i < 5; ++i) {
      double const seconds = watch_->seconds([&] { dev_.copy(to.data(), from.data(), bytes); });
      best = std::max(best, 2.0 * double(bytes) / seconds);
    }
    return best;
  }

  /// Registers one pass.
  void add(std::string const& name, op_cost cost, std::function<void()> pass) {
    auto const run = [this, cost, pass, watch = watch_](benchmark::State& state) {
      pass();  // grows scratch, loads the kernel
      double seconds = 0;
      std::size_t passes = 0;
      for (auto _ : state) {
        double const taken = watch->seconds(pass);
        state.SetIterationTime(taken);
        seconds += taken;
        ++passes;
      }
      double const rate = double(passes) / seconds;
      state.counters["GB/s"] = cost.bytes * rate * 1e-9;
      state.counters["of copy"] = cost.bytes * rate / copy_rate_;
      state.counters["GFLOP/s"] = cost.flops * rate * 1e-9;
    };
    benchmark::RegisterBenchmark(name.c_str(), run)->UseManualTime()->Unit(benchmark::kMillisecond);
  }

  static std::string label(layer const& l) { return text(l.n, "x", l.h, "x", l.w, "/", l.c, "->", l.k); }

  void add_conv2d(layer const& l, conv2d_shape s) {
    unetdn::shape const xs{l.n, l.h, l.w, l.c};
    auto const o = std::make_shared<operands>(dev_, xs, conv2d_output_shape(s, xs), conv2d_weight_size<Device>(s));
    op_cost const cost = conv2d_cost(s, xs, sizeof(T));
    bool const usual = s.kernel == 3 && s.stride == 1;
    std::string const op =
        usual ? "conv2d/"
              : text("conv2d_", s.kernel, "x", s.kernel, s.stride > 1 ? text("_stride_", s.stride) : "", "/");
    auto& dev = dev_;
    add(op + "forward/" + label(l), cost,
        [=, &dev] { conv2d_forward<T>(dev, s, o->x.view(), o->w.data(), o->b.data(), o->y.view(), {true}); });
    if (unetdn::shape const half = max_pool2d_output_shape(o->y.shape()); usual && half.size() > 0) {
      auto const pooled = std::make_shared<tensor<T, Device>>(dev_, half);
      add(op + "forward_pooled/" + label(l), {cost.flops, cost.bytes + double(half.size()) * sizeof(T)}, [=, &dev] {
        conv2d_forward<T>(dev, s, o->x.view(), o->w.data(), o->b.data(), o->y.view(), {true, pooled->view()});
      });
    }
    add(op + "backward_data/" + label(l), cost,
        [=, &dev] { conv2d_backward_data<T>(dev, s, o->y.view(), o->w.data(), o->x.view(), o->x.view()); });
    add(op + "backward_weights/" + label(l), cost,
        [=, &dev] { conv2d_backward_weights<T>(dev, s, o->x.view(), o->y.view(), o->dw.data(), o->db.data(), false); });
  }

  void add_conv_transpose2d(layer const& l) {
    conv_transpose2d_shape const s{l.c, std::max(1, l.c / 2)};
    unetdn::shape const xs{l.n, l.h, l.w, l.c};
    auto const o = std::make_shared<operands>(dev_, xs, conv_transpose2d_output_shape(s, xs),
                                              conv_transpose2d_weight_size<Device>(s));
    op_cost const cost = conv_transpose2d_cost(s, xs, sizeof(T));
    std::string const name = label({l.n, l.h, l.w, l.c, s.out});
    auto& dev = dev_;
    add("conv_transpose2d/forward/" + name, cost,
        [=, &dev] { conv_transpose2d_forward<T>(dev, s, o->x.view(), o->w.data(), o->b.data(), o->y.view()); });
    add("conv_transpose2d/backward_data/" + name, cost,
        [=, &dev] { conv_transpose2d_backward_data<T>(dev, s, o->y.view(), o->w.data(), o->x.view(), o->x.view()); });
    add("conv_transpose2d/backward_weights/" + name, cost, [=, &dev] {
      conv_transpose2d_backward_weights<T>(dev, s, o->x.view(), o->y.view(), o->dw.data(), o->db.data(), false);
    });
  }

  void add_max_pool2d(layer const& l) {
    unetdn::shape const xs{l.n, l.h, l.w, l.c};
    auto const o = std::make_shared<operands>(dev_, xs, max_pool2d_output_shape(xs), 1);
    op_cost const cost = max_pool2d_cost(xs, sizeof(T));
    std::string const name = label({l.n, l.h, l.w, l.c, l.c});
    auto& dev = dev_;
    add("max_pool2d/forward/" + name, cost, [=, &dev] { max_pool2d_forward<T>(dev, o->x.view(), o->y.view()); });
    double const elements = double(xs.size()), code_bytes = double(max_pool2d_code_shape(xs).size());
    add("max_pool2d/backward/" + name, {cost.flops, cost.bytes + elements * sizeof(T)},
        [=, &dev] { max_pool2d_backward<T>(dev, o->x.view(), o->y.view(), o->more.view()); });
    auto const codes = std::make_shared<buffer<window_code, Device>>(dev, std::size_t(code_bytes));
    auto const coded = [=] { return view<window_code>{codes->data(), l.n, ceil_div(l.h, 2), ceil_div(l.w, 2), l.c}; };
    add("max_pool2d/encode/" + name, {cost.flops + elements, cost.bytes + code_bytes},
        [=, &dev] { max_pool2d_encode<T>(dev, o->x.view(), coded(), o->y.view()); });
    add("max_pool2d/backward_into_skip/" + name, {elements / 4, elements * 2.25 * sizeof(T) + code_bytes},
        [=, &dev] { max_pool2d_backward_into_skip<T>(dev, coded(), o->y.view(), o->more.view()); });
  }

  /// From c channels to a picture of three, with a sigmoid.
  void add_output_layer(layer const& l) {
    output_layer_shape const s{l.c, 3};
    unetdn::shape const xs{l.n, l.h, l.w, l.c}, ys{l.n, l.h, l.w, s.out};
    auto const o = std::make_shared<operands>(dev_, xs, ys, conv2d_weight_size<Device>(s.conv()));
    auto const target = std::make_shared<tensor<real, Device>>(dev_, ys);
    auto const g = std::make_shared<tensor<T, Device>>(dev_, ys);
    auto const loss = std::make_shared<buffer<double, Device>>(dev_, 1);
    randomise(dev_, *g);
    randomise(dev_, *target);
    std::string const name = label({l.n, l.h, l.w, l.c, s.out});
    op_cost const forward = output_layer_cost(s, xs, false, sizeof(T));
    auto& dev = dev_;
    add("output_layer/forward/" + name, forward,
        [=, &dev] { output_layer_forward<T>(dev, s, o->x.view(), o->w.data(), o->b.data(), o->y.view(), {true}); });
    if (output_layer_is_fused<Device>(s)) {
      double const with_loss = forward.bytes + double(ys.size()) * double(sizeof(real) + sizeof(T));
      add("output_layer/forward_with_loss/" + name, {forward.flops, with_loss}, [=, &dev] {
        output_layer_forward<T>(dev, s, o->x.view(), o->w.data(), o->b.data(), o->y.view(), {true},
                                {true, target->view(), g->view(), loss->data()});
      });
    }
    add("output_layer/backward/" + name, output_layer_cost(s, xs, true, sizeof(T)), [=, &dev] {
      output_layer_backward<T>(dev, s, o->x.view(), o->w.data(), g->view(), o->more.view(), true, o->dw.data(),
                               o->db.data(), false);
    });
  }

  /// What is bound by memory: one window of n x h x w x c elements, and for the update as many parameters.
  void add_elementwise(layer const& l) {
    unetdn::shape const xs{l.n, l.h, l.w, l.c};
    auto const o = std::make_shared<operands>(dev_, xs, xs, xs.size());
    auto const target = std::make_shared<tensor<real, Device>>(dev_, xs);
    randomise(dev_, *target);
    std::string const name = text(l.n, "x", l.h, "x", l.w, "x", l.c);
    auto const bound_by_memory = [&](std::string const& op, op_cost cost, std::function<void()> pass) {
      add(op + "/" + name, cost, std::move(pass));
    };
    auto& dev = dev_;
    constexpr std::size_t size = sizeof(T);
    bound_by_memory("copy", copy_cost(xs, size), [=, &dev] { copy<T>(dev, o->x.view(), o->y.view()); });
    bound_by_memory("add", add_cost(xs, size), [=, &dev] { unetdn::add<T>(dev, o->x.view(), o->y.view()); });
    bound_by_memory("fill", fill_cost(xs, size), [=, &dev] { fill(dev, o->y.view(), real(0.5)); });
    bound_by_memory("copy_reflected", copy_cost(xs, size),
                    [=, &dev] { copy_reflected<T>(dev, o->x.view(), o->y.view(), 1, 1); });
    bound_by_memory("relu/forward", relu_cost(xs, false, size),
                    [=, &dev] { relu_forward<T>(dev, o->x.view(), o->y.view()); });
    bound_by_memory("relu/backward", relu_cost(xs, true, size),
                    [=, &dev] { relu_backward<T>(dev, o->x.view(), o->y.view(), o->more.view()); });
    bound_by_memory("sigmoid/forward", sigmoid_cost(xs, false, size),
                    [=, &dev] { sigmoid_forward<T>(dev, o->x.view(), o->y.view()); });
    bound_by_memory("sigmoid/backward", sigmoid_cost(xs, true, size),
                    [=, &dev] { sigmoid_backward<T>(dev, o->x.view(), o->y.view(), o->more.view()); });
    bound_by_memory("sum", sum_cost(xs, size), [=, &dev] { benchmark::DoNotOptimize(sum(dev, o->x.view())); });
    bound_by_memory("gaussian_noise", copy_cost(xs, size), [=, &dev] {
      std::vector<float> const sigmas(static_cast<std::size_t>(l.n), 25.f);
      add_gaussian_noise<Device, T>(dev, o->x.view(), o->more.view(), sigmas, {1, 0, random_stream::noise});
    });
    add_training(l, o, target, bound_by_memory);
  }

  template <class Add>
  void add_training(layer const& l, std::shared_ptr<operands> o, std::shared_ptr<tensor<real, Device>> target,
                    Add const& bound_by_memory) {
    unetdn::shape const xs{l.n, l.h, l.w, l.c};
    auto& dev = dev_;
    auto const kinds = std::min(l.h, l.w) < smallest_side(loss_kind::l1_ssim)
                           ? std::vector{loss_kind::mse}
                           : std::vector{loss_kind::mse, loss_kind::l1_ssim};
    // The update's arrays: gradient, weights, both moments and an average, in the type that sums are kept in.
    auto const arrays = std::make_shared<std::vector<buffer<real, Device>>>();
    for (int i = 0; i < 5; ++i) {
      arrays->emplace_back(dev, static_cast<std::size_t>(xs.size()));
      randomise(dev, arrays->back().data(), xs.size());
    }
    constexpr std::size_t second_moment = 3;  // squares have no sign
    dev.fill_zero((*arrays)[second_moment].data(), (*arrays)[second_moment].bytes());
    auto const all = [=] {
      auto const at = [&](std::size_t i) { return (*arrays)[i].data(); };
      adamw_arrays<T> a{at(1), at(0), at(2), at(3), at(4), xs.size()};
      if constexpr (is_16_bit<T>) a.network_weights = o->w.data();
      return a;
    };
    std::size_t const copy_bytes = is_16_bit<T> ? sizeof(T) : 0;
    op_cost const update_cost = adamw_cost(xs.size(), true, sizeof(real), copy_bytes);
    auto const state = std::make_shared<buffer<update_state, Device>>(dev, 1);
    update_state const first;
    dev.upload(state->data(), &first, sizeof first);
    bound_by_memory("squared_norm", squared_norm_cost(xs.size()),
                    [=, &dev] { squared_norm(dev, (*arrays)[0].data(), xs.size(), &state->data()->squared_norm); });
    bound_by_memory("adamw", update_cost, [=, &dev] {
      begin_update(dev, state->data(), 1e-6, 0.999);
      adamw_step<T>(dev, {}, {}, all(), state->data());
    });
    for (loss_kind const kind : kinds) {
      bound_by_memory(text("loss/", to_string(kind)), loss_cost(kind, xs, sizeof(T)), [=, &dev] {
        loss_and_gradient<T>(dev, kind, o->x.view(), target->view(), o->more.view(), &state->data()->loss, nullptr);
      });
    }
    auto const bytes = std::make_shared<buffer<std::uint8_t, Device>>(dev, static_cast<std::size_t>(xs.size()));
    double const traffic = double(xs.size()) * (1 + sizeof(real) + sizeof(T));
    bound_by_memory("noisy_batch", {0, traffic}, [=, &dev] {
      std::vector<float> const sigmas(static_cast<std::size_t>(l.n), 25.f);
      view<std::uint8_t const> const pictures(bytes->data(), xs.n, xs.h, xs.w, xs.c);
      noisy_batch<T>(dev, pictures, target->view(), o->more.view(), {}, sigmas, {1, 0, random_stream::noise});
    });
  }

  Device& dev_;
  std::shared_ptr<stopwatch<Device>> watch_;
  double copy_rate_ = 0;
};

struct settings {
  std::vector<layer> layers;
  std::string device = "cuda", precision = "bf16";
};

settings parse(int argc, char** argv) {
  settings s;
  for (int i = 1; i < argc; ++i) {
    std::string value;
    if (option(argc, argv, i, "--shape", value))
      s.layers.push_back(parse_shape(value));
    else if (!option(argc, argv, i, "--device", s.device) && !option(argc, argv, i, "--precision", s.precision))
      throw argument_error(text("'", argv[i],
                                "' is no option; there are --shape n,h,w,c,k, --device cuda or emulated, ",
                                "and --precision float, tf32, bf16 or fp16"));
  }
  check(s.device == "cuda" || s.device == "emulated", "--device is cuda or emulated, not '", s.device,
        "'; the program `kernels` times the cpu");
  if (s.layers.empty()) s.layers = unet_layers;
  return s;
}

template <class T, class Device> int run(settings const& s, Device dev) {
  suite<T, Device> all(dev);
  benchmark::AddCustomContext("device", Device::name());
  benchmark::AddCustomContext("precision", s.precision);
  benchmark::AddCustomContext("copy GB/s", text(all.copy_rate() * 1e-9));
  for (layer const& l : s.layers) all.add(l);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::ClearRegisteredBenchmarks();  // their operands live on the device
  return 0;
}

int run(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  settings const s = parse(argc, argv);
  return benchmarks::on_gpu(s.device, s.precision, 0, [&]<class T, class Device>(std::type_identity<T>, Device device) {
    return run<T>(s, std::move(device));
  });
}

}  // namespace

int main(int argc, char** argv) try { return run(argc, argv); } catch (std::exception const& e) {
  std::fprintf(stderr, "gpu_kernels: %s\n", e.what());
  return 1;
}
