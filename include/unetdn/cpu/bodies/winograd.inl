// SPDX-License-Identifier: Apache-2.0
// 3x3 convolution and its data gradient by Winograd's F(4x4,3x3): see winograd_jobs.hpp. Included by bodies/all.inl.
//
// The products of each point are those of a 1x1 convolution over tiles, so the register tiles of correlate.inl compute
// them.

/// Outputs of a panel that are multiplied and finished together.
struct winograd_span {
  int panel, first, width;

  int first_output() const { return panel * panel_outputs + first; }
};
/// A panel, or those of one register tile (a group where that is more).
template <class T> inline int span_outputs(winograd_correlation<T> const& job) {
  return job.whole_panels ? panel_outputs : std::max(group_channels, tile_outputs<T>);
}
/// Calls f for the spans of a panel.
template <class T, class F> inline void each_span(winograd_correlation<T> const& job, int panel, F f) {
  int const width = job.panels().width(panel);
  int const step = span_outputs(job);
  for (int k = 0; k < width; k += step) f(winograd_span{panel, k, std::min(step, width - k)});
}

/// Outputs of strip s, those of one register tile, of a span so wide.
template <class T> inline int strip_outputs(int width, int s) {
  return std::min(tile_outputs<T>, width - s * tile_outputs<T>);
}

/// The transformed weights of a span for some input channels, in matrices [strip][channel][outputs].
template <class T> struct winograd_weights {
  T* data;
  int width;     // of the span
  int channels;  // of the matrices

  std::ptrdiff_t point() const { return winograd_correlation<T>::weights_point(channels, width); }
  /// Weights of a channel for outputs k, k + 1, ...
  T* at(int channel, int k) const {
    int const strip = k / tile_outputs<T>;
    return data + std::ptrdiff_t(strip) * tile_outputs<T> * channels + channel * strip_outputs<T>(width, strip) +
           k % tile_outputs<T>;
  }
  /// Takes the 36 points of a channel's weights for outputs k to k + 15.
  auto writer(int channel, int k) const {
    struct {
      T* to[group_vectors<T>];
      std::ptrdiff_t point;
      void operator()(int r, int c, int v, vec<T> value) const { store(to[v] + (r * 6 + c) * point, value); }
    } write{{}, point()};
    for (int v = 0; v < group_vectors<T>; ++v) write.to[v] = at(channel, k + v * lanes<T>);
    return write;
  }
};

/// Weights of a large layer come from memory, in pieces too small for the processor to see where the next one lies.
inline constexpr int weights_ahead = 4;  // channels

/// Transforms the weights of `count` input channels from `first` on; they become channels u_first, ... of u.
template <class T>
inline void transform_weights(winograd_correlation<T> const& job, winograd_span span, int first, int count,
                              winograd_weights<T> const& u, int u_first) {
  int const width = job.weights.width(span.panel);
  std::ptrdiff_t const w_channel = std::ptrdiff_t(9) * width;
  T const* w = job.w + job.weights.panel_begin(span.panel) + first * w_channel + span.first;
  for (int c = 0; c < count; ++c, w += w_channel)
    for (int k = 0; k < span.width; k += group_channels) {
      for (int t = 0; t < 9; ++t) fetch_early(w + weights_ahead * w_channel + t * width + k);
      transform_kernel<T>([&](int r, int s, int v) { return load(w + (r * 3 + s) * width + k + v * lanes<T>); },
                          u.writer(u_first + c, k));
    }
}

/// The same for the data gradient: its input channels are the weights' outputs, its outputs their channels, and its
/// kernels are rotated by half a turn. Transposes lanes x lanes weights at a time.
template <class T>
inline void transform_adjoint_weights(winograd_correlation<T> const& job, winograd_span span, int first, int count,
                                      winograd_weights<T> const& u, int u_first) {
  packed_weights const& weights = job.weights;
  for (int k = 0; k < count; k += lanes<T>) {
    int const from_panel = (first + k) / panel_outputs;
    int const from_width = weights.width(from_panel);
    T const* const from = job.w + weights.panel_begin(from_panel) + (first + k) % panel_outputs;
    for (int c = 0; c < span.width; c += group_channels) {
      vec<T> rotated[group_vectors<T>][9][lanes<T>];
      for (int v = 0; v < group_vectors<T>; ++v) {
        int const first_c = span.first_output() + c + v * lanes<T>;
        for (int t = 0; t < 9; ++t) {
          vec<T>(&rows)[lanes<T>] = rotated[v][8 - t];
          UNETDN_UNROLL_TILE
          for (int i = 0; i < lanes<T>; ++i)
            rows[i] = first_c + i < weights.channels ? load(from + (std::ptrdiff_t(first_c + i) * 9 + t) * from_width)
                                                     : vec<T>{};
          transpose<T>(rows);
        }
      }
      for (int i = 0; i < std::min(lanes<T>, count - k); ++i)
        transform_kernel<T>([&](int r, int s, int v) { return rotated[v][r * 3 + s][i]; },
                            u.writer(u_first + k + i, c));
    }
  }
}

template <class T>
inline void transform_span(winograd_correlation<T> const& job, winograd_span span, int first, int count,
                           winograd_weights<T> const& u, int u_first) {
  if (job.adjoint)
    transform_adjoint_weights(job, span, first, count, u, u_first);
  else
    transform_weights(job, span, first, count, u, u_first);
}

/// From one point's products to the next's; they lie [strip][tile][strip's outputs].
template <class T> inline std::ptrdiff_t sums_point(winograd_correlation<T> const& job, int width) {
  return std::ptrdiff_t(job.blocks.size) * width + winograd_gap;
}

/// sums (+)= products of `tiles` tiles' transformed inputs v and the transformed weights u at one point, over
/// `channels` channels.
template <class T>
inline void multiply_point(winograd_correlation<T> const& job, int point, int tiles, int channels, T const* v,
                           winograd_weights<T> const& u, T* sums, bool add) {
  constexpr std::ptrdiff_t only_tap = 0;
  v += point * job.input_point();
  sums += point * sums_point(job, u.width);
  for (int k = 0; k < u.width; k += tile_outputs<T>) {
    int const outputs = strip_outputs<T>(u.width, k / tile_outputs<T>);
    tile_terms<T> const terms{&only_tap, 1, u.at(0, k) + point * u.point(), channels, job.input_group()};
    T* const to = sums + std::ptrdiff_t(k) * job.blocks.size;
    auto const later = [](int, int, T const*) {};  // all points of a tile are finished together
    if (outputs == tile_outputs<T>)
      multiply_row<T, tile_vectors>(terms, tiles, v, to, add, later);
    else
      multiply_row<T, 1>(terms, tiles, v, to, add, later);
  }
}
template <class T>
inline void multiply_points(winograd_correlation<T> const& job, int tiles, int channels, T const* v,
                            winograd_weights<T> const& u, T* sums, bool add) {
  for (int point = 0; point < winograd_points; ++point) multiply_point(job, point, tiles, channels, v, u, sums, add);
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

/// Where a tile's outputs k to k + 15 go: bias, ReLU, mask, and the way out to the window.
template <class T> struct tile_writer {
  T* y;
  T const* mask;
  std::ptrdiff_t y_row, y_pixel, mask_row, mask_pixel;
  int rows, cols, outputs;  // that exist
  bool relu, past_caches;
  vec<T> bias[group_vectors<T>];

  tile_writer(winograd_correlation<T> const& job, winograd_tiles::place tile, int k)
      : y{job.y.pixel(tile.image, tile.row, tile.col) + k},
        mask{job.mask ? job.mask.pixel(tile.image, tile.row, tile.col) + k : nullptr},
        y_row{job.y.row_stride},
        y_pixel{job.y.pixel_stride},
        mask_row{job.mask.row_stride},
        mask_pixel{job.mask.pixel_stride},
        rows{std::min(winograd_output, job.y.h - tile.row)},
        cols{std::min(winograd_output, job.y.w - tile.col)},
        outputs{std::min(group_channels, job.y.c - k)},
        relu{job.relu},
        past_caches{job.past_caches} {
    for (int v = 0; v < group_vectors<T>; ++v)
      bias[v] = job.bias ? load_part(job.bias + k + v * lanes<T>, outputs - v * lanes<T>) : vec<T>{};
  }
  bool whole() const { return rows == winograd_output && cols == winograd_output && outputs == group_channels; }
  /// With bias and ReLU.
  vec<T> finished(int v, vec<T> value) const {
    value += bias[v];
    if (relu) value = value < T(0) ? vec<T>{} : value;  // this way round a NaN stays visible
    return value;
  }

  /// Takes one finished vector of one pixel. `Whole`: all lanes exist.
  template <bool Whole> void put(int r, int c, int v, vec<T> value) const {
    int const i = v * lanes<T>;
    if (mask) {
      T const* const m = mask + r * mask_row + c * mask_pixel + i;
      value = (Whole ? load(m) : load_part(m, outputs - i)) > T(0) ? value : vec<T>{};
    }
    T* const to = y + r * y_row + c * y_pixel + i;
    if constexpr (!Whole)
      store_part(to, value, outputs - i);
    else if (past_caches)
      store_past_caches(to, value);
    else
      store(to, value);
  }
};

/// The 2x2 maxima of a tile's finished outputs k to k + 15.
template <class T>
inline void pool_tile(view<T> const& pooled, winograd_tiles::place tile, int k,
                      vec<T> const (&values)[winograd_output][winograd_output][group_vectors<T>]) {
  int const row = tile.row / 2, col = tile.col / 2;
  for (int r = 0; r < std::min(2, pooled.h - row); ++r)
    for (int c = 0; c < std::min(2, pooled.w - col); ++c)
      for (int v = 0; v < group_vectors<T>; ++v) {
        auto const at = [&](int i, int j) { return values[2 * r + i][2 * c + j][v]; };
        vec<T> const maximum = larger<T>(larger<T>(at(0, 0), at(0, 1)), larger<T>(at(1, 0), at(1, 1)));
        store_part(pooled.pixel(tile.image, row + r, col + c) + k + v * lanes<T>, maximum, pooled.c - k - v * lanes<T>);
      }
}

/// The span's outputs of tiles first, first + 1, ... from their sums.
template <class T>
inline void finish_tiles(winograd_correlation<T> const& job, winograd_span span, int first, int tiles, T const* sums) {
  int const outputs = std::min(span.width, job.y.c - span.first_output());
  std::ptrdiff_t const point = sums_point(job, span.width);
  for (int t = 0; t < tiles; ++t) {
    auto const tile = job.tiles.at(first + t);
    for (int k = 0; k < outputs; k += group_channels) {
      T const* m[group_vectors<T>];
      for (int v = 0; v < group_vectors<T>; ++v) {
        int const strip = (k + v * lanes<T>) / tile_outputs<T>;
        m[v] = sums + std::ptrdiff_t(strip) * tile_outputs<T> * job.blocks.size +
               t * strip_outputs<T>(span.width, strip) + (k + v * lanes<T>) % tile_outputs<T>;
      }
      auto const get = [&](int r, int c, int v) { return load(m[v] + (r * 6 + c) * point); };
      tile_writer<T> const out{job, tile, span.first_output() + k};
      if (out.whole() && !out.past_caches && !job.pooled) {
        transform_output<T>(
            get, [&](int r, int c, int v, vec<T> value) { out.template put<true>(r, c, v, out.finished(v, value)); });
        continue;
      }
      // Stores past the caches want whole lines at once, and pooling pixels.
      vec<T> values[winograd_output][winograd_output][group_vectors<T>];
      transform_output<T>(get, [&](int r, int c, int v, vec<T> value) { values[r][c][v] = out.finished(v, value); });
      for (int r = 0; r < out.rows; ++r)
        for (int c = 0; c < out.cols; ++c)
          for (int v = 0; v < group_vectors<T>; ++v) {
            if (out.outputs >= (v + 1) * lanes<T>)
              out.template put<true>(r, c, v, values[r][c][v]);
            else if (out.outputs > v * lanes<T>)
              out.template put<false>(r, c, v, values[r][c][v]);
          }
      if (job.pooled) pool_tile<T>(job.pooled, tile, span.first_output() + k, values);
    }
  }
}

template <class T> inline winograd_weights<T> shared_weights(winograd_correlation<T> const& job, winograd_span span) {
  std::ptrdiff_t const step = winograd_points * job.weights_point(job.channels(), span_outputs(job));
  return {job.shared + span.panel * job.weights_panel() + span.first / span_outputs(job) * step, span.width,
          job.channels()};
}

template <class T> void share_weights(winograd_correlation<T> const& job, int unit) {
  int const first = unit % job.groups() * group_channels;
  int const count = std::min(group_channels, job.channels() - first);
  each_span(job, unit / job.groups(),
            [&](winograd_span span) { transform_span(job, span, first, count, shared_weights(job, span), first); });
}

template <class T> inline void transform_tile(winograd_correlation<T> const& job, int tile, T* v) {
  auto const place = job.tiles.at(tile), ahead = job.tiles.ahead(tile, tiles_ahead);
  for (int g = 0; g < job.groups(); ++g) {
    fetch_input(job.x, ahead, g);
    transform_input(job.x, place, g, v + g * job.input_group(), job.input_point());
  }
}

template <class T> void correlate_tiles(winograd_correlation<T> const& job, int unit, T* scratch) {
  int const first = job.blocks.begin(unit);
  int const tiles = job.blocks.length(unit);
  int const panels = job.panels().panels();
  for (int t = 0; t < tiles; ++t) transform_tile(job, first + t, scratch + t * group_channels);
  for (int point = 0; job.by_points && point < winograd_points; ++point)
    for (int panel = 0; panel < panels; ++panel)
      each_span(job, panel, [&](winograd_span span) {
        multiply_point(job, point, tiles, job.channels(), scratch, shared_weights(job, span), job.sums(scratch, panel),
                       false);
      });
  for (int panel = 0; panel < panels; ++panel)
    each_span(job, panel, [&](winograd_span span) {
      T* const sums = job.sums(scratch, panel);
      if (!job.by_points) multiply_points(job, tiles, job.channels(), scratch, shared_weights(job, span), sums, false);
      finish_tiles(job, span, first, tiles, sums);
    });
  if (job.past_caches) order_stores();
}

template <class T> void share_input(winograd_correlation<T> const& job, int unit) {
  transform_tile(job, unit, job.shared + unit * group_channels);
}

template <class T> void correlate_outputs_of_panel(winograd_correlation<T> const& job, int unit, T* scratch) {
  int const tiles = job.tiles.count();
  T* const sums = job.sums(scratch, unit);
  each_span(job, unit, [&](winograd_span span) {
    winograd_weights<T> const u{scratch, span.width, job.channels_at_once()};
    for (int c = 0; c < job.channels(); c += u.channels) {
      int const channels = std::min(u.channels, job.channels() - c);
      transform_span(job, span, c, channels, u, 0);
      multiply_points(job, tiles, channels, job.shared + c / group_channels * job.input_group(), u, sums, c > 0);
    }
    finish_tiles(job, span, 0, tiles, sums);
  });
  if (job.past_caches) order_stores();
}
