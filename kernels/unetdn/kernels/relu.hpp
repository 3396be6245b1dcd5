// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <unetdn/kernels/pieces.hpp>

namespace unetdn::kernels {

/// y = max(x, 0): x[N,H,W,C], y[N,H,W,C], perhaps the same memory. NaN stays NaN.
///
/// A thread owns one piece of 16 bytes. Traffic: x read once, y written once. Bound: memory bandwidth.
template <class T> struct relu_forward {
  static constexpr int threads = 256;
  struct shared {};
  view<T const> x;
  view<T> y;
  bool aligned;  // of both windows

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared&) const {
    for_each_piece(block, threads, y, [&](int image, int row, int column, int channel, int count) {
      piece<T> r_y = load_piece(x.pixel(image, row, column) + channel, count, aligned);
      UNETDN_UNROLL
      for (int i = 0; i < piece_size<T>; ++i) {
        if (float(r_y.r[i]) < 0) r_y.r[i] = T(0.0f);
      }
      store_piece(y.pixel(image, row, column) + channel, r_y, count, aligned);
    });
  }
};

/// dx = dy where y > 0, else 0: y, dy, dx [N,H,W,C]; dx may be dy's memory. Where y is NaN dy passes.
///
/// A thread owns one piece of 16 bytes. Traffic: y and dy read once, dx written once. Bound: memory bandwidth.
template <class T> struct relu_backward {
  static constexpr int threads = 256;
  struct shared {};
  view<T const> y, dy;
  view<T> dx;
  bool aligned;  // of all three windows

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared&) const {
    for_each_piece(block, threads, dx, [&](int image, int row, int column, int channel, int count) {
      piece<T> const r_y = load_piece(y.pixel(image, row, column) + channel, count, aligned);
      piece<T> r_dx = load_piece(dy.pixel(image, row, column) + channel, count, aligned);
      UNETDN_UNROLL
      for (int i = 0; i < piece_size<T>; ++i) {
        if (float(r_y.r[i]) <= 0) r_dx.r[i] = T(0.0f);
      }
      store_piece(dx.pixel(image, row, column) + channel, r_dx, count, aligned);
    });
  }
};

}  // namespace unetdn::kernels
