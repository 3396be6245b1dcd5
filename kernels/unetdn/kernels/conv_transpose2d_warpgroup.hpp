// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <unetdn/core/mma.hpp>
#include <unetdn/kernels/conv2d_tile.hpp>
#include <unetdn/kernels/conv2d_weight_gradient.hpp>
#include <unetdn/kernels/conv_transpose2d.hpp>

// The passes of conv_transpose2d.hpp for 16-bit types by matrix products of whole warpgroups, for GPUs that have them
// (Hopper): the same products of pixels, channels and pairs of a tap and an output channel, where those are whole
// pieces of 16 bytes. Operands lie in shared memory as in conv2d_warpgroup.hpp, 64 elements a row.

namespace unetdn::kernels {

/// What the three kernels have in common: a block of two warpgroups owns 128 x 128 sums and multiplies 64 deep at a
/// time, out of three buffers, of which two are on their way. Two blocks share a multiprocessor, so that one multiplies
/// while the other begins or ends.
struct transpose_tile {
  static constexpr int side = 128;
  static constexpr int depth = shared_row;
  static constexpr int warps = 8;
  static constexpr int threads = warps * warp_size;
  static constexpr int stages = 3;
  static constexpr int steps_ahead = stages - 1;
  static constexpr int pieces = 8;  // of 16 bytes, in a row
  /// A thread brings the same piece of every row that is so many further on.
  static constexpr int apart = threads / pieces;
  static constexpr int rows = side / apart;
  /// Elements of an operand in a buffer: 128 rows of 64, or two blocks of 64 rows of 64.
  static constexpr int operand = side * depth;
  static constexpr int group_rows = shared_row_group * depth;  // elements of the rows that a product reads at once
  static_assert(apart % shared_row_group == 0);

  /// Where the calling thread's first piece of an operand goes; the next one is apart * depth elements further on.
  template <class Block> static UNETDN_DEVICE int first_piece(Block& block) {
    int const row = block.thread() / pieces;
    return row * depth + spread_piece(row, block.thread() % pieces) * piece_size<bf16>;
  }
};

/// conv_transpose2d_forward's y, or with `Gradient` conv_transpose2d_backward_data's dx, for T bf16 or fp16 where x, or
/// dy, is one that warpgroups_can_read() and K is a multiple of 8.
///
/// A block owns 128 pixels of x's extents times 128 of the line of (t, k), or of the channels of dx; grid {blocks of
/// the latter * blocks of pixels}. Traffic: what is read once for each 128 columns, w once for each 128 pixels, mostly
/// from the second-level cache; what is written once. Bound: bytes of y, or dy; from about 256 channels on tensor
/// cores.
template <class T, bool Gradient> struct conv_transpose2d_warpgroup {
  using tile = transpose_tile;
  static constexpr bool by_warpgroups = true;
  static constexpr int threads = tile::threads;
  static constexpr int min_blocks = 2;
  static constexpr int size = piece_size<T>;
  static constexpr int depth = tile::depth;
  static constexpr int N = tile::side / 8;

  struct stage {
    alignas(1024) T a[tile::operand];  // rows of pixels
    T b[tile::operand];                // rows of the line; Gradient: of the line too, 64 channels after the other
  };
  union shared {
    stage stages[tile::stages];
    T result[tile::warps][16][tile::side + size];  // one piece wider: rows of a fragment then fall on different banks
  };

  view<T const> from;  // x, or dy
  T const* w;
  T const* bias;  // or null
  view<T> to;     // y, or dx
  view<T const> mask;
  conv_weights layout;
  bool aligned;  // of `to` and the mask

  extent3 grid() const { return {ceil_div(pixels(), tile::side) * ceil_div(columns(), tile::side)}; }

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared& s) const {
    tap_line const line{layout.outputs};
    int const blocks_n = ceil_div(columns(), tile::side);
    int const m0 = block.index().x / blocks_n * tile::side;
    int const n0 = block.index().x % blocks_n * tile::side;
    int const steps = ceil_div(Gradient ? line.length() : from.c, depth);

    int const piece = block.thread() % tile::pieces;
    int const row0 = block.thread() / tile::pieces;
    int const s_first = tile::first_piece(block);
    T const* r_from[tile::rows];  // null beyond the last pixel
    UNETDN_UNROLL
    for (int i = 0; i < tile::rows; ++i) {
      int const p = m0 + row0 + i * tile::apart;
      r_from[i] = p >= pixels() ? nullptr : Gradient ? numbered_window(from, p) : numbered_pixel(from, p);
    }
    int r_w[tile::rows] = {};  // of a row of the line, its first channel; negative beyond the last
    line_cursor a_at{line, piece * size};
    line_cursor b_at[] = {{line, row0}, {line, row0 + tile::apart}};
    UNETDN_UNROLL
    for (int i = 0; !Gradient && i < tile::rows; ++i) {
      int const n = n0 + row0 + i * tile::apart;
      r_w[i] = n < line.length() ? int(layout.index(0, line.tap(n), line.channel(n))) : -1;
    }

    auto const fetch = [&](int step) {
      stage& to_fill = s.stages[step % tile::stages];
      std::int64_t const along = Gradient ? tap_offset(from, a_at.tap) + a_at.channel : step * depth + piece * size;
      bool const exists = Gradient ? a_at.tap < 4 : along < from.c;
      UNETDN_UNROLL
      for (int i = 0; i < tile::rows; ++i) {
        bool const inside = r_from[i] && exists;
        block.copy_async(&to_fill.a[s_first + i * tile::apart * depth], inside ? r_from[i] + along : from.data, inside);
      }
      UNETDN_UNROLL
      for (int i = 0; i < tile::rows; ++i) {
        T const* at = w;
        bool inside;
        if constexpr (Gradient) {
          // Rows row0 and row0 + apart of the line, of the first 64 channels, then of the others.
          int const channel = n0 + i / 2 * depth + piece * size;
          line_cursor const& of = b_at[i % 2];
          inside = of.tap < 4 && channel < layout.pitch();
          if (inside) at += layout.index(channel, of.tap, of.channel);
        } else {
          inside = r_w[i] >= 0 && along < layout.pitch();
          if (inside) at += r_w[i] + along;
        }
        block.copy_async(&to_fill.b[s_first + i * tile::apart * depth], at, inside);
      }
      if constexpr (Gradient) {
        a_at.advance(line, depth);
        UNETDN_UNROLL
        for (line_cursor& cursor : b_at) cursor.advance(line, depth);
      }
    };

    int const group = block.warpgroup();
    fragment_c r_c[N] = {};
    UNETDN_UNROLL
    for (int i = 0; i < tile::steps_ahead; ++i) {
      if (i < steps) fetch(i);
      block.copy_commit();
    }
    for (int step = 0; step < steps; ++step) {
      block.template copy_wait<tile::steps_ahead - 1>();
      block.publish();
      block.sync();  // completes this step's operands; everyone's products of the step before are done
      stage const& now = s.stages[step % tile::stages];
      shared_matrix<T, false> const a{&now.a[group * tile::operand / 2], tile::group_rows};
      shared_matrix<T, Gradient> const b{now.b, tile::group_rows, tile::operand / 2};
      block.multiply_begin();
      UNETDN_UNROLL
      for (int c = 0; c < depth; c += 16) block.multiply_async(r_c, a.shifted(c), b.shifted(Gradient ? c * depth : c));
      block.multiply_commit();
      if (step + tile::steps_ahead < steps) fetch(step + tile::steps_ahead);
      block.copy_commit();
      block.template multiply_wait<0>();
    }
    block.settle(r_c);
    block.sync();  // everyone's products are done: their operands' memory becomes s.result
    store(block, r_c, s.result[block.warp()], line, m0 + block.warp() * 16, n0);
  }

 private:
  UNETDN_HD int pixels() const { return int(Gradient ? to.pixels() : from.pixels()); }
  UNETDN_HD int columns() const { return Gradient ? to.c : tap_line{layout.outputs}.length(); }

  /// Rounds a warp's 16 rows of sums, with bias or mask, and stores them. A lane stores the same piece of every second
  /// row.
  template <class Block>
  UNETDN_DEVICE void store(Block& block, fragment_c const (&r_c)[N], T (&s_c)[16][tile::side + size], tap_line line,
                           int first_pixel, int n0) const {
    line_cursor at{line, Gradient ? 0 : n0};  // of the first of 8 columns
    UNETDN_UNROLL
    for (int j = 0; j < N; ++j) {
      int const column = fragment_c_column(block.lane(), 0);
      bool const has_bias = !Gradient && bias && at.tap < 4;
      float const r_bias[] = {has_bias ? float(bias[at.channel + column]) : 0.0f,
                              has_bias ? float(bias[at.channel + column + 1]) : 0.0f};
      UNETDN_UNROLL
      for (int i = 0; i < 4; i += 2) {
        std::uint32_t const both = pack<T>(r_c[j].r[i] + r_bias[0], r_c[j].r[i + 1] + r_bias[1]);
        copy_aligned<4>(&s_c[fragment_c_row(block.lane(), i)][j * 8 + column], &both);
      }
      if constexpr (!Gradient) at.advance(line, 8);
    }
    block.sync_warp();  // completes this warp's part

    constexpr int in_row = tile::side / size;
    constexpr int at_once = warp_size / in_row;  // rows
    constexpr int rounds = 16 / at_once;
    int const column = block.lane() % in_row * size;
    int const n = n0 + column;
    if (n >= columns()) return;
    int const count = !Gradient || to.c - n >= size ? size : to.c - n;
    std::int64_t const along = Gradient ? n : tap_offset(to, line.tap(n)) + line.channel(n);
    auto const counted = [&] {  // the window whose pixels are numbered
      if constexpr (Gradient)
        return view<T const>(to);
      else
        return from;
    }();
    auto const each = [&](auto f) {
      pixel_cursor pixel{counted, first_pixel + block.lane() / in_row};
      UNETDN_UNROLL
      for (int i = 0; i < rounds; ++i) {
        if (pixel.image < counted.n) f(i, pixel);
        pixel.advance(counted, at_once);
      }
    };
    piece<T> r_mask[rounds];  // their loads are under way at once
    if (Gradient && mask)
      each([&](int i, pixel_cursor const& p) {
        r_mask[i] = load_piece(mask.pixel(p.image, p.row, p.column) + along, count, aligned);
      });
    each([&](int i, pixel_cursor const& p) {
      piece<T> r;
      copy_aligned<16>(r.r, &s_c[i * at_once + block.lane() / in_row][column]);
      if (Gradient && mask) {
        UNETDN_UNROLL
        for (int k = 0; k < size; ++k) {
          if (float(r_mask[i].r[k]) <= 0) r.r[k] = T(0.0f);
        }
      }
      T* const pixel = Gradient ? to.pixel(p.image, p.row, p.column) : to.pixel(p.image, 2 * p.row, 2 * p.column);
      store_piece(pixel + along, r, count, aligned);
    });
  }
};

/// conv_transpose2d_weight_gradient's sums, for T bf16 or fp16 where x and dy are such that warpgroups_can_read(), and
/// K is a multiple of 8.
///
/// A block owns 128 pairs times 128 channels; grid {blocks of channels * blocks of pairs, parts}. Pairs are ordered as
/// there. Traffic: x once for each 128 pairs, dy once for each 128 channels, sums written once. Bound: bytes of dy and
/// x; from about 256 channels on tensor cores.
template <class T> struct conv_transpose2d_weight_gradient_warpgroup {
  using tile = transpose_tile;
  using pairs = conv_transpose2d_weight_gradient<T>;  // whose order of them this is
  static constexpr bool by_warpgroups = true;
  static constexpr int threads = tile::threads;
  static constexpr int min_blocks = 2;
  static constexpr int size = piece_size<T>;
  static constexpr int depth = tile::depth;
  static constexpr int halves = 2;  // of 64 pairs, or channels
  static constexpr int N = shared_row / 8;

  struct stage {
    alignas(1024) T dy[halves][depth * shared_row];  // rows of pixels, both
    T x[halves][depth * shared_row];
  };
  struct shared {
    stage stages[tile::stages];
    alignas(1024) T ones[16 * shared_row];  // that dy is multiplied with for db; of each row only a piece is used
    float db[tile::side];
  };

  view<T const> x, dy;
  bool with_bias;
  gradient_parts to;

  /// Number of steps through the pixels, which parts share among them, and of blocks for each part.
  static int steps(view<T const> const& x) { return static_cast<int>(ceil_div(x.pixels(), depth)); }
  static int blocks(conv_weights layout) {
    return ceil_div(layout.channels, tile::side) * ceil_div(tap_line{layout.outputs}.length(), tile::side);
  }

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared& s) const {
    int const blocks_n = ceil_div(x.c, tile::side);
    int const m0 = block.index().x / blocks_n * tile::side;
    int const n0 = block.index().x % blocks_n * tile::side;
    int const part = block.index().y;
    int const count = ceil_div(int(x.pixels()), depth);
    int const first = to.first(count, part);
    int const last = to.first(count, part + 1);
    int const half = block.warpgroup();            // of the pairs
    int const pair_first = block.warp() % 4 * 16;  // the warp's first in it
    bool const sums_bias = with_bias && n0 == 0;

    int const piece = block.thread() % tile::pieces;
    int const row0 = block.thread() / tile::pieces;
    int const s_first = tile::first_piece(block);
    pixel_cursor at[] = {{x, first * depth + row0}, {x, first * depth + row0 + tile::apart}};
    auto const fetch = [&](stage& to_fill) {
      UNETDN_UNROLL
      for (int i = 0; i < depth / tile::apart; ++i) {
        bool const inside = at[i].image < x.n;
        T const* const from_dy = inside ? dy.pixel(at[i].image, 2 * at[i].row, 2 * at[i].column) : dy.data;
        T const* const from_x = inside ? x.pixel(at[i].image, at[i].row, at[i].column) : x.data;
        int const s_to = s_first + i * tile::apart * shared_row;
        UNETDN_UNROLL
        for (int h = 0; h < halves; ++h) {
          int const pair = m0 + h * shared_row + piece * size;
          int const k = pairs::channel(pair);
          bool const exists = inside && k < dy.c;
          block.copy_async(&to_fill.dy[h][s_to], exists ? from_dy + tap_offset(dy, pairs::tap(pair)) + k : dy.data,
                           exists);
          int const c = n0 + h * shared_row + piece * size;
          block.copy_async(&to_fill.x[h][s_to], inside && c < x.c ? from_x + c : x.data, inside && c < x.c);
        }
        at[i].advance(x, depth);
      }
    };

    fragment_c r_dw[halves][N] = {};  // of halves of the channels
    fragment_c r_db[1] = {};
    for (int i = block.thread(); i < 16 * shared_row; i += threads) s.ones[i] = T(1.0f);
    for (int i = 0; i < tile::steps_ahead; ++i) {
      if (first + i < last) fetch(s.stages[i]);
      block.copy_commit();
    }
    for (int step = first; step < last; ++step) {
      block.template copy_wait<tile::steps_ahead - 1>();
      block.publish();
      block.sync();  // completes this step's operands; everyone's products of the step before are done
      stage const& now = s.stages[(step - first) % tile::stages];
      fragment_a<T> r_dy[depth / 16];
      UNETDN_UNROLL
      for (int p = 0; p < depth / 16; ++p)
        r_dy[p] = load_a_transposed<T>(block, [&](int row, int of_pair) {
          int const pixel = p * 16 + row;
          return &now.dy[half][pixel * shared_row + spread_piece(pixel, pair_first / size + of_pair) * size];
        });
      shared_matrix<T, true> const ones{s.ones, tile::group_rows};
      block.multiply_begin();
      UNETDN_UNROLL
      for (int p = 0; p < depth / 16; ++p) {
        UNETDN_UNROLL
        for (int h = 0; h < halves; ++h)
          block.multiply_async(r_dw[h], r_dy[p],
                               shared_matrix<T, true>{now.x[h], tile::group_rows}.shifted(p * 16 * shared_row));
      }
      if (sums_bias) {
        UNETDN_UNROLL
        for (int p = 0; p < depth / 16; ++p) block.multiply_async(r_db, r_dy[p], ones);
      }
      block.multiply_commit();
      int const next = step + tile::steps_ahead;
      if (next < last) fetch(s.stages[(next - first) % tile::stages]);
      block.copy_commit();
      block.template multiply_wait<0>();
    }
    block.settle(r_dw);
    block.settle(r_db);

    gradient_sums const sums_of_part = to.of(part);
    int const pair0 = half * shared_row + pair_first;  // in the block
    UNETDN_UNROLL
    for (int i = 0; i < 4; i += 2) {
      int const row = pair0 + fragment_c_row(block.lane(), i);
      int const k = pairs::channel(m0 + row), tap = pairs::tap(m0 + row);
      UNETDN_UNROLL
      for (int h = 0; h < halves; ++h) {
        UNETDN_UNROLL
        for (int j = 0; j < N; ++j) {
          int const c = n0 + h * shared_row + j * 8 + fragment_c_column(block.lane(), i);
          if (k < dy.c && c < to.layout.pitch()) sums_of_part.put<2>(to.layout.index(c, tap, k), &r_dw[h][j].r[i]);
        }
      }
      if (sums_bias && fragment_c_column(block.lane(), 0) == 0) s.db[row] = r_db[0].r[i];
    }
    if (!sums_bias) return;
    block.sync();  // completes db
    // Of every four pieces of pairs the first is of tap 0, the others of the other taps of the same channels.
    int const pair = block.thread() / size * 4 * size + block.thread() % size;
    int const k = pairs::channel(m0 + pair);
    if (pair >= tile::side || k >= dy.c) return;
    sums_of_part.put_bias(k, s.db[pair] + s.db[pair + size] + s.db[pair + 2 * size] + s.db[pair + 3 * size]);
  }
};

}  // namespace unetdn::kernels
