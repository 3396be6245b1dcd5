// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <unetdn/kernels/conv2d_tile.hpp>

// Gradients of a convolution's weights and bias: pixels are split into parts. The first one's sums go where the
// gradient does, those of the others into memory of their own, and add_parts adds them. The split depends on the kernel
// and on shapes alone, so the bits do, too.

namespace unetdn::kernels {

/// Where sums of a weight gradient go; added to what is there where `add`.
struct gradient_sums {
  float *dw, *db;
  bool add;

  /// `Count` sums of weights from element `at` on, aligned to as many.
  template <int Count> UNETDN_DEVICE void put(std::int64_t at, float const* sums) const {
    alignas(sizeof(float) * Count) float r[Count] = {};
    if (add) copy_aligned<sizeof(float) * Count>(r, dw + at);
    UNETDN_UNROLL
    for (int i = 0; i < Count; ++i) r[i] = add ? r[i] + sums[i] : sums[i];
    copy_aligned<sizeof(float) * Count>(dw + at, r);
  }
  UNETDN_DEVICE void put_bias(int k, float sum) const { db[k] = add ? db[k] + sum : sum; }
};

/// The parts of a weight gradient. The sums of part 0 go to dw, in the layout of the weights, and db, and are added to
/// what is there where `accumulate`; those of part i > 0 to partial + (i - 1) * stride(), dw first.
struct gradient_parts {
  conv_weights layout;
  int parts;
  float *dw = nullptr, *db = nullptr;
  bool accumulate = false;
  float* partial = nullptr;

  UNETDN_HD constexpr std::int64_t stride() const { return layout.size() + round_up(layout.outputs, 4); }
  /// Of `count` tiles, the first one of part i.
  UNETDN_HD constexpr int first(int count, int i) const { return first_tile(count, i, parts); }
  UNETDN_DEVICE gradient_sums of(int part) const {
    if (part == 0) return {dw, db, accumulate};
    float* const to = partial + (part - 1) * stride();
    return {to, to + layout.size(), false};
  }
};

/// Sums of columns of dy tiles that lie in shared memory, for db: thread t adds every Apart-th row of column t % TileK.
template <int TileK, int Threads> struct column_sums {
  static constexpr int apart = Threads / TileK;
  static_assert(Threads % TileK == 0);
  using shared = float[apart][TileK];

  template <int Rows, class Block, class At> static UNETDN_DEVICE float add(Block& block, At at) {
    float sum = 0;
    for (int row = block.thread() / TileK; row < Rows; row += apart) sum += float(*at(row, block.thread() % TileK));
    return sum;
  }
  /// Adds the threads of a column in order and stores the columns that exist, outputs k0, k0 + 1, ...
  template <class Block>
  static UNETDN_DEVICE void store(Block& block, shared& s, float sum, gradient_sums const& to, int k0, int columns) {
    int const column = block.thread() % TileK;
    s[block.thread() / TileK][column] = sum;
    block.sync();  // completes s
    if (block.thread() >= TileK || column >= columns) return;
    float total = s[0][column];
    for (int i = 1; i < apart; ++i) total += s[i][column];
    to.put_bias(k0 + column, total);
  }
};

/// Weight gradient of a 3x3 convolution with stride 1 and zero padding 1:
///   dw[k][r][s][c] of a part = sum over its pixels (n, p, q) of dy[n][p][q][k] x[n][p+r-1][q+s-1][c]
/// and with_bias, db[k] = sum of its dy[..][k]. x[N,H,W,C], dy[N,H,W,K] are any windows. Operand as in
/// conv2d.hpp.
///
/// A block owns TileK x 9 x TileC weights, all in registers; grid {tiles of C * tiles of K, parts}. It walks its part's
/// tiles of 4x16 or 8x16 pixels in order; the nine taps read one halo tile of x. A warp owns 16 M output times 16 input
/// channels, all taps; where that leaves warps over (few channels), groups of them take the tile's rows in turns, and
/// their sums are added at the end, in order. Both operands lie pixel by pixel, so both loads transpose.
/// Traffic: dy read C / TileC times, x 1.7 or 1.4 K / TileK times, sums written once. Bound: tensor cores, or for float
/// shared memory; for few channels bytes of x and dy.
template <class Operand, int TileK, int TileC> struct conv2d_weight_gradient_halo {
  using T = storage_t<Operand>;
  static constexpr int tile_h = TileK == 64 ? 4 : 8;
  static constexpr int tile_w = 16;
  static constexpr int halo_h = tile_h + 2;
  static constexpr int halo_w = tile_w + 2;
  static constexpr int taps = 9;
  static constexpr int warps = 4;
  static constexpr int threads = warps * warp_size;
  static constexpr int blocks_resident = TileK == 64 ? 2 : sizeof(T) == 2 ? 4 : 3;
  static constexpr int min_blocks = blocks_resident;
  static constexpr int M = TileK == 64 ? 2 : 1;  // fragments of output channels of one warp
  static constexpr int columns = TileC / 16;     // of warps that own different channels
  static constexpr int owners = TileK / (16 * M) * columns;
  static constexpr int groups = warps / owners;
  static constexpr int k_pieces = TileK / piece_size<T>;
  static constexpr int c_pieces = TileC / piece_size<T>;
  static_assert((TileK == 64 && TileC == 32) || (TileK == 16 && (TileC == 32 || TileC == 16)));
  using walk = tile_walk<tile_h, tile_w>;
  using sums = column_sums<TileK, threads>;

  struct stage {
    alignas(128) T dy[tile_h * tile_w * TileK];
    alignas(128) T x[halo_h * halo_w * TileC];

    UNETDN_DEVICE T* dy_piece(int pixel, int piece) {
      return &dy[pixel * TileK + spread_transposed<T, k_pieces>(pixel, piece) * piece_size<T>];
    }
    UNETDN_DEVICE T* x_piece(int pixel, int piece) {
      return &x[pixel * TileC + spread_transposed<T, c_pieces>(pixel, piece) * piece_size<T>];
    }
  };
  union tiles_or_sums {
    stage stages[2];
    fragment_c of_group[groups > 1 ? groups - 1 : 1][owners][taps * M * 2][warp_size];  // but the first one
  };
  struct shared {
    tiles_or_sums memory;
    typename sums::shared db;
  };

  view<T const> x, dy;
  bool x_aligned, dy_aligned, with_bias;
  gradient_parts to;

  /// Number of tiles of pixels, which parts share among them, and of blocks for each part.
  static UNETDN_HD int tiles(view<T const> const& dy) { return walk::count(dy); }
  static int blocks(conv_weights layout) { return ceil_div(layout.channels, TileC) * ceil_div(layout.outputs, TileK); }

  template <class Block> UNETDN_DEVICE void fetch(Block& block, stage& s, walk const& at, int k0, int c0) const {
    for (int i = block.thread(); i < tile_h * tile_w * k_pieces; i += threads) {
      int const pixel = i / k_pieces;
      int const p = at.p0 + pixel / tile_w;
      int const q = at.q0 + pixel % tile_w;
      int const k = k0 + i % k_pieces * piece_size<T>;
      bool const inside = p < dy.h && q < dy.w && k < dy.c;
      fetch_piece(block, s.dy_piece(pixel, i % k_pieces), inside ? dy.pixel(at.image, p, q) + k : dy.data,
                  inside ? dy.c - k : 0, dy_aligned);
    }
    for (int i = block.thread(); i < halo_h * halo_w * c_pieces; i += threads) {
      int const pixel = i / c_pieces;
      int const row = at.p0 + pixel / halo_w - 1;
      int const column = at.q0 + pixel % halo_w - 1;
      int const c = c0 + i % c_pieces * piece_size<T>;
      bool const inside = row >= 0 && row < x.h && column >= 0 && column < x.w && c < x.c;
      fetch_piece(block, s.x_piece(pixel, i % c_pieces), inside ? x.pixel(at.image, row, column) + c : x.data,
                  inside ? x.c - c : 0, x_aligned);
    }
  }

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared& s) const {
    int const tiles_c = ceil_div(x.c, TileC);
    int const k0 = block.index().x / tiles_c * TileK;
    int const c0 = block.index().x % tiles_c * TileC;
    int const part = block.index().y;
    int const first = to.first(tiles(dy), part);
    int const last = to.first(tiles(dy), part + 1);
    int const owner = block.warp() % owners;
    int const group = block.warp() / owners;
    int const row0 = owner / columns * 16 * M;  // the warp's first output channel in the tile,
    int const column0 = owner % columns * 16;   // and its first input channel
    bool const sums_bias = with_bias && c0 == 0;

    fragment_c r_dw[taps][M][2] = {};
    float r_db = 0;
    walk at = walk::from(dy, first);
    if (first < last) fetch(block, s.memory.stages[0], at, k0, c0);
    block.copy_commit();
    for (int tile = first; tile < last; ++tile) {
      block.template copy_wait<0>();
      block.sync();  // completes this tile's stage, and everyone's reading of the other one
      at.advance(dy);
      if (tile + 1 < last) fetch(block, s.memory.stages[(tile + 1 - first) % 2], at, k0, c0);
      block.copy_commit();
      stage& now = s.memory.stages[(tile - first) % 2];
      for (int p = group; p < tile_h; p += groups) {
        for (int q = 0; q < tile_w; q += mma_depth<Operand>) {
          fragment_a<Operand> r_dy[M];
          UNETDN_UNROLL
          for (int m = 0; m < M; ++m)
            r_dy[m] = load_a_transposed<Operand>(block, [&](int pixel, int piece) {
              return now.dy_piece(p * tile_w + q + pixel, (row0 + m * 16) / piece_size<T> + piece);
            });
          UNETDN_UNROLL
          for (int tap = 0; tap < taps; ++tap) {
            fragment_b<Operand> r_x[2];
            load_b_pair_transposed(block, r_x, [&](int pixel, int piece) {
              return now.x_piece((p + tap / 3) * halo_w + q + pixel + tap % 3, column0 / piece_size<T> + piece);
            });
            UNETDN_UNROLL
            for (int m = 0; m < M; ++m) {
              UNETDN_UNROLL
              for (int j = 0; j < 2; ++j) multiply_add(block, r_dw[tap][m][j], r_dy[m], r_x[j]);
            }
          }
        }
      }
      if (sums_bias)
        r_db += sums::template add<tile_h * tile_w>(
            block, [&](int pixel, int k) { return now.dy_piece(pixel, k / piece_size<T>) + k % piece_size<T>; });
    }

    if constexpr (groups > 1) {
      block.sync();  // everyone has read the last stage: its memory becomes that of the other groups' sums
      UNETDN_UNROLL
      for (int i = 0; i < taps * M * 2; ++i) {
        if (group > 0)
          copy_aligned<16>(&s.memory.of_group[group - 1][owner][i][block.lane()], &r_dw[i / (2 * M)][i / 2 % M][i % 2]);
      }
      block.sync();  // completes those
      UNETDN_UNROLL
      for (int i = 0; i < taps * M * 2; ++i) {
        UNETDN_UNROLL
        for (int other = 0; other < groups - 1; ++other) {
          fragment_c r_other;
          if (group == 0) copy_aligned<16>(&r_other, &s.memory.of_group[other][owner][i][block.lane()]);
          UNETDN_UNROLL
          for (int e = 0; e < 4; ++e) {
            if (group == 0) r_dw[i / (2 * M)][i / 2 % M][i % 2].r[e] += r_other.r[e];
          }
        }
      }
    }

    gradient_sums const sums_of_part = to.of(part);
    UNETDN_UNROLL
    for (int tap = 0; tap < taps; ++tap) {
      UNETDN_UNROLL
      for (int m = 0; m < M; ++m) {
        UNETDN_UNROLL
        for (int j = 0; j < 2; ++j) {
          UNETDN_UNROLL
          for (int i = 0; i < 4; i += 2) {
            int const k = k0 + row0 + m * 16 + fragment_c_row(block.lane(), i);
            int const c = c0 + column0 + j * 8 + fragment_c_column(block.lane(), i);
            if (group == 0 && k < dy.c && c < to.layout.pitch())
              sums_of_part.put<2>(to.layout.index(c, tap, k), &r_dw[tap][m][j].r[i]);
          }
        }
      }
    }
    if (sums_bias) sums::store(block, s.db, r_db, sums_of_part, k0, dy.c - k0);
  }
};

/// Weight gradient of a convolution with any square kernel and stride:
///   dw[k][t][c] of a part = sum over its output pixels (n, p, q) of dy[n][p][q][k] x[n][step p + r -
///   padding][step q + s - padding][c]
/// for tap t = r kernel + s, and with_bias, db as above. x and dy are any windows.
///
/// A block owns 64 x 64 weights of one tap; grid {tiles of C * tiles of K * taps, parts}. It walks its part's output
/// pixels, 32 a stage, in order. A warp owns 32 output times 32 input channels.
/// Traffic: dy read taps * C / 64 times, x about as often as taps meet it times K / 64. Bound: for 1x1 and 2x2 bytes of
/// x and dy; for larger kernels the second-level cache.
template <class Operand> struct conv2d_weight_gradient_gather {
  using T = storage_t<Operand>;
  static constexpr int tile_k = 64;
  static constexpr int tile_c = 64;
  static constexpr int tile = 32;
  static constexpr int stages = 3;
  static constexpr int threads = 4 * warp_size;
  static constexpr int min_blocks = 4;  // else ptxas spills for a fifth
  static constexpr int M = 2;
  static constexpr int N = 4;
  static constexpr int pieces = tile_k / piece_size<T>;
  using sums = column_sums<tile_k, threads>;

  struct stage {
    alignas(128) T dy[tile * tile_k], x[tile * tile_c];

    static UNETDN_DEVICE int at(int pixel, int piece) {
      return pixel * tile_k + spread_transposed<T, pieces>(pixel, piece) * piece_size<T>;
    }
  };
  struct shared {
    stage stages[conv2d_weight_gradient_gather::stages];
    typename sums::shared db;
  };

  view<T const> x, dy;
  bool x_aligned, dy_aligned, with_bias;
  int kernel, step, padding;
  gradient_parts to;

  static int tiles(view<T const> const& dy) { return static_cast<int>(ceil_div(dy.pixels(), tile)); }
  static int blocks(conv_weights layout) {
    return ceil_div(layout.channels, tile_c) * ceil_div(layout.outputs, tile_k) * layout.taps;
  }

  template <class Block> UNETDN_DEVICE void fetch(Block& block, stage& s, int number, int k0, int c0, int tap) const {
    for (int i = block.thread(); i < tile * pieces; i += threads) {
      int const pixel = i / pieces;
      int const piece = i % pieces;
      std::int64_t const all = std::int64_t(number) * tile + pixel;
      bool const exists = all < dy.pixels();
      unsigned const rows = unsigned(exists ? all : 0) / unsigned(dy.w);
      int const q = int(unsigned(exists ? all : 0) - rows * unsigned(dy.w));
      int const image = int(rows / unsigned(dy.h));
      int const p = int(rows - unsigned(image) * unsigned(dy.h));
      int const k = k0 + piece * piece_size<T>;
      bool const inside_dy = exists && k < dy.c;
      fetch_piece(block, &s.dy[stage::at(pixel, piece)], inside_dy ? dy.pixel(image, p, q) + k : dy.data,
                  inside_dy ? dy.c - k : 0, dy_aligned);
      int const row = p * step + tap / kernel - padding;
      int const column = q * step + tap % kernel - padding;
      int const c = c0 + piece * piece_size<T>;
      bool const inside_x = exists && row >= 0 && row < x.h && column >= 0 && column < x.w && c < x.c;
      fetch_piece(block, &s.x[stage::at(pixel, piece)], inside_x ? x.pixel(image, row, column) + c : x.data,
                  inside_x ? x.c - c : 0, x_aligned);
    }
  }

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared& s) const {
    int const tiles_c = ceil_div(x.c, tile_c);
    int const tap = block.index().x % to.layout.taps;
    int const tile_of_weights = block.index().x / to.layout.taps;
    int const k0 = tile_of_weights / tiles_c * tile_k;
    int const c0 = tile_of_weights % tiles_c * tile_c;
    int const part = block.index().y;
    int const count = int(ceil_div(dy.pixels(), tile));
    int const first = to.first(count, part);
    int const last = to.first(count, part + 1);
    int const row0 = block.warp() / 2 * 32;
    int const column0 = block.warp() % 2 * 32;
    bool const sums_bias = with_bias && c0 == 0 && tap == 0;

    fragment_c r_dw[M][N] = {};
    float r_db = 0;
    for (int i = 0; i < stages - 1; ++i) {
      if (first + i < last) fetch(block, s.stages[i], first + i, k0, c0, tap);
      block.copy_commit();
    }
    for (int number = first; number < last; ++number) {
      block.template copy_wait<stages - 2>();
      block.sync();  // completes this stage, and everyone's reading of the one before
      int const next = number + stages - 1;
      if (next < last) fetch(block, s.stages[(next - first) % stages], next, k0, c0, tap);
      block.copy_commit();
      stage& now = s.stages[(number - first) % stages];
      UNETDN_UNROLL
      for (int pixel0 = 0; pixel0 < tile; pixel0 += mma_depth<Operand>) {
        fragment_a<Operand> r_dy[M];
        UNETDN_UNROLL
        for (int m = 0; m < M; ++m)
          r_dy[m] = load_a_transposed<Operand>(block, [&](int pixel, int piece) {
            return &now.dy[stage::at(pixel0 + pixel, (row0 + m * 16) / piece_size<T> + piece)];
          });
        UNETDN_UNROLL
        for (int j = 0; j < N; j += 2) {
          fragment_b<Operand> r_x[2];
          load_b_pair_transposed(block, r_x, [&](int pixel, int piece) {
            return &now.x[stage::at(pixel0 + pixel, (column0 + j * 8) / piece_size<T> + piece)];
          });
          UNETDN_UNROLL
          for (int m = 0; m < M; ++m) {
            UNETDN_UNROLL
            for (int i = 0; i < 2; ++i) multiply_add(block, r_dw[m][j + i], r_dy[m], r_x[i]);
          }
        }
      }
      if (sums_bias)
        r_db += sums::template add<tile>(
            block, [&](int pixel, int k) { return &now.dy[stage::at(pixel, k / piece_size<T>) + k % piece_size<T>]; });
    }

    gradient_sums const sums_of_part = to.of(part);
    UNETDN_UNROLL
    for (int m = 0; m < M; ++m) {
      UNETDN_UNROLL
      for (int j = 0; j < N; ++j) {
        UNETDN_UNROLL
        for (int i = 0; i < 4; i += 2) {
          int const k = k0 + row0 + m * 16 + fragment_c_row(block.lane(), i);
          int const c = c0 + column0 + j * 8 + fragment_c_column(block.lane(), i);
          if (k < dy.c && c < to.layout.pitch()) sums_of_part.put<2>(to.layout.index(c, tap, k), &r_dw[m][j].r[i]);
        }
      }
    }
    if (sums_bias) sums::store(block, s.db, r_db, sums_of_part, k0, dy.c - k0);
  }
};

/// dw = dw + partial[0] + partial[1] + ..., and db likewise where it is not null: the other parts to part 0.
///
/// A block owns 128 sums, four a lane; each of its 8 warps adds an eighth of the partial sums in order, then the first
/// warp adds the eighths in order. Traffic: parts + 1 floats a sum. Bound: memory bandwidth.
struct add_parts {
  static constexpr int threads = 256;
  static constexpr int groups = threads / warp_size;
  struct shared {
    piece<float> of_group[groups][warp_size];
  };
  gradient_parts from;

  static extent3 grid(gradient_parts const& from) {
    return {static_cast<int>(ceil_div(from.stride(), warp_size * piece_size<float>))};
  }

  static UNETDN_DEVICE void add(piece<float>& to, piece<float> const& v) {
    UNETDN_UNROLL
    for (int i = 0; i < piece_size<float>; ++i) to.r[i] += v.r[i];
  }

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared& s) const {
    std::int64_t const at = (std::int64_t(block.index().x) * warp_size + block.lane()) * piece_size<float>;
    bool const bias = at >= from.layout.size();
    int const left = bias ? int(from.stride() - at) : piece_size<float>;  // none beyond the end
    bool const exists = left > 0 && (!bias || from.db);
    piece<float> r_sum{};
    if (exists) {
      int const partial = from.parts - 1;
      int const last = partial * (block.warp() + 1) / groups;
      for (int i = partial * block.warp() / groups; i < last; ++i)
        add(r_sum, load_piece(from.partial + i * from.stride() + at, piece_size<float>, true));
    }
    s.of_group[block.warp()][block.lane()] = r_sum;
    block.sync();  // completes of_group
    if (block.warp() > 0 || !exists) return;
    UNETDN_UNROLL
    for (int group = 1; group < groups; ++group) add(r_sum, s.of_group[group][block.lane()]);
    float* const to = bias ? from.db + (at - from.layout.size()) : from.dw + at;
    int const outputs_left = from.layout.outputs - int(at - from.layout.size());
    int const count = !bias || outputs_left > piece_size<float> ? piece_size<float> : outputs_left;
    add(r_sum, load_piece(to, count, !bias));
    store_piece(to, r_sum, count, !bias);
  }
};

}  // namespace unetdn::kernels
