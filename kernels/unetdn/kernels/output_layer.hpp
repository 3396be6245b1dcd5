// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cmath>

#include <unetdn/core/half.hpp>
#include <unetdn/kernels/conv2d_weight_gradient.hpp>
#include <unetdn/kernels/conv_weights.hpp>
#include <unetdn/kernels/loss.hpp>
#include <unetdn/kernels/pieces.hpp>
#include <unetdn/kernels/sigmoid.hpp>

// A network's last layer: a 1x1 convolution to few channels, for which a tile of a matrix product would be mostly
// empty. The picture's many channels are read once in either direction, and nothing else is of their size.

namespace unetdn::kernels {

/// A pixel of a window, from its number in order of rows.
struct pixel_place {
  int image, row, column;

  template <class T> static UNETDN_DEVICE pixel_place of(view<T> const& v, int number) {
    if (v.n == 1 && v.h == 1) return {0, 0, number};  // dense windows are joined to one row: no division
    unsigned const row = unsigned(number) / unsigned(v.w);
    unsigned const image = row / unsigned(v.h);
    return {int(image), int(row - image * unsigned(v.h)), int(unsigned(number) - row * unsigned(v.w))};
  }
};

/// y = f(w x + bias) for each pixel, where f is the sigmoid, or adds the residual, or nothing: x[N,H,W,C],
/// y[N,H,W,K], K <= Outputs, C <= most_channels. Where the gradient g[N,H,W,K] is given, also, with d = y - target,
///   partial[b] = sum of |d|, or of d^2, over what block b owns,   g = loss_scale weight slope(d) f'
/// as in loss_gradient, y being what was stored, so that g is the gradient with respect to w x + bias.
///
/// The weights lie in shared memory in float. Four lanes share four pixels: each takes every fourth piece of 16 bytes
/// of each of them, so that weights read from shared memory serve four times and as many loads are under way. In two
/// exchanges each lane hands the pixels of the others on and is left with the sums of one, in an order of additions
/// that is the same for all four; so a pixel's bits do not depend on its place. Traffic: x read once, y written once;
/// target read and g written once. Bound: memory bandwidth. There may be 2^30 pixels at most.
template <class T, int Outputs> struct output_layer_forward {
  static constexpr int threads = 256;
  static constexpr int min_blocks = 2;
  static constexpr int most_channels = 1024;
  static constexpr int size = piece_size<T>;
  static constexpr int sharing = 4;  // lanes, and their pixels
  struct shared {
    alignas(16) float w[Outputs][most_channels];
    float warps[threads / warp_size];
  };

  view<T const> x;
  bool aligned;  // of x
  T const* w;
  conv_weights layout;
  T const* bias;  // or null
  bool sigmoid;
  view<T const> residual;  // or without memory
  view<T> y;
  view<float const> target;
  view<T> gradient;  // or without memory
  float const* loss_scale;
  float* partial;
  float weight;
  bool squared;  // mse

  static extent3 grid(view<T> const& y, int most) {
    int const blocks = static_cast<int>(ceil_div(y.pixels(), threads));
    return {blocks < most ? blocks : most};
  }

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared& s) const {
    int const pitch = layout.pitch();
    for (int i = block.thread(); i < Outputs * pitch; i += threads) {
      int const k = i / pitch, c = i % pitch;
      s.w[k][c] = k < y.c ? float(w[layout.index(c, 0, k)]) : 0.f;
    }
    block.sync();  // completes w
    int const total = int(y.pixels());
    int const step = block.blocks().x * threads;
    float const scale = loss_scale ? *loss_scale : 1.f;
    float r_loss = 0;
    float r_bias[Outputs] = {};
    UNETDN_UNROLL
    for (int k = 0; k < Outputs; ++k) {
      if (bias && k < y.c) r_bias[k] = float(bias[k]);
    }
    for (int first = block.index().x * threads + block.warp() * warp_size; first < total; first += step) {
      int const pixel = first + block.lane();
      bool const inside = pixel < total;
      pixel_place const at = pixel_place::of(y, inside ? pixel : 0);
      beside const r_beside = load_beside(at, inside);
      float r_sum[Outputs];
      sums_of(block, s, first, total, r_sum);
      if (inside) r_loss += finish(at, r_sum, r_bias, r_beside, scale);
    }
    if (!gradient) return;
    float const of_block = block_sum(block, s.warps, r_loss);
    if (block.thread() == 0) partial[block.index().x] = of_block;
  }

 private:
  /// w x of the pixel first + lane.
  template <class Block>
  UNETDN_DEVICE void sums_of(Block& block, shared& s, int first, int total, float (&r_sum)[Outputs]) const {
    int const share = block.lane() % sharing;
    int const first_shared = first + block.lane() / sharing * sharing;
    T const* from[sharing];
    bool inside[sharing];
    UNETDN_UNROLL
    for (int i = 0; i < sharing; ++i) {
      inside[i] = first_shared + i < total;
      pixel_place const at = pixel_place::of(x, inside[i] ? first_shared + i : 0);
      from[i] = x.pixel(at.image, at.row, at.column);
    }
    float r_part[sharing][Outputs] = {};
    for (int c = share * size; c < x.c; c += sharing * size) {
      int const count = x.c - c < size ? x.c - c : size;
      piece<T> r_x[sharing];
      UNETDN_UNROLL
      for (int i = 0; i < sharing; ++i) r_x[i] = load_piece(from[i] + c, inside[i] ? count : 0, aligned);
      UNETDN_UNROLL
      for (int k = 0; k < Outputs; ++k) {
        UNETDN_UNROLL
        for (int j = 0; j < size; j += piece_size<float>) {
          piece<float> r_w;
          copy_aligned<16>(r_w.r, &s.w[k][c + j]);
          UNETDN_UNROLL
          for (int i = 0; i < sharing; ++i) {
            UNETDN_UNROLL
            for (int e = 0; e < piece_size<float>; ++e) r_part[i][k] += float(r_x[i].r[j + e]) * r_w.r[e];
          }
        }
      }
    }
    bool const second_half = share & 2, odd = share & 1;
    UNETDN_UNROLL
    for (int k = 0; k < Outputs; ++k) {
      float r_half[2];
      UNETDN_UNROLL
      for (int i = 0; i < 2; ++i) {
        float const mine = second_half ? r_part[i + 2][k] : r_part[i][k];
        float const others = second_half ? r_part[i][k] : r_part[i + 2][k];
        r_half[i] = mine + block.shuffle_xor(others, 2);
      }
      r_sum[k] = (odd ? r_half[1] : r_half[0]) + block.shuffle_xor(odd ? r_half[0] : r_half[1], 1);
    }
  }

  /// What a pixel's sums meet: loaded before they are there, so as not to be waited for behind them.
  struct beside {
    float residual[Outputs], target[Outputs];
  };
  UNETDN_DEVICE beside load_beside(pixel_place at, bool inside) const {
    beside loaded = {};
    UNETDN_UNROLL
    for (int k = 0; k < Outputs; ++k) {
      if (!inside || k >= y.c) continue;
      if (residual) loaded.residual[k] = float(residual.pixel(at.image, at.row, at.column)[k]);
      if (gradient) loaded.target[k] = target.pixel(at.image, at.row, at.column)[k];
    }
    return loaded;
  }

  /// Stores one pixel, and its gradient; returns its loss.
  UNETDN_DEVICE float finish(pixel_place at, float const (&r_sum)[Outputs], float const (&r_bias)[Outputs],
                             beside const& r_beside, float scale) const {
    float loss = 0;
    UNETDN_UNROLL
    for (int k = 0; k < Outputs; ++k) {
      if (k >= y.c) continue;
      float v = r_sum[k] + r_bias[k];
      if (residual) v += r_beside.residual[k];
      if (sigmoid) v = sigmoid_of(v);
      T const stored = T(v);
      y.pixel(at.image, at.row, at.column)[k] = stored;
      if (!gradient) continue;
      pointwise_loss_term const term(float(stored) - r_beside.target[k], squared);
      loss += term.value;
      float slope = scale * (weight * term.slope);
      if (sigmoid) slope = before_sigmoid(slope, float(stored));
      gradient.pixel(at.image, at.row, at.column)[k] = T(slope);
    }
    return loss;
  }
};

/// dx = w^T g for each pixel, zero where relu_mask and x is not above zero, and part `block.index().y` of
///   dw[k] = sum over pixels of g[k] x,   db[k] = sum over pixels of g[k]
/// in the layout of `gradient_parts`: x, dx [N,H,W,C], perhaps the same memory; g[N,H,W,K], K <= Outputs.
///
/// A thread keeps one piece of 16 bytes of channels, its weights and its sums of dw in registers, and takes every
/// `slots`-th pixel of the part, `at_once` of them at a time, while the next ones are on their way. The block adds its
/// threads in order at the end. Traffic: x read once, dx written once, and g read once from memory. Bound: memory
/// bandwidth. There may be 2^30 pixels at most.
template <class T, int Outputs> struct output_layer_backward {
  static constexpr int threads = 256;
  static constexpr int min_blocks = 2;
  static constexpr int size = piece_size<T>;
  static constexpr int most_pieces = 32;  // of a pixel's that a block owns
  static constexpr int at_once = 2;       // what registers hold beside the sums
  static constexpr int tile = 128;        // pixels; parts begin at multiples of it
  struct shared {
    piece<float, size> dw[Outputs][threads];
    float db[Outputs][threads];
  };

  view<T const> x, g;
  T const* w;
  view<T> dx;
  bool relu_mask;
  bool aligned;  // of x and dx
  gradient_parts to;

  static int pieces_of_block(conv_weights const& layout) {
    int const all = layout.pitch() / size;
    return all < most_pieces ? all : most_pieces;
  }
  /// Blocks beside each other, which own different channels.
  static int blocks(conv_weights const& layout) { return ceil_div(layout.pitch(), pieces_of_block(layout) * size); }
  static int tiles(view<T const> const& g) { return static_cast<int>(ceil_div(g.pixels(), tile)); }

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared& s) const {
    int const all_pieces = to.layout.pitch() / size;
    int const width = all_pieces < most_pieces ? all_pieces : most_pieces;
    int const slots = threads / width;
    int const slot = block.thread() / width;
    int const first_channel = block.index().x * width * size;
    int const c = first_channel + block.thread() % width * size;
    bool const works = slot < slots && c < to.layout.pitch();
    int const left = works ? x.c - c : 0;  // none in the padding of the weights
    int const count = left < 0 ? 0 : left < size ? left : size;

    piece<float, size> r_w[Outputs], r_dw[Outputs] = {};
    float r_db[Outputs] = {};
    UNETDN_UNROLL
    for (int k = 0; k < Outputs; ++k) {
      piece<T> const r = load_piece(w + to.layout.index(c, 0, k), works && k < g.c ? size : 0, true);
      UNETDN_UNROLL
      for (int j = 0; j < size; ++j) r_w[k].r[j] = float(r.r[j]);
    }

    int const part = block.index().y;
    int const total = int(g.pixels());
    int const all_tiles = ceil_div(total, tile);
    int const past = to.first(all_tiles, part + 1) * tile;
    int const end = past < total ? past : total;
    struct pixels {
      piece<T> x[at_once];
      T g[at_once][Outputs];
    };
    auto const exists = [&](int number) { return works && number < end; };
    auto const place = [&](int number) { return pixel_place::of(x, exists(number) ? number : 0); };
    auto const load = [&](int first) {
      pixels loaded;
      UNETDN_UNROLL
      for (int i = 0; i < at_once; ++i) {
        int const number = first + i * slots;
        pixel_place const at = place(number);
        loaded.x[i] = load_piece(x.pixel(at.image, at.row, at.column) + c, exists(number) ? count : 0, aligned);
        T const* const from = g.pixel(at.image, at.row, at.column);
        UNETDN_UNROLL
        for (int k = 0; k < Outputs; ++k) loaded.g[i][k] = exists(number) && k < g.c ? from[k] : T(0.0f);
      }
      return loaded;
    };
    int const begin = to.first(all_tiles, part) * tile + slot;
    pixels r_next = load(begin);
    for (int first = begin; first < end; first += at_once * slots) {
      pixels const r_now = r_next;
      r_next = load(first + at_once * slots);
      UNETDN_UNROLL
      for (int i = 0; i < at_once; ++i) {
        float r_g[Outputs];
        UNETDN_UNROLL
        for (int k = 0; k < Outputs; ++k) {
          r_g[k] = float(r_now.g[i][k]);
          r_db[k] += r_g[k];
        }
        piece<T> r_dx;
        UNETDN_UNROLL
        for (int j = 0; j < size; ++j) {
          float const v = float(r_now.x[i].r[j]);
          float sum = 0;
          UNETDN_UNROLL
          for (int k = 0; k < Outputs; ++k) {
            sum += r_w[k].r[j] * r_g[k];
            r_dw[k].r[j] += v * r_g[k];
          }
          r_dx.r[j] = T(relu_mask && !(v > 0) ? 0.f : sum);
        }
        int const number = first + i * slots;
        pixel_place const at = place(number);
        store_piece(dx.pixel(at.image, at.row, at.column) + c, r_dx, exists(number) ? count : 0, aligned);
      }
    }

    UNETDN_UNROLL
    for (int k = 0; k < Outputs; ++k) {
      s.dw[k][block.thread()] = r_dw[k];
      s.db[k][block.thread()] = r_db[k];
    }
    block.sync();  // completes dw and db
    gradient_sums const sums_of_part = to.of(part);
    int const channels =
        to.layout.pitch() - first_channel < width * size ? to.layout.pitch() - first_channel : width * size;
    for (int i = block.thread(); i < g.c * channels; i += threads) {
      int const k = i / channels, channel = i % channels;
      float sum = 0;
      for (int n = 0; n < slots; ++n) sum += s.dw[k][n * width + channel / size].r[channel % size];
      sums_of_part.put<1>(to.layout.index(first_channel + channel, 0, k), &sum);
    }
    if (first_channel > 0 || block.thread() >= g.c || !sums_of_part.db) return;
    float sum = 0;
    for (int n = 0; n < slots; ++n) sum += s.db[block.thread()][n * width];
    sums_of_part.put_bias(block.thread(), sum);
  }
};

}  // namespace unetdn::kernels
