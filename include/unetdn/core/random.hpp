// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

#include <unetdn/core/kernel.hpp>

#if defined(__FAST_MATH__)
  #error "unetdn promises equal random bits everywhere: compile without -ffast-math"
#endif

// Every number here is a pure function of (seed, step, stream, sample, element). The bits are the same for each
// compiler, optimisation level, instruction set and device. To that end the arithmetic is on integers: the compiler may
// contract a floating-point a * b + c into one rounding or not, and fma is slow where the hardware has none. Floating
// point appears only where there is nothing to choose: a conversion, a correctly rounded square root, and a last
// multiplication by a power of two, which is exact.

namespace unetdn {

/// Who draws: two streams of one seed share nothing.
enum class random_stream : std::uint32_t {
  other = 0,
  weights,    ///< initial weights
  noise,      ///< noise added to a picture
  level,      ///< noise level of a picture
  crop,       ///< place, flip and rotation of a crop
  order,      ///< order of the training pictures
  generated,  ///< generated pictures
};

/// Picks one family of random numbers. Which of its numbers is drawn is then told by a sample (a picture) and an
/// element (a value within the picture).
struct random_key {
  std::uint64_t seed = 0;
  std::uint32_t step = 0;
  random_stream stream = random_stream::other;
};

/// 128 random bits.
struct random_words {
  std::uint32_t word[4];
};

/// Two independent standard normal deviates.
struct gaussian_pair {
  float first, second;
};

/// Elements per sample that do not repeat: the counter has 32 bits for blocks of four elements.
inline constexpr std::uint64_t random_elements = std::uint64_t(4) << 32;

namespace detail {
/// Round `round` of Philox4x32: the keys grow by the golden ratio and by sqrt(3) - 1 a round.
UNETDN_HD constexpr random_words philox_round(random_words const& c, std::uint32_t key0, std::uint32_t key1,
                                              std::uint32_t round) {
  std::uint64_t const p0 = std::uint64_t(0xD2511F53u) * c.word[0];
  std::uint64_t const p1 = std::uint64_t(0xCD9E8D57u) * c.word[2];
  return {{static_cast<std::uint32_t>(p1 >> 32) ^ c.word[1] ^ (key0 + round * 0x9E3779B9u),
           static_cast<std::uint32_t>(p1),
           static_cast<std::uint32_t>(p0 >> 32) ^ c.word[3] ^ (key1 + round * 0xBB67AE85u),
           static_cast<std::uint32_t>(p0)}};
}
}  // namespace detail

/// The counter-based generator Philox4x32 with ten rounds.
///
/// Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3 (SC 2011), section 3.3.
UNETDN_HD constexpr random_words philox4x32(random_words c, std::uint32_t key0, std::uint32_t key1) {
  // Written out: compilers leave a loop rolled at -O2, which costs a third of the speed.
  c = detail::philox_round(c, key0, key1, 0);
  c = detail::philox_round(c, key0, key1, 1);
  c = detail::philox_round(c, key0, key1, 2);
  c = detail::philox_round(c, key0, key1, 3);
  c = detail::philox_round(c, key0, key1, 4);
  c = detail::philox_round(c, key0, key1, 5);
  c = detail::philox_round(c, key0, key1, 6);
  c = detail::philox_round(c, key0, key1, 7);
  c = detail::philox_round(c, key0, key1, 8);
  return detail::philox_round(c, key0, key1, 9);
}

/// The words of elements 4 * block .. 4 * block + 3 of a sample. The counter is, from its low word on,
/// (block, sample, step, stream), 32 bits each, and the key is the seed: so there are 2^32 steps, streams and samples,
/// and 2^34 elements a sample.
UNETDN_HD constexpr random_words random_block(random_key const& key, std::uint32_t sample, std::uint32_t block) {
  random_words const counter = {{block, sample, key.step, static_cast<std::uint32_t>(key.stream)}};
  return philox4x32(counter, static_cast<std::uint32_t>(key.seed), static_cast<std::uint32_t>(key.seed >> 32));
}

/// The word of one element.
UNETDN_HD constexpr std::uint32_t random_word(random_key const& key, std::uint32_t sample, std::uint64_t element) {
  return random_block(key, sample, static_cast<std::uint32_t>(element >> 2)).word[element & 3];
}

/// Uniform in [0, 1): multiples of 2^-24.
UNETDN_HD constexpr float uniform_from(std::uint32_t word) {
  return static_cast<float>(static_cast<std::int32_t>(word >> 8)) * 0x1p-24f;
}

/// Uniform in (0, 1]: multiples of 2^-24.
UNETDN_HD constexpr float positive_uniform_from(std::uint32_t word) {
  return static_cast<float>(static_cast<std::int32_t>(word >> 8) + 1) * 0x1p-24f;
}

/// Uniform integer in [0, n), for n > 0. The probability of each value is off 1 / n by less than 2^-32.
///
/// Lemire: Fast random integer generation in an interval (TOMACS 2019), without the rejection step, so that one word
/// makes one integer.
UNETDN_HD constexpr std::uint32_t index_from(std::uint32_t word, std::uint32_t n) {
  return static_cast<std::uint32_t>((std::uint64_t(word) * n) >> 32);
}

namespace detail {

// Fixed-point numbers have 32 bits. On the host they travel in 64, which spares it a sign extension a step.

/// floor(a b / 2^32) for a and b of 32 bits.
UNETDN_HD inline std::int64_t multiply_high(std::int64_t a, std::int64_t b) {
#if defined(__CUDA_ARCH__)
  return __mulhi(static_cast<int>(a), static_cast<int>(b));
#else
  return (a * b) >> 32;
#endif
}

/// c0 + t (c1 + t (c2 + ...)) for t = x / 2^32; the coefficients and the result share their unit.
template <class... Coefficients>
UNETDN_HD inline std::int64_t fixed_polynomial(std::int64_t x, std::int64_t c0, Coefficients... higher) {
  if constexpr (sizeof...(higher) == 0)
    return c0;
  else
    return c0 + multiply_high(fixed_polynomial(x, higher...), x);
}

UNETDN_HD inline int leading_zeros(std::uint64_t v) {
#if defined(__CUDA_ARCH__)
  return __clzll(static_cast<long long>(v));
#else
  return __builtin_clzll(v);
#endif
}

/// Correctly rounded, whatever the compiler's options say about square roots.
UNETDN_HD inline float square_root(float v) {
#if defined(__CUDA_ARCH__)
  return __fsqrt_rn(v);
#else
  return __builtin_sqrtf(v);
#endif
}

/// -2 ln(u) in units of 2^-56 for u = (word + 1/2) / 2^32.
///
/// u = 2^-k (1 + f) with f in [-1/3, 1/3), and ln(1 + f) = f P(f), P of degree 10: relative error below 4e-9.
UNETDN_HD inline std::int64_t minus_two_log(std::uint32_t word) {
  std::uint64_t const v = 2 * std::uint64_t(word) + 1;  // 33 bits
  int const zeros = leading_zeros(v);
  std::uint64_t const m = v << zeros;  // [1, 2) in units of 2^-63
  // Where m >= 4/3, m / 2 takes its place. No branch: it would be a toss-up.
  int const upper = m >= 0xAAAAAAAAAAAAAAABu;
  int const k = zeros - 30 - upper;
  std::int64_t const one_plus_f = static_cast<std::int64_t>(m >> (31 + upper));  // units of 2^-32
  std::int64_t const f = one_plus_f - (std::int64_t(1) << 32);                   // units of 2^-32
  std::int64_t const p =                                                         // units of 2^-30
      fixed_polynomial(f, 1073741824, -536870933, 357913961, -268431625, 214744818, -179147662, 153568213, -130391343,
                       115763467, -139994870, 127784742);
  std::int64_t const log_two = 49946518145322874;  // units of 2^-56
  return 2 * (k * log_two - ((f * p) >> 6));
}

/// sin and cos, in units of 2^-30.
struct fixed_angle {
  std::int64_t sine, cosine;
};

/// Sine and cosine of 2 pi word / 2^32: the word picks a quarter turn and x in [-1/2, 1/2) of one;
/// sin(pi x / 2) = x S(x^2), cos(pi x / 2) = C(x^2), both of degree 4: absolute error below 4e-9.
UNETDN_HD inline fixed_angle sine_cosine(std::uint32_t word) {
  std::uint32_t const quarter = (word + 0x20000000u) >> 30;
  std::int64_t const x = static_cast<std::int32_t>((word - (quarter << 30)) << 2);  // units of 2^-32
  std::int64_t const square = multiply_high(x, x);
  std::int64_t const s = multiply_high(x, fixed_polynomial(square, 1686629713, -693598667, 85569259, -5026471, 169873));
  std::int64_t const c = fixed_polynomial(square, 1073741824, -1324675869, 272375233, -22398329, 970263);
  // Odd quarters exchange the two; then each is negated where its mask is -1. No branches: they would be toss-ups.
  std::int64_t const exchange = (s ^ c) & -std::int64_t(quarter & 1);
  std::int64_t const sine_sign = -std::int64_t((quarter >> 1) & 1);
  std::int64_t const cosine_sign = -std::int64_t(((quarter + 1) >> 1) & 1);
  return {((s ^ exchange) ^ sine_sign) - sine_sign, ((c ^ exchange) ^ cosine_sign) - cosine_sign};
}

/// radius (units of 2^-28) times a sine (2^-30).
UNETDN_HD inline float scaled_sine(std::int64_t radius, std::int64_t sine) {
  std::int32_t const rounded = static_cast<std::int32_t>((radius * sine + (1 << 29)) >> 30);
  return static_cast<float>(rounded) * 0x1p-28f;
}

}  // namespace detail

/// Two independent standard normal deviates from two words: r cos a and r sin a with r = sqrt(-2 ln u1), a = 2 pi u2.
/// Multiples of 2^-28, at most sqrt(66 ln 2) = 6.764 in magnitude; within 5e-7 of the exact value, and
/// where r < .001 within 2e-5, since the words end there.
///
/// Box, Muller: A note on the generation of random normal deviates (1958).
UNETDN_HD inline gaussian_pair gaussian_from(std::uint32_t word1, std::uint32_t word2) {
  // The square root of units of 2^-56 comes in units of 2^-28: nothing is left to scale.
  float const root = detail::square_root(static_cast<float>(detail::minus_two_log(word1)));
  std::int32_t const radius = static_cast<std::int32_t>(root);
  detail::fixed_angle const angle = detail::sine_cosine(word2);
  return {detail::scaled_sine(radius, angle.cosine), detail::scaled_sine(radius, angle.sine)};
}

/// Writes the standard normal deviates of elements 4 * block .. 4 * block + 3 to out[0..3].
UNETDN_HD inline void gaussian_block(random_key const& key, std::uint32_t sample, std::uint32_t block, float* out) {
  random_words const w = random_block(key, sample, block);
  gaussian_pair const a = gaussian_from(w.word[0], w.word[1]);
  gaussian_pair const b = gaussian_from(w.word[2], w.word[3]);
  out[0] = a.first;
  out[1] = a.second;
  out[2] = b.first;
  out[3] = b.second;
}

/// The standard normal deviate of one element. gaussian_fill is several times faster for many.
UNETDN_HD inline float gaussian(random_key const& key, std::uint32_t sample, std::uint64_t element) {
  float four[4];
  gaussian_block(key, sample, static_cast<std::uint32_t>(element >> 2), four);
  return four[element & 3];
}

/// Writes the standard normal deviates of elements first .. first + count - 1 to out[0 .. count - 1].
UNETDN_HD inline void gaussian_fill(random_key const& key, std::uint32_t sample, std::uint64_t first,
                                    std::int64_t count, float* out) {
  while (count > 0) {
    int const skip = static_cast<int>(first & 3);
    std::uint32_t const block = static_cast<std::uint32_t>(first >> 2);
    if (skip == 0 && count >= 4) {
      gaussian_block(key, sample, block, out);
      first += 4;
      count -= 4;
      out += 4;
      continue;
    }
    float four[4];
    gaussian_block(key, sample, block, four);
    for (int i = skip; i < 4 && count > 0; ++i, ++first, --count) *out++ = four[i];
  }
}

/// Draws the elements of one sample one after the other: for choices that are few and come in an order.
class random_sequence {
 public:
  UNETDN_HD explicit random_sequence(random_key const& key, std::uint32_t sample = 0) : key_{key}, sample_{sample} {}

  UNETDN_HD std::uint32_t word() {
    if (used_ == 4) {
      words_ = random_block(key_, sample_, block_++);
      used_ = 0;
    }
    return words_.word[used_++];
  }
  /// Uniform in [0, 1).
  UNETDN_HD float uniform() { return uniform_from(word()); }
  /// Uniform between low and high.
  UNETDN_HD float uniform(float low, float high) {
    // The product of two floats is exact in double, so contraction cannot change the sum.
    double const width = high - low;
    return static_cast<float>(low + width * static_cast<double>(uniform()));
  }
  /// Uniform integer in [0, n), for n > 0: see index_from.
  UNETDN_HD std::uint32_t index(std::uint32_t n) { return index_from(word(), n); }
  /// True with probability p.
  UNETDN_HD bool chance(float p) { return uniform() < p; }
  /// A standard normal deviate.
  UNETDN_HD float gaussian() {
    std::uint32_t const word1 = word();
    return gaussian_from(word1, word()).first;
  }

 private:
  random_key key_;
  std::uint32_t sample_;
  std::uint32_t block_ = 0;
  int used_ = 4;
  random_words words_{};
};

}  // namespace unetdn
