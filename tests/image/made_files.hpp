// SPDX-License-Identifier: Apache-2.0
#pragma once
// Picture files made byte by byte, without the libraries that read them; JPEG files are written by the library, and
// their EXIF segments by hand.
#include <array>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <unetdn/image.hpp>

#include "golden_resize.hpp"

namespace made_files {

using unetdn::image;
using bytes = std::vector<std::byte>;

inline bytes to_bytes(std::string const& s) {
  auto const of = std::as_bytes(std::span(s));
  return {of.begin(), of.end()};
}

inline bytes to_bytes(std::vector<unsigned char> const& v) {
  auto const of = std::as_bytes(std::span(v));
  return {of.begin(), of.end()};
}

/// Noise in every sample, exact in `bit_depth` bits.
inline image noise_picture(int width, int height, int channels, int bit_depth, unsigned seed = 1) {
  image out{width, height, channels, bit_depth};
  std::mt19937 random{seed};
  unsigned const top = bit_depth == 8 ? 255 : 65535;
  for (float& x : out.pixels) x = float(random() % (top + 1)) / float(top);
  return out;
}

// ---- PNG by hand
// -----------------------------------------------------------------------------------------------------

inline void append_32(std::string& to, std::uint32_t v) {
  for (int shift = 24; shift >= 0; shift -= 8) to += char(v >> shift & 255U);
}

/// The checksum at the end of a PNG chunk, of its name and data.
inline std::uint32_t crc_32(std::string_view body) {
  std::uint32_t crc = 0xFFFFFFFFU;
  for (char c : body) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1U) != 0 ? 0xEDB88320U : 0U);
  }
  return ~crc;
}

inline std::string png_chunk(std::string const& type, std::string const& data) {
  std::string out;
  append_32(out, std::uint32_t(data.size()));
  std::string const body = type + data;
  out += body;
  append_32(out, crc_32(body));
  return out;
}

/// zlib data of one stored block.
inline std::string zlib_stored(std::string const& data) {
  unetdn::check(data.size() < 65536, "one stored block holds less than 64 KiB");
  unsigned const size = unsigned(data.size());
  std::string out{"\x78\x01\x01"};
  for (unsigned v : {size, ~size}) {
    out += char(v & 255U);
    out += char(v >> 8 & 255U);
  }
  out += data;
  std::uint32_t a = 1;
  std::uint32_t b = 0;
  for (char c : data) {
    a = (a + static_cast<unsigned char>(c)) % 65521;
    b = (b + a) % 65521;
  }
  append_32(out, b << 16 | a);
  return out;
}

struct png_maker {
  int width, height, bits, color_type;
  std::function<unsigned(int x, int y, int c)> sample;
  std::string extra_chunks{};  // before the pixels
  bool interlaced = false;

  int samples_per_pixel() const { return std::array<int, 7>{1, 0, 3, 1, 2, 0, 4}[std::size_t(color_type)]; }

  /// Every `dx`-th pixel from (x0, y0) on, as filtered rows (filter 0).
  std::string rows(int x0, int y0, int dx, int dy) const {
    std::string out;
    if (x0 >= width) return out;
    for (int y = y0; y < height; y += dy) {
      out += '\0';
      unsigned collected = 0;
      int filled = 0;
      for (int x = x0; x < width; x += dx) {
        for (int c = 0; c < samples_per_pixel(); ++c) {
          if (bits == 16) out += char(sample(x, y, c) >> 8);
          if (bits >= 8) {
            out += char(sample(x, y, c) & 255U);
            continue;
          }
          collected = collected << bits | sample(x, y, c);
          filled += bits;
          if (filled == 8) out += char(collected & 255U);
          filled %= 8;
        }
      }
      if (filled > 0) out += char(collected << (8 - filled) & 255U);
    }
    return out;
  }

  std::string pixels() const {
    if (!interlaced) return rows(0, 0, 1, 1);
    return rows(0, 0, 8, 8) + rows(4, 0, 8, 8) + rows(0, 4, 4, 8) + rows(2, 0, 4, 4) + rows(0, 2, 2, 4) +
           rows(1, 0, 2, 2) + rows(0, 1, 1, 2);
  }

  bytes make() const {
    std::string header;
    append_32(header, std::uint32_t(width));
    append_32(header, std::uint32_t(height));
    header += {char(bits), char(color_type), '\0', '\0', char(interlaced)};
    return to_bytes(std::string("\x89PNG\r\n\x1a\n", 8) + png_chunk("IHDR", header) + extra_chunks +
                    png_chunk("IDAT", zlib_stored(pixels())) + png_chunk("IEND", ""));
  }
};

// ---- JPEG by hand
// ----------------------------------------------------------------------------------------------------

/// The contents of an EXIF segment whose only entry is the orientation.
inline std::string exif(int orientation, bool big_endian, int type = 3) {
  std::string tiff{big_endian ? "MM" : "II"};
  auto const append = [&](unsigned v, int size) {
    for (int i = 0; i < size; ++i) tiff += char(v >> 8 * (big_endian ? size - 1 - i : i) & 255U);
  };
  append(42, 2);
  append(8, 4);
  append(2, 2);
  append(0x0100, 2);  // another entry before it
  append(4, 2);
  append(1, 4);
  append(7, 4);
  append(0x0112, 2);
  append(unsigned(type), 2);
  append(1, 4);
  append(unsigned(orientation), type == 3 ? 2 : 4);
  if (type == 3) append(0, 2);
  append(0, 4);
  return std::string("Exif\0\0", 6) + tiff;
}

/// The JPEG file with another APP1 segment right after its first marker.
inline bytes with_segment(bytes const& jpeg, std::string const& contents) {
  std::size_t const length = contents.size() + 2;
  std::string const segment = std::string("\xFF\xE1") + char(length >> 8) + char(length & 255U) + contents;
  bytes out(jpeg.begin(), jpeg.begin() + 2);
  bytes const middle = to_bytes(segment);
  out.insert(out.end(), middle.begin(), middle.end());
  out.insert(out.end(), jpeg.begin() + 2, jpeg.end());
  return out;
}

// ---- BMP by hand
// -----------------------------------------------------------------------------------------------------

struct bmp_maker {
  int width, height, bits;  // height < 0: rows from the top
  std::string palette{};
  std::function<std::string(int x, int y)> pixel;  // y from the stored first row

  bytes make() const {
    std::string rows;
    for (int y = 0; y < std::abs(height); ++y) {
      for (int x = 0; x < width; ++x) rows += pixel(x, y);
      while (rows.size() % 4 != 0) rows += '\0';
    }
    std::string out{"BM"};
    auto const append = [&](unsigned v, int size) {
      for (int i = 0; i < size; ++i) out += char(v >> 8 * i & 255U);
    };
    append(unsigned(54 + palette.size() + rows.size()), 4);
    append(0, 4);
    append(unsigned(54 + palette.size()), 4);
    append(40, 4);
    append(unsigned(width), 4);
    append(unsigned(height), 4);
    append(1, 2);
    append(unsigned(bits), 2);
    for (int i = 0; i < 4; ++i) append(0, 4);
    append(unsigned(palette.size() / 4), 4);
    append(0, 4);
    return to_bytes(out + palette + rows);
  }
};

inline bytes small_bmp() {
  return bmp_maker{7, 5, 24, "",
                   [](int x, int y) {
                     return std::string{char(x * 30), char(y * 40), char(x + y)};
                   }}
      .make();
}

/// Small valid files of every kind, to be damaged.
inline std::vector<bytes> valid_files() {
  bytes jpeg = encode_jpeg(noise_picture(19, 13, 3, 8), 80);
  auto const ramp = [](int x, int y, int c) { return unsigned(x * 7 + y * 5 + c) & 15U; };
  auto const index = [](int x, int y, int) { return unsigned(x + y) & 3U; };
  return {
      encode_png(noise_picture(9, 7, 3, 8)),
      png_maker{9, 9, 4, 0, ramp, "", true}.make(),
      png_maker{9, 5, 2, 3, index, png_chunk("PLTE", "abcdefghijkl") + png_chunk("tRNS", "\x10\x20"), false}.make(),
      jpeg,
      with_segment(jpeg, exif(6, true)),
      encode_jpeg(noise_picture(16, 16, 1, 8), 95),
      to_bytes(cmyk_jpeg),
      small_bmp(),
      bmp_maker{6, -4, 32, "",
                [](int x, int y) {
                  return std::string{char(x), char(y), '\x7f', '\x20'};
                }}
          .make(),
      bmp_maker{6, 4, 8, std::string(1024, '\x33'), [](int x, int) { return std::string(1, char(x)); }}.make(),
      to_bytes("P2\n# a comment\n3 2\n255\n0 1 2\n253 254 255\n"),
      to_bytes("P3 2 1 1000 0 500 1000 1 2 3"),
      encode_pnm(noise_picture(5, 4, 3, 16)),
      encode_pnm(noise_picture(5, 4, 1, 8)),
  };
}
}  // namespace made_files
