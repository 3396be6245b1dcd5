// SPDX-License-Identifier: Apache-2.0
// Weight gradients: sums of outer products over positions. Included by bodies/all.inl.
//
// A register tile is a few channels of x times two vectors of outputs of g. It stays in registers over all positions of
// a block, whose packed x and g lie in the first-level cache.

inline constexpr int tile_channels = UNETDN_TILE_PIXELS;

/// The positions of a block, as one tile walks them.
struct position_walk {
  int rows, cols;
  std::ptrdiff_t x_row, g_row;  // from one row of positions to the next
  std::ptrdiff_t g_group;       // from one group of 16 outputs to the next
  std::ptrdiff_t dw_channel;    // from one channel's weights to the next one's
};

/// dw[c][k] (+)= sum over positions of x[c] g[k].
template <class T, int Channels, int Vectors>
inline void multiply_outer(position_walk const& walk, T const* x, T const* g, T* dw, bool add) {
  vec<T> acc[Channels][Vectors];
  UNETDN_UNROLL_TILE
  for (int c = 0; c < Channels; ++c) {
    UNETDN_UNROLL_TILE
    for (int v = 0; v < Vectors; ++v) acc[c][v] = add ? load(dw + c * walk.dw_channel + v * lanes<T>) : vec<T>{};
  }

  for (int r = 0; r < walk.rows; ++r, x += walk.x_row, g += walk.g_row) {
    T const* x_pixel = x;
    T const* g_pixel = g;
    for (int p = 0; p < walk.cols; ++p, x_pixel += group_channels, g_pixel += group_channels) {
      vec<T> r_g[Vectors];
      UNETDN_UNROLL_TILE
      for (int v = 0; v < Vectors; ++v)
        // A vector may be as long as a group; then the next one lies in the next group.
        r_g[v] = load(g_pixel + v / group_vectors<T> * walk.g_group + v % group_vectors<T> * lanes<T>);
      UNETDN_UNROLL_TILE
      for (int c = 0; c < Channels; ++c) {
        vec<T> const r_x = broadcast(x_pixel[c]);
        UNETDN_UNROLL_TILE
        for (int v = 0; v < Vectors; ++v) acc[c][v] += r_x * r_g[v];
      }
    }
  }

  UNETDN_UNROLL_TILE
  for (int c = 0; c < Channels; ++c) {
    UNETDN_UNROLL_TILE
    for (int v = 0; v < Vectors; ++v) store(dw + c * walk.dw_channel + v * lanes<T>, acc[c][v]);
  }
}

template <class T, int Vectors, int... I>
inline void multiply_outer_channels(position_walk const& walk, int channels, T const* x, T const* g, T* dw, bool add,
                                    std::integer_sequence<int, I...>) {
  ((channels == I + 1 ? multiply_outer<T, I + 1, Vectors>(walk, x, g, dw, add) : void()), ...);
}

/// The channels of one group in full tiles, where the last one, too, has sums enough to fill the multiply-add units'
/// pipelines; otherwise in tiles of as equal a size as they come.
template <class T, int Vectors>
inline void multiply_outer_group(position_walk const& walk, int channels, T const* x, T const* g, T* dw, bool add) {
  constexpr int enough = 4;
  int const tiles = ceil_div(channels, tile_channels);
  bool const full = channels - (tiles - 1) * tile_channels >= enough;
  for (int i = 0; i < tiles; ++i) {
    int const begin = full ? i * tile_channels : channels * i / tiles;
    int const end = full ? std::min(channels, begin + tile_channels) : channels * (i + 1) / tiles;
    multiply_outer_channels<T, Vectors>(walk, end - begin, x + begin, g, dw + begin * walk.dw_channel, add,
                                        std::make_integer_sequence<int, tile_channels>{});
  }
}

/// Which channels and panels one unit multiplies.
struct product_block {
  int first_channel, channels, first_panel, last_panel;
};

/// A packed block of positions, and the one behind it, which is fetched meanwhile.
template <class T> struct position_block {
  T const *x, *g;
  position_walk walk;
  early_block<T> next_x, next_g;
};

/// Adds a block of positions to the weights' sums.
template <class T, int Vectors>
inline void add_outputs(weight_gradient<T> const& job, product_block const& part, position_block<T>& block, int panel,
                        int k, T* dw, bool add) {
  int const width = job.weights.width(panel);
  position_walk walk = block.walk;
  walk.dw_channel = std::ptrdiff_t(job.weights.taps) * width;
  int const g_first = (panel - part.first_panel) * panel_outputs + k;
  T const* const g = block.g + g_first / group_channels * job.g_layout.group_elements() + g_first % group_channels;
  for (int group = 0; group < part.channels; group += group_channels) {
    int const channels = std::min(group_channels, part.channels - group);
    T const* const x = block.x + group / group_channels * job.x_layout.group_elements();
    T* const dw_group = dw + job.weights.panel_begin(panel) + (part.first_channel + group) * walk.dw_channel + k;
    for (int t = 0; t < job.taps; ++t) {
      block.next_x.advance();
      block.next_g.advance();
      multiply_outer_group<T, Vectors>(walk, channels, x + job.x_layout.index(job.tap_list[t].x),
                                       g + job.g_layout.index(job.tap_list[t].g), dw_group + t * width, add);
    }
  }
}

template <class T>
inline void add_block(weight_gradient<T> const& job, product_block const& part, position_block<T>& block, T* dw,
                      bool add) {
  constexpr int step = tile_vectors * lanes<T>;
  for (int panel = part.first_panel; panel < part.last_panel; ++panel) {
    int const width = job.weights.width(panel);
    for (int k = 0; k < width; k += step) {
      if constexpr (step > group_channels) {  // else every panel's width is a multiple of a tile's
        if (width - k < step) {
          add_outputs<T, 1>(job, part, block, panel, k, dw, add);
          continue;
        }
      }
      add_outputs<T, tile_vectors>(job, part, block, panel, k, dw, add);
    }
  }
}

/// db[k] += sum over everything packed: pixels outside the picture were packed as zeros, and no pixel lies in two
/// blocks, because a g that taps displace is met by one tap a pixel.
template <class T> inline void add_bias(block_layout const& layout, int outputs, T const* packed_g, T* db) {
  for (int k = 0; k < outputs; k += lanes<T>) {
    T const* const first = packed_g + k / group_channels * layout.group_elements() + k % group_channels;
    vec<T> sum{};
    for (int line = 0; line < layout.rows * layout.stride; ++line)
      for (int m = 0; m < layout.pitch; ++m) sum += load(first + line * layout.plane_elements() + m * group_channels);
    store(db + k, load(db + k) + sum);
  }
}

template <class T> void sum_weight_gradient(weight_gradient<T> const& job, int unit, T* scratch) {
  int const chunk = unit % job.chunks;
  int const channel_block = unit / job.chunks % job.channel_blocks.count;
  int const panel_block = unit / job.chunks / job.channel_blocks.count;
  int const first_channel = job.channel_blocks.begin(channel_block) * group_channels;
  int const first_panel = job.panel_blocks.begin(panel_block);
  int const first_output = first_panel * panel_outputs;
  product_block const part{
      first_channel,
      std::min(job.channel_blocks.size * group_channels, job.weights.channels - first_channel),
      first_panel,
      first_panel + job.panel_blocks.length(panel_block),
  };
  int const outputs =
      std::min((part.last_panel - part.first_panel) * panel_outputs, job.weights.outputs - first_output);
  view<T const> const x = job.x.channels(part.first_channel, part.channels);
  view<T const> const g = job.g.channels(first_output, outputs);

  T* const packed_x = scratch;
  T* const packed_g = scratch + job.x_layout.elements();
  T* const partial = job.partials + chunk * job.partial_elements();
  T* const db = partial + first_output;
  T* const dw = job.direct() ? job.dw : partial + job.bias_elements();
  int const padded_outputs = round_up(outputs, group_channels);
  bool const sums_bias = channel_block == 0;
  if (sums_bias) zero(db, padded_outputs);

  // Products of a group's channels, a tap and a tile of outputs: so many pieces the next block is fetched in.
  int const steps = ceil_div(outputs, tile_vectors * lanes<T>) * ceil_div(part.channels, group_channels) * job.taps;
  int const begin = job.chunk_begin(chunk);
  int const end = job.chunk_begin(chunk + 1);
  for (int block = begin; block < end; ++block) {
    int const image = job.blocks.image(block), row = job.blocks.row(block), col = job.blocks.col(block);
    pack_block(x, image, row, col, job.x_layout, packed_x);
    pack_block(g, image, row, col, job.g_layout, packed_g);
    position_block<T> multiplied{
        packed_x,
        packed_g,
        {std::min(job.blocks.rows.size, job.h - row), std::min(job.blocks.cols.size, job.w - col),
         job.x_layout.position_row(), job.g_layout.position_row(), job.g_layout.group_elements(), 0},
        {},
        {},
    };
    if (block + 1 < end) {
      int const next_image = job.blocks.image(block + 1);
      int const next_row = job.blocks.row(block + 1), next_col = job.blocks.col(block + 1);
      multiplied.next_x = {x, next_image, next_row, next_col, job.x_layout, steps};
      multiplied.next_g = {g, next_image, next_row, next_col, job.g_layout, steps};
    }
    bool const add = block > begin || (job.direct() && job.accumulate);
    add_block(job, part, multiplied, dw, add);
    if (sums_bias) add_bias(job.g_layout, padded_outputs, packed_g, db);
  }
}

template <class T>
void sum_parts(T const* from, int parts, std::int64_t stride, T* to, std::int64_t elements, bool add) {
  for (std::int64_t i = 0; i < elements; i += lanes<T>) {
    int const count = elements - i < lanes<T> ? int(elements - i) : lanes<T>;
    vec<T> sum = load_part(from + i, count);
    for (int part = 1; part < parts; ++part) sum += load_part(from + part * stride + i, count);
    if (add) sum += load_part(to + i, count);
    store_part(to + i, sum, count);
  }
}
