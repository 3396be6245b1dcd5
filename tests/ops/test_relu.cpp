// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include <unetdn/ops/relu.hpp>

#include "catch.hpp"
#include "devices/on_devices.hpp"
#include "reference/relu.hpp"

using namespace unetdn;
using namespace unetdn::test;

// Neither direction rounds, so all comparisons are exact.

TEMPLATE_LIST_TEST_CASE("relu agrees with the reference on windows of every kind", "", rows) {
  using T = typename TestType::element;
  using device = typename TestType::device;
  on_device<TestType>([](device& dev) {
    for (shape const& s : awkward_shapes) {
      for (placement const& from : placements) {
        for (placement const& to : {placements[0], placements[1], placements[4]}) {
          INFO(to_string(s) << ", " << from.name << " to " << to.name);
          auto const values = some_numbers(s.size(), 1);
          auto const gradient = some_numbers(s.size(), 2);
          window<T, device> x{dev, s, from, values}, dy{dev, s, from, gradient};
          window<T, device> y{dev, s, to}, dx{dev, s, to};
          relu_forward(dev, x.view(), y.view());
          auto const want = reference::relu_forward(values);
          CHECK(y.read() == want);
          relu_backward(dev, y.view(), dy.view(), dx.view());
          CHECK(dx.read() == reference::relu_backward(want, gradient));
          CHECK(x.read() == values);
        }
      }
    }
  });
}

TEMPLATE_LIST_TEST_CASE("relu works in place, keeps NaN, and takes empty windows", "", rows) {
  using T = typename TestType::element;
  using device = typename TestType::device;
  on_device<TestType>([](device& dev) {
    shape const s{1, 3, 5, 9};
    auto const values = some_numbers(s.size(), 3);
    window<T, device> x{dev, s, placements[1], values};
    relu_forward(dev, x.view(), x.view());
    CHECK(x.read() == reference::relu_forward(values));

    window<T, device> special{dev, {1, 1, 1, 3}, placements[0], {NAN, INFINITY, -INFINITY}};
    relu_forward(dev, special.view(), special.view());
    auto const got = special.read();
    CHECK(std::isnan(got[0]));
    CHECK(got[1] == INFINITY);
    CHECK(got[2] == 0);

    view<T> const empty{x.view().data, 0, 3, 5, 9};
    CHECK_NOTHROW(relu_forward(dev, empty, empty));
    CHECK_NOTHROW(relu_backward(dev, empty, empty, empty));
  });
}

TEMPLATE_LIST_TEST_CASE("relu refuses windows of different shapes", "", rows) {
  using T = typename TestType::element;
  using device = typename TestType::device;
  on_device<TestType>([](device& dev) {
    window<T, device> a{dev, {1, 2, 2, 3}, placements[0]}, b{dev, {1, 2, 2, 4}, placements[0]};
    CHECK_THROWS_AS(relu_forward(dev, a.view(), b.view()), argument_error);
    CHECK_THROWS_AS(relu_backward(dev, a.view(), a.view(), b.view()), argument_error);
    CHECK_THROWS_AS(relu_backward(dev, a.view(), b.view(), a.view()), argument_error);
  });
}
