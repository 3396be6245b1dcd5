// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <unetdn/kernels/conv2d_tile.hpp>
#include <unetdn/kernels/conv2d_weight_gradient.hpp>

// 3x3 convolutions with stride 1 of pictures: of one to four channels. A pixel's taps times channels, side by side, are
// one short row of a matrix (27 numbers of an RGB picture). Taken tap by tap, such pixels would fill pieces of 16
// bytes, and the depth of matrix instructions, with zeros. The matrix is not built: each lane reads what it holds of
// one where the picture's pixels lie in shared memory. Types of 16 bits are read in pairs, which must be aligned to 4
// bytes, so the pixels lie there twice, the second time one element further to the front.

namespace unetdn::kernels {

/// The most channels of x that the kernels below take.
inline constexpr int im2col_channels = 4;

/// Brings the pixels of x that a tile needs to shared memory, through the registers of a block of Threads.
template <class T, int Height, int Threads> class picture_loader {
 public:
  static constexpr int width = tile_walk<Height, 16>::width;
  static constexpr int pixels = Height * width;
  static constexpr int halo_h = Height + 2;
  static constexpr int halo_w = width + 2;
  static constexpr int copies = 4 / int(sizeof(T));  // in shared memory

  template <class Block> UNETDN_DEVICE explicit picture_loader(Block& block) {
    UNETDN_UNROLL
    for (int i = 0; i < rounds; ++i) {
      int const pixel = i * Threads + block.thread();
      r_halo_[i] = pixel / halo_w * 32 + pixel % halo_w;
    }
  }
  /// Begins to load what the tile at this place needs; zero beyond the picture.
  UNETDN_DEVICE void load(view<T const> const& x, tile_walk<Height, 16> const& at) {
    UNETDN_UNROLL
    for (int i = 0; i < rounds; ++i) {
      int const row = at.p0 - 1 + r_halo_[i] / 32, column = at.q0 - 1 + r_halo_[i] % 32;
      bool const inside = r_halo_[i] < halo_h * 32 && unsigned(row) < unsigned(x.h) && unsigned(column) < unsigned(x.w);
      T const* const from = inside ? x.pixel(at.image, row, column) : x.data;
      UNETDN_UNROLL
      for (int c = 0; c < im2col_channels; ++c) r_x_[i][c] = inside && c < x.c ? from[c] : T(0.0f);
    }
  }
  /// Stores it: element index(row, column, channel) of each copy, the second one `copy` elements after the first.
  template <class Index> UNETDN_DEVICE void store(int channels, T* s_x, int copy, Index index) const {
    UNETDN_UNROLL
    for (int i = 0; i < rounds; ++i) {
      if (r_halo_[i] >= halo_h * 32) continue;
      UNETDN_UNROLL
      for (int c = 0; c < im2col_channels; ++c) {
        if (c >= channels) continue;
        int const element = index(r_halo_[i] / 32, r_halo_[i] % 32, c);
        s_x[element] = r_x_[i][c];
        if (copies == 2) s_x[copy + element - 1] = r_x_[i][c];
      }
    }
  }

 private:
  static constexpr int rounds = ceil_div(halo_h * halo_w, Threads);
  int r_halo_[rounds];  // row and column of a thread's pixel in one number
  T r_x_[rounds][im2col_channels];
};

/// The 4 bytes from an address of shared memory on.
template <class T> UNETDN_DEVICE std::uint32_t four_bytes(T const* s_from) {
  std::uint32_t r;
  copy_aligned<4>(&r, s_from);
  return r;
}

/// conv2d_halo's forward pass for x[N,H,W,C] with C <= 4:
///   y[n][p][q][k] = finish(sum over r, s, c of x[n][p+r-1][q+s-1][c] w[k][r][s][c]),
/// and `pooled` likewise.
///
/// A block owns 32 channels of y, whose weights it packs once, and a part of the tiles of 8x16 pixels; grid {parts,
/// tiles of channels}. A warp owns two rows of 16 pixels. A row of the matrix has the taps of a kernel's row side by
/// side as x has them in memory, and one zero more where their number is odd. While a tile is multiplied, the next
/// one's pixels are on their way. Traffic: x read 1.4 times for each tile of channels, y and pooled written once.
/// Bound: bytes of y; for float also the multiply-add units.
template <class Operand> struct conv2d_im2col {
  using T = storage_t<Operand>;
  static constexpr int tile_h = 8;
  static constexpr int tile_k = 32;
  static constexpr int warps = 4;
  static constexpr int threads = warps * warp_size;
  static constexpr int min_blocks = std::is_same_v<Operand, float> ? 4 : 5;
  static constexpr int M = tile_h / warps;
  static constexpr int N = tile_k / 8;
  static_assert(M % 2 == 0, "a window of pooled has both its rows in one warp");
  using loader = picture_loader<T, tile_h, threads>;
  using walk = tile_walk<tile_h, 16>;
  static constexpr int tile_w = walk::width;
  static constexpr int copies = loader::copies;
  static constexpr int row_taps = 3;
  static constexpr int columns_of_lane = fragment_depths<Operand>;
  static constexpr int depth = mma_depth<Operand>;
  static constexpr int most_steps = ceil_div(row_taps * row_taps * im2col_channels, depth);
  /// An odd number of pieces, so that the same piece of 8 consecutive rows covers all banks.
  static constexpr int pitch = (most_steps * mma_pieces<Operand> | 1) * piece_size<T>;
  static constexpr int weights_pitch =
      row_taps * row_taps * conv_weights{im2col_channels, 1, row_taps* row_taps}.pitch();
  static constexpr int x_pitch = loader::halo_w * im2col_channels;
  /// Elements from a copy to the next, half of the banks apart.
  static constexpr int x_copy = round_up(loader::halo_h * x_pitch, 64) + 32;

  union weights_or_y {
    alignas(128) T w[tile_k * weights_pitch];
    T y[warps][M * tile_w][tile_k + piece_size<T>];  // one piece wider: rows of a fragment then fall on different banks
  };
  struct shared {
    weights_or_y memory;
    alignas(128) T w[tile_k * pitch];
    alignas(128) T x[2][copies * x_copy];
  };

  view<T const> x;
  T const* w;
  conv_weights layout;
  view<T> y;
  conv2d_finish<T> finish;
  view<T> pooled;
  bool pooled_aligned;

  /// For a GPU of so many multiprocessors.
  static extent3 grid(view<T> const& y, int multiprocessors) {
    return tile_grid(walk::count(y), ceil_div(y.c, tile_k), min_blocks * multiprocessors);
  }

  /// Columns of the matrix for one row of the kernel.
  UNETDN_DEVICE int row_columns() const { return round_up(row_taps * x.c, copies); }

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
    int const columns = row_columns();
    for (int i = block.thread(); i < tile_k * pieces; i += threads) {
      int const k = i % tile_k;
      piece<T> r_piece;
      UNETDN_UNROLL
      for (int e = 0; e < piece_size<T>; ++e) {
        int const column = i / tile_k * piece_size<T> + e;
        int const row = column / columns;
        int const in_row = column % columns;
        bool const exists = row < row_taps && in_row < row_taps * x.c;
        int const tap = row * row_taps + in_row / x.c;
        r_piece.r[e] = exists ? s.memory.w[k * weights_pitch + tap * layout.pitch() + in_row % x.c] : T(0.0f);
      }
      copy_aligned<16>(&s.w[k * pitch + i / tile_k * piece_size<T>], r_piece.r);
    }
  }
  UNETDN_DEVICE void store_x(loader const& loaded, T* s_x) const {
    loaded.store(x.c, s_x, x_copy, [&](int row, int column, int c) { return row * x_pitch + column * x.c + c; });
  }

  /// Where a lane reads columns of the matrix, from the kernel's first tap on. Those of the zero beside the last of an
  /// odd number of taps hold one element only; those beyond the last row meet weights that are zero.
  struct lane_columns {
    int at[most_steps][columns_of_lane];
    unsigned single;  // a bit for each

    UNETDN_DEVICE bool is_single(int step, int j) const { return single >> (step * columns_of_lane + j) & 1; }
  };
  UNETDN_DEVICE lane_columns columns_of(int lane) const {
    lane_columns all{};
    int const columns = row_columns();
    UNETDN_UNROLL
    for (int step = 0; step < most_steps; ++step) {
      UNETDN_UNROLL
      for (int j = 0; j < columns_of_lane; ++j) {
        int const column = step * depth + fragment_depth<Operand>(lane, j);
        int const row = int(column >= columns) + int(column >= 2 * columns);
        int const in_row = column - row * columns;
        if (column >= row_taps * columns) continue;
        all.at[step][j] = row * x_pitch + in_row;
        if (in_row + copies > row_taps * x.c) all.single |= 1u << (step * columns_of_lane + j);
      }
    }
    return all;
  }

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared& s) const {
    int const k0 = block.index().y * tile_k;
    int const row0 = block.warp() * M;
    int const steps = ceil_div(row_taps * row_columns(), depth);
    int const parts = block.blocks().x;
    int const part = block.index().x;
    int const first = first_tile(walk::count(y), part, parts);
    int const last = first_tile(walk::count(y), part + 1, parts);
    auto& s_y = s.memory.y[block.warp()];
    conv2d_finish<T> r_finish = finish;
    r_finish.mask = {};  // there is none in forward: no registers for it

    fetch_weights(block, s, k0);
    block.copy_commit();
    loader loaded{block};
    walk at = walk::from(y, first);
    loaded.load(x, at);
    store_x(loaded, s.x[0]);
    lane_columns const r_columns = columns_of(block.lane());
    // Of an odd pixel of an odd number of channels, pairs begin in the second copy.
    int const pixel = fragment_a_row(block.lane(), 0) * x.c;
    int const in_tile = row0 * x_pitch + pixel + (copies == 2 && pixel % 2 == 1 ? x_copy - 1 : 0);
    block.template copy_wait<0>();
    block.sync();  // completes s.memory.w
    pack_weights(block, s, steps * mma_pieces<Operand>);
    block.sync();  // completes s.w and s.x[0]; everyone has read s.memory.w, whose memory s.memory.y takes

    for (int number = first; number < last; ++number) {
      int const now = (number - first) % 2;
      walk next = at;
      next.advance(y);
      if (number + 1 < last) loaded.load(x, next);

      fragment_c r_y[M][N] = {};
      T const* const s_first = s.x[now] + in_tile;
      UNETDN_UNROLL
      for (int step = 0; step < most_steps; ++step) {
        if (step >= steps) continue;
        fragment_a<Operand> r_x[M];
        UNETDN_UNROLL
        for (int m = 0; m < M; ++m)
          r_x[m] = make_a<Operand>([&](int i, int j) {
            T const* const s_pixel = s_first + (m * x_pitch + i * fragment_a_row(0, 1) * x.c);
            std::uint32_t const r = four_bytes(s_pixel + r_columns.at[step][j]);
            return copies == 2 && r_columns.is_single(step, j) ? r & 0xffff : r;
          });
        int const piece0 = step * mma_pieces<Operand>;
        UNETDN_UNROLL
        for (int j = 0; j < N; j += 2) {
          fragment_b<Operand> r_w[2];
          load_b_pair(block, r_w,
                      [&](int k, int piece) { return &s.w[(j * 8 + k) * pitch + (piece0 + piece) * piece_size<T>]; });
          UNETDN_UNROLL
          for (int m = 0; m < M; ++m) {
            UNETDN_UNROLL
            for (int i = 0; i < 2; ++i) multiply_add(block, r_y[m][j + i], r_x[m], r_w[i]);
          }
        }
      }
      store_tile(block, r_y, s_y, r_finish, y, k0,
                 [&](int row) { return at.pixel(y, row0 + row / tile_w, row % tile_w); });
      if (pooled)
        store_maxima<tile_w>(block, s_y, pooled, pooled_aligned, at.image, (at.p0 + row0) / 2, 1, at.q0 / 2, k0);
      if (number + 1 < last) store_x(loaded, s.x[1 - now]);
      block.sync();  // completes the next tile's pixels; everyone has read this one's, and its warp's s_y
      at = next;
    }
  }
};

/// conv2d_weight_gradient_halo's sums for x[N,H,W,C] with C <= 4:
///   dw[k][r][s][c] of a part = sum over its pixels (n, p, q) of dy[n][p][q][k] x[n][p+r-1][q+s-1][c]
/// and with_bias, db[k] = sum of its dy[..][k]. x[N,H,W,C], dy[N,H,W,K] are any windows.
///
/// A block owns 32 output channels' weights; grid {tiles of K, parts}. It walks its part's tiles of 8x16 pixels in
/// order, whose matrix and dy are both read transposed: of the former, whose rows are pixels, two that are neighbours
/// make a pair, so channels lie apart. Each warp takes every fourth row of pixels and has sums of all those weights,
/// which are added in order at the end. While a tile is multiplied the next one is on its way.
/// Traffic: dy read once, x 1.4 K / 32 times, sums written once. Bound: bytes of dy; for float shared memory.
template <class Operand> struct conv2d_weight_gradient_im2col {
  using T = storage_t<Operand>;
  static constexpr int tile_h = 8;
  static constexpr int tile_k = 32;
  static constexpr int warps = 4;
  static constexpr int threads = warps * warp_size;
  static constexpr int blocks_resident = 4;
  using loader = picture_loader<T, tile_h, threads>;
  using walk = tile_walk<tile_h, 16>;
  using sums = column_sums<tile_k, threads>;
  static constexpr int tile_w = walk::width;
  static constexpr int pixels = loader::pixels;
  static constexpr int copies = loader::copies;
  static constexpr int row_taps = 3;
  static constexpr int taps = row_taps * row_taps;
  static constexpr int M = tile_k / 16;
  static constexpr int N = ceil_div(taps * im2col_channels, 8);
  static constexpr int k_pieces = tile_k / piece_size<T>;
  static constexpr int x_pitch = 24;
  /// Elements from a channel to the next, and from a copy to the next: 8 and 4 banks beyond a multiple of 32.
  static constexpr int x_plane = round_up(loader::halo_h * x_pitch, 64) + 16;
  static constexpr int x_copy = im2col_channels * x_plane + 8;

  struct tiles {
    alignas(128) T dy[2][pixels * tile_k];
    alignas(128) T x[2][copies * x_copy];
  };
  union tiles_or_sums {
    tiles of;
    float of_warp[warps][tile_k][N * 8];
  };
  struct shared {
    tiles_or_sums memory;
    typename sums::shared db;
  };

  view<T const> x, dy;
  bool dy_aligned, with_bias;
  gradient_parts to;

  static UNETDN_HD int tiles_of(view<T const> const& dy) { return walk::count(dy); }
  static int blocks(conv_weights layout) { return ceil_div(layout.outputs, tile_k); }

  static UNETDN_DEVICE T* dy_piece(T* s_dy, int pixel, int piece) {
    return &s_dy[pixel * tile_k + spread_transposed<T, k_pieces>(pixel, piece) * piece_size<T>];
  }
  template <class Block> UNETDN_DEVICE void fetch_dy(Block& block, T* s_dy, walk const& at, int k0) const {
    for (int i = block.thread(); i < pixels * k_pieces; i += threads) {
      int const pixel = i / k_pieces;
      int const p = at.p0 + pixel / tile_w;
      int const q = at.q0 + pixel % tile_w;
      int const k = k0 + i % k_pieces * piece_size<T>;
      bool const inside = p < dy.h && q < dy.w && k < dy.c;
      fetch_piece(block, dy_piece(s_dy, pixel, i % k_pieces), inside ? dy.pixel(at.image, p, q) + k : dy.data,
                  inside ? dy.c - k : 0, dy_aligned);
    }
  }

  UNETDN_DEVICE void store_x(loader const& loaded, T* s_x) const {
    loaded.store(x.c, s_x, x_copy, [](int row, int column, int c) { return c * x_plane + row * x_pitch + column; });
  }
  /// Where a column of the matrix, a tap of a channel, has its element of the tile's first pixel. Where taps of odd
  /// columns begin, pairs do in the second copy.
  UNETDN_DEVICE int column_at(int column) const {
    int const tap = column / x.c;
    if (tap >= taps) return 0;  // nobody looks at its sums
    int const element = column % x.c * x_plane + tap / row_taps * x_pitch + tap % row_taps;
    return element + (copies == 2 && tap % row_taps % 2 == 1 ? x_copy - 1 : 0);
  }

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared& s) const {
    int const k0 = block.index().x * tile_k;
    int const part = block.index().y;
    int const first = to.first(tiles_of(dy), part);
    int const last = to.first(tiles_of(dy), part + 1);
    int const used = taps * x.c;
    tiles& memory = s.memory.of;

    fragment_c r_dw[M][N] = {};
    float r_db = 0;
    walk at = walk::from(dy, first);
    fetch_dy(block, memory.dy[0], at, k0);
    block.copy_commit();
    loader loaded{block};
    loaded.load(x, at);
    store_x(loaded, memory.x[0]);
    int r_column_at[N][fragment_b_columns<Operand>];
    UNETDN_UNROLL
    for (int j = 0; j < N; ++j) {
      UNETDN_UNROLL
      for (int i = 0; i < fragment_b_columns<Operand>; ++i)
        r_column_at[j][i] = column_at(j * 8 + fragment_b_column<Operand>(block.lane(), i));
    }
    for (int tile = first; tile < last; ++tile) {
      bool const more = tile + 1 < last;
      int const now = (tile - first) % 2;
      T* const s_dy = memory.dy[now];
      T const* const s_x = memory.x[now];
      block.template copy_wait<0>();
      block.sync();  // completes this tile's dy and x, and everyone's reading of the one before
      at.advance(dy);
      if (more) {
        fetch_dy(block, memory.dy[1 - now], at, k0);
        loaded.load(x, at);
      }
      block.copy_commit();
      for (int p = block.warp(); p < tile_h; p += warps) {
        for (int q = 0; q < tile_w; q += mma_depth<Operand>) {
          fragment_a<Operand> r_dy[M];
          UNETDN_UNROLL
          for (int m = 0; m < M; ++m)
            r_dy[m] = load_a_transposed<Operand>(block, [&](int pixel, int piece) {
              return dy_piece(s_dy, p * tile_w + q + pixel, m * 16 / piece_size<T> + piece);
            });
          T const* const s_first = s_x + p * x_pitch + q;
          UNETDN_UNROLL
          for (int j = 0; j < N; ++j) {
            if (j * 8 >= used) continue;
            auto const r_x = make_b<Operand>([&](int pixel, int column) {
              return four_bytes(s_first + fragment_depth<Operand>(block.lane(), pixel) + r_column_at[j][column]);
            });
            UNETDN_UNROLL
            for (int m = 0; m < M; ++m) multiply_add(block, r_dw[m][j], r_dy[m], r_x);
          }
        }
      }
      if (with_bias)
        r_db += sums::template add<pixels>(
            block, [&](int pixel, int k) { return dy_piece(s_dy, pixel, k / piece_size<T>) + k % piece_size<T>; });
      if (more) store_x(loaded, memory.x[1 - now]);
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
    int const in_output = taps * to.layout.pitch() / piece_size<float>;
    for (int i = block.thread(); i < tile_k * in_output; i += threads) {
      int const k = i / in_output;
      int const element = i % in_output * piece_size<float>;
      int const c = element % to.layout.pitch();
      int const tap = element / to.layout.pitch();
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
