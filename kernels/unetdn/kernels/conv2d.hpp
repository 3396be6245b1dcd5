// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <unetdn/kernels/conv2d_tile.hpp>

namespace unetdn::kernels {

/// 3x3 convolution with stride 1 and zero padding 1, by implicit matrix products:
///   y[n][p][q][k] = finish(sum over r, s, c of x[n][p+r-1][q+s-1][c] w[k][r][s][c])             (forward)
///   y[n][p][q][k] = finish(sum over r, s, c of x[n][p+r-1][q+s-1][c] w[c][2-r][2-s][k])  Flipped: the data gradient,
/// where x is the gradient dy, y is dx, and the very same weights are read transposed. Where `pooled` is given,
///   pooled[n][p][q][k] = maximum over r, s in {0, 1} of y[n][2p+r][2q+s][k], from shared memory.
/// x[N,H,W,C], y[N,H,W,K] are any windows, each perhaps a channel slice; w as conv_weights says; sums in float.
///
/// Operand: bf16 or fp16, or of float data tf32 (tensor cores) or float (ordinary multiply-adds).
///
/// A block owns 16x16 pixels of one picture times TileK channels of y; grid {tiles of pixels * tiles of channels, N}. A
/// stage holds 32 bytes of each pixel's channels of the halo tile, and of the nine taps' weights; the nine shifted
/// copies of x that make up the implicit matrix are only addresses into the halo tile. While one stage is multiplied
/// the next one is on its way. A warp owns M rows of 16 pixels times 32 channels.
/// Traffic: x read 1.27 times for each tile of channels, w once a block (from the second-level cache), y and pooled
/// written once.
/// Bound: tensor cores (or the multiply-add units, for float) from about 64 channels on, below that bytes of x and y.
template <class Operand, int TileK, bool Flipped> struct conv2d_halo {
  using T = storage_t<Operand>;
  static constexpr int tile = 16;
  static constexpr int halo = tile + 2;
  static constexpr int taps = 9;
  static constexpr int stage_pieces = 2;
  static constexpr int depth = stage_pieces * piece_size<T>;  // channels of a stage
  static constexpr int warps = 8;
  static constexpr int threads = warps * warp_size;
  static constexpr int warp_columns = TileK / 32;
  static constexpr int M = tile * warp_columns / warps;  // fragments of c of one warp
  static constexpr int N = 4;
  static_assert(TileK == 32 || TileK == 64);
  static_assert(M % 2 == 0, "a window of pooled has both its rows in one warp");

  struct stage {
    alignas(128) T x[halo * halo * depth];
    alignas(128) T w[taps * TileK * depth];

    UNETDN_DEVICE T* x_piece(int pixel, int piece) {
      return &x[pixel * depth + spread<stage_pieces>(pixel, piece) * piece_size<T>];
    }
    /// Of row [tap][k] with contiguous c.
    UNETDN_DEVICE T* w_piece(int row, int piece) {
      return &w[row * depth + spread<stage_pieces>(row, piece) * piece_size<T>];
    }
    /// Of row [tap][c] with contiguous k.
    UNETDN_DEVICE T* w_piece_flipped(int row, int piece) {
      return &w[row * TileK + spread_transposed<T, TileK / piece_size<T>>(row, piece) * piece_size<T>];
    }
  };
  union shared {
    stage stages[2];
    T y[warps][M * tile][N * 8 + piece_size<T>];  // one piece wider: rows of a fragment then fall on different banks
  };

  view<T const> x;
  bool x_aligned;
  T const* w;
  conv_weights layout;
  view<T> y;
  conv2d_finish<T> finish;
  view<T> pooled;
  bool pooled_aligned;

  static extent3 grid(view<T> const& y) { return owned_tile<tile, TileK>::grid(y); }

  template <class Block>
  UNETDN_DEVICE void fetch(Block& block, stage& s, owned_tile<tile, TileK> const& at, int c0) const {
    for (int i = block.thread(); i < halo * halo * stage_pieces; i += threads) {
      int const pixel = i / stage_pieces;
      int const piece = i % stage_pieces;
      int const row = at.p0 + pixel / halo - 1;
      int const column = at.q0 + pixel % halo - 1;
      int const c = c0 + piece * piece_size<T>;
      bool const inside = row >= 0 && row < x.h && column >= 0 && column < x.w && c < x.c;
      fetch_piece(block, s.x_piece(pixel, piece), inside ? x.pixel(at.image, row, column) + c : x.data,
                  inside ? x.c - c : 0, x_aligned);
    }
    if constexpr (Flipped) {
      constexpr int pieces = TileK / piece_size<T>;
      for (int i = block.thread(); i < taps * depth * pieces; i += threads) {
        int const row = i / pieces;
        int const piece = i % pieces;
        int const k = at.k0 + piece * piece_size<T>;
        int const c = c0 + row % depth;
        bool const inside = k < layout.pitch() && c < layout.outputs;
        block.copy_async(s.w_piece_flipped(row, piece), inside ? w + layout.index(k, taps - 1 - row / depth, c) : w,
                         inside);
      }
    } else {
      for (int i = block.thread(); i < taps * TileK * stage_pieces; i += threads) {
        int const row = i / stage_pieces;
        int const piece = i % stage_pieces;
        int const k = at.k0 + row % TileK;
        int const c = c0 + piece * piece_size<T>;
        bool const inside = k < layout.outputs && c < layout.pitch();
        block.copy_async(s.w_piece(row, piece), inside ? w + layout.index(c, row / TileK, k) : w, inside);
      }
    }
  }

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared& s) const {
    auto const at = owned_tile<tile, TileK>::of(block, y);
    int const row0 = block.warp() / warp_columns * M;      // the warp's first row of pixels in the tile,
    int const column0 = block.warp() % warp_columns * 32;  // and its first channel

    fragment_c r_y[M][N] = {};
    auto const multiply_tap = [&](stage& now, int tap) {
      UNETDN_UNROLL
      for (int step = 0; step < stage_pieces; step += mma_pieces<Operand>) {
        fragment_a<Operand> r_x[M];
        UNETDN_UNROLL
        for (int m = 0; m < M; ++m) {
          int const first = (row0 + m + tap / 3) * halo + tap % 3;
          r_x[m] = load_a<Operand>(block, [&](int row, int piece) { return now.x_piece(first + row, step + piece); });
        }
        UNETDN_UNROLL
        for (int j = 0; j < N; j += 2) {
          fragment_b<Operand> r_w[2];
          if constexpr (Flipped) {
            int const first = tap * depth + step * piece_size<T>;
            int const first_piece = (column0 + j * 8) / piece_size<T>;
            load_b_pair_transposed(
                block, r_w, [&](int row, int piece) { return now.w_piece_flipped(first + row, first_piece + piece); });
          } else {
            int const first = tap * TileK + column0 + j * 8;
            load_b_pair(block, r_w, [&](int row, int piece) { return now.w_piece(first + row, step + piece); });
          }
          UNETDN_UNROLL
          for (int m = 0; m < M; ++m) {
            UNETDN_UNROLL
            for (int i = 0; i < 2; ++i) multiply_add(block, r_y[m][j + i], r_x[m], r_w[i]);
          }
        }
      }
    };

    int const stages = ceil_div(x.c, depth);
    fetch(block, s.stages[0], at, 0);
    block.copy_commit();
    for (int i = 0; i < stages; ++i) {
      block.template copy_wait<0>();
      block.sync();  // completes stage i, and everyone's reading of stage i - 1
      if (i + 1 < stages) fetch(block, s.stages[(i + 1) % 2], at, (i + 1) * depth);
      block.copy_commit();
      stage& now = s.stages[i % 2];
      if constexpr (std::is_same_v<Operand, float>) {
        for (int tap = 0; tap < taps; ++tap)
          multiply_tap(now, tap);  // unrolled it would overflow the instruction cache
      } else {
        UNETDN_UNROLL
        for (int tap = 0; tap < taps; ++tap) multiply_tap(now, tap);
      }
    }
    block.sync();  // everyone has read the last stage: its memory becomes s.y
    store_tile(block, r_y, s.y[block.warp()], finish, y, at.k0 + column0,
               [&](int row) { return at.pixel(y, row0 + row / tile, row % tile); });
    if constexpr (!Flipped) {
      if (pooled)
        store_maxima<tile>(block, s.y[block.warp()], pooled, pooled_aligned, at.image, (at.p0 + row0) / 2, 1, at.q0 / 2,
                           at.k0 + column0);
    }
  }
};

/// Which pixels of x and which taps of the weights meet in an output pixel (p, q): tap (i, j), row by row, meets pixel
/// (step p + row + direction i, step q + column + direction j) with weight first + row_step i + column_step j.
struct tap_grid {
  int rows, columns;
  int first, row_step, column_step;
  int step, row, column, direction;
};

/// Convolution with any taps and stride, by matrix products of gathered pixels:
///   y[n][p][q][k] = finish(sum over taps (i, j) and c of x[n][..][..][c] w[k][first + ..][c])
/// with the pixels of tap_grid; Transposed: w[c][first + ..][k]. x and y are any windows; w as conv_weights says.
///
/// A block owns 128 pixels of all pictures, in order, times TileK channels of y; grid {tiles of pixels * tiles of
/// channels}. A stage holds 64 bytes of each pixel's channels for one tap, and of that tap's weights; two stages are on
/// their way while one is multiplied. A warp owns 16 M pixels times 32 channels.
/// Traffic: x read once for each tap and tile of channels, from the second-level cache where taps overlap; y written
/// once. Bound: for 1x1 and 2x2 bytes of x and y; for larger kernels the cache.
template <class Operand, int TileK, bool Transposed> struct conv2d_gather {
  using T = storage_t<Operand>;
  static constexpr int tile = 128;
  static constexpr int stage_pieces = 4;
  static constexpr int depth = stage_pieces * piece_size<T>;  // channels of a stage
  static constexpr int stages = 3;
  static constexpr int warps = 4;
  static constexpr int threads = warps * warp_size;
  static constexpr int warp_columns = TileK / 32;
  static constexpr int M = tile / 16 * warp_columns / warps;
  static constexpr int N = 4;
  static constexpr int rows_apart = threads / stage_pieces;  // a thread fetches the same piece of every so many pixels
  static_assert(TileK == 32 || TileK == 64);

  struct stage {
    alignas(128) T x[tile * depth];
    alignas(128) T w[TileK * depth];

    UNETDN_DEVICE T* x_piece(int pixel, int piece) {
      return &x[pixel * depth + spread<stage_pieces>(pixel, piece) * piece_size<T>];
    }
    UNETDN_DEVICE T* w_piece(int k, int piece) {
      return &w[k * depth + spread<stage_pieces>(k, piece) * piece_size<T>];
    }
    UNETDN_DEVICE T* w_piece_transposed(int c, int piece) {
      return &w[c * TileK + spread_transposed<T, TileK / piece_size<T>>(c, piece) * piece_size<T>];
    }
  };
  union shared {
    stage stages[conv2d_gather::stages];
    T y[warps][M * 16][N * 8 + piece_size<T>];
  };

  view<T const> x;
  bool x_aligned;
  T const* w;
  conv_weights layout;
  tap_grid taps;
  view<T> y;
  conv2d_finish<T> finish;

  static extent3 grid(view<T> const& y) {
    return {static_cast<int>(ceil_div(y.pixels(), tile)) * ceil_div(y.c, TileK)};
  }

  UNETDN_DEVICE output_pixel pixel_of(std::int64_t number) const {
    bool const inside = number < y.pixels();
    unsigned const pixel = inside ? unsigned(number) : 0;
    unsigned const row = pixel / unsigned(y.w);
    unsigned const image = row / unsigned(y.h);
    return {inside ? int(image) : -1, int(row - image * unsigned(y.h)), int(pixel - row * unsigned(y.w))};
  }

  template <class Block>
  UNETDN_DEVICE void fetch(Block& block, stage& s, output_pixel const (&r_pixels)[tile / rows_apart], int k0,
                           int number) const {
    int const in_tap = ceil_div(x.c, depth);
    int const tap = number / in_tap;
    int const c0 = number % in_tap * depth;
    int const i = tap / taps.columns;
    int const j = tap % taps.columns;
    int const row = taps.row + taps.direction * i;
    int const column = taps.column + taps.direction * j;
    int const weight = taps.first + taps.row_step * i + taps.column_step * j;

    int const piece = block.thread() % stage_pieces;
    int const c = c0 + piece * piece_size<T>;
    UNETDN_UNROLL
    for (int m = 0; m < tile / rows_apart; ++m) {
      int const at_row = r_pixels[m].row * taps.step + row;
      int const at_column = r_pixels[m].column * taps.step + column;
      bool const inside =
          r_pixels[m].inside() && at_row >= 0 && at_row < x.h && at_column >= 0 && at_column < x.w && c < x.c;
      fetch_piece(block, s.x_piece(block.thread() / stage_pieces + m * rows_apart, piece),
                  inside ? x.pixel(r_pixels[m].image, at_row, at_column) + c : x.data, inside ? x.c - c : 0, x_aligned);
    }
    if constexpr (Transposed) {
      constexpr int pieces = TileK / piece_size<T>;
      for (int n = block.thread(); n < depth * pieces; n += threads) {
        int const k = k0 + n % pieces * piece_size<T>;
        int const from = c0 + n / pieces;
        bool const inside = k < layout.pitch() && from < layout.outputs;
        block.copy_async(s.w_piece_transposed(n / pieces, n % pieces), inside ? w + layout.index(k, weight, from) : w,
                         inside);
      }
    } else {
      for (int n = block.thread(); n < TileK * stage_pieces; n += threads) {
        int const k = k0 + n / stage_pieces;
        int const from = c0 + n % stage_pieces * piece_size<T>;
        bool const inside = k < layout.outputs && from < layout.pitch();
        block.copy_async(s.w_piece(n / stage_pieces, n % stage_pieces), inside ? w + layout.index(from, weight, k) : w,
                         inside);
      }
    }
  }

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared& s) const {
    int const tiles_k = ceil_div(y.c, TileK);
    std::int64_t const first = std::int64_t(block.index().x / tiles_k) * tile;
    int const k0 = block.index().x % tiles_k * TileK;
    int const row0 = block.warp() / warp_columns * M * 16;
    int const column0 = block.warp() % warp_columns * 32;

    output_pixel r_pixels[tile / rows_apart];
    UNETDN_UNROLL
    for (int m = 0; m < tile / rows_apart; ++m)
      r_pixels[m] = pixel_of(first + block.thread() / stage_pieces + m * rows_apart);

    fragment_c r_y[M][N] = {};
    auto const multiply_step = [&](stage& now, int step) {
      fragment_a<Operand> r_x[M];
      UNETDN_UNROLL
      for (int m = 0; m < M; ++m)
        r_x[m] =
            load_a<Operand>(block, [&](int row, int piece) { return now.x_piece(row0 + m * 16 + row, step + piece); });
      UNETDN_UNROLL
      for (int j = 0; j < N; j += 2) {
        fragment_b<Operand> r_w[2];
        if constexpr (Transposed) {
          load_b_pair_transposed(block, r_w, [&](int row, int piece) {
            return now.w_piece_transposed(step * piece_size<T> + row, (column0 + j * 8) / piece_size<T> + piece);
          });
        } else {
          load_b_pair(block, r_w, [&](int row, int piece) { return now.w_piece(column0 + j * 8 + row, step + piece); });
        }
        UNETDN_UNROLL
        for (int m = 0; m < M; ++m) {
          UNETDN_UNROLL
          for (int n = 0; n < 2; ++n) multiply_add(block, r_y[m][j + n], r_x[m], r_w[n]);
        }
      }
    };

    int const count = taps.rows * taps.columns * ceil_div(x.c, depth);
    for (int i = 0; i < stages - 1; ++i) {
      if (i < count) fetch(block, s.stages[i], r_pixels, k0, i);
      block.copy_commit();
    }
    for (int i = 0; i < count; ++i) {
      block.template copy_wait<stages - 2>();
      block.sync();  // completes stage i, and everyone's reading of stage i - 1
      if (int const next = i + stages - 1; next < count) fetch(block, s.stages[next % stages], r_pixels, k0, next);
      block.copy_commit();
      stage& now = s.stages[i % stages];
      if constexpr (std::is_same_v<Operand, float>) {
        for (int step = 0; step < stage_pieces; ++step)
          multiply_step(now, step);  // unrolled it would need all registers
      } else {
        UNETDN_UNROLL
        for (int step = 0; step < stage_pieces; step += mma_pieces<Operand>) multiply_step(now, step);
      }
    }
    block.sync();  // everyone has read the last stage: its memory becomes s.y
    store_tile(block, r_y, s.y[block.warp()], finish, y, k0 + column0,
               [&](int row) { return pixel_of(first + row0 + row); });
  }
};

}  // namespace unetdn::kernels
