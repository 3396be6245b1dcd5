// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <unetdn/kernels/conv2d_tile.hpp>
#include <unetdn/kernels/conv2d_weight_gradient.hpp>

// 3x3 convolutions with stride 1 of pictures: of one to four channels. A pixel's taps times channels, side by side, are
// one short row of a matrix (27 numbers of an RGB picture), which is built in shared memory. Taken tap by tap, such
// pixels would fill pieces of 16 bytes, and the depth of matrix instructions, with zeros.

namespace unetdn::kernels {

/// The most channels of x that the kernels below take.
inline constexpr int im2col_channels = 4;

/// The matrix of Height rows of 16 pixels: pixel (i, j) has x[i+r-1][j+s-1][c] in column (3 r + s) C + c, zero beyond
/// the picture, and zeros from column 9 C on. Made by a block of Threads.
template <class T, int Height, int Threads> struct im2col {
  static constexpr int width = 16;
  static constexpr int pixels = Height * width;
  static constexpr int taps = 9;
  static constexpr int most_channels = im2col_channels;
  static constexpr int halo_w = width + 2;
  static constexpr int halo_pixels = (Height + 2) * halo_w;
  static constexpr int rounds = ceil_div(halo_pixels, Threads);

  /// The pixels that a matrix is made of, C channels each without gaps.
  struct source {
    alignas(16) T x[halo_pixels * most_channels];
  };
  /// A thread's part of them on its way.
  struct in_registers {
    T r[rounds][most_channels];
  };

  template <class Block>
  static UNETDN_DEVICE in_registers load(Block& block, view<T const> const& x, int image, int p0, int q0) {
    in_registers loaded;
    UNETDN_UNROLL
    for (int i = 0; i < rounds; ++i) {
      int const pixel = i * Threads + block.thread();
      int const row = p0 + pixel / halo_w - 1;
      int const column = q0 + pixel % halo_w - 1;
      bool const inside = pixel < halo_pixels && row >= 0 && row < x.h && column >= 0 && column < x.w;
      T const* const from = inside ? x.pixel(image, row, column) : x.data;
      UNETDN_UNROLL
      for (int c = 0; c < most_channels; ++c) loaded.r[i][c] = inside && c < x.c ? from[c] : T(0.0f);
    }
    return loaded;
  }
  template <class Block>
  static UNETDN_DEVICE void store(Block& block, in_registers const& loaded, int channels, source& s) {
    UNETDN_UNROLL
    for (int i = 0; i < rounds; ++i) {
      int const pixel = i * Threads + block.thread();
      UNETDN_UNROLL
      for (int c = 0; c < most_channels; ++c) {
        if (pixel < halo_pixels && c < channels) s.x[pixel * channels + c] = loaded.r[i][c];
      }
    }
  }

  /// Writes the first `pieces` pieces of each row; piece_at(pixel, piece) tells where.
  template <class Block, class PieceAt>
  static UNETDN_DEVICE void build(Block& block, source const& s, int channels, int pieces, PieceAt piece_at) {
    for (int i = block.thread(); i < pixels * pieces; i += Threads) {
      int const pixel = i % pixels;
      int const first = (pixel / width * halo_w + pixel % width) * channels;
      piece<T> r_piece;
      UNETDN_UNROLL
      for (int k = 0; k < piece_size<T>; ++k) {
        int const column = i / pixels * piece_size<T> + k;
        // The three taps of a row of the kernel are neighbours in memory, too.
        int const tap_row = int(column >= 3 * channels) + int(column >= 6 * channels);
        r_piece.r[k] = column < taps * channels ? s.x[first + column + tap_row * (halo_w - 3) * channels] : T(0.0f);
      }
      copy_aligned<16>(piece_at(pixel, i / pixels), r_piece.r);
    }
  }
};

/// conv2d_halo's forward pass for x[N,H,W,C] with C <= 4:
///   y[n][p][q][k] = finish(sum over r, s, c of x[n][p+r-1][q+s-1][c] w[k][r][s][c]),
/// and `pooled` likewise.
///
/// A block owns 16x16 pixels of one picture times 32 channels of y; grid {tiles of pixels * tiles of channels, N}. The
/// weights come as they lie in memory and are packed like the pixels' rows. A warp owns two rows of 16 pixels.
/// Traffic: x read 1.27 times for each tile of channels, y and pooled written once. Bound: bytes of y; for float also
/// the multiply-add units.
template <class Operand> struct conv2d_im2col {
  using T = storage_t<Operand>;
  static constexpr int tile = 16;
  static constexpr int tile_k = 32;
  static constexpr int warps = 8;
  static constexpr int threads = warps * warp_size;
  static constexpr int M = tile / warps;
  static constexpr int N = tile_k / 8;
  static_assert(M % 2 == 0, "a window of pooled has both its rows in one warp");
  using matrix = im2col<T, tile, threads>;
  /// An odd number of pieces, so that the same piece of 8 consecutive rows covers all banks.
  static constexpr int pitch =
      (ceil_div(matrix::taps * matrix::most_channels, mma_depth<Operand>) * mma_pieces<Operand> | 1) * piece_size<T>;
  static constexpr int weights_pitch = matrix::taps * conv_weights{matrix::most_channels, 1, matrix::taps}.pitch();

  union weights_or_y {
    alignas(128) T w[tile_k * weights_pitch];
    T y[warps][M * tile][tile_k + piece_size<T>];  // one piece wider: rows of a fragment then fall on different banks
  };
  struct shared {
    weights_or_y memory;
    alignas(128) T rows[matrix::pixels * pitch];
    alignas(128) T w[tile_k * pitch];
    typename matrix::source x;
  };

  view<T const> x;
  T const* w;
  conv_weights layout;
  view<T> y;
  conv2d_finish<T> finish;
  view<T> pooled;
  bool pooled_aligned;

  static extent3 grid(view<T> const& y) { return owned_tile<tile, tile_k>::grid(y); }

  template <class Block> UNETDN_DEVICE void fetch_weights(Block& block, shared& s, int k0) const {
    constexpr int pieces = weights_pitch / piece_size<T>;
    T const* const from = w + layout.index(0, 0, k0);
    for (int i = block.thread(); i < tile_k * pieces; i += threads) {
      bool const inside = k0 + i / pieces < layout.outputs;
      block.copy_async(&s.memory.w[i * piece_size<T>], inside ? from + i * piece_size<T> : w, inside);
    }
  }
  /// The same columns as those of the pixels' rows.
  template <class Block> UNETDN_DEVICE void pack_weights(Block& block, shared& s, int pieces) const {
    unsigned const channels = unsigned(x.c);
    for (int i = block.thread(); i < tile_k * pieces; i += threads) {
      int const k = i % tile_k;
      piece<T> r_piece;
      UNETDN_UNROLL
      for (int e = 0; e < piece_size<T>; ++e) {
        unsigned const column = unsigned(i / tile_k * piece_size<T> + e);
        unsigned const tap = column / channels;
        r_piece.r[e] = tap < unsigned(matrix::taps)
                           ? s.memory.w[k * weights_pitch + int(tap) * layout.pitch() + int(column - tap * channels)]
                           : T(0.0f);
      }
      copy_aligned<16>(&s.w[k * pitch + i / tile_k * piece_size<T>], r_piece.r);
    }
  }

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared& s) const {
    auto const at = owned_tile<tile, tile_k>::of(block, y);
    int const row0 = block.warp() * M;
    int const steps = ceil_div(matrix::taps * x.c, mma_depth<Operand>);

    fetch_weights(block, s, at.k0);
    block.copy_commit();
    matrix::store(block, matrix::load(block, x, at.image, at.p0, at.q0), x.c, s.x);
    block.template copy_wait<0>();
    block.sync();  // completes s.x and s.memory.w
    pack_weights(block, s, steps * mma_pieces<Operand>);
    matrix::build(block, s.x, x.c, steps * mma_pieces<Operand>,
                  [&](int pixel, int piece) { return &s.rows[pixel * pitch + piece * piece_size<T>]; });
    block.sync();  // completes s.rows and s.w; everyone has read s.memory.w, whose memory s.memory.y takes

    fragment_c r_y[M][N] = {};
    for (int step = 0; step < steps; ++step) {
      int const first = step * mma_pieces<Operand>;
      fragment_a<Operand> r_x[M];
      UNETDN_UNROLL
      for (int m = 0; m < M; ++m)
        r_x[m] = load_a<Operand>(block, [&](int row, int piece) {
          return &s.rows[((row0 + m) * tile + row) * pitch + (first + piece) * piece_size<T>];
        });
      UNETDN_UNROLL
      for (int j = 0; j < N; j += 2) {
        fragment_b<Operand> r_w[2];
        load_b_pair(block, r_w,
                    [&](int k, int piece) { return &s.w[(j * 8 + k) * pitch + (first + piece) * piece_size<T>]; });
        UNETDN_UNROLL
        for (int m = 0; m < M; ++m) {
          UNETDN_UNROLL
          for (int i = 0; i < 2; ++i) multiply_add(block, r_y[m][j + i], r_x[m], r_w[i]);
        }
      }
    }
    auto& s_y = s.memory.y[block.warp()];
    store_tile(block, r_y, s_y, finish, y, at.k0, [&](int row) { return at.pixel(y, row0 + row / tile, row % tile); });
    if (pooled)
      store_maxima<tile>(block, s_y, pooled, pooled_aligned, at.image, (at.p0 + row0) / 2, 1, at.q0 / 2, at.k0);
  }
};

/// conv2d_weight_gradient_halo's sums for x[N,H,W,C] with C <= 4:
///   dw[k][r][s][c] of a part = sum over its pixels (n, p, q) of dy[n][p][q][k] x[n][p+r-1][q+s-1][c]
/// and with_bias, db[k] = sum of its dy[..][k]. x[N,H,W,C], dy[N,H,W,K] are any windows.
///
/// A block owns 32 output channels' weights; grid {tiles of K, parts}. It walks its part's tiles of 8x16 pixels in
/// order, whose matrix and dy are both read transposed. Each warp takes every fourth row of pixels and has sums of all
/// those weights, which are added in order at the end. While a tile is multiplied the next one is on its way.
/// Traffic: dy read once, x 1.4 K / 32 times, sums written once. Bound: bytes of dy; for float shared memory.
template <class Operand> struct conv2d_weight_gradient_im2col {
  using T = storage_t<Operand>;
  static constexpr int tile_h = 8;
  static constexpr int tile_k = 32;
  static constexpr int warps = 4;
  static constexpr int threads = warps * warp_size;
  static constexpr int blocks_resident = 4;
  using matrix = im2col<T, tile_h, threads>;
  using sums = column_sums<tile_k, threads>;
  static constexpr int tile_w = matrix::width;
  static constexpr int M = tile_k / 16;
  static constexpr int columns = round_up(matrix::taps * matrix::most_channels, 16);
  static constexpr int N = columns / 8;
  static constexpr int k_pieces = tile_k / piece_size<T>;
  /// Of rows of 16-bit types an odd number of pieces: see conv2d_im2col. Of floats 24 banks more than a multiple of 32:
  /// two adjacent pieces of 4 consecutive rows then cover all banks.
  static constexpr int pitch = columns + 8;
  static_assert(pitch == 56);

  struct tiles {
    alignas(128) T dy[2][matrix::pixels * tile_k];
    alignas(128) T rows[matrix::pixels * pitch];
    typename matrix::source x;
  };
  union tiles_or_sums {
    tiles of;
    float of_warp[warps][tile_k][pitch];
  };
  struct shared {
    tiles_or_sums memory;
    typename sums::shared db;
  };

  view<T const> x, dy;
  bool dy_aligned, with_bias;
  gradient_parts to;

  static UNETDN_HD int tiles_of(view<T const> const& dy) {
    return dy.n * ceil_div(dy.h, tile_h) * ceil_div(dy.w, tile_w);
  }
  static int blocks(conv_weights layout) { return ceil_div(layout.outputs, tile_k); }

  struct place {
    int image, p0, q0;
  };
  UNETDN_DEVICE place place_of(int tile) const {
    int const tiles_w = ceil_div(dy.w, tile_w);
    int const tiles_h = ceil_div(dy.h, tile_h);
    return {tile / tiles_w / tiles_h, tile / tiles_w % tiles_h * tile_h, tile % tiles_w * tile_w};
  }
  static UNETDN_DEVICE T* dy_piece(T* s_dy, int pixel, int piece) {
    return &s_dy[pixel * tile_k + spread_transposed<T, k_pieces>(pixel, piece) * piece_size<T>];
  }
  template <class Block> UNETDN_DEVICE void fetch_dy(Block& block, T* s_dy, place at, int k0) const {
    for (int i = block.thread(); i < matrix::pixels * k_pieces; i += threads) {
      int const pixel = i / k_pieces;
      int const p = at.p0 + pixel / tile_w;
      int const q = at.q0 + pixel % tile_w;
      int const k = k0 + i % k_pieces * piece_size<T>;
      bool const inside = p < dy.h && q < dy.w && k < dy.c;
      fetch_piece(block, dy_piece(s_dy, pixel, i % k_pieces), inside ? dy.pixel(at.image, p, q) + k : dy.data,
                  inside ? dy.c - k : 0, dy_aligned);
    }
  }

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared& s) const {
    int const k0 = block.index().x * tile_k;
    int const part = block.index().y;
    int const first = to.first(tiles_of(dy), part);
    int const last = to.first(tiles_of(dy), part + 1);
    int const used = matrix::taps * x.c;
    tiles& now = s.memory.of;

    fragment_c r_dw[M][N] = {};
    float r_db = 0;
    auto const load_x = [&](int tile) {
      place const at = place_of(tile);
      return matrix::load(block, x, at.image, at.p0, at.q0);
    };
    fetch_dy(block, now.dy[0], place_of(first), k0);
    block.copy_commit();
    matrix::store(block, load_x(first), x.c, now.x);
    for (int tile = first; tile < last; ++tile) {
      bool const more = tile + 1 < last;
      T* const s_dy = now.dy[(tile - first) % 2];
      block.template copy_wait<0>();
      block.sync();  // completes this tile's dy and x, and everyone's reading of the one before
      typename matrix::in_registers r_next;
      if (more) {
        fetch_dy(block, now.dy[(tile + 1 - first) % 2], place_of(tile + 1), k0);
        r_next = load_x(tile + 1);
      }
      block.copy_commit();
      matrix::build(block, now.x, x.c, ceil_div(used, 16) * 16 / piece_size<T>,
                    [&](int pixel, int piece) { return &now.rows[pixel * pitch + piece * piece_size<T>]; });
      block.sync();  // completes now.rows, and everyone's reading of now.x
      for (int p = block.warp(); p < tile_h; p += warps) {
        for (int q = 0; q < tile_w; q += mma_depth<Operand>) {
          int const pixel0 = p * tile_w + q;
          fragment_a<Operand> r_dy[M];
          UNETDN_UNROLL
          for (int m = 0; m < M; ++m)
            r_dy[m] = load_a_transposed<Operand>(block, [&](int pixel, int piece) {
              return dy_piece(s_dy, pixel0 + pixel, m * 16 / piece_size<T> + piece);
            });
          UNETDN_UNROLL
          for (int j = 0; j < N; j += 2) {
            if (j * 8 >= used) continue;
            fragment_b<Operand> r_x[2];
            load_b_pair_transposed(block, r_x, [&](int pixel, int piece) {
              return &now.rows[(pixel0 + pixel) * pitch + j * 8 + piece * piece_size<T>];
            });
            UNETDN_UNROLL
            for (int m = 0; m < M; ++m) {
              UNETDN_UNROLL
              for (int i = 0; i < 2; ++i) multiply_add(block, r_dw[m][j + i], r_dy[m], r_x[i]);
            }
          }
        }
      }
      if (with_bias)
        r_db += sums::template add<matrix::pixels>(
            block, [&](int pixel, int k) { return dy_piece(s_dy, pixel, k / piece_size<T>) + k % piece_size<T>; });
      if (more) matrix::store(block, r_next, x.c, now.x);
    }

    block.sync();  // everyone has read the last tile, whose memory the sums take
    UNETDN_UNROLL
    for (int m = 0; m < M; ++m) {
      UNETDN_UNROLL
      for (int j = 0; j < N; ++j) {
        UNETDN_UNROLL
        for (int i = 0; i < 4; i += 2)
          copy_aligned<8>(&s.memory.of_warp[block.warp()][m * 16 + fragment_c_row(block.lane(), i)]
                                           [j * 8 + fragment_c_column(block.lane(), i)],
                          &r_dw[m][j].r[i]);
      }
    }
    block.sync();  // completes those
    gradient_sums const sums_of_part = to.of(part);
    int const in_output = matrix::taps * to.layout.pitch() / piece_size<float>;
    for (int i = block.thread(); i < tile_k * in_output; i += threads) {
      int const k = i / in_output;
      int const at = i % in_output * piece_size<float>;
      int const c = at % to.layout.pitch();
      int const tap = at / to.layout.pitch();
      if (k0 + k >= dy.c) continue;
      piece<float> r_sum{};
      UNETDN_UNROLL
      for (int e = 0; e < piece_size<float>; ++e) {
        UNETDN_UNROLL
        for (int warp = 0; warp < warps; ++warp) {
          if (c + e < x.c) r_sum.r[e] += s.memory.of_warp[warp][k][tap * x.c + c + e];
        }
      }
      sums_of_part.put<4>(to.layout.index(c, tap, k0 + k), r_sum.r);
    }
    if (with_bias) sums::store(block, s.db, r_db, sums_of_part, k0, dy.c - k0);
  }
};

}  // namespace unetdn::kernels
