// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cmath>
#include <cstdint>
#include <type_traits>

#include <unetdn/core/half.hpp>
#include <unetdn/core/update_state.hpp>
#include <unetdn/kernels/pieces.hpp>

// What a step of training does to flat arrays of parameters. Arrays are walked in fours: 16 bytes of floats, 8 of a
// 16-bit copy.

namespace unetdn::kernels {

/// Elements that a thread takes at a time.
inline constexpr int update_width = 4;

/// Four floats from an array with `count` of them left, then zeros.
UNETDN_DEVICE inline piece<float> load_four(float const* from, std::int64_t left, bool aligned) {
  return load_piece(from, left < update_width ? int(left) : update_width, aligned);
}
UNETDN_DEVICE inline void store_four(float* to, piece<float> const& p, std::int64_t left, bool aligned) {
  store_piece(to, p, left < update_width ? int(left) : update_width, aligned);
}
/// The same four rounded to a 16-bit type.
template <class T>
UNETDN_DEVICE void store_four_rounded(T* to, piece<float> const& p, std::int64_t left, bool aligned) {
  struct alignas(8) {
    T r[update_width];
  } rounded;
  UNETDN_UNROLL
  for (int i = 0; i < update_width; ++i) rounded.r[i] = T(p.r[i]);
  if (aligned && left >= update_width) {
    copy_aligned<8>(to, rounded.r);
  } else {
    UNETDN_UNROLL
    for (int i = 0; i < update_width; ++i) {
      if (i < left) to[i] = rounded.r[i];
    }
  }
}

/// partial[b] = sum of the squares of the elements of x that block b owns; add_partials adds the blocks.
///
/// A thread adds every (blocks * threads)-th four in float, in order, and block_sum adds the threads: the bits depend
/// on x and on the number of blocks. Traffic: x read once. Bound: memory bandwidth.
struct squared_norm_partials {
  static constexpr int threads = 256;
  struct shared {
    float warps[threads / warp_size];
  };
  float const* x;
  std::int64_t size;
  float* partial;
  bool aligned;

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared& s) const {
    std::int64_t const step = std::int64_t(block.blocks().x) * threads * update_width;
    std::int64_t i = (std::int64_t(block.index().x) * threads + block.thread()) * update_width;
    float r_sum = 0;
    for (; i < size; i += step) {
      piece<float> const r_x = load_four(x + i, size - i, aligned);
      UNETDN_UNROLL
      for (int k = 0; k < update_width; ++k) r_sum += r_x.r[k] * r_x.r[k];
    }
    float const total = block_sum(block, s.warps, r_sum);
    if (block.thread() == 0) partial[block.index().x] = total;
  }
};

/// Hands a step's own numbers over as arguments, which needs neither an upload nor a wait.
struct begin_update {
  static constexpr int threads = warp_size;
  struct shared {};
  update_state* state;
  double rate, average_decay;

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared&) const {
    if (block.thread() != 0) return;
    state->rate = rate;
    state->average_decay = average_decay;
  }
};

/// base^exponent by squaring: the number of the step alone decides the bits, so that a resumed run has the same.
UNETDN_DEVICE inline double power(double base, std::int64_t exponent) {
  double result = 1;
  for (; exponent > 0; exponent /= 2) {
    if (exponent % 2 == 1) result *= base;
    base *= base;
  }
  return result;
}

UNETDN_DEVICE inline bool is_finite(double v) { return v - v == 0; }

/// From the loss and the norm of a step: whether it is applied, with which factors, and what becomes of the loss scale.
///
/// One thread, in double. Bound: one launch.
struct decide_update {
  static constexpr int threads = warp_size;
  struct shared {};
  update_state* state;
  double beta1, beta2;  // as float holds them
  double weight_decay, clip;
  int growth_interval;

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared&) const {
    if (block.thread() != 0) return;
    update_state s = *state;
    double const scale = double(s.loss_scale);
    double const norm = std::sqrt(s.squared_norm) / scale;
    bool const finite = is_finite(s.loss) && is_finite(norm);
    s.gradient_norm = norm;
    s.factors.apply = finite;
    if (finite) {
      ++s.updates;
      s.factors.gradient_scale = float((clip > 0 && norm > clip ? clip / norm : 1) / scale);
      s.factors.step_size = float(s.rate / (1 - power(beta1, s.updates)));
      s.factors.root_scale = float(1 / std::sqrt(1 - power(beta2, s.updates)));
      s.factors.decay = float(s.rate * weight_decay);
      s.factors.average_decay = float(s.average_decay);
    } else {
      ++s.skipped;
    }
    if (growth_interval > 0) {
      if (!finite) {
        s.since_change = 0;
        s.loss_scale = s.loss_scale > 1 ? s.loss_scale / 2 : 1;
      } else if (++s.since_change == growth_interval) {
        s.since_change = 0;
        s.loss_scale = s.loss_scale < largest_loss_scale ? s.loss_scale * 2 : s.loss_scale;
      }
    }
    *state = s;
  }
};

/// One step of AdamW on all of a network's parameters, with their moving average and their 16-bit copy; the formula is
/// at ops/adamw.hpp. Where factors->apply is 0 nothing is read or written.
///
/// A thread owns four parameters. Traffic: 28 bytes a parameter, 8 more with an average, 2 more with a copy. Bound:
/// memory bandwidth.
template <class T> struct adamw_update {
  static constexpr int threads = 256;
  struct shared {};
  float* weights;
  float const* gradient;
  float *first_moment, *second_moment;
  float* average;             // null: none is kept
  T* network_weights;         // null: there is no 16-bit copy
  float const* rate_factors;  // of blocks of rate_block; null: all 1
  std::int64_t size;
  float beta1, beta2, epsilon;
  update_factors const* factors;
  bool aligned;  // floats to 16 bytes, the copy to 8

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared&) const {
    update_factors const f = *factors;
    std::int64_t const i = (std::int64_t(block.index().x) * threads + block.thread()) * update_width;
    std::int64_t const left = size - i;
    if (f.apply == 0 || left <= 0) return;
    piece<float> const r_g = load_four(gradient + i, left, aligned);
    piece<float> r_m = load_four(first_moment + i, left, aligned);
    piece<float> r_v = load_four(second_moment + i, left, aligned);
    piece<float> r_w = load_four(weights + i, left, aligned);
    float const r_factor = rate_factors ? rate_factors[i / rate_block] : 1;
    float const keep = 1 - f.decay * r_factor, step_size = f.step_size * r_factor;
    UNETDN_UNROLL
    for (int k = 0; k < update_width; ++k) {
      float const g = f.gradient_scale * r_g.r[k];
      r_m.r[k] = beta1 * r_m.r[k] + (1 - beta1) * g;
      r_v.r[k] = beta2 * r_v.r[k] + (1 - beta2) * g * g;
      r_w.r[k] = keep * r_w.r[k] - step_size * r_m.r[k] / (std::sqrt(r_v.r[k]) * f.root_scale + epsilon);
    }
    store_four(first_moment + i, r_m, left, aligned);
    store_four(second_moment + i, r_v, left, aligned);
    store_four(weights + i, r_w, left, aligned);
    if constexpr (is_16_bit<T>) {
      if (network_weights) store_four_rounded(network_weights + i, r_w, left, aligned);
    }
    if (!average) return;
    piece<float> r_average = load_four(average + i, left, aligned);
    UNETDN_UNROLL
    for (int k = 0; k < update_width; ++k) {
      r_average.r[k] = f.average_decay * r_average.r[k] + (1 - f.average_decay) * r_w.r[k];
    }
    store_four(average + i, r_average, left, aligned);
  }
};

}  // namespace unetdn::kernels
