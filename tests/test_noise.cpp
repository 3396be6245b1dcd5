// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <unetdn/devices/cpu.hpp>
#include <unetdn/noise.hpp>

#include "catch.hpp"

using namespace unetdn;

namespace {

std::string refusal(std::string const& spelling) {
  try {
    (void)parse_noise(spelling);
  } catch (argument_error const& e) {
    return e.what();
  }
  return "";
}

bool contains(std::string const& whole, std::string const& part) { return whole.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("noise spellings are read and written") {
  CHECK(parse_noise("gaussian:25") == noise_level{25, 25});
  CHECK(parse_noise("gaussian:0..55") == noise_level{0, 55});
  CHECK(parse_noise("gaussian:2.5..1e1") == noise_level{2.5f, 10});
  CHECK(parse_noise("gaussian:0") == noise_level{0, 0});
  CHECK(parse_noise("gaussian:1000") == noise_level{1000, 1000});
  for (char const* spelling : {"gaussian:25", "gaussian:0..55", "gaussian:0.1..12.7", "gaussian:0"})
    CHECK(to_string(parse_noise(spelling)) == spelling);
}

TEST_CASE("wrong noise spellings are refused, saying why") {
  CHECK(contains(refusal("gaussian:-1"), "negative"));
  CHECK(contains(refusal("gaussian:55..0"), "reversed"));
  CHECK(contains(refusal("gaussian:1001"), "above 1000"));
  CHECK(contains(refusal("gaussian:0..2000"), "above 1000"));
  CHECK(contains(refusal("gaussian:nan"), "not a number"));
  CHECK(contains(refusal("gaussian:inf"), "not a number"));
  CHECK(contains(refusal("gaussian:1e99"), "not a number"));
  CHECK(contains(refusal("gaussian:25x"), "not a number"));
  CHECK(contains(refusal("gaussian:"), "not a number"));
  CHECK(contains(refusal("gaussian:5.."), "not a number"));
  CHECK(contains(refusal("gaussian:..5"), "not a number"));
  CHECK(contains(refusal("gaussian:1..2..3"), "not a number"));
  CHECK(contains(refusal("gaussian:0...7"), "not a number"));
  CHECK(contains(refusal("gaussian"), "missing"));
  CHECK(contains(refusal("poisson:30"), "unknown model 'poisson'"));
  CHECK(contains(refusal("25"), "unknown model"));
  CHECK(contains(refusal(""), "unknown model"));
}

TEST_CASE("levels are drawn uniformly from their range") {
  noise_level const level{10, 50};
  double mean = 0, square = 0;
  int const pictures = 20000;
  for (int i = 0; i < pictures; ++i) {
    double const sigma = draw_sigma(level, {3}, static_cast<std::uint32_t>(i));
    REQUIRE((sigma >= 10 && sigma <= 50));
    mean += sigma / pictures;
    square += sigma * sigma / pictures;
  }
  CHECK(mean == Approx(30).margin(0.4));
  CHECK(square - mean * mean == Approx(1600 / 12.0).epsilon(0.03));
  CHECK(draw_sigma({25, 25}, {3}, 7) == 25);
}

TEMPLATE_TEST_CASE("noise is the deviate of each element, times sigma / 255", "", float, double) {
  cpu dev{2};
  int const n = 3, h = 5, w = 7, c = 3, stride = 5;  // channel slices of wider buffers
  std::vector<TestType> clean(std::size_t(n * h * w * stride)), noisy(clean.size(), TestType(-7));
  for (std::size_t i = 0; i < clean.size(); ++i) clean[i] = TestType(i % 11) / TestType(11);
  auto const x = view<TestType const>(clean.data(), n, h, w, stride).channels(1, c);
  auto const y = view<TestType>(noisy.data(), n, h, w, stride).channels(2, c);
  std::vector<float> const sigmas = {0, 25, 300};
  random_key const key{9, 4, random_stream::noise};
  add_gaussian_noise(dev, x, y, sigmas, key, 100);
  for (int in = 0; in < n; ++in) {
    for (int i = 0; i < h * w; ++i) {
      for (int ic = 0; ic < c; ++ic) {
        double const deviate =
            gaussian(key, 100 + static_cast<std::uint32_t>(in), static_cast<std::uint64_t>(i * c + ic));
        double const expected = double(x.pixel(in, i / w, i % w)[ic]) + double(sigmas[std::size_t(in)]) / 255 * deviate;
        CHECK(double(y.pixel(in, i / w, i % w)[ic]) == Approx(expected).epsilon(3e-7).margin(3e-7));
      }
      CHECK(y.pixel(in, i / w, i % w)[-1] == TestType(-7));
      CHECK(y.pixel(in, i / w, i % w)[-2] == TestType(-7));
    }
  }
}

TEST_CASE("noise has equal bits for any number of threads, and in place") {
  int const n = 2, h = 130, w = 101, c = 3;
  std::vector<float> clean(std::size_t(n * h * w * c), 0.5f);
  std::vector<float> const sigmas = {25, 50};
  std::vector<float> first;
  for (int threads : {1, 2, 3}) {
    cpu dev{threads};
    std::vector<float> noisy = clean;
    view<float> y{noisy.data(), n, h, w, c};
    add_gaussian_noise(dev, y, y, sigmas, {1, 2, random_stream::noise});
    if (first.empty()) first = noisy;
    CHECK(noisy == first);
    // Elements are counted over the whole picture, whatever band of rows a chunk has.
    for (int i = 0; i < h * w * c; i += 97) {
      float const deviate = gaussian({1, 2, random_stream::noise}, 1, static_cast<std::uint64_t>(i));
      CHECK(noisy[std::size_t(h * w * c + i)] == Approx(0.5f + 50 / 255.0f * deviate).margin(1e-6));
    }
  }
  double square = 0;
  std::size_t const half = first.size() / 2;
  for (std::size_t i = 0; i < half; ++i) square += (double(first[i]) - 0.5) * (double(first[i]) - 0.5);
  CHECK(std::sqrt(square / double(half)) * 255 == Approx(25).epsilon(0.02));
}

TEST_CASE("noise refuses what does not fit") {
  cpu dev{1};
  std::vector<float> memory(24, 0.0f);
  view<float> const x{memory.data(), 2, 2, 2, 3};
  view<float> const y{memory.data(), 2, 2, 3, 2};
  std::vector<float> const one = {1}, two = {1, 1}, negative = {1, -1};
  std::vector<float> const nan = {1, std::numeric_limits<float>::quiet_NaN()};
  CHECK_THROWS_AS(add_gaussian_noise(dev, x, y, two, {}), argument_error);
  CHECK_THROWS_AS(add_gaussian_noise(dev, x, x, one, {}), argument_error);
  CHECK_THROWS_AS(add_gaussian_noise(dev, x, x, negative, {}), argument_error);
  CHECK_THROWS_AS(add_gaussian_noise(dev, x, x, nan, {}), argument_error);
  view<float> const nothing{memory.data(), 0, 2, 2, 3};
  CHECK_NOTHROW(add_gaussian_noise(dev, nothing, nothing, {}, {}));
}
