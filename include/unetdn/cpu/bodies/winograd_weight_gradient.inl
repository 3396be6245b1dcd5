// SPDX-License-Identifier: Apache-2.0
// The weight gradient of a 3x3 convolution in Winograd's domain: see winograd_jobs.hpp. Included by bodies/all.inl.
//
// The products of each point are sums of outer products over tiles, so the register tiles of weight_gradient.inl
// compute them.

/// Transformed x or g, [point][group][tile][16].
template <class T> struct winograd_operand {
  T* data;
  std::ptrdiff_t point, group;
};

/// One block of channels and one panel of outputs.
struct winograd_product {
  int first_channel, channels, panel;
};

template <class T> inline winograd_product product_of(winograd_weight_gradient<T> const& job, int index) {
  int const first = index / job.weights.panels() * job.unit_channels;
  return {first, std::min(job.unit_channels, job.weights.channels - first), index % job.weights.panels()};
}

/// sums[point][c][k] (+)= the products over `tiles` tiles of the channels x[c] and the panel's outputs g[k].
template <class T>
inline void multiply_transforms(winograd_weight_gradient<T> const& job, winograd_product part, int tiles,
                                winograd_operand<T> x, winograd_operand<T> g, T* sums, bool add) {
  int const width = job.weights.width(part.panel);
  position_walk const walk{1, tiles, 0, 0, g.group, width};
  for (int point = 0; point < winograd_points; ++point, x.data += x.point, g.data += g.point, sums += job.sums_point())
    for (int c = 0; c < part.channels; c += group_channels) {
      int const count = std::min(group_channels, part.channels - c);
      T const* const x_group = x.data + c / group_channels * x.group;
      for (int k = 0; k < width; k += tile_outputs<T>) {
        T const* const g_first = g.data + k / group_channels * g.group + k % group_channels;
        T* const to = sums + c * width + k;
        if (strip_outputs<T>(width, k / tile_outputs<T>) == tile_outputs<T>)
          multiply_outer_group<T, tile_vectors>(walk, count, x_group, g_first, to, add);
        else
          multiply_outer_group<T, 1>(walk, count, x_group, g_first, to, add);
      }
    }
}

/// dw (+)= G^T sums G for one product; dw are the weights' sums from their first element on.
template <class T>
inline void finish_product(winograd_weight_gradient<T> const& job, winograd_product part, T const* sums, T* dw,
                           bool add) {
  int const width = job.weights.width(part.panel);
  std::ptrdiff_t const point = job.sums_point();
  dw += job.weights.panel_begin(part.panel) + std::ptrdiff_t(part.first_channel) * 9 * width;
  for (int c = 0; c < part.channels; ++c, dw += 9 * width, sums += width)
    for (int k = 0; k < width; k += group_channels)
      transform_sums<T>([&](int r, int s, int v) { return load(sums + (r * 6 + s) * point + k + v * lanes<T>); },
                        [&](int r, int s, int v, vec<T> value) {
                          T* const to = dw + (r * 3 + s) * width + k + v * lanes<T>;
                          store(to, add ? load(to) + value : value);
                        });
}

template <class T> void sum_chunk(winograd_weight_gradient<T> const& job, int unit, T* scratch) {
  int const chunk = unit / job.products();
  winograd_product const part = product_of(job, unit % job.products());
  int const x_groups = ceil_div(part.channels, group_channels);
  int const g_groups = job.weights.width(part.panel) / group_channels;
  int const first_x_group = part.first_channel / group_channels;
  int const first_g_group = part.panel * (panel_outputs / group_channels);
  winograd_operand<T> const x{scratch, job.point_elements(job.unit_groups()), job.group_elements()};
  winograd_operand<T> const g{x.data + winograd_points * x.point, job.point_elements(job.panel_groups()), x.group};
  T* const sums = g.data + winograd_points * g.point;

  vec<T> bias[panel_outputs / group_channels][group_vectors<T>]{};
  int const begin = job.chunk_begin(chunk);
  int const end = job.chunk_begin(chunk + 1);
  for (int block = begin; block < end; ++block) {
    int const first = job.blocks.begin(block);
    int const tiles = job.blocks.length(block);
    for (int t = 0; t < tiles; ++t) {
      auto const tile = job.tiles.at(first + t), ahead = job.tiles.ahead(first + t, tiles_ahead);
      for (int i = 0; i < x_groups; ++i) {
        fetch_input(job.x, ahead, first_x_group + i);
        transform_input(job.x, tile, first_x_group + i, x.data + i * x.group + t * group_channels, x.point);
      }
      for (int i = 0; i < g_groups; ++i) {
        fetch_gradient(job.g, ahead, first_g_group + i);
        transform_gradient(job.g, tile, first_g_group + i, g.data + i * g.group + t * group_channels, g.point, bias[i]);
      }
    }
    multiply_transforms(job, part, tiles, x, g, sums, block > begin);
  }

  T* const partial = job.shared + chunk * job.partial_elements();
  finish_product<T>(job, part, sums, job.direct() ? job.dw : partial + job.bias_elements(),
                    job.direct() && job.accumulate);
  if (part.first_channel > 0) return;
  for (int i = 0; i < g_groups; ++i)
    for (int v = 0; v < group_vectors<T>; ++v)
      store(partial + (first_g_group + i) * group_channels + v * lanes<T>, bias[i][v]);
}

template <class T> void transform_round(winograd_weight_gradient<T> const& job, int unit) {
  int const part = unit / job.bundles();
  int const bundle = unit % job.bundles();
  int const first = part * job.part_tiles;
  int const last = std::min(first + job.part_tiles, job.round_tiles());
  int const round_begin = job.rounds.begin(job.round);
  bool const of_x = bundle < job.x_bundles();
  int const first_group = (of_x ? bundle : bundle - job.x_bundles()) * job.bundle_groups;
  int const groups = std::min(job.bundle_groups, (of_x ? job.x_groups() : job.g_groups()) - first_group);
  T* const v = (of_x ? job.shared : job.transformed_g()) + first_group * job.group_elements();
  std::ptrdiff_t const point = job.point_elements(of_x ? job.x_groups() : job.g_groups());
  vec<T> sum[winograd_weight_gradient<T>::bundle_groups][group_vectors<T>]{};
  for (int t = first; t < last; ++t) {
    auto const tile = job.tiles.at(round_begin + t), ahead = job.tiles.ahead(round_begin + t, tiles_ahead);
    for (int i = 0; i < groups; ++i) {
      T* const to = v + i * job.group_elements() + t * group_channels;
      if (of_x) {
        fetch_input(job.x, ahead, first_group + i);
        transform_input(job.x, tile, first_group + i, to, point);
      } else {
        fetch_gradient(job.g, ahead, first_group + i);
        transform_gradient(job.g, tile, first_group + i, to, point, sum[i]);
      }
    }
  }
  if (of_x) return;
  T* const part_sum = job.bias_parts() + (job.round * job.parts() + part) * job.bias_elements();
  for (int i = 0; i < groups; ++i)
    for (int k = 0; k < group_vectors<T>; ++k)
      store(part_sum + (first_group + i) * group_channels + k * lanes<T>, sum[i][k]);
}

template <class T> void add_round(winograd_weight_gradient<T> const& job, int unit, T* scratch) {
  winograd_product const part = product_of(job, unit);
  std::ptrdiff_t const group = job.group_elements();
  winograd_operand<T> const x{job.shared + part.first_channel / group_channels * group,
                              job.point_elements(job.x_groups()), group};
  winograd_operand<T> const g{job.transformed_g() + part.panel * (panel_outputs / group_channels) * group,
                              job.point_elements(job.g_groups()), group};
  multiply_transforms(job, part, job.round_tiles(), x, g, scratch, false);
  finish_product<T>(job, part, scratch, job.dw, job.round > 0 || job.accumulate);
}
