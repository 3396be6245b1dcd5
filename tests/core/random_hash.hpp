// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <cstring>

#include <unetdn/core/random.hpp>

/// What random_hash() must be everywhere.
inline constexpr std::uint64_t expected_random_hash = 0xc023e957e63aeca4u;

/// Which deviates are hashed: elements 0 .. 2^18 - 1 of four samples.
inline constexpr unetdn::random_key random_hash_key{0x0123456789abcdefu, 5, unetdn::random_stream::noise};

/// FNV-1a/64 of the bits of floats, byte by byte from the low end, going on from `hash`.
inline std::uint64_t hash_floats(float const* from, std::int64_t count, std::uint64_t hash = 0xcbf29ce484222325u) {
  for (std::int64_t i = 0; i < count; ++i) {
    std::uint32_t bits;
    std::memcpy(&bits, from + i, sizeof bits);
    for (int shift = 0; shift < 32; shift += 8) hash = (hash ^ ((bits >> shift) & 255)) * 0x100000001b3u;
  }
  return hash;
}

/// The hash of 2^20 deviates.
inline std::uint64_t random_hash() {
  std::uint64_t hash = hash_floats(nullptr, 0);
  for (std::uint32_t sample = 0; sample < 4; ++sample) {
    for (std::uint32_t block = 0; block < (1u << 16); ++block) {
      float four[4];
      unetdn::gaussian_block(random_hash_key, sample, block, four);
      hash = hash_floats(four, 4, hash);
    }
  }
  return hash;
}
