// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <unetdn/core/tensor.hpp>
#include <unetdn/devices/cpu.hpp>
#include <unetdn/noise.hpp>

#include "catch.hpp"
#include "core/random_hash.hpp"
#include "devices/on_devices.hpp"

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

TEST_CASE("deviates have the bits of their definition on every instruction set, wherever they begin") {
  random_key const key{0x123456789abcdef, 7, random_stream::noise};
  for (auto const which : test::instruction_sets()) {
    test::use_isa const scope{which};
    for (std::uint64_t const first : {std::uint64_t(0), std::uint64_t(1), std::uint64_t(6), std::uint64_t(4003),
                                      random_elements - 1031, random_elements - 1028}) {
      for (int const count : {0, 1, 2, 3, 4, 5, 31, 32, 33, 1000, 1028}) {
        INFO(cpu_bodies::name(which) << ", " << count << " from " << first);
        std::vector<float> out(std::size_t(count) + 1, 77.f), expected = out;
        detail::fill_deviates(key, 3, first, count, out.data());
        for (int i = 0; i < count; ++i) expected[std::size_t(i)] = gaussian(key, 3, first + std::uint64_t(i));
        CHECK(out == expected);
      }
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

// On every device.

namespace {

using test::gpu_rows;
using test::on_device;
using test::placements;
using test::rows;
using test::window;

std::vector<float> levels(int pictures) {
  std::vector<float> sigmas;
  for (int i = 0; i < pictures; ++i) sigmas.push_back(float(i * 37 % 256));
  return sigmas;
}

/// What the cpu makes of x in float, rounded to T.
template <class T>
std::vector<double> noisy_on_cpu(shape const& s, std::vector<double> const& x, random_key const& key,
                                 std::uint32_t first) {
  cpu dev{1};
  std::vector<float> memory(x.begin(), x.end());
  view<float> const v{memory.data(), s.n, s.h, s.w, s.c};
  add_gaussian_noise(dev, v, v, levels(s.n), key, first);
  std::vector<double> rounded;
  for (float const y : memory) rounded.push_back(double(float(T(y))));
  return rounded;
}

shape const noise_shapes[] = {{1, 1, 1, 1}, {2, 1, 3, 3}, {3, 5, 7, 3}, {2, 4, 8, 4}, {2, 11, 13, 1}, {131, 1, 5, 1}};

}  // namespace

TEMPLATE_LIST_TEST_CASE("noise from kernels has the bits of the cpu's", "", gpu_rows) {
  using T = typename TestType::element;
  random_key const key{9, 4, random_stream::noise};
  on_device<TestType>([&](auto& dev) {
    using device = std::remove_reference_t<decltype(dev)>;
    for (shape const& s : noise_shapes) {
      for (auto const& from : placements) {
        for (auto const& to : {placements[0], placements[2], placements[4]}) {
          INFO(to_string(s) << ", " << from.name << " to " << to.name);
          auto const clean = test::some_numbers(s.size(), 1);
          window<T, device> x{dev, s, from, clean}, y{dev, s, to};
          add_gaussian_noise<device, T>(dev, x.view(), y.view(), levels(s.n), key, 100);
          auto const expected = noisy_on_cpu<T>(s, clean, key, 100);
          CHECK(y.read() == expected);
          CHECK(x.read() == clean);
          add_gaussian_noise<device, T>(dev, x.view(), x.view(), levels(s.n), key, 100);
          CHECK(x.read() == expected);
        }
      }
    }
    window<T, device> x{dev, {2, 2, 2, 3}, placements[0]}, y{dev, {2, 2, 3, 2}, placements[0]};
    std::vector<float> const one = {1}, two = {1, 1}, negative = {1, -1};
    CHECK_THROWS_AS((add_gaussian_noise<device, T>(dev, x.view(), y.view(), two, {})), argument_error);
    CHECK_THROWS_AS((add_gaussian_noise<device, T>(dev, x.view(), x.view(), one, {})), argument_error);
    CHECK_THROWS_AS((add_gaussian_noise<device, T>(dev, x.view(), x.view(), negative, {})), argument_error);
    CHECK_NOTHROW((add_gaussian_noise<device, T>(dev, x.view().images(0, 0), x.view().images(0, 0), {}, {})));
  });
}

TEMPLATE_LIST_TEST_CASE("a noisy batch is bytes in [0, 1], the same with noise, and its level", "", rows) {
  using T = typename TestType::element;
  using real = accumulator_t<T>;
  random_key const key{9, 4, random_stream::noise};
  on_device<TestType>([&](auto& dev) {
    using device = std::remove_reference_t<decltype(dev)>;
    for (shape const& s : noise_shapes) {
      for (auto const& where : placements) {
        INFO(to_string(s) << ", " << where.name);
        std::vector<double> stored, clean, clean_in_float;
        for (std::int64_t i = 0; i < s.size(); ++i) {
          stored.push_back(double(i * 41 % 256));
          clean_in_float.push_back(double(float(stored.back()) / 255.f));
        }
        shape const of_map{s.n, s.h, s.w, 1};
        window<std::uint8_t, device> pictures{dev, s, where, stored};
        window<real, device> target{dev, s, where};
        window<T, device> noisy{dev, s, where}, map{dev, of_map, where};
        noisy_batch<T>(dev, pictures.view(), target.view(), noisy.view(), map.view(), levels(s.n), key, 7);
        CHECK(target.read() == clean_in_float);
        if constexpr (!std::is_same_v<T, double>) {
          CHECK(noisy.read() == noisy_on_cpu<T>(s, clean_in_float, key, 7));
        }
        std::vector<double> expected_map;
        for (float const sigma : levels(s.n))
          expected_map.insert(expected_map.end(), std::size_t(s.h * s.w), double(static_cast<float>(T(sigma / 255))));
        CHECK(map.read() == expected_map);

        // Each of the three alone.
        auto const with_noise = noisy.read();
        window<real, device> target2{dev, s, where};
        window<T, device> noisy2{dev, s, where}, map2{dev, of_map, where};
        noisy_batch<T>(dev, pictures.view(), target2.view(), {}, {}, levels(s.n), key, 7);
        noisy_batch<T>(dev, pictures.view(), {}, noisy2.view(), {}, levels(s.n), key, 7);
        noisy_batch<T>(dev, pictures.view(), {}, {}, map2.view(), levels(s.n), key, 7);
        CHECK(target2.read() == clean_in_float);
        CHECK(noisy2.read() == with_noise);
        CHECK(map2.read() == expected_map);
      }
    }
    window<std::uint8_t, device> pictures{dev, {2, 2, 2, 3}, placements[0]};
    window<real, device> target{dev, {2, 2, 2, 3}, placements[0]};
    window<T, device> noisy{dev, {2, 2, 2, 3}, placements[0]};
    auto const batch = [&](auto const& p, auto const& t, auto const& y, auto const& map, int sigmas) {
      noisy_batch<T>(dev, p, t, y, map, levels(sigmas), key);
    };
    auto const p = pictures.view();
    auto const t = target.view();
    auto const y = noisy.view();
    CHECK_NOTHROW(batch(p, t, y, y.channels(0, 1), 2));
    CHECK_THROWS_AS(batch(p, t.crop(0, 0, 1, 2), y, view<T>{}, 2), argument_error);
    CHECK_THROWS_AS(batch(p, t, y.channels(0, 2), view<T>{}, 2), argument_error);
    CHECK_THROWS_AS(batch(p, t, y, y, 2), argument_error);
    CHECK_THROWS_AS(batch(p, t, y, view<T>{}, 1), argument_error);
  });
}

TEMPLATE_LIST_TEST_CASE("the deviates of every device hash to what is stored", "", rows) {
  using T = typename TestType::element;
  if constexpr (std::is_same_v<T, float>) {
    on_device<TestType>([](auto& dev) {
      // Noise of level 1 on zeros.
      tensor<float, std::remove_reference_t<decltype(dev)>> x{dev, {4, 512, 512, 1}};
      add_gaussian_noise(dev, x.view(), x.view(), std::vector<float>(4, 255.f), random_hash_key);
      std::vector<float> deviates(std::size_t(x.size()));
      x.download(dev, deviates);
      CHECK(hash_floats(deviates.data(), x.size()) == expected_random_hash);
    });
  }
}
