// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <unetdn/kernels/pieces.hpp>

namespace unetdn::kernels {

/// partial[b] = sum of the elements of x[N,H,W,C] that block b owns; the host adds the blocks in order.
///
/// A thread adds every (blocks * threads)-th piece of 16 bytes in float, in order; a block adds its threads by
/// block_sum. So the bits depend on x and on the number of blocks, not on scheduling. Traffic: x read once. Bound:
/// memory bandwidth.
template <class T> struct sum_partials {
  static constexpr int threads = 256;
  struct shared {
    float warps[threads / warp_size];
  };
  view<T const> x;
  float* partial;
  bool aligned;

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared& s) const {
    float r_sum = 0;
    for_each_piece(block, threads, x, [&](int image, int row, int column, int channel, int count) {
      piece<T> const r_x = load_piece(x.pixel(image, row, column) + channel, count, aligned);
      UNETDN_UNROLL
      for (int i = 0; i < piece_size<T>; ++i) r_sum += float(r_x.r[i]);
    });
    float const total = block_sum(block, s.warps, r_sum);
    if (block.thread() == 0) partial[block.index().x] = total;
  }
};

/// *result = offset + first_scale (sum of first[0 .. first_count - 1]) + the same of second.
///
/// One block: a thread adds every `threads`-th element in double, in order, and block_sum adds the threads. The other
/// half of a reduction whose result stays in device memory. Bound: one launch.
struct add_partials {
  static constexpr int threads = 256;
  struct shared {
    double warps[threads / warp_size];
  };
  float const* first;
  int first_count;
  double first_scale;
  float const* second;
  int second_count;
  double second_scale;
  double offset;
  double* result;

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared& s) const {
    double r_first = 0, r_second = 0;
    for (int i = block.thread(); i < first_count; i += threads) r_first += double(first[i]);
    for (int i = block.thread(); i < second_count; i += threads) r_second += double(second[i]);
    double const total = block_sum(block, s.warps, first_scale * r_first + second_scale * r_second);
    if (block.thread() == 0) *result = offset + total;
  }
};

}  // namespace unetdn::kernels
