// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <vector>

#include <unetdn/ops/conv_transpose2d.hpp>

#include "catch.hpp"
#include "ops/windows.hpp"
#include "reference/conv_transpose2d.hpp"

using namespace unetdn;
using namespace windows;

namespace {

struct transpose_case {
  int n, h, w, in, out;
};

std::vector<transpose_case> const cases{
    {1, 1, 1, 1, 1},   {1, 3, 5, 3, 5},   {2, 7, 6, 16, 16}, {1, 4, 13, 17, 33}, {1, 2, 3, 48, 17},
    {1, 9, 131, 5, 3}, {1, 5, 4, 33, 70}, {3, 1, 2, 130, 8}, {1, 40, 33, 4, 20},
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
