// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <type_traits>

#include <unetdn/core/half.hpp>
#include <unetdn/core/kernel.hpp>

// Warp-level matrix multiply-accumulate, c[16x8] += a[16xK] b[Kx8] with c in float. K elements of an operand are 32
// bytes where tensor cores multiply: 16 of bf16 or fp16, 8 floats that are rounded to tf32 on their way. Operands may
// be float too: those are multiplied by ordinary fused multiply-adds, 4 deep, so that one kernel serves them all.
//
// Which lane holds what, with g = lane / 4 and t = lane % 4:
//
//   bf16, fp16 (PTX ISA, "Matrix Fragments for mma.m16n8k16")
//   a.r[0] = a[g][2t, 2t+1]      a.r[1] = a[g+8][2t, 2t+1]    a.r[2] = a[g][2t+8, 2t+9]    a.r[3] = a[g+8][2t+8, 2t+9]
//   b.r[0] = b[2t, 2t+1][g]      b.r[1] = b[2t+8, 2t+9][g]
//   tf32 (PTX ISA, "Matrix Fragments for mma.m16n8k8")
//   a.r[0] = a[g][t]             a.r[1] = a[g+8][t]           a.r[2] = a[g][t+4]           a.r[3] = a[g+8][t+4]
//   b.r[0] = b[t][g]             b.r[1] = b[t+4][g]
//   float (ours)
//   a.r[k] = a[g][k]             a.r[4+k] = a[g+8][k]
//   b.r[k] = b[k][2t]            b.r[4+k] = b[k][2t+1]
//   all
//   c.r[0], c.r[1] = c[g][2t, 2t+1]                           c.r[2], c.r[3] = c[g+8][2t, 2t+1]
//
// The maps are written here and in devices/ only. A kernel says which matrix it wants, and where it must know what a
// lane holds of it, asks the functions below.

namespace unetdn {

template <class Operand> struct alignas(16) fragment_a { std::uint32_t r[4]; };
template <class Operand> struct alignas(8) fragment_b { std::uint32_t r[2]; };
template <> struct alignas(16) fragment_a<float> { float r[8]; };
template <> struct alignas(16) fragment_b<float> { float r[8]; };
struct alignas(16) fragment_c {
  float r[4];
};

/// The type in which an operand lies in memory.
template <class Operand> using storage_t = std::conditional_t<std::is_same_v<Operand, tf32>, float, Operand>;

/// K, in elements and in pieces of 16 bytes.
template <class Operand> inline constexpr int mma_pieces = std::is_same_v<Operand, float> ? 1 : 2;
template <class Operand> inline constexpr int mma_depth = mma_pieces<Operand> * 16 / int(sizeof(storage_t<Operand>));

/// Row of c whose element a lane holds in r[i].
UNETDN_HD constexpr int fragment_c_row(int lane, int i) { return lane / 4 + 8 * (i / 2); }
/// Column of c whose element a lane holds in r[i].
UNETDN_HD constexpr int fragment_c_column(int lane, int i) { return lane % 4 * 2 + i % 2; }

// Fragment loads from shared memory. `at(row, piece)` gives the address of a row's piece of 16 bytes, aligned to 16. It
// is asked by each lane for what that lane reads, so any row may lie anywhere (shifted pixels, swizzled banks).

namespace detail {
/// Element `column` of a row.
template <class At> UNETDN_DEVICE float element(At const& at, int row, int column) {
  return at(row, column / 4)[column % 4];
}
template <class Operand, int Size> UNETDN_DEVICE void to_operands(std::uint32_t (&r)[Size]) {
  if constexpr (std::is_same_v<Operand, tf32>) {
    UNETDN_UNROLL
    for (int i = 0; i < Size; ++i) r[i] = round_to_tf32(__builtin_bit_cast(float, r[i]));
  }
}
}  // namespace detail

/// a[16xK] from rows m with contiguous k.
template <class Operand, class Block, class At> UNETDN_DEVICE fragment_a<Operand> load_a(Block& block, At at) {
  int const lane = block.lane();
  fragment_a<Operand> a;
  if constexpr (std::is_same_v<Operand, float>) {
    copy_aligned<16>(&a.r[0], at(lane / 4, 0));
    copy_aligned<16>(&a.r[4], at(lane / 4 + 8, 0));
  } else {
    block.load_matrix_x4(a.r, at(lane % 16, lane / 16));
    detail::to_operands<Operand>(a.r);
  }
  return a;
}

/// a[16xK] from rows k with contiguous m.
template <class Operand, class Block, class At>
UNETDN_DEVICE fragment_a<Operand> load_a_transposed(Block& block, At at) {
  int const lane = block.lane();
  int const group = lane / 4;
  int const in_group = lane % 4;
  fragment_a<Operand> a;
  if constexpr (std::is_same_v<Operand, float>) {
    UNETDN_UNROLL
    for (int i = 0; i < 8; ++i) a.r[i] = detail::element(at, i % 4, group + i / 4 * 8);
  } else if constexpr (std::is_same_v<Operand, tf32>) {
    UNETDN_UNROLL
    for (int i = 0; i < 4; ++i) a.r[i] = round_to_tf32(detail::element(at, in_group + i / 2 * 4, group + i % 2 * 8));
  } else {
    block.load_matrix_x4_transposed(a.r, at(lane % 8 + lane / 16 * 8, lane / 8 % 2));
  }
  return a;
}

/// b[Kx16] as two fragments (columns 0-7 and 8-15) from rows n with contiguous k.
template <class Operand, class Block, class At>
UNETDN_DEVICE void load_b_pair(Block& block, fragment_b<Operand> (&b)[2], At at) {
  int const lane = block.lane();
  if constexpr (std::is_same_v<Operand, float>) {
    UNETDN_UNROLL
    for (int i = 0; i < 4; ++i) copy_aligned<16>(&b[i / 2].r[i % 2 * 4], at(lane % 4 * 2 + i % 2 + i / 2 * 8, 0));
  } else {
    std::uint32_t r[4];
    block.load_matrix_x4(r, at(lane % 8 + lane / 16 * 8, lane / 8 % 2));
    detail::to_operands<Operand>(r);
    b[0] = {{r[0], r[1]}};
    b[1] = {{r[2], r[3]}};
  }
}

/// b[Kx16] as two fragments (columns 0-7 and 8-15) from rows k with contiguous n.
template <class Operand, class Block, class At>
UNETDN_DEVICE void load_b_pair_transposed(Block& block, fragment_b<Operand> (&b)[2], At at) {
  int const lane = block.lane();
  int const group = lane / 4;
  int const in_group = lane % 4;
  if constexpr (std::is_same_v<Operand, float>) {
    UNETDN_UNROLL
    for (int i = 0; i < 8; ++i) {
      int const column = in_group * 2 + i / 4 * 8;
      alignas(8) float pair[2];
      copy_aligned<8>(pair, at(i % 4, column / 4) + column % 4);
      b[i / 4].r[i % 4] = pair[0];
      b[i / 4].r[4 + i % 4] = pair[1];
    }
  } else if constexpr (std::is_same_v<Operand, tf32>) {
    UNETDN_UNROLL
    for (int i = 0; i < 4; ++i)
      b[i / 2].r[i % 2] = round_to_tf32(detail::element(at, in_group + i % 2 * 4, group + i / 2 * 8));
  } else {
    std::uint32_t r[4];
    block.load_matrix_x4_transposed(r, at(lane % 16, lane / 16));
    b[0] = {{r[0], r[1]}};
    b[1] = {{r[2], r[3]}};
  }
}

// Fragments of matrices that nobody has written down as such. A lane holds elements of a few rows and columns, as
// below; `get(i, j)` gives the 4 bytes in its row i and column j: a float, or two elements of 16 bits that are
// neighbours along k, the first of them at the place that is named.

/// How many columns of a, and rows of b, a lane holds elements of.
template <class Operand> inline constexpr int fragment_depths = std::is_same_v<Operand, float> ? 4 : 2;
/// How many columns of b.
template <class Operand> inline constexpr int fragment_b_columns = std::is_same_v<Operand, float> ? 2 : 1;

/// Row i of a, 0 or 1, that a lane holds elements of.
UNETDN_HD constexpr int fragment_a_row(int lane, int i) { return lane / 4 + 8 * i; }
/// Column j of a, which is also row j of b.
template <class Operand> UNETDN_HD constexpr int fragment_depth(int lane, int j) {
  if constexpr (std::is_same_v<Operand, float>) return j;
  return std::is_same_v<Operand, tf32> ? lane % 4 + 4 * j : lane % 4 * 2 + 8 * j;
}
/// Column j of b.
template <class Operand> UNETDN_HD constexpr int fragment_b_column(int lane, int j) {
  return std::is_same_v<Operand, float> ? lane % 4 * 2 + j : lane / 4;
}

/// a[16xK] from get(row, column).
template <class Operand, class Get> UNETDN_DEVICE fragment_a<Operand> make_a(Get get) {
  fragment_a<Operand> a;
  if constexpr (std::is_same_v<Operand, float>) {
    UNETDN_UNROLL
    for (int i = 0; i < 8; ++i) a.r[i] = __builtin_bit_cast(float, get(i / 4, i % 4));
  } else {
    UNETDN_UNROLL
    for (int i = 0; i < 4; ++i) a.r[i] = get(i % 2, i / 2);
    detail::to_operands<Operand>(a.r);
  }
  return a;
}

/// b[Kx8] from get(row, column).
template <class Operand, class Get> UNETDN_DEVICE fragment_b<Operand> make_b(Get get) {
  fragment_b<Operand> b;
  if constexpr (std::is_same_v<Operand, float>) {
    UNETDN_UNROLL
    for (int i = 0; i < 8; ++i) b.r[i] = __builtin_bit_cast(float, get(i % 4, i / 4));
  } else {
    UNETDN_UNROLL
    for (int i = 0; i < 2; ++i) b.r[i] = get(i, 0);
    detail::to_operands<Operand>(b.r);
  }
  return b;
}

/// c[16x8] += a[16xK] b[Kx8], by the whole warp.
template <class Operand, class Block>
UNETDN_DEVICE void multiply_add(Block& block, fragment_c& c, fragment_a<Operand> const& a,
                                fragment_b<Operand> const& b) {
  if constexpr (std::is_same_v<Operand, float>) {
    UNETDN_UNROLL
    for (int k = 0; k < 4; ++k) {
      UNETDN_UNROLL
      for (int i = 0; i < 4; ++i) c.r[i] += a.r[i / 2 * 4 + k] * b.r[i % 2 * 4 + k];
    }
  } else {
    block.mma(c, a, b);
  }
}

// Matrix products of a warpgroup (Hopper's wgmma; PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions"):
// c[64xN] += a[64x16] b[16xN] of bf16 or fp16, whose operands are read from shared memory while the threads go on. Warp
// w of the group holds rows 16 w to 16 w + 15 of c as N / 8 fragments, and of a where that comes from registers.

/// Rows of 64 elements of 16 bits in shared memory, 128 bytes one after the other: the form in which warpgroups
/// multiply fastest. Of each row the piece of 16 bytes number i lies where spread_piece() says, so that neither a row
/// nor a column of pieces meets in a bank. (PTX ISA, "Shared Memory Matrix Layout", 128-byte swizzling.)
inline constexpr int shared_row = 64;
/// Eight such rows are what a product reads at once; the address of the first one is a multiple of 128 bytes, and its
/// number within 1024 bytes decides how they are spread.
inline constexpr int shared_row_group = 8;
/// Where row `row` of memory aligned to 1024 bytes has piece `piece`.
UNETDN_HD constexpr int spread_piece(int row, int piece) { return piece ^ (row & 7); }

/// A matrix in such rows, as a[64x16] or b[16xN]: rows m (or n), whose contiguous elements are k; Transposed: rows k,
/// whose contiguous elements are m (or n).
template <class T, bool Transposed> struct shared_matrix {
  static_assert(sizeof(T) == 2);
  T const* s_first;      ///< the first row's first element, were the rows not spread; a multiple of 16 bytes
  int groups_apart;      ///< elements from a group of eight rows to the next
  int blocks_apart = 0;  ///< Transposed: elements from 64 contiguous m (or n) to the next 64; otherwise unused
  int shift = 0;         ///< the matrix begins so many elements further on; a multiple of 8

  /// The same so many elements further on: cheaper than from another address where the number is known when compiling.
  UNETDN_DEVICE shared_matrix shifted(int elements) const {
    return {s_first, groups_apart, blocks_apart, shift + elements};
  }
};

}  // namespace unetdn
