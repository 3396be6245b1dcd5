// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <unetdn/ops/sigmoid.hpp>

#include "catch.hpp"
#include "devices/on_devices.hpp"
#include "reference/sigmoid.hpp"

using namespace unetdn;
using namespace unetdn::test;

namespace {

/// In [-12, 12].
std::vector<double> wide_numbers(std::int64_t count, std::uint32_t seed) {
  auto values = some_numbers(count, seed);
  for (double& v : values) v *= 12;
  return values;
}

/// Rounding to T, and a few roundings in the type that computes.
template <class T> double tolerance() { return unit_roundoff<T>() + 8 * unit_roundoff<accumulator_t<T>>(); }

double distance(std::vector<double> const& a, std::vector<double> const& b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

double dot(std::vector<double> const& a, std::vector<double> const& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("sigmoid and its gradient are their definitions, in place too", "", rows) {
  using T = typename TestType::element;
  using device = typename TestType::device;
  on_device<TestType>([](device& dev) {
    for (shape const& s : awkward_shapes) {
      for (placement const& from : placements) {
        for (placement const& to : {placements[0], placements[1], placements[4]}) {
          INFO(to_string(s) << ", " << from.name << " to " << to.name);
          window<T, device> x{dev, s, from, wide_numbers(s.size(), 1)}, dy{dev, s, to, some_numbers(s.size(), 2)};
          window<T, device> y{dev, s, to}, dx{dev, s, from};
          sigmoid_forward(dev, x.view(), y.view());
          auto const out = y.read();
          CHECK(distance(out, reference::sigmoid_forward(x.read())) <= tolerance<T>());
          sigmoid_backward(dev, y.view(), dy.view(), dx.view());
          auto const gradient = dx.read();
          CHECK(distance(gradient, reference::sigmoid_backward(out, dy.read())) <= tolerance<T>());

          sigmoid_forward(dev, x.view(), x.view());
          CHECK(x.read() == out);
          sigmoid_backward(dev, y.view(), dy.view(), dy.view());
          CHECK(dy.read() == gradient);
        }
      }
    }
  });
}

TEMPLATE_LIST_TEST_CASE("sigmoid saturates without overflow and keeps NaN", "", rows) {
  using T = typename TestType::element;
  using device = typename TestType::device;
  on_device<TestType>([](device& dev) {
    double const infinity = std::numeric_limits<double>::infinity();
    std::vector<double> const values{1000, -1000, infinity, -infinity, 60000, 0, -0.0, 30, -30, NAN};
    shape const s{1, 1, 1, static_cast<int>(values.size())};
    window<T, device> x{dev, s, placements[0], values}, y{dev, s, placements[0]}, dx{dev, s, placements[0]};
    sigmoid_forward(dev, x.view(), y.view());
    auto const got = y.read();
    CHECK(got[0] == 1);
    CHECK(got[1] == 0);
    CHECK(got[2] == 1);
    CHECK(got[3] == 0);
    CHECK(got[4] == 1);
    CHECK(got[5] == 0.5);
    CHECK(got[6] == 0.5);
    CHECK(got[7] == Approx(1).epsilon(1e-6));
    // exp(-30) lies below the least positive fp16.
    if (!std::is_same_v<T, fp16>) CHECK(got[8] == Approx(std::exp(-30.0)).epsilon(1e-6 + unit_roundoff<T>()));
    CHECK(std::isnan(got[9]));

    window<T, device> dy{dev, s, placements[0], std::vector<double>(values.size(), 3)};
    sigmoid_backward(dev, y.view(), dy.view(), dx.view());
    auto const slope = dx.read();
    for (std::size_t i = 0; i < 5; ++i) CHECK(slope[i] == 0);
    CHECK(slope[5] == 0.75);
    CHECK(std::isnan(slope[9]));
  });
}

TEMPLATE_TEST_CASE("sigmoid is near its definition, however small it is", "", float, double) {
  using T = TestType;
  for (auto const which : instruction_sets()) {
    use_isa const scope{which};
    cpu dev{1};
    std::vector<T> x, y;
    for (int i = -80 * 128; i <= 30 * 128; ++i) x.push_back(T(i) / 128);
    if (std::is_same_v<T, double>) x.push_back(-700);
    y.resize(x.size());
    int const count = static_cast<int>(x.size());
    sigmoid_forward<T>(dev, {x.data(), 1, 1, 1, count}, view<T>{y.data(), 1, 1, 1, count});
    long double worst = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      long double const exact = 1 / (1 + std::exp(-static_cast<long double>(x[i])));
      worst = std::max(worst, std::abs(y[i] - exact) / exact);
    }
    INFO(cpu_bodies::name(which));
    CHECK(worst <= 3 * unit_roundoff<T>());
  }
}

TEST_CASE("sigmoid's gradient is the limit of its differences") {
  cpu dev{1};
  shape const s{1, 3, 5, 7};
  auto const values = wide_numbers(s.size(), 3);
  auto const direction = some_numbers(s.size(), 4);
  auto const weights = some_numbers(s.size(), 5);
  window<double, cpu> x{dev, s, placements[0], values}, dy{dev, s, placements[0], weights};
  // f(t) = <weights, sigmoid(x + t direction)>
  auto const f = [&](double t) {
    auto moved = values;
    for (std::size_t i = 0; i < moved.size(); ++i) moved[i] += t * direction[i];
    std::vector<double> y(moved.size());
    sigmoid_forward(dev, view<double>{moved.data(), s.n, s.h, s.w, s.c}, view<double>{y.data(), s.n, s.h, s.w, s.c});
    return dot(weights, y);
  };
  sigmoid_forward(dev, x.view(), x.view());
  sigmoid_backward(dev, x.view(), dy.view(), dy.view());
  double const h = 1e-5;
  CHECK(dot(dy.read(), direction) == Approx((f(h) - f(-h)) / (2 * h)).epsilon(1e-8));
}

TEMPLATE_LIST_TEST_CASE("sigmoid takes empty windows and refuses other shapes", "", rows) {
  using T = typename TestType::element;
  using device = typename TestType::device;
  on_device<TestType>([](device& dev) {
    window<T, device> a{dev, {2, 4, 4, 3}, placements[0]};
    view<T> const x = a.view();
    for (auto const& y : {x.images(0, 1), x.crop(0, 0, 3, 4), x.crop(0, 0, 4, 3), x.channels(0, 2)}) {
      CHECK_THROWS_AS(sigmoid_forward(dev, x, y), argument_error);
      CHECK_THROWS_AS(sigmoid_backward(dev, x, x, y), argument_error);
      CHECK_THROWS_AS(sigmoid_backward(dev, x, y, x), argument_error);
      CHECK_THROWS_AS(sigmoid_backward(dev, y, x, x), argument_error);
    }
    view<T> const empty{x.data, 0, 4, 4, 3};
    CHECK_NOTHROW(sigmoid_forward(dev, empty, empty));
    CHECK_NOTHROW(sigmoid_backward(dev, empty, empty, empty));
  });
}
