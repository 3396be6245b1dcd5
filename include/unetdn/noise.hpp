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
#include <unetdn/core/half.hpp>
#include <unetdn/core/random.hpp>
#include <unetdn/core/view.hpp>
#include <unetdn/cpu/bodies.hpp>
#include <unetdn/kernels/noise.hpp>
#include <unetdn/ops/cost.hpp>
#include <unetdn/ops/elementwise.hpp>

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
  check(value >= 0, "noise '", whole, "': the standard deviation ", part, " is negative; give 0 or more");
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

/// One row of a picture; `deviates` has room for w * c of them.
template <class T>
void add_noise_to_row(view<T const> const& x, view<T> const& y, int picture, int row, float scale, float* deviates) {
  for (int column = 0; column < x.w; ++column) {
    T const* const from = x.pixel(picture, row, column);
    T* const to = y.pixel(picture, row, column);
    for (int channel = 0; channel < x.c; ++channel)
      to[channel] = kernels::plus_noise(from[channel], scale, *deviates++);
  }
}

inline void check_sigmas(std::span<float const> sigmas, int pictures) {
  check(static_cast<std::int64_t>(sigmas.size()) == pictures, "noise: ", sigmas.size(), " standard deviations for ",
        pictures, " pictures; give one a picture");
  for (float sigma : sigmas)
    check(std::isfinite(sigma) && sigma >= 0, "noise: the standard deviation ", sigma, " must be 0 or more");
}

/// Whether each picture's elements follow each other and fours of them are aligned. An empty window hinders nothing.
template <class T> bool dense_quads(view<T> const& v) {
  if (!v) return true;
  bool const follow = (v.w == 1 || v.pixel_stride == v.c) && (v.h == 1 || v.row_stride == std::int64_t(v.w) * v.c);
  return follow && reinterpret_cast<std::uintptr_t>(v.data) % (4 * sizeof(T)) == 0 &&
         (v.n == 1 || v.image_stride % 4 == 0);
}

/// Calls launch_one(first, grid, arguments) for as many pictures at a time as fit a kernel's arguments.
template <class K, class F>
void launch_noise(shape const& s, std::span<float const> sigmas, random_key const& key, std::uint32_t first_sample,
                  F&& launch_one) {
  std::int64_t const elements = std::int64_t(s.h) * s.w * s.c;
  check(elements < std::int64_t(1) << 31, "noise: pictures of ", to_string(s), " are too large for one launch");
  for (int first = 0; first < s.n; first += kernels::noise_pictures) {
    int const count = std::min(kernels::noise_pictures, s.n - first);
    kernels::noise_arguments arguments{key, first_sample + static_cast<std::uint32_t>(first), {}};
    for (int i = 0; i < count; ++i) arguments.scales[i] = sigmas[static_cast<std::size_t>(first + i)] / 255;
    launch_one(first, extent3{static_cast<int>(ceil_div(elements, 4 * K::threads)), count}, arguments);
  }
}

/// gaussian_fill, by the cpu device's bodies.
inline void fill_deviates(random_key const& key, std::uint32_t sample, std::uint64_t first, std::int64_t count,
                          float* out) {
  std::int64_t const head = std::min<std::int64_t>(count, -first & 3);  // up to where a block begins
  std::int64_t const blocks = (count - head) / 4;
  gaussian_fill(key, sample, first, head, out);
  first += static_cast<std::uint64_t>(head);
  out += head;
  cpu_bodies::bodies<cpu_bodies::noise_bodies>().gaussian_blocks(key, sample, static_cast<std::uint32_t>(first >> 2),
                                                                 blocks, out);
  gaussian_fill(key, sample, first + static_cast<std::uint64_t>(4 * blocks), count - head - 4 * blocks,
                out + 4 * blocks);
}

}  // namespace detail

/// Adds white Gaussian noise.
///
///   y[n,h,w,c] = x[n,h,w,c] + sigmas[n] / 255 * deviate(key, first_sample + n, (h W + w) C + c)
///
/// Nothing is clipped. x and y have one shape and may be the same memory, and the deviates are those of the stream that
/// the key names. In float the bits are the same on every device; 16-bit types round that. A GPU takes sigmas as
/// arguments of its kernel, without a wait. Throws argument_error where shapes differ, sigmas are not one a picture,
/// not finite or negative, or a picture has more than 2^34 elements (2^31 on a GPU).
template <class Device, class T>
void add_gaussian_noise(Device& dev, view<std::type_identity_t<T> const> x, view<T> y, std::span<float const> sigmas,
                        random_key const& key, std::uint32_t first_sample = 0) {
  static_assert(Device::template supports<T>, "the cpu takes float and double; cuda and emulated float, bf16, fp16");
  check(same_shape(x, y), "noise: the clean pictures are ", x.n, " x ", x.h, " x ", x.w, " x ", x.c,
        ", the noisy ones ", y.n, " x ", y.h, " x ", y.w, " x ", y.c);
  detail::check_sigmas(sigmas, x.n);
  std::uint64_t const row_elements = static_cast<std::uint64_t>(std::int64_t(x.w) * x.c);
  check(row_elements * static_cast<std::uint64_t>(x.h) <= random_elements, "noise: a picture of ", x.h, " x ", x.w,
        " x ", x.c, " has more elements than the generator, 2^34");
  if (x.size() == 0) return;

  if constexpr (detail::is_cpu<Device>) {
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
        detail::fill_deviates(key, first_sample + static_cast<std::uint32_t>(picture),
                              static_cast<std::uint64_t>(row) * row_elements, static_cast<std::int64_t>(row_elements),
                              deviates.data());
        detail::add_noise_to_row(x, y, picture, row, scale, deviates.data());
      }
    });
  } else {
    using kernel = kernels::add_noise<T>;
    bool const dense = detail::dense_quads(x) && detail::dense_quads(y);
    auto const one = [&](int first, extent3 grid, kernels::noise_arguments const& arguments) {
      launch(dev, grid, kernel{x.images(first, grid.y), y.images(first, grid.y), arguments, dense});
    };
    detail::launch_noise<kernel>(detail::extents(x), sigmas, key, first_sample, one);
  }
}

/// A byte read, the target and the noisy batch written.
inline op_cost noisy_batch_cost(unetdn::shape s, std::size_t element_bytes = sizeof(float)) {
  std::size_t const target_bytes = std::max(element_bytes, sizeof(float));
  return {2 * double(s.size()), double(s.size()) * double(1 + target_bytes + element_bytes)};
}

/// What a step of training reads, from stored pictures, in one pass:
///
///   target[n,h,w,c] = pictures[n,h,w,c] / 255;  noisy = target + sigmas[n] / 255 * deviate;
///   noise_map[n,h,w,0] = sigmas[n] / 255
///
/// The deviates are add_gaussian_noise's, and the target is in float for a network of 16 bits. Each of the three may be
/// empty and is then left out. On a GPU it moves 1 + 4 + sizeof(T) bytes an element and waits for nothing. Throws
/// argument_error as add_gaussian_noise does.
template <class T, class Device>
void noisy_batch(Device& dev, view<std::uint8_t const> pictures, view<accumulator_t<T>> target,
                 std::type_identity_t<view<T>> noisy, std::type_identity_t<view<T>> noise_map,
                 std::span<float const> sigmas, random_key const& key, std::uint32_t first_sample = 0) {
  static_assert(Device::template supports<T>, "the cpu takes float and double; cuda and emulated float, bf16, fp16");
  shape const s = detail::extents(pictures);
  if (target) detail::check_extents("noisy_batch", "the target", target, s);
  if (noisy) detail::check_extents("noisy_batch", "the noisy batch", noisy, s);
  if (noise_map) detail::check_extents("noisy_batch", "the noise map", noise_map, {s.n, s.h, s.w, 1});
  detail::check_sigmas(sigmas, s.n);
  if (s.size() == 0) return;
  if constexpr (detail::is_cpu<Device>) {
    view<T> const clean = target ? target : noisy;
    if (clean) detail::map_elements(dev, pictures, clean, [](std::uint8_t v, T) { return T(kernels::from_byte(v)); });
    if (noisy) add_gaussian_noise<Device, T>(dev, clean, noisy, sigmas, key, first_sample);
    for (int n = 0; noise_map && n < s.n; ++n) {
      T const level = T(sigmas[static_cast<std::size_t>(n)] / 255);
      view<T> const map = noise_map.images(n, 1);
      detail::map_elements(dev, map, map, [&](T, T) { return level; });
    }
  } else {
    using kernel = kernels::noisy_batch<T>;
    bool const dense = detail::dense_quads(pictures) && detail::dense_quads(target) && detail::dense_quads(noisy);
    auto const one = [&](int first, extent3 grid, kernels::noise_arguments const& arguments) {
      auto const some = [&](auto v) { return v ? v.images(first, grid.y) : v; };
      launch(dev, grid, kernel{some(pictures), some(target), some(noisy), some(noise_map), arguments, dense});
    };
    detail::launch_noise<kernel>(s, sigmas, key, first_sample, one);
  }
}

}  // namespace unetdn
