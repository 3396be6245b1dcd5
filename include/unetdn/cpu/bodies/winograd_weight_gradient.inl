// SPDX-License-Identifier: Apache-2.0
// The weight gradient of a 3x3 convolution in Winograd's domain: see winograd_jobs.hpp. Included by bodies/all.inl.
//
// The products of each point are sums of outer products over tiles, so the register tiles of weight_gradient.inl
// compute them.

template <class T> void transform_round(winograd_weight_gradient<T> const& job, int unit) {
  int const groups = job.x_groups() + job.g_groups();
  int const part = unit / groups;
  int const group = unit % groups;
  int const first = part * job.part_tiles;
  int const last = std::min(first + job.part_tiles, job.round_tiles());
  int const round_begin = job.rounds.begin(job.round);
  if (group < job.x_groups()) {
    T* const v = job.transformed_x() + group * job.group_elements();
    for (int t = first; t < last; ++t)
      transform_input(job.x, job.tiles.at(round_begin + t), group, v + t * group_channels, job.x_point());
    return;
  }
  int const g_group = group - job.x_groups();
  T* const v = job.transformed_g() + g_group * job.group_elements();
  vec<T> sum[group_channels / lanes<T>]{};
  for (int t = first; t < last; ++t)
    transform_gradient(job.g, job.tiles.at(round_begin + t), g_group, v + t * group_channels, job.g_point(), sum);
  T* const part_sum = job.bias_parts() + (job.round * job.parts() + part) * job.bias_elements();
  for (int i = 0; i < group_channels; i += lanes<T>) store(part_sum + g_group * group_channels + i, sum[i / lanes<T>]);
}

/// sums[c][k] (+)= one point's products over the round's tiles, for `channels` channels from `first` on and one panel.
template <class T>
inline void multiply_panel(winograd_weight_gradient<T> const& job, int point, int first, int channels, int panel,
                           T* sums, bool add) {
  int const width = job.weights.width(panel);
  position_walk const walk{1, job.round_tiles(), 0, 0, job.group_elements(), width};
  T const* const x = job.transformed_x() + point * job.x_point() + first / group_channels * job.group_elements();
  T const* const g =
      job.transformed_g() + point * job.g_point() + panel * (panel_outputs / group_channels) * job.group_elements();
  for (int c = 0; c < channels; c += group_channels) {
    int const count = std::min(group_channels, channels - c);
    T const* const x_group = x + c / group_channels * job.group_elements();
    for (int k = 0; k < width; k += tile_outputs<T>) {
      T const* const g_first = g + k / group_channels * job.group_elements() + k % group_channels;
      T* const to = sums + c * width + k;
      if (strip_outputs<T>(width, k / tile_outputs<T>) == tile_outputs<T>)
        multiply_outer_group<T, tile_vectors>(walk, count, x_group, g_first, to, add);
      else
        multiply_outer_group<T, 1>(walk, count, x_group, g_first, to, add);
    }
  }
}

/// dw (+)= G^T sums G, for `channels` channels from `first` on and one panel.
template <class T>
inline void finish_panel(winograd_weight_gradient<T> const& job, int first, int channels, int panel, T const* sums,
                         std::ptrdiff_t point, bool add) {
  int const width = job.weights.width(panel);
  T* dw = job.dw + job.weights.panel_begin(panel) + std::ptrdiff_t(first) * 9 * width;
  for (int c = 0; c < channels; ++c, dw += 9 * width, sums += width)
    for (int k = 0; k < width; k += lanes<T>) {
      vec<T> taps[9];
      transform_sums<T>(sums + k, point, taps);
      UNETDN_UNROLL_TILE
      for (int t = 0; t < 9; ++t) {
        T* const to = dw + t * width + k;
        store(to, add ? load(to) + taps[t] : taps[t]);
      }
    }
}

template <class T> void add_products(winograd_weight_gradient<T> const& job, int unit) {
  int const panels = job.weights.panels();
  int const point = unit / panels;
  int const panel = unit % panels;
  T* const sums = job.kept_sums() + point * job.kept_point() + job.sums_layout().panel_begin(panel);
  multiply_panel(job, point, 0, job.weights.channels, panel, sums, job.round > 0);
}

template <class T> void finish_sums(winograd_weight_gradient<T> const& job, int unit) {
  int const panels = job.weights.panels();
  int const panel = unit % panels;
  int const first = unit / panels * job.unit_channels;
  int const channels = std::min(job.unit_channels, job.weights.channels - first);
  finish_panel(job, first, channels, panel, job.kept_sums() + job.sums_layout().index(first, 0, panel * panel_outputs),
               job.kept_point(), job.accumulate);
}

template <class T> void add_round(winograd_weight_gradient<T> const& job, int unit, T* scratch) {
  int const panels = job.weights.panels();
  int const panel = unit % panels;
  int const first = unit / panels * job.unit_channels;
  int const channels = std::min(job.unit_channels, job.weights.channels - first);
  for (int point = 0; point < winograd_points; ++point)
    multiply_panel(job, point, first, channels, panel, scratch + point * job.worker_point(), false);
  finish_panel(job, first, channels, panel, scratch, job.worker_point(), job.round > 0 || job.accumulate);
}
