// SPDX-License-Identifier: Apache-2.0
#pragma once
// Pictures in memory, resizing and grey conversion are header-only. Reading and writing files is compiled code: link
// the CMake target unetdn::image (image.cpp) for the functions of the section "Files".
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <numbers>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <unetdn/core/error.hpp>
#include <unetdn/core/view.hpp>

namespace unetdn {

/// A picture: rows from the top, pixels from the left, channels interleaved (HWC), samples in [0, 1].
///
/// A stored sample v is v / 255 or v / 65535, by bit depth; no gamma or colour profile is ever applied.
struct image {
  int width = 0, height = 0;
  int channels = 0;           ///< 1 grey, 2 grey and alpha, 3 red green blue, 4 red green blue alpha
  int bit_depth = 8;          ///< 8 or 16: of the file it came from, and of the file it is written to
  std::vector<float> pixels;  ///< pixels[(y * width + x) * channels + c]

  image() = default;
  /// A black picture (with alpha: a transparent one). Throws argument_error when an extent doesn't fit.
  image(int width_, int height_, int channels_, int bit_depth_ = 8)
      : width{width_}, height{height_}, channels{channels_}, bit_depth{bit_depth_} {
    check_extents();
    pixels.resize(std::size_t(samples()));
  }

  bool has_alpha() const { return channels == 2 || channels == 4; }
  /// Channels without alpha: 1 or 3.
  int color_channels() const { return has_alpha() ? channels - 1 : channels; }
  /// width * height * channels.
  std::int64_t samples() const { return std::int64_t(width) * height * channels; }

  /// The pixels as a batch of one picture.
  view<float> as_view() { return {pixels.data(), 1, height, width, channels}; }
  view<float const> as_view() const { return {pixels.data(), 1, height, width, channels}; }

  /// Throws argument_error unless the extents are sensible and `pixels` has the size that they say.
  void check_valid() const {
    check_extents();
    check(std::int64_t(pixels.size()) == samples(), "a picture of ", width, " x ", height, " pixels and ", channels,
          " channels holds ", pixels.size(), " samples; resize its pixels to ", samples());
  }

 private:
  void check_extents() const {
    check(width >= 1 && height >= 1, "a picture of ", width, " x ", height, " pixels; both must be at least 1");
    check(channels >= 1 && channels <= 4, "a picture with ", channels, " channels; it must be 1 to 4");
    check(bit_depth == 8 || bit_depth == 16, "a picture with bit depth ", bit_depth, "; it must be 8 or 16");
    // Far above any picture, and far from overflow in the sizes computed from it.
    check(std::int64_t(width) * height <= std::int64_t(1) << 40, "a picture of ", width, " x ", height,
          " pixels is too large; split it");
  }
};

// ---- Channels ------------------------------------------------------------------------------------------------------

namespace detail {

/// A picture of the same size and depth as `in`, each pixel made by `convert(float const* from, float* to)`.
template <class Convert> image map_pixels(image const& in, int channels, Convert convert) {
  in.check_valid();
  image out{in.width, in.height, channels, in.bit_depth};
  float const* from = in.pixels.data();
  float* to = out.pixels.data();
  for (std::int64_t i = 0; i < std::int64_t(in.width) * in.height; ++i) {
    convert(from, to);
    from += in.channels;
    to += channels;
  }
  return out;
}

}  // namespace detail

/// Grey from colour: (299 R + 587 G + 114 B) / 1000, the luma of ITU-R BT.601, as Pillow's mode "L" but not rounded.
///
/// Alpha, where there is one, is kept (4 channels become 2); grey pictures come back unchanged.
inline image to_grey(image in) {
  if (in.channels < 3) return in;
  bool const alpha = in.has_alpha();
  return detail::map_pixels(in, alpha ? 2 : 1, [alpha](float const* from, float* to) {
    // Exact in double, so that R = G = B = v gives v.
    to[0] = float((299.0 * from[0] + 587.0 * from[1] + 114.0 * from[2]) / 1000.0);
    if (alpha) to[1] = from[3];
  });
}

/// Colour from grey: R = G = B = grey. Alpha, where there is one, is kept; colour pictures come back unchanged.
inline image to_rgb(image in) {
  if (in.channels > 2) return in;
  bool const alpha = in.has_alpha();
  return detail::map_pixels(in, alpha ? 4 : 3, [alpha](float const* from, float* to) {
    to[0] = to[1] = to[2] = from[0];
    if (alpha) to[3] = from[1];
  });
}

/// The picture without its alpha channel. Colours stay as they are stored: nothing is blended with a background.
inline image without_alpha(image in) {
  if (!in.has_alpha()) return in;
  int const colors = in.color_channels();
  return detail::map_pixels(in, colors, [colors](float const* from, float* to) { std::copy_n(from, colors, to); });
}

// ---- Parts and mixtures ---------------------------------------------------------------------------------------------

/// The middle of a picture, of at most these extents.
inline image middle(image const& picture, int width, int height) {
  width = std::min(width, picture.width);
  height = std::min(height, picture.height);
  image part(width, height, picture.channels, picture.bit_depth);
  auto const from = picture.as_view().crop((picture.height - height) / 2, (picture.width - width) / 2, height, width);
  for (int row = 0; row < height; ++row) {
    std::copy_n(from.pixel(0, row, 0), std::ptrdiff_t(width) * picture.channels, part.as_view().pixel(0, row, 0));
  }
  return part;
}

/// A mixture of a picture and its denoised version: noisy + strength (denoised - noisy), to the bit the one at strength
/// 0 and the other at 1. Throws argument_error where their extents differ or strength is not from 0 to 1.
inline image blend(image const& noisy, image denoised, float strength) {
  check(strength >= 0 && strength <= 1, "strength is a number from 0 (the noisy picture) to 1 (the denoised one)");
  noisy.check_valid();
  denoised.check_valid();
  check(noisy.width == denoised.width && noisy.height == denoised.height && noisy.channels == denoised.channels,
        "the pictures to blend differ: ", noisy.width, " x ", noisy.height, " x ", noisy.channels, " and ",
        denoised.width, " x ", denoised.height, " x ", denoised.channels, "; give a picture and its denoised version");
  for (std::size_t i = 0; i < noisy.pixels.size(); ++i) {
    denoised.pixels[i] = std::lerp(noisy.pixels[i], denoised.pixels[i], strength);
  }
  return denoised;
}

// ---- Resize --------------------------------------------------------------------------------------------------------

/// How resize() weighs the pixels around a new one.
enum class resize_filter {
  area,     ///< equal weights for the pixels whose centres lie under the new pixel; enlarging repeats pixels
  lanczos3  ///< sinc(t) sinc(t / 3) for |t| < 3: sharper, and may leave [0, 1] beside edges
};

namespace detail {

/// The weights with which one new row or column is made: of `weights.size()` old ones from `first` on.
struct resize_taps {
  int first = 0;
  std::vector<float> weights;
};

inline double resize_kernel(resize_filter filter, double t) {
  if (filter == resize_filter::area) return t > -0.5 && t <= 0.5 ? 1.0 : 0.0;
  if (t == 0) return 1.0;
  if (std::abs(t) >= 3) return 0.0;
  double const a = std::numbers::pi * t;
  return 3.0 * std::sin(a) * std::sin(a / 3.0) / (a * a);
}

/// Taps of each of `to` new samples over `from` old ones. When shrinking, the kernel is stretched by from / to, so that
/// it also removes what the new grid can't hold (antialiasing). Weights sum to 1, at the borders too.
inline std::vector<resize_taps> make_resize_taps(int from, int to, resize_filter filter) {
  double const scale = double(from) / to;
  double const stretch = std::max(scale, 1.0);
  double const reach = (filter == resize_filter::area ? 0.5 : 3.0) * stretch;
  std::vector<resize_taps> taps(static_cast<std::size_t>(to));
  std::vector<double> weights;
  for (int i = 0; i < to; ++i) {
    double const center = (i + 0.5) * scale;
    int const first = std::max(0, int(std::floor(center - reach + 0.5)));
    int const last = std::min(from, int(std::floor(center + reach + 0.5)));
    weights.clear();
    double sum = 0;
    for (int j = first; j < last; ++j) {
      weights.push_back(resize_kernel(filter, (j + 0.5 - center) / stretch));
      sum += weights.back();
    }
    auto& tap = taps[std::size_t(i)];
    tap.first = first;
    for (double w : weights) tap.weights.push_back(float(w / sum));
  }
  return taps;
}

inline image resize_width(image const& in, int width, resize_filter filter) {
  auto const taps = make_resize_taps(in.width, width, filter);
  image out{width, in.height, in.channels, in.bit_depth};
  int const channels = in.channels;
  float* to = out.pixels.data();
  for (int y = 0; y < in.height; ++y) {
    float const* const row = in.pixels.data() + std::int64_t(y) * in.width * channels;
    for (auto const& tap : taps) {
      float sum[4] = {};
      float const* from = row + std::int64_t(tap.first) * channels;
      for (float w : tap.weights) {
        for (int c = 0; c < channels; ++c) sum[c] += w * from[c];
        from += channels;
      }
      std::copy_n(sum, channels, to);
      to += channels;
    }
  }
  return out;
}

inline image resize_height(image const& in, int height, resize_filter filter) {
  auto const taps = make_resize_taps(in.height, height, filter);
  image out{in.width, height, in.channels, in.bit_depth};
  std::int64_t const row_size = std::int64_t(in.width) * in.channels;
  float* to = out.pixels.data();
  for (auto const& tap : taps) {
    float const* from = in.pixels.data() + tap.first * row_size;
    for (float w : tap.weights) {
      for (std::int64_t i = 0; i < row_size; ++i) to[i] += w * from[i];
      from += row_size;
    }
    to += row_size;
  }
  return out;
}

inline image premultiply_alpha(image const& in) {
  return map_pixels(in, in.channels, [colors = in.color_channels()](float const* from, float* to) {
    for (int c = 0; c < colors; ++c) to[c] = from[c] * from[colors];
    to[colors] = from[colors];
  });
}

/// Undoes premultiply_alpha. A filter's overshoot divided by a small alpha means nothing, so samples are clamped.
inline image divide_by_alpha(image const& in) {
  return map_pixels(in, in.channels, [colors = in.color_channels()](float const* from, float* to) {
    float const alpha = std::clamp(from[colors], 0.0F, 1.0F);
    bool const visible = alpha > 0.5F / 65535.0F;
    for (int c = 0; c < colors; ++c) to[c] = visible ? std::clamp(from[c] / alpha, 0.0F, 1.0F) : 0.0F;
    to[colors] = alpha;
  });
}

}  // namespace detail

/// Resizes to width x height pixels, rows and columns separately, with antialiasing when it shrinks.
///
/// y[i] = sum_j f((j + 1/2 - (i + 1/2) s) / max(s, 1)) x[j] / sum_j f(...), s = old / new extent, as Pillow's BOX and
/// LANCZOS do on float pictures. With alpha, colours are weighted by it, so that hidden colours don't shine through,
/// and the result is clamped to [0, 1]; without, it is not. Throws argument_error for an extent below 1.
inline image resize(image const& in, int width, int height, resize_filter filter = resize_filter::lanczos3) {
  in.check_valid();
  check(width >= 1 && height >= 1, "resize to ", width, " x ", height, " pixels; both must be at least 1");
  if (width == in.width && height == in.height) return in;
  image out = in.has_alpha() ? detail::premultiply_alpha(in) : in;
  if (width != in.width) out = detail::resize_width(out, width, filter);
  if (height != in.height) out = detail::resize_height(out, height, filter);
  return in.has_alpha() ? detail::divide_by_alpha(out) : out;
}

// ---- Files (link unetdn::image) ------------------------------------------------------------------------------------

struct read_options {
  bool any_size = false;  ///< also read pictures of more than 200 megapixels
};

struct write_options {
  int jpeg_quality = 95;  ///< 1 to 100; from 90 on colour is stored at full resolution (4:4:4)
};

/// Reads a PNG (8, 16 bit; grey, palette, alpha, interlaced), JPEG, BMP or PNM (P2, P3, P5, P6) file.
///
/// The format is told by the contents, not by the name. JPEG is turned upright after its EXIF orientation. Throws
/// file_error, naming the file and the remedy, for what is missing, empty, truncated, damaged, no picture, CMYK, or
/// larger than 200 megapixels.
image read_image(std::filesystem::path const& path, read_options const& options = {});

/// read_image() for a file's bytes; `name` stands for the file in errors. Bytes may be hostile.
image decode_image(std::span<std::byte const> bytes, std::string_view name, read_options const& options = {});

/// Writes .png (8 or 16 bit), .jpg or .jpeg (8 bit, no alpha), .ppm, .pgm or .pnm (8 or 16 bit, no alpha), by
/// extension.
///
/// Samples are clamped to [0, 1] and rounded half to even; NaN becomes 0. Reading an 8-bit PNG and writing it gives the
/// same samples. The file appears whole or not at all. Throws argument_error, which names the file, where its format
/// cannot hold the picture, and where the picture or an option is not valid; file_error where it cannot be written.
void write_image(std::filesystem::path const& path, image const& picture, write_options const& options = {});

/// The bytes of a PNG file with this picture. Throws argument_error when it is not valid, or when it has 16 bits in a
/// build without libpng.
std::vector<std::byte> encode_png(image const& picture);

/// The bytes of a JPEG file with this picture, which has no alpha. Throws argument_error when it is not valid.
/// In a build without libjpeg-turbo, grey is stored as colour.
std::vector<std::byte> encode_jpeg(image const& picture, int quality = 95);

/// The bytes of a binary PGM (1 channel) or PPM (3 channels) file. Throws argument_error when the picture is not valid.
std::vector<std::byte> encode_pnm(image const& picture);

/// Whether the name ends as a picture's does: .png .jpg .jpeg .bmp .ppm .pgm .pnm, in upper or lower case.
bool is_image_name(std::filesystem::path const& path);

/// The pictures in a folder (not in folders below it), told by name, hidden files left out, sorted by the bytes of
/// names.
///
/// Throws file_error when the folder is missing, unreadable, or has no picture.
std::vector<std::filesystem::path> list_images(std::filesystem::path const& folder);

}  // namespace unetdn
