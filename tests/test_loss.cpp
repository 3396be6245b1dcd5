// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>
#include <vector>

#include <unetdn/core/tensor.hpp>
#include <unetdn/loss.hpp>

#include "catch.hpp"
#include "devices/on_devices.hpp"
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

template <class T> void check_definition(loss_kind kind) {
  for (shape const& s : cases) {
    for (bool const inside : {false, true}) {
      INFO(to_string(kind) << " of " << to_string(s) << ", " << cpu_bodies::name(cpu_bodies::active_isa()));
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

}  // namespace

TEMPLATE_TEST_CASE("the loss is its definition", "[long]", float, double) {
  for (cpu_bodies::isa const which : instruction_sets()) {
    use_isa const restored{which};
    check_definition<TestType>(loss_kind::l1);
    check_definition<TestType>(loss_kind::mse);
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

// On devices that run kernels.

namespace {

/// A loss, and the scale of its gradient, in device memory.
template <class Device> class device_loss {
 public:
  device_loss(Device& dev, float scale) : dev_{dev}, memory_{static_cast<unsigned char*>(dev.allocate(16))} {
    dev.upload(memory_ + 8, &scale, sizeof scale);
  }
  device_loss(device_loss const&) = delete;
  device_loss& operator=(device_loss const&) = delete;
  ~device_loss() { Device::release(memory_); }
  double* loss() { return reinterpret_cast<double*>(memory_); }
  float* scale() { return reinterpret_cast<float*>(memory_ + 8); }
  double read() {
    double value;
    dev_.download(&value, memory_, sizeof value);
    return value;
  }

 private:
  Device& dev_;
  unsigned char* memory_;
};

std::size_t extent(int e) { return static_cast<std::size_t>(e); }

double reference_loss(loss_kind kind, std::vector<double> const& y, std::vector<double> const& target, shape const& s) {
  if (kind != loss_kind::l1_ssim) return expected_loss(kind, y, target);
  return reference::l1_ssim(y, target, extent(s.n), extent(s.h), extent(s.w), extent(s.c));
}
std::vector<double> reference_gradient(loss_kind kind, std::vector<double> const& y, std::vector<double> const& target,
                                       shape const& s) {
  if (kind == loss_kind::l1) return reference::l1_gradient(y, target);
  if (kind == loss_kind::mse) return reference::mse_gradient(y, target);
  return reference::l1_ssim_gradient(y, target, extent(s.n), extent(s.h), extent(s.w), extent(s.c));
}

/// Something like a picture, and something like what a network makes of it: smooth in one half, noise in the other.
std::vector<double> picture(shape const& s, unsigned seed) {
  std::vector<double> values = random_values<double>(elements(s), seed);
  for (std::size_t i = 0; i < values.size(); ++i) {
    double const x = double(i) / double(values.size());
    values[i] = 0.5 + 0.3 * std::sin(9 * x) + (i % 97 < 48 ? 0.02 : 0.3) * values[i];
  }
  return values;
}

double largest(std::vector<double> const& v) {
  double most = 0;
  for (double const x : v) most = std::max(most, std::abs(x));
  return most;
}

}  // namespace

TEST_CASE("the reference's gradients are the limits of its differences") {
  shape const s{1, 12, 13, 2};
  auto const y = picture(s, 1), target = picture(s, 2), direction = random_values<double>(elements(s), 3);
  for (loss_kind const kind : {loss_kind::l1, loss_kind::mse, loss_kind::l1_ssim}) {
    auto const f = [&](double t) {
      auto moved = y;
      for (std::size_t i = 0; i < moved.size(); ++i) moved[i] += t * direction[i];
      return reference_loss(kind, moved, target, s);
    };
    double const h = 1e-7;
    CHECK(dot(reference_gradient(kind, y, target, s), direction) == Approx((f(h) - f(-h)) / (2 * h)).epsilon(1e-6));
  }
}

TEMPLATE_LIST_TEST_CASE("the loss and its gradient from kernels are their definitions", "", test::gpu_rows) {
  using T = typename TestType::element;
  double const unit = std::is_same_v<T, float> ? 0x1p-24 : std::is_same_v<T, bf16> ? 0x1p-8 : 0x1p-11;
  std::vector<double> losses;
  test::on_device<TestType>([&](auto& dev) {
    using device = std::remove_reference_t<decltype(dev)>;
    std::size_t at = 0;
    auto const run = [&](loss_kind kind, shape const& s, test::placement const& from, test::placement const& to) {
      INFO(to_string(kind) << " of " << to_string(s) << ", " << from.name << " to " << to.name);
      float const scale = 16;
      device_loss<device> out{dev, scale};
      test::window<T, device> y{dev, s, from, picture(s, 1)}, dy{dev, s, to};
      test::window<float, device> target{dev, s, to, picture(s, 2)};
      auto const values = y.read(), wanted = target.read();
      loss_and_gradient(dev, kind, y.view(), target.view(), dy.view(), out.loss(), out.scale());
      double const loss = out.read(), expected = reference_loss(kind, values, wanted, s);
      // SSIM's variances are differences of means of squares, and its constant C2 is all that stands below them.
      double const of_ssim = kind == loss_kind::l1_ssim ? 0x1p-24 / 9e-4 : 0;
      CHECK(std::abs(loss - expected) <= 20 * 0x1p-24 * expected + of_ssim);
      auto const gradient = dy.read();
      auto of_reference = reference_gradient(kind, values, wanted, s);
      for (double& g : of_reference) g *= double(scale);
      // Rounded to T once, by half a subnormal step of fp16 at least.
      double const most = largest(of_reference);
      CHECK(distance(gradient, of_reference) <= most * (unit + 8 * 0x1p-24 + of_ssim) + 0x1p-25);
      CHECK(y.read() == values);

      // Equal bits in every way of running it, and where the gradient overwrites the picture.
      if (losses.size() == at) losses.push_back(loss);
      CHECK(losses[at++] == loss);
      loss_and_gradient(dev, kind, y.view(), target.view(), y.view(), out.loss(), out.scale());
      CHECK(y.read() == gradient);
      CHECK(out.read() == loss);
    };
#if defined(UNETDN_TSAN)
    bool const slow = true;  // every access is
#else
    bool const slow = false;
#endif
    for (auto const& from : test::placements) {
      for (auto const& to : {test::placements[0], test::placements[2], test::placements[4]}) {
        if (slow && from.before != to.before) continue;
        for (shape const& s : {shape{1, 1, 1, 1}, shape{2, 3, 5, 3}, shape{1, 2, 70, 16}}) {
          run(loss_kind::l1, s, from, to);
          run(loss_kind::mse, s, from, to);
        }
      }
    }
    run(loss_kind::l1_ssim, {1, 11, 11, 1}, test::placements[0], test::placements[0]);
    if (!slow) run(loss_kind::l1_ssim, {2, 12, 29, 2}, test::placements[2], test::placements[0]);
    if (!slow) run(loss_kind::l1_ssim, {1, 43, 33, 1}, test::placements[4], test::placements[1]);

    // Without a scale it is 1; NaN shows in the loss.
    device_loss<device> out{dev, 16};
    shape const s{1, 2, 2, 3};
    test::window<T, device> y{dev, s, test::placements[0], std::vector<double>(12, 1)}, dy{dev, s, test::placements[0]};
    test::window<float, device> zero{dev, s, test::placements[0], std::vector<double>(12, 0)};
    loss_and_gradient(dev, loss_kind::mse, y.view(), zero.view(), dy.view(), out.loss());
    CHECK(out.read() == 1);
    CHECK(dy.read() == std::vector<double>(12, double(float(T(2.f / 12)))));
    y.write({0, 0, 0, 0, std::numeric_limits<double>::quiet_NaN(), 0, 0, 0, 0, 0, 0, 0});
    loss_and_gradient(dev, loss_kind::l1, y.view(), zero.view(), dy.view(), out.loss());
    CHECK(std::isnan(out.read()));
    auto const refused = [&](loss_kind kind, auto a, auto b, auto c) {
      CHECK_THROWS_AS(loss_and_gradient(dev, kind, a, b, c, out.loss()), argument_error);
    };
    refused(loss_kind::l1_ssim, y.view(), zero.view(), dy.view());
    refused(loss_kind::l1, y.view().crop(0, 0, 1, 2), zero.view(), dy.view());
    refused(loss_kind::l1, y.view(), zero.view().channels(0, 2), dy.view());
    refused(loss_kind::l1, y.view(), zero.view(), dy.view().crop(0, 0, 2, 1));
    refused(loss_kind::l1, y.view().images(0, 0), zero.view().images(0, 0), dy.view().images(0, 0));
  });
}
