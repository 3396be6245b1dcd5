// SPDX-License-Identifier: Apache-2.0
// conv2d on every device and element type against the definition. What is particular to the cpu's bodies is in
// test_conv2d.cpp.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <vector>

#include <unetdn/ops/conv2d.hpp>

#include "catch.hpp"
#include "devices/on_devices.hpp"
#include "reference/conv2d.hpp"

using namespace unetdn;
using namespace unetdn::test;

namespace {

struct conv_case {
  shape x;
  conv2d_shape s;
  placement x_at, y_at;
};
constexpr placement dense = placements[0], slice = placements[1], odd_slice = placements[2], crop = placements[3],
                    slice_of_a_crop = placements[4];

/// All kinds of kernels; one pixel, and sizes off every tile, in pixels and in channels; windows with and without
/// 16-byte alignment.
std::vector<conv_case> const cases {
#if defined(UNETDN_TSAN)  // every access is slow here
  {{1, 3, 17, 17}, {17, 33, 3}, dense, slice}, {{1, 5, 6, 9}, {9, 5, 3, 2}, odd_slice, dense},
#else
  {{1, 1, 1, 1}, {1, 1, 3}, dense, dense}, {{2, 5, 7, 3}, {3, 16, 3}, dense, slice},
      {{1, 17, 1, 24}, {24, 72, 3}, slice, slice}, {{1, 3, 17, 17}, {17, 33, 3}, odd_slice, slice_of_a_crop},
      {{1, 1, 2, 70}, {70, 4, 3}, crop, odd_slice}, {{3, 16, 2, 16}, {16, 32, 3}, dense, dense},
      {{1, 1, 1, 3}, {3, 2, 1}, dense, dense}, {{1, 9, 15, 72}, {72, 40, 1}, slice, slice},
      {{1, 13, 11, 5}, {5, 67, 1}, odd_slice, crop}, {{1, 6, 7, 24}, {24, 3, 1}, slice_of_a_crop, dense},
      {{1, 8, 9, 6}, {6, 7, 5}, dense, odd_slice}, {{1, 3, 2, 3}, {3, 2, 7}, crop, dense},
      {{2, 5, 6, 17}, {17, 33, 3, 2}, odd_slice, slice}, {{1, 1, 2, 8}, {8, 4, 3, 2}, dense, dense},
      {{1, 6, 5, 5}, {5, 18, 1, 2}, dense, slice}, {{1, 9, 6, 3}, {3, 5, 5, 2}, crop, dense},
      {{2, 8, 6, 16}, {16, 32, 2, 2}, dense, slice}, {{1, 7, 9, 9}, {9, 5, 2, 2}, odd_slice, odd_slice},
      {{1, 1, 1, 2}, {2, 3, 2, 2}, dense, dense},
#endif
};

/// So many channels that warpgroups multiply them, where there are any: tiles of 16, 32, 64 and 128, up to 16, 32, 64
/// and more of them, tails, several steps; of the third one only the forward pass, whose output has no whole pieces.
std::vector<conv_case> const wide_cases {
  {{1, 3, 2, 40}, {40, 32, 3}, crop, slice},
#if !defined(UNETDN_TSAN)
      {{1, 17, 3, 72}, {72, 136, 3}, slice, slice_of_a_crop}, {{1, 1, 1, 136}, {136, 66, 3}, slice, odd_slice},
      {{2, 11, 19, 64}, {64, 48, 3}, slice, dense}, {{1, 9, 10, 32}, {32, 48, 3}, dense, slice},
      {{2, 9, 7, 16}, {16, 16, 3}, slice, slice}, {{1, 8, 17, 16}, {16, 24, 3}, dense, slice},
      {{1, 10, 9, 24}, {24, 16, 3}, slice, dense}, {{1, 3, 2, 64}, {64, 16, 3}, dense, dense},
      {{1, 33, 1, 32}, {32, 64, 3}, odd_slice, odd_slice},  // scratch of one pixel's width
#endif
#if !defined(UNETDN_TSAN) && !defined(UNETDN_ASAN)
      {{2, 9, 33, 32}, {32, 32, 3}, dense, dense},  // a weight gradient in parts that begin within a picture
#endif
};

/// Pictures, whose kernels have as deep a matrix as there are channels: one to four, and the first number that is none.
std::vector<conv_case> const pictures {
  {{1, 9, 17, 3}, {3, 35, 3}, odd_slice, odd_slice},
#if !defined(UNETDN_TSAN)
      {{3, 9, 33, 3}, {3, 8, 3}, dense, slice}, {{1, 1, 1, 3}, {3, 64, 3}, dense, dense},
      {{1, 1, 1, 1}, {1, 3, 3}, slice, odd_slice}, {{2, 8, 50, 1}, {1, 64, 3}, crop, slice},
      {{2, 17, 16, 2}, {2, 13, 3}, slice, slice_of_a_crop}, {{1, 1, 31, 2}, {2, 40, 3}, odd_slice, dense},
      {{1, 35, 2, 4}, {4, 33, 3}, slice_of_a_crop, crop}, {{2, 16, 16, 4}, {4, 24, 3}, dense, dense},
      {{1, 5, 18, 5}, {5, 20, 3}, dense, slice},
#endif
};

/// One of each kind of kernel, for what does not depend on sizes.
std::vector<conv_case> const few {
  {{1, 5, 17, 9}, {9, 33, 3}, odd_slice, slice}, {{1, 9, 18, 3}, {3, 20, 3}, odd_slice, slice},
#if !defined(UNETDN_TSAN)
      {{1, 5, 6, 24}, {24, 3, 1}, slice, dense}, {{1, 4, 5, 3}, {3, 8, 3, 2}, dense, odd_slice},
      {{1, 5, 4, 8}, {8, 5, 2, 2}, slice, crop}, {{1, 16, 17, 24}, {24, 72, 1}, slice, slice},  // the last one in parts
#endif
};

/// The same, for types that warpgroups multiply two more, the second one in parts.
template <class T> std::vector<conv_case> few_of() {
  std::vector<conv_case> all = few;
#if !defined(UNETDN_TSAN)
  if (std::is_same_v<T, bf16>) all.push_back({{1, 5, 17, 40}, {40, 72, 3}, slice, slice});
#endif
#if !defined(UNETDN_TSAN) && !defined(UNETDN_ASAN)
  if (std::is_same_v<T, bf16>) all.push_back({{2, 9, 33, 32}, {32, 32, 3}, dense, dense});
#endif
  return all;
}

/// The kernels of fp16 are those of bf16.
template <class T> std::vector<conv_case> const& cases_of() { return std::is_same_v<T, fp16> ? few : cases; }

/// Half the distance from 1 to the next number of the type.
template <class T> constexpr double half_step() {
  return std::is_same_v<T, double>  ? 0x1p-53
         : std::is_same_v<T, float> ? 0x1p-24
         : std::is_same_v<T, bf16>  ? 0x1p-8
                                    : 0x1p-11;
}

/// Numbers of about -1 to 1 with all bits of a float.
std::vector<double> rough_numbers(std::int64_t count, std::uint32_t seed) {
  std::vector<double> v = some_numbers(count, seed);
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = static_cast<float>(v[i] * (1 + 0.1 / double(i % 1009 + 1)));
  return v;
}

/// v rounded to 11 significant bits, ties away from zero.
double as_tf32(double v) {
  int exponent = 0;
  double const mantissa = std::frexp(v, &exponent);
  return std::ldexp(std::round(std::ldexp(mantissa, 11)), exponent - 11);
}

/// One convolution's operands on a device, and its reference on the very same values.
template <class T, class Device> struct problem {
  using gradient = accumulator_t<T>;
  Device& dev;
  conv2d_shape s;
  shape x_shape, y_shape, w_shape, b_shape;
  window<T, Device> x, dy, w, bias;
  std::vector<double> x_values, dy_values, w_values, bias_values;  // as the device has them
  reference::conv2d ref;

  problem(Device& dev_, conv_case const& c)
      : dev{dev_},
        s{c.s},
        x_shape{c.x},
        y_shape{conv2d_output_shape(s, c.x)},
        w_shape{1, 1, 1, static_cast<int>(conv2d_weight_size<Device>(s))},
        b_shape{1, 1, 1, s.out},
        x{dev, x_shape, c.x_at, rough_numbers(x_shape.size(), 1)},
        dy{dev, y_shape, c.y_at, rough_numbers(y_shape.size(), 2)},
        w{dev, w_shape, dense},
        bias{dev, b_shape, dense, rough_numbers(s.out, 4)},
        x_values{x.read()},
        dy_values{dy.read()},
        bias_values{bias.read()},
        ref{c.x.n, c.x.h, c.x.w, s.in, s.out, s.kernel, s.stride} {
    w.write(packed(rough_numbers(std::int64_t(ref.w_size()), 3)));
    w_values = unpacked<T>(w.read());
  }

  static std::vector<float> narrowed(std::vector<double> const& v) { return {v.begin(), v.end()}; }
  std::vector<double> packed(std::vector<double> const& canonical) const {
    std::vector<T> packed(static_cast<std::size_t>(w_shape.size()), convert<T>(7.0f));
    auto const from = narrowed(canonical);
    conv2d_pack_weights<Device, T>(s, std::span<float const>{from}, packed);
    std::vector<double> wide;
    for (T const v : packed) wide.push_back(convert<double>(v));
    return wide;
  }
  template <class U> std::vector<double> unpacked(std::vector<double> const& packed) const {
    std::vector<U> from;
    for (double const v : packed) from.push_back(convert<U>(v));
    std::vector<double> canonical(ref.w_size());
    conv2d_unpack_weights<Device, U>(s, from, std::span<double>{canonical});
    return canonical;
  }

  std::vector<double> forward(placement at, bool with_bias = true, bool relu = false) {
    window<T, Device> y{dev, y_shape, at};
    conv2d_forward<T>(dev, s, x.view(), w.view().data, with_bias ? bias.view().data : nullptr, y.view(), {relu});
    return y.read();
  }
  std::vector<double> backward_data(placement at) {
    window<T, Device> dx{dev, x_shape, at};
    conv2d_backward_data<T>(dev, s, dy.view(), w.view().data, dx.view());
    return dx.read();
  }
  struct gradients {
    std::vector<double> dw, db;  // dw packed
  };
  gradients backward_weights(bool with_bias = true, double before = 0, bool accumulate = false) {
    window<gradient, Device> dw{dev, w_shape, dense, packed(std::vector<double>(ref.w_size(), before))};
    window<gradient, Device> db{dev, b_shape, dense, std::vector<double>(std::size_t(s.out), before)};
    conv2d_backward_weights<T>(dev, s, x.view(), dy.view(), dw.view().data, with_bias ? db.view().data : nullptr,
                               accumulate);
    return {dw.read(), db.read()};
  }

  double forward_terms() const { return double(s.in) * s.kernel * s.kernel; }
  double data_terms() const { return double(s.out) * s.kernel * s.kernel; }
  /// The cpu's Winograd algorithm adds some roundings of its own, which few pixels do not drown.
  double weight_terms() const { return double(y_shape.pixels()) + 16; }
};

std::string label(conv_case const& c) {
  return text(to_string(c.x), " -> ", c.s.out, ", kernel ", c.s.kernel, ", stride ", c.s.stride, ", ", c.x_at.name,
              " to ", c.y_at.name);
}

/// A sum of `terms` products of numbers of about 1 at most is off by a rounding of a partial sum, in T's accumulator,
/// for each term; then it is rounded to Stored.
template <class Stored> bool close(std::vector<double> const& got, std::vector<double> const& want, double terms) {
  if (got.size() != want.size()) return false;
  double const of_sums = 2 * half_step<accumulator_t<Stored>>() * (terms + 8);
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (!(std::abs(got[i] - want[i]) <= of_sums + half_step<Stored>() * std::abs(want[i]))) {
      UNSCOPED_INFO("element " << i << " is " << got[i] << ", not " << want[i]);
      return false;
    }
  }
  return true;
}

double dot(std::vector<double> const& a, std::vector<double> const& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// Checks the three passes against the reference on operands as `read` sees them, and returns what they gave.
template <class T, class Device, class Read>
std::vector<double> check_passes(Device& dev, conv_case const& c, Read read) {
  INFO(label(c));
  using gradient = accumulator_t<T>;
  problem<T, Device> p{dev, c};
  auto const seen = [&](std::vector<double> v) {
    std::transform(v.begin(), v.end(), v.begin(), read);
    return v;
  };
  auto const x = seen(p.x_values), dy = seen(p.dy_values), w = seen(p.w_values);
  auto y = p.forward(c.y_at);
  CHECK(close<T>(y, p.ref.forward(x, w, p.bias_values), p.forward_terms()));
  auto const dx = p.backward_data(c.x_at);
  CHECK(close<T>(dx, p.ref.backward_data(dy, w), p.data_terms()));
  auto const g = p.backward_weights();
  CHECK(close<gradient>(p.template unpacked<gradient>(g.dw), p.ref.backward_weights(x, dy), p.weight_terms()));
  CHECK(close<gradient>(g.db, p.ref.backward_bias(p.dy_values), p.weight_terms()));
  CHECK(dev.scratch_bytes() <= conv2d_scratch_bytes<T>(dev, p.s, p.x_shape, true));
  for (auto const* more : {&dx, &g.dw, &g.db}) y.insert(y.end(), more->begin(), more->end());
  return y;
}

/// Compares all passes of each case on the row's device with their definitions, on operands as they are.
template <class Row, class Cases> void check_cases(Cases const& list) {
  using T = typename Row::element;
  using device = typename Row::device;
  for (conv_case const& c : list) {
    equal_runs runs;
    on_device<Row>([&](device& dev) {
      runs.add(check_passes<T>(dev, c, [](double v) { return v; }));
      // Loads of matrices cost as many cycles as they have rows; more, where two rows of one meet in a bank.
      if constexpr (std::is_same_v<device, emulated>) CHECK(dev.row_conflicts() == 0);
    });
    INFO(label(c));
    CHECK(runs);
  }
}

/// The same on operands rounded to tf32, which GPUs may do with floats.
template <class Row, class Cases> void check_cases_by_tf32(Cases const& list) {
  using T = typename Row::element;
  using device = typename Row::device;
  if constexpr (std::is_same_v<T, float> && !std::is_same_v<device, cpu>) {
    for (conv_case const& c : list) {
      on_device<Row>([&](device& dev) {
        dev.allow_tf32(true);
        check_passes<T>(dev, c, as_tf32);
        if constexpr (std::is_same_v<device, emulated>) CHECK(dev.row_conflicts() == 0);
      });
    }
  }
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("conv2d agrees with its definition on windows of every kind", "", rows) {
  check_cases<TestType>(cases_of<typename TestType::element>());
}

TEMPLATE_LIST_TEST_CASE("conv2d of many channels agrees with its definition", "", rows) {
  using T = typename TestType::element;
  if constexpr (std::is_same_v<T, bf16>) check_cases<TestType>(wide_cases);
  if constexpr (std::is_same_v<T, fp16>) check_cases<TestType>(std::span(wide_cases).first(1));  // bf16's kernels
#if !defined(UNETDN_TSAN) && !defined(UNETDN_ASAN)
  if constexpr (std::is_same_v<typename TestType::device, emulated> && std::is_same_v<T, bf16>) {
    for (conv_case const& c : wide_cases) {
      emulated older{thread_order::forward, 2};
      older.pretend_warpgroups(false);
      check_passes<T>(older, c, [](double v) { return v; });
      CHECK(older.row_conflicts() == 0);
    }
  }
#endif
}

// A picture so large that warpgroups can read a dense window of it, but not half the channels of a wider one.
TEST_CASE("conv2d's scratch is planned for windows of wider buffers too") {
  emulated dev, older;
  older.pretend_warpgroups(false);
  shape const x{1, 4096, 4000, 96};
  std::size_t const needed = conv2d_scratch_bytes<bf16>(older, {96, 96, 3}, x, true, true);
  CHECK(conv2d_scratch_bytes<bf16>(dev, {96, 96, 3}, x, true, true) >= needed);
}

TEMPLATE_LIST_TEST_CASE("conv2d by tf32 agrees with its definition on operands rounded to it", "", rows) {
  check_cases_by_tf32<TestType>(few);
}

TEMPLATE_LIST_TEST_CASE("conv2d of pictures agrees with its definition", "", rows) {
  check_cases<TestType>(pictures);
  check_cases_by_tf32<TestType>(pictures);
}

TEMPLATE_LIST_TEST_CASE("conv2d's bias, ReLU, mask and accumulation", "", rows) {
  using T = typename TestType::element;
  using device = typename TestType::device;
  using gradient = accumulator_t<T>;
  for (conv_case const& c : few_of<T>()) {
    on_device<TestType>([&](device& dev) {
      INFO(label(c));
      problem<T, device> p{dev, c};

      auto rectified = p.forward(dense);
      for (double& v : rectified) v = std::max(v, 0.0);
      CHECK(p.forward(c.y_at, true, true) == rectified);
      CHECK(close<T>(p.forward(c.y_at, false), p.ref.forward(p.x_values, p.w_values, {}), p.forward_terms()));

      auto masked = p.backward_data(dense);
      for (std::size_t i = 0; i < masked.size(); ++i) {
        if (!(p.x_values[i] > 0)) masked[i] = 0;
      }
      window<T, device> dx{dev, p.x_shape, c.y_at};
      conv2d_backward_data<T>(dev, p.s, p.dy.view(), p.w.view().data, dx.view(), p.x.view());
      CHECK(dx.read() == masked);
      window<T, device> both{dev, p.x_shape, c.x_at, p.x_values};  // the gradient overwrites the mask
      conv2d_backward_data<T>(dev, p.s, p.dy.view(), p.w.view().data, both.view(), both.view());
      CHECK(both.read() == masked);

      auto const once = p.backward_weights();
      auto const onto = p.backward_weights(true, 0.5, true);
      auto const added = [](std::vector<double> v) {
        for (double& e : v) e = static_cast<gradient>(static_cast<gradient>(e) + gradient(0.5));
        return v;
      };
      // The cpu, and a GPU where there are several parts, add what was there to a part of the sums.
      auto const expected = added(p.template unpacked<gradient>(once.dw));
      CHECK(close<gradient>(p.template unpacked<gradient>(onto.dw), expected, p.weight_terms()));
      CHECK(close<gradient>(onto.db, added(once.db), p.weight_terms()));
      auto const without_bias = p.backward_weights(false, 0.5);
      CHECK(without_bias.dw == once.dw);
      CHECK(without_bias.db == std::vector<double>(std::size_t(p.s.out), 0.5));
    });
  }
}

TEMPLATE_LIST_TEST_CASE("conv2d's pooled window has the bits of max_pool2d on every device", "", rows) {
  using T = typename TestType::element;
  using device = typename TestType::device;
  std::vector<conv_case> const pooled_cases {
    {{1, 5, 17, 9}, {9, 33, 3}, odd_slice, slice},
#if !defined(UNETDN_TSAN)
        {{2, 18, 35, 8}, {8, 40, 3}, dense, odd_slice}, {{1, 20, 6, 8}, {8, 72, 3}, slice, slice},
        {{1, 1, 3, 3}, {3, 2, 3}, dense, dense}, {{2, 18, 35, 3}, {3, 40, 3}, dense, odd_slice},
        {{1, 20, 6, 1}, {1, 16, 3}, slice, slice}, {{1, 5, 6, 24}, {24, 3, 1}, slice, dense},
        {{2, 18, 19, 32}, {32, 40, 3}, dense, dense}, {{2, 18, 19, 16}, {16, 16, 3}, dense, dense},
#endif
  };
  for (conv_case const& c : pooled_cases) {
    on_device<TestType>([&](device& dev) {
      INFO(label(c));
      problem<T, device> p{dev, c};
      shape const pooled_shape = max_pool2d_output_shape(p.y_shape);
      auto const values = p.forward(c.y_at, true, true);
      window<T, device> y{dev, p.y_shape, c.y_at}, maxima{dev, pooled_shape, c.y_at}, pooled{dev, pooled_shape, c.x_at};
      conv2d_forward<T>(dev, p.s, p.x.view(), p.w.view().data, p.bias.view().data, y.view(), {true, pooled.view()});
      max_pool2d_forward<T>(dev, y.view(), maxima.view());
      CHECK(y.read() == values);
      CHECK(pooled.read() == maxima.read());
    });
  }
}

TEMPLATE_LIST_TEST_CASE("conv2d's gradients are its adjoints on every device", "", rows) {
  using T = typename TestType::element;
  using device = typename TestType::device;
  for (conv_case const& c : few) {
    on_device<TestType>([&](device& dev) {
      INFO(label(c));
      problem<T, device> p{dev, c};
      double const y_dy = dot(p.forward(dense, false), p.dy_values);
      double const x_dx = dot(p.x_values, p.backward_data(dense));
      auto const dw = p.backward_weights(false).dw;
      double const w_dw = dot(p.w_values, p.template unpacked<accumulator_t<T>>(dw));
      double const elements = double(p.y_shape.size() + p.x_shape.size());
      double const bound =
          (2 * half_step<accumulator_t<T>>() * (p.forward_terms() + p.data_terms() + p.weight_terms()) +
           half_step<T>() * std::sqrt(p.forward_terms() + p.data_terms())) *
          elements;
      CHECK(std::abs(y_dy - x_dx) <= bound);
      CHECK(std::abs(y_dy - w_dw) <= bound);
    });
  }
}

TEMPLATE_LIST_TEST_CASE("conv2d's padding is zero in weights and their gradients on every device", "", rows) {
  using T = typename TestType::element;
  using device = typename TestType::device;
  for (int const channels : {3, 5}) {
    on_device<TestType>([&](device& dev) {
      problem<T, device> p{dev, {{1, 3, 4, channels}, {channels, 3, 3}, dense, dense}};
      // Whatever the canonical weights do not hold is padding.
      auto const sum = [](std::vector<double> const& v) {
        double total = 0;
        for (double const e : v) total += std::abs(e);
        return total;
      };
      CHECK(p.w.read().size() > p.w_values.size());
      CHECK(sum(p.w.read()) == Approx(sum(p.w_values)).epsilon(1e-12));
      auto const dw = p.backward_weights().dw;
      CHECK(sum(dw) == Approx(sum(p.template unpacked<accumulator_t<T>>(dw))).epsilon(1e-6));
    });
  }
}

TEMPLATE_LIST_TEST_CASE("conv2d takes pictures without pixels on every device", "", rows) {
  using T = typename TestType::element;
  using device = typename TestType::device;
  on_device<TestType>([](device& dev) {
    problem<T, device> p{dev, {{1, 2, 2, 3}, {3, 4, 3}, dense, dense}};
    window<accumulator_t<T>, device> dw{dev, p.w_shape, dense}, db{dev, p.b_shape, dense};
    auto const x = p.x.view().images(0, 0);
    auto const y = p.dy.view().images(0, 0);
    conv2d_forward<T>(dev, p.s, x, p.w.view().data, p.bias.view().data, y);
    conv2d_backward_data<T>(dev, p.s, y, p.w.view().data, x);
    conv2d_backward_weights<T>(dev, p.s, x, y, dw.view().data, db.view().data, false);
    CHECK(dw.read() == std::vector<double>(std::size_t(p.w_shape.size()), 0));
    CHECK(db.read() == std::vector<double>(4, 0));
    CHECK(p.x.read() == p.x_values);
    CHECK(p.dy.read() == p.dy_values);
  });
}

TEMPLATE_LIST_TEST_CASE("conv2d refuses weights that kernels cannot read", "", rows) {
  using T = typename TestType::element;
  using device = typename TestType::device;
  on_device<TestType>([](device& dev) {
    if constexpr (!std::is_same_v<device, cpu>) {
      problem<T, device> p{dev, {{1, 2, 2, 3}, {3, 4, 3}, dense, dense}};
      T* const w = p.w.view().data + 1;
      CHECK_THROWS_AS(conv2d_forward<T>(dev, p.s, p.x.view(), w, nullptr, p.dy.view()), argument_error);
      CHECK_THROWS_AS(conv2d_backward_data<T>(dev, p.s, p.dy.view(), w, p.x.view()), argument_error);
    }
  });
}
