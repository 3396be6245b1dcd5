// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <type_traits>

#include <unetdn/core/half.hpp>
#include <unetdn/kernels/pieces.hpp>

namespace unetdn::kernels {

/// y = x, rounded where To is narrower: x[N,H,W,C], y[N,H,W,C]. Equal types keep their bits.
///
/// A thread owns one piece: 16 bytes of the narrower type. Traffic: x read once, y written once. Bound: memory
/// bandwidth.
template <class From, class To> struct convert {
  static constexpr int threads = 256;
  static constexpr int size = piece_size<std::conditional_t<(sizeof(From) < sizeof(To)), From, To>>;
  struct shared {};
  view<From const> x;
  view<To> y;
  bool aligned;  // of both windows

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared&) const {
    for_each_piece<To, size>(block, threads, y, [&](int image, int row, int column, int channel, int count) {
      auto const r_x = load_piece<From, size>(x.pixel(image, row, column) + channel, count, aligned);
      piece<To, size> r_y;
      UNETDN_UNROLL
      for (int i = 0; i < size; ++i) {
        if constexpr (std::is_same_v<From, To>) {
          r_y.r[i] = r_x.r[i];
        } else {
          r_y.r[i] = To(float(r_x.r[i]));
        }
      }
      store_piece(y.pixel(image, row, column) + channel, r_y, count, aligned);
    });
  }
};

/// y += x: x[N,H,W,C], y[N,H,W,C], perhaps the same memory.
///
/// A thread owns one piece of 16 bytes. Traffic: x and y read once, y written once. Bound: memory bandwidth.
template <class T> struct add {
  static constexpr int threads = 256;
  struct shared {};
  view<T const> x;
  view<T> y;
  bool aligned;  // of both windows

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared&) const {
    for_each_piece(block, threads, y, [&](int image, int row, int column, int channel, int count) {
      T* const to = y.pixel(image, row, column) + channel;
      piece<T> const r_x = load_piece(x.pixel(image, row, column) + channel, count, aligned);
      piece<T> r_y = load_piece<T>(to, count, aligned);
      UNETDN_UNROLL
      for (int i = 0; i < piece_size<T>; ++i) r_y.r[i] = T(float(r_y.r[i]) + float(r_x.r[i]));
      store_piece(to, r_y, count, aligned);
    });
  }
};

/// y = value: y[N,H,W,C].
///
/// A thread owns one piece of 16 bytes. Traffic: y written once. Bound: memory bandwidth.
template <class T> struct fill {
  static constexpr int threads = 256;
  struct shared {};
  view<T> y;
  float value;
  bool aligned;

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared&) const {
    piece<T> r_y;
    UNETDN_UNROLL
    for (int i = 0; i < piece_size<T>; ++i) r_y.r[i] = T(value);
    for_each_piece(block, threads, y, [&](int image, int row, int column, int channel, int count) {
      store_piece(y.pixel(image, row, column) + channel, r_y, count, aligned);
    });
  }
};

/// y[n][i][j] = x[n][reflect(i - top)][reflect(j - left)]: x[N,H,W,C], y[N,P,Q,C].
///
/// A thread owns one piece of 16 bytes. Traffic: y written once, x read as often as it is repeated. Bound: memory
/// bandwidth.
template <class T> struct copy_reflected {
  static constexpr int threads = 256;
  struct shared {};
  view<T const> x;
  view<T> y;
  int top, left;
  bool aligned;  // of both windows

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared&) const {
    for_each_piece(block, threads, y, [&](int image, int row, int column, int channel, int count) {
      T const* const from = x.pixel(image, reflect(row - top, x.h), reflect(column - left, x.w)) + channel;
      store_piece(y.pixel(image, row, column) + channel, load_piece(from, count, aligned), count, aligned);
    });
  }
};

}  // namespace unetdn::kernels
