// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include <unetdn/core/tensor.hpp>
#include <unetdn/ops/elementwise.hpp>

#include "catch.hpp"
#include "ops/windows.hpp"
#include "reference/elementwise.hpp"
#include "thrown.hpp"

using namespace unetdn;
using namespace windows;

namespace {

/// The last ones are split into several chunks of rows, the very last one has rows longer than a chunk.
std::vector<shape> const cases{{1, 1, 1, 1},  {1, 1, 1, 7},   {2, 3, 5, 3},   {1, 7, 1, 17},
                               {3, 1, 9, 16}, {2, 65, 31, 9}, {2, 3, 301, 61}};

std::size_t elements(shape const& s) { return static_cast<std::size_t>(s.size()); }

}  // namespace

// Copying does not round, and one addition rounds once: comparisons are exact.

TEMPLATE_TEST_CASE("copy and add are their definitions", "", float, double) {
  using T = TestType;
  for (int const threads : {1, 3}) {
    cpu dev{threads};
    for (shape const& s : cases) {
      for (bool const x_inside : {false, true}) {
        for (bool const y_inside : {false, true}) {
          INFO(to_string(s) << ", " << threads << " threads");
          auto const values = random_values<T>(elements(s), 1);
          auto const before = random_values<T>(elements(s), 2);
          window<T> const x{s, x_inside, values};
          window<T> y{s, y_inside, before};
          add(dev, x.view(), y.view());
          std::vector<T> expected;
          for (double v : reference::add(widened(values), widened(before))) expected.push_back(static_cast<T>(v));
          CHECK(y.values() == expected);
          CHECK(y.rim_untouched());
          unetdn::copy(dev, x.view(), y.view());
          CHECK(y.values() == values);
          CHECK(y.rim_untouched());
          CHECK(x.values() == values);
        }
      }
    }
  }
}

TEST_CASE("copy and add take one window twice") {
  cpu dev{2};
  shape const s{2, 3, 4, 5};
  auto const values = random_values<float>(elements(s), 3);
  window<float> x{s, true, values};
  unetdn::copy(dev, x.view(), x.view());
  CHECK(x.values() == values);
  add(dev, x.view(), x.view());
  auto const twice = x.values();
  for (std::size_t i = 0; i < twice.size(); ++i) CHECK(twice[i] == 2 * values[i]);
}

TEST_CASE("element-wise operations take empty windows and refuse other shapes") {
  cpu dev{2};
  tensor<float, cpu> a(dev, {1, 4, 4, 3});
  view<float> const x = a.view();
  for (auto const& y : {x.images(0, 0), x.crop(0, 0, 3, 4), x.crop(0, 0, 4, 3), x.channels(0, 2)}) {
    CHECK_THROWS_AS(unetdn::copy(dev, x, y), argument_error);
    CHECK_THROWS_AS(add(dev, x, y), argument_error);
    CHECK_THROWS_AS(unetdn::copy(dev, y, x), argument_error);
  }
  CHECK(contains(thrown([&] { add(dev, x, x.channels(0, 2)); }), "add: windows of 1 x 4 x 4 x 3 and 1 x 4 x 4 x 2"));
  for (shape const& s : {shape{0, 4, 4, 3}, shape{1, 0, 4, 3}, shape{1, 4, 0, 3}, shape{1, 4, 4, 0}}) {
    view<float> const empty{a.data(), s.n, s.h, s.w, s.c};
    CHECK_NOTHROW(unetdn::copy(dev, empty, empty));
    CHECK_NOTHROW(add(dev, empty, empty));
  }
}

TEST_CASE("positions beyond a border are reflected as often as needed") {
  for (int n = 1; n <= 9; ++n)
    for (int position = -40; position <= 40; ++position) {
      INFO("position " << position << " of " << n);
      CHECK(reflect(position, n) == reference::reflect(position, n));
    }
  CHECK(reflect(-1, 5) == 1);
  CHECK(reflect(5, 5) == 3);
  CHECK(reflect(4, 5) == 4);
}

TEMPLATE_TEST_CASE("copy_reflected is its definition", "", float, double) {
  using T = TestType;
  struct frame {
    int h, w, top, left;
  };
  for (int const threads : {1, 3}) {
    cpu dev{threads};
    for (shape const& s : {shape{1, 1, 1, 1}, shape{2, 1, 4, 3}, shape{2, 5, 2, 1}, shape{1, 6, 7, 5}}) {
      for (frame const& f : {frame{s.h, s.w, 0, 0}, frame{s.h + 3, s.w + 5, 1, 2}, frame{4 * s.h + 9, 3, 17, -1},
                             frame{2, 2, -3, -9}, frame{70, 90, 0, 40}}) {
        for (bool const inside : {false, true}) {
          INFO(to_string(s) << " to " << f.h << " x " << f.w << " from " << f.top << ", " << f.left);
          auto const values = random_values<T>(elements(s), 4);
          window<T> const x{s, inside, values};
          window<T> const y{{s.n, f.h, f.w, s.c}, inside};
          copy_reflected(dev, x.view(), y.view(), f.top, f.left);
          CHECK(widened(y.values()) ==
                reference::copy_reflected(widened(values), s.n, s.h, s.w, s.c, f.h, f.w, f.top, f.left));
          CHECK(y.rim_untouched());
        }
      }
    }
  }
}

TEST_CASE("copy_reflected refuses windows that do not fit") {
  cpu dev{1};
  tensor<float, cpu> a(dev, {2, 4, 4, 3}), b(dev, {2, 8, 8, 3});
  CHECK_NOTHROW(copy_reflected(dev, a.view(), b.view(), 2, 2));
  CHECK_THROWS_AS(copy_reflected(dev, a.view().images(0, 1), b.view(), 2, 2), argument_error);
  CHECK_THROWS_AS(copy_reflected(dev, a.view().channels(0, 1), b.view(), 2, 2), argument_error);
  CHECK_THROWS_AS(copy_reflected(dev, a.view().crop(0, 0, 0, 4), b.view(), 2, 2), argument_error);
  CHECK_THROWS_AS(copy_reflected(dev, a.view().crop(0, 0, 4, 0), b.view(), 2, 2), argument_error);
  CHECK_NOTHROW(copy_reflected(dev, a.view(), b.view().crop(0, 0, 0, 8), 2, 2));
}
