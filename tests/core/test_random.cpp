// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include <unetdn/core/random.hpp>

#include "catch.hpp"
#include "random_hash.hpp"

using namespace unetdn;

namespace {

std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> c, std::array<std::uint32_t, 2> key) {
  random_words const w = philox4x32({{c[0], c[1], c[2], c[3]}}, key[0], key[1]);
  return {w.word[0], w.word[1], w.word[2], w.word[3]};
}

std::vector<float> deviates(random_key const& key, std::uint32_t sample, std::size_t count) {
  std::vector<float> out(count);
  gaussian_fill(key, sample, 0, static_cast<std::int64_t>(count), out.data());
  return out;
}

double correlation(std::vector<float> const& a, std::vector<float> const& b) {
  double ab = 0, aa = 0, bb = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    ab += double(a[i]) * b[i];
    aa += double(a[i]) * a[i];
    bb += double(b[i]) * b[i];
  }
  return ab / std::sqrt(aa * bb);
}

/// Largest distance between the empirical distribution and a continuous one.
template <class Cdf> double kolmogorov_smirnov(std::vector<float> v, Cdf cdf) {
  std::sort(v.begin(), v.end());
  double distance = 0, n = double(v.size());
  for (std::size_t i = 0; i < v.size(); ++i) {
    double const p = cdf(double(v[i]));
    distance = std::max({distance, p - double(i) / n, double(i + 1) / n - p});
  }
  return distance;
}

std::size_t const many = std::size_t(1) << 20;

}  // namespace

TEST_CASE("philox4x32-10 gives the known answers of Salmon et al.") {
  using four = std::array<std::uint32_t, 4>;
  CHECK(philox({0, 0, 0, 0}, {0, 0}) == four{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  std::uint32_t const ones = 0xffffffff;
  CHECK(philox({ones, ones, ones, ones}, {ones, ones}) == four{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        four{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("the counter is (block, sample, step, stream) and the key the seed") {
  random_key const key{0x0000000700000006u, 3, static_cast<random_stream>(4)};
  auto const expected = philox({1, 2, 3, 4}, {6, 7});
  for (std::uint32_t i = 0; i < 4; ++i) CHECK(random_word(key, 2, 4 + i) == expected[i]);
}

TEST_CASE("2^20 deviates have the stored hash") { CHECK(random_hash() == expected_random_hash); }

TEST_CASE("uniforms keep to their intervals") {
  CHECK(uniform_from(0) == 0.0f);
  CHECK(uniform_from(0xffffffff) == 1.0f - 0x1p-24f);
  CHECK(positive_uniform_from(0) == 0x1p-24f);
  CHECK(positive_uniform_from(0xffffffff) == 1.0f);
  std::vector<float> u(many);
  random_sequence draw{{1}};
  for (auto& v : u) v = draw.uniform();
  // The 1e-6 quantile of the Kolmogorov distribution is 2.69 / sqrt(n).
  CHECK(kolmogorov_smirnov(u, [](double x) { return x; }) < 2.69 / std::sqrt(double(many)));
}

TEST_CASE("integers are uniform in [0, n)") {
  CHECK(index_from(0xffffffff, 1) == 0);
  CHECK(index_from(0xffffffff, 0xffffffff) == 0xfffffffe);
  CHECK(index_from(0, 7) == 0);
  std::array<int, 7> counts{};
  random_sequence draw{{2}};
  int const draws = 700000;
  for (int i = 0; i < draws; ++i) ++counts[draw.index(7)];
  double chi_square = 0;
  for (int c : counts) chi_square += (c - draws / 7.0) * (c - draws / 7.0) / (draws / 7.0);
  CHECK(chi_square < 38);  // 6 degrees of freedom: exceeded once in a million
}

TEST_CASE("deviates agree with Box and Muller's formula in double") {
  double const turn = 8 * std::atan(1.0);
  std::vector<std::uint32_t> words = {0,          1,          2,          0x1fffffff, 0x20000000, 0x3fffffff,
                                      0x40000000, 0x55555554, 0x55555555, 0x55555556, 0x7fffffff, 0x80000000,
                                      0xaaaaaaaa, 0xaaaaaaab, 0xbfffffff, 0xe0000000, 0xfffffffe, 0xffffffff};
  random_sequence draw{{3}};
  for (int i = 0; i < 400; ++i) words.push_back(draw.word());
  for (int i = 0; i < 32; ++i) words.push_back(0xffffffffu >> i);
  double worst = 0, worst_near_zero = 0;
  for (std::uint32_t w1 : words) {
    double const radius = std::sqrt(-2 * std::log((w1 + 0.5) / 4294967296.0));
    double& largest = radius < 1e-3 ? worst_near_zero : worst;
    for (std::uint32_t w2 : words) {
      gaussian_pair const pair = gaussian_from(w1, w2);
      double const angle = turn * (w2 / 4294967296.0);
      largest = std::max(largest, std::abs(pair.first - radius * std::cos(angle)));
      largest = std::max(largest, std::abs(pair.second - radius * std::sin(angle)));
    }
  }
  // The radius is a float and the deviate is rounded once more: 6.8 * 2^-24 = 4e-7 together.
  CHECK(worst < 5e-7);
  // Near radius 0 the words run out: -2 ln u is known to 2^-32, its square root to 2^-16.
  CHECK(worst_near_zero < 2e-5);
}

TEST_CASE("deviates are standard normal") {
  std::vector<float> const n = deviates({11, 0, random_stream::noise}, 0, many);
  double moment[7] = {};
  for (float v : n) {
    double power = 1;
    for (double& m : moment) {
      m += power / double(many);
      power *= v;
    }
  }
  double const standard_error = 1 / std::sqrt(double(many));  // of the mean; below, of the k-th power
  CHECK(std::abs(moment[1]) < 5 * standard_error);
  CHECK(std::abs(moment[2] - 1) < 5 * std::sqrt(2.0) * standard_error);
  CHECK(std::abs(moment[3]) < 5 * std::sqrt(15.0) * standard_error);
  CHECK(std::abs(moment[4] - 3) < 5 * std::sqrt(96.0) * standard_error);
  CHECK(std::abs(moment[6] - 15) < 5 * std::sqrt(10170.0) * standard_error);
  CHECK(kolmogorov_smirnov(n, [](double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }) < 2.69 * standard_error);
}

TEST_CASE("the tails are there, and bounded") {
  std::vector<float> const n = deviates({12, 0, random_stream::noise}, 0, 4 * many);
  for (double threshold : {3.0, 4.0, 4.5}) {
    double const expected = double(n.size()) * std::erfc(threshold / std::sqrt(2.0));
    double const found =
        double(std::count_if(n.begin(), n.end(), [&](float v) { return std::abs(double(v)) > threshold; }));
    INFO("threshold " << threshold << ", expected " << expected << ", found " << found);
    CHECK(std::abs(found - expected) < 5 * std::sqrt(expected));
  }
  CHECK(gaussian_from(0, 0).first == Approx(std::sqrt(66 * std::log(2.0))).epsilon(1e-6));
  CHECK(gaussian_from(0xffffffff, 0).first > 0);
}

TEST_CASE("seeds, steps, streams, samples and neighbours are independent") {
  random_key const key{21, 1, random_stream::noise};
  std::vector<float> const base = deviates(key, 1, many);
  double const limit = 5 / std::sqrt(double(many));
  CHECK(std::abs(correlation(base, deviates({22, 1, random_stream::noise}, 1, many))) < limit);
  CHECK(std::abs(correlation(base, deviates({21, 2, random_stream::noise}, 1, many))) < limit);
  CHECK(std::abs(correlation(base, deviates({21, 1, random_stream::crop}, 1, many))) < limit);
  CHECK(std::abs(correlation(base, deviates(key, 2, many))) < limit);
  for (std::size_t lag = 1; lag < 9; ++lag) {
    std::vector<float> shifted(base.begin() + static_cast<std::ptrdiff_t>(lag), base.end());
    CHECK(std::abs(correlation(shifted, std::vector<float>(base.begin(), base.end() - std::ptrdiff_t(lag)))) < limit);
  }
  // The two deviates of a pair are uncorrelated, and so are their squares (both have the radius in common).
  std::vector<float> first, second;
  for (std::size_t i = 0; i < many; i += 2) {
    first.push_back(base[i] * base[i] - 1);
    second.push_back(base[i + 1] * base[i + 1] - 1);
  }
  CHECK(std::abs(correlation(first, second)) < 5 / std::sqrt(double(many) / 2));
}

TEST_CASE("filling gives what single draws give, from any element on") {
  random_key const key{5, 6, random_stream::noise};
  for (std::uint64_t first : {std::uint64_t(0), std::uint64_t(1), std::uint64_t(6), random_elements - 20}) {
    for (std::int64_t count = 0; count < 11; ++count) {
      std::vector<float> out(12, -9.0f);
      gaussian_fill(key, 3, first, count, out.data());
      for (std::int64_t i = 0; i < count; ++i)
        CHECK(out[std::size_t(i)] == gaussian(key, 3, first + static_cast<std::uint64_t>(i)));
      CHECK(out[std::size_t(count)] == -9.0f);
    }
  }
}

TEST_CASE("a sequence draws the elements in order") {
  random_key const key{8, 1, random_stream::crop};
  random_sequence draw{key, 4};
  for (std::uint64_t i = 0; i < 10; ++i) CHECK(draw.word() == random_word(key, 4, i));
  CHECK(draw.uniform() == uniform_from(random_word(key, 4, 10)));
  CHECK(draw.index(9) == index_from(random_word(key, 4, 11), 9));
  CHECK(draw.gaussian() == gaussian_from(random_word(key, 4, 12), random_word(key, 4, 13)).first);
  for (int i = 0; i < 1000; ++i) {
    float const v = draw.uniform(-2.0f, 3.0f);
    CHECK((v >= -2.0f && v <= 3.0f));
  }
}
