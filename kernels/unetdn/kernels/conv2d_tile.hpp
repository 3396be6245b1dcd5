// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

#include <unetdn/core/mma.hpp>
#include <unetdn/core/view.hpp>
#include <unetdn/kernels/conv_weights.hpp>
#include <unetdn/kernels/elementwise.hpp>
#include <unetdn/kernels/max_pool2d.hpp>

// What the convolution kernels share: how tiles lie in shared memory, how they get there, and how results leave.

namespace unetdn::kernels {

/// Where piece `piece` (16 bytes) of a row of `Pieces` lies in it, so that the same piece of 8 consecutive rows covers
/// all banks: for rows whose matrices are loaded row by row, in any element type, or transposed, in 16-bit types.
template <int Pieces> UNETDN_HD constexpr int spread(int row, int piece) {
  static_assert((Pieces & (Pieces - 1)) == 0);
  if constexpr (Pieces >= 8) {
    return spread_piece(row, piece);
  } else {  // not for 16, which would divide by zero
    return piece ^ (row / (8 / Pieces) & (Pieces - 1));
  }
}

/// The same for rows whose matrices are transposed on their way. 32-bit elements are then loaded one by one: two
/// adjacent pieces of 4 consecutive rows must cover all banks.
template <class T, int Pieces> UNETDN_HD constexpr int spread_transposed(int row, int piece) {
  if constexpr (sizeof(T) == 2) return spread<Pieces>(row, piece);
  static_assert(sizeof(T) == 2 || Pieces >= 4);
  if constexpr (Pieces >= 8) return piece ^ (row & 3) * 2;
  return piece ^ (row >> 1 & 1) * 2;
}

/// The address of the 16 bytes that *p lies in.
template <class T> UNETDN_DEVICE T const* piece_around(T const* p) {
  return reinterpret_cast<T const*>(reinterpret_cast<std::uintptr_t>(p) & ~std::uintptr_t(15));
}

/// Begins to bring one piece to shared memory: `count` elements exist in it, none where it is not positive; the others
/// become zero. Where the window is `aligned`, whole pieces come asynchronously.
template <class T, class Block>
UNETDN_DEVICE void fetch_piece(Block& block, T* s_to, T const* from, int count, bool aligned) {
  if (count <= 0) {
    block.copy_async(s_to, piece_around(from), false);  // nothing is read, and yet the address must be aligned
  } else if (aligned && count >= piece_size<T>) {
    block.copy_async(s_to, from);
  } else {
    piece<T> const r_piece = load_piece(from, count, false);
    copy_aligned<16>(s_to, r_piece.r);
  }
}

/// What becomes of a convolution's sums before they are stored in y.
template <class T> struct conv2d_finish {
  T const* bias = nullptr;  ///< bias[K] or null
  bool relu = false;
  view<T const> mask = {};  ///< where it is given and not above zero, zero is stored; it may be y's own memory
  bool aligned = false;     ///< of y and mask
};

/// An output pixel, perhaps beyond the picture: then `image` is negative.
struct output_pixel {
  int image, row, column;
  UNETDN_DEVICE bool inside() const { return image >= 0; }

  template <class T> static UNETDN_DEVICE output_pixel of(view<T> const& y, int image, int row, int column) {
    return {row < y.h && column < y.w ? image : -1, row, column};
  }
};

/// The tile of y that a block owns: Side x Side pixels of one picture times TileK channels.
template <int Side, int TileK> struct owned_tile {
  int image, p0, q0, k0;

  template <class T> static extent3 grid(view<T> const& y) {
    return {ceil_div(y.h, Side) * ceil_div(y.w, Side) * ceil_div(y.c, TileK), y.n};
  }
  template <class Block, class T> static UNETDN_DEVICE owned_tile of(Block& block, view<T> const& y) {
    int const tiles_k = ceil_div(y.c, TileK);
    int const tiles_w = ceil_div(y.w, Side);
    int const pixels = block.index().x / tiles_k;
    return {block.index().y, pixels / tiles_w * Side, pixels % tiles_w * Side, block.index().x % tiles_k * TileK};
  }
  /// The pixel in this row and column of the tile.
  template <class T> UNETDN_DEVICE output_pixel pixel(view<T> const& y, int row, int column) const {
    return output_pixel::of(y, image, p0 + row, q0 + column);
  }
};

/// The tiles of Height x Width pixels of a window's pictures, one after the other.
template <int Height, int Width> struct tile_walk {
  static constexpr int width = Width;
  int image, p0, q0;  // the tile's first pixel

  template <class T> static UNETDN_HD int count(view<T> const& y) {
    return y.n * ceil_div(y.h, Height) * ceil_div(y.w, Width);
  }
  template <class T> static UNETDN_DEVICE tile_walk from(view<T> const& y, int number) {
    int const in_row = ceil_div(y.w, Width);
    int const in_column = ceil_div(y.h, Height);
    return {number / in_row / in_column, number / in_row % in_column * Height, number % in_row * Width};
  }
  template <class T> UNETDN_DEVICE void advance(view<T> const& y) {
    q0 += Width;
    if (q0 < y.w) return;
    q0 = 0;
    p0 += Height;
    if (p0 < y.h) return;
    p0 = 0;
    ++image;
  }
  /// The pixel in this row and column of the tile.
  template <class T> UNETDN_DEVICE output_pixel pixel(view<T> const& y, int row, int column) const {
    return output_pixel::of(y, image, p0 + row, q0 + column);
  }
};

/// The grid of blocks that share `count` tiles, for each of so many tiles of channels: no more than `most` in all.
inline extent3 tile_grid(int count, int channels, int most) {
  int const blocks = most > channels ? most / channels : 1;
  return {count < blocks ? count : blocks, channels};
}

/// The first of `count` tiles that block `block` of `blocks` takes, which share them.
UNETDN_HD constexpr int first_tile(int count, int block, int blocks) {
  return int(std::int64_t(count) * block / blocks);
}

/// Rounds a warp's sums c[16 M][8 N] to T, with bias and ReLU, and stores them in y from channel `first` on, in pieces
/// of 16 bytes. pixel_of(row) tells the pixel of a row of c. `s_y` is the warp's own shared memory.
template <class T, int M, int N, int Pitch, class Block, class PixelOf>
UNETDN_DEVICE void store_tile(Block& block, fragment_c const (&r_c)[M][N], T (&s_y)[M * 16][Pitch],
                              conv2d_finish<T> const& finish, view<T> const& y, int first, PixelOf pixel_of) {
  UNETDN_UNROLL
  for (int j = 0; j < N; ++j) {
    int const column = j * 8 + fragment_c_column(block.lane(), 0);
    float r_bias[2] = {};
    UNETDN_UNROLL
    for (int i = 0; i < 2; ++i) {
      if (finish.bias && first + column + i < y.c) r_bias[i] = float(finish.bias[first + column + i]);
    }
    UNETDN_UNROLL
    for (int m = 0; m < M; ++m) {
      UNETDN_UNROLL
      for (int i = 0; i < 4; i += 2) {
        alignas(8) float r_pair[2];
        UNETDN_UNROLL
        for (int k = 0; k < 2; ++k) {
          float const sum = r_c[m][j].r[i + k] + r_bias[k];
          r_pair[k] = finish.relu && sum < 0 ? 0.0f : sum;
        }
        T* const s_pair = &s_y[m * 16 + fragment_c_row(block.lane(), i)][column];
        if constexpr (sizeof(T) == 2) {
          std::uint32_t const both = pack<T>(r_pair[0], r_pair[1]);
          copy_aligned<4>(s_pair, &both);
        } else {
          copy_aligned<8>(s_pair, r_pair);
        }
      }
    }
  }
  block.sync_warp();  // completes this warp's s_y

  // Several loads of the mask are under way at once, as many as registers allow.
  constexpr int pieces = N * 8 / piece_size<T>;
  constexpr int rounds = M * 16 * pieces / warp_size;
  constexpr int most = sizeof(T) == 2 ? 8 : 4;
  constexpr int together = rounds < most ? rounds : most;
  static_assert(rounds % together == 0);
  for (int round = 0; round < rounds; round += together) {
    piece<T> r_mask[together];
    auto const each = [&](auto f) {
      UNETDN_UNROLL
      for (int j = 0; j < together; ++j) {
        int const i = (round + j) * warp_size + block.lane();
        int const row = i / pieces;
        int const channel = i % pieces * piece_size<T>;
        int const left = y.c - first - channel;
        output_pixel const at = pixel_of(row);
        if (at.inside() && left > 0) f(j, row, channel, at, left < piece_size<T> ? left : piece_size<T>);
      }
    };
    if (finish.mask)
      each([&](int j, int, int channel, output_pixel at, int count) {
        r_mask[j] = load_piece(finish.mask.pixel(at.image, at.row, at.column) + first + channel, count, finish.aligned);
      });
    each([&](int j, int row, int channel, output_pixel at, int count) {
      piece<T> r_y;
      copy_aligned<16>(r_y.r, &s_y[row][channel]);
      if (finish.mask) {
        UNETDN_UNROLL
        for (int k = 0; k < piece_size<T>; ++k) {
          if (float(r_mask[j].r[k]) <= 0) r_y.r[k] = T(0.0f);
        }
      }
      store_piece(y.pixel(at.image, at.row, at.column) + first + channel, r_y, count, finish.aligned);
    });
  }
}

/// Stores the 2x2 maxima of what store_tile left in s_y, which has rows of `Width` pixels, in `pooled` from pixel
/// (row0, column0) and channel `first` on. Of each two rows of pixels come one row of maxima, `row_step` apart.
template <int Width, int Rows, class T, int Pitch, class Block>
UNETDN_DEVICE void store_maxima(Block& block, T (&s_y)[Rows][Pitch], view<T> const& pooled, bool aligned, int image,
                                int row0, int row_step, int column0, int first) {
  constexpr int in_row = Width / 2;
  constexpr int windows = Rows / 4;
  constexpr int pieces = Pitch / piece_size<T> - 1;
  for (int i = block.lane(); i < windows * pieces; i += warp_size) {
    int const window = i / pieces;
    int const channel = i % pieces * piece_size<T>;
    int const row = row0 + window / in_row * row_step;
    int const column = column0 + window % in_row;
    int const left = pooled.c - first - channel;
    if (row >= pooled.h || column >= pooled.w || left <= 0) continue;
    int const corner = window / in_row * 2 * Width + window % in_row * 2;
    piece<T> r_maximum;
    copy_aligned<16>(r_maximum.r, &s_y[corner][channel]);
    UNETDN_UNROLL
    for (int k = 1; k < 4; ++k) {
      piece<T> r_next;
      copy_aligned<16>(r_next.r, &s_y[corner + k / 2 * Width + k % 2][channel]);
      raise_to(r_maximum, r_next);
    }
    store_piece(pooled.pixel(image, row, column) + first + channel, r_maximum,
                left < piece_size<T> ? left : piece_size<T>, aligned);
  }
}

}  // namespace unetdn::kernels
