// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>
#include <vector>

#include <unetdn/core/tensor.hpp>
#include <unetdn/loss.hpp>

#include "catch.hpp"
#include "ops/windows.hpp"
#include "reference/loss.hpp"
#include "thrown.hpp"

using namespace unetdn;
using namespace windows;

namespace {

std::vector<shape> const cases{{1, 1, 1, 1}, {2, 3, 5, 3}, {1, 7, 1, 17}, {2, 65, 31, 9}};
std::size_t elements(shape const& s) { return static_cast<std::size_t>(s.size()); }

double expected_loss(loss_kind kind, std::vector<double> const& y, std::vector<double> const& target) {
  return kind == loss_kind::l1 ? reference::l1(y, target) : reference::mse(y, target);
}

}  // namespace

TEMPLATE_TEST_CASE("the loss is its definition", "", float, double) {
  using T = TestType;
  for (loss_kind const kind : {loss_kind::l1, loss_kind::mse}) {
    for (shape const& s : cases) {
      for (bool const inside : {false, true}) {
        INFO(to_string(kind) << " of " << to_string(s));
        cpu dev{2};
        auto const values = random_values<T>(elements(s), 1);
        window<T> const y{s, inside, values};
        window<T> const target{s, !inside, random_values<T>(elements(s), 2)};
        window<T> const dy{s, inside};
        double const loss = loss_and_gradient(dev, kind, y.view(), target.view(), dy.view());
        double const expected = expected_loss(kind, widened(values), widened(target.values()));
        // A difference of T is rounded once; the sum is in double.
        CHECK(std::abs(loss - expected) <= tolerance<T>(0) * expected);
        CHECK(dy.rim_untouched());
        double largest = 0;
        auto const gradient = dy.values();
        for (std::size_t i = 0; i < gradient.size(); ++i) {
          double const d = double(values[i]) - double(target.values()[i]);
          double const g = (kind == loss_kind::l1 ? (d > 0 ? 1.0 : d < 0 ? -1.0 : 0.0) : 2 * d) / double(s.size());
          largest = std::max(largest, std::abs(double(gradient[i]) - g));
          if (i > 300) break;
        }
        CHECK(largest <= tolerance<T>(0) / double(s.size()));
        // The gradient may overwrite the picture.
        CHECK(loss_and_gradient(dev, kind, y.view(), target.view(), y.view()) == loss);
        CHECK(y.values() == gradient);
      }
    }
  }
}

TEMPLATE_TEST_CASE("the loss with SSIM is its definition", "", float, double) {
  using T = TestType;
  for (cpu_bodies::isa const which : instruction_sets())
    for (shape const& s : {shape{1, 11, 11, 1}, shape{2, 12, 29, 3}, shape{1, 40, 17, 4}}) {
      for (bool const inside : {false, true}) {
        use_isa const restored{which};
        INFO(to_string(s) << ", " << cpu_bodies::name(which));
        cpu dev{2};
        auto const values = random_values<T>(elements(s), 1);
        window<T> const y{s, inside, values};
        window<T> const target{s, !inside, random_values<T>(elements(s), 2)};
        window<T> const dy{s, inside};
        double const loss = loss_and_gradient(dev, loss_kind::l1_ssim, y.view(), target.view(), dy.view());
        auto const extent = [](int e) { return static_cast<std::size_t>(e); };
        double const expected = reference::l1_ssim(widened(values), widened(target.values()), extent(s.n), extent(s.h),
                                                   extent(s.w), extent(s.c));
        // Variances are differences of means of squares, and SSIM's constant C2 is all that stands below them.
        CHECK(std::abs(loss - expected) <= 16 * std::numeric_limits<T>::epsilon() / 9e-4);
        CHECK(dy.rim_untouched());
        // The gradient may overwrite the picture.
        auto const gradient = dy.values();
        CHECK(loss_and_gradient(dev, loss_kind::l1_ssim, y.view(), target.view(), y.view()) == loss);
        CHECK(y.values() == gradient);
      }
    }
}

TEST_CASE("the gradient of the loss is the limit of its differences") {
  cpu dev{1};
  shape const s{2, 13, 17, 7};
  auto const values = random_values<double>(elements(s), 3);
  auto const direction = random_values<double>(elements(s), 4);
  window<double> const target{s, false, random_values<double>(elements(s), 5)};
  window<double> const dy{s, false};
  for (loss_kind const kind : {loss_kind::l1, loss_kind::mse, loss_kind::l1_ssim}) {
    auto const f = [&](double t) {
      auto moved = values;
      for (std::size_t i = 0; i < moved.size(); ++i) moved[i] += t * direction[i];
      window<double> const y{s, false, moved};
      return loss_and_gradient(dev, kind, y.view(), target.view(), dy.view());
    };
    double const h = 1e-6;  // no element of y - target is as close to the kink of l1
    double const difference = (f(h) - f(-h)) / (2 * h);
    f(0);
    CHECK(dot(dy.values(), direction) == Approx(difference).epsilon(1e-7));
  }
}

TEST_CASE("the loss has equal bits for any number of threads") {
  shape const s{3, 67, 129, 3};
  window<float> const y{s, true, random_values<float>(elements(s), 6)};
  window<float> const target{s, false, random_values<float>(elements(s), 7)};
  for (loss_kind const kind : {loss_kind::l1, loss_kind::mse, loss_kind::l1_ssim}) {
    window<float> const dy{s, false};
    cpu one{1};
    double const loss = loss_and_gradient(one, kind, y.view(), target.view(), dy.view());
    auto const gradient = dy.values();
    for (int const threads : {2, 3}) {
      cpu dev{threads};
      window<float> const again{s, false};
      CHECK(loss_and_gradient(dev, kind, y.view(), target.view(), again.view()) == loss);
      CHECK(again.values() == gradient);
    }
  }
}

TEST_CASE("where y equals the target the loss and its gradient are 0; NaN shows in the loss") {
  cpu dev{1};
  shape const s{1, 1, 1, 3};
  for (loss_kind const kind : {loss_kind::l1, loss_kind::mse}) {
    window<float> const y{s, false, {0.25f, -1, 0}}, dy{s, false};
    CHECK(loss_and_gradient(dev, kind, y.view(), y.view(), dy.view()) == 0);
    CHECK(dy.values() == std::vector<float>(3, 0.f));
    window<float> const bad{s, false, {0, std::numeric_limits<float>::quiet_NaN(), 0}};
    CHECK(std::isnan(loss_and_gradient(dev, kind, bad.view(), y.view(), dy.view())));
  }
}

TEST_CASE("losses have names, and other shapes are refused") {
  for (loss_kind const kind : {loss_kind::l1, loss_kind::mse, loss_kind::l1_ssim}) {
    CHECK(parse_loss(to_string(kind)) == kind);
  }
  CHECK(to_string(loss_kind::l1) == "l1");
  CHECK(to_string(loss_kind::mse) == "mse");
  CHECK(to_string(loss_kind::l1_ssim) == "l1_ssim");
  for (char const* const name : {"", "L1", "l2", "mse ", "l1,mse"}) CHECK_THROWS_AS(parse_loss(name), argument_error);
  CHECK(thrown([] { parse_loss("huber"); }) == "unknown loss 'huber'; use mse, l1 or l1_ssim");

  cpu dev{1};
  tensor<float, cpu> a(dev, {2, 4, 4, 3});
  view<float> const x = a.view();
  for (auto const& y : {x.images(0, 1), x.crop(0, 0, 3, 4), x.crop(0, 0, 4, 3), x.channels(0, 2)}) {
    CHECK_THROWS_AS(loss_and_gradient(dev, loss_kind::l1, y, x, x), argument_error);
    CHECK_THROWS_AS(loss_and_gradient(dev, loss_kind::l1, x, y, x), argument_error);
    CHECK_THROWS_AS(loss_and_gradient(dev, loss_kind::l1, x, x, y), argument_error);
  }
  CHECK(thrown([&] { loss_and_gradient(dev, loss_kind::l1_ssim, x, x, x); }) ==
        "the loss l1_ssim has windows of 11 x 11 pixels and the picture only 4 x 4; use larger ones or another loss");
}
