// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cmath>

#include <unetdn/kernels/pieces.hpp>
#include <unetdn/kernels/sigmoid.hpp>

namespace unetdn::kernels {

/// Floats that belong to a piece of T: `count` elements from `from` on, then zeros.
template <class T>
UNETDN_DEVICE void load_floats(float const* from, int count, bool aligned, float (&r)[piece_size<T>]) {
  constexpr int width = piece_size<float>;
  UNETDN_UNROLL
  for (int first = 0; first < piece_size<T>; first += width) {
    int const left = count - first;
    piece<float> const p = load_piece(from + first, left < width ? left : width, aligned);
    UNETDN_UNROLL
    for (int i = 0; i < width; ++i) r[first + i] = p.r[i];
  }
}

/// What an element with d = y - target adds to l1, |d|, or to mse, d^2, and the derivative of that; of d^2 half of it.
struct pointwise_loss_term {
  float value, slope;
  UNETDN_DEVICE pointwise_loss_term(float d, bool squared)
      : value{squared ? d * d : std::fabs(d)}, slope{squared ? d : float(d > 0) - float(d < 0)} {}
};

/// With d = y - target, loss_scale 1 where it is null, and ssim 0 where it is empty:
///   l1    partial[b] = sum of |d| over what block b owns,  dy = loss_scale (weight sign(d) + ssim)
///   mse   partial[b] = sum of d^2,                         dy = loss_scale weight d
/// and where y is a sigmoid and dy the gradient with respect to its argument, dy is multiplied by y (1 - y).
/// y, target, dy [N,H,W,C]; dy may be y's memory.
///
/// A thread takes every (blocks * threads)-th piece of 16 bytes of y in float, in order, and block_sum adds the
/// threads. Traffic: y read, target read in float, dy written, and ssim read in float. Bound: memory bandwidth.
template <class T> struct loss_gradient {
  static constexpr int threads = 256;
  struct shared {
    float warps[threads / warp_size];
  };
  view<T const> y;
  view<float const> target, ssim;
  view<T> dy;
  float const* loss_scale;
  float* partial;
  float weight;
  bool squared;          // mse
  bool through_sigmoid;  // dy is with respect to y's argument
  bool aligned;          // all windows

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared& s) const {
    float const scale = loss_scale ? *loss_scale : 1.f;
    float r_sum = 0;
    for_each_piece(block, threads, y, [&](int image, int row, int column, int channel, int count) {
      piece<T> const r_y = load_piece(y.pixel(image, row, column) + channel, count, aligned);
      float r_target[piece_size<T>], r_ssim[piece_size<T>] = {};
      load_floats<T>(target.pixel(image, row, column) + channel, count, aligned, r_target);
      if (ssim) load_floats<T>(ssim.pixel(image, row, column) + channel, count, aligned, r_ssim);
      piece<T> r_dy;
      UNETDN_UNROLL
      for (int i = 0; i < piece_size<T>; ++i) {
        float const v = float(r_y.r[i]);
        pointwise_loss_term const term(v - r_target[i], squared);
        r_sum += term.value;
        float const slope = scale * (weight * term.slope + r_ssim[i]);
        r_dy.r[i] = T(through_sigmoid ? before_sigmoid(slope, v) : slope);
      }
      store_piece(dy.pixel(image, row, column) + channel, r_dy, count, aligned);
    });
    float const total = block_sum(block, s.warps, r_sum);
    if (block.thread() == 0) partial[block.index().x] = total;
  }
};

/// SSIM of y and target and its gradient with respect to y, for one tile of pixels of one channel:
///   partial[block] = sum of S over the windows that begin in the tile,  gradient[n,h,w,c] = weight * d(sum of S)/dy
/// The formulas are at detail::ssim_derivative; windows are `taps` x `taps` and must fit the picture.
///
/// A tile depends on the windows that reach it, and these on pixels as far again, so a block loads (tile + 2 reach)^2
/// pixels of both pictures and keeps all that follows in shared memory: the means along rows, then along columns, S and
/// its three derivatives, and their means along columns and along rows. A thread filters `run` neighbours at a time in
/// registers, so that a value is read from shared memory (run + reach) / run times, not 11. Rows in shared memory have
/// odd pitches: threads beside each other then meet different banks. Blocks recompute each other's rims, which
/// takes 1.6 times the fewest multiplications and spares three maps in memory. Traffic: y and target read 2.6 times,
/// mostly from cache; gradient written once, in float. Bound: multiplications and shared memory, about 250 of each an
/// element.
template <class T> struct ssim_gradient {
  static constexpr int threads = 256;
  static constexpr int taps = 11, reach = taps - 1;
  static constexpr int tile = 32, windows = tile + reach, pixels = windows + reach;
  enum { mean_a, squares, product, mean_b, moments };
  static constexpr int derivatives = 3;  // with respect to the first three moments

  struct shared {
    union {
      float picture[2][pixels][pixels + 1];
      float derivative[derivatives][windows][windows + 1];
    };
    union {
      float along_rows[moments][pixels][windows + 1];
      float adjoint[derivatives][tile][windows + 1];
    };
    float warps[threads / warp_size];
  };

  view<T const> y;
  view<float const> target;
  float* gradient;  // dense
  float* partial;
  float weight;
  float tap[taps];  // symmetric

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared& s) const {
    int const image = block.index().z / y.c, channel = block.index().z % y.c;
    // Of the first pixel that is loaded, and of the first window.
    int const top = block.index().y * tile - reach, left = block.index().x * tile - reach;
    load(block, s, image, channel, top, left);
    block.sync();  // completes picture
    filter_rows(block, s);
    block.sync();  // completes along_rows; nobody needs picture any more
    float const r_sum = differentiate(block, s, top, left);
    block.sync();  // completes derivative; nobody needs along_rows any more
    filter_columns(block, s);
    block.sync();  // completes adjoint
    collect(block, s, image, channel, top + reach, left + reach);
    float const total = block_sum(block, s.warps, r_sum);
    extent3 const at = block.index(), blocks = block.blocks();
    if (block.thread() == 0) partial[(std::int64_t(at.z) * blocks.y + at.y) * blocks.x + at.x] = total;
  }

 private:
  /// sum[j] += tap * from[j], from[j + 1] ... for `Run` neighbours j, each `stride` floats behind the one before.
  template <int Run> UNETDN_DEVICE void filter(float const* from, int stride, float (&sum)[Run]) const {
    UNETDN_UNROLL
    for (int k = 0; k < Run + reach; ++k) add_taps(k, from[k * stride], sum);
  }
  template <int Run> UNETDN_DEVICE void add_taps(int k, float value, float (&sum)[Run]) const {
    UNETDN_UNROLL
    for (int j = 0; j < Run; ++j) {
      if (k >= j && k - j < taps) sum[j] += tap[k - j] * value;
    }
  }

  template <class Block>
  UNETDN_DEVICE void load(Block& block, shared& s, int image, int channel, int top, int left) const {
    for (int i = block.thread(); i < pixels * pixels; i += threads) {
      int const row = i / pixels, column = i % pixels;
      bool const inside = unsigned(top + row) < unsigned(y.h) && unsigned(left + column) < unsigned(y.w);
      s.picture[0][row][column] = inside ? float(y.pixel(image, top + row, left + column)[channel]) : 0.f;
      s.picture[1][row][column] = inside ? target.pixel(image, top + row, left + column)[channel] : 0.f;
    }
  }

  template <class Block> UNETDN_DEVICE void filter_rows(Block& block, shared& s) const {
    constexpr int run = 7;
    static_assert(windows % run == 0);
    for (int i = block.thread(); i < pixels * (windows / run); i += threads) {
      int const row = i % pixels, first = i / pixels * run;
      float r_sum[moments][run] = {};
      UNETDN_UNROLL
      for (int k = 0; k < run + reach; ++k) {
        float const a = s.picture[0][row][first + k], b = s.picture[1][row][first + k];
        add_taps(k, a, r_sum[mean_a]);
        add_taps(k, a * a + b * b, r_sum[squares]);
        add_taps(k, a * b, r_sum[product]);
        add_taps(k, b, r_sum[mean_b]);
      }
      UNETDN_UNROLL
      for (int m = 0; m < moments; ++m) {
        UNETDN_UNROLL
        for (int j = 0; j < run; ++j) s.along_rows[m][row][first + j] = r_sum[m][j];
      }
    }
  }

  /// The sum of S over this thread's windows that begin in the tile.
  template <class Block> UNETDN_DEVICE float differentiate(Block& block, shared& s, int top, int left) const {
    constexpr int run = 7;
    constexpr float c1 = 0.01f * 0.01f, c2 = 0.03f * 0.03f;
    float r_total = 0;
    for (int i = block.thread(); i < windows * (windows / run); i += threads) {
      int const column = i % windows, first = i / windows * run;
      float r_mean[moments][run] = {};
      UNETDN_UNROLL
      for (int m = 0; m < moments; ++m) filter(&s.along_rows[m][first][column], windows + 1, r_mean[m]);
      UNETDN_UNROLL
      for (int j = 0; j < run; ++j) {
        int const row = first + j;
        bool const fits =
            top + row >= 0 && left + column >= 0 && top + row + taps <= y.h && left + column + taps <= y.w;
        float const ma = r_mean[mean_a][j], mb = r_mean[mean_b][j];
        float const a1 = 2 * ma * mb + c1, a2 = 2 * (r_mean[product][j] - ma * mb) + c2;
        float const b1 = ma * ma + mb * mb + c1, b2 = r_mean[squares][j] - ma * ma - mb * mb + c2;
        float const inverse = 1 / (b1 * b2);
        float const similarity = a1 * a2 * inverse;
        if (fits && row >= reach && column >= reach) r_total += similarity;
        s.derivative[mean_a][row][column] =
            fits ? 2 * (mb * (a2 - a1) * inverse + ma * similarity * (1 / b2 - 1 / b1)) : 0.f;
        s.derivative[squares][row][column] = fits ? -similarity / b2 : 0.f;
        s.derivative[product][row][column] = fits ? 2 * a1 * inverse : 0.f;
      }
    }
    return r_total;
  }

  template <class Block> UNETDN_DEVICE void filter_columns(Block& block, shared& s) const {
    constexpr int run = 8, runs = tile / run;
    for (int i = block.thread(); i < derivatives * runs * windows; i += threads) {
      int const column = i % windows, first = i / windows % runs * run, k = i / windows / runs;
      float r_sum[run] = {};
      filter(&s.derivative[k][first][column], windows + 1, r_sum);
      UNETDN_UNROLL
      for (int j = 0; j < run; ++j) s.adjoint[k][first + j][column] = r_sum[j];
    }
  }

  template <class Block>
  UNETDN_DEVICE void collect(Block& block, shared& s, int image, int channel, int top, int left) const {
    constexpr int run = 4, runs = tile / run;
    for (int i = block.thread(); i < tile * runs; i += threads) {
      int const row = i / runs, first = i % runs * run;
      float r_sum[derivatives][run] = {};
      UNETDN_UNROLL
      for (int k = 0; k < derivatives; ++k) filter(&s.adjoint[k][row][first], 1, r_sum[k]);
      UNETDN_UNROLL
      for (int j = 0; j < run; ++j) {
        int const iy = top + row, ix = left + first + j;
        if (iy >= y.h || ix >= y.w) continue;
        float const a = float(y.pixel(image, iy, ix)[channel]), b = target.pixel(image, iy, ix)[channel];
        gradient[((std::int64_t(image) * y.h + iy) * y.w + ix) * y.c + channel] =
            weight * (r_sum[mean_a][j] + 2 * a * r_sum[squares][j] + b * r_sum[product][j]);
      }
    }
  }
};

}  // namespace unetdn::kernels
