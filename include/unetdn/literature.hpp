// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <utility>

#include <unetdn/core/error.hpp>
#include <unetdn/core/view.hpp>

// The protocol behind the PSNR tables of the denoising literature (KAIR, DPIR, Restormer): which noise each test
// picture gets, to the bit, and how results are rounded. For evaluation only; nothing is ever trained on this stream.

#if defined(__FAST_MATH__)
  #error "the literature's noise is exact to the bit: compile without -ffast-math"
#endif

namespace unetdn {

/// numpy.random.seed(seed); numpy.random.normal(0, scale, size): the same values in the same order.
/// MT19937 seeded by init_genrand, 53-bit uniforms, Marsaglia's polar method, which makes two deviates and returns the
/// second first (numpy/random/src/legacy/legacy-distributions.c).
class numpy_legacy_normal {
 public:
  explicit numpy_legacy_normal(std::uint32_t seed) : words_{seed} {}

  /// The next deviate with mean 0 and standard deviation `scale`.
  double operator()(double scale) { return scale * deviate(); }

 private:
  double uniform() {
    std::uint32_t const a = static_cast<std::uint32_t>(words_()) >> 5;
    std::uint32_t const b = static_cast<std::uint32_t>(words_()) >> 6;
    // Powers of two: exact, so contraction changes nothing.
    return (a * 67108864.0 + b) / 9007199254740992.0;
  }
  double deviate() {
    if (has_spare_) {
      has_spare_ = false;
      return spare_;
    }
    double x1, x2, r2;
    do {
      x1 = 2.0 * uniform() - 1.0;
      x2 = 2.0 * uniform() - 1.0;
      // Products must be rounded before they are added, or r2 differs from NumPy's in the last bit where the compiler
      // contracts them into a fused multiply-add.
      double volatile const square1 = x1 * x1;
      double volatile const square2 = x2 * x2;
      r2 = square1 + square2;
    } while (r2 >= 1.0 || r2 == 0.0);
    double const f = std::sqrt(-2.0 * std::log(r2) / r2);
    spare_ = f * x1;
    has_spare_ = true;
    return f * x2;
  }
  std::mt19937 words_;
  double spare_ = 0;
  bool has_spare_ = false;
};

/// y = float(x + normal(0, sigma / 255)), drawn in the order rows, columns, channels from a generator seeded afresh for
/// every picture. Neither clipped nor rounded. x, y [1,H,W,C]. Throws argument_error where the shapes differ.
inline void add_literature_noise(view<float const> x, view<float> y, double sigma_255, std::uint32_t seed = 0) {
  check(same_shape(x, y) && x.n == 1, "literature noise is for one picture at a time, clean and noisy of one shape");
  numpy_legacy_normal normal(seed);
  for (int row = 0; row < x.h; ++row) {
    for (int column = 0; column < x.w; ++column) {
      float const* const from = x.pixel(0, row, column);
      float* const to = y.pixel(0, row, column);
      for (int channel = 0; channel < x.c; ++channel) {
        double volatile const noise = normal(sigma_255 / 255.0);  // rounded before it is added, as in NumPy
        to[channel] = static_cast<float>(static_cast<double>(from[channel]) + noise);
      }
    }
  }
}

/// Clamps to [0, 1] and rounds to multiples of 1/255, half to even: what an 8-bit file would hold. NaN becomes 0.
inline void round_to_8_bits(view<float> x) {
  for (int image = 0; image < x.n; ++image) {
    for (int row = 0; row < x.h; ++row) {
      for (int column = 0; column < x.w; ++column) {
        float* const p = x.pixel(image, row, column);
        for (int channel = 0; channel < x.c; ++channel) {
          p[channel] = std::nearbyint(std::min(std::max(0.f, p[channel]), 1.f) * 255.f) / 255.f;
        }
      }
    }
  }
}

}  // namespace unetdn
