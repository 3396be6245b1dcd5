// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <unetdn/core/mma.hpp>

// Small kernels that say each word of the vocabulary, rightly and wrongly. Run by test_emulated.cpp and by
// seam/test_ignored_sites.cpp.

namespace unetdn::test {

/// c[16x16] = a[16xK] b[Kx16] by one warp, through shared memory. `Transposed`: a is stored as [k][m] and b as [k][n],
/// otherwise as [m][k] and [n][k].
template <class Operand, bool Transposed> struct multiply {
  using T = storage_t<Operand>;
  static constexpr int threads = 32;
  static constexpr int depth = mma_depth<Operand>;
  static constexpr int in_piece = 16 / int(sizeof(T));
  struct shared {
    alignas(16) T a[16 * depth], b[16 * depth];
  };
  T const *a, *b;
  float* c;

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared& s) const {
    int const first = block.lane() * in_piece;
    if (first < 16 * depth) {
      block.copy_async(&s.a[first], a + first);
      block.copy_async(&s.b[first], b + first);
    }
    block.copy_commit();
    block.template copy_wait<0>();
    block.sync_warp();  // completes a and b
    constexpr int pitch = Transposed ? 16 : depth;
    auto const at_a = [&](int row, int piece) { return &s.a[row * pitch + piece * in_piece]; };
    auto const at_b = [&](int row, int piece) { return &s.b[row * pitch + piece * in_piece]; };
    fragment_a<Operand> r_a;
    fragment_b<Operand> r_b[2];
    if constexpr (Transposed) {
      r_a = load_a_transposed<Operand>(block, at_a);
      load_b_pair_transposed(block, r_b, at_b);
    } else {
      r_a = load_a<Operand>(block, at_a);
      load_b_pair(block, r_b, at_b);
    }
    UNETDN_UNROLL
    for (int j = 0; j < 2; ++j) {
      fragment_c r_c{};
      multiply_add(block, r_c, r_a, r_b[j]);
      UNETDN_UNROLL
      for (int i = 0; i < 4; ++i) {
        c[fragment_c_row(block.lane(), i) * 16 + j * 8 + fragment_c_column(block.lane(), i)] = r_c.r[i];
      }
    }
  }
};

/// One mma on fragments filled element by element from the PTX manual's formulas: a[16x16], b[16x8], c[16x8] of floats.
struct multiply_by_hand {
  static constexpr int threads = 32;
  struct shared {};
  float const *a, *b;
  float* c;

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared&) const {
    int const group = block.lane() >> 2;
    int const in_group = block.lane() & 3;
    fragment_a<bf16> r_a;
    fragment_b<bf16> r_b;
    UNETDN_UNROLL
    for (int i = 0; i < 8; i += 2) {
      int const row = (i < 2 || (i >= 4 && i < 6)) ? group : group + 8;
      int const column = in_group * 2 + (i >= 4 ? 8 : 0);
      r_a.r[i / 2] = pack<bf16>(a[row * 16 + column], a[row * 16 + column + 1]);
    }
    UNETDN_UNROLL
    for (int i = 0; i < 4; i += 2) {
      int const row = in_group * 2 + (i >= 2 ? 8 : 0);
      r_b.r[i / 2] = pack<bf16>(b[row * 8 + group], b[(row + 1) * 8 + group]);
    }
    fragment_c r_c{};
    block.mma(r_c, r_a, r_b);
    UNETDN_UNROLL
    for (int i = 0; i < 4; ++i) c[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)] = r_c.r[i];
  }
};

/// The same of m16n8k8 on tf32: a[16x8], b[8x8], c[16x8].
struct multiply_tf32_by_hand {
  static constexpr int threads = 32;
  struct shared {};
  float const *a, *b;
  float* c;

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared&) const {
    int const group = block.lane() >> 2;
    int const in_group = block.lane() & 3;
    fragment_a<tf32> r_a;
    fragment_b<tf32> r_b;
    UNETDN_UNROLL
    for (int i = 0; i < 4; ++i) {
      int const row = i == 0 || i == 2 ? group : group + 8;
      int const column = i < 2 ? in_group : in_group + 4;
      r_a.r[i] = round_to_tf32(a[row * 8 + column]);
    }
    UNETDN_UNROLL
    for (int i = 0; i < 2; ++i) r_b.r[i] = round_to_tf32(b[(i == 0 ? in_group : in_group + 4) * 8 + group]);
    fragment_c r_c{};
    block.mma(r_c, r_a, r_b);
    UNETDN_UNROLL
    for (int i = 0; i < 4; ++i) c[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)] = r_c.r[i];
  }
};

enum class mistake {
  none,
  missing_sync,
  missing_sync_warp,
  missing_wait,
  early_read,
  early_overwrite,
  misaligned_target,
  misaligned_source,
  target_not_shared,
  misaligned_copy,
  mixed_lanes,
  early_exit,
  divergent_sync,
  syncs_at_two_sites,
  sync_warps_at_two_sites,
  unwritten_shared,
};

/// Two warps exchange rows of x[rounds][64][4] through shared memory: y[round][t] = x[round][63 - t][0] for odd t, else
/// 0 (only even rows are copied; the others are zeros), plus its neighbour's. `Mistake` does one thing wrongly.
template <mistake Mistake> struct exchange {
  static constexpr int threads = 64;
  static constexpr int rounds = 3;
  struct shared {
    alignas(16) float rows[2][64][4];
    float neighbours[64];
  };
  float const* x;
  float* y;

  template <class Block> UNETDN_DEVICE void fetch(Block& block, shared& s, int round) const {
    int const t = block.thread();
    if (round < rounds) block.copy_async(&s.rows[round % 2][t][0], x + (round * 64 + t) * 4, t % 2 == 0);
    block.copy_commit();
  }

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared& s) const {
    int const t = block.thread();
    if constexpr (Mistake == mistake::misaligned_target) return block.copy_async(&s.rows[0][t][1], x);
    if constexpr (Mistake == mistake::misaligned_source) return block.copy_async(&s.rows[0][t][0], x + 1);
    if constexpr (Mistake == mistake::target_not_shared) return block.copy_async(y, x);
    if constexpr (Mistake == mistake::misaligned_copy) return copy_aligned<16>(&s.rows[0][t][0], x + 2);
    if constexpr (Mistake == mistake::mixed_lanes) {
      if (t == 3) return block.sync_warp();
      return void(block.shuffle_xor(1, 1));
    }
    if constexpr (Mistake == mistake::early_exit) return t == 63 ? void() : block.sync_warp();
    if constexpr (Mistake == mistake::divergent_sync) return t < 32 ? block.sync() : void();
    if constexpr (Mistake == mistake::syncs_at_two_sites) {
      if (t < 32) return block.sync();
      return block.sync();
    }
    if constexpr (Mistake == mistake::sync_warps_at_two_sites) {
      if (t % 2) return block.sync_warp();
      return block.sync_warp();
    }
    if constexpr (Mistake == mistake::unwritten_shared) {
      y[t] = s.neighbours[t];
      return;
    }

    fetch(block, s, 0);
    for (int round = 0; round < rounds; ++round) {
      if constexpr (Mistake == mistake::early_overwrite) fetch(block, s, round + 1);
      if constexpr (Mistake == mistake::early_read) y[round * 64 + t] = s.rows[round % 2][t][0];
      if constexpr (Mistake == mistake::early_overwrite) {
        block.template copy_wait<1>();
      } else if constexpr (Mistake != mistake::missing_wait) {
        block.template copy_wait<0>();
      }
      if constexpr (Mistake != mistake::missing_sync) block.sync();  // completes rows[round % 2] and reads of the other
      if constexpr (Mistake != mistake::early_overwrite) fetch(block, s, round + 1);
      float const mine = s.rows[round % 2][63 - t][0];
      s.neighbours[t] = mine;
      if constexpr (Mistake != mistake::missing_sync_warp) block.sync_warp();  // completes the warp's neighbours
      float const other = s.neighbours[t ^ 1];
      // Their reading is complete before the next round writes them: a sync lies between.
      if constexpr (Mistake != mistake::early_read) y[round * 64 + t] = mine + other;
    }
  }
};

/// Leaves its commits to the end: each thread copies twice and waits for the older group while the newer is on its way.
struct two_groups {
  static constexpr int threads = 32;
  struct shared {
    alignas(16) float rows[2][32][4];
  };
  float const* x;  // [2][32][4]
  float* y;        // [2][32]

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared& s) const {
    int const t = block.thread();
    block.copy_async(&s.rows[0][t][0], x + t * 4);
    block.copy_commit();
    block.copy_async(&s.rows[1][t][0], x + (32 + t) * 4);
    block.copy_commit();
    block.template copy_wait<1>();
    y[t] = s.rows[0][t][3];
    block.template copy_wait<0>();
    y[32 + t] = s.rows[1][t][3];
  }
};

/// Every block counts itself, and every thread adds its index to one total.
struct count_blocks {
  static constexpr int threads = 96;
  struct shared {};
  int* seen;
  int* total;

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared&) const {
    extent3 const i = block.index();
    extent3 const n = block.blocks();
    if (block.thread() == 0) seen[(i.z * n.y + i.y) * n.x + i.x] += 1;
    block.atomic_add(total, block.warp() * warp_size + block.lane());
  }
};

/// y[t] = sum of x over t's warp and over the block.
struct sums {
  static constexpr int threads = 64;
  struct shared {
    float warps[2];
  };
  float const* x;
  float *of_warp, *of_block;

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared& s) const {
    int const t = block.thread();
    of_warp[t] = warp_sum(block, x[t]);
    of_block[t] = block_sum(block, s.warps, x[t]);
  }
};

/// What a kernel does wrong with a product of a warpgroup.
enum class product_mistake { none, unpublished, not_begun, overwritten, registers_changed, never_waited };

/// c[64xN] = a[64x16] b[16xN] by one warpgroup: a[m][k], from shared memory or `FromRegisters`; b[n][k], or TransposedB
/// b[k][n].
template <int N, bool TransposedB, bool FromRegisters, product_mistake Mistake = product_mistake::none>
struct warpgroup_multiply {
  using T = bf16;
  static constexpr bool by_warpgroups = true;
  static constexpr int threads = warpgroup_size;
  static constexpr int first_k = 16;  // where a's and b's 16 numbers begin in their rows
  struct shared {
    alignas(1024) T a[64 * shared_row], b[128 * shared_row];
  };
  T const *a, *b;
  float* c;

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared& s) const {
    auto const row_piece = [](T* rows, int row, int piece) {
      return &rows[row * shared_row + spread_piece(row, piece) * 8];
    };
    for (int i = block.thread(); i < 64 * 2; i += threads)
      block.copy_async(row_piece(s.a, i / 2, first_k / 8 + i % 2), a + i * 8);
    for (int i = block.thread(); i < N * 2; i += threads) {
      if constexpr (TransposedB)  // 64 columns after the other, 16 rows each
        block.copy_async(row_piece(s.b, i % (N / 8) / 8 * 16 + i / (N / 8), i % (N / 8) % 8), b + i * 8);
      else
        block.copy_async(row_piece(s.b, i / 2, first_k / 8 + i % 2), b + i * 8);
    }
    block.copy_commit();
    block.template copy_wait<0>();
    if (Mistake != product_mistake::unpublished) block.publish();
    block.sync();  // completes a and b

    fragment_c r_c[N / 8] = {};
    int const k = TransposedB ? 0 : first_k;
    shared_matrix<T, TransposedB> const of_b{s.b, shared_row_group * shared_row, 16 * shared_row};
    fragment_a<T> r_a = load_a<T>(
        block, [&](int row, int piece) { return row_piece(s.a, block.warp() * 16 + row, first_k / 8 + piece); });
    if (Mistake != product_mistake::not_begun) block.multiply_begin();
    if constexpr (FromRegisters) {
      block.multiply_async(r_c, r_a, of_b.shifted(k));
    } else {
      shared_matrix<T, false> const of_a{s.a, shared_row_group * shared_row};
      block.multiply_async(r_c, of_a.shifted(first_k), of_b.shifted(k));
    }
    block.multiply_commit();
    if (Mistake == product_mistake::overwritten) s.b[block.thread() * 8 + k] = T(100.0f);
    if (Mistake == product_mistake::registers_changed) r_a.r[0] = 0;
    if (Mistake != product_mistake::never_waited) block.template multiply_wait<0>();
    block.settle(r_c);
    UNETDN_UNROLL
    for (int j = 0; j < N / 8; ++j) {
      UNETDN_UNROLL
      for (int i = 0; i < 4; ++i) {
        int const row = block.warp() * 16 + fragment_c_row(block.lane(), i);
        c[row * N + j * 8 + fragment_c_column(block.lane(), i)] = r_c[j].r[i];
      }
    }
  }
};

}  // namespace unetdn::test
