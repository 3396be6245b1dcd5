// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <utility>
#include <vector>

#include <unetdn/ops/max_pool2d.hpp>

#include "catch.hpp"
#include "devices/on_devices.hpp"
#include "ops/windows.hpp"
#include "reference/max_pool2d.hpp"

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

std::vector<shape> const cases{{1, 1, 1, 1}, {1, 2, 2, 3},   {2, 4, 6, 16}, {1, 5, 7, 17}, {3, 7, 2, 5},
                               {1, 3, 8, 1}, {1, 10, 9, 48}, {2, 2, 3, 33}, {1, 1, 6, 4}};

/// Few different values, negative ones too: most windows hold their maximum more than once.
template <class T> std::vector<T> coarse_values(std::size_t count, unsigned seed) {
  auto values = random_values<T>(count, seed);
  for (T& v : values) v = std::round(v * 2);
  return values;
}

/// Codes of pictures of shape s. Where the rim cuts a window, it has no place of a maximum that anything looks at.
std::vector<double> without_places_at_the_rim(shape s, std::vector<double> codes) {
  shape const of = max_pool2d_code_shape(s);
  for (std::size_t i = 0; i < codes.size(); ++i) {
    int const pixel = int(i) / of.c;
    int const row = pixel / of.w % of.h, column = pixel % of.w;
    if (row == s.h / 2 || column == s.w / 2) codes[i] = int(codes[i]) & 15;
  }
  return codes;
}

}  // namespace

// The sums of these numbers are exact in each type, so comparisons are exact.
TEMPLATE_LIST_TEST_CASE("max_pool2d is its definition on windows of every kind", "", test::rows) {
  using T = typename TestType::element;
  using device = typename TestType::device;
  using test::placements;
  using test::some_numbers;
  test::on_device<TestType>([](device& dev) {
    for (shape const& s : cases) {
      shape const half = max_pool2d_output_shape(s);
      reference::max_pool2d const ref{s.n, s.h, s.w, s.c};
      for (auto const& [from, to] : {std::pair{0, 1}, {1, 0}, {2, 3}, {4, 4}}) {
        INFO(to_string(s) << ", " << placements[from].name << " to " << placements[to].name);
        auto coarse = some_numbers(s.size(), 1);
        for (double& v : coarse) v = std::round(v * 2);
        test::window<T, device> x{dev, s, placements[from], coarse}, y{dev, half, placements[to]};
        max_pool2d_forward(dev, x.view(), y.view());
        CHECK(y.read() == ref.forward(coarse));

        auto const gradient = some_numbers(half.size(), 2);
        test::window<T, device> dy{dev, half, placements[from], gradient};
        auto const before = some_numbers(s.size(), 3);
        test::window<T, device> dx{dev, s, placements[to], before};
        max_pool2d_backward(dev, x.view(), dy.view(), dx.view());
        CHECK(dx.read() == ref.backward(coarse, gradient));

        test::window<window_code, device> codes{dev, max_pool2d_code_shape(s), placements[to]};
        max_pool2d_encode<T>(dev, x.view(), codes.view());
        CHECK(without_places_at_the_rim(s, codes.read()) == without_places_at_the_rim(s, ref.codes(coarse)));
        test::window<window_code, device> codes_too{dev, max_pool2d_code_shape(s), placements[from]};
        test::window<T, device> y_too{dev, half, placements[to]};
        max_pool2d_encode<T>(dev, x.view(), codes_too.view(), y_too.view());
        CHECK(codes_too.read() == codes.read());
        CHECK(y_too.read() == ref.forward(coarse));
        for (auto const& where : {placements[to], placements[from]}) {
          test::window<window_code, device> in{dev, max_pool2d_code_shape(s), where, ref.codes(coarse)};
          dx.write(before);
          max_pool2d_backward_into_skip(dev, in.view(), dy.view(), dx.view());
          CHECK(dx.read() == ref.backward_into_skip(coarse, gradient, before));
        }
      }
    }
  });
}

TEMPLATE_TEST_CASE("max_pool2d is its definition on every instruction set", "", float, double) {
  using T = TestType;
  for (auto const which : instruction_sets()) {
    use_isa const scope{which};
    for (int const threads : {1, 3}) {
      cpu dev{threads};
      for (shape const& s : cases) {
        INFO(to_string(s) << " " << cpu_bodies::name(which));
        shape const half = max_pool2d_output_shape(s);
        reference::max_pool2d const ref{s.n, s.h, s.w, s.c};
        for (bool const sliced : {false, true}) {
          window<T> const x{s, sliced, coarse_values<T>(ref.x_size(), 1)};
          window<T> y{half, sliced};
          max_pool2d_forward(dev, x.view(), y.view());
          CHECK(widened(y.values()) == ref.forward(widened(x.values())));
          CHECK(y.rim_untouched());

          window<T> const dy{half, sliced, random_values<T>(ref.y_size(), 2)};
          auto const before = random_values<T>(ref.x_size(), 3);
          window<T> dx{s, sliced, before}, joined{s, sliced, before};
          max_pool2d_backward(dev, x.view(), dy.view(), dx.view());
          CHECK(widened(dx.values()) == ref.backward(widened(x.values()), widened(dy.values())));
          CHECK(dx.rim_untouched());

          window<window_code> codes{max_pool2d_code_shape(s), sliced};
          max_pool2d_encode<T>(dev, x.view(), codes.view());
          CHECK(codes.rim_untouched());
          window<window_code> codes_too{max_pool2d_code_shape(s), sliced};
          window<T> y_too{half, !sliced};
          max_pool2d_encode<T>(dev, x.view(), codes_too.view(), y_too.view());
          CHECK(codes_too.values() == codes.values());
          CHECK(y_too.values() == y.values());
          CHECK(y_too.rim_untouched());
          max_pool2d_backward_into_skip(dev, codes.view(), dy.view(), joined.view());
          auto const expected = ref.backward_into_skip(widened(x.values()), widened(dy.values()), widened(before));
          CHECK(distance(joined.values(), expected) <= tolerance<T>(1));
          CHECK(joined.rim_untouched());
        }
      }
    }
  }
}

TEST_CASE("max_pool2d's gradient agrees with finite differences") {
  cpu dev{2};
  shape const s{1, 6, 7, 5};
  auto const x = random_values(std::size_t(s.size()), 1);
  auto const dy = random_values(std::size_t(max_pool2d_output_shape(s).size()), 2);
  auto const direction = random_values(x.size(), 3);
  auto const loss = [&](double step) {
    auto moved = x;
    for (std::size_t i = 0; i < x.size(); ++i) moved[i] += step * direction[i];
    window<double> const in{s, false, moved};
    window<double> y{max_pool2d_output_shape(s), false};
    max_pool2d_forward(dev, in.view(), y.view());
    return dot(y.values(), dy);
  };
  window<double> const in{s, false, x}, gradient{max_pool2d_output_shape(s), false, dy};
  window<double> dx{s, false};
  max_pool2d_backward(dev, in.view(), gradient.view(), dx.view());
  CHECK((loss(1e-6) - loss(-1e-6)) / 2e-6 == Approx(dot(dx.values(), direction)).epsilon(1e-6));
}

TEMPLATE_LIST_TEST_CASE("max_pool2d lets a NaN through and sends its gradient to the first one", "", test::rows) {
  using T = typename TestType::element;
  using device = typename TestType::device;
  auto const check = [](device& dev) {
    for (int first = 0; first < 4; ++first) {
      constexpr std::size_t c = 19;
      std::vector<double> values(4 * c, 1);
      for (std::size_t i = std::size_t(first); i < 4; ++i) values[i * c + 2] = NAN;
      test::window<T, device> x{dev, {1, 2, 2, c}, test::placements[0], values}, dx{dev, {1, 2, 2, c}, {"dense"}};
      test::window<T, device> y{dev, {1, 1, 1, c}, {"dense"}},
          dy{dev, {1, 1, 1, c}, {"dense"}, std::vector<double>(c, 3)};
      max_pool2d_forward(dev, x.view(), y.view());
      CHECK(std::isnan(y.read()[2]));
      CHECK(y.read()[1] == 1);
      max_pool2d_backward(dev, x.view(), dy.view(), dx.view());
      auto const got = dx.read();
      for (std::size_t i = 0; i < 4; ++i) {
        CHECK(got[i * c + 2] == (i == std::size_t(first) ? 3 : 0));
        CHECK(got[i * c + 1] == (i == 0 ? 3 : 0));
      }
      test::window<window_code, device> codes{dev, {1, 1, 1, c}, {"dense"}};
      y.write(std::vector<double>(c, 9));
      max_pool2d_encode<T>(dev, x.view(), codes.view(), y.view());
      CHECK(std::isnan(y.read()[2]));
      CHECK(y.read()[1] == 1);
      CHECK(codes.read()[1] == 15);
      CHECK(codes.read()[2] == (first << window_code_place) + (1 << first) - 1);
    }
  };
  test::on_device<TestType>(check);
}

TEST_CASE("max_pool2d refuses what does not fit") {
  cpu dev{1};
  std::vector<float> memory(1000);
  view<float> const x{memory.data(), 1, 5, 4, 3}, y{memory.data() + 200, 1, 2, 2, 3};
  CHECK_THROWS_AS(max_pool2d_forward(dev, x, y.crop(0, 0, 1, 2)), argument_error);
  CHECK_THROWS_AS(max_pool2d_forward(dev, x, y.channels(0, 2)), argument_error);
  CHECK_THROWS_AS(max_pool2d_backward(dev, x, y.crop(0, 0, 2, 1), x), argument_error);
  CHECK_THROWS_AS(max_pool2d_backward(dev, x, y, x.crop(0, 0, 4, 4)), argument_error);
  std::vector<window_code> bytes(100);
  view<window_code> const codes{bytes.data(), 1, 3, 2, 3};
  CHECK_THROWS_AS(max_pool2d_encode<float>(dev, x, codes.crop(0, 0, 2, 2)), argument_error);
  CHECK_THROWS_AS(max_pool2d_encode<float>(dev, x, codes, y.channels(0, 2)), argument_error);
  CHECK_THROWS_AS(max_pool2d_backward_into_skip(dev, codes.crop(0, 0, 2, 2), y, x), argument_error);
  CHECK_THROWS_AS(max_pool2d_backward_into_skip(dev, codes, y.channels(0, 2), x), argument_error);
}
