// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <cstring>

#include <unetdn/core/random.hpp>

/// What random_hash() must be everywhere.
inline constexpr std::uint64_t expected_random_hash = 0xc023e957e63aeca4u;

/// FNV-1a/64, byte by byte from the low end, of the bits of 2^20 deviates: elements 0 .. 2^18 - 1 of four samples.
inline std::uint64_t random_hash() {
  std::uint64_t hash = 0xcbf29ce484222325u;
  unetdn::random_key const key{0x0123456789abcdefu, 5, unetdn::random_stream::noise};
  for (std::uint32_t sample = 0; sample < 4; ++sample) {
    for (std::uint32_t block = 0; block < (1u << 16); ++block) {
      float four[4];
      unetdn::gaussian_block(key, sample, block, four);
      for (float deviate : four) {
        std::uint32_t bits;
        std::memcpy(&bits, &deviate, sizeof bits);
        for (int shift = 0; shift < 32; shift += 8) hash = (hash ^ ((bits >> shift) & 255)) * 0x100000001b3u;
      }
    }
  }
  return hash;
}
