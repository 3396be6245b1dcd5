// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: any bytes give a file_error or a picture that survives being written and read again.
// UNETDN_TEST_LIBPNG and UNETDN_TEST_LIBJPEG say which libraries image.cpp was compiled with.
#include <cmath>
#include <cstring>

#include "image/made_files.hpp"
#include "require.hpp"

using fuzz::require;
using unetdn::image;

namespace {

bool same_extents(image const& a, image const& b) {
  return a.width == b.width && a.height == b.height && a.channels == b.channels && a.bit_depth == b.bit_depth;
}

/// The picture of samples v / 255 or v / 65535 comes back as it was.
void check_exact(image const& picture, std::vector<std::byte> const& file) {
  image const again = unetdn::decode_image(file, "again");
  require(same_extents(again, picture), "writing changed the extents");
  require(again.pixels == picture.pixels, "writing changed the pixels");
}

/// A PNM file may have any maximum: rounds its samples as writing does.
void round_samples(image& picture) {
  float const top = picture.bit_depth == 8 ? 255.0F : 65535.0F;
  for (float& x : picture.pixels) x = std::nearbyint(x * top) / top;
}

void check_jpeg(image picture) {
  if (picture.width > 65500 || picture.height > 65500) return;
  picture.bit_depth = 8;
#if !UNETDN_TEST_LIBJPEG
  picture = to_rgb(std::move(picture));  // stb writes grey as colour
#endif
  image const again = unetdn::decode_image(unetdn::encode_jpeg(picture), "again");
  require(same_extents(again, picture), "JPEG changed the extents");
}

void check_written(image picture) {
  picture.check_valid();
  if (picture.samples() > 1 << 16) return;  // to look at them would cost more time than it finds
  for (float x : picture.pixels) require(x >= 0 && x <= 1, "a sample outside [0, 1]");
#if UNETDN_TEST_LIBPNG
  check_exact(picture, unetdn::encode_png(picture));
#else
  if (picture.bit_depth == 8) check_exact(picture, unetdn::encode_png(picture));
#endif
  if (picture.has_alpha()) return;
  check_exact(picture, unetdn::encode_pnm(picture));
  check_jpeg(std::move(picture));
}

/// Gives each chunk its right checksum: without one libpng reads no further.
void repair_png(unsigned char* data, std::size_t size) {
  std::string_view const file(reinterpret_cast<char const*>(data), size);
  if (!file.starts_with("\x89PNG")) return;
  std::size_t at = 8;
  while (at + 12 <= size) {
    std::size_t length = 0;
    for (std::size_t i = 0; i < 4; ++i) length = length << 8 | data[at + i];
    if (length > size - at - 12) return;
    std::string crc;
    made_files::append_32(crc, made_files::crc_32(file.substr(at + 4, length + 4)));
    std::memcpy(data + at + 8 + length, crc.data(), crc.size());
    at += length + 12;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(unsigned char const* data, std::size_t size) {
  try {
    image picture = unetdn::decode_image({reinterpret_cast<std::byte const*>(data), size}, "fuzz");
    if (data[0] == 'P') round_samples(picture);
    check_written(std::move(picture));
  } catch (unetdn::file_error const& e) {
    fuzz::require_one_line(e);
  }
  return 0;
}

extern "C" std::size_t LLVMFuzzerMutate(unsigned char* data, std::size_t size, std::size_t most);

extern "C" std::size_t LLVMFuzzerCustomMutator(unsigned char* data, std::size_t size, std::size_t most, unsigned seed) {
  size = LLVMFuzzerMutate(data, size, most);
  if (seed % 16 != 0) repair_png(data, size);
  return size;
}
