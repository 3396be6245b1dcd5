// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include <unetdn/image.hpp>

namespace unetdn {

/// A clean picture, and the same scene with real noise where there is one.
struct image_pair {
  image clean;
  std::optional<image> noisy = {};
};

/// The picture without alpha in 1 or 3 channels: grey becomes three equal ones, or colour grey. Throws argument_error
/// for other numbers, and where the picture is not valid.
inline image with_channels(image picture, int channels) {
  check(channels == 1 || channels == 3, "training pictures have 1 or 3 channels, not ", channels);
  picture.check_valid();
  image opaque = without_alpha(std::move(picture));
  return channels == 1 ? to_grey(std::move(opaque)) : to_rgb(std::move(opaque));
}

/// A picture to learn from, kept at 8 bits a channel: four times as many fit into memory as floats would.
struct training_picture {
  int height = 0, width = 0, channels = 0;
  std::vector<std::uint8_t> pixels;  ///< rows of pixels of channels

  training_picture() = default;
  /// Converts as with_channels does, and rounds to 8 bits.
  training_picture(image const& picture, int channels_)
      : height{picture.height}, width{picture.width}, channels{channels_} {
    image const converted = with_channels(picture, channels);
    pixels.resize(converted.pixels.size());
    std::transform(converted.pixels.begin(), converted.pixels.end(), pixels.begin(), [](float v) {
      float const level = std::min(std::max(0.f, v), 1.f) * 255;  // NaN becomes 0
      return static_cast<std::uint8_t>(std::nearbyint(level));
    });
  }

  std::uint8_t const* pixel(int y, int x) const {
    return pixels.data() +
           (static_cast<std::size_t>(y) * static_cast<std::size_t>(width) + static_cast<std::size_t>(x)) *
               static_cast<std::size_t>(channels);
  }
};

/// What one picture gives to training: it is made noisy on the way, or has a noisy twin.
struct training_example {
  training_picture clean;
  std::optional<training_picture> noisy;

  std::size_t bytes() const { return clean.pixels.size() + (noisy ? noisy->pixels.size() : 0); }

  /// Throws argument_error where the two differ in size.
  training_example(image_pair const& pair, int channels) : clean{pair.clean, channels} {
    if (!pair.noisy) return;
    check(pair.noisy->width == pair.clean.width && pair.noisy->height == pair.clean.height, "a noisy picture of ",
          pair.noisy->width, " x ", pair.noisy->height, " pixels has a clean twin of ", pair.clean.width, " x ",
          pair.clean.height);
    noisy.emplace(*pair.noisy, channels);
  }
};

/// What is kept of a large picture, so that photographs of any size train quickly and in bounded memory: it is scaled
/// down by the whole number floor(sqrt(megapixels)), each new pixel the mean of its square of old ones, and then cut to
/// a window with as many pixels as may be kept.
struct picture_limits {
  std::int64_t pixels = std::int64_t(1) << 22;  ///< of the window
  int least = 1;                                ///< the window's sides are not cut below this
  bool scale = true;                            ///< false for pairs: scaling would change the noise
  float down = 0.5f, right = 0.5f;              ///< the window's place in [0, 1); 1/2: the middle
};

namespace detail {

struct picture_window {
  int top, left, height, width;
};

inline int reduction_factor(int height, int width) {
  constexpr double megapixel = 1 << 20;
  int const factor = static_cast<int>(std::sqrt(double(height) * width / megapixel));
  return std::max(1, std::min({factor, height, width}));
}

inline picture_window choose_window(int height, int width, picture_limits const& limits) {
  double const part = std::min(1.0, std::sqrt(double(limits.pixels) / (double(height) * width)));
  auto const side = [&](int whole) { return std::clamp(int(whole * part), std::min(limits.least, whole), whole); };
  int const h = side(height), w = side(width);
  return {static_cast<int>(limits.down * float(height - h + 1)), static_cast<int>(limits.right * float(width - w + 1)),
          h, w};
}

/// A window of the picture scaled down by `factor`, in bands of rows: little memory is used beside picture and result.
inline image shrunk_window(image const& picture, picture_window const& window, int factor) {
  image result(window.width, window.height, picture.channels, picture.bit_depth);
  std::int64_t const old_row = std::int64_t(picture.width) * picture.channels;
  std::int64_t const band_row = std::int64_t(window.width) * factor * picture.channels;
  float* to = result.pixels.data();
  for (int row = 0; row < window.height; row += 64) {
    int const rows = std::min(64, window.height - row);
    image band(window.width * factor, rows * factor, picture.channels, picture.bit_depth);
    float const* from = picture.pixels.data() + (std::int64_t(window.top) + row) * factor * old_row +
                        std::int64_t(window.left) * factor * picture.channels;
    for (int y = 0; y < band.height; ++y, from += old_row)
      std::copy_n(from, band_row, band.pixels.data() + y * band_row);
    image const small = resize(band, window.width, rows, resize_filter::area);
    to = std::copy(small.pixels.begin(), small.pixels.end(), to);
  }
  return result;
}

}  // namespace detail

/// What is kept of a picture: see picture_limits. Throws argument_error where the picture is not valid.
inline image reduced(image picture, picture_limits const& limits) {
  picture.check_valid();
  int const factor = limits.scale ? detail::reduction_factor(picture.height, picture.width) : 1;
  auto const window = detail::choose_window(picture.height / factor, picture.width / factor, limits);
  if (window.height == picture.height && window.width == picture.width) return picture;
  return detail::shrunk_window(picture, window, factor);
}

/// The same of both pictures of a pair, which are not scaled.
inline image_pair reduced(image_pair pair, picture_limits limits) {
  limits.scale = limits.scale && !pair.noisy;
  if (pair.noisy) pair.noisy = reduced(std::move(*pair.noisy), limits);
  pair.clean = reduced(std::move(pair.clean), limits);
  return pair;
}

}  // namespace unetdn
