// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include <unetdn/ops/conv_transpose2d.hpp>

#include "catch.hpp"
#include "devices/on_devices.hpp"
#include "ops/windows.hpp"
#include "reference/conv_transpose2d.hpp"

using namespace unetdn;
using windows::distance;
using windows::dot;
using windows::instruction_sets;
using windows::random_values;
using windows::tolerance;
using windows::use_isa;
using windows::widened;
using windows::window;

namespace {

struct transpose_case {
  int n, h, w, in, out;
};

std::vector<transpose_case> const cases {
#if defined(UNETDN_TSAN)  // every access is slow here
  {1, 4, 13, 17, 33},
#else
  {1, 1, 1, 1, 1}, {1, 3, 5, 3, 5}, {2, 7, 6, 16, 16}, {1, 4, 13, 17, 33}, {1, 2, 3, 48, 17}, {1, 9, 131, 5, 3},
      {1, 5, 4, 33, 70}, {3, 1, 2, 130, 8}, {1, 40, 33, 4, 20}, {2, 19, 70, 5, 3},  // several blocks each way
#endif
};

template <class T> struct problem {
  conv_transpose2d_shape s;
  reference::conv_transpose2d ref;
  shape x_shape, y_shape;
  std::vector<T> x, dy, w, bias;

  explicit problem(transpose_case const& c)
      : s{c.in, c.out},
        ref{c.n, c.h, c.w, c.in, c.out},
        x_shape{c.n, c.h, c.w, c.in},
        y_shape{conv_transpose2d_output_shape(s, x_shape)},
        x{random_values<T>(ref.x_size(), 1)},
        dy{random_values<T>(ref.y_size(), 2)},
        w{random_values<T>(ref.w_size(), 3)},
        bias{random_values<T>(std::size_t(c.out), 4)} {}

  std::vector<T> packed() const {
    std::vector<T> p(std::size_t(conv_transpose2d_weight_size<cpu>(s)), T(7));
    conv_transpose2d_pack_weights<cpu, T>(s, std::span<T const>{w}, p);
    return p;
  }
  std::vector<T> unpacked(std::vector<T> const& p) const {
    std::vector<T> canonical(w.size());
    conv_transpose2d_unpack_weights<cpu, T>(s, p, std::span<T>{canonical});
    return canonical;
  }
  double forward_terms() const { return double(s.in); }
  double data_terms() const { return 4.0 * s.out; }
  double weight_terms() const { return double(y_shape.pixels()); }
  std::string label() const {
    return text(to_string(x_shape), " -> ", s.out, " ", cpu_bodies::name(cpu_bodies::active_isa()));
  }
};

template <class F> void each_isa_and_case(F f) {
  for (auto const which : instruction_sets()) {
    use_isa const scope{which};
    for (auto const& c : cases) f(c);
  }
}

template <class T> std::vector<T> forward(cpu& dev, problem<T> const& p, bool sliced) {
  window<T> const in{p.x_shape, sliced, p.x};
  window<T> out{p.y_shape, sliced};
  conv_transpose2d_forward(dev, p.s, in.view(), p.packed().data(), p.bias.data(), out.view());
  CHECK(out.rim_untouched());
  return out.values();
}
template <class T> std::vector<T> backward_data(cpu& dev, problem<T> const& p, bool sliced) {
  window<T> const dy{p.y_shape, sliced, p.dy};
  window<T> dx{p.x_shape, sliced};
  conv_transpose2d_backward_data(dev, p.s, dy.view(), p.packed().data(), dx.view());
  CHECK(dx.rim_untouched());
  return dx.values();
}
template <class T> struct weight_gradients { std::vector<T> dw, db; };
template <class T> weight_gradients<T> backward_weights(cpu& dev, problem<T> const& p, bool sliced) {
  window<T> const x{p.x_shape, sliced, p.x};
  window<T> const dy{p.y_shape, sliced, p.dy};
  weight_gradients<T> g{std::vector<T>(p.packed().size(), T(9)), std::vector<T>(p.bias.size(), T(9))};
  conv_transpose2d_backward_weights<T>(dev, p.s, x.view(), dy.view(), g.dw.data(), g.db.data(), false);
  return g;
}

}  // namespace

TEMPLATE_TEST_CASE("conv_transpose2d agrees with its definition", "", float, double) {
  using T = TestType;
  cpu dev{2};
  each_isa_and_case([&](transpose_case const& c) {
    problem<T> const p{c};
    INFO(p.label());
    auto const x = widened(p.x), dy = widened(p.dy), w = widened(p.w), bias = widened(p.bias);
    CHECK(p.unpacked(p.packed()) == p.w);
    for (bool const sliced : {false, true}) {
      CHECK(distance(forward(dev, p, sliced), p.ref.forward(x, w, bias)) <= tolerance<T>(p.forward_terms()));
      CHECK(distance(backward_data(dev, p, sliced), p.ref.backward_data(dy, w)) <= tolerance<T>(p.data_terms()));
      auto const g = backward_weights(dev, p, sliced);
      CHECK(distance(p.unpacked(g.dw), p.ref.backward_weights(x, dy)) <= tolerance<T>(p.weight_terms()));
      CHECK(distance(g.db, p.ref.backward_bias(dy)) <= tolerance<T>(p.weight_terms()));
    }
  });
}

TEMPLATE_TEST_CASE("conv_transpose2d's gradients are its adjoints", "", float, double) {
  using T = TestType;
  cpu dev{2};
  each_isa_and_case([&](transpose_case const& c) {
    problem<T> p{c};
    INFO(p.label());
    std::fill(p.bias.begin(), p.bias.end(), T(0));
    double const y_dy = dot(widened(forward(dev, p, false)), widened(p.dy));
    double const x_dx = dot(widened(p.x), widened(backward_data(dev, p, false)));
    double const w_dw = dot(widened(p.w), widened(p.unpacked(backward_weights(dev, p, false).dw)));
    double const bound = tolerance<T>(p.forward_terms() + p.data_terms() + p.weight_terms()) * double(p.y_shape.size());
    CHECK(std::abs(y_dy - x_dx) <= bound);
    CHECK(std::abs(y_dy - w_dw) <= bound);
  });
}

TEMPLATE_TEST_CASE("conv_transpose2d's mask, accumulation, threads and scratch", "", float, double) {
  using T = TestType;
  cpu dev{2}, one{1}, three{3};
  each_isa_and_case([&](transpose_case const& c) {
    problem<T> const p{c};
    INFO(p.label());
    auto const packed = p.packed();
    window<T> const x{p.x_shape, true, p.x}, dy{p.y_shape, true, p.dy};
    auto masked = backward_data(dev, p, true);
    for (std::size_t i = 0; i < masked.size(); ++i)
      if (!(p.x[i] > 0)) masked[i] = 0;
    window<T> both{p.x_shape, true, p.x};
    conv_transpose2d_backward_data(dev, p.s, dy.view(), packed.data(), both.view(), both.view());
    CHECK(both.values() == masked);

    auto const once = backward_weights(dev, p, true);
    auto twice = once;
    conv_transpose2d_backward_weights<T>(dev, p.s, x.view(), dy.view(), twice.dw.data(), twice.db.data(), true);
    auto expected = widened(once.dw), expected_b = widened(once.db);
    for (double& v : expected) v *= 2;
    for (double& v : expected_b) v *= 2;
    CHECK(distance(twice.dw, expected) <= 2 * tolerance<T>(p.weight_terms()));
    CHECK(distance(twice.db, expected_b) <= 2 * tolerance<T>(p.weight_terms()));

    for (cpu* other : {&one, &three}) {
      CHECK(forward(*other, p, false) == forward(dev, p, false));
      CHECK(backward_data(*other, p, false) == backward_data(dev, p, false));
      CHECK(backward_weights(*other, p, false).dw == once.dw);
      CHECK(backward_weights(*other, p, false).db == once.db);
    }
    cpu fresh{2};
    forward(fresh, p, false);
    CHECK(fresh.scratch_bytes() <= conv_transpose2d_scratch_bytes<T>(fresh, p.s, p.x_shape, false));
    backward_data(fresh, p, false);
    backward_weights(fresh, p, false);
    CHECK(fresh.scratch_bytes() <= conv_transpose2d_scratch_bytes<T>(fresh, p.s, p.x_shape, true));
  });
}

namespace {

/// Sizes off every tile of the kernels, and some with several tiles and steps in each direction.
std::vector<transpose_case> const device_cases {
#if defined(UNETDN_TSAN)
  {1, 3, 9, 40, 24},
#else
  {1, 1, 1, 1, 1}, {1, 3, 5, 3, 5}, {2, 4, 6, 16, 16}, {1, 5, 4, 33, 70}, {1, 12, 25, 40, 24}, {3, 1, 2, 130, 8},
#endif
};

/// Of these, warpgroups multiply 16-bit types where there are any: tails of all extents, and so many steps, of each
/// pass in one of them, that buffers are used again; several parts.
std::vector<transpose_case> const wide_cases {
#if defined(UNETDN_TSAN)
  {1, 3, 9, 64, 32},
#else
  {2, 12, 25, 64, 32}, {3, 1, 5, 70, 40}, {1, 2, 67, 200, 72},
#endif
};

template <class T> std::vector<double> rounded(std::vector<double> v) {
  for (double& x : v) x = convert<double>(convert<T>(x));
  return v;
}

/// Weights in the device's layout, for a window.
template <class Device, class T>
std::vector<double> packed_weights(conv_transpose2d_shape s, std::vector<double> const& iohw) {
  std::vector<T> packed(static_cast<std::size_t>(conv_transpose2d_weight_size<Device>(s)));
  conv_transpose2d_pack_weights<Device, T>(s, std::span<double const>(iohw), packed);
  std::vector<double> all;
  for (T const& v : packed) all.push_back(convert<double>(v));
  return all;
}

}  // namespace

// Operands are multiples of 1/128 from -1 to 1. Their products, and sums of those up to 1024, are exact in float, so
// all devices and orders must agree to the bit: with the exact result, rounded once.
TEMPLATE_LIST_TEST_CASE("conv_transpose2d is exact on windows of every kind", "", test::rows) {
  using T = typename TestType::element;
  using device = typename TestType::device;
  using sum_type = accumulator_t<T>;
  using test::placements;
  using test::some_numbers;
  test::on_device<TestType>([](device& dev) {
    std::size_t told = 0;  // how much scratch the cases so far may have taken
    auto all = device_cases;
    if (is_16_bit<T>)
      all.insert(all.end(), wide_cases.begin(), std::is_same_v<T, fp16> ? wide_cases.begin() + 1 : wide_cases.end());
    for (auto const& c : all) {
      conv_transpose2d_shape const s{c.in, c.out};
      reference::conv_transpose2d const ref{c.n, c.h, c.w, c.in, c.out};
      shape const xs{c.n, c.h, c.w, c.in}, ys = conv_transpose2d_output_shape(s, xs);
      auto const x_values = some_numbers(xs.size(), 1), dy_values = some_numbers(ys.size(), 2);
      auto const w_values = some_numbers(std::int64_t(ref.w_size()), 3), bias_values = some_numbers(c.out, 4);
      int const weights = int(conv_transpose2d_weight_size<device>(s));
      test::window<T, device> w{dev, {1, 1, 1, weights}, placements[0], packed_weights<device, T>(s, w_values)};
      test::window<T, device> bias{dev, {1, 1, 1, c.out}, placements[2], bias_values};
      for (auto const& [from, to] : {std::pair{0, 1}, {1, 1}, {2, 3}, {4, 0}}) {
        INFO(to_string(xs) << " -> " << c.out << ", " << placements[from].name << " to " << placements[to].name);
        test::window<T, device> x{dev, xs, placements[from], x_values}, y{dev, ys, placements[to]};
        conv_transpose2d_forward(dev, s, x.view(), w.view().data, bias.view().data, y.view());
        CHECK(y.read() == rounded<T>(ref.forward(x_values, w_values, bias_values)));
        conv_transpose2d_forward(dev, s, x.view(), w.view().data, nullptr, y.view());
        CHECK(y.read() == rounded<T>(ref.forward(x_values, w_values, {})));

        test::window<T, device> dy{dev, ys, placements[from], dy_values}, dx{dev, xs, placements[to]};
        conv_transpose2d_backward_data(dev, s, dy.view(), w.view().data, dx.view());
        auto want = rounded<T>(ref.backward_data(dy_values, w_values));
        CHECK(dx.read() == want);
        dx.write(x_values);
        conv_transpose2d_backward_data(dev, s, dy.view(), w.view().data, dx.view(), dx.view());
        for (std::size_t i = 0; i < want.size(); ++i)
          if (x_values[i] <= 0) want[i] = 0;
        CHECK(dx.read() == want);

        test::window<sum_type, device> dw{dev, {1, 1, 1, weights}, placements[0]};
        test::window<sum_type, device> db{dev, {1, 1, 1, c.out}, placements[2]};
        auto want_dw = ref.backward_weights(x_values, dy_values), want_db = ref.backward_bias(dy_values);
        for (bool const accumulate : {false, true}) {
          conv_transpose2d_backward_weights<T>(dev, s, x.view(), dy.view(), dw.view().data, db.view().data, accumulate);
          CHECK(dw.read() == packed_weights<device, sum_type>(s, want_dw));
          CHECK(db.read() == want_db);
          for (double& v : want_dw) v *= 2;
          for (double& v : want_db) v *= 2;
        }
        conv_transpose2d_backward_weights<T>(dev, s, x.view(), dy.view(), dw.view().data, nullptr, false);
        CHECK(dw.read() == packed_weights<device, sum_type>(s, ref.backward_weights(x_values, dy_values)));

        view<T> const none = x.view().images(0, 0), none_too = dy.view().images(0, 0);
        conv_transpose2d_backward_weights<T>(dev, s, none, none_too, dw.view().data, db.view().data, true);
        CHECK(dw.read() == packed_weights<device, sum_type>(s, ref.backward_weights(x_values, dy_values)));
        conv_transpose2d_backward_weights<T>(dev, s, none, none_too, dw.view().data, db.view().data, false);
        CHECK(dw.read() == std::vector<double>(std::size_t(weights)));
        CHECK(db.read() == std::vector<double>(std::size_t(c.out)));
      }
      told = std::max(told, conv_transpose2d_scratch_bytes<T>(dev, s, xs, true));
      CHECK(dev.scratch_bytes() <= told);
    }
  });
}

TEMPLATE_TEST_CASE("conv_transpose2d's kernels read matrices without bank conflicts", "[long]", bf16, fp16) {
  using T = TestType;
  for (bool const warpgroups : {true, false}) {
    emulated dev;
    dev.pretend_warpgroups(warpgroups);
    conv_transpose2d_shape const s{72, 40};
    shape const xs{1, 3, 50, s.in}, ys = conv_transpose2d_output_shape(s, xs);
    int const weights = int(conv_transpose2d_weight_size<emulated>(s));
    test::window<T, emulated> x{dev, xs, {"dense"}}, y{dev, ys, {"dense"}}, w{dev, {1, 1, 1, weights}, {"dense"}};
    test::window<float, emulated> dw{dev, {1, 1, 1, weights}, {"dense"}};
    conv_transpose2d_forward(dev, s, x.view(), w.view().data, nullptr, y.view());
    conv_transpose2d_backward_data(dev, s, y.view(), w.view().data, x.view());
    conv_transpose2d_backward_weights<T>(dev, s, x.view(), y.view(), dw.view().data, nullptr, false);
    CHECK(dev.row_conflicts() == 0);
  }
}

TEST_CASE("conv_transpose2d multiplies floats as tf32 where the device may") {
  emulated dev;
  dev.allow_tf32(true);
  conv_transpose2d_shape const s{40, 24};
  reference::conv_transpose2d const ref{1, 3, 50, s.in, s.out};
  shape const xs{1, 3, 50, s.in}, ys = conv_transpose2d_output_shape(s, xs);
  // tf32 has 11 significant bits: it rounds what follows x in x (1 + 2^-13) away, which a product of floats would not.
  auto const x_values = test::some_numbers(xs.size(), 1), dy_values = test::some_numbers(ys.size(), 2);
  auto const w_values = test::some_numbers(std::int64_t(ref.w_size()), 3);
  auto const nudged = [](std::vector<double> v) {
    for (double& x : v) x *= 1 + 0x1p-13;
    return v;
  };
  int const weights = int(conv_transpose2d_weight_size<emulated>(s));
  test::window<float, emulated> w{dev, {1, 1, 1, weights}, {"dense"}, packed_weights<emulated, float>(s, w_values)};
  test::window<float, emulated> x{dev, xs, {"dense"}, nudged(x_values)}, y{dev, ys, {"dense"}};
  conv_transpose2d_forward(dev, s, x.view(), w.view().data, nullptr, y.view());
  CHECK(y.read() == ref.forward(x_values, w_values, {}));
  test::window<float, emulated> dy{dev, ys, {"dense"}, nudged(dy_values)}, dx{dev, xs, {"dense"}};
  conv_transpose2d_backward_data(dev, s, dy.view(), w.view().data, dx.view());
  CHECK(dx.read() == ref.backward_data(dy_values, w_values));
  test::window<float, emulated> dw{dev, {1, 1, 1, weights}, {"dense"}}, db{dev, {1, 1, 1, s.out}, {"dense"}};
  conv_transpose2d_backward_weights<float>(dev, s, x.view(), dy.view(), dw.view().data, db.view().data, false);
  CHECK(dw.read() == packed_weights<emulated, float>(s, ref.backward_weights(x_values, dy_values)));
  CHECK(db.read() == ref.backward_bias(dy_values));
}

TEST_CASE("conv_transpose2d refuses what does not fit") {
  cpu dev{1};
  std::vector<float> memory(1000);
  view<float> const x{memory.data(), 1, 2, 3, 3}, y{memory.data() + 100, 1, 4, 6, 5};
  conv_transpose2d_shape const s{3, 5};
  CHECK_THROWS_AS(conv_transpose2d_output_shape({0, 5}, {1, 2, 3, 0}), argument_error);
  CHECK_THROWS_AS(conv_transpose2d_output_shape(s, {1, 2, 3, 4}), argument_error);
  CHECK_THROWS_AS(conv_transpose2d_forward(dev, s, x, memory.data(), nullptr, y.crop(0, 0, 4, 5)), argument_error);
  CHECK_THROWS_AS(conv_transpose2d_backward_data(dev, s, y, memory.data(), x.crop(0, 0, 1, 3)), argument_error);
  CHECK_THROWS_AS(conv_transpose2d_backward_data(dev, s, y, memory.data(), x, x.channels(0, 1)), argument_error);
  CHECK_THROWS_AS(conv_transpose2d_backward_weights<float>(dev, s, x, y.channels(0, 4), memory.data(), nullptr, false),
                  argument_error);
  std::vector<float> packed(std::size_t(conv_transpose2d_weight_size<cpu>(s)));
  CHECK_THROWS_AS((conv_transpose2d_pack_weights<cpu, float>(s, std::span<float const>{memory}, packed)),
                  argument_error);
}
