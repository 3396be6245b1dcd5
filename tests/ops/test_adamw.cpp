// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>
#include <vector>

#include <unetdn/ops/adamw.hpp>

#include "catch.hpp"
#include "ops/windows.hpp"
#include "reference/adamw.hpp"

using namespace unetdn;
using namespace windows;

namespace {

/// The arrays that an update touches.
template <class T> struct state {
  std::vector<T> weights, gradient, m, v, average;

  explicit state(std::size_t size)
      : weights(random_values<T>(size, 1)), gradient(size), m(size), v(size), average(weights) {}
  adamw_arrays<T> arrays(bool averaged) {
    return {weights.data(),
            gradient.data(),
            m.data(),
            v.data(),
            averaged ? average.data() : nullptr,
            static_cast<std::int64_t>(weights.size())};
  }
};

/// What a step is given, different each time.
struct settings {
  double rate, scale, averaging;
};
settings settings_of(int step) { return {1e-2 / step, step % 2 == 0 ? 1.0 : 0.25, step / (step + 3.0)}; }

/// Gradients of very different sizes; the first one is always zero.
template <class T> std::vector<T> gradients(std::size_t size, int step) {
  auto g = random_values<T>(size, static_cast<unsigned>(10 + step));
  for (std::size_t i = 0; i < size; ++i) g[i] *= i % 3 == 0 ? T(1) : i % 3 == 1 ? T(1e-3) : T(100);
  g[0] = 0;
  return g;
}

}  // namespace

TEMPLATE_TEST_CASE("adamw_step is Loshchilov and Hutter's algorithm", "", float, double) {
  using T = TestType;
  for (cpu_bodies::isa const which : instruction_sets()) {
    use_isa const restored{which};
    INFO(cpu_bodies::name(which));
    for (std::size_t const size : {1u, 7u, 20000u}) {
      for (double const weight_decay : {0.0, 0.1}) {
        INFO(size << " parameters, weight decay " << weight_decay);
        cpu dev{2};
        adamw_options const options{0.9, 0.99, 1e-6, weight_decay};
        state<T> s(size);
        // The constants as T holds them.
        reference::adamw expected{double(T(0.9)), double(T(0.99)),    1e-6,
                                  weight_decay,   widened(s.weights), widened(s.average)};
        for (int step = 1; step <= 7; ++step) {
          auto const now = settings_of(step);
          s.gradient = gradients<T>(size, step);
          adamw_step(dev, options, s.arrays(true), step, now.rate, now.scale, now.averaging);
          expected.step(widened(s.gradient), now.rate, now.scale, now.averaging);
          // Weights stay below 2 in magnitude; a step rounds them and their average a few times.
          CHECK(distance(s.weights, expected.weights) <= step * tolerance<T>(0));
          CHECK(distance(s.average, expected.average) <= step * tolerance<T>(0));
          // Moments reach 25 and 600.
          CHECK(distance(s.m, expected.m) <= 30 * tolerance<T>(0));
          CHECK(distance(s.v, expected.v) <= 1000 * tolerance<T>(0));
        }
        CHECK(std::isfinite(double(s.weights[0])));
      }
    }
  }
}

TEMPLATE_TEST_CASE("the first step moves each weight by the rate against its gradient's sign", "", float, double) {
  using T = TestType;
  cpu dev{1};
  state<T> s(100);
  auto const before = s.weights;
  s.gradient = gradients<T>(100, 1);
  adamw_step(dev, adamw_options{}, s.arrays(false), 1, 1, 1, 0.5);
  for (std::size_t i = 1; i < 100; ++i) {
    double const g = double(s.gradient[i]);
    double const expected = double(before[i]) - g / (std::abs(g) + adamw_options{}.epsilon);
    CHECK(std::abs(expected - double(s.weights[i])) <= tolerance<T>(0));
  }
  CHECK(s.weights[0] == before[0]);
  // Without an average none is written.
  CHECK(s.average == before);
}

TEST_CASE("an update has equal bits for any number of threads") {
  auto const run = [](int threads) {
    cpu dev{threads};
    state<float> s(50001);
    for (int step = 1; step <= 3; ++step) {
      s.gradient = gradients<float>(50001, step);
      adamw_step(dev, adamw_options{}, s.arrays(true), step, 1e-3, 0.5, 0.9);
    }
    s.weights.insert(s.weights.end(), s.average.begin(), s.average.end());
    return s.weights;
  };
  auto const one = run(1);
  CHECK(run(2) == one);
  CHECK(run(3) == one);
}

TEST_CASE("adamw_step counts from 1 and takes no parameters at all") {
  cpu dev{1};
  state<float> s(3);
  CHECK_THROWS_AS(adamw_step(dev, adamw_options{}, s.arrays(true), 0, 1e-3, 1, 0.9), argument_error);
  CHECK_THROWS_AS(adamw_step(dev, adamw_options{}, s.arrays(true), -1, 1e-3, 1, 0.9), argument_error);
  state<float> none(0);
  CHECK_NOTHROW(adamw_step(dev, adamw_options{}, none.arrays(true), 1, 1e-3, 1, 0.9));
}

TEMPLATE_TEST_CASE("squared_norm sums in double, with equal bits for any number of threads", "", float, double) {
  using T = TestType;
  for (cpu_bodies::isa const which : instruction_sets())
    for (std::size_t const size : {0u, 1u, 3u, 5u, 16384u, 16385u, 100003u}) {
      use_isa const restored{which};
      INFO(size << " elements, " << cpu_bodies::name(which));
      auto const x = random_values<T>(size, 6);
      double expected = 0;
      for (T v : x) expected += double(v) * double(v);
      cpu one{1}, two{2}, three{3};
      auto const n = static_cast<std::int64_t>(size);
      double const got = squared_norm(one, x.data(), n);
      CHECK(std::abs(got - expected) <= tolerance<double>(double(size)) * expected);
      CHECK(squared_norm(two, x.data(), n) == got);
      CHECK(squared_norm(three, x.data(), n) == got);
    }
  cpu dev{2};
  std::vector<float> const large{3e38f, 1e38f};
  CHECK(squared_norm(dev, large.data(), 2) == Approx(9e76 + 1e76));
  std::vector<float> const bad{1, std::numeric_limits<float>::quiet_NaN()};
  CHECK(std::isnan(squared_norm(dev, bad.data(), 2)));
}
