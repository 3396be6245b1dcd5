// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

#include <unetdn/core/kernel.hpp>
#include <unetdn/core/view.hpp>

// How kernels that are bound by memory walk a window: in pieces of up to 16 bytes of one pixel's channels.

namespace unetdn::kernels {

/// Elements of T in 16 bytes.
template <class T> inline constexpr int piece_size = 16 / int(sizeof(T));

/// Consecutive channels of one pixel, in registers.
template <class T, int Size = piece_size<T>> struct alignas(16) piece { T r[Size]; };

/// Number of pieces of a window; the last one of a pixel may be a part.
template <class T> std::int64_t pieces(view<T> const& v, int size = piece_size<T>) {
  return v.pixels() * ceil_div(v.c, size);
}

/// Calls f(image, row, column, channel, count) for every piece of a window that this thread owns: piece i belongs to
/// thread i modulo the number of threads of the launch. There may be 2^31 pieces at most.
template <class T, int Size = piece_size<T>, class Block, class F>
UNETDN_DEVICE void for_each_piece(Block& block, int threads, view<T> const& v, F f) {
  unsigned const in_pixel = unsigned(ceil_div(v.c, Size));
  unsigned const total = unsigned(v.n) * unsigned(v.h) * unsigned(v.w) * in_pixel;
  unsigned const step = unsigned(block.blocks().x) * unsigned(threads);
  for (unsigned i = unsigned(block.index().x) * unsigned(threads) + unsigned(block.thread()); i < total; i += step) {
    unsigned const pixel = i / in_pixel;
    unsigned const row = pixel / unsigned(v.w);
    unsigned const image = row / unsigned(v.h);
    int const channel = int(i - pixel * in_pixel) * Size;
    int const left = v.c - channel;
    f(int(image), int(row - image * unsigned(v.h)), int(pixel - row * unsigned(v.w)), channel,
      left < Size ? left : Size);
  }
}

/// `count` elements from `from` on, then zeros. Where the window is `aligned`, whole pieces are loads of 16 bytes.
template <class T, int Size = piece_size<T>>
UNETDN_DEVICE piece<T, Size> load_piece(T const* from, int count, bool aligned) {
  static_assert(Size % piece_size<T> == 0);
  piece<T, Size> p;
  if (aligned && count == Size) {
    UNETDN_UNROLL
    for (int i = 0; i < Size; i += piece_size<T>) copy_aligned<16>(p.r + i, from + i);
  } else {
    UNETDN_UNROLL
    for (int i = 0; i < Size; ++i) p.r[i] = i < count ? from[i] : T(0.0f);
  }
  return p;
}

/// The first `count` elements of a piece to `to`. Where the window is `aligned`, whole pieces are stores of 16 bytes.
template <class T, int Size> UNETDN_DEVICE void store_piece(T* to, piece<T, Size> const& p, int count, bool aligned) {
  if (aligned && count == Size) {
    UNETDN_UNROLL
    for (int i = 0; i < Size; i += piece_size<T>) copy_aligned<16>(to + i, p.r + i);
  } else {
    UNETDN_UNROLL
    for (int i = 0; i < Size; ++i) {
      if (i < count) to[i] = p.r[i];
    }
  }
}

}  // namespace unetdn::kernels
