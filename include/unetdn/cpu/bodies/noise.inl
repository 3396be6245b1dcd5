// SPDX-License-Identifier: Apache-2.0
// Normal deviates, several blocks of the generator at a time. The functions are those of core/random.hpp, step by step,
// and so is every bit: it says what they do and why. Included by bodies/all.inl.
//
// A lane of 64 bits is a block. Its 32-bit words lie in the low half; what stands above them is ignored by the
// products, which take low halves, and goes at the end.

#if UNETDN_X86_BODIES && UNETDN_VECTOR_BYTES > 16

using block_lanes = bits<double>;
typedef std::uint64_t unsigned_lanes __attribute__((vector_size(UNETDN_VECTOR_BYTES)));
inline constexpr int blocks_at_once = lanes<double>;

inline block_lanes all_lanes(std::int64_t v) { return v - block_lanes{}; }
inline block_lanes low_halves(block_lanes v) { return v & 0xffffffff; }
/// The bits shift down, and zeros follow.
inline block_lanes shift_down(block_lanes v, int by) { return (block_lanes)((unsigned_lanes)v >> by); }

/// Signed, and unsigned, products of low halves. The vector types have none of 32 by 32 bits.
UNETDN_ALWAYS_INLINE block_lanes multiply_signed(block_lanes a, block_lanes b) {
  block_lanes product;
  __asm__("vpmuldq %2, %1, %0" : "=v"(product) : "v"(a), "v"(b));
  return product;
}
UNETDN_ALWAYS_INLINE block_lanes multiply_unsigned(block_lanes a, block_lanes b) {
  block_lanes product;
  __asm__("vpmuludq %2, %1, %0" : "=v"(product) : "v"(a), "v"(b));
  return product;
}

/// detail::multiply_high and detail::fixed_polynomial; only the low halves hold the result.
UNETDN_ALWAYS_INLINE block_lanes multiply_high(block_lanes a, block_lanes b) {
  return shift_down(multiply_signed(a, b), 32);
}
template <class... Coefficients>
UNETDN_ALWAYS_INLINE block_lanes fixed_polynomial(block_lanes x, std::int64_t c0, Coefficients... higher) {
  if constexpr (sizeof...(higher) == 0)
    return all_lanes(c0);
  else
    return c0 + multiply_high(fixed_polynomial(x, higher...), x);
}

struct block_words {
  block_lanes word[4];
};

/// random_block of blocks_at_once blocks from `block` on.
UNETDN_ALWAYS_INLINE block_words random_blocks(random_key const& key, std::uint32_t sample, std::uint32_t block) {
  block_lanes c0{};
  for (int i = 0; i < blocks_at_once; ++i) c0[i] = block + std::uint32_t(i);
  block_lanes c1 = all_lanes(sample), c2 = all_lanes(key.step), c3 = all_lanes(std::int64_t(key.stream));
  std::uint32_t key0 = static_cast<std::uint32_t>(key.seed), key1 = static_cast<std::uint32_t>(key.seed >> 32);
  block_lanes const factor0 = all_lanes(0xD2511F53), factor1 = all_lanes(0xCD9E8D57);
  for (int round = 0; round < 10; ++round, key0 += 0x9E3779B9u, key1 += 0xBB67AE85u) {
    block_lanes const p0 = multiply_unsigned(factor0, c0), p1 = multiply_unsigned(factor1, c2);
    c0 = shift_down(p1, 32) ^ c1 ^ std::int64_t(key0);
    c2 = shift_down(p0, 32) ^ c3 ^ std::int64_t(key1);
    c1 = p1;
    c3 = p0;
  }
  return {{low_halves(c0), low_halves(c1), low_halves(c2), low_halves(c3)}};
}

/// detail::minus_two_log.
UNETDN_ALWAYS_INLINE block_lanes minus_two_log(block_lanes word) {
  // 2 word + 1 has 33 bits; as a double it shows its exponent, and its bits from the first one on.
  constexpr std::int64_t two_to_52 = 0x4330000000000000, one = std::int64_t(1) << 52;
  block_lanes const v = (block_lanes)((vec<double>)((word + word + 1) | two_to_52) - 0x1p52);
  block_lanes const exponent = shift_down(v, 52) - 1023;
  block_lanes const m = shift_down((v & (one - 1)) | one, 20);  // [1, 2) in units of 2^-32
  block_lanes const upper = m > 0x155555555;                    // -1 where m >= 4/3
  block_lanes const one_plus_f = upper ? shift_down(m, 1) : m;
  block_lanes const k = 33 - exponent + upper;
  block_lanes const f = one_plus_f - (std::int64_t(1) << 32);
  block_lanes const p = fixed_polynomial(f, 1073741824, -536870933, 357913961, -268431625, 214744818, -179147662,
                                         153568213, -130391343, 115763467, -139994870, 127784742);
  constexpr std::int64_t log_two = 49946518145322874;
  block_lanes const k_log_two =
      multiply_unsigned(k, all_lanes(log_two)) + (multiply_unsigned(k, all_lanes(log_two >> 32)) << 32);
  return 2 * (k_log_two - (multiply_signed(f, p) >> 6));
}

struct angle_lanes {
  block_lanes sine, cosine;  // in the low halves
};

/// detail::sine_cosine.
UNETDN_ALWAYS_INLINE angle_lanes sine_cosine(block_lanes word) {
  block_lanes const quarter = shift_down(low_halves(word + 0x20000000), 30);
  block_lanes const x = (word - (quarter << 30)) << 2;
  block_lanes const square = multiply_high(x, x);
  block_lanes const s = multiply_high(x, fixed_polynomial(square, 1686629713, -693598667, 85569259, -5026471, 169873));
  block_lanes const c = fixed_polynomial(square, 1073741824, -1324675869, 272375233, -22398329, 970263);
  block_lanes const exchange = (s ^ c) & -(quarter & 1);
  block_lanes const sine_sign = -((quarter >> 1) & 1);
  block_lanes const cosine_sign = -(((quarter + 1) >> 1) & 1);
  return {((s ^ exchange) ^ sine_sign) - sine_sign, ((c ^ exchange) ^ cosine_sign) - cosine_sign};
}

/// gaussian_from: in each lane two floats, the first below.
UNETDN_ALWAYS_INLINE block_lanes gaussians_from(block_lanes word1, block_lanes word2) {
  typedef float lane_floats __attribute__((vector_size(UNETDN_VECTOR_BYTES / 2)));
  typedef std::int32_t lane_integers __attribute__((vector_size(UNETDN_VECTOR_BYTES / 2)));
  lane_floats root = __builtin_convertvector(minus_two_log(word1), lane_floats);
  __asm__("vsqrtps %0, %0" : "+v"(root));
  block_lanes const radius = __builtin_convertvector(__builtin_convertvector(root, lane_integers), block_lanes);
  angle_lanes const angle = sine_cosine(word2);
  block_lanes const first = shift_down(multiply_signed(radius, angle.cosine) + (1 << 29), 30);
  block_lanes const second = shift_down(multiply_signed(radius, angle.sine) + (1 << 29), 30);
  bits<float> const both = (bits<float>)(low_halves(first) | (second << 32));
  return (block_lanes)(__builtin_convertvector(both, vec<float>) * 0x1p-28f);
}

/// gaussian_block of `count` blocks from `block` on: four deviates each.
inline void gaussian_blocks(random_key const& key, std::uint32_t sample, std::uint32_t block, std::int64_t count,
                            float* out) {
  using lane_sequence = std::make_integer_sequence<int, blocks_at_once>;
  for (std::int64_t b = 0; b < count; b += blocks_at_once, out += 4 * blocks_at_once) {
    block_words const w = random_blocks(key, sample, block + static_cast<std::uint32_t>(b));
    block_lanes const low_pairs = gaussians_from(w.word[0], w.word[1]),
                      high_pairs = gaussians_from(w.word[2], w.word[3]);
    block_lanes const both[] = {interleave_low(low_pairs, high_pairs, lane_sequence{}),
                                interleave_high(low_pairs, high_pairs, lane_sequence{})};
    std::memcpy(out, both, std::size_t(std::min<std::int64_t>(blocks_at_once, count - b)) * 4 * sizeof(float));
  }
}

#else

inline void gaussian_blocks(random_key const& key, std::uint32_t sample, std::uint32_t block, std::int64_t count,
                            float* out) {
  for (std::int64_t b = 0; b < count; ++b, out += 4)
    gaussian_block(key, sample, block + static_cast<std::uint32_t>(b), out);
}

#endif
