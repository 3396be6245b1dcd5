// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

#include <unetdn/kernels/conv2d_weight_gradient.hpp>
#include <unetdn/kernels/matrix_tile.hpp>

// The 2x2 transposed convolution with stride 2: output windows do not overlap, so its three passes are matrix products
// between pixels of x, channels, and the pairs of a tap t = 2 r + q and an output channel k.

namespace unetdn::kernels {

/// The pairs (t, k) in a line, tap by tap. Each tap's channels are padded to 8, so that no piece of 16 bytes holds two
/// taps.
struct tap_line {
  int outputs;  // channels k

  UNETDN_HD int stretch() const { return round_up(outputs, 8); }
  UNETDN_HD int length() const { return 4 * stretch(); }
  UNETDN_HD int tap(int i) const { return i / stretch(); }
  UNETDN_HD int channel(int i) const { return i % stretch(); }
};

/// A place on the line, for threads that go along it in strides: cheaper than a division at each.
struct line_cursor {
  int tap, channel;

  UNETDN_DEVICE line_cursor(tap_line const& line, int i) : tap{line.tap(i)}, channel{line.channel(i)} {}
  UNETDN_DEVICE void advance(tap_line const& line, int by) {
    for (channel += by; channel >= line.stretch(); ++tap) channel -= line.stretch();
  }
};

/// The same for pixels of x[N,H,W,..], counted row by row.
struct pixel_cursor {
  int image, row, column;

  template <class T>
  UNETDN_DEVICE pixel_cursor(view<T> const& x, int p) : image{p / x.w / x.h}, row{p / x.w % x.h}, column{p % x.w} {}
  template <class T> UNETDN_DEVICE void advance(view<T> const& x, int by) {
    for (column += by; column >= x.w; column -= x.w) {
      if (++row == x.h) {
        row = 0;
        ++image;
      }
    }
  }
};

/// The pixel of a window with number p in [0, pixels), counted row by row.
template <class T> UNETDN_DEVICE T* numbered_pixel(view<T> const& v, int p) {
  int const row = p / v.w;
  int const image = row / v.h;
  return v.pixel(image, row - image * v.h, p - row * v.w);
}
/// The pixel of y[N,2H,2W,C] above which the upper left tap of pixel p of x[N,H,W,..] lies.
template <class T> UNETDN_DEVICE T* numbered_window(view<T> const& y, int p) {
  int const width = y.w / 2;
  int const row = p / width;
  int const image = row / (y.h / 2);
  return y.pixel(image, 2 * (row - image * (y.h / 2)), 2 * (p - row * width));
}
/// How far tap t of a window lies from its first pixel.
template <class T> UNETDN_DEVICE std::int64_t tap_offset(view<T> const& y, int tap) {
  return tap / 2 * y.row_stride + tap % 2 * y.pixel_stride;
}

/// y[n][2i+r][2j+q][k] = bias[k] + sum over c of x[n][i][j][c] w[k][2r+q][c]: x[N,H,W,C], y[N,2H,2W,K], any windows.
///
/// A matrix product of x's pixels by the line of (t, k), with k = c. A block owns 128 pixels times 64 of the line; grid
/// {blocks of the line * blocks of pixels}, the line's first, so that blocks which share x run together. Traffic: x
/// once for each 64 of the line and w once for each 128 pixels, mostly from the second-level cache; y written once, in
/// place in a wider buffer. Bound: tensor cores from about 128 channels on, below that bytes of y.
template <class Operand> struct conv_transpose2d_forward {
  using tile = matrix_tile<Operand, true, true>;
  using T = storage_t<Operand>;
  static constexpr int threads = tile::threads;
  union shared {
    typename tile::stage stages[tile::stages];
    typename tile::result result;
  };
  view<T const> x;
  T const* w;
  T const* bias;
  view<T> y;
  conv_weights layout;
  bool x_aligned, y_aligned;

  extent3 grid() const {
    return {static_cast<int>(ceil_div(x.pixels(), tile::tile_m)) * ceil_div(tap_line{y.c}.length(), tile::tile_n)};
  }

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared& s) const {
    tap_line const line{y.c};
    int const pixels = int(x.pixels());
    int const blocks_n = ceil_div(line.length(), tile::tile_n);
    int const m0 = block.index().x / blocks_n * tile::tile_m;
    int const n0 = block.index().x % blocks_n * tile::tile_n;

    T const* r_x[tile::fetches_a];  // null beyond the last pixel
    UNETDN_UNROLL
    for (int i = 0; i < tile::fetches_a; ++i) {
      int const p = m0 + (i * threads + block.thread()) / tile::stage_pieces;
      r_x[i] = p < pixels ? numbered_pixel(x, p) : nullptr;
    }
    T const* r_w[tile::fetches_b];
    UNETDN_UNROLL
    for (int i = 0; i < tile::fetches_b; ++i) {
      int const n = n0 + (i * threads + block.thread()) / tile::stage_pieces;
      bool const exists = n < line.length() && line.channel(n) < y.c;
      r_w[i] = exists ? w + layout.index(0, line.tap(n), line.channel(n)) : nullptr;
    }
    auto const fetch = [&](typename tile::stage& stage, int step) {
      UNETDN_UNROLL
      for (int i = 0; i < tile::fetches_a; ++i) {
        int const at = i * threads + block.thread();
        int const c = step * tile::depth + at % tile::stage_pieces * piece_size<T>;
        bool const inside = r_x[i] && c < x.c;
        fetch_piece(block, stage.a.at(at / tile::stage_pieces, at % tile::stage_pieces), inside ? r_x[i] + c : x.data,
                    inside ? x.c - c : 0, x_aligned);
      }
      UNETDN_UNROLL
      for (int i = 0; i < tile::fetches_b; ++i) {
        int const at = i * threads + block.thread();
        int const c = step * tile::depth + at % tile::stage_pieces * piece_size<T>;
        bool const inside = r_w[i] && c < layout.pitch();
        fetch_piece(block, stage.b.at(at / tile::stage_pieces, at % tile::stage_pieces), inside ? r_w[i] + c : w,
                    inside ? layout.pitch() - c : 0, true);
      }
    };
    typename tile::sums r_sums;
    tile::template multiply<false>(block, s.stages, ceil_div(x.c, tile::depth), fetch, false, r_sums);

    if (bias) {
      UNETDN_UNROLL
      for (int n = 0; n < tile::N; ++n) {
        int const at = n0 + tile::first_column(block) + 8 * n + fragment_c_column(block.lane(), 0);
        UNETDN_UNROLL
        for (int i = 0; i < 2; ++i) {
          int const k = line.channel(at + i);
          float const r_bias = k < y.c ? float(bias[k]) : 0.0f;
          UNETDN_UNROLL
          for (int m = 0; m < tile::M; ++m) {
            r_sums.c[m][n].r[i] += r_bias;
            r_sums.c[m][n].r[i + 2] += r_bias;
          }
        }
      }
    }
    tile::for_each_result(block, r_sums, s.result, [&](int row, int column, piece<T> const& r_y) {
      int const p = m0 + row;
      int const n = n0 + column;
      int const k = line.channel(n);
      if (p >= pixels || n >= line.length() || k >= y.c) return;
      T* const to = numbered_window(y, p) + tap_offset(y, line.tap(n)) + k;
      store_piece(to, r_y, y.c - k < piece_size<T> ? y.c - k : piece_size<T>, y_aligned);
    });
  }
};

/// dx[n][i][j][c] = sum over k, r, q of dy[n][2i+r][2j+q][k] w[k][2r+q][c], zero where mask <= 0: dy[N,2H,2W,K],
/// dx[N,H,W,C], mask empty or like dx, perhaps the very same window.
///
/// A matrix product of x's pixels by channels, summed over the line of (t, k). A block owns 128 pixels times 64
/// channels; grid {blocks of channels * blocks of pixels}. Traffic: dy once for each 64 channels, w once for each 128
/// pixels, mostly from the second-level cache; dx written once. Bound: tensor cores from about 64 channels on, below
/// that bytes of dy.
template <class Operand> struct conv_transpose2d_backward_data {
  using tile = matrix_tile<Operand, true, false>;
  using T = storage_t<Operand>;
  static constexpr int threads = tile::threads;
  union shared {
    typename tile::stage stages[tile::stages];
    typename tile::result result;
  };
  view<T const> dy;
  T const* w;
  view<T> dx;
  view<T const> mask;
  conv_weights layout;
  bool dy_aligned, dx_aligned;  // the latter of dx and mask

  extent3 grid() const {
    return {static_cast<int>(ceil_div(dx.pixels(), tile::tile_m)) * ceil_div(dx.c, tile::tile_n)};
  }

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared& s) const {
    tap_line const line{dy.c};
    int const pixels = int(dx.pixels());
    int const blocks_n = ceil_div(dx.c, tile::tile_n);
    int const m0 = block.index().x / blocks_n * tile::tile_m;
    int const n0 = block.index().x % blocks_n * tile::tile_n;

    T const* r_dy[tile::fetches_a];  // null beyond the last pixel
    UNETDN_UNROLL
    for (int i = 0; i < tile::fetches_a; ++i) {
      int const p = m0 + (i * threads + block.thread()) / tile::stage_pieces;
      r_dy[i] = p < pixels ? numbered_window(dy, p) : nullptr;
    }
    line_cursor a_at{line, block.thread() % tile::stage_pieces * piece_size<T>};  // one for all its pieces of a stage
    line_cursor b_at{line, block.thread() / tile::b_operand::pieces};
    static_assert(threads % tile::stage_pieces == 0 && tile::fetches_b == 1);
    auto const fetch = [&](typename tile::stage& stage, int) {
      UNETDN_UNROLL
      for (int i = 0; i < tile::fetches_a; ++i) {
        int const at = i * threads + block.thread();
        bool const inside = r_dy[i] && a_at.tap < 4 && a_at.channel < dy.c;
        fetch_piece(block, stage.a.at(at / tile::stage_pieces, at % tile::stage_pieces),
                    inside ? r_dy[i] + tap_offset(dy, a_at.tap) + a_at.channel : dy.data,
                    inside ? dy.c - a_at.channel : 0, dy_aligned);
      }
      int const piece = block.thread() % tile::b_operand::pieces;
      int const c = n0 + piece * piece_size<T>;
      bool const inside = b_at.tap < 4 && b_at.channel < dy.c && c < layout.pitch();
      fetch_piece(block, stage.b.at(block.thread() / tile::b_operand::pieces, piece),
                  inside ? w + layout.index(c, b_at.tap, b_at.channel) : w, inside ? layout.pitch() - c : 0, true);
      a_at.advance(line, tile::depth);
      b_at.advance(line, tile::depth);
    };
    typename tile::sums r_sums;
    tile::template multiply<false>(block, s.stages, ceil_div(line.length(), tile::depth), fetch, false, r_sums);

    tile::for_each_result(block, r_sums, s.result, [&](int row, int column, piece<T> r_dx) {
      int const p = m0 + row;
      int const c = n0 + column;
      if (p >= pixels || c >= dx.c) return;
      int const count = dx.c - c < piece_size<T> ? dx.c - c : piece_size<T>;
      if (mask) {
        piece<T> const r_mask = load_piece(numbered_pixel(mask, p) + c, count, dx_aligned);
        UNETDN_UNROLL
        for (int i = 0; i < piece_size<T>; ++i) {
          if (float(r_mask.r[i]) <= 0) r_dx.r[i] = T(0.0f);
        }
      }
      store_piece(numbered_pixel(dx, p) + c, r_dx, count, dx_aligned);
    });
  }
};

/// dw[k][t][c] of a part = sum over its pixels p = (n, i, j) of x[n][i][j][c] dy[n][2i+r][2j+q][k], and with_bias,
/// db[k] = sum of its dy[..][k]: x[N,H,W,C], dy[N,2H,2W,K], any windows. add_parts then adds the parts.
///
/// A matrix product of the pairs (t, k) by channels c, summed over pixels. A block owns 128 pairs times 64 channels;
/// grid {blocks of channels * blocks of pairs, parts}. Of the pairs, 8 channels of each of the four taps are
/// neighbours, so that a warp's 32 rows are all taps of 8 channels, and db is a sum within a thread. Both operands lie
/// pixel by pixel, so both loads transpose. Traffic: x once for each 128 pairs, dy once for each 64 channels, sums
/// written once. Bound: tensor cores from about 128 channels on, below that bytes of dy and x.
template <class Operand> struct conv_transpose2d_weight_gradient {
  using tile = matrix_tile<Operand, false, false>;
  using T = storage_t<Operand>;
  static constexpr int threads = tile::threads;
  struct shared {
    typename tile::stage stages[tile::stages];
  };
  view<T const> x, dy;
  bool x_aligned, dy_aligned, with_bias;
  gradient_parts to;

  /// Number of steps through the pixels, which parts share among them, and of blocks for each part.
  static int steps(view<T const> const& x) { return static_cast<int>(ceil_div(x.pixels(), tile::depth)); }
  static int blocks(conv_weights layout) {
    return ceil_div(layout.channels, tile::tile_n) * ceil_div(4 * round_up(layout.outputs, 8), tile::tile_m);
  }

  static UNETDN_HD int tap(int pair) { return pair / 8 % 4; }
  static UNETDN_HD int channel(int pair) { return pair / 32 * 8 + pair % 8; }

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared& s) const {
    int const blocks_n = ceil_div(x.c, tile::tile_n);
    int const m0 = block.index().x / blocks_n * tile::tile_m;
    int const n0 = block.index().x % blocks_n * tile::tile_n;
    int const count = ceil_div(int(x.pixels()), tile::depth);
    int const first = to.first(count, block.index().y);
    bool const sums_bias = with_bias && n0 == 0 && tile::first_column(block) == 0;

    // A thread's pieces of a stage lie in rows that are a fixed number apart; from stage to stage it goes `depth` on.
    int const a_row = block.thread() / tile::a_operand::pieces;
    int const b_row = block.thread() / tile::b_operand::pieces;
    int const pair = m0 + block.thread() % tile::a_operand::pieces * piece_size<T>;
    int const k = channel(pair);
    int const c = n0 + block.thread() % tile::b_operand::pieces * piece_size<T>;
    std::int64_t const tap_start = tap_offset(dy, tap(pair)) + k;
    static_assert(threads % tile::a_operand::pieces == 0 && tile::fetches_a == 2 && tile::fetches_b == 1);
    constexpr int apart = threads / tile::a_operand::pieces;
    pixel_cursor a_at[] = {{x, first * tile::depth + a_row}, {x, first * tile::depth + a_row + apart}};
    pixel_cursor b_at{x, first * tile::depth + b_row};
    auto const fetch = [&](typename tile::stage& stage, int) {
      UNETDN_UNROLL
      for (int i = 0; i < tile::fetches_a; ++i) {
        bool const inside = a_at[i].image < x.n && k < dy.c;
        T const* const from =
            inside ? dy.pixel(a_at[i].image, 2 * a_at[i].row, 2 * a_at[i].column) + tap_start : dy.data;
        fetch_piece(block, stage.a.at(a_row + i * apart, block.thread() % tile::a_operand::pieces), from,
                    inside ? dy.c - k : 0, dy_aligned);
        a_at[i].advance(x, tile::depth);
      }
      bool const inside = b_at.image < x.n && c < x.c;
      fetch_piece(block, stage.b.at(b_row, block.thread() % tile::b_operand::pieces),
                  inside ? x.pixel(b_at.image, b_at.row, b_at.column) + c : x.data, inside ? x.c - c : 0, x_aligned);
      b_at.advance(x, tile::depth);
    };
    typename tile::sums r_sums;
    tile::template multiply<true>(block, s.stages, to.first(count, block.index().y + 1) - first, fetch, sums_bias,
                                  r_sums);

    gradient_sums const sums_of_part = to.of(block.index().y);
    int const row0 = m0 + tile::first_row(block);
    tile::for_each_pair(block, r_sums, [&](int row, int column, float const* v) {
      int const to_c = n0 + tile::first_column(block) + column;
      int const to_k = channel(row0 + row);
      if (to_k < dy.c && to_c < to.layout.pitch()) sums_of_part.put<2>(to.layout.index(to_c, tap(row0 + row), to_k), v);
    });
    int const db_k = channel(row0 + fragment_c_row(block.lane(), 0));
    if (!sums_bias || fragment_c_column(block.lane(), 0) != 0 || db_k >= dy.c) return;
    float r_db = 0;  // rows that are 8 apart are the taps of one channel
    UNETDN_UNROLL
    for (int m = 0; m < tile::M; ++m) r_db += r_sums.of_rows[m].r[0] + r_sums.of_rows[m].r[2];
    sums_of_part.put_bias(db_k, r_db);
  }
};

}  // namespace unetdn::kernels
