// SPDX-License-Identifier: Apache-2.0
// Compiled twice: with the flags of the build, and with -O3 -march=native, where the compiler may contract products and
// sums.
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include <unetdn/core/tensor.hpp>
#include <unetdn/devices/cpu.hpp>
#include <unetdn/literature.hpp>

#include "catch.hpp"
#include "ops/windows.hpp"

using namespace unetdn;
using namespace windows;

namespace {

/// FNV-1a over whole words.
template <class Word, class T> std::uint64_t hash_of(std::vector<T> const& values) {
  static_assert(sizeof(Word) == sizeof(T));
  std::uint64_t hash = 14695981039346656037u;
  for (T const& v : values) {
    Word word;
    std::memcpy(&word, &v, sizeof word);
    hash = (hash ^ word) * 1099511628211u;
  }
  return hash;
}

std::vector<double> deviates(std::uint32_t seed, double scale, std::size_t count) {
  numpy_legacy_normal normal(seed);
  std::vector<double> v(count);
  for (double& d : v) d = normal(scale);
  return v;
}

}  // namespace

// All expected values were printed by NumPy 2.4.6 (numpy.random.seed, numpy.random.normal).

TEST_CASE("NumPy's first deviates of seed 0") {
  numpy_legacy_normal normal(0);
  CHECK(normal(1) == 1.764052345967664);
  CHECK(normal(1) == 0.4001572083672233);
  CHECK(normal(1) == 0.9787379841057392);
}

TEST_CASE("NumPy's deviates to the last bit") {
  auto const v = deviates(0, 25 / 255.0, 200001);
  CHECK(v[0] == 0x1.6231ac954df18p-3);
  CHECK(v[1] == 0x1.416193d2cf841p-5);
  CHECK(v[2] == 0x1.8907cccf825b3p-4);
  CHECK(v[3] == 0x1.c1efab023202ap-3);
  CHECK(v[104] == -0x1.d716ed1e05029p-4);
  CHECK(v[1000] == 0x1.be83abd0283dcp-5);
  CHECK(v[99999] == -0x1.020cae5c0127bp-3);
  CHECK(v[100000] == -0x1.848e483a7e156p-5);
  CHECK(v[200000] == 0x1.fbb5bced52932p-9);
  CHECK(hash_of<std::uint64_t>(v) == 0xbb316b9cc06470a2u);
}

TEST_CASE("NumPy's deviates of other seeds and scales") {
  struct golden {
    std::uint32_t seed;
    double first, last;
    std::uint64_t hash;
  };
  for (golden const& g : {golden{1, 0x1.875f269c8ed78p-4, -0x1.683bf21ae678fp-5, 0x97e8df1a81f65366u},
                          golden{12345, -0x1.8a947d23987c1p-7, 0x1.cbc3d55868cb0p-7, 0x4979c756e8f78725u},
                          golden{4294967295u, 0x1.3874ea2260cbep-5, -0x1.af85d78a28a67p-7, 0xa22b831ef66d9dd2u}}) {
    INFO("seed " << g.seed);
    auto const v = deviates(g.seed, 15 / 255.0, 100000);
    CHECK(v.front() == g.first);
    CHECK(v.back() == g.last);
    CHECK(hash_of<std::uint64_t>(v) == g.hash);
  }
}

TEST_CASE("literature noise is NumPy's, row by row, whatever the window") {
  // numpy: x = ((arange(105) * 37 % 256) / 255).astype(float32).reshape(5, 7, 3)
  //        y = (x + normal(0, 25 / 255, x.shape)).astype(float32)
  shape const s{1, 5, 7, 3};
  std::vector<float> values;
  for (int i = 0; i < 105; ++i) values.push_back(static_cast<float>(i * 37 % 256 / 255.0));
  for (bool const inside : {false, true}) {
    window<float> const x{s, inside, values};
    window<float> const y{s, !inside};
    add_literature_noise(x.view(), y.view(), 25);
    CHECK(hash_of<std::uint32_t>(y.values()) == 0x9a76ae111c571cau);
    CHECK(y.values().back() == -0x1.56966cp-4f);
    CHECK(y.rim_untouched());
    CHECK(x.values() == values);
    // In place, and the generator begins anew for every picture.
    add_literature_noise(x.view(), x.view(), 25, 0);
    CHECK(x.values() == y.values());
    add_literature_noise(y.view(), y.view(), 0);
    CHECK(x.values() == y.values());
    window<float> const z{s, false, values};
    add_literature_noise(z.view(), z.view(), 25, 1);
    CHECK(z.values() != y.values());
  }
}

TEST_CASE("literature noise is for one picture of one shape") {
  cpu dev{1};
  tensor<float, cpu> a(dev, {2, 4, 4, 3});
  view<float> const x = a.view();
  CHECK_THROWS_AS(add_literature_noise(x, x, 25), argument_error);
  CHECK_THROWS_AS(add_literature_noise(x.images(0, 1), x.images(0, 1).channels(0, 1), 25), argument_error);
  CHECK_NOTHROW(add_literature_noise(x.images(1, 1), x.images(1, 1), 25));
}

TEST_CASE("rounding to 8 bits: half to even, clamped, NaN is 0") {
  float const infinity = std::numeric_limits<float>::infinity();
  float const nan = std::numeric_limits<float>::quiet_NaN();
  // 0.5, 1.5 and 2.5 levels are exact after the multiplication by 255.
  std::vector<float> const halves{0.5f / 255, 1.5f / 255, 2.5f / 255};
  for (std::size_t i = 0; i < 3; ++i) REQUIRE(halves[i] * 255.f == 0.5f + static_cast<float>(i));
  std::vector<float> const in{halves[0], halves[1], halves[2], -0.3f, -infinity, 1.0001f,
                              infinity,  nan,       -nan,      1,     0,         0.5019f};
  std::vector<float> const levels{0, 2, 2, 0, 0, 255, 255, 0, 0, 255, 0, 128};
  shape const s{2, 1, 2, 3};
  window<float> const x{s, true, in};
  round_to_8_bits(x.view());
  auto const out = x.values();
  for (std::size_t i = 0; i < out.size(); ++i) {
    INFO("element " << i);
    CHECK(out[i] == levels[i] / 255.f);
  }
  CHECK(x.rim_untouched());

  std::vector<float> all(256);
  for (std::size_t i = 0; i < 256; ++i) all[i] = static_cast<float>(i) / 255.f;
  window<float> const y{{1, 16, 16, 1}, false, all};
  round_to_8_bits(y.view());
  CHECK(y.values() == all);
}
