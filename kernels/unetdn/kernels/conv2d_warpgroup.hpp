// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <limits>

#include <unetdn/core/mma.hpp>
#include <unetdn/kernels/conv2d_tile.hpp>
#include <unetdn/kernels/conv2d_weight_gradient.hpp>

// 3x3 convolutions of 16-bit types by matrix products of whole warpgroups, for GPUs that have them (Hopper). Of a
// tile's pixels up to 64 channels lie in shared memory, one row each (core/mma.hpp, shared_matrix). Eight pixels of a
// picture's row are what a product reads at once wherever they begin: each tap's shifted copy of a tile, and its
// transpose, are only addresses. A whole row is written at once by eight threads; written piece by piece to several
// places, copies were what these kernels waited for (benchmarks/gpu_kernels).

namespace unetdn::kernels {

/// Whether these kernels read a window: pixels of whole pieces of 16 bytes (`aligned`: that begin at one), and a
/// picture's places counted in 32 bits, none before its first, as threads keep them.
template <class T> bool warpgroups_can_read(view<T const> const& v, bool aligned) {
  return aligned && v.c % piece_size<T> == 0 && v.row_stride >= 0 && v.pixel_stride >= 0 &&
         (v.h + 1) * v.row_stride + (v.w + 1) * v.pixel_stride <= std::numeric_limits<int>::max();
}

/// Weights of TileK outputs for one tap and a chunk of Depth channels, at most 64, in rows of 128 bytes in shared
/// memory: a row for each output, or Flipped, for each channel, 64 outputs after the other.
template <class T, int TileK, int Depth, bool Flipped, int Threads> struct tap_weights {
  static constexpr int depth = shared_row;
  static constexpr int rows = Flipped ? Depth * ceil_div(TileK, shared_row) : TileK;
  static constexpr int elements = rows * depth;
  static constexpr int pieces = depth / piece_size<T>;
  static constexpr int apart = Threads / pieces;  // rows between two of a thread's pieces
  static constexpr int taps = 9;

  template <class Block>
  static UNETDN_DEVICE void fetch(Block& block, T* s_w, T const* w, conv_weights const& layout, int k0, int chunk,
                                  int tap) {
    int const piece = block.thread() % pieces;
    int const row0 = block.thread() / pieces;
    T* const s_to = s_w + row0 * depth + spread_piece(row0, piece) * piece_size<T>;
    int const along = (Flipped ? k0 : chunk * Depth) + piece * piece_size<T>;  // what is contiguous in memory
    int const across = (Flipped ? chunk * Depth : k0) + row0;
    T const* const from = w + layout.index(along, Flipped ? taps - 1 - tap : tap, across);
    UNETDN_UNROLL
    for (int i = 0; i < rows / apart; ++i) {
      int const row = Flipped ? i * apart % Depth : i * apart;
      int const block_of_k = Flipped ? i * apart / Depth * shared_row : 0;
      bool const inside = along + block_of_k < layout.pitch() && across + row < layout.outputs;
      block.copy_async(s_to + i * apart * depth, inside ? from + row * taps * layout.pitch() + block_of_k : w, inside);
    }
  }
};

/// Brings one tile after the other of Height x Width pixels of x, and a pixel on each side of it, to rows of 128 bytes
/// in shared memory: Channels of them. A thread keeps its piece, and its pixels' places in the tile.
template <class T, int Height, int Width, int Channels, int Threads> class halo_rows {
 public:
  /// From channel `first` on.
  template <class Block> UNETDN_DEVICE halo_rows(Block& block, view<T const> const& x, int first) {
    c_ = first + block.thread() % pieces * piece_size<T>;
    UNETDN_UNROLL
    for (int i = 0; i < rounds; ++i) {
      int const pixel = block.thread() / pieces + i * apart;
      int const row = pixel / halo_w, column = pixel % halo_w;
      r_halo_[i] = row * 32 + column;
      r_places_[i] = int((row - 1) * x.row_stride + (column - 1) * x.pixel_stride);
    }
  }
  /// Beyond the picture and its channels are zeros.
  template <class Block>
  UNETDN_DEVICE void fetch(Block& block, view<T const> const& x, tile_walk<Height, Width> const& at, T* s_x) const {
    int const row0 = block.thread() / pieces;
    T* const s_to = s_x + row0 * shared_row + spread_piece(row0, block.thread() % pieces) * piece_size<T>;
    T const* const from = x.pixel(at.image, at.p0, at.q0) + c_;
    UNETDN_UNROLL
    for (int i = 0; i < rounds; ++i) {
      if (i == rounds - 1 && row0 + i * apart >= halo_h * halo_w) continue;
      unsigned const row = unsigned(at.p0 - 1 + r_halo_[i] / 32), column = unsigned(at.q0 - 1 + r_halo_[i] % 32);
      bool const inside = row < unsigned(x.h) && column < unsigned(x.w) && c_ < x.c;
      block.copy_async(s_to + i * apart * shared_row, inside ? from + r_places_[i] : x.data, inside);
    }
  }

 private:
  static constexpr int halo_h = Height + 2;
  static constexpr int halo_w = Width + 2;
  static constexpr int pieces = Channels / piece_size<T>;
  static constexpr int apart = Threads / pieces;  // pixels between two of a thread's
  static constexpr int rounds = ceil_div(halo_h * halo_w, apart);
  static_assert(halo_w <= 32 && apart % shared_row_group == 0);
  int c_;
  int r_halo_[rounds];    // row and column in one number
  int r_places_[rounds];  // from the tile's first pixel on
};

/// What conv2d_halo computes, for T bf16 or fp16, more than 64 channels, and from 32 outputs on.
///
/// A block owns 16x16 pixels of one picture times TileK channels of y; grid {tiles of pixels * tiles of channels, N}. A
/// step multiplies 64 channels of one tap. The weights of the next steps, and the next channels of the halo tile, are
/// on their way meanwhile, and one step's products are still running when the next one's begin. A warpgroup owns 16x8
/// pixels, 8 rows for each product.
/// Traffic: as conv2d_halo's. Bound: tensor cores, for TileK below 128 shared memory: a product of 64 x 64 x 16 reads
/// 4 KiB of it, all that it gives in that time.
template <class T, int TileK, bool Flipped> struct conv2d_warpgroup {
  static_assert(TileK == 64 || TileK == 128);
  static constexpr bool by_warpgroups = true;
  static constexpr int tile = 16;
  static constexpr int halo = tile + 2;
  static constexpr int row_taps = 3;
  static constexpr int taps = row_taps * row_taps;
  static constexpr int warps = 8;
  static constexpr int threads = warps * warp_size;
  static constexpr int min_blocks = TileK == 128 ? 1 : 2;
  static constexpr int group_columns = 8;  // of pixels, of one warpgroup
  static constexpr int M = tile / shared_row_group;
  static constexpr int N = TileK / 8;
  static constexpr int size = piece_size<T>;
  static constexpr int depth = shared_row;  // channels of a step
  static constexpr int pieces = depth / size;
  static constexpr int steps_ahead = TileK == 128 ? 3 : 2;
  static constexpr int stages = steps_ahead + 2;
  static constexpr int apart = threads / pieces;  // rows between two of a thread's pieces
  using weights = tap_weights<T, TileK, depth, Flipped, threads>;

  struct tiles {
    alignas(1024) T x[2 * halo * halo * depth];  // two tiles: one being multiplied, one on its way
    T w[stages][weights::elements];
  };
  union shared {
    tiles of;
    T y[warps][M * 16][TileK + size];  // one piece wider: rows of a fragment then fall on different banks
  };

  view<T const> x;  // one that warpgroups_can_read()
  T const* w;
  conv_weights layout;
  view<T> y;
  conv2d_finish<T> finish;
  view<T> pooled;
  bool pooled_aligned;

  static extent3 grid(view<T> const& y) { return owned_tile<tile, TileK>::grid(y); }

  /// Brings a thread's pieces of the halo tile: of each chunk of channels the same piece of the same pixels.
  class x_loader {
   public:
    static constexpr int rounds = ceil_div(halo * halo, apart);

    template <class Block>
    UNETDN_DEVICE x_loader(Block& block, conv2d_warpgroup const& k, owned_tile<tile, TileK> const& at)
        : from_{k.x.pixel(at.image, 0, 0) + block.thread() % pieces * size} {
      UNETDN_UNROLL
      for (int i = 0; i < rounds; ++i) {
        int const pixel = block.thread() / pieces + i * apart;
        int const row = at.p0 + pixel / halo - 1;
        int const column = at.q0 + pixel % halo - 1;
        bool const inside = row >= 0 && row < k.x.h && column >= 0 && column < k.x.w;
        r_places_[i] = inside ? int(row * k.x.row_stride + column * k.x.pixel_stride) : -1;
      }
    }
    /// Rounds first to last - 1 of a chunk; both known when compiling.
    template <class Block>
    UNETDN_DEVICE void operator()(Block& block, conv2d_warpgroup const& k, tiles& s, int chunk, int first,
                                  int last) const {
      int const piece = block.thread() % pieces;
      bool const exists = chunk * depth + piece * size < k.x.c;
      int const row0 = chunk % 2 * halo * halo + block.thread() / pieces;
      T* const s_to = &s.x[row0 * depth + spread_piece(row0, piece) * size];
      UNETDN_UNROLL
      for (int i = 0; i < rounds; ++i) {
        if (i < first || i >= last) continue;
        if (i == rounds - 1 && block.thread() / pieces + i * apart >= halo * halo) continue;
        bool const inside = r_places_[i] >= 0 && exists;
        block.copy_async(s_to + i * apart * depth, inside ? from_ + chunk * depth + r_places_[i] : k.x.data, inside);
      }
    }

   private:
    T const* from_;
    int r_places_[rounds];
  };

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared& s) const {
    auto const at = owned_tile<tile, TileK>::of(block, y);
    int const group = block.warpgroup();
    int const chunks = ceil_div(x.c, depth);
    int const steps = chunks * taps;
    tiles& now = s.of;

    fragment_c r_y[M][N] = {};
    auto const fetch_weights = [&](int step) {
      weights::fetch(block, now.w[step % stages], w, layout, at.k0, step / taps, step % taps);
    };
    x_loader const load_x{block, *this, at};
    load_x(block, *this, now, 0, 0, x_loader::rounds);
    UNETDN_UNROLL
    for (int i = 0; i < steps_ahead; ++i) {
      fetch_weights(i);
      block.copy_commit();
    }
    for (int chunk = 0; chunk < chunks; ++chunk) {
      int const row0 = chunk % 2 * halo * halo + group * group_columns;
      UNETDN_UNROLL
      for (int tap = 0; tap < taps; ++tap) {
        int const step = chunk * taps + tap;
        block.template copy_wait<steps_ahead - 1>();
        block.publish();
        block.sync();  // completes this step's operands; everyone's products of the step before the last one are done
        shared_matrix<T, false> const a{&now.x[row0 * depth], halo * depth};
        shared_matrix<T, Flipped> const b{now.w[step % stages], shared_row_group * depth, depth * depth};
        block.multiply_begin();
        UNETDN_UNROLL
        for (int c = 0; c < depth; c += 16) {
          UNETDN_UNROLL
          for (int m = 0; m < M; ++m) {
            int const pixel = (m * shared_row_group + tap / row_taps) * halo + tap % row_taps;
            block.multiply_async(r_y[m], a.shifted(pixel * depth + c), b.shifted(Flipped ? c * depth : c));
          }
        }
        block.multiply_commit();
        if (step + steps_ahead < steps) fetch_weights(step + steps_ahead);
        // The other tile is free from here on, and is complete when it is waited for.
        if (tap > 0 && chunk + 1 < chunks) load_x(block, *this, now, chunk + 1, 2 * tap - 2, 2 * tap);
        static_assert(2 * (taps - steps_ahead) >= x_loader::rounds);
        block.copy_commit();
        block.template multiply_wait<1>();
      }
    }
    block.template multiply_wait<0>();
    block.settle(r_y);
    block.sync();  // everyone's products are done: their operands' memory becomes s.y

    auto& s_y = s.y[block.warp()];
    int const row0 = block.warp() % 4 * 2;
    int const column0 = group * group_columns;
    store_tile(block, r_y, s_y, finish, y, at.k0, [&](int row) {
      return at.pixel(y, row / 16 * shared_row_group + row0 + row % 16 / group_columns, column0 + row % group_columns);
    });
    if constexpr (!Flipped) {
      if (pooled)
        store_maxima<group_columns>(block, s_y, pooled, pooled_aligned, at.image, (at.p0 + row0) / 2,
                                    shared_row_group / 2, (at.q0 + column0) / 2, at.k0);
    }
  }
};

/// The same for up to 64 channels, of which Depth are multiplied, and from 16 channels and outputs on.
///
/// A block keeps the weights of TileK outputs and takes a part of the tiles of 8x8 pixels, one for each product; grid
/// {parts, tiles of channels}. The next tile's pixels are on their way while one is multiplied, and another block of
/// the same multiprocessor multiplies while this one stores. Traffic: x read 1.56 times for each tile of channels,
/// weights once a block, y and pooled written once. Bound: shared memory, as above.
template <class T, int TileK, int Depth, bool Flipped> struct conv2d_warpgroup_resident {
  static_assert(TileK == 16 || TileK == 32 || TileK == 64);
  static_assert(Depth == 16 || Depth == 32 || Depth == shared_row);
  static constexpr bool by_warpgroups = true;
  static constexpr int tile = shared_row_group;
  static constexpr int halo = tile + 2;
  static constexpr int row_taps = 3;
  static constexpr int taps = row_taps * row_taps;
  static constexpr int threads = warpgroup_size;
  static constexpr int warps = threads / warp_size;
  static constexpr int N = TileK / 8;
  using weights = tap_weights<T, TileK, Depth, Flipped, threads>;
  using walk = tile_walk<tile, tile>;

  struct shared {
    alignas(1024) T w[taps][weights::elements];
    alignas(1024) T x[2][round_up(halo * halo, shared_row_group) * shared_row];
    T y[warps][2 * tile][TileK + piece_size<T>];  // one piece wider: rows of a fragment then fall on different banks
  };
  /// All that fit: a block takes a KiB more than it asks for, which one alone may not have either.
  static constexpr int min_blocks = (max_shared_bytes_hopper + 1024) / (int(sizeof(shared)) + 1024);
  static_assert(min_blocks >= 2);

  view<T const> x;  // one that warpgroups_can_read()
  T const* w;
  conv_weights layout;
  view<T> y;
  conv2d_finish<T> finish;
  view<T> pooled;
  bool pooled_aligned;

  /// For a GPU of so many multiprocessors.
  static extent3 grid(view<T> const& y, int multiprocessors) {
    return tile_grid(walk::count(y), ceil_div(y.c, TileK), min_blocks * multiprocessors);
  }

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared& s) const {
    int const k0 = block.index().y * TileK;
    int const first = first_tile(walk::count(y), block.index().x, block.blocks().x);
    int const last = first_tile(walk::count(y), block.index().x + 1, block.blocks().x);
    auto& s_y = s.y[block.warp()];
    int const row0 = block.warp() * 2;

    UNETDN_UNROLL
    for (int tap = 0; tap < taps; ++tap) weights::fetch(block, s.w[tap], w, layout, k0, 0, tap);
    halo_rows<T, tile, tile, Depth, threads> const rows{block, x, 0};
    walk at = walk::from(y, first);
    rows.fetch(block, x, at, s.x[0]);
    block.copy_commit();
    for (int number = first; number < last; ++number) {
      int const now = (number - first) % 2;
      block.template copy_wait<0>();
      block.publish();
      block.sync();  // completes this tile's pixels; everyone has multiplied those of the one before, and stored its y
      walk next = at;
      next.advance(y);
      if (number + 1 < last) rows.fetch(block, x, next, s.x[1 - now]);
      block.copy_commit();

      fragment_c r_y[1][N] = {};
      shared_matrix<T, false> const a{s.x[now], halo * shared_row};
      block.multiply_begin();
      UNETDN_UNROLL
      for (int tap = 0; tap < taps; ++tap) {
        shared_matrix<T, Flipped> const b{s.w[tap], shared_row_group * shared_row};
        UNETDN_UNROLL
        for (int c = 0; c < Depth; c += 16)
          block.multiply_async(r_y[0], a.shifted((tap / row_taps * halo + tap % row_taps) * shared_row + c),
                               b.shifted(Flipped ? c * shared_row : c));
      }
      block.multiply_commit();
      block.template multiply_wait<0>();
      block.settle(r_y);

      store_tile(block, r_y, s_y, finish, y, k0, [&](int row) { return at.pixel(y, row0 + row / tile, row % tile); });
      if constexpr (!Flipped) {
        if (pooled)
          store_maxima<tile>(block, s_y, pooled, pooled_aligned, at.image, (at.p0 + row0) / 2, 1, at.q0 / 2, k0);
      }
      at = next;
    }
  }
};

/// conv2d_weight_gradient_halo's sums, for T bf16 or fp16 and from 32 channels and outputs on.
///
/// A block owns 64 x 9 x TileC weights; grid {tiles of C * tiles of K, parts}. It walks its part's tiles of 8x16 pixels
/// in order. Each of three warpgroups owns a row of taps: it loads 16 pixels of dy once and multiplies them with three
/// shifted copies of x. The products of half a tile run while the next half's dy is loaded, and two tiles are on their
/// way. (A wait for all but the last products must end a loop's body, not begin it: ptxas otherwise finds that their
/// registers are read too soon, and lets no two products overlap; its message is C7514.)
/// Traffic: dy read C / TileC times, x 1.4 K / 64 times, sums written once. Bound: tensor cores.
template <class T, int TileC> struct conv2d_weight_gradient_warpgroup {
  static_assert(TileC == 32 || TileC == shared_row);
  static constexpr bool by_warpgroups = true;
  static constexpr int tile_k = shared_row;
  static constexpr int tile_h = 8;
  static constexpr int tile_w = 16;
  static constexpr int halo_h = tile_h + 2;
  static constexpr int halo_w = tile_w + 2;
  static constexpr int row_taps = 3;
  static constexpr int threads = row_taps * warpgroup_size;
  using walk = tile_walk<tile_h, tile_w>;
  static constexpr int tiles_ahead = 2;
  static constexpr int stages = tiles_ahead + 2;
  static constexpr int size = piece_size<T>;
  static constexpr int N = TileC / 8;
  static constexpr int half = tile_h / 2;  // rows of pixels between two waits

  struct stage {
    alignas(1024) T dy[tile_h * tile_w * tile_k];
    T x[halo_h * halo_w * shared_row];

    static UNETDN_DEVICE int at(int pixel, int piece) { return pixel * shared_row + spread_piece(pixel, piece) * size; }
  };
  struct shared {
    stage stages[conv2d_weight_gradient_warpgroup::stages];
    alignas(1024) T ones[16 * shared_row];  // that dy is multiplied with for db; of each row only a piece is used
  };

  view<T const> x, dy;  // that warpgroups_can_read()
  bool with_bias;
  gradient_parts to;

  static UNETDN_HD int tiles(view<T const> const& dy) { return walk::count(dy); }
  static int blocks(conv_weights layout) { return ceil_div(layout.channels, TileC) * ceil_div(layout.outputs, tile_k); }

  /// Brings a thread's pieces of one tile after the other: always the same piece of the same pixels of the tile.
  class loader {
   public:
    template <class Block>
    UNETDN_DEVICE loader(Block& block, conv2d_weight_gradient_warpgroup const& k, int tile, int k0, int c0)
        : next_{walk::from(k.dy, tile)}, x_rows_{block, k.x, c0} {
      int const pixel = block.thread() / dy_pieces;
      k_ = k0 + block.thread() % dy_pieces * size;
      dy_place_ = int(pixel / tile_w * k.dy.row_stride + pixel % tile_w * k.dy.pixel_stride);
    }
    template <class Block>
    UNETDN_DEVICE void operator()(Block& block, conv2d_weight_gradient_warpgroup const& k, stage& s) {
      int const pixel = block.thread() / dy_pieces;
      T* const s_dy = s.dy + stage::at(pixel, block.thread() % dy_pieces);
      T const* const from_dy = k.dy.pixel(next_.image, next_.p0, next_.q0) + dy_place_ + k_;
      bool const dy_exists = next_.q0 + pixel % tile_w < k.dy.w && k_ < k.dy.c;
      UNETDN_UNROLL
      for (int i = 0; i < dy_rounds; ++i) {
        if (i == dy_rounds - 1 && pixel + i * dy_apart >= tile_h * tile_w) continue;
        constexpr int rows = dy_apart / tile_w;
        bool const inside = dy_exists && next_.p0 + pixel / tile_w + i * rows < k.dy.h;
        block.copy_async(s_dy + i * dy_apart * tile_k, inside ? from_dy + i * rows * k.dy.row_stride : k.dy.data,
                         inside);
      }
      x_rows_.fetch(block, k.x, next_, s.x);
      next_.advance(k.dy);
    }

   private:
    static constexpr int dy_pieces = tile_k / size;
    static constexpr int dy_apart = threads / dy_pieces;  // pixels between two of a thread's
    static constexpr int dy_rounds = ceil_div(tile_h * tile_w, dy_apart);
    static_assert(dy_apart % tile_w == 0 && dy_apart % shared_row_group == 0);
    walk next_;
    halo_rows<T, tile_h, tile_w, TileC, threads> x_rows_;
    int k_, dy_place_;  // from the tile's first pixel on
  };

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared& s) const {
    int const tiles_c = ceil_div(x.c, TileC);
    int const k0 = block.index().x / tiles_c * tile_k;
    int const c0 = block.index().x % tiles_c * TileC;
    int const part = block.index().y;
    int const first = to.first(tiles(dy), part);
    int const last = to.first(tiles(dy), part + 1);
    int const tap_row = block.warpgroup();
    int const k_first = block.warp() % 4 * 16;  // the warp's first output channel in the tile
    bool const sums_bias = with_bias && c0 == 0 && tap_row == 0;

    fragment_c r_dw[row_taps][N] = {};
    fragment_a<T> r_dy[tile_h];
    fragment_c r_db[1] = {};
    for (int i = block.thread(); i < 16 * shared_row; i += threads) s.ones[i] = T(1.0f);
    loader load{block, *this, first, k0, c0};
    for (int i = 0; i < tiles_ahead; ++i) {
      if (first + i < last) load(block, *this, s.stages[i]);
      block.copy_commit();
    }
    for (int tile = first; tile < last; ++tile) {
      block.template copy_wait<tiles_ahead - 1>();
      block.publish();
      block.sync();  // completes this tile; everyone's products of the tile before the last one are done
      stage& now = s.stages[(tile - first) % stages];
      shared_matrix<T, true> const ones{s.ones, shared_row_group * shared_row};
      shared_matrix<T, true> const b{&now.x[tap_row * halo_w * shared_row], shared_row_group * shared_row};
      UNETDN_UNROLL
      for (int row0 = 0; row0 < tile_h; row0 += half) {
        UNETDN_UNROLL
        for (int p = row0; p < row0 + half; ++p)
          r_dy[p] = load_a_transposed<T>(block, [&](int pixel, int piece) {
            return &now.dy[stage::at(p * tile_w + pixel, k_first / size + piece)];
          });
        block.multiply_begin();
        UNETDN_UNROLL
        for (int p = row0; p < row0 + half; ++p) {
          UNETDN_UNROLL
          for (int tap = 0; tap < row_taps; ++tap)
            block.multiply_async(r_dw[tap], r_dy[p], b.shifted((p * halo_w + tap) * shared_row));
        }
        if (sums_bias) {
          UNETDN_UNROLL
          for (int p = row0; p < row0 + half; ++p) block.multiply_async(r_db, r_dy[p], ones);
        }
        block.multiply_commit();
        block.template multiply_wait<1>();  // the other half's r_dy are free
        if (row0 > 0) continue;
        int const next = tile + tiles_ahead;
        if (next < last) load(block, *this, s.stages[(next - first) % stages]);
        block.copy_commit();
      }
    }
    block.template multiply_wait<0>();
    block.settle(r_dw);
    block.settle(r_db);

    gradient_sums const sums_of_part = to.of(part);
    UNETDN_UNROLL
    for (int tap = 0; tap < row_taps; ++tap) {
      UNETDN_UNROLL
      for (int j = 0; j < N; ++j) {
        UNETDN_UNROLL
        for (int i = 0; i < 4; i += 2) {
          int const k = k0 + k_first + fragment_c_row(block.lane(), i);
          int const c = c0 + j * 8 + fragment_c_column(block.lane(), i);
          if (k < dy.c && c < to.layout.pitch())
            sums_of_part.put<2>(to.layout.index(c, tap_row * row_taps + tap, k), &r_dw[tap][j].r[i]);
        }
      }
    }
    if (!sums_bias || fragment_c_column(block.lane(), 0) != 0) return;
    UNETDN_UNROLL
    for (int i = 0; i < 4; i += 2) {
      int const k = k0 + k_first + fragment_c_row(block.lane(), i);
      if (k < dy.c) sums_of_part.put_bias(k, r_db[0].r[i]);
    }
  }
};

}  // namespace unetdn::kernels
