// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>
#include <vector>

#include <unetdn/core/tensor.hpp>
#include <unetdn/ops/sigmoid.hpp>

#include "catch.hpp"
#include "ops/windows.hpp"
#include "reference/sigmoid.hpp"

using namespace unetdn;
using namespace windows;

namespace {

std::vector<shape> const cases{{1, 1, 1, 1}, {2, 3, 5, 3}, {1, 7, 1, 17}, {2, 65, 31, 9}};
std::size_t elements(shape const& s) { return static_cast<std::size_t>(s.size()); }

/// In [-12, 12].
template <class T> std::vector<T> wide_values(std::size_t count, unsigned seed) {
  auto values = random_values<T>(count, seed);
  for (T& v : values) v *= 12;
  return values;
}

}  // namespace

TEMPLATE_TEST_CASE("sigmoid and its gradient are their definitions", "", float, double) {
  using T = TestType;
  for (int const threads : {1, 3}) {
    cpu dev{threads};
    for (shape const& s : cases) {
      for (bool const inside : {false, true}) {
        INFO(to_string(s));
        window<T> const x{s, inside, wide_values<T>(elements(s), 1)};
        window<T> const dy{s, !inside, random_values<T>(elements(s), 2)};
        window<T> const y{s, inside}, dx{s, inside};
        sigmoid_forward(dev, x.view(), y.view());
        CHECK(distance(y.values(), reference::sigmoid_forward(widened(x.values()))) <= tolerance<T>(0));
        CHECK(y.rim_untouched());
        sigmoid_backward(dev, y.view(), dy.view(), dx.view());
        CHECK(distance(dx.values(), reference::sigmoid_backward(widened(y.values()), widened(dy.values()))) <=
              tolerance<T>(0));
        CHECK(dx.rim_untouched());

        // In place: y over x, dx over dy.
        sigmoid_forward(dev, x.view(), x.view());
        CHECK(x.values() == y.values());
        sigmoid_backward(dev, y.view(), dy.view(), dy.view());
        CHECK(dy.values() == dx.values());
      }
    }
  }
}

TEMPLATE_TEST_CASE("sigmoid saturates without overflow and keeps NaN", "", float, double) {
  using T = TestType;
  cpu dev{1};
  T const infinity = std::numeric_limits<T>::infinity();
  std::vector<T> const values{T(1000), T(-1000), infinity, -infinity, std::numeric_limits<T>::max(),
                              T(0),    T(-0.0),  T(30),    T(-30),    std::numeric_limits<T>::quiet_NaN()};
  shape const s{1, 1, 1, static_cast<int>(values.size())};
  window<T> const x{s, false, values};
  window<T> const y{s, false}, dx{s, false};
  sigmoid_forward(dev, x.view(), y.view());
  auto const got = y.values();
  CHECK(got[0] == 1);
  CHECK(got[1] == 0);
  CHECK(got[2] == 1);
  CHECK(got[3] == 0);
  CHECK(got[4] == 1);
  CHECK(got[5] == T(0.5));
  CHECK(got[6] == T(0.5));
  CHECK(double(got[7]) == Approx(1 / (1 + std::exp(-30.0))).epsilon(1e-6));
  CHECK(double(got[8]) == Approx(std::exp(-30.0)).epsilon(1e-6));
  CHECK(std::isnan(got[9]));

  window<T> const dy{s, false, std::vector<T>(values.size(), T(3))};
  sigmoid_backward(dev, y.view(), dy.view(), dx.view());
  auto const slope = dx.values();
  for (std::size_t i = 0; i < 5; ++i) CHECK(slope[i] == 0);
  CHECK(slope[5] == T(0.75));
  CHECK(std::isnan(slope[9]));
}

TEST_CASE("sigmoid's gradient is the limit of its differences") {
  cpu dev{1};
  shape const s{1, 3, 5, 7};
  auto const values = wide_values<double>(elements(s), 3);
  auto const direction = random_values<double>(elements(s), 4);
  auto const weights = random_values<double>(elements(s), 5);
  // f(t) = <weights, sigmoid(x + t direction)>
  auto const f = [&](double t) {
    auto moved = values;
    for (std::size_t i = 0; i < moved.size(); ++i) moved[i] += t * direction[i];
    window<double> const x{s, false, moved};
    sigmoid_forward(dev, x.view(), x.view());
    return dot(weights, x.values());
  };
  window<double> const y{s, false, values}, dy{s, false, weights};
  sigmoid_forward(dev, y.view(), y.view());
  sigmoid_backward(dev, y.view(), dy.view(), dy.view());
  double const h = 1e-5;
  CHECK(dot(dy.values(), direction) == Approx((f(h) - f(-h)) / (2 * h)).epsilon(1e-8));
}

TEST_CASE("sigmoid takes empty windows and refuses other shapes") {
  cpu dev{2};
  tensor<float, cpu> a(dev, {2, 4, 4, 3});
  view<float> const x = a.view();
  for (auto const& y : {x.images(0, 1), x.crop(0, 0, 3, 4), x.crop(0, 0, 4, 3), x.channels(0, 2)}) {
    CHECK_THROWS_AS(sigmoid_forward(dev, x, y), argument_error);
    CHECK_THROWS_AS(sigmoid_backward(dev, x, x, y), argument_error);
    CHECK_THROWS_AS(sigmoid_backward(dev, x, y, x), argument_error);
    CHECK_THROWS_AS(sigmoid_backward(dev, y, x, x), argument_error);
  }
  view<float> const empty{a.data(), 0, 4, 4, 3};
  CHECK_NOTHROW(sigmoid_forward(dev, empty, empty));
  CHECK_NOTHROW(sigmoid_backward(dev, empty, empty, empty));
}
