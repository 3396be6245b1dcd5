// SPDX-License-Identifier: Apache-2.0
// Correlation: convolution forward, its data gradient, transposed convolution. Included by bodies/all.inl.
//
// A register tile is up to UNETDN_TILE_PIXELS neighbouring positions x two vectors of outputs. It stays in registers
// over all taps and channels of a chunk: each step loads two vectors of weights and broadcasts one value a pixel, so it
// is bound by the multiply-add units. The chunk's weights for these outputs are first copied side by side, so that they
// stay in the first-level cache while the tiles of a block pass over them: in the panel they lie so far apart that they
// would compete for a few of its sets.

inline constexpr int tile_pixels = UNETDN_TILE_PIXELS;
inline constexpr int tile_vectors = 2;
template <class T> inline constexpr int tile_outputs = tile_vectors* lanes<T>;

/// What is the same for all tiles of one chunk of channels.
template <class T> struct tile_terms {
  std::ptrdiff_t const* taps;  // where their values lie in the packed block, relative to the position
  int tap_count;
  T const* w;  // [group of channels][tap][channel][outputs of the tile]
  int channels;
  std::ptrdiff_t x_group;  // from one group of 16 channels to the next
};

/// sums[p][k] (+)= sum over taps and channels of x[p] w[k].
template <class T, int Pixels, int Vectors>
inline void multiply_tile(tile_terms<T> const& terms, T const* x, T* sums, bool add) {
  vec<T> acc[Pixels][Vectors];
  UNETDN_UNROLL_TILE
  for (int p = 0; p < Pixels; ++p) {
    UNETDN_UNROLL_TILE
    for (int v = 0; v < Vectors; ++v) acc[p][v] = add ? load(sums + (p * Vectors + v) * lanes<T>) : vec<T>{};
  }

  T const* w = terms.w;
  for (int group = 0; group < terms.channels; group += group_channels, x += terms.x_group) {
    int const channels = std::min(group_channels, terms.channels - group);
    for (std::ptrdiff_t const *t = terms.taps, *end = t + terms.tap_count; t != end; ++t) {
      T const* x_tap = x + *t;
      for (int c = 0; c < channels; ++c, w += Vectors * lanes<T>, ++x_tap) {
        vec<T> r_w[Vectors];
        UNETDN_UNROLL_TILE
        for (int v = 0; v < Vectors; ++v) r_w[v] = load(w + v * lanes<T>);
        UNETDN_UNROLL_TILE
        for (int p = 0; p < Pixels; ++p) {
          vec<T> const r_x = broadcast(x_tap[p * group_channels]);
          UNETDN_UNROLL_TILE
          for (int v = 0; v < Vectors; ++v) acc[p][v] += r_x * r_w[v];
        }
      }
    }
  }

  UNETDN_UNROLL_TILE
  for (int p = 0; p < Pixels; ++p) {
    UNETDN_UNROLL_TILE
    for (int v = 0; v < Vectors; ++v) store(sums + (p * Vectors + v) * lanes<T>, acc[p][v]);
  }
}

/// Calls the tile of the right size.
template <class T, int Vectors, int... I>
inline void multiply_pixels(tile_terms<T> const& terms, int pixels, T const* x, T* sums, bool add,
                            std::integer_sequence<int, I...>) {
  ((pixels == I + 1 ? multiply_tile<T, I + 1, Vectors>(terms, x, sums, add) : void()), ...);
}

/// A row of positions in tiles of as equal a size as they come: small tiles waste the multiply-add units' pipelines.
/// finish(first position, positions, sums) is called behind each tile.
template <class T, int Vectors, class Finish>
inline void multiply_row(tile_terms<T> const& terms, int pixels, T const* x, T* sums, bool add, Finish const& finish) {
  int const tiles = ceil_div(pixels, tile_pixels);
  for (int i = 0; i < tiles; ++i) {
    int const begin = pixels * i / tiles;
    int const end = pixels * (i + 1) / tiles;
    T* const tile_sums = sums + begin * Vectors * lanes<T>;
    multiply_pixels<T, Vectors>(terms, end - begin, x + begin * group_channels, tile_sums, add,
                                std::make_integer_sequence<int, tile_pixels>{});
    finish(begin, end - begin, tile_sums);
  }
}

/// The taps of a phase: where their values lie in the packed block, and their weights behind the channel's first.
struct tap_indices {
  int count;
  std::ptrdiff_t x[max_taps], w[max_taps];
};

/// The outputs that one sweep over a block of positions computes.
struct output_block {
  int rows, cols;    // of the block of positions
  int first, count;  // outputs that exist; the sums are padded to whole vectors
};

/// Copies the weights of some channels, whole groups and perhaps a part, for the outputs of a tile: see tile_terms.
template <class T, int Vectors>
inline void pack_tile_weights(tap_indices const& taps, T const* w, std::ptrdiff_t w_channel, int channels, T* to) {
  for (int group = 0; group < channels; group += group_channels, w += group_channels * w_channel)
    for (int t = 0; t < taps.count; ++t) {
      T const* from = w + taps.w[t];
      int const end = std::min(group_channels, channels - group);
      for (int c = 0; c < end; ++c, from += w_channel, to += Vectors * lanes<T>) {
        fetch_early(from + 8 * w_channel);
        UNETDN_UNROLL_TILE
        for (int v = 0; v < Vectors; ++v) store(to + v * lanes<T>, load(from + v * lanes<T>));
      }
    }
}

/// What becomes of the sums of one tile's outputs: bias, ReLU, mask, and the way out.
template <class T, int Vectors> struct tile_epilogue {
  vec<T> bias[Vectors];
  bool relu;
  int count;  // outputs that exist
  std::ptrdiff_t y_pixel, mask_pixel;

  void operator()(int pixels, T const* sums, T* y, T const* mask) const {
    for (int p = 0; p < pixels; ++p, sums += Vectors * lanes<T>, y += y_pixel) {
      UNETDN_UNROLL_TILE
      for (int v = 0; v < Vectors; ++v) {
        vec<T> r = load(sums + v * lanes<T>) + bias[v];
        if (relu) r = r < T(0) ? vec<T>{} : r;  // this way round a NaN stays visible
        if (mask) {
          vec<T> const m = load_part(mask + v * lanes<T>, count - v * lanes<T>);
          r = m > T(0) ? r : vec<T>{};
        }
        store_part(y + v * lanes<T>, r, count - v * lanes<T>);
      }
      if (mask) mask += mask_pixel;
    }
  }
};

/// A tile's outputs for one block of positions, over all taps and channels. The last chunk's sums go out tile by tile,
/// so that the products of the next tile hide the misses of the stores.
template <class T, int Vectors>
inline void correlate_outputs(correlation<T> const& job, typename correlation<T>::phase const& phase,
                              tap_indices const& taps, int image, int row, int col, T const* w, int w_width,
                              output_block const& out, T const* packed, T* tile_weights, T* sums) {
  tile_epilogue<T, Vectors> epilogue{{}, job.relu, out.count, phase.y.pixel_stride, phase.mask.pixel_stride};
  for (int v = 0; v < Vectors && job.bias; ++v)
    epilogue.bias[v] = load_part(job.bias + out.first + v * lanes<T>, out.count - v * lanes<T>);

  int const chunk = job.chunk_channels(taps.count, Vectors * lanes<T>);
  std::ptrdiff_t const w_channel = std::ptrdiff_t(job.weights.taps) * w_width;
  // One chunk's sums need no place of their own.
  std::ptrdiff_t const sums_row = job.weights.channels > chunk ? std::ptrdiff_t(out.cols) * Vectors * lanes<T> : 0;
  for (int c = 0; c < job.weights.channels; c += chunk) {
    int const channels = std::min(chunk, job.weights.channels - c);
    bool const last = c + channels == job.weights.channels;
    pack_tile_weights<T, Vectors>(taps, w + c * w_channel, w_channel, channels, tile_weights);
    tile_terms<T> const terms{taps.x, taps.count, tile_weights, channels, job.layout.group_elements()};
    T const* const x = packed + c / group_channels * job.layout.group_elements();
    for (int r = 0; r < out.rows; ++r) {
      T* const y = phase.y.pixel(image, row + r, col) + out.first;
      T const* const mask = phase.mask ? phase.mask.pixel(image, row + r, col) + out.first : nullptr;
      multiply_row<T, Vectors>(terms, out.cols, x + r * job.layout.position_row(), sums + r * sums_row, c > 0,
                               [&](int first, int pixels, T const* tile_sums) UNETDN_INLINE_LAMBDA {
                                 if (last)
                                   epilogue(pixels, tile_sums, y + first * epilogue.y_pixel,
                                            mask ? mask + first * epilogue.mask_pixel : nullptr);
                               });
    }
  }
}

/// All outputs of one panel for one block of positions.
template <class T>
inline void correlate_panel(correlation<T> const& job, typename correlation<T>::phase const& phase, int image, int row,
                            int col, int panel, T const* packed, T* tile_weights, T* sums) {
  int const rows = std::min(job.blocks.rows.size, phase.y.h - row);
  int const cols = std::min(job.blocks.cols.size, phase.y.w - col);
  if (rows <= 0 || cols <= 0) return;

  int const width = job.weights.width(panel);
  tap_indices taps;
  taps.count = phase.taps;
  for (int t = 0; t < phase.taps; ++t) {
    tap const& from = job.tap_list[phase.first_tap + t];
    taps.x[t] = job.layout.index(from.x);
    taps.w[t] = std::ptrdiff_t(from.weight) * width;
  }
  for (int k = 0; k < width; k += tile_outputs<T>) {
    int const first = panel * panel_outputs + k;
    output_block const out{rows, cols, first, std::min(tile_outputs<T>, job.weights.outputs - first)};
    if (out.count <= 0) return;
    T const* const w = job.w + job.weights.panel_begin(panel) + k;
    if constexpr (tile_outputs < T >> group_channels) {  // else every panel's width is a multiple of a tile's
      if (width - k < tile_outputs<T>) {
        correlate_outputs<T, 1>(job, phase, taps, image, row, col, w, width, out, packed, tile_weights, sums);
        continue;
      }
    }
    correlate_outputs<T, tile_vectors>(job, phase, taps, image, row, col, w, width, out, packed, tile_weights, sums);
  }
}

template <class T> void correlate(correlation<T> const& job, int unit, T* scratch) {
  int const block = unit / job.panel_units;
  int const first_panel = unit % job.panel_units * job.panels_per_unit;
  int const last_panel = std::min(job.weights.panels(), first_panel + job.panels_per_unit);
  int const image = job.blocks.image(block), row = job.blocks.row(block), col = job.blocks.col(block);
  T* const packed = scratch;
  T* const sums = scratch + job.layout.elements();
  T* const tile_weights = sums + job.sums_elements();
  pack_block(job.x, image, row, col, job.layout, packed);
  for (int panel = first_panel; panel < last_panel; ++panel)
    for (int p = 0; p < job.phases; ++p)
      correlate_panel(job, job.phase_list[p], image, row, col, panel, packed, tile_weights, sums);
}

/// The same weights with input and output channels exchanged, lanes x lanes at a time, in an order that reads and
/// writes whole cache lines while they are near.
template <class T> void transpose_weights(weight_transpose<T> const& job, int panel) {
  packed_weights const from = job.from_layout, to = job.to_layout();
  int const taps = to.taps;
  int const to_width = to.width(panel);
  for (int from_panel = 0; from_panel < from.panels(); ++from_panel) {
    int const from_width = from.width(from_panel);
    int const first_k = from_panel * panel_outputs;
    for (int c0 = 0; c0 < to_width; c0 += lanes<T>) {
      int const first_c = panel * panel_outputs + c0;
      int const channels = std::min(lanes<T>, from.channels - first_c);
      T const* const source = job.from + from.panel_begin(from_panel) + std::ptrdiff_t(first_c) * taps * from_width;
      T* const target = job.to + to.panel_begin(panel) + std::ptrdiff_t(first_k) * taps * to_width + c0;
      for (int t = 0; t < taps; ++t)
        for (int k0 = 0; k0 < from_width; k0 += lanes<T>) {
          vec<T> rows[lanes<T>];
          UNETDN_UNROLL_TILE
          for (int i = 0; i < lanes<T>; ++i)
            rows[i] = i < channels ? load(source + (std::ptrdiff_t(i) * taps + t) * from_width + k0) : vec<T>{};
          transpose<T>(rows);
          int const outputs = std::min(lanes<T>, to.channels - first_k - k0);
          UNETDN_UNROLL_TILE
          for (int i = 0; i < lanes<T>; ++i)
            if (i < outputs) store(target + (std::ptrdiff_t(k0 + i) * taps + t) * to_width, rows[i]);
        }
    }
  }
}
