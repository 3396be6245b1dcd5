// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <unetdn/core/error.hpp>
#include <unetdn/core/random.hpp>
#include <unetdn/core/view.hpp>

namespace unetdn {

/// Which noise: additive white Gaussian noise whose standard deviation, in units of 1/255, is uniform in [low, high].
/// Spelled "gaussian:25" or "gaussian:0..55".
struct noise_level {
  float low = 25, high = 25;

  /// The same standard deviation for every picture.
  bool fixed() const { return low == high; }
  friend bool operator==(noise_level const&, noise_level const&) = default;
};

/// Largest standard deviation that is taken for meant, in units of 1/255.
inline constexpr float largest_sigma = 1000;

namespace detail {

inline float parse_sigma(std::string_view part, std::string_view whole) {
  float value = 0;
  char const* const end = part.data() + part.size();
  auto const [stop, failure] = std::from_chars(part.data(), end, value);
  bool const begins = !part.empty() && part[0] != '.';  // so that 0...7 is not read as 0 to .7
  check(begins && failure == std::errc{} && stop == end && std::isfinite(value), "noise '", whole, "': '", part,
        "' is not a number; write gaussian:25 or gaussian:0..55");
  check(value >= 0, "noise '", whole, "': the standard deviation ", part, " is negative");
  check(value <= largest_sigma, "noise '", whole, "': the standard deviation ", part,
        " is above 1000; it is meant in units of 1/255");
  return value;
}

}  // namespace detail

/// Reads the spelling of a noise_level. Throws argument_error, saying what is wrong with which part.
inline noise_level parse_noise(std::string_view spelling) {
  std::size_t const colon = spelling.find(':');
  std::string_view const model = spelling.substr(0, colon);
  check(model == "gaussian", "noise '", spelling, "': unknown model '", model, "'; known: gaussian");
  check(colon != std::string_view::npos, "noise '", spelling,
        "': the level is missing; write gaussian:25 or gaussian:0..55");
  std::string_view const level = spelling.substr(colon + 1);
  std::size_t const dots = level.find("..");
  noise_level result;
  result.low = detail::parse_sigma(level.substr(0, dots), spelling);
  result.high = dots == std::string_view::npos ? result.low : detail::parse_sigma(level.substr(dots + 2), spelling);
  check(result.low <= result.high, "noise '", spelling, "': the range is reversed; write the smaller value first");
  return result;
}

/// The spelling that parse_noise reads back as the same level.
inline std::string to_string(noise_level const& level) {
  std::string const low = "gaussian:" + text(level.low);
  return level.fixed() ? low : low + ".." + text(level.high);
}

/// Standard deviation for one picture, in units of 1/255: element 0 of its sample in the stream `level`.
inline float draw_sigma(noise_level const& level, random_key key, std::uint32_t sample) {
  if (level.fixed()) return level.low;
  key.stream = random_stream::level;
  return random_sequence{key, sample}.uniform(level.low, level.high);
}

namespace detail {

/// x + scale * deviate. The product of two floats is exact in double, so the bits are the same whether or not the
/// compiler contracts product and sum.
template <class T> T plus_noise(T x, float scale, float deviate) {
  return static_cast<T>(static_cast<double>(x) + static_cast<double>(scale) * static_cast<double>(deviate));
}

/// One row of a picture; `deviates` has room for w * c of them.
template <class T>
void add_noise_to_row(view<T const> const& x, view<T> const& y, int picture, int row, float scale, float* deviates) {
  for (int column = 0; column < x.w; ++column) {
    T const* const from = x.pixel(picture, row, column);
    T* const to = y.pixel(picture, row, column);
    for (int channel = 0; channel < x.c; ++channel) to[channel] = plus_noise(from[channel], scale, *deviates++);
  }
}

}  // namespace detail

/// Adds white Gaussian noise, on the cpu device.
///
///   y[n,h,w,c] = x[n,h,w,c] + sigmas[n] / 255 * deviate(key, first_sample + n, (h W + w) C + c)
///
/// Nothing is clipped. x and y have one shape and may be the same memory; T is float or double, and the deviates are
/// those of the stream that the key names. The bits do not depend on the device's threads. Throws argument_error where
/// shapes differ, sigmas are not one a picture, not finite or negative, or a picture has more than 2^34 elements.
template <class Device, class T>
void add_gaussian_noise(Device& dev, view<std::type_identity_t<T> const> x, view<T> y, std::span<float const> sigmas,
                        random_key const& key, std::uint32_t first_sample = 0) {
  static_assert(Device::is_host, "noise is added on the cpu device; upload the noisy pictures afterwards");
  check(same_shape(x, y), "noise: the clean pictures are ", x.n, " x ", x.h, " x ", x.w, " x ", x.c,
        ", the noisy ones ", y.n, " x ", y.h, " x ", y.w, " x ", y.c);
  check(static_cast<std::int64_t>(sigmas.size()) == x.n, "noise: ", sigmas.size(), " standard deviations for ", x.n,
        " pictures; give one a picture");
  for (float sigma : sigmas)
    check(std::isfinite(sigma) && sigma >= 0, "noise: the standard deviation ", sigma, " must be 0 or more");
  std::uint64_t const row_elements = static_cast<std::uint64_t>(std::int64_t(x.w) * x.c);
  check(row_elements * static_cast<std::uint64_t>(x.h) <= random_elements, "noise: a picture of ", x.h, " x ", x.w,
        " x ", x.c, " has more elements than the generator, 2^34");
  if (x.size() == 0) return;

  // A chunk is a band of rows of one picture, large enough to be worth a thread's attention.
  std::int64_t const chunk_elements = 1 << 14;
  int const band = static_cast<int>(std::clamp<std::int64_t>(chunk_elements / std::int64_t(row_elements), 1, x.h));
  int const bands = ceil_div(x.h, band);
  dev.parallel(x.n * bands, [&](int chunk, int) {
    int const picture = chunk / bands;
    int const first_row = chunk % bands * band;
    int const last_row = std::min(first_row + band, x.h);
    float const scale = sigmas[static_cast<std::size_t>(picture)] / 255;
    std::vector<float> deviates(row_elements);
    for (int row = first_row; row < last_row; ++row) {
      gaussian_fill(key, first_sample + static_cast<std::uint32_t>(picture),
                    static_cast<std::uint64_t>(row) * row_elements, static_cast<std::int64_t>(row_elements),
                    deviates.data());
      detail::add_noise_to_row(x, y, picture, row, scale, deviates.data());
    }
  });
}

}  // namespace unetdn
