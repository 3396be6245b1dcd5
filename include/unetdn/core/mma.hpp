// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

#include <unetdn/core/half.hpp>
#include <unetdn/core/kernel.hpp>

// Warp-level matrix multiply-accumulate, c[16x8] += a[16x16] b[16x8], where a and b are bf16 or fp16 and c is float.
// Which lane holds what (PTX ISA, "Matrix Fragments for mma.m16n8k16"), with g = lane / 4 and t = lane % 4:
//
//   a.r[0] = a[g][2t, 2t+1]      a.r[1] = a[g+8][2t, 2t+1]    a.r[2] = a[g][2t+8, 2t+9]    a.r[3] = a[g+8][2t+8, 2t+9]
//   b.r[0] = b[2t, 2t+1][g]      b.r[1] = b[2t+8, 2t+9][g]
//   c.r[0], c.r[1] = c[g][2t, 2t+1]                           c.r[2], c.r[3] = c[g+8][2t, 2t+1]
//
// The maps are written here and in devices/ only. A kernel says which matrix it wants, never which lane holds it.

namespace unetdn {

template <class T> struct alignas(16) fragment_a { std::uint32_t r[4]; };
template <class T> struct alignas(8) fragment_b { std::uint32_t r[2]; };
struct alignas(16) fragment_c {
  float r[4];
};

/// Row of c whose element a lane holds in r[i].
UNETDN_HD constexpr int fragment_c_row(int lane, int i) { return lane / 4 + 8 * (i / 2); }
/// Column of c whose element a lane holds in r[i].
UNETDN_HD constexpr int fragment_c_column(int lane, int i) { return lane % 4 * 2 + i % 2; }

// Fragment loads from shared memory. `at(row, half)` gives the address of elements 8 * half .. 8 * half + 7 of a row:
// 16 bytes, aligned to 16. It is asked once per lane, so any row may lie anywhere (shifted pixels, swizzled banks).

/// a[16x16] from rows m with contiguous k.
template <class T, class Block, class At> UNETDN_DEVICE fragment_a<T> load_a(Block& block, At at) {
  int const lane = block.lane();
  fragment_a<T> a;
  block.load_matrix_x4(a.r, at(lane % 16, lane / 16));
  return a;
}

/// a[16x16] from rows k with contiguous m.
template <class T, class Block, class At> UNETDN_DEVICE fragment_a<T> load_a_transposed(Block& block, At at) {
  int const lane = block.lane();
  fragment_a<T> a;
  block.load_matrix_x4_transposed(a.r, at(lane % 8 + lane / 16 * 8, lane / 8 % 2));
  return a;
}

/// b[16x16] as two fragments (columns 0-7 and 8-15) from rows n with contiguous k.
template <class T, class Block, class At> UNETDN_DEVICE void load_b_pair(Block& block, fragment_b<T> (&b)[2], At at) {
  int const lane = block.lane();
  std::uint32_t r[4];
  block.load_matrix_x4(r, at(lane % 8 + lane / 16 * 8, lane / 8 % 2));
  b[0] = {{r[0], r[1]}};
  b[1] = {{r[2], r[3]}};
}

/// b[16x16] as two fragments (columns 0-7 and 8-15) from rows k with contiguous n.
template <class T, class Block, class At>
UNETDN_DEVICE void load_b_pair_transposed(Block& block, fragment_b<T> (&b)[2], At at) {
  int const lane = block.lane();
  std::uint32_t r[4];
  block.load_matrix_x4_transposed(r, at(lane % 16, lane / 16));
  b[0] = {{r[0], r[1]}};
  b[1] = {{r[2], r[3]}};
}

}  // namespace unetdn
