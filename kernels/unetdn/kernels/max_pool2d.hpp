// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <unetdn/core/half.hpp>
#include <unetdn/kernels/pieces.hpp>

namespace unetdn::kernels {

/// Whether the maximum of a window passes from `best` to a later pixel's `next`: where that is larger or NaN, unless
/// `best` is NaN already.
UNETDN_HD inline bool takes_maximum(float next, float best) { return next > best || (next != next && best == best); }

/// Raises each element of a piece to the one of another pixel.
template <class T> UNETDN_DEVICE void raise_to(piece<T>& maximum, piece<T> const& next) {
  UNETDN_UNROLL
  for (int i = 0; i < piece_size<T>; ++i) {
    if (takes_maximum(float(next.r[i]), float(maximum.r[i]))) maximum.r[i] = next.r[i];
  }
}

/// y[n][i][j][c] = maximum over r, q in {0, 1} of x[n][2i+r][2j+q][c]: x[N,H,W,C], y[N,H/2,W/2,C], rounded down. NaN
/// where a window holds one.
///
/// A thread owns one piece of 16 bytes of y. Traffic: x read once, y written once. Bound: memory bandwidth.
template <class T> struct max_pool2d_forward {
  static constexpr int threads = 256;
  struct shared {};
  view<T const> x;
  view<T> y;
  bool aligned;  // of both windows

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared&) const {
    for_each_piece(block, threads, y, [&](int image, int row, int column, int channel, int count) {
      T const* const from = x.pixel(image, 2 * row, 2 * column) + channel;
      piece<T> r_y = load_piece(from, count, aligned);
      UNETDN_UNROLL
      for (int i = 1; i < 4; ++i)
        raise_to(r_y, load_piece(from + i / 2 * x.row_stride + i % 2 * x.pixel_stride, count, aligned));
      store_piece(y.pixel(image, row, column) + channel, r_y, count, aligned);
    });
  }
};

/// dx = (accumulate ? dx : 0) + dy scattered to the first maximum of each window of x, then zero where x <= 0 if
/// relu_mask: x, dx [N,H,W,C], dy[N,H/2,W/2,C]. Pixels of an odd last row or column get nothing scattered.
///
/// A thread owns one piece of 16 bytes in the pixels of a window; the maximum is found again, because the mask reads x
/// anyway. Traffic: x and dy read once, dx written once, and read once where it accumulates. Bound: memory bandwidth.
template <class T> struct max_pool2d_backward {
  static constexpr int threads = 256;
  struct shared {};
  view<T const> x, dy;
  view<T> dx;
  view<T const> windows;  // no memory: the extents of all windows, those that the rim cuts included
  bool accumulate, relu_mask;
  bool aligned;  // of x, dy and dx

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared&) const {
    for_each_piece(block, threads, windows, [&](int image, int row, int column, int channel, int count) {
      bool const whole = row < dy.h && column < dy.w;
      bool const inside[4] = {true, 2 * column + 1 < x.w, 2 * row + 1 < x.h, whole};
      piece<T> const r_dy = load_piece(dy.pixel(image, row, column) + channel, whole ? count : 0, aligned);
      piece<T> r_x[4];
      int r_first[piece_size<T>];  // the pixel of each channel's maximum
      UNETDN_UNROLL
      for (int i = 0; i < 4; ++i) {
        T const* const from = x.pixel(image, 2 * row + i / 2, 2 * column + i % 2) + channel;
        r_x[i] = load_piece(from, inside[i] ? count : 0, aligned);
      }
      UNETDN_UNROLL
      for (int j = 0; j < piece_size<T>; ++j) {
        float best = float(r_x[0].r[j]);
        r_first[j] = 0;
        UNETDN_UNROLL
        for (int i = 1; i < 4; ++i) {
          float const next = float(r_x[i].r[j]);
          if (!takes_maximum(next, best)) continue;
          best = next;
          r_first[j] = i;
        }
      }
      UNETDN_UNROLL
      for (int i = 0; i < 4; ++i) {
        if (!inside[i]) continue;
        T* const to = dx.pixel(image, 2 * row + i / 2, 2 * column + i % 2) + channel;
        piece<T> r_dx = load_piece<T>(to, accumulate ? count : 0, aligned);
        UNETDN_UNROLL
        for (int j = 0; j < piece_size<T>; ++j) {
          if (r_first[j] == i) r_dx.r[j] = T(float(r_dx.r[j]) + float(r_dy.r[j]));
          if (relu_mask && !(float(r_x[i].r[j]) > 0)) r_dx.r[j] = T(0.0f);
        }
        store_piece(to, r_dx, count, aligned);
      }
    });
  }
};

}  // namespace unetdn::kernels
