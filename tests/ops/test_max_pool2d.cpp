// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>
#include <vector>

#include <unetdn/ops/max_pool2d.hpp>

#include "catch.hpp"
#include "ops/windows.hpp"
#include "reference/max_pool2d.hpp"

using namespace unetdn;
using namespace windows;

namespace {

std::vector<shape> const cases{{1, 1, 1, 1}, {1, 2, 2, 3},   {2, 4, 6, 16}, {1, 5, 7, 17}, {3, 7, 2, 5},
                               {1, 3, 8, 1}, {1, 10, 9, 48}, {2, 2, 3, 33}, {1, 1, 6, 4}};

/// Few different values, negative ones too: most windows hold their maximum more than once.
template <class T> std::vector<T> coarse_values(std::size_t count, unsigned seed) {
  auto values = random_values<T>(count, seed);
  for (T& v : values) v = std::round(v * 2);
  return values;
}

}  // namespace

TEMPLATE_TEST_CASE("max_pool2d is its definition", "", float, double) {
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
          for (bool const accumulate : {false, true})
            for (bool const relu_mask : {false, true}) {
              auto const before = random_values<T>(ref.x_size(), 3);
              window<T> dx{s, sliced, before};
              max_pool2d_backward(dev, x.view(), dy.view(), dx.view(), accumulate, relu_mask);
              auto const expected =
                  ref.backward(widened(x.values()), widened(dy.values()),
                               accumulate ? widened(before) : std::vector<double>(before.size()), relu_mask);
              CHECK(distance(dx.values(), expected) <= tolerance<T>(1));
              CHECK(dx.rim_untouched());
            }
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
  max_pool2d_backward(dev, in.view(), gradient.view(), dx.view(), false, false);
  CHECK((loss(1e-6) - loss(-1e-6)) / 2e-6 == Approx(dot(dx.values(), direction)).epsilon(1e-6));
}

TEMPLATE_TEST_CASE("max_pool2d lets a NaN through and sends its gradient to the first one", "", float, double) {
  using T = TestType;
  T const nan = std::numeric_limits<T>::quiet_NaN();
  for (auto const which : instruction_sets()) {
    use_isa const scope{which};
    cpu dev{1};
    for (int first = 0; first < 4; ++first) {
      int const c = 19;
      std::vector<T> x(4 * c, T(1));
      for (int i = first; i < 4; ++i) x[i * c + 2] = nan;
      std::vector<T> y(c), dy(c, T(3)), dx(4 * c);
      max_pool2d_forward(dev, view<T>{x.data(), 1, 2, 2, c}, view<T>{y.data(), 1, 1, 1, c});
      CHECK(std::isnan(y[2]));
      CHECK(y[1] == 1);
      max_pool2d_backward(dev, view<T>{x.data(), 1, 2, 2, c}, view<T>{dy.data(), 1, 1, 1, c},
                          view<T>{dx.data(), 1, 2, 2, c}, false, false);
      for (int i = 0; i < 4; ++i) {
        CHECK(dx[i * c + 2] == (i == first ? 3 : 0));
        CHECK(dx[i * c + 1] == (i == 0 ? 3 : 0));
      }
    }
  }
}

TEST_CASE("max_pool2d refuses what does not fit") {
  cpu dev{1};
  std::vector<float> memory(1000);
  view<float> const x{memory.data(), 1, 5, 4, 3}, y{memory.data() + 200, 1, 2, 2, 3};
  CHECK_THROWS_AS(max_pool2d_forward(dev, x, y.crop(0, 0, 1, 2)), argument_error);
  CHECK_THROWS_AS(max_pool2d_forward(dev, x, y.channels(0, 2)), argument_error);
  CHECK_THROWS_AS(max_pool2d_backward(dev, x, y.crop(0, 0, 2, 1), x, false, false), argument_error);
  CHECK_THROWS_AS(max_pool2d_backward(dev, x, y, x.crop(0, 0, 4, 4), false, false), argument_error);
}
