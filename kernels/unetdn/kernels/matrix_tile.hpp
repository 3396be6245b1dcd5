// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <type_traits>

#include <unetdn/core/mma.hpp>
#include <unetdn/kernels/conv2d_tile.hpp>
#include <unetdn/kernels/pieces.hpp>

// One block's part of a matrix product c[M,N] = a[M,K] b[K,N]: what a convolution becomes when its windows do not
// overlap. A kernel says where the operands lie; this file multiplies.

namespace unetdn::kernels {

/// Where a[m][k], of type T, lies in shared memory: by rows of m with contiguous k.
template <class T, int Extent, int Depth> struct row_operand {
  static constexpr int rows = Extent;
  static constexpr int pieces = Depth / piece_size<T>;
  alignas(128) T memory[rows][Depth];

  UNETDN_DEVICE T* at(int row, int piece) { return &memory[row][spread<pieces>(row, piece) * piece_size<T>]; }
};
/// The same by rows of k with contiguous m.
template <class T, int Extent, int Depth> struct column_operand {
  static constexpr int rows = Depth;
  static constexpr int pieces = Extent / piece_size<T>;
  alignas(128) T memory[rows][Extent];

  UNETDN_DEVICE T* at(int row, int piece) {
    return &memory[row][spread_transposed<T, pieces>(row, piece) * piece_size<T>];
  }
};

/// The product of one block: 128 x 64 elements of c, by 4 x 2 warps of 32 x 32. A stage holds 64 bytes of k for each
/// row of a and each column of b; while one is multiplied, two are on their way. `RowsOfA`: a lies in memory by rows of
/// m with contiguous k, otherwise by rows of k with contiguous m. `RowsOfB`: b by rows of n with contiguous k,
/// otherwise by rows of k with contiguous n. Operand as in core/mma.hpp.
template <class Operand, bool RowsOfA, bool RowsOfB> struct matrix_tile {
  using T = storage_t<Operand>;
  static constexpr int tile_m = 128;
  static constexpr int tile_n = 64;
  static constexpr int stages = 3;
  static constexpr int stage_pieces = 4;
  static constexpr int depth = stage_pieces * piece_size<T>;  // k of a stage
  static constexpr int warp_columns = 2;
  static constexpr int warps = 8;
  static constexpr int threads = warps * warp_size;
  static constexpr int M = 2;  // fragments of c of one warp: 16 M x 8 N
  static constexpr int N = 4;
  static_assert(tile_m == warps / warp_columns * 16 * M && tile_n == warp_columns * 8 * N);

  using a_operand = std::conditional_t<RowsOfA, row_operand<T, tile_m, depth>, column_operand<T, tile_m, depth>>;
  using b_operand = std::conditional_t<RowsOfB, row_operand<T, tile_n, depth>, column_operand<T, tile_n, depth>>;
  struct stage {
    a_operand a;
    b_operand b;
  };
  /// How many pieces of a stage's operands a thread fetches: number i of a thread is i * threads + thread of all.
  static constexpr int fetches_a = a_operand::rows * a_operand::pieces / threads;
  static constexpr int fetches_b = b_operand::rows * b_operand::pieces / threads;

  struct sums {
    fragment_c c[M][N] = {};
    fragment_c of_rows[M] = {};  // sums of a's rows, equal in every column, where they are asked for
  };

  /// First row and column of c that the calling warp owns.
  template <class Block> static UNETDN_DEVICE int first_row(Block& block) {
    return block.warp() / warp_columns * 16 * M;
  }
  template <class Block> static UNETDN_DEVICE int first_column(Block& block) {
    return block.warp() % warp_columns * 8 * N;
  }

  /// Adds the products of `steps` stages to r_sums. fetch(stage, step) begins to bring this thread's pieces of a stage;
  /// it is called once for each step, in order.
  /// With RowSums, and where add_rows, the rows of a are summed as well: they are multiplied by a matrix of ones.
  template <bool RowSums, class Block, class Fetch>
  static UNETDN_DEVICE void multiply(Block& block, stage (&s)[stages], int steps, Fetch fetch, bool add_rows,
                                     sums& r_sums) {
    int const row0 = first_row(block);
    int const column0 = first_column(block);
    for (int i = 0; i < stages - 1; ++i) {
      if (i < steps) fetch(s[i], i);
      block.copy_commit();
    }
    for (int i = 0; i < steps; ++i) {
      block.template copy_wait<stages - 2>();
      block.sync();  // completes stage i, and everyone's reading of the one before
      int const next = i + stages - 1;
      if (next < steps) fetch(s[next % stages], next);
      block.copy_commit();
      stage& now = s[i % stages];
      UNETDN_UNROLL
      for (int k = 0; k < stage_pieces; k += mma_pieces<Operand>) {
        fragment_a<Operand> r_a[M];
        UNETDN_UNROLL
        for (int m = 0; m < M; ++m) r_a[m] = load_a_at(block, now.a, row0 + 16 * m, k);
        UNETDN_UNROLL
        for (int n = 0; n < N; n += 2) {
          fragment_b<Operand> r_b[2];
          load_b_at(block, r_b, now.b, column0 + 8 * n, k);
          UNETDN_UNROLL
          for (int m = 0; m < M; ++m) {
            UNETDN_UNROLL
            for (int j = 0; j < 2; ++j) multiply_add(block, r_sums.c[m][n + j], r_a[m], r_b[j]);
          }
        }
        if constexpr (RowSums) {
          if (!add_rows) continue;
          fragment_b<Operand> const r_ones = ones();
          UNETDN_UNROLL
          for (int m = 0; m < M; ++m) multiply_add(block, r_sums.of_rows[m], r_a[m], r_ones);
        }
      }
    }
  }

  /// Calls f(row, column, v) for each pair v[2] of neighbouring elements of c that this thread holds; rows and columns
  /// count from the warp's first ones.
  template <class Block, class F> static UNETDN_DEVICE void for_each_pair(Block& block, sums const& r_sums, F f) {
    UNETDN_UNROLL
    for (int m = 0; m < M; ++m) {
      UNETDN_UNROLL
      for (int n = 0; n < N; ++n) {
        UNETDN_UNROLL
        for (int i = 0; i < 4; i += 2)
          f(16 * m + fragment_c_row(block.lane(), i), 8 * n + fragment_c_column(block.lane(), i), &r_sums.c[m][n].r[i]);
      }
    }
  }

  /// c on its way to memory, each warp's part by itself. Rows are one piece wider, so that those of a fragment lie in
  /// different banks.
  struct result {
    alignas(16) T c[warps][16 * M][8 * N + piece_size<T>];
  };

  /// Rounds c to T and calls f(row, column, piece) for each piece of this warp's part that this thread is to store. The
  /// result may take the memory of the stages.
  template <class Block, class F>
  static UNETDN_DEVICE void for_each_result(Block& block, sums const& r_sums, result& s, F f) {
    block.sync();  // everyone has read the last stage, whose memory the result takes
    auto& s_c = s.c[block.warp()];
    for_each_pair(block, r_sums, [&](int row, int column, float const* v) {
      if constexpr (sizeof(T) == 2) {
        std::uint32_t const both = pack<T>(v[0], v[1]);
        copy_aligned<4>(&s_c[row][column], &both);
      } else {
        copy_aligned<8>(&s_c[row][column], v);
      }
    });
    block.sync_warp();  // completes this warp's part
    constexpr int pieces = 8 * N / piece_size<T>;
    for (int i = block.lane(); i < 16 * M * pieces; i += warp_size) {
      int const row = i / pieces;
      int const column = i % pieces * piece_size<T>;
      piece<T> r_c;
      copy_aligned<16>(r_c.r, &s_c[row][column]);
      f(first_row(block) + row, first_column(block) + column, r_c);
    }
  }

 private:
  template <class Block>
  static UNETDN_DEVICE fragment_a<Operand> load_a_at(Block& block, a_operand& a, int row0, int k) {
    if constexpr (RowsOfA) {
      return load_a<Operand>(block, [&](int row, int piece) { return a.at(row0 + row, k + piece); });
    } else {
      return load_a_transposed<Operand>(
          block, [&](int row, int piece) { return a.at(k * piece_size<T> + row, row0 / piece_size<T> + piece); });
    }
  }
  template <class Block>
  static UNETDN_DEVICE void load_b_at(Block& block, fragment_b<Operand> (&r_b)[2], b_operand& b, int column0, int k) {
    if constexpr (RowsOfB) {
      load_b_pair(block, r_b, [&](int row, int piece) { return b.at(column0 + row, k + piece); });
    } else {
      load_b_pair_transposed(block, r_b, [&](int row, int piece) {
        return b.at(k * piece_size<T> + row, column0 / piece_size<T> + piece);
      });
    }
  }
  /// A matrix of ones: which lane holds which element does not matter.
  static UNETDN_DEVICE fragment_b<Operand> ones() {
    fragment_b<Operand> r_ones;
    UNETDN_UNROLL
    for (auto& r : r_ones.r) {
      if constexpr (sizeof(T) == 2) {
        r = pack<T>(1, 1);
      } else if constexpr (std::is_same_v<Operand, float>) {
        r = 1;
      } else {
        r = __builtin_bit_cast(std::uint32_t, 1.0f);
      }
    }
    return r_ones;
  }
};

}  // namespace unetdn::kernels
