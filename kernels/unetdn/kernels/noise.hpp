// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

#include <unetdn/core/half.hpp>
#include <unetdn/core/random.hpp>
#include <unetdn/kernels/pieces.hpp>

// Gaussian noise. The generator makes four deviates at a time, for elements 4 b .. 4 b + 3 of a picture counted as
// (h W + w) C + c, so that is what a thread owns: perhaps parts of two pixels.

namespace unetdn::kernels {

/// x + scale * deviate. The product of two floats is exact in double, so the bits are the same whether or not the
/// compiler contracts product and sum.
template <class T> UNETDN_HD T plus_noise(T x, float scale, float deviate) {
  return static_cast<T>(static_cast<double>(x) + static_cast<double>(scale) * static_cast<double>(deviate));
}

/// A stored byte as a value in [0, 1].
UNETDN_HD inline float from_byte(std::uint8_t v) { return static_cast<float>(v) / 255.f; }

/// Most pictures of one launch: their noise levels are arguments of the kernel, which spares an upload.
inline constexpr int noise_pictures = 64;

/// Which deviates a launch adds, and by how much.
struct noise_arguments {
  random_key key;
  std::uint32_t first_sample;    // of the launch's first picture
  float scales[noise_pictures];  // sigma / 255 of each
};

/// Four consecutive elements of a picture, in registers.
template <class T> struct alignas(4 * sizeof(T)) quad { T r[4]; };

/// Where such four lie.
struct quad_place {
  int picture;
  std::uint32_t block;       // of the generator
  int count;                 // 4, or less where the picture ends; not positive behind its end
  int row, column, channel;  // of the first

  template <class T, class Block>
  UNETDN_DEVICE quad_place(Block& block_, int threads, view<T> const& v)
      : picture{block_.index().y},
        block{std::uint32_t(block_.index().x) * unsigned(threads) + unsigned(block_.thread())} {
    unsigned const in_row = unsigned(v.w) * unsigned(v.c), elements = unsigned(v.h) * in_row;
    unsigned const first = 4 * block;
    count = first < elements ? (elements - first < 4 ? int(elements - first) : 4) : 0;
    unsigned const r = first / in_row, in_this_row = first - r * in_row, x = in_this_row / unsigned(v.c);
    row = int(r);
    column = int(x);
    channel = int(in_this_row - x * unsigned(v.c));
  }

  /// f(i, row, column, channel) for each element i.
  template <class T, class F> UNETDN_DEVICE void each(view<T> const& v, F f) const {
    int y = row, x = column, c = channel;
    UNETDN_UNROLL
    for (int i = 0; i < 4; ++i) {
      if (i < count) f(i, y, x, c);
      if (++c < v.c) continue;
      c = 0;
      if (++x < v.w) continue;
      x = 0;
      ++y;
    }
  }
  /// The four elements of a window, in one access where it is `dense`: all of a picture's elements follow each other,
  /// and fours of them are aligned.
  template <class T> UNETDN_DEVICE quad<T> load(view<T const> const& v, bool dense) const {
    quad<T> q{};
    if (dense && count == 4) {
      copy_aligned<4 * sizeof(T)>(q.r, v.pixel(picture, row, column) + channel);
    } else {
      each(v, [&](int i, int y, int x, int c) { q.r[i] = v.pixel(picture, y, x)[c]; });
    }
    return q;
  }
  template <class T> UNETDN_DEVICE void store(view<T> const& v, quad<T> const& q, bool dense) const {
    if (dense && count == 4) {
      copy_aligned<4 * sizeof(T)>(v.pixel(picture, row, column) + channel, q.r);
    } else {
      each(v, [&](int i, int y, int x, int c) { v.pixel(picture, y, x)[c] = q.r[i]; });
    }
  }
};

/// y[n,h,w,c] = x[n,h,w,c] + scales[n] * deviate: x[N,H,W,C], y[N,H,W,C], perhaps the same memory.
///
/// A thread owns one block of the generator, four elements; blocks.y counts pictures. Traffic: x read once, y written
/// once. Bound: some 80 integer operations an element for the generator, or memory bandwidth.
template <class T> struct add_noise {
  static constexpr int threads = 128;
  struct shared {};
  view<T const> x;
  view<T> y;
  noise_arguments noise;
  bool dense;  // both windows

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared&) const {
    quad_place const at(block, threads, y);
    if (at.count <= 0) return;
    quad<T> r_y = at.load(x, dense);
    float const scale = noise.scales[at.picture];
    float r_deviates[4];
    gaussian_block(noise.key, noise.first_sample + std::uint32_t(at.picture), at.block, r_deviates);
    UNETDN_UNROLL
    for (int i = 0; i < 4; ++i) r_y.r[i] = T(plus_noise(float(r_y.r[i]), scale, r_deviates[i]));
    at.store(y, r_y, dense);
  }
};

/// What a step of training reads, from bytes:
///   target[n,h,w,c] = pictures[n,h,w,c] / 255;  noisy = target + scales[n] * deviate;  map[n,h,w,0] = scales[n]
/// target, noisy and map may be empty.
///
/// A thread owns one block of the generator, four elements; blocks.y counts pictures. Traffic: a byte read, a float and
/// a T written, and a map's T a pixel. Bound: as add_noise.
template <class T> struct noisy_batch {
  static constexpr int threads = 128;
  struct shared {};
  view<std::uint8_t const> pictures;
  view<float> target;
  view<T> noisy, map;
  noise_arguments noise;
  bool dense;  // all windows but the map

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared&) const {
    quad_place const at(block, threads, pictures);
    if (at.count <= 0) return;
    quad<std::uint8_t> const r_bytes = at.load(pictures, dense);
    quad<float> r_target;
    UNETDN_UNROLL
    for (int i = 0; i < 4; ++i) r_target.r[i] = from_byte(r_bytes.r[i]);
    if (target) at.store(target, r_target, dense);
    float const scale = noise.scales[at.picture];
    if (noisy) {
      float r_deviates[4];
      gaussian_block(noise.key, noise.first_sample + std::uint32_t(at.picture), at.block, r_deviates);
      quad<T> r_noisy;
      UNETDN_UNROLL
      for (int i = 0; i < 4; ++i) r_noisy.r[i] = T(plus_noise(r_target.r[i], scale, r_deviates[i]));
      at.store(noisy, r_noisy, dense);
    }
    if (!map) return;
    at.each(pictures, [&](int, int y, int x, int c) {
      if (c == 0) *map.pixel(at.picture, y, x) = T(scale);
    });
  }
};

}  // namespace unetdn::kernels
