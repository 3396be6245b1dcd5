// SPDX-License-Identifier: Apache-2.0
// Speed of the operations on the cpu device: operations and bytes a second, as shares of the multiply-add peak ("of
// peak") and of the copying speed of memory ("of copy") that are measured right beside; by the median of a row's
// passes, whose mean is the time that is printed. What stays in caches moves more than memory could. Where its library
// was found in version 2, oneDNN's convolutions have rows beside ours.
//
//   kernels [--shape n,h,w,c,k]... [--threads N] [--benchmark_filter=...] [--benchmark_out=run.json]
//
// Each --shape adds the operations on n pictures of h x w with c channels, convolutions having k outputs (k = 0: no
// convolutions); without any, the layers of a U-Net with 64 base channels on a 256 x 256 picture. UNETDN_ISA chooses
// the instruction set; UNETDN_CONV=direct switches Winograd's algorithm off. Each operation is first compared with its
// definition in double, at some random elements; one that differs is not timed. compare_runs.py compares two files of
// --benchmark_out.
#include <algorithm>
#include <benchmark/benchmark.h>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <limits>
#include <memory>
#include <numeric>
#include <random>
#include <span>
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
#include <unetdn/ops/output_layer.hpp>
#include <unetdn/ops/reduce.hpp>
#include <unetdn/ops/relu.hpp>
#include <unetdn/ops/sigmoid.hpp>

#include "arguments.hpp"
#include "onednn.hpp"
#include "peak.hpp"
#include "reference/loss.hpp"
#include "statistics.hpp"

namespace {

using namespace unetdn;
using benchmarks::layer;
using benchmarks::option;
using benchmarks::parse_shape;
using benchmarks::parse_threads;

std::vector<layer> const unet_layers{{1, 256, 256, 3, 64},    {1, 256, 256, 16, 16}, {1, 256, 256, 64, 64},
                                     {1, 128, 128, 128, 128}, {1, 64, 64, 256, 256}, {1, 32, 32, 512, 512},
                                     {1, 16, 16, 1024, 1024}};

/// The largest share of the multiply-add peak that an operation can reach: Winograd's F(4x4,3x3) does 36 of 144
/// multiplications.
constexpr double direct_limit = 1, winograd_limit = 4;
/// For peers, which may use another instruction set than ours.
constexpr double no_limit = std::numeric_limits<double>::infinity();

/// Whether a kernel beat what is possible: then the meter is broken, and no share means anything.
bool meter_broken = false;
/// Whether an operation differed from its definition.
bool any_wrong = false;

/// Registers one pass, and how to see that it computes the right thing. Peaks are measured beside it, because clocks
/// and neighbours change while a program runs.
void add(std::string const& name, cpu& dev, op_cost cost, double limit, std::function<void()> pass,
         std::function<bool()> right) {
  auto const run = [=, &dev](benchmark::State& state) {
    cpu_bodies::isa const which = cpu_bodies::active_isa();
    if (!right()) {  // its pass also grows scratch and warms caches
      any_wrong = true;
      state.SkipWithError("differs from its definition");
      return;
    }
    double const copy_speed = benchmarks::copy_bandwidth(dev);
    double peak = benchmarks::multiply_add_peak<float>(dev, which);
    std::vector<double> seconds;
    for (auto _ : state) {
      auto const begin = std::chrono::steady_clock::now();
      pass();
      double const taken = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
      state.SetIterationTime(taken);
      seconds.push_back(taken);
    }
    if (seconds.empty()) return;
    peak = std::max(peak, benchmarks::multiply_add_peak<float>(dev, which));
    double const rate = 1 / benchmarks::median(seconds);
    state.counters["ms"] = 1e3 / rate;
    state.counters["GB/s"] = cost.bytes * rate * 1e-9;
    state.counters["of copy"] = cost.bytes * rate / copy_speed;
    state.counters["GFLOP/s"] = cost.flops * rate * 1e-9;
    state.counters["of peak"] = cost.flops * rate / peak;
    state.counters["peak"] = peak * 1e-9;
    state.counters["copy"] = copy_speed * 1e-9;
    if (cost.flops * rate > limit * peak) meter_broken = true;
  };
  benchmark::RegisterBenchmark(name.c_str(), run)->UseManualTime()->Unit(benchmark::kMillisecond);
}

std::string label(layer const& l) { return text(l.n, "x", l.h, "x", l.w, "/", l.c, "->", l.k); }

// ---- what is compared -----------------------------------------------------------------------------------------------

/// Random numbers in [-1, 1).
void randomise(float* p, std::int64_t size) {
  static std::minstd_rand words{1};
  for (std::int64_t i = 0; i < size; ++i) p[i] = float(words() >> 7) * 0x1p-23f - 1;
}
void randomise(tensor<float, cpu>& t) { randomise(t.data(), t.size()); }
std::vector<float> random_values(std::size_t count) {
  std::vector<float> v(count);
  randomise(v.data(), std::int64_t(count));
  return v;
}

/// An element of a window.
struct place {
  int n, y, x, c;
};

/// The window's first and last element, and random ones between.
std::vector<place> places(unetdn::shape s) {
  static std::mt19937 words{1};
  auto const below = [](int extent) { return static_cast<int>(words() % static_cast<unsigned>(extent)); };
  std::vector<place> all{{0, 0, 0, 0}, {s.n - 1, s.h - 1, s.w - 1, s.c - 1}};
  while (all.size() < 48) all.push_back({below(s.n), below(s.h), below(s.w), below(s.c)});
  return all;
}

/// Elements of a window; 0 beyond its borders.
double at(tensor<float, cpu> const& t, int n, int y, int x, int c) {
  view<float const> const v = t.view();
  return y < 0 || y >= v.h || x < 0 || x >= v.w ? 0.0 : double(v.pixel(n, y, x)[c]);
}
double at(tensor<float, cpu> const& t, place const& p) { return at(t, p.n, p.y, p.x, p.c); }

std::vector<double> values(tensor<float, cpu> const& t, std::vector<place> const& where) {
  std::vector<double> all;
  for (place const& p : where) all.push_back(at(t, p));
  return all;
}
template <class F> std::vector<double> each(std::vector<place> const& where, F f) {
  std::vector<double> all;
  for (place const& p : where) all.push_back(f(p));
  return all;
}

/// |got - expected| <= 1e-5 |expected|, Euclidean. A NaN does not agree.
bool agree(std::vector<double> const& got, std::vector<double> const& expected) {
  double error = 0, size = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    error += (got[i] - expected[i]) * (got[i] - expected[i]);
    size += expected[i] * expected[i];
  }
  return error <= 1e-10 * size;
}

/// Operands of one benchmark, alive as long as its functions are.
struct operands {
  tensor<float, cpu> x, y, w, dw, b;

  operands(cpu& dev, unetdn::shape xs, unetdn::shape ys, std::int64_t weights)
      : x{dev, xs},
        y{dev, ys},
        w{dev, {1, 1, 1, static_cast<int>(weights)}},
        dw{dev, {1, 1, 1, static_cast<int>(weights)}},
        b{dev, {1, 1, 1, ys.c}} {
    randomise();
  }
  void randomise() {
    for (auto* const t : {&x, &y, &w, &dw, &b}) ::randomise(*t);
  }
};

std::span<float> weights_of(operands& o) { return {o.w.data(), std::size_t(o.w.size())}; }

// ---- operations -----------------------------------------------------------------------------------------------------

/// f(row, column) over a square kernel.
template <class F> double sum_of_taps(int kernel, F f) {
  double sum = 0;
  for (int r = 0; r < kernel; ++r)
    for (int q = 0; q < kernel; ++q) sum += f(r, q);
  return sum;
}

/// A kernel x kernel convolution; oneDNN's beside it where it has stride 1 and 3x3.
void add_conv2d(cpu& dev, layer const& l, int kernel, int stride) {
  conv2d_shape const s{l.c, l.k, kernel, stride};
  bool const usual = kernel == 3 && stride == 1;
  int const padding = (kernel - 1) / 2;
  unetdn::shape const xs{l.n, l.h, l.w, l.c}, ys = conv2d_output_shape(s, xs);
  auto const o = std::make_shared<operands>(dev, xs, ys, conv2d_weight_size<cpu>(s));
  op_cost const cost = conv2d_cost(s, xs);
  bool const direct = !cpu_bodies::takes_winograd(detail::geometry(s), detail::packed(s));
  double const limit = direct ? direct_limit : winograd_limit;
  std::string const op =
      usual ? "conv2d/" : text("conv2d_", kernel, "x", kernel, stride > 1 ? text("_stride_", stride) : "", "/");
  auto const weight = [=](int k, int c, int r, int q) {
    return ((std::size_t(k) * l.c + c) * kernel + r) * kernel + q;
  };
  auto const fresh = [=] {
    o->randomise();
    auto const canonical = random_values(std::size_t(kernel) * kernel * l.c * l.k);
    conv2d_pack_weights<cpu, float>(s, std::span<float const>{canonical}, weights_of(*o));
    return canonical;
  };

  auto const right_y = [=](std::vector<float> const& w, place p) {
    int const y = stride * p.y - padding, x = stride * p.x - padding;
    return std::max(0.0, o->b.data()[p.c] + sum_of_taps(kernel, [&](int r, int q) {
                           double sum = 0;
                           for (int c = 0; c < l.c; ++c)
                             sum += at(o->x, p.n, y + r, x + q, c) * w[weight(p.c, c, r, q)];
                           return sum;
                         }));
  };
  auto const forward = [=, &dev] {
    conv2d_forward(dev, s, o->x.view(), o->w.data(), o->b.data(), o->y.view(), {true});
  };
  add(op + "forward/" + label(l), dev, cost, limit, forward, [=] {
    auto const w = fresh();
    auto const where = places(ys);
    forward();
    return agree(values(o->y, where), each(where, [&](place p) { return right_y(w, p); }));
  });

  if (unetdn::shape const half = max_pool2d_output_shape(ys); usual && half.size() > 0) {
    auto const pooled = std::make_shared<tensor<float, cpu>>(dev, half);
    auto const forward_pooled = [=, &dev] {
      conv2d_forward(dev, s, o->x.view(), o->w.data(), o->b.data(), o->y.view(), {true, pooled->view()});
    };
    op_cost const both{cost.flops, cost.bytes + double(half.size()) * sizeof(float)};
    add("conv2d/forward_pooled/" + label(l), dev, both, limit, forward_pooled, [=] {
      auto const w = fresh();
      auto const where = places(half);
      forward_pooled();
      return agree(values(*pooled, where), each(where, [&](place p) {
                     double most = 0;
                     for (int i = 0; i < 4; ++i)
                       most = std::max(most, right_y(w, {p.n, 2 * p.y + i / 2, 2 * p.x + i % 2, p.c}));
                     return most;
                   }));
    });
  }

  auto const backward_data = [=, &dev] {
    conv2d_backward_data(dev, s, o->y.view(), o->w.data(), o->x.view(), o->x.view());
  };
  add(op + "backward_data/" + label(l), dev, cost, limit, backward_data, [=] {
    auto const w = fresh();
    auto const where = places(xs);
    auto const expected = each(where, [&](place p) {
      return at(o->x, p) > 0
                 ? sum_of_taps(kernel,
                               [&](int r, int q) {
                                 int const y = p.y + padding - r, x = p.x + padding - q;
                                 double sum = 0;
                                 if (y % stride == 0 && x % stride == 0)
                                   for (int k = 0; k < l.k; ++k)
                                     sum += at(o->y, p.n, y / stride, x / stride, k) * w[weight(k, p.c, r, q)];
                                 return sum;
                               })
                 : 0.0;
    });
    backward_data();
    return agree(values(o->x, where), expected);
  });

  auto const backward_weights = [=, &dev] {
    conv2d_backward_weights<float>(dev, s, o->x.view(), o->y.view(), o->dw.data(), o->b.data(), false);
  };
  add(op + "backward_weights/" + label(l), dev, cost, limit, backward_weights, [=] {
    o->randomise();
    auto const where = places({l.k, l.c, kernel, kernel});
    backward_weights();
    auto const got = each(where, [&](place p) {
      return double(o->dw.data()[detail::layout<cpu>(s).index(p.y, kernel * p.x + p.c, p.n)]);
    });
    return agree(got, each(where, [&](place p) {
                   double sum = 0;
                   for (int n = 0; n < l.n; ++n)
                     for (int y = 0; y < ys.h; ++y)
                       for (int x = 0; x < ys.w; ++x)
                         sum += at(o->x, n, stride * y + p.x - padding, stride * x + p.c - padding, p.y) *
                                at(o->y, n, y, x, p.n);
                   return sum;
                 }));
  });

  if (!usual) return;
  for (auto const& peer : benchmarks::onednn_convolutions(dev.threads(), l.n, l.h, l.w, l.c, l.k))
    add("onednn/" + peer.name + "/" + label(l), dev, cost, no_limit, peer.pass,
        [pass = peer.pass] { return pass(), true; });
}

void add_conv_transpose2d(cpu& dev, layer const& l) {
  conv_transpose2d_shape const s{l.c, std::max(1, l.c / 2)};
  unetdn::shape const xs{l.n, l.h, l.w, l.c}, ys = conv_transpose2d_output_shape(s, xs);
  auto const o = std::make_shared<operands>(dev, xs, ys, conv_transpose2d_weight_size<cpu>(s));
  op_cost const cost = conv_transpose2d_cost(s, xs);
  layer const named{l.n, l.h, l.w, l.c, s.out};
  auto const weight = [=](int c, int k, int t) { return (std::size_t(c) * s.out + k) * 4 + t; };
  auto const fresh = [=] {
    o->randomise();
    auto const canonical = random_values(std::size_t(4) * s.in * s.out);
    conv_transpose2d_pack_weights<cpu, float>(s, std::span<float const>{canonical}, weights_of(*o));
    return canonical;
  };

  auto const forward = [=, &dev] {
    conv_transpose2d_forward(dev, s, o->x.view(), o->w.data(), o->b.data(), o->y.view());
  };
  add("conv_transpose2d/forward/" + label(named), dev, cost, direct_limit, forward, [=] {
    auto const w = fresh();
    auto const where = places(ys);
    forward();
    return agree(values(o->y, where), each(where, [&](place p) {
                   double sum = o->b.data()[p.c];
                   for (int c = 0; c < s.in; ++c)
                     sum += at(o->x, p.n, p.y / 2, p.x / 2, c) * w[weight(c, p.c, p.y % 2 * 2 + p.x % 2)];
                   return sum;
                 }));
  });

  auto const backward_data = [=, &dev] {
    conv_transpose2d_backward_data(dev, s, o->y.view(), o->w.data(), o->x.view(), o->x.view());
  };
  add("conv_transpose2d/backward_data/" + label(named), dev, cost, direct_limit, backward_data, [=] {
    auto const w = fresh();
    auto const where = places(xs);
    auto const expected = each(where, [&](place p) {
      double sum = 0;
      for (int t = 0; t < 4; ++t)
        for (int k = 0; k < s.out; ++k)
          sum += at(o->y, p.n, 2 * p.y + t / 2, 2 * p.x + t % 2, k) * w[weight(p.c, k, t)];
      return at(o->x, p) > 0 ? sum : 0.0;
    });
    backward_data();
    return agree(values(o->x, where), expected);
  });

  auto const backward_weights = [=, &dev] {
    conv_transpose2d_backward_weights<float>(dev, s, o->x.view(), o->y.view(), o->dw.data(), o->b.data(), false);
  };
  add("conv_transpose2d/backward_weights/" + label(named), dev, cost, direct_limit, backward_weights, [=] {
    o->randomise();
    auto const where = places({s.in, s.out, 2, 2});
    backward_weights();
    auto const got = each(
        where, [&](place p) { return double(o->dw.data()[detail::layout<cpu>(s).index(p.n, 2 * p.x + p.c, p.y)]); });
    return agree(got, each(where, [&](place p) {
                   double sum = 0;
                   for (int n = 0; n < l.n; ++n)
                     for (int y = 0; y < l.h; ++y)
                       for (int x = 0; x < l.w; ++x)
                         sum += at(o->x, n, y, x, p.n) * at(o->y, n, 2 * y + p.x, 2 * x + p.c, p.y);
                   return sum;
                 }));
  });
}

void add_max_pool2d(cpu& dev, layer const& l) {
  unetdn::shape const xs{l.n, l.h, l.w, l.c}, ys = max_pool2d_output_shape(xs);
  auto const o = std::make_shared<operands>(dev, xs, ys, 1);
  auto const dx = std::make_shared<tensor<float, cpu>>(dev, xs);
  op_cost const cost = max_pool2d_cost(xs);
  layer const named{l.n, l.h, l.w, l.c, l.c};
  auto const largest = [=](int n, int y, int x, int c) {
    return std::max({at(o->x, n, 2 * y, 2 * x, c), at(o->x, n, 2 * y, 2 * x + 1, c), at(o->x, n, 2 * y + 1, 2 * x, c),
                     at(o->x, n, 2 * y + 1, 2 * x + 1, c)});
  };
  auto const forward = [=, &dev] { max_pool2d_forward(dev, o->x.view(), o->y.view()); };
  add("max_pool2d/forward/" + label(named), dev, cost, direct_limit, forward, [=] {
    o->randomise();
    auto const where = places(ys);
    forward();
    return agree(values(o->y, where), each(where, [&](place p) { return largest(p.n, p.y, p.x, p.c); }));
  });

  // Of the gradient at one pixel: what is scattered to it, and what a skip connection brings besides.
  auto const scattered = [=](place p) {
    bool const covered = p.y / 2 < ys.h && p.x / 2 < ys.w;
    bool const chosen = covered && at(o->x, p) == largest(p.n, p.y / 2, p.x / 2, p.c);
    return chosen ? double(at(o->y, p.n, p.y / 2, p.x / 2, p.c)) : 0.0;
  };
  double const elements = double(xs.size()), code_bytes = double(max_pool2d_code_shape(xs).size());
  auto const backward = [=, &dev] { max_pool2d_backward(dev, o->x.view(), o->y.view(), dx->view()); };
  op_cost const backward_cost{cost.flops, cost.bytes + elements * sizeof(float)};
  add("max_pool2d/backward/" + label(named), dev, backward_cost, direct_limit, backward, [=] {
    o->randomise();
    auto const where = places(xs);
    backward();
    return agree(values(*dx, where), each(where, scattered));
  });

  auto const codes = std::make_shared<buffer<window_code, cpu>>(dev, std::size_t(code_bytes));
  auto const coded = [=] { return view<window_code>{codes->data(), l.n, ceil_div(l.h, 2), ceil_div(l.w, 2), l.c}; };
  auto const encode = [=, &dev] { max_pool2d_encode<float>(dev, o->x.view(), coded(), o->y.view()); };
  op_cost const encode_cost{cost.flops + elements, cost.bytes + code_bytes};
  add("max_pool2d/encode/" + label(named), dev, encode_cost, direct_limit, encode, [=] {
    o->randomise();
    auto const where = places(xs);
    encode();
    std::vector<double> positive;
    for (place const p : where)
      positive.push_back(coded().pixel(p.n, p.y / 2, p.x / 2)[p.c] >> (p.y % 2 * 2 + p.x % 2) & 1);
    auto const pooled = places(ys);
    return agree(positive, each(where, [&](place p) { return at(o->x, p) > 0 ? 1.0 : 0.0; })) &&
           agree(values(o->y, pooled), each(pooled, [&](place p) { return largest(p.n, p.y, p.x, p.c); }));
  });
  auto const into_skip = [=, &dev] { max_pool2d_backward_into_skip(dev, coded(), o->y.view(), dx->view()); };
  op_cost const skip_cost{double(ys.size()), elements * 2.25 * sizeof(float) + code_bytes};
  add("max_pool2d/backward_into_skip/" + label(named), dev, skip_cost, direct_limit, into_skip, [=] {
    o->randomise();
    randomise(*dx);
    auto const where = places(xs);
    encode();  // and then the maxima are the gradient
    auto const expected = each(where, [&](place p) { return at(o->x, p) > 0 ? at(*dx, p) + scattered(p) : 0.0; });
    into_skip();
    return agree(values(*dx, where), expected);
  });
}

/// From c channels to a picture of three, with a sigmoid.
void add_output_layer(cpu& dev, layer const& l) {
  output_layer_shape const s{l.c, 3};
  unetdn::shape const xs{l.n, l.h, l.w, l.c}, ys{l.n, l.h, l.w, s.out};
  auto const o = std::make_shared<operands>(dev, xs, ys, conv2d_weight_size<cpu>(s.conv()));
  auto const dx = std::make_shared<tensor<float, cpu>>(dev, xs);
  std::string const name = label({l.n, l.h, l.w, l.c, s.out});
  auto const weight = [=](int k, int c) { return std::size_t(k) * l.c + c; };
  auto const fresh = [=] {
    o->randomise();
    auto const canonical = random_values(std::size_t(s.out) * l.c);
    conv2d_pack_weights<cpu, float>(s.conv(), std::span<float const>{canonical}, weights_of(*o));
    return canonical;
  };

  auto const forward = [=, &dev] {
    output_layer_forward<float>(dev, s, o->x.view(), o->w.data(), o->b.data(), o->y.view(), {true});
  };
  add("output_layer/forward/" + name, dev, output_layer_cost(s, xs, false), direct_limit, forward, [=] {
    auto const w = fresh();
    auto const where = places(ys);
    forward();
    return agree(values(o->y, where), each(where, [&](place p) {
                   double sum = o->b.data()[p.c];
                   for (int c = 0; c < l.c; ++c) sum += at(o->x, p.n, p.y, p.x, c) * w[weight(p.c, c)];
                   return 1 / (1 + std::exp(-sum));
                 }));
  });

  auto const backward = [=, &dev] {
    output_layer_backward<float>(dev, s, o->x.view(), o->w.data(), o->y.view(), dx->view(), true, o->dw.data(),
                                 o->b.data(), false);
  };
  add("output_layer/backward/" + name, dev, output_layer_cost(s, xs, true), direct_limit, backward, [=] {
    auto const w = fresh();
    auto const where = places(xs);
    backward();
    auto const gradient = each(where, [&](place p) {
      double sum = 0;
      for (int k = 0; k < s.out; ++k) sum += at(o->y, p.n, p.y, p.x, k) * w[weight(k, p.c)];
      return at(o->x, p) > 0 ? sum : 0.0;
    });
    auto const which = places({1, 1, l.c, s.out});
    auto const got =
        each(which, [&](place p) { return double(o->dw.data()[detail::layout<cpu>(s.conv()).index(p.x, 0, p.c)]); });
    return agree(values(*dx, where), gradient) && agree(got, each(which, [&](place p) {
                                                          double sum = 0;
                                                          for (int n = 0; n < l.n; ++n)
                                                            for (int y = 0; y < l.h; ++y)
                                                              for (int x = 0; x < l.w; ++x)
                                                                sum += at(o->x, n, y, x, p.x) * at(o->y, n, y, x, p.c);
                                                          return sum;
                                                        }));
  });
}

/// What is bound by memory: one window of n x h x w x c elements, and for the update as many parameters.
void add_elementwise(cpu& dev, layer const& l) {
  unetdn::shape const xs{l.n, l.h, l.w, l.c};
  auto const o = std::make_shared<operands>(dev, xs, xs, xs.size());
  auto const dx = std::make_shared<tensor<float, cpu>>(dev, xs);
  std::string const name = text(l.n, "x", l.h, "x", l.w, "x", l.c);

  /// An operation that writes `result`, each of whose elements is f(place) of the operands as they were before.
  auto const elementwise = [&](std::string const& op, op_cost cost, tensor<float, cpu> const& result,
                               std::function<void()> pass, std::function<double(place)> f) {
    add(op + "/" + name, dev, cost, direct_limit, pass, [=, &result] {
      o->randomise();
      randomise(*dx);
      auto const where = places(xs);
      auto const expected = each(where, f);
      pass();
      return agree(values(result, where), expected);
    });
  };
  elementwise(
      "copy", copy_cost(xs), o->y, [=, &dev] { copy<float>(dev, o->x.view(), o->y.view()); },
      [=](place p) { return at(o->x, p); });
  elementwise(
      "add", add_cost(xs), o->y, [=, &dev] { unetdn::add<float>(dev, o->x.view(), o->y.view()); },
      [=](place p) { return at(o->x, p) + at(o->y, p); });
  elementwise(
      "fill", fill_cost(xs), o->y, [=, &dev] { fill(dev, o->y.view(), 0.5f); }, [](place) { return 0.5; });
  elementwise(
      "copy_reflected", copy_cost(xs), o->y, [=, &dev] { copy_reflected<float>(dev, o->x.view(), o->y.view(), 1, 1); },
      [=](place p) { return at(o->x, p.n, std::abs(p.y - 1), std::abs(p.x - 1), p.c); });
  elementwise(
      "relu/forward", relu_cost(xs, false), o->y, [=, &dev] { relu_forward<float>(dev, o->x.view(), o->y.view()); },
      [=](place p) { return std::max(0.0, at(o->x, p)); });
  elementwise(
      "relu/backward", relu_cost(xs, true), *dx,
      [=, &dev] { relu_backward<float>(dev, o->x.view(), o->y.view(), dx->view()); },
      [=](place p) { return at(o->x, p) > 0 ? at(o->y, p) : 0.0; });
  elementwise(
      "sigmoid/forward", sigmoid_cost(xs, false), o->y,
      [=, &dev] { sigmoid_forward<float>(dev, o->x.view(), o->y.view()); },
      [=](place p) { return 1 / (1 + std::exp(-at(o->x, p))); });
  elementwise(
      "sigmoid/backward", sigmoid_cost(xs, true), *dx,
      [=, &dev] { sigmoid_backward<float>(dev, o->x.view(), o->y.view(), dx->view()); },
      [=](place p) { return at(o->y, p) * at(o->x, p) * (1 - at(o->x, p)); });
  double const elements = double(xs.size());
  elementwise(
      "loss/mse", loss_cost(loss_kind::mse, xs), *dx,
      [=, &dev] { loss_and_gradient<float>(dev, loss_kind::mse, o->x.view(), o->y.view(), dx->view()); },
      [=](place p) { return 2 * (at(o->x, p) - at(o->y, p)) / elements; });
  elementwise(
      "loss/l1", loss_cost(loss_kind::l1, xs), *dx,
      [=, &dev] { loss_and_gradient<float>(dev, loss_kind::l1, o->x.view(), o->y.view(), dx->view()); },
      [=](place p) { return (at(o->x, p) > at(o->y, p) ? 1 : -1) / elements; });

  /// A sum over all elements, of f(element).
  auto const reduction = [&](std::string const& op, op_cost cost, std::function<double()> pass,
                             std::function<double(double)> f) {
    auto const kept = [=] { benchmark::DoNotOptimize(pass()); };
    add(op + "/" + name, dev, cost, direct_limit, kept, [=] {
      o->randomise();
      double const sum = std::accumulate(o->x.data(), o->x.data() + o->x.size(), 0.0,
                                         [&](double before, float x) { return before + f(x); });
      return agree({pass()}, {sum});
    });
  };
  reduction(
      "sum", sum_cost(xs), [=, &dev] { return sum(dev, o->x.view()); }, [](double x) { return x; });
  reduction(
      "squared_norm", squared_norm_cost(xs.size()), [=, &dev] { return squared_norm(dev, o->x.data(), o->x.size()); },
      [](double x) { return x * x; });

  auto const mean_square = [=] { return mse(o->x.view(), o->y.view()); };
  add(
      "mse/" + name, dev, {3 * elements, 2 * elements * sizeof(float)}, direct_limit,
      [=] { benchmark::DoNotOptimize(mean_square()); },
      [=] {
        o->randomise();
        double sum = 0;
        for (std::int64_t i = 0; i < xs.size(); ++i) sum += std::pow(double(o->x.data()[i]) - o->y.data()[i], 2);
        return agree({mean_square()}, {sum / elements});
      });

  auto const update = [=, &dev] {
    adamw_step<float>(dev, {}, {o->x.data(), o->y.data(), o->w.data(), o->dw.data(), dx->data(), xs.size()}, 1, 1e-2, 1,
                      0.999);
  };
  add("adamw/" + name, dev, adamw_cost(xs.size(), true), direct_limit, update, [=] {
    o->randomise();
    for (std::int64_t i = 0; i < o->dw.size(); ++i) o->dw.data()[i] = std::abs(o->dw.data()[i]);
    auto const where = places({1, 1, 1, static_cast<int>(xs.size())});
    auto const expected = each(where, [&](place p) {
      double const g = o->y.data()[p.c];
      adamw_options const a;
      double const m = a.beta1 * at(o->w, p) + (1 - a.beta1) * g;
      double const v = a.beta2 * at(o->dw, p) + (1 - a.beta2) * g * g;
      return o->x.data()[p.c] - 1e-2 * (m / (1 - a.beta1)) / (std::sqrt(v / (1 - a.beta2)) + a.epsilon);
    });
    update();
    return agree(each(where, [&](place p) { return double(o->x.data()[p.c]); }), expected);
  });

  double const sigma = 25 / 255.0;
  auto const noise = [=, &dev] {
    std::vector<float> const sigmas(static_cast<std::size_t>(l.n), 25.f);
    add_gaussian_noise<cpu, float>(dev, o->x.view(), dx->view(), sigmas, {1, 0, random_stream::noise});
  };
  add("gaussian_noise/" + name, dev, copy_cost(xs), direct_limit, noise, [=] {  // its bits have a test of their own
    o->randomise();
    noise();
    double squares = 0;
    for (std::int64_t i = 0; i < dx->size(); ++i) squares += std::pow(double(dx->data()[i]) - o->x.data()[i], 2);
    return std::abs(std::sqrt(squares / elements) / sigma - 1) < 5 / std::sqrt(elements);
  });
  auto const bytes = std::make_shared<std::vector<std::uint8_t>>(std::size_t(xs.size()), std::uint8_t(51));
  auto const batch = [=, &dev] {
    view<std::uint8_t const> const pictures{bytes->data(), l.n, l.h, l.w, l.c};
    std::vector<float> const sigmas(static_cast<std::size_t>(l.n), 25.f);
    noisy_batch<float>(dev, pictures, o->y.view(), dx->view(), {}, sigmas, {1, 0, random_stream::noise});
  };
  add("noisy_batch/" + name, dev, noisy_batch_cost(xs), direct_limit, batch, [=] {
    batch();
    double squares = 0;
    for (std::int64_t i = 0; i < dx->size(); ++i) squares += std::pow(double(dx->data()[i]) - 0.2, 2);
    bool const converted = std::count(o->y.data(), o->y.data() + xs.size(), 0.2f) == xs.size();
    return converted && std::abs(std::sqrt(squares / elements) / sigma - 1) < 5 / std::sqrt(elements);
  });
  if (std::min(l.h, l.w) < smallest_side(loss_kind::l1_ssim)) return;

  auto const loss = [=, &dev] {
    loss_and_gradient<float>(dev, loss_kind::l1_ssim, o->x.view(), o->y.view(), dx->view());
  };
  auto const widened = [](tensor<float, cpu> const& t) { return std::vector<double>(t.data(), t.data() + t.size()); };
  auto const windows = double(l.n) * (l.h - 10) * (l.w - 10) * l.c;
  auto const first = [=](int n, int y, int x, int c) {
    return ((std::size_t(n) * std::size_t(l.h) + std::size_t(y)) * std::size_t(l.w) + std::size_t(x)) *
               std::size_t(l.c) +
           std::size_t(c);
  };
  add("loss/l1_ssim/" + name, dev, loss_cost(loss_kind::l1_ssim, xs), direct_limit, loss, [=] {
    o->randomise();
    auto const y = widened(o->x), target = widened(o->y);
    auto const where = places(xs);
    loss();
    std::vector<double> gradient(y.size());
    return agree(values(*dx, where), each(where, [&](place p) {
                   std::fill(gradient.begin(), gradient.end(), 0.0);
                   for (int row = std::max(0, p.y - 10); row <= std::min(p.y, l.h - 11); ++row)
                     for (int column = std::max(0, p.x - 10); column <= std::min(p.x, l.w - 11); ++column)
                       unetdn::reference::add_ssim_derivative(y, target, first(p.n, row, column, p.c), std::size_t(l.w),
                                                              std::size_t(l.c), -unetdn::reference::ssim_part / windows,
                                                              gradient);
                   double const sign = at(o->x, p) > at(o->y, p) ? 1 : -1;
                   return sign / elements + gradient[first(p.n, p.y, p.x, p.c)];
                 }));
  });
  auto const similarity = [=] { return ssim(o->x.view(), o->y.view()); };
  add(
      "ssim/" + name, dev, {0, 2.0 * elements * sizeof(float)}, direct_limit,
      [=] { benchmark::DoNotOptimize(similarity()); },
      [=] {
        o->randomise();
        auto const a = widened(o->x), b = widened(o->y);
        double sum = 0;
        for (int n = 0; n < l.n; ++n)
          for (int y = 0; y + 11 <= l.h; ++y)
            for (int x = 0; x + 11 <= l.w; ++x)
              for (int c = 0; c < l.c; ++c)
                sum += unetdn::reference::ssim_at(a, b, first(n, y, x, c), std::size_t(l.w), std::size_t(l.c));
        return std::abs(similarity() - sum / windows) < 1e-6;
      });
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
      threads = parse_threads(value);
    else
      throw argument_error(text("'", argv[i], "' is no option; there are --shape n,h,w,c,k and --threads N"));
  }
  if (layers.empty()) layers = unet_layers;

  cpu dev{threads};
  cpu_bodies::isa const which = cpu_bodies::active_isa();
  benchmark::AddCustomContext("instruction set", cpu_bodies::name(which));
  benchmark::AddCustomContext("threads", std::to_string(dev.threads()));
  benchmark::AddCustomContext("oneDNN", benchmarks::onednn_version());
  for (layer const& l : layers) {
    if (l.k > 0) add_conv2d(dev, l, 3, 1);
    if (l.k > 0 && l.c > 3) {
      add_conv2d(dev, l, 1, 1);
      add_conv2d(dev, l, 2, 2);
      add_conv2d(dev, l, 3, 2);
    }
    if (l.k > 0 && l.c > 3) add_conv_transpose2d(dev, l);
    if (l.c > 3) add_max_pool2d(dev, l);
    if (l.c > 3) add_output_layer(dev, l);
    add_elementwise(dev, l);
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::ClearRegisteredBenchmarks();  // their operands live on the device
  check(!any_wrong, "an operation differs from its definition; see its row");
  check(!meter_broken, "a kernel beat what the multiply-add peak allows: the peak's meter is broken");
  return 0;
}

}  // namespace

int main(int argc, char** argv) try { return run(argc, argv); } catch (std::exception const& e) {
  std::fprintf(stderr, "kernels: %s\n", e.what());
  return 1;
}
