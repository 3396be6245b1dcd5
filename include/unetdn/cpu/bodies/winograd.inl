// SPDX-License-Identifier: Apache-2.0
// 3x3 convolution and its data gradient by Winograd's F(4x4,3x3): see winograd_jobs.hpp. Included by bodies/all.inl.
//
// The products of each point are those of a 1x1 convolution over tiles, so the register tiles of correlate.inl compute
// them.

/// Outputs of strip s of a panel so wide.
template <class T> inline int strip_outputs(int panel_width, int s) {
  return std::min(tile_outputs<T>, panel_width - s * tile_outputs<T>);
}

/// The transformed weights of one panel of outputs for some input channels, in matrices [strip][channel][outputs].
template <class T> struct winograd_weights {
  T* data;
  int width;     // of the panel
  int channels;  // of the matrices

  std::ptrdiff_t point() const { return winograd_correlation<T>::weights_point(channels); }
  /// Weights of a channel for outputs k, k + 1, ...
  T* at(int channel, int k) const {
    int const strip = k / tile_outputs<T>;
    return data + std::ptrdiff_t(strip) * tile_outputs<T> * channels + channel * strip_outputs<T>(width, strip) +
           k % tile_outputs<T>;
  }
};

/// Transforms the weights of `count` input channels from `first` on; they become channels u_first, ... of u.
template <class T>
inline void transform_weights(winograd_correlation<T> const& job, int panel, int first, int count,
                              winograd_weights<T> const& u, int u_first) {
  std::ptrdiff_t const w_channel = std::ptrdiff_t(job.weights.taps) * u.width;
  T const* w = job.w + job.weights.panel_begin(panel) + first * w_channel;
  for (int c = 0; c < count; ++c, w += w_channel)
    for (int k = 0; k < u.width; k += lanes<T>) {
      vec<T> taps[9];
      UNETDN_UNROLL_TILE
      for (int t = 0; t < 9; ++t) taps[t] = load(w + t * u.width + k);
      transform_kernel<T>(taps, u.at(u_first + c, k), u.point());
    }
}

/// The same for the data gradient: its input channels are the weights' outputs, its outputs their channels, and its
/// kernels are rotated by half a turn. Transposes lanes x lanes weights at a time.
template <class T>
inline void transform_adjoint_weights(winograd_correlation<T> const& job, int panel, int first, int count,
                                      winograd_weights<T> const& u, int u_first) {
  packed_weights const& weights = job.weights;
  for (int k = 0; k < count; k += lanes<T>) {
    int const from_panel = (first + k) / panel_outputs;
    int const from_width = weights.width(from_panel);
    T const* const from = job.w + weights.panel_begin(from_panel) + (first + k) % panel_outputs;
    for (int c = 0; c < u.width; c += lanes<T>) {
      int const first_c = panel * panel_outputs + c;
      vec<T> rotated[9][lanes<T>];
      for (int t = 0; t < 9; ++t) {
        vec<T>(&rows)[lanes<T>] = rotated[8 - t];
        UNETDN_UNROLL_TILE
        for (int i = 0; i < lanes<T>; ++i)
          rows[i] = first_c + i < weights.channels ? load(from + (std::ptrdiff_t(first_c + i) * 9 + t) * from_width)
                                                   : vec<T>{};
        transpose<T>(rows);
      }
      for (int i = 0; i < std::min(lanes<T>, count - k); ++i) {
        vec<T> taps[9];
        UNETDN_UNROLL_TILE
        for (int t = 0; t < 9; ++t) taps[t] = rotated[t][i];
        transform_kernel<T>(taps, u.at(u_first + k + i, c), u.point());
      }
    }
  }
}

template <class T>
inline void transform_panel(winograd_correlation<T> const& job, int panel, int first, int count,
                            winograd_weights<T> const& u, int u_first) {
  if (job.adjoint)
    transform_adjoint_weights(job, panel, first, count, u, u_first);
  else
    transform_weights(job, panel, first, count, u, u_first);
}

/// sums (+)= products of `tiles` tiles' transformed inputs v and the transformed weights u, over `channels` channels.
template <class T>
inline void multiply_points(winograd_correlation<T> const& job, int tiles, int channels, T const* v,
                            winograd_weights<T> const& u, T* sums, bool add) {
  constexpr tap_index only_tap{0, 0};
  for (int e = 0; e < winograd_points; ++e) {
    for (int k = 0; k < u.width; k += tile_outputs<T>) {
      int const outputs = strip_outputs<T>(u.width, k / tile_outputs<T>);
      tile_terms<T> const terms{&only_tap, 1, u.at(0, k) + e * u.point(), outputs, channels, job.input_group()};
      T* const to = sums + std::ptrdiff_t(k) * job.blocks.size;
      if (outputs == tile_outputs<T>)
        multiply_row<T, tile_vectors>(terms, tiles, v, to, add);
      else
        multiply_row<T, 1>(terms, tiles, v, to, add);
    }
    v += job.input_point();
    sums += job.sums_point();
  }
}

/// Stores past the caches; `p` is aligned.
template <class T> inline void store_past_caches(T* p, vec<T> v) {
#if UNETDN_X86_BODIES && defined(__clang__)
  __builtin_nontemporal_store(v, reinterpret_cast<vec<T>*>(p));
#elif UNETDN_X86_BODIES && UNETDN_VECTOR_BYTES == 64
  __builtin_ia32_movntps512(p, v);
#elif UNETDN_X86_BODIES && UNETDN_VECTOR_BYTES == 32
  __builtin_ia32_movntps256(p, v);
#elif UNETDN_X86_BODIES
  __builtin_ia32_movntps(p, v);
#else
  store(p, v);
#endif
}
/// Lets other threads see what was stored past the caches.
inline void order_stores() {
#if UNETDN_X86_BODIES
  __builtin_ia32_sfence();
#endif
}

/// Bias, ReLU, mask, and the way out to the window, for a tile and 16 outputs. `Whole`: all lanes exist.
template <class T, bool Whole>
inline void store_tile(winograd_correlation<T> const& job, winograd_tiles::place tile, int k, T const* values) {
  constexpr int vectors = group_channels / lanes<T>;
  int const count = job.y.c - k;
  vec<T> bias[vectors];
  UNETDN_UNROLL_TILE
  for (int v = 0; v < vectors; ++v)
    bias[v] = job.bias ? load_part(job.bias + k + v * lanes<T>, std::max(0, count - v * lanes<T>)) : vec<T>{};
  int const rows = std::min(winograd_output, job.y.h - tile.row);
  int const cols = std::min(winograd_output, job.y.w - tile.col);
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < cols; ++c) {
      T const* const from = values + (r * winograd_output + c) * group_channels;
      T* const y = job.y.pixel(tile.image, tile.row + r, tile.col + c) + k;
      T const* const mask = job.mask ? job.mask.pixel(tile.image, tile.row + r, tile.col + c) + k : nullptr;
      UNETDN_UNROLL_TILE
      for (int v = 0; v < vectors; ++v) {
        int const i = v * lanes<T>;
        if (!Whole && count <= i) break;
        vec<T> value = load(from + i) + bias[v];
        if (job.relu) value = value < T(0) ? vec<T>{} : value;  // this way round a NaN stays visible
        if (mask) value = (Whole ? load(mask + i) : load_part(mask + i, count - i)) > T(0) ? value : vec<T>{};
        if constexpr (!Whole)
          store_part(y + i, value, count - i);
        else if (job.past_caches)
          store_past_caches(y + i, value);
        else
          store(y + i, value);
      }
    }
}

/// The panel's outputs of tiles first, first + 1, ... from their sums.
template <class T>
inline void finish_tiles(winograd_correlation<T> const& job, int panel, int first, int tiles, T const* sums) {
  int const width = job.panels().width(panel);
  int const outputs = std::min(width, job.y.c - panel * panel_outputs);
  alignas(64) T values[winograd_output * winograd_output * group_channels];
  for (int t = 0; t < tiles; ++t) {
    auto const tile = job.tiles.at(first + t);
    for (int k = 0; k < outputs; k += group_channels) {
      for (int i = 0; i < group_channels; i += lanes<T>) {
        int const strip = (k + i) / tile_outputs<T>;
        T const* const m = sums + std::ptrdiff_t(strip) * tile_outputs<T> * job.blocks.size +
                           t * strip_outputs<T>(width, strip) + (k + i) % tile_outputs<T>;
        transform_output<T>(m, job.sums_point(), values + i);
      }
      int const all = panel * panel_outputs + k;
      if (outputs - k >= group_channels)
        store_tile<T, true>(job, tile, all, values);
      else
        store_tile<T, false>(job, tile, all, values);
    }
  }
}

template <class T> inline winograd_weights<T> shared_panel(winograd_correlation<T> const& job, int panel) {
  return {job.shared + panel * job.weights_panel(), job.panels().width(panel), job.channels()};
}

template <class T> void share_weights(winograd_correlation<T> const& job, int unit) {
  int const panel = unit / job.groups();
  int const first = unit % job.groups() * group_channels;
  transform_panel(job, panel, first, std::min(group_channels, job.channels() - first), shared_panel(job, panel), first);
}

template <class T> inline void transform_tile(winograd_correlation<T> const& job, int tile, T* v) {
  for (int g = 0; g < job.groups(); ++g)
    transform_input(job.x, job.tiles.at(tile), g, v + g * job.input_group(), job.input_point());
}

template <class T> void correlate_tiles(winograd_correlation<T> const& job, int unit, T* scratch) {
  int const first = job.blocks.begin(unit);
  int const tiles = job.blocks.length(unit);
  T* const sums = job.sums(scratch);
  for (int t = 0; t < tiles; ++t) transform_tile(job, first + t, scratch + t * group_channels);
  for (int panel = 0; panel < job.panels().panels(); ++panel) {
    multiply_points(job, tiles, job.channels(), scratch, shared_panel(job, panel), sums, false);
    finish_tiles(job, panel, first, tiles, sums);
  }
  if (job.past_caches) order_stores();
}

template <class T> void share_input(winograd_correlation<T> const& job, int unit) {
  transform_tile(job, unit, job.shared + unit * group_channels);
}

template <class T> void correlate_outputs_of_panel(winograd_correlation<T> const& job, int unit, T* scratch) {
  int const tiles = job.tiles.count();
  winograd_weights<T> const u{scratch, job.panels().width(unit), job.channels_at_once()};
  T* const sums = job.sums(scratch);
  for (int c = 0; c < job.channels(); c += u.channels) {
    int const channels = std::min(u.channels, job.channels() - c);
    transform_panel(job, unit, c, channels, u, 0);
    multiply_points(job, tiles, channels, job.shared + c / group_channels * job.input_group(), u, sums, c > 0);
  }
  finish_tiles(job, unit, 0, tiles, sums);
  if (job.past_caches) order_stores();
}
