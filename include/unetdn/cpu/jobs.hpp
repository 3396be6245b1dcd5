// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <unetdn/core/kernel.hpp>
#include <unetdn/core/random.hpp>
#include <unetdn/core/update_state.hpp>
#include <unetdn/core/view.hpp>
#include <unetdn/core/window_code.hpp>
#include <unetdn/cpu/packed_weights.hpp>

// What the bodies are asked to do: plain descriptions, cut into numbered units that may run in any order on any thread.
// A unit's result depends on its number alone.
namespace unetdn::cpu_bodies {

/// Largest kernel, in pixels a side.
inline constexpr int max_kernel = 11;
inline constexpr int max_taps = max_kernel * max_kernel;
/// Largest stride; a strided data gradient has max_stride^2 phases.
inline constexpr int max_stride = 2;
inline constexpr int max_phases = max_stride * max_stride;

/// A displacement in rows and columns.
struct offset2 {
  int y = 0, x = 0;
};

/// The smallest rectangle that holds all displacements added to it.
struct extent2 {
  offset2 low, high;
  bool empty = true;

  void add(offset2 o) {
    low = empty ? o : offset2{std::min(low.y, o.y), std::min(low.x, o.x)};
    high = empty ? o : offset2{std::max(high.y, o.y), std::max(high.x, o.x)};
    empty = false;
  }
};

/// How the pixels that a block of positions touches lie in scratch: [rows][planes][groups][pitch][16]. Position (i, j)
/// of the block and displacement o meet pixel (stride i + o.y, stride j + o.x). Columns are dealt out to `stride`
/// planes, so that neighbouring positions are neighbours in scratch for every stride. Pixels outside the picture, and
/// channels beyond the last, are zero.
struct block_layout {
  int stride = 1;
  offset2 low;
  int rows = 0, groups = 0, pitch = 0;

  block_layout() = default;
  block_layout(int stride_, extent2 const& touched, int block_rows, int block_cols, int channels)
      : stride{stride_},
        low{touched.low},
        rows{(block_rows - 1) * stride_ + touched.high.y - touched.low.y + 1},
        groups{ceil_div(channels, group_channels)},
        pitch{ceil_div((block_cols - 1) * stride_ + touched.high.x - touched.low.x + 1, stride_)} {}

  std::ptrdiff_t group_elements() const { return std::ptrdiff_t(pitch) * group_channels; }
  std::ptrdiff_t plane_elements() const { return groups * group_elements(); }
  std::ptrdiff_t row_elements() const { return stride * plane_elements(); }
  std::ptrdiff_t elements() const { return rows * row_elements(); }
  /// Of the pixel that displacement o of position (0, 0) meets.
  std::ptrdiff_t index(offset2 o) const {
    int const y = o.y - low.y, x = o.x - low.x;
    return y * row_elements() + x % stride * plane_elements() + x / stride * group_channels;
  }
  /// From one row of positions to the next.
  std::ptrdiff_t position_row() const { return stride * row_elements(); }
};

/// `total` things in blocks of at most `most`, as equal as they come.
struct even_blocks {
  int total = 0, count = 0, size = 0;

  even_blocks() = default;
  even_blocks(int total_, int most)
      : total{total_}, count{ceil_div(total_, most)}, size{count ? ceil_div(total_, count) : 0} {
    count = size ? ceil_div(total_, size) : 0;
  }
  int begin(int block) const { return block * size; }
  int length(int block) const { return std::min(size, total - begin(block)); }
};

/// A grid of positions in n pictures, cut into rectangular blocks.
struct grid_blocks {
  int n = 0;
  even_blocks rows, cols;

  grid_blocks() = default;
  /// Blocks of at most `max_cols` columns and about `pixels` positions.
  grid_blocks(int n_, int h, int w, int max_cols, int pixels) : n{n_}, cols{w, max_cols} {
    rows = even_blocks{h, std::max(1, pixels / std::max(1, cols.size))};
  }
  int count() const { return n * rows.count * cols.count; }
  int image(int block) const { return block / (rows.count * cols.count); }
  int row(int block) const { return rows.begin(block / cols.count % rows.count); }
  int col(int block) const { return cols.begin(block % cols.count); }
};

/// One term of a correlation: the input's displacement, and which of the packed kernel positions weighs it.
struct tap {
  offset2 x;
  int weight = 0;
};

/// y[i][j][k] = epilogue(sum over taps t and channels c of x[stride i + t.y][stride j + t.x][c] w[c][t.weight][k]), for
/// up to four phases: outputs over one grid of positions, each with taps and an output window of its own. The epilogue
/// adds the bias, then applies ReLU, then the mask (y where mask > 0, else 0).
template <class T> struct correlation {
  struct phase {
    view<T> y;
    view<T const> mask;
    int first_tap = 0, taps = 0;
  };

  view<T const> x;
  int stride = 1;
  T const* w = nullptr;
  packed_weights weights{0, 0, 0};
  T const* bias = nullptr;
  bool relu = false;
  int phases = 0;
  phase phase_list[max_phases];
  int taps = 0;
  tap tap_list[max_taps];

  // Set by plan().
  grid_blocks blocks;
  block_layout layout;
  int panels_per_unit = 1, panel_units = 1;

  void begin_phase(view<T> y, view<T const> mask) { phase_list[phases++] = {y, mask, taps, 0}; }
  void add_tap(offset2 displacement, int weight) {
    tap_list[taps++] = {displacement, weight};
    ++phase_list[phases - 1].taps;
  }

  /// Cuts the work into units for so many workers; every output is computed alike however it is cut.
  void plan(int workers) {
    // Three rows of a group of channels stay in the first-level cache beside a chunk of weights; at 64 channels a
    // packed block and its sums share the second-level cache; the rims of a block, which its neighbours pack again,
    // stay a small part of it.
    constexpr int block_cols = 64, block_pixels = 512;
    int const wanted_units = 4 * workers;  // so that none waits long for the last
    extent2 touched;
    for (int t = 0; t < taps; ++t) touched.add(tap_list[t].x);
    int h = 0, w_ = 0;
    for (int p = 0; p < phases; ++p) {
      h = std::max(h, phase_list[p].y.h);
      w_ = std::max(w_, phase_list[p].y.w);
    }
    blocks = grid_blocks{x.n, h, w_, block_cols, block_pixels};
    layout = block_layout{stride, touched, blocks.rows.size, blocks.cols.size, weights.channels};
    int const splits = std::clamp(ceil_div(wanted_units, std::max(1, blocks.count())), 1, weights.panels());
    panels_per_unit = ceil_div(weights.panels(), splits);
    panel_units = ceil_div(weights.panels(), panels_per_unit);
  }
  int units() const { return blocks.count() * panel_units; }
  /// Elements of scratch a worker needs: the packed block, the sums of a block of outputs, a chunk of weights.
  std::size_t worker_elements() const {
    return static_cast<std::size_t>(layout.elements() + sums_elements() + weights_elements());
  }
  std::ptrdiff_t sums_elements() const { return std::ptrdiff_t(blocks.rows.size) * blocks.cols.size * panel_outputs; }

  /// How many channels, in whole groups, are multiplied before the sums go back to memory, for a tile of so many
  /// outputs: their weights leave most of a first-level cache to the pixels. However many, an output's terms are added
  /// in the same order.
  static int chunk_channels(int tap_count, int outputs) {
    return std::max(1, chunk_bytes / (std::max(1, tap_count) * outputs * int(sizeof(T))) / group_channels) *
           group_channels;
  }
  std::ptrdiff_t weights_elements() const {
    return std::max(chunk_bytes / std::ptrdiff_t(sizeof(T)),
                    std::ptrdiff_t(weights.taps) * group_channels * panel_outputs);
  }

 private:
  static constexpr int chunk_bytes = 8 << 10;
};

/// dw[c][t][k] = sum over positions (i, j) of x[sx i + t.x.y][sx j + t.x.x][c] g[sg i + t.g.y][sg j + t.g.x][k], and
/// db[k] = sum of g. Positions are summed in fixed chunks, and the chunks' sums are added in order.
template <class T> struct weight_gradient {
  struct tap_pair {
    offset2 x, g;
  };

  view<T const> x, g;
  int x_stride = 1, g_stride = 1;
  int n = 0, h = 0, w = 0;  // the grid of positions
  packed_weights weights{0, 0, 0};
  T *dw = nullptr, *db = nullptr;
  bool accumulate = false;
  T* partials = nullptr;  // [chunks][partial_elements()]
  int taps = 0;
  tap_pair tap_list[max_taps];

  // Set by plan().
  grid_blocks blocks;
  block_layout x_layout, g_layout;
  even_blocks channel_blocks, panel_blocks;
  int chunks = 1;

  void plan() {
    constexpr int block_cols = 32, block_pixels = 96;   // a block of x and g stays in the first-level cache
    constexpr int unit_channels = 64, unit_panels = 2;  // their dw stays in the second-level cache
    constexpr int wanted_units = 32;
    extent2 x_touched, g_touched;
    for (int t = 0; t < taps; ++t) {
      x_touched.add(tap_list[t].x);
      g_touched.add(tap_list[t].g);
    }
    blocks = grid_blocks{n, h, w, block_cols, block_pixels};
    // Whole groups of channels: only the last block has a tail.
    channel_blocks = even_blocks{ceil_div(weights.channels, group_channels), unit_channels / group_channels};
    panel_blocks = even_blocks{weights.panels(), unit_panels};
    x_layout =
        block_layout{x_stride, x_touched, blocks.rows.size, blocks.cols.size, channel_blocks.size * group_channels};
    g_layout = block_layout{g_stride, g_touched, blocks.rows.size, blocks.cols.size, panel_blocks.size * panel_outputs};
    int const products = std::max(1, channel_blocks.count * panel_blocks.count);
    chunks = std::clamp(ceil_div(wanted_units, products), 1, std::max(1, blocks.count()));
  }
  int units() const { return chunks * channel_blocks.count * panel_blocks.count; }
  /// With one chunk dw itself takes the sums; only the bias gradient's lie apart.
  bool direct() const { return chunks == 1; }
  std::int64_t bias_elements() const { return round_up(weights.outputs, group_channels); }
  std::int64_t partial_elements() const { return bias_elements() + (direct() ? 0 : weights.size()); }
  std::size_t shared_elements() const { return static_cast<std::size_t>(chunks * partial_elements()); }
  std::size_t worker_elements() const { return static_cast<std::size_t>(x_layout.elements() + g_layout.elements()); }
  /// First of the blocks of positions that chunk q sums.
  int chunk_begin(int q) const { return static_cast<int>(std::int64_t(blocks.count()) * q / chunks); }
};

/// to[c'=k][t][k'=c] = from[c][t][k], both packed; a unit is one panel of `to`.
template <class T> struct weight_transpose {
  T const* from = nullptr;
  T* to = nullptr;
  packed_weights from_layout{0, 0, 0};

  packed_weights to_layout() const { return {from_layout.outputs, from_layout.channels, from_layout.taps}; }
};

/// Rows of 2x2 windows; a unit is one row of windows of one picture.
template <class T> struct pool_forward {
  view<T const> x;
  view<T> y;
};
template <class T> struct pool_backward {
  view<T const> x, dy;
  view<T> dx;
};
template <class T> struct pool_encode {
  view<T const> x;
  view<window_code> codes;
  view<T> y;  // may be empty
};
template <class T> struct pool_backward_into_skip {
  view<window_code const> codes;
  view<T const> dy;
  view<T> dx;
};

/// AdamW: see adamw_step(). Elements are parameters.
template <class T> struct adamw_update {
  T *weights, *first_moment, *second_moment, *average;  // average may be null
  T const* gradient;
  T const* rate_factors;  // of blocks of rate_block; or null: all 1
  T beta1, beta2, gradient_scale;
  T step_size;   // rate / (1 - beta1^step)
  T root_scale;  // 1 / sqrt(1 - beta2^step)
  T epsilon, decay, average_decay;
};

/// A row of windows of SSIM: means over them of a, b, a^2 + b^2 and a b in, S's derivatives by three of them out. The
/// formulas are at detail::ssim_derivative.
template <class T> struct ssim_row {
  T const *mean_a, *mean_b, *squares, *product;
  T *by_mean, *by_squares, *by_product;
  std::int64_t elements;
};

/// gradient = scale (by_mean + 2 a by_squares + b by_product), the adjoint of the means.
template <class T> struct ssim_adjoint {
  T const *by_mean, *by_squares, *by_product, *a, *b;
  T* gradient;
  T scale;
  std::int64_t elements;
};

/// A row of the loss: dy = step (y - target) where `squared`, otherwise step sign(y - target); and where there is an
/// `ssim`, less ssim_weight ssim. dy may be y.
template <class T> struct loss_row {
  T const *y, *target, *ssim;
  T* dy;
  bool squared;
  T step, ssim_weight;
  std::int64_t elements;
};

// The bodies of one instruction set, in tables of what is used together: a program that only denoises does not make its
// compiler translate gradients.

template <class T> struct forward_bodies {
  void (*correlate)(correlation<T> const&, int unit, T* scratch);
  void (*pool_forward_row)(pool_forward<T> const&, int unit);
};

/// Of runs of elements; y may be x.
template <class T> struct activation_bodies {
  void (*relu_forward)(T const* x, T* y, std::int64_t elements);
  void (*sigmoid_forward)(T const* x, T* y, std::int64_t elements);
};

struct noise_bodies {
  /// gaussian_block() of `count` blocks from `block` on, four deviates each.
  void (*gaussian_blocks)(random_key const& key, std::uint32_t sample, std::uint32_t block, std::int64_t count,
                          float* out);
};

template <class T> struct loss_bodies {
  /// to[i] = taps[0] rows[0][i] + ... + taps[count - 1] rows[count - 1][i], for i < elements.
  void (*filter_rows)(T const* taps, T const* const* rows, int count, T* to, std::int64_t elements);
  /// squares = a^2 + b^2, product = a b.
  void (*multiply_rows)(T const* a, T const* b, T* squares, T* product, std::int64_t elements);
  /// The sum of S.
  double (*differentiate_ssim)(ssim_row<T> const&);
  void (*collect_ssim)(ssim_adjoint<T> const&);
  /// The sum of |y - target| or its square.
  double (*compare_rows)(loss_row<T> const&);
};

template <class T> struct gradient_bodies {
  void (*sum_weight_gradient)(weight_gradient<T> const&, int unit, T* scratch);
  /// to[i] = (add ? to[i] : 0) + from[i] + from[stride + i] + ...
  void (*sum_parts)(T const* from, int parts, std::int64_t stride, T* to, std::int64_t elements, bool add);
  void (*transpose_weights)(weight_transpose<T> const&, int panel);
  void (*pool_backward_row)(pool_backward<T> const&, int unit);
  void (*pool_encode_row)(pool_encode<T> const&, int unit);
  void (*pool_backward_into_skip_row)(pool_backward_into_skip<T> const&, int unit);
  void (*update_weights)(adamw_update<T> const&, std::int64_t begin, std::int64_t end);
  double (*squared_norm)(T const* x, std::int64_t elements);
  /// Of runs of elements; dx may be dy.
  void (*relu_backward)(T const* y, T const* dy, T* dx, std::int64_t elements);
  void (*sigmoid_backward)(T const* y, T const* dy, T* dx, std::int64_t elements);
};

}  // namespace unetdn::cpu_bodies
