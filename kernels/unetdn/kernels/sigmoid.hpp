// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cmath>

#include <unetdn/core/half.hpp>
#include <unetdn/kernels/pieces.hpp>

namespace unetdn::kernels {

UNETDN_DEVICE inline float sigmoid_of(float v) { return 1 / (1 + std::exp(-v)); }
/// The gradient with respect to the argument of a sigmoid, from the one with respect to its value s.
UNETDN_DEVICE inline float before_sigmoid(float gradient, float s) { return gradient * s * (1 - s); }

/// y = 1 / (1 + exp(-x)): x[N,H,W,C], y[N,H,W,C], perhaps the same memory.
///
/// A thread owns one piece of 16 bytes. Traffic: x read once, y written once. Bound: memory bandwidth.
template <class T> struct sigmoid_forward {
  static constexpr int threads = 256;
  struct shared {};
  view<T const> x;
  view<T> y;
  bool aligned;  // of both windows

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared&) const {
    for_each_piece(block, threads, y, [&](int image, int row, int column, int channel, int count) {
      piece<T> r_y = load_piece(x.pixel(image, row, column) + channel, count, aligned);
      UNETDN_UNROLL
      for (int i = 0; i < piece_size<T>; ++i) r_y.r[i] = T(sigmoid_of(float(r_y.r[i])));
      store_piece(y.pixel(image, row, column) + channel, r_y, count, aligned);
    });
  }
};

/// dx = dy y (1 - y): y, dy, dx [N,H,W,C]; dx may be dy's memory.
///
/// A thread owns one piece of 16 bytes. Traffic: y and dy read once, dx written once. Bound: memory bandwidth.
template <class T> struct sigmoid_backward {
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
      for (int i = 0; i < piece_size<T>; ++i) r_dx.r[i] = T(before_sigmoid(float(r_dx.r[i]), float(r_y.r[i])));
      store_piece(dx.pixel(image, row, column) + channel, r_dx, count, aligned);
    });
  }
};

}  // namespace unetdn::kernels
