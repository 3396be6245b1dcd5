// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

#include <unetdn/core/kernel.hpp>
#include <unetdn/core/view.hpp>

// What element-wise kernels share: windows are walked in pieces of up to 16 bytes of one pixel's channels.

namespace unetdn::kernels {

/// Elements of T in 16 bytes.
template <class T> inline constexpr int piece_size = 16 / int(sizeof(T));

/// Consecutive channels of one pixel, in registers.
template <class T> struct alignas(16) piece { T r[piece_size<T>]; };

/// Number of pieces of a window; the last one of a pixel may be a part.
template <class T> std::int64_t pieces(view<T> const& v) { return v.pixels() * ceil_div(v.c, piece_size<T>); }

/// Calls f(image, row, column, channel, count) for every piece of a window that this thread owns: piece i belongs to
/// thread i modulo the number of threads of the launch. There may be 2^31 pieces at most.
template <class T, class Block, class F>
UNETDN_DEVICE void for_each_piece(Block& block, int threads, view<T> const& v, F f) {
  unsigned const in_pixel = unsigned(ceil_div(v.c, piece_size<T>));
  unsigned const total = unsigned(v.n) * unsigned(v.h) * unsigned(v.w) * in_pixel;
  unsigned const step = unsigned(block.blocks().x) * unsigned(threads);
  for (unsigned i = unsigned(block.index().x) * unsigned(threads) + unsigned(block.thread()); i < total; i += step) {
    unsigned const pixel = i / in_pixel;
    unsigned const row = pixel / unsigned(v.w);
    unsigned const image = row / unsigned(v.h);
    int const channel = int(i - pixel * in_pixel) * piece_size<T>;
    int const left = v.c - channel;
    f(int(image), int(row - image * unsigned(v.h)), int(pixel - row * unsigned(v.w)), channel,
      left < piece_size<T> ? left : piece_size<T>);
  }
}

/// `count` elements from `from` on, then zeros. Where the window is `aligned`, whole pieces are one 16-byte load.
template <class T> UNETDN_DEVICE piece<T> load_piece(T const* from, int count, bool aligned) {
  piece<T> p;
  if (aligned && count == piece_size<T>) {
    copy_aligned<16>(p.r, from);
  } else {
    UNETDN_UNROLL
    for (int i = 0; i < piece_size<T>; ++i) p.r[i] = i < count ? from[i] : T(0.0f);
  }
  return p;
}

/// The first `count` elements of a piece to `to`. Where the window is `aligned`, whole pieces are one 16-byte store.
template <class T> UNETDN_DEVICE void store_piece(T* to, piece<T> const& p, int count, bool aligned) {
  if (aligned && count == piece_size<T>) {
    copy_aligned<16>(to, p.r);
  } else {
    UNETDN_UNROLL
    for (int i = 0; i < piece_size<T>; ++i) {
      if (i < count) to[i] = p.r[i];
    }
  }
}

}  // namespace unetdn::kernels
