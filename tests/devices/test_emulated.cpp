// SPDX-License-Identifier: Apache-2.0
// One test a word of the vocabulary, and one a mistake that the emulated device must notice.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include <unetdn/devices/emulated.hpp>

#include "catch.hpp"
#include "devices/kernels.hpp"

using namespace unetdn;
using namespace unetdn::test;

namespace {

constexpr thread_order both_orders[] = {thread_order::forward, thread_order::reverse};

/// Small whole numbers, which every type here holds exactly.
float small_number(int i, int period) { return float(i * 7 % period - period / 2); }

template <class Operand, bool Transposed> void check_multiply() {
  using T = storage_t<Operand>;
  constexpr int depth = mma_depth<Operand>;
  alignas(16) T a[16 * depth], b[16 * depth];
  float c[256], want[256] = {};
  for (int i = 0; i < 16 * depth; ++i) {
    a[i] = T(small_number(i, 23));
    b[i] = T(small_number(i, 19));
  }
  for (int m = 0; m < 16; ++m) {
    for (int n = 0; n < 16; ++n) {
      for (int k = 0; k < depth; ++k) {
        float const left = float(Transposed ? a[k * 16 + m] : a[m * depth + k]);
        float const right = float(Transposed ? b[k * 16 + n] : b[n * depth + k]);
        want[m * 16 + n] += left * right;
      }
    }
  }
  for (thread_order order : both_orders) {
    emulated dev{order};
    launch(dev, {1}, multiply<Operand, Transposed>{a, b, c});
    CHECK(std::equal(c, c + 256, want));
  }
}

/// Runs one product of a warpgroup in both orders; the numbers are exact in every sum.
template <int N, bool TransposedB, bool FromRegisters, product_mistake Mistake = product_mistake::none>
void check_warpgroup_multiply() {
  alignas(16) bf16 a[64 * 16], b[16 * N];
  std::vector<float> c(std::size_t(64 * N)), want(c.size());
  for (int i = 0; i < 64 * 16; ++i) a[i] = bf16(small_number(i, 23));
  for (int i = 0; i < 16 * N; ++i) b[i] = bf16(small_number(i, 19));
  for (int m = 0; m < 64; ++m) {
    for (int n = 0; n < N; ++n) {
      for (int k = 0; k < 16; ++k)
        want[std::size_t(m * N + n)] += float(a[m * 16 + k]) * float(TransposedB ? b[k * N + n] : b[n * 16 + k]);
    }
  }
  for (thread_order order : both_orders) {
    emulated dev{order};
    launch(dev, {1}, warpgroup_multiply<N, TransposedB, FromRegisters, Mistake>{a, b, c.data()});
    CHECK(c == want);
  }
}

/// Number of wrong results of the exchange.
template <mistake Mistake> int wrong_results(thread_order order) {
  using kernel_type = exchange<Mistake>;
  constexpr int rounds = kernel_type::rounds;
  alignas(16) float x[rounds * 64 * 4];
  float y[rounds * 64];
  for (int i = 0; i < rounds * 64 * 4; ++i) x[i] = float(i + 1);
  emulated dev{order};
  launch(dev, {1}, kernel_type{x, y});
  int wrong = 0;
  for (int round = 0; round < rounds; ++round) {
    for (int t = 0; t < 64; ++t) {
      int const even = (63 - t) % 2 == 0 ? 63 - t : 63 - (t ^ 1);  // of each pair only the even row is copied
      wrong += y[round * 64 + t] == x[(round * 64 + even) * 4] ? 0 : 1;
    }
  }
  return wrong;
}

/// Whether at least one order makes the mistake show in the results.
template <mistake Mistake> bool shows() {
  return wrong_results<Mistake>(thread_order::forward) + wrong_results<Mistake>(thread_order::reverse) > 0;
}

/// The text with which both orders refuse the mistake; empty where one did not.
template <mistake Mistake> std::string refusal() {
  std::string what;
  for (thread_order order : both_orders) {
    try {
      wrong_results<Mistake>(order);
      return "";
    } catch (kernel_fault const& fault) {
      what = fault.what();
    }
  }
  return what;
}

bool contains(std::string const& text, char const* part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("matrix loads, transposed and not, and products agree with a plain product") {
  check_multiply<bf16, false>();
  check_multiply<bf16, true>();
  check_multiply<fp16, false>();
  check_multiply<fp16, true>();
  check_multiply<tf32, false>();
  check_multiply<tf32, true>();
  check_multiply<float, false>();
  check_multiply<float, true>();
}

TEST_CASE("mma has the PTX manual's layout") {
  float a[256], b[128], c[128], want[128] = {};
  for (int i = 0; i < 256; ++i) a[i] = small_number(i, 17);
  for (int i = 0; i < 128; ++i) b[i] = small_number(i, 13);
  for (int m = 0; m < 16; ++m) {
    for (int n = 0; n < 8; ++n) {
      for (int k = 0; k < 16; ++k) want[m * 8 + n] += a[m * 16 + k] * b[k * 8 + n];
    }
  }
  emulated dev;
  launch(dev, {1}, multiply_by_hand{a, b, c});
  CHECK(std::equal(c, c + 128, want));
}

TEST_CASE("mma of tf32 has the PTX manual's layout") {
  float a[128], b[64], c[128], want[128] = {};
  for (int i = 0; i < 128; ++i) a[i] = small_number(i, 17);
  for (int i = 0; i < 64; ++i) b[i] = small_number(i, 13);
  for (int m = 0; m < 16; ++m) {
    for (int n = 0; n < 8; ++n) {
      for (int k = 0; k < 8; ++k) want[m * 8 + n] += a[m * 8 + k] * b[k * 8 + n];
    }
  }
  emulated dev;
  launch(dev, {1}, multiply_tf32_by_hand{a, b, c});
  CHECK(std::equal(c, c + 128, want));
}

TEST_CASE("tf32 rounds operands to 11 significant bits, ties away from zero") {
  auto const rounded = [](float v) { return __builtin_bit_cast(float, round_to_tf32(v)); };
  CHECK(rounded(1) == 1);
  CHECK(rounded(-3.5f) == -3.5f);
  CHECK(rounded(1 + 0x1p-10f) == 1 + 0x1p-10f);
  CHECK(rounded(1 + 0x1p-11f) == 1 + 0x1p-10f);
  CHECK(rounded(-1 - 0x1p-11f) == -1 - 0x1p-10f);
  CHECK(rounded(1 + 0x1.ffcp-12f) == 1);
  CHECK(rounded(2 - 0x1p-23f) == 2);
  CHECK(rounded(0x1.fffffep127f) == INFINITY);
  CHECK(rounded(-INFINITY) == -INFINITY);
  CHECK(std::isnan(rounded(NAN)));
  float a[128] = {1 + 0x1p-10f}, b[64] = {1 + 0x1p-11f}, c[128];
  emulated dev;
  launch(dev, {1}, multiply_tf32_by_hand{a, b, c});
  CHECK(c[0] == (1 + 0x1p-10f) * (1 + 0x1p-10f));
}

TEST_CASE("products of a warpgroup agree with a plain product") {
  check_warpgroup_multiply<32, false, false>();
  check_warpgroup_multiply<32, true, false>();
  check_warpgroup_multiply<64, false, false>();
  check_warpgroup_multiply<64, true, false>();
  check_warpgroup_multiply<128, false, false>();
  check_warpgroup_multiply<128, true, false>();
  check_warpgroup_multiply<8, true, true>();
  check_warpgroup_multiply<64, true, true>();
}

TEST_CASE("asynchronous copies, waits and barriers") {
  for (thread_order order : both_orders) CHECK(wrong_results<mistake::none>(order) == 0);
}

TEST_CASE("copy_wait leaves the newest groups on their way") {
  alignas(16) float x[256];
  float y[64];
  for (int i = 0; i < 256; ++i) x[i] = float(i);
  emulated dev;
  launch(dev, {1}, two_groups{x, y});
  for (int t = 0; t < 64; ++t) CHECK(y[t] == x[t * 4 + 3]);
}

TEST_CASE("every block runs once and knows its index; atomic_add loses nothing") {
  for (int workers : {1, 2}) {
    for (thread_order order : both_orders) {
      int seen[2 * 3 * 4] = {};
      int total = 0;
      emulated dev{order, workers};
      launch(dev, {2, 3, 4}, count_blocks{seen, &total});
      CHECK(std::all_of(seen, seen + 24, [](int n) { return n == 1; }));
      CHECK(total == 24 * (95 * 96 / 2));
    }
  }
}

TEST_CASE("warp and block sums reach every thread") {
  float x[64], of_warp[64], of_block[64];
  for (int i = 0; i < 64; ++i) x[i] = float(i);
  for (thread_order order : both_orders) {
    emulated dev{order};
    launch(dev, {1}, sums{x, of_warp, of_block});
    for (int t = 0; t < 64; ++t) {
      CHECK(of_warp[t] == (t < 32 ? 496.0f : 1520.0f));
      CHECK(of_block[t] == 2016.0f);
    }
  }
}

#if !defined(UNETDN_TSAN)  // which rightly reports the races of kernels with mistakes
TEST_CASE("a missing barrier or wait makes wrong results") {
  CHECK(shows<mistake::missing_sync>());
  CHECK(shows<mistake::missing_sync_warp>());
  CHECK(shows<mistake::early_read>());
  CHECK(shows<mistake::early_overwrite>());
  CHECK(shows<mistake::unwritten_shared>());
}

TEST_CASE("products of a warpgroup that are not begun, made visible, left alone or waited for are refused") {
  using Catch::Contains;
  using m = product_mistake;
  CHECK_THROWS_WITH((check_warpgroup_multiply<64, true, false, m::unpublished>()), Contains("no publish"));
  CHECK_THROWS_WITH((check_warpgroup_multiply<64, true, false, m::not_begun>()), Contains("without multiply_begin"));
  CHECK_THROWS_WITH((check_warpgroup_multiply<64, true, false, m::overwritten>()), Contains("overwritten"));
  CHECK_THROWS_WITH((check_warpgroup_multiply<64, true, true, m::registers_changed>()), Contains("overwritten"));
  CHECK_THROWS_WITH((check_warpgroup_multiply<64, true, false, m::never_waited>()), Contains("never waited for"));
}

TEST_CASE("a copy never waited for is refused") {
  CHECK(contains(refusal<mistake::missing_wait>(), "copy_async never waited for"));
}

TEST_CASE("misaligned and misplaced 16-byte accesses are refused") {
  CHECK(contains(refusal<mistake::misaligned_target>(), "copy_async target is not aligned to 16 bytes"));
  CHECK(contains(refusal<mistake::misaligned_source>(), "copy_async source is not aligned to 16 bytes"));
  CHECK(contains(refusal<mistake::target_not_shared>(), "copy_async target is not in the block's shared memory"));
  CHECK(contains(refusal<mistake::misaligned_copy>(), "misaligned 16-byte access"));
}

TEST_CASE("barriers that not all threads reach, or not at one site, are refused") {
  CHECK(contains(refusal<mistake::divergent_sync>(), "barrier not reached by every thread: 32 at sync"));
  CHECK(contains(refusal<mistake::syncs_at_two_sites>(), "barriers at different sites"));
  CHECK(contains(refusal<mistake::early_exit>(), "31 at a warp operation, 33 finished"));
  CHECK(contains(refusal<mistake::sync_warps_at_two_sites>(), "sync_warp"));
  CHECK(contains(refusal<mistake::mixed_lanes>(), "shuffle_xor"));
}

#endif

TEST_CASE("a refusal names the kernel and the block, and the device works afterwards") {
  float x[64 * 4 * 3] = {}, y[64 * 3];
  emulated dev;
  std::string what;
  try {
    launch(dev, {1, 2}, exchange<mistake::divergent_sync>{x, y});
  } catch (kernel_fault const& fault) {
    what = fault.what();
  }
  CHECK(contains(what, "exchange<"));
  CHECK(contains(what, "block (0, 0, 0)"));
  float of_warp[64], of_block[64];
  launch(dev, {1}, sums{x, of_warp, of_block});
  CHECK(of_block[0] == 0.0f);
}

TEST_CASE("bank conflicts of matrix rows are counted") {
  alignas(16) bf16 a[256] = {}, b[256] = {};
  float c[256];
  emulated dev;
  launch(dev, {1}, multiply<bf16, false>{a, b, c});
  // Two loads of four matrices; rows 32 bytes apart, not swizzled, so that two of each eight meet in every column.
  CHECK(dev.row_conflicts() == 2 * 4 * 4);
}

TEST_CASE("fresh memory is aligned and holds NaN") {
  emulated dev;
  auto* const p = static_cast<float*>(dev.allocate(100));
  CHECK(reinterpret_cast<std::uintptr_t>(p) % emulated::alignment == 0);
  CHECK(std::isnan(p[0]));
  CHECK(std::isnan(p[24]));
  dev.fill_zero(p, 100);
  CHECK(p[24] == 0.0f);
  emulated::release(p);
  emulated::release(nullptr);
}

TEST_CASE("16-bit types round to nearest even and keep every value") {
  int wrong = 0;
  for (int i = 0; i < 65536; ++i) {
    bf16 b;
    fp16 h;
    b.bits = h.bits = std::uint16_t(i);
    float const wide_b = float(b);
    float const wide_h = float(h);
    if (!std::isnan(wide_b) && bf16(wide_b).bits != b.bits) ++wrong;
    if (!std::isnan(wide_h) && fp16(wide_h).bits != h.bits) ++wrong;
  }
  CHECK(wrong == 0);
  CHECK(bf16(1.00390625f).bits == 0x3f80);
  CHECK(bf16(1.01171875f).bits == 0x3f82);
  CHECK(fp16(65519.0f).bits == 0x7bff);
  CHECK(fp16(65520.0f).bits == 0x7c00);
  CHECK(fp16(0x1p-25f).bits == 0);
  CHECK(fp16(0x1.8p-24f).bits == 2);
  CHECK(std::isnan(float(bf16(NAN))));
  CHECK(std::isnan(float(fp16(NAN))));
}
