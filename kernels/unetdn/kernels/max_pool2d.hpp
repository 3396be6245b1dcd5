// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <unetdn/core/half.hpp>
#include <unetdn/core/window_code.hpp>
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

/// The pixels of a window that lie in a picture of h x w; the rim may cut the others off.
struct window_pixels {
  bool inside[4];

  UNETDN_HD window_pixels(int h, int w, int row, int column)
      : inside{true, 2 * column + 1 < w, 2 * row + 1 < h, 2 * row + 1 < h && 2 * column + 1 < w} {}
};

/// A piece of each pixel of a window of x; zeros where there is none.
template <class T> struct window_pieces {
  piece<T> pixel[4];

  UNETDN_DEVICE window_pieces(view<T const> const& x, window_pixels const& pixels, int image, int row, int column,
                              int channel, int count, bool aligned) {
    UNETDN_UNROLL
    for (int i = 0; i < 4; ++i) {
      T const* const from = x.pixel(image, 2 * row + i / 2, 2 * column + i % 2) + channel;
      pixel[i] = load_piece(from, pixels.inside[i] ? count : 0, aligned);
    }
  }
  /// Which pixel holds the first maximum of element j.
  UNETDN_DEVICE int maximum(int j) const {
    float best = float(pixel[0].r[j]);
    int first = 0;
    UNETDN_UNROLL
    for (int i = 1; i < 4; ++i) {
      float const next = float(pixel[i].r[j]);
      if (!takes_maximum(next, best)) continue;
      best = next;
      first = i;
    }
    return first;
  }
};

/// dx = dy scattered to the first maximum of each window of x, elsewhere 0: x, dx [N,H,W,C], dy[N,H/2,W/2,C]. Pixels of
/// an odd last row or column get nothing scattered.
///
/// A thread owns one piece of 16 bytes in the pixels of a window. Traffic: x and dy read once, dx written once. Bound:
/// memory bandwidth.
template <class T> struct max_pool2d_backward {
  static constexpr int threads = 256;
  struct shared {};
  view<T const> x, dy;
  view<T> dx;
  view<T const> windows;  // no memory: the extents of all windows, those that the rim cuts included
  bool aligned;           // of x, dy and dx

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared&) const {
    for_each_piece(block, threads, windows, [&](int image, int row, int column, int channel, int count) {
      bool const whole = row < dy.h && column < dy.w;
      window_pixels const pixels{x.h, x.w, row, column};
      window_pieces<T> const r_x{x, pixels, image, row, column, channel, count, aligned};
      piece<T> const r_dy = load_piece(dy.pixel(image, row, column) + channel, whole ? count : 0, aligned);
      piece<T> r_dx[4] = {};
      UNETDN_UNROLL
      for (int j = 0; j < piece_size<T>; ++j) {
        int const first = r_x.maximum(j);
        UNETDN_UNROLL
        for (int i = 0; i < 4; ++i) r_dx[i].r[j] = first == i ? r_dy.r[j] : T(0.0f);
      }
      UNETDN_UNROLL
      for (int i = 0; i < 4; ++i) {
        if (pixels.inside[i])
          store_piece(dx.pixel(image, 2 * row + i / 2, 2 * column + i % 2) + channel, r_dx[i], count, aligned);
      }
    });
  }
};

/// The codes of all windows of x, those that the rim cuts included, and perhaps the maxima of whole ones: x[N,H,W,C],
/// codes[N,ceil(H/2),ceil(W/2),C], y[N,H/2,W/2,C] or empty.
///
/// A thread owns one piece of 16 bytes in the pixels of a window. Traffic: x read once, y written once, and a byte for
/// four elements of x. Bound: memory bandwidth.
template <class T> struct max_pool2d_encode {
  static constexpr int threads = 256;
  static constexpr int size = piece_size<T>;
  struct shared {};
  view<T const> x;
  view<window_code> codes;
  view<T> y;
  bool aligned;        // of x and y
  bool codes_aligned;  // to `size` bytes

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared&) const {
    for_each_piece<window_code, size>(
        block, threads, codes, [&](int image, int row, int column, int channel, int count) {
          window_pieces<T> const r_x{x, {x.h, x.w, row, column}, image, row, column, channel, count, aligned};
          alignas(size) window_code r_codes[size];
          UNETDN_UNROLL
          for (int j = 0; j < size; ++j) {
            int code = r_x.maximum(j) << window_code_place;
            UNETDN_UNROLL
            for (int i = 0; i < 4; ++i) code |= int(float(r_x.pixel[i].r[j]) > 0) << i;
            r_codes[j] = window_code(code);
          }
          if (y && row < y.h && column < y.w) {
            piece<T> r_y = r_x.pixel[0];
            UNETDN_UNROLL
            for (int i = 1; i < 4; ++i) raise_to(r_y, r_x.pixel[i]);
            store_piece(y.pixel(image, row, column) + channel, r_y, count, aligned);
          }
          window_code* const to = codes.pixel(image, row, column) + channel;
          if (codes_aligned && count == size) return copy_aligned<size>(to, r_codes);
          UNETDN_UNROLL
          for (int j = 0; j < size; ++j) {
            if (j < count) to[j] = r_codes[j];
          }
        });
  }
};

/// dx = dx + dy scattered to the maxima, where x was above 0, elsewhere 0, as the codes of x say: codes
/// [N,ceil(H/2),ceil(W/2),C], dy[N,H/2,W/2,C], dx[N,H,W,C].
///
/// A thread owns one piece of 16 bytes in the pixels of a window. Traffic: codes and dy read once, dx read and written
/// once. Bound: memory bandwidth.
template <class T> struct max_pool2d_backward_into_skip {
  static constexpr int threads = 256;
  static constexpr int size = piece_size<T>;
  struct shared {};
  view<window_code const> codes;
  view<T const> dy;
  view<T> dx;
  bool aligned, codes_aligned;  // the latter to `size` bytes

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared&) const {
    for_each_piece<window_code const, size>(
        block, threads, codes, [&](int image, int row, int column, int channel, int count) {
          alignas(size) window_code r_codes[size];
          window_code const* const from = codes.pixel(image, row, column) + channel;
          if (codes_aligned && count == size) {
            copy_aligned<size>(r_codes, from);
          } else {
            UNETDN_UNROLL
            for (int j = 0; j < size; ++j) r_codes[j] = j < count ? from[j] : window_code(0);
          }
          bool const whole = row < dy.h && column < dy.w;
          window_pixels const pixels{dx.h, dx.w, row, column};
          piece<T> const r_dy = load_piece(dy.pixel(image, row, column) + channel, whole ? count : 0, aligned);
          UNETDN_UNROLL
          for (int i = 0; i < 4; ++i) {
            if (!pixels.inside[i]) continue;
            T* const to = dx.pixel(image, 2 * row + i / 2, 2 * column + i % 2) + channel;
            piece<T> r_dx = load_piece<T>(to, count, aligned);
            UNETDN_UNROLL
            for (int j = 0; j < size; ++j) {
              int const code = r_codes[j];
              if (code >> window_code_place == i) r_dx.r[j] = T(float(r_dx.r[j]) + float(r_dy.r[j]));
              if (!(code >> i & 1)) r_dx.r[j] = T(0.0f);
            }
            store_piece(to, r_dx, count, aligned);
          }
        });
  }
};

}  // namespace unetdn::kernels
