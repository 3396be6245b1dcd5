// SPDX-License-Identifier: Apache-2.0
#pragma once
// Reproducible numbers for golden values; formula.py is the same in Python. All are exact in float.
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace golden {

/// 32-bit FNV-1a hash of a name: each tensor has a stream of its own, whatever the order.
constexpr std::uint32_t stream_of(std::string_view name) {
  std::uint32_t z = 0x811C9DC5u;
  for (char byte : name) z = (z ^ static_cast<unsigned char>(byte)) * 0x01000193u;
  return z;
}

/// 32-bit word number `index` of a stream: a linear congruence of the index, then mixed.
constexpr std::uint32_t word(std::uint32_t stream, std::uint32_t index) {
  std::uint32_t z = index * 747796405u + stream;
  z ^= z >> 16;
  z *= 0x85EBCA6Bu;
  z ^= z >> 13;
  z *= 0xC2B2AE35u;
  return z ^ (z >> 16);
}

/// Element `index` of the named tensor, PyTorch's layout: a multiple of 2^-16 in [0, 1).
constexpr float unit(std::uint32_t stream, std::uint32_t index) {
  return static_cast<float>(word(stream, index) >> 16) / 65536.0f;
}

/// A power of two near sqrt(6 / fan in), so that values neither die nor explode; 1/8 for a bias.
inline float weight_scale(std::string_view name, std::vector<std::int64_t> const& shape) {
  if (shape.size() == 1) return 0.125f;
  std::string_view const transposed = "up.weight";
  bool const up = name.size() >= transposed.size() && name.substr(name.size() - transposed.size()) == transposed;
  std::int64_t const fan_in = up ? shape[0] : shape[1] * shape[2] * shape[3];
  double scale = 1;
  while (scale * scale * static_cast<double>(fan_in) > 12) scale /= 2;
  return static_cast<float>(scale);
}

/// A parameter tensor in PyTorch's layout, uniform in [-scale, scale).
inline std::vector<float> weights(std::string_view name, std::vector<std::int64_t> const& shape) {
  std::size_t count = 1;
  for (std::int64_t extent : shape) count *= static_cast<std::size_t>(extent);
  std::uint32_t const stream = stream_of(name);
  float const scale = weight_scale(name, shape);
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = (unit(stream, static_cast<std::uint32_t>(i)) * 2 - 1) * scale;
  return values;
}

/// The named batch x[n,h,w,c], dense in NHWC: element (in, iy, ix, ic) is unit() at its NCHW index, times `scale`.
inline std::vector<float> batch(std::string_view name, int n, int h, int w, int c, float scale = 1) {
  std::uint32_t const stream = stream_of(name);
  std::vector<float> values;
  values.reserve(static_cast<std::size_t>(n) * h * w * c);
  for (int in = 0; in < n; ++in) {
    for (int iy = 0; iy < h; ++iy) {
      for (int ix = 0; ix < w; ++ix) {
        for (int ic = 0; ic < c; ++ic) {
          int const index = ((in * c + ic) * h + iy) * w + ix;
          values.push_back(scale * unit(stream, static_cast<std::uint32_t>(index)));
        }
      }
    }
  }
  return values;
}

/// A batch x[n,h,w,c] of smooth waves with grain, dense in NHWC, multiples of 2^-12 in [0, 1).
inline std::vector<float> picture(std::string_view name, int n, int h, int w, int c) {
  std::uint32_t const stream = stream_of(name);
  std::vector<float> values;
  values.reserve(static_cast<std::size_t>(n) * h * w * c);
  for (int in = 0; in < n; ++in) {
    for (int iy = 0; iy < h; ++iy) {
      for (int ix = 0; ix < w; ++ix) {
        for (int ic = 0; ic < c; ++ic) {
          int const phase = (5 + 2 * ic) * ix + (9 + in) * iy + 37 * ic + 101 * in;
          int const saw = phase % 256 - 128;
          int const triangle = saw < 0 ? -saw : saw;
          int const grain = static_cast<int>(word(stream, static_cast<std::uint32_t>(values.size())) >> 22);
          values.push_back(static_cast<float>(triangle * 23 + grain) / 4096.0f);
        }
      }
    }
  }
  return values;
}

}  // namespace golden
