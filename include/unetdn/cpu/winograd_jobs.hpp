// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <unetdn/core/kernel.hpp>
#include <unetdn/core/view.hpp>
#include <unetdn/cpu/jobs.hpp>
#include <unetdn/cpu/packed_weights.hpp>

// What the Winograd bodies of 3x3 convolutions with stride 1 are asked to do. Lavin and Gray, "Fast Algorithms for
// Convolutional Neural Networks" (2016), F(4x4,3x3): 4 x 4 outputs are computed from 6 x 6 inputs with 36
// multiplications a pair of channels instead of 144. With the transforms of bodies/winograd_transforms.inl,
//   y = A^T [ sum over channels (G w G^T) * (B^T x B) ] A,   * element by element,
// so each of the 36 points is a matrix product of its own, over tiles, input and output channels.
namespace unetdn::cpu_bodies {

inline constexpr int winograd_output = 4, winograd_window = 6, winograd_points = 36;

/// Elements between the matrices of two points beyond their own size: 36 streams that lie a power of two apart would
/// fall on the same lines of the caches.
inline constexpr int winograd_gap = 16;

/// The tiles of 4 x 4 outputs of n pictures; the last of a row or column may be partial.
struct winograd_tiles {
  int n = 0, rows = 0, cols = 0;

  struct place {
    int image, row, col;  // of the tile's first output
  };

  winograd_tiles() = default;
  winograd_tiles(int n_, int h, int w)
      : n{n_}, rows{ceil_div(h, winograd_output)}, cols{ceil_div(w, winograd_output)} {}
  int count() const { return n * rows * cols; }
  place at(int tile) const {
    return {tile / (rows * cols), tile / cols % rows * winograd_output, tile % cols * winograd_output};
  }
  /// The tile so many further on, or the last.
  place ahead(int tile, int tiles) const { return at(std::min(tile + tiles, count() - 1)); }
};

/// y = epilogue(x * w), or with `adjoint` the data gradient: x is dy, y is dx, and w is read transposed and rotated.
/// The epilogue adds the bias, then applies ReLU, then the mask (y where mask > 0, else 0). A tile of y is four windows
/// of max-pooling, which take it from registers.
///
/// There are three orders of one arithmetic, so the bits are the same. With many tiles the transformed weights are
/// shared and a unit is a block of tiles: panel by panel, whose sums stay near, or with large weights point by point,
/// which reads the weights for larger blocks and so fewer times. With few tiles their transformed inputs are shared and
/// a unit is a panel of outputs, which transforms its weights some channels at a time: of the weights of the deepest
/// layers, which have the fewest tiles, no transformed copy, four times their size, exists.
template <class T> struct winograd_correlation {
  view<T const> x;
  view<T> y;
  view<T const> mask;
  view<T> pooled;  // of y's 2x2 maxima, or empty
  T const* w = nullptr;
  packed_weights weights{0, 0, 0};
  bool adjoint = false;
  T const* bias = nullptr;
  bool relu = false;

  // Set by plan().
  winograd_tiles tiles;
  even_blocks blocks;
  bool shares_weights = false;
  bool by_points = false;     // whether a point is multiplied for all outputs before the next point
  bool whole_panels = false;  // whether a panel's outputs are multiplied together; else those of a register tile
  bool past_caches = false;   // whether y is written past the caches

  T* shared = nullptr;

  int channels() const { return adjoint ? weights.outputs : weights.channels; }
  int groups() const { return ceil_div(channels(), group_channels); }
  /// How the outputs are cut into panels.
  packed_weights panels() const { return {channels(), adjoint ? weights.channels : weights.outputs, 1}; }

  void plan(int workers) {
    constexpr int few_tiles = 128;
    // 19 MB of transformed weights: more than caches keep while a block passes over them (`kernels
    // --benchmark_filter=conv2d --shape 1,64,64,512,256`).
    constexpr std::int64_t large_weights = 512 * 256;
    tiles = winograd_tiles{y.n, y.h, y.w};
    // Too few panels for all workers are still better than blocks of a tile or two, each of which reads all weights.
    bool const many_workers = panels().panels() < workers && tiles.count() >= 8 * workers;
    cut(tiles.count() > few_tiles || many_workers, std::int64_t(channels()) * panels().outputs >= large_weights,
        workers);
    plan_stores();
  }
  /// Chooses the order; for plan() and tests.
  void cut(bool share_weights, bool points_first, int workers) {
    shares_weights = share_weights;
    by_points = shares_weights && points_first;
    // Whole register tiles of every instruction set. The transforms of the fewer stay in the second-level cache, of the
    // more those of one point do.
    int const block_tiles = by_points ? 48 : 24;
    // Few outputs at a time leave room for their sums in the second-level cache. The transformed inputs of many
    // channels do not fit beside them, and the fewer times they are read the better (`kernels
    // --benchmark_filter=conv2d`).
    constexpr int many_channels = 64;
    whole_panels = by_points || (shares_weights && channels() > many_channels);
    // As many blocks as keep all workers busy to the end.
    int const count = shares_weights ? round_up(ceil_div(tiles.count(), block_tiles), workers) : 1;
    blocks = even_blocks{tiles.count(), std::max(1, ceil_div(tiles.count(), std::max(1, count)))};
  }

  /// Transformed weights of `inputs` channels for the outputs of one span, some of a panel, lie
  /// [point][strip][channel][strip's outputs], a strip being the outputs of one register tile. A panel has at most two
  /// spans.
  static std::ptrdiff_t weights_point(int inputs, int width) { return std::ptrdiff_t(inputs) * width + winograd_gap; }
  std::ptrdiff_t weights_panel() const { return winograd_points * 2 * weights_point(channels(), panel_outputs / 2); }
  /// Transformed inputs lie [point][group][tile][16].
  std::ptrdiff_t input_group() const { return std::ptrdiff_t(blocks.size) * group_channels; }
  std::ptrdiff_t input_point() const { return groups() * input_group() + winograd_gap; }
  /// Channels whose weights a panel's unit transforms at a time.
  int channels_at_once() const { return std::min(channels(), 64); }

  std::size_t shared_elements() const {
    return static_cast<std::size_t>(shares_weights ? panels().panels() * weights_panel()
                                                   : winograd_points * input_point());
  }
  std::size_t worker_elements() const {
    return static_cast<std::size_t>(winograd_points * own_point() + (by_points ? panels().panels() : 1) * panel_sums());
  }
  std::ptrdiff_t panel_sums() const {
    return winograd_points * (std::ptrdiff_t(blocks.size) * panel_outputs + winograd_gap);
  }
  /// Products of a panel's span lie behind what a worker has transformed; by points, those of all panels.
  T* sums(T* scratch, int panel) const {
    return scratch + winograd_points * own_point() + (by_points ? panel * panel_sums() : 0);
  }

 private:
  std::ptrdiff_t own_point() const {
    return shares_weights ? input_point() : weights_point(channels_at_once(), panel_outputs);
  }
  /// A large y leaves the caches before it is read again; written past them, it is not read first. That needs whole
  /// cache lines, and a mask elsewhere: reading it would bring y into the caches.
  void plan_stores() {
    constexpr std::int64_t large = std::int64_t(8) << 20;
    constexpr std::int64_t line = 64;
    auto const whole_lines = [](std::int64_t elements) { return elements * std::int64_t(sizeof(T)) % line == 0; };
    past_caches = mask.data != y.data && y.size() * std::int64_t(sizeof(T)) >= large && whole_lines(y.pixel_stride) &&
                  whole_lines(y.row_stride) && whole_lines(y.image_stride) &&
                  reinterpret_cast<std::uintptr_t>(y.data) % line == 0;
  }
};

/// dw = G^T [ sum over tiles (B^T x B) * (A g A^T) ] G, db = sum of g, in one of two ways.
///
/// By chunks, with few channels: a unit is a chunk of the tiles, a block of channels and a panel of outputs. It
/// transforms its tiles block by block and holds all it touches in its core's second-level cache; inputs are
/// transformed once for each panel, which costs less than fetching them from where all cores can reach them. The
/// chunks' dw are added in order.
///
/// By rounds, with many: the transforms of a round of tiles are shared, then units of a block of channels and a panel
/// multiply them, and add their G^T sums G to dw.
template <class T> struct winograd_weight_gradient {
  view<T const> x, g;
  packed_weights weights{0, 0, 0};
  T *dw = nullptr, *db = nullptr;
  bool accumulate = false;

  // Set by plan().
  winograd_tiles tiles;
  bool by_chunks = false;
  even_blocks blocks;  // by chunks: what is transformed at a time
  int chunks = 1;
  even_blocks rounds;  // by rounds

  T* shared = nullptr;
  int round = 0;

  // By rounds: the unit of the transforms. A pixel's channels are read together.
  static constexpr int part_tiles = 32;  // also of the sums of db
  static constexpr int bundle_groups = 4;
  static constexpr int unit_channels = 64;  // whose sums a worker holds

  void plan() {
    constexpr int chunk_channels = 32;  // `kernels --benchmark_filter=conv2d/backward_weights`: at 64 they were even
    tiles = winograd_tiles{g.n, g.h, g.w};
    if (std::max(weights.channels, weights.outputs) <= chunk_channels)
      cut(true, tiles_of(160 << 10, weights.channels + weights.outputs, 8, 32));
    else
      cut(false, tiles_of(6 << 20, weights.channels + weights.outputs, 2 * part_tiles, 1024));
  }
  /// Chooses the way, and the most tiles that are transformed at a time; for plan() and tests.
  void cut(bool chunks_, int most_tiles) {
    constexpr int wanted_units = 16;
    by_chunks = chunks_;
    (by_chunks ? blocks : rounds) = even_blocks{tiles.count(), most_tiles};
    chunks = by_chunks ? std::clamp(ceil_div(wanted_units, products()), 1, std::max(1, blocks.count)) : 1;
  }

  int x_groups() const { return ceil_div(weights.channels, group_channels); }
  int g_groups() const { return ceil_div(weights.outputs, group_channels); }
  int channel_blocks() const { return ceil_div(weights.channels, unit_channels); }
  /// Pairs of a block of channels and a panel.
  int products() const { return channel_blocks() * weights.panels(); }
  std::ptrdiff_t bias_elements() const { return std::ptrdiff_t(g_groups()) * group_channels; }
  /// The sums of one pair lie [point][channel][panel's width].
  static std::ptrdiff_t sums_point() { return unit_channels * panel_outputs + winograd_gap; }

  /// Transformed x and g lie [point][group][tile][16]: of a block, or of a round.
  std::ptrdiff_t group_elements() const {
    return std::ptrdiff_t(by_chunks ? blocks.size : rounds.size) * group_channels;
  }
  std::ptrdiff_t point_elements(int groups) const { return groups * group_elements() + winograd_gap; }

  // By chunks. Each has sums of db, and where there are several, of dw.
  int unit_groups() const { return std::min(x_groups(), unit_channels / group_channels); }
  int panel_groups() const { return std::min(g_groups(), panel_outputs / group_channels); }
  /// First of the blocks of tiles that chunk q sums.
  int chunk_begin(int q) const { return static_cast<int>(std::int64_t(blocks.count) * q / chunks); }
  bool direct() const { return chunks == 1; }
  std::int64_t partial_elements() const { return bias_elements() + (direct() ? 0 : weights.size()); }

  // By rounds.
  int x_bundles() const { return ceil_div(x_groups(), bundle_groups); }
  int bundles() const { return x_bundles() + ceil_div(g_groups(), bundle_groups); }
  int parts() const { return ceil_div(rounds.size, part_tiles); }
  /// Number of the round's tiles.
  int round_tiles() const { return rounds.length(round); }
  T* transformed_g() const { return shared + winograd_points * point_elements(x_groups()); }
  /// Sums of g, [round][part][outputs].
  T* bias_parts() const { return transformed_g() + winograd_points * point_elements(g_groups()); }

  std::size_t shared_elements() const {
    if (by_chunks) return static_cast<std::size_t>(chunks * partial_elements());
    return static_cast<std::size_t>(winograd_points * (point_elements(x_groups()) + point_elements(g_groups())) +
                                    bias_elements() * parts() * rounds.count);
  }
  std::size_t worker_elements() const {
    std::ptrdiff_t const inputs = by_chunks ? point_elements(unit_groups()) + point_elements(panel_groups()) : 0;
    return static_cast<std::size_t>(winograd_points * (sums_point() + inputs));
  }

 private:
  /// How many tiles' transforms of so many channels fit.
  static int tiles_of(std::int64_t bytes, int channels, int least, int most) {
    std::int64_t const tile_bytes = std::int64_t(sizeof(T)) * winograd_points * channels;
    return static_cast<int>(std::clamp<std::int64_t>(bytes / tile_bytes, least, most));
  }
};

/// The Winograd bodies of one instruction set: forward and data gradient.
template <class T> struct winograd_bodies {
  /// Units: panels x groups of input channels.
  void (*share_weights)(winograd_correlation<T> const&, int unit);
  /// Units: blocks of tiles.
  void (*correlate_tiles)(winograd_correlation<T> const&, int unit, T* scratch);
  /// Units: tiles.
  void (*share_input)(winograd_correlation<T> const&, int unit);
  /// Units: panels.
  void (*correlate_panel)(winograd_correlation<T> const&, int unit, T* scratch);
};

/// The Winograd bodies of one instruction set: weight gradient.
template <class T> struct winograd_gradient_bodies {
  /// By chunks. Units: chunks x blocks of channels x panels.
  void (*sum_chunk)(winograd_weight_gradient<T> const&, int unit, T* scratch);
  /// By rounds. Units: parts x (bundles of groups of x and of g).
  void (*transform_round)(winograd_weight_gradient<T> const&, int unit);
  /// By rounds. Units: blocks of channels x panels.
  void (*add_round)(winograd_weight_gradient<T> const&, int unit, T* scratch);
};

}  // namespace unetdn::cpu_bodies
