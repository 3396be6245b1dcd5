// SPDX-License-Identifier: Apache-2.0
// Picture files: the one compiled source of the target unetdn::image.
//
// PNG and JPEG go through libpng and libjpeg-turbo where the build found them (UNETDN_HAVE_PNG, UNETDN_HAVE_JPEG), else
// through stb; BMP through stb; PNM and EXIF are read here. Every byte is untrusted: the sizes that a file declares are
// compared with what its bytes could possibly hold before anything of that size is allocated.
#include <array>
#include <cerrno>
#include <climits>
#include <cmath>
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>

#include <unetdn/core/file.hpp>
#include <unetdn/image.hpp>

#if UNETDN_HAVE_PNG
  #include <png.h>
#endif
#if UNETDN_HAVE_JPEG
  // jpeglib.h needs size_t and FILE from the headers above.
  #include <jpeglib.h>
  // jerror.h must follow jpeglib.h.
  #include <jerror.h>
#endif

namespace unetdn {
namespace {

/// The most that stb may ask for at once: it unpacks whatever a PNG file holds, however few pixels that declares.
thread_local std::size_t most_stb_bytes = 0;

/// All zeros: stb 2.28 decodes by Huffman tables that a JPEG file names but does not hold.
[[maybe_unused]] void* stb_allocate(std::size_t size) {
  return size <= most_stb_bytes ? std::calloc(size, 1) : nullptr;
}

[[maybe_unused]] void* stb_reallocate(void* old, std::size_t size) {
  return size <= most_stb_bytes ? std::realloc(old, size) : nullptr;
}

}  // namespace
}  // namespace unetdn

#if defined(__GNUC__)
  #pragma GCC diagnostic push
  #pragma GCC diagnostic ignored "-Wunused-function"
  #pragma GCC diagnostic ignored "-Wconversion"
  #pragma GCC diagnostic ignored "-Wshadow"
  #pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#endif
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_NO_HDR
#define STBI_ONLY_BMP
#define STBI_MALLOC(size) unetdn::stb_allocate(size)
#define STBI_REALLOC(old, size) unetdn::stb_reallocate(old, size)
#define STBI_FREE(old) std::free(old)
#if !UNETDN_HAVE_PNG
  #define STBI_ONLY_PNG
#endif
#if !UNETDN_HAVE_JPEG
  #define STBI_ONLY_JPEG
#endif
#if __has_include(<stb_image.h>)
  #include <stb_image.h>
  #define UNETDN_HAVE_STB 1
#elif __has_include(<stb/stb_image.h>)
  #include <stb/stb_image.h>
  #define UNETDN_HAVE_STB 1
#endif
#if !UNETDN_HAVE_PNG || !UNETDN_HAVE_JPEG
  #define STB_IMAGE_WRITE_STATIC
  #define STB_IMAGE_WRITE_IMPLEMENTATION
  #define STBI_WRITE_NO_STDIO
  #if __has_include(<stb_image_write.h>)
    #include <stb_image_write.h>
    #define UNETDN_HAVE_STB_WRITE 1
  #elif __has_include(<stb/stb_image_write.h>)
    #include <stb/stb_image_write.h>
    #define UNETDN_HAVE_STB_WRITE 1
  #endif
#endif
#if defined(__GNUC__)
  #pragma GCC diagnostic pop
#endif

namespace unetdn {
namespace {

using bytes_view = std::span<std::byte const>;

constexpr std::int64_t most_pixels = 200'000'000;
// Deflate can't shrink more than 1032 times (258 bytes from 2 bits).
constexpr std::uint64_t most_deflate_ratio = 1032;

/// The bytes to decode, and what goes with them everywhere.
struct source {
  bytes_view bytes;
  std::string_view name;
  read_options options;

  [[noreturn]] void fail(std::string_view what) const { throw file_error(name, what); }

  [[noreturn]] void fail_damaged(char const* format, std::string_view detail) const {
    fail(text("is a damaged or truncated ", format, " file (", detail, "); replace or remove it"));
  }
};

std::uint8_t byte_at(bytes_view bytes, std::size_t i) { return std::to_integer<std::uint8_t>(bytes[i]); }

bool starts_with(bytes_view bytes, std::string_view prefix) {
  return bytes.size() >= prefix.size() && std::memcmp(bytes.data(), prefix.data(), prefix.size()) == 0;
}

/// Refuses extents that no picture has, or that are more than the caller wants to spend memory on.
void check_size(source const& in, char const* format, std::int64_t width, std::int64_t height) {
  if (width < 1 || height < 1 || width > INT_MAX || height > INT_MAX) {
    in.fail_damaged(format, text("it declares ", width, " x ", height, " pixels"));
  }
  if (width * height > most_pixels && !in.options.any_size) {
    in.fail(
        text("declares ", width, " x ", height,
             " pixels, more than 200 megapixels; split it, or if it is to be trusted, read it with --any-size (in C++ "
             "read_options::any_size)"));
  }
  if (width > (std::int64_t(1) << 40) / height) in.fail(text("declares ", width, " x ", height, " pixels; split it"));
}

// ---- Samples
// ---------------------------------------------------------------------------------------------------------

/// v / 255 for each 8-bit sample v.
void from_8_bit(std::uint8_t const* from, std::size_t count, float* to) {
  static auto const table = [] {
    std::array<float, 256> values{};
    for (int v = 0; v < 256; ++v) values[std::size_t(v)] = float(v) / 255.0F;
    return values;
  }();
  for (std::size_t i = 0; i < count; ++i) to[i] = table[from[i]];
}

/// round(clamp(x) * top), halves to even (in the default rounding mode), NaN to 0.
unsigned quantize(float x, float top) {
  float const clamped = x > 0 ? (x < 1 ? x : 1.0F) : 0.0F;
  return static_cast<unsigned>(std::nearbyint(clamped * top));
}

void to_8_bit(float const* from, std::size_t count, std::uint8_t* to) {
  for (std::size_t i = 0; i < count; ++i) to[i] = static_cast<std::uint8_t>(quantize(from[i], 255.0F));
}

/// Most significant byte first, as PNG and PNM want it.
void to_16_bit(float const* from, std::size_t count, std::uint8_t* to) {
  for (std::size_t i = 0; i < count; ++i) {
    unsigned const v = quantize(from[i], 65535.0F);
    to[2 * i] = static_cast<std::uint8_t>(v >> 8);
    to[2 * i + 1] = static_cast<std::uint8_t>(v & 255U);
  }
}

/// The samples of one row as a file stores them.
void quantize_row(image const& picture, int y, int bit_depth, std::uint8_t* to) {
  std::size_t const count = std::size_t(picture.width) * std::size_t(picture.channels);
  float const* const row = picture.pixels.data() + std::size_t(y) * count;
  if (bit_depth == 16) {
    to_16_bit(row, count, to);
  } else {
    to_8_bit(row, count, to);
  }
}

std::size_t row_bytes(image const& picture, int bit_depth) {
  return std::size_t(picture.width) * std::size_t(picture.channels) * (bit_depth == 16 ? 2 : 1);
}

// ---- stb
// -------------------------------------------------------------------------------------------------------------

#if UNETDN_HAVE_STB

struct stb_deleter {
  void operator()(void* p) const { stbi_image_free(p); }
};

[[noreturn]] void fail_stb(source const& in, char const* format) {
  char const* const reason = stbi_failure_reason();  // stb leaves it out in places
  in.fail_damaged(format, reason != nullptr ? reason : "its parts don't fit together");
}

image decode_stb(source const& in, char const* format) {
  if (in.bytes.size() > INT_MAX) in.fail("holds more than 2 GiB; use a smaller picture");
  auto const* const data = reinterpret_cast<stbi_uc const*>(in.bytes.data());
  int const size = int(in.bytes.size());
  int width = 0;
  int height = 0;
  int channels = 0;
  most_stb_bytes = std::size_t(1) << 20;
  if (!stbi_info_from_memory(data, size, &width, &height, &channels)) fail_stb(in, format);
  check_size(in, format, width, std::abs(std::int64_t(height)));  // negative in a BMP stored from the top
  // 4 channels of 16 bits, in blocks of up to 32 x 32 pixels, and doubled when they are more than stb thought.
  most_stb_bytes += 16 * (std::size_t(width) + 64) * std::size_t(std::abs(std::int64_t(height)) + 64);
  bool const deep = stbi_is_16_bit_from_memory(data, size) != 0;
  std::unique_ptr<void, stb_deleter> decoded;
  if (deep) {
    decoded.reset(stbi_load_16_from_memory(data, size, &width, &height, &channels, 0));
  } else {
    decoded.reset(stbi_load_from_memory(data, size, &width, &height, &channels, 0));
  }
  if (!decoded) fail_stb(in, format);
  image out{width, height, channels, deep ? 16 : 8};
  if (deep) {
    auto const* const samples = static_cast<stbi_us const*>(decoded.get());
    for (std::size_t i = 0; i < out.pixels.size(); ++i) out.pixels[i] = float(samples[i]) / 65535.0F;
  } else {
    from_8_bit(static_cast<stbi_uc const*>(decoded.get()), out.pixels.size(), out.pixels.data());
  }
  return out;
}

#else

[[noreturn]] image decode_stb(source const& in, char const* format) {
  in.fail(text("is a ", format, " file, which this build can't read; install stb and build again, or convert it"));
}

#endif

#if UNETDN_HAVE_STB_WRITE

void append_stb(void* context, void* data, int size) {
  auto& to = *static_cast<std::vector<std::byte>*>(context);
  auto const* const first = static_cast<std::byte const*>(data);
  to.insert(to.end(), first, first + size);
}

std::vector<std::uint8_t> quantize_all(image const& picture) {
  std::vector<std::uint8_t> samples(picture.pixels.size());
  to_8_bit(picture.pixels.data(), samples.size(), samples.data());
  return samples;
}

#endif

// ---- PNG
// -------------------------------------------------------------------------------------------------------------

constexpr std::string_view png_signature{"\x89PNG\r\n\x1a\n", 8};

std::uint32_t big_endian_32(bytes_view bytes, std::size_t i) {
  return std::uint32_t(byte_at(bytes, i)) << 24 | std::uint32_t(byte_at(bytes, i + 1)) << 16 |
         std::uint32_t(byte_at(bytes, i + 2)) << 8 | byte_at(bytes, i + 3);
}

/// Compares the extents that the header declares with the limit and with what so few bytes could unpack to, and the
/// chunks up to the last one with the bytes that there are: stb would allocate what a chunk only claims to hold, and
/// put the name of one that it must know, whatever its bytes, in a message that all threads share.
void check_png(source const& in) {
  // Signature, then the chunk IHDR: length, name, width, height, bits a sample, colour type.
  if (in.bytes.size() < 33) in.fail_damaged("PNG", "it ends inside the header");
  std::int64_t const width = big_endian_32(in.bytes, 16);
  std::int64_t const height = big_endian_32(in.bytes, 20);
  check_size(in, "PNG", width, height);
  constexpr std::array<unsigned, 7> samples_of_color_type{1, 0, 3, 1, 2, 0, 4};
  unsigned const type = byte_at(in.bytes, 25);
  unsigned const bits = byte_at(in.bytes, 24) * (type < samples_of_color_type.size() ? samples_of_color_type[type] : 0);
  std::uint64_t const unpacked = (std::uint64_t(width) * bits + 7) / 8 * std::uint64_t(height);
  if (unpacked / most_deflate_ratio > in.bytes.size()) {
    in.fail_damaged("PNG", text("it declares ", width, " x ", height, " pixels in only ", in.bytes.size(), " bytes"));
  }
  std::size_t at = png_signature.size();
  bool last = false;
  while (!last) {
    constexpr std::size_t around = 12;  // length, name, checksum
    std::size_t const left = in.bytes.size() - at;
    if (left < around || left - around < big_endian_32(in.bytes, at)) in.fail_damaged("PNG", "the file ends early");
    bytes_view const name = in.bytes.subspan(at + 4);
    last = starts_with(name, "IEND");
    bool const must_be_known = (byte_at(name, 0) & 0x20U) == 0;
    bool const known = last || starts_with(name, "IHDR") || starts_with(name, "PLTE") || starts_with(name, "IDAT");
    if (must_be_known && !known) in.fail_damaged("PNG", "it has an unknown critical chunk");
    at += around + big_endian_32(in.bytes, at);
  }
}

#if UNETDN_HAVE_PNG

// libpng reports errors by longjmp. So every call of it that can fail runs inside guarded(), between whose setjmp and
// longjmp no C++ object with a destructor is made: what must be freed lives in these structs.
struct png_state {
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::array<char, 120> message{};

  static void on_error(png_structp png, png_const_charp said) {
    auto& self = *static_cast<png_state*>(png_get_error_ptr(png));
    std::snprintf(self.message.data(), self.message.size(), "%s", said);
    png_longjmp(png, 1);
  }
  static void on_warning(png_structp, png_const_charp) {}

  /// Runs `step`; false when libpng gave up, with the reason in `message`.
  template <class Step> bool guarded(Step&& step) {
    if (setjmp(png_jmpbuf(png))) return false;
    step();
    return true;
  }
};

void from_16_bit(std::uint8_t const* from, std::size_t count, float* to) {
  for (std::size_t i = 0; i < count; ++i) to[i] = float(from[2 * i] * 256 + from[2 * i + 1]) / 65535.0F;
}

struct png_reader : png_state {
  bytes_view left;

  explicit png_reader(bytes_view bytes) : left{bytes} {
    png = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, on_warning);
    if (png) info = png_create_info_struct(png);
    if (!info) {
      png_destroy_read_struct(&png, nullptr, nullptr);
      throw std::bad_alloc{};
    }
  }
  png_reader(png_reader const&) = delete;
  png_reader& operator=(png_reader const&) = delete;
  ~png_reader() { png_destroy_read_struct(&png, &info, nullptr); }

  static void read(png_structp png, png_bytep to, png_size_t count) {
    auto& self = *static_cast<png_reader*>(png_get_io_ptr(png));
    if (count > self.left.size()) png_error(png, "the file ends early");
    std::memcpy(to, self.left.data(), count);
    self.left = self.left.subspan(count);
  }

  /// Reads up to the pixels and asks for whole samples of 8 or 16 bits: palettes and tRNS become channels.
  void start() {
    png_set_read_fn(png, this, read);
    png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);  // check_png() has its own
  #if defined(PNG_HANDLE_AS_UNKNOWN_SUPPORTED)
    // Skip every chunk that isn't needed for the samples: less code for hostile bytes, and no gamma or profile.
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
  #endif
    png_read_info(png, info);
    png_set_expand(png);
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
  }
};

image decode_png(source const& in) {
  check_png(in);
  png_reader reader{in.bytes};
  if (!reader.guarded([&] { reader.start(); })) in.fail_damaged("PNG", reader.message.data());
  auto const width = png_get_image_width(reader.png, reader.info);
  auto const height = png_get_image_height(reader.png, reader.info);
  check_size(in, "PNG", width, height);
  image out{int(width), int(height), int(png_get_channels(reader.png, reader.info)),
            int(png_get_bit_depth(reader.png, reader.info))};
  // Interlaced rows are filled in seven passes, so all of them are kept.
  std::size_t const stride = png_get_rowbytes(reader.png, reader.info);
  std::vector<png_byte> samples(stride * height);
  std::vector<png_bytep> rows(height);
  for (std::size_t y = 0; y < height; ++y) rows[y] = samples.data() + y * stride;
  bool const complete = reader.guarded([&] {
    png_read_image(reader.png, rows.data());
    png_read_end(reader.png, nullptr);
  });
  if (!complete) in.fail_damaged("PNG", reader.message.data());
  if (out.bit_depth == 16) {
    from_16_bit(samples.data(), out.pixels.size(), out.pixels.data());
  } else {
    from_8_bit(samples.data(), out.pixels.size(), out.pixels.data());
  }
  return out;
}

struct png_writer : png_state {
  std::vector<std::byte> bytes;

  png_writer() {
    png = png_create_write_struct(PNG_LIBPNG_VER_STRING, this, on_error, on_warning);
    if (png) info = png_create_info_struct(png);
    if (!info) {
      png_destroy_write_struct(&png, nullptr);
      throw std::bad_alloc{};
    }
  }
  png_writer(png_writer const&) = delete;
  png_writer& operator=(png_writer const&) = delete;
  ~png_writer() { png_destroy_write_struct(&png, &info); }

  static void write(png_structp png, png_bytep from, png_size_t count) {
    auto& self = *static_cast<png_writer*>(png_get_io_ptr(png));
    auto const* const first = reinterpret_cast<std::byte const*>(from);
    bool room = true;
    try {
      self.bytes.insert(self.bytes.end(), first, first + count);
    } catch (std::exception const&) {
      room = false;  // an exception must not pass through libpng's C code
    }
    if (!room) png_error(png, "out of memory");
  }
  static void flush(png_structp) {}
};

std::vector<std::byte> encode_png_bytes(image const& picture) {
  constexpr std::array<int, 4> color_types{PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGB,
                                           PNG_COLOR_TYPE_RGB_ALPHA};
  png_writer writer;
  std::vector<std::uint8_t> row(row_bytes(picture, picture.bit_depth));
  bool const complete = writer.guarded([&] {
    png_set_write_fn(writer.png, &writer, png_writer::write, png_writer::flush);
    png_set_user_limits(writer.png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_IHDR(writer.png, writer.info, png_uint_32(picture.width), png_uint_32(picture.height), picture.bit_depth,
                 color_types[std::size_t(picture.channels - 1)], PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    png_write_info(writer.png, writer.info);
    for (int y = 0; y < picture.height; ++y) {
      quantize_row(picture, y, picture.bit_depth, row.data());
      png_write_row(writer.png, row.data());
    }
    png_write_end(writer.png, nullptr);
  });
  check(complete, "a picture of ", picture.width, " x ", picture.height,
        " pixels can't be made a PNG: ", writer.message.data());
  return std::move(writer.bytes);
}

#else

image decode_png(source const& in) {
  check_png(in);
  return decode_stb(in, "PNG");
}

std::vector<std::byte> encode_png_bytes(image const& picture) {
  check(picture.bit_depth == 8, "this build can't write PNG with 16 bits; install libpng and build again");
  #if UNETDN_HAVE_STB_WRITE
  std::vector<std::byte> bytes;
  auto const samples = quantize_all(picture);
  int const stride = picture.width * picture.channels;
  int const ok = stbi_write_png_to_func(append_stb, &bytes, picture.width, picture.height, picture.channels,
                                        samples.data(), stride);
  check(ok != 0, "a picture of ", picture.width, " x ", picture.height, " pixels can't be made a PNG");
  return bytes;
  #else
  throw argument_error("this build can't write PNG; install libpng or stb and build again");
  #endif
}

#endif

// ---- EXIF and JPEG structure
// -----------------------------------------------------------------------------------------

/// Integers of a TIFF structure in either byte order; nothing where the bytes end before them.
struct tiff_view {
  bytes_view bytes;
  bool big_endian = false;

  std::optional<std::uint32_t> get(std::size_t at, std::size_t size) const {
    if (at > bytes.size() || bytes.size() - at < size) return std::nullopt;
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < size; ++i) {
      std::size_t const next = big_endian ? i : size - 1 - i;
      value = value << 8 | byte_at(bytes, at + next);
    }
    return value;
  }
};

/// Orientation 1 to 8 from the contents of an APP1 segment; 1 where there is none or it makes no sense.
int exif_orientation(bytes_view segment) {
  if (!starts_with(segment, std::string_view("Exif\0\0", 6))) return 1;
  tiff_view tiff{segment.subspan(6)};
  if (starts_with(tiff.bytes, "MM")) {
    tiff.big_endian = true;
  } else if (!starts_with(tiff.bytes, "II")) {
    return 1;
  }
  if (tiff.get(2, 2) != 42U) return 1;
  auto const directory = tiff.get(4, 4);
  if (!directory) return 1;
  auto const entries = tiff.get(*directory, 2);
  if (!entries) return 1;
  for (std::uint32_t i = 0; i < *entries; ++i) {
    std::size_t const at = std::size_t(*directory) + 2 + std::size_t(i) * 12;
    auto const tag = tiff.get(at, 2);
    if (!tag) return 1;
    if (*tag != 0x0112U) continue;
    auto const type = tiff.get(at + 2, 2);
    bool const is_short = type == 3U;  // some programs store a long (4)
    if (!is_short && type != 4U) return 1;
    auto const value = tiff.get(at + 8, is_short ? 2 : 4);
    return value && *value >= 1 && *value <= 8 ? int(*value) : 1;
  }
  return 1;
}

/// What the segments of a JPEG file say before anything is decoded.
struct jpeg_structure {
  int width = 0, height = 0, components = 0;
  int orientation = 1;
  bool arithmetic = false, progressive = false;
  int scans = 0;
  bool table_missing = false;  ///< a scan names a Huffman table that the file does not have
  bool complete = false;       ///< an end marker follows the pixels
  char const* fault = nullptr;
};

/// The Huffman tables of a DHT segment, as a set of bits: 1 << number, or 16 << number for AC coefficients. None where
/// one has more than 256 codes or not all of them in the segment; stb 2.28 writes past its own table then.
std::optional<unsigned> huffman_tables(bytes_view segment) {
  unsigned defined = 0;
  while (!segment.empty()) {
    if (segment.size() < 17) return {};
    std::size_t codes = 0;
    for (std::size_t i = 1; i <= 16; ++i) codes += byte_at(segment, i);
    if (codes > 256 || segment.size() - 17 < codes) return {};
    unsigned const table = byte_at(segment, 0);
    defined |= (table < 16 ? 1U : 16U) << (table & 3U);
    segment = segment.subspan(17 + codes);
  }
  return defined;
}

/// The Huffman tables that a scan decodes with, as of its SOS segment, in the same way.
unsigned tables_of_scan(bytes_view segment, bool progressive) {
  if (segment.empty() || segment.size() < 4 + 2 * std::size_t(byte_at(segment, 0))) return 0;  // refused later
  std::size_t const components = byte_at(segment, 0);
  bool const dc = !progressive || byte_at(segment, 1 + 2 * components) == 0;
  bool const ac = !progressive || !dc;
  bool const refines = progressive && byte_at(segment, 3 + 2 * components) >= 16;  // DC by plain bits
  unsigned used = 0;
  for (std::size_t i = 0; i < components; ++i) {
    unsigned const tables = byte_at(segment, 2 + 2 * i);
    if (dc && !refines) used |= 1U << (tables >> 4 & 3U);
    if (ac) used |= 16U << (tables & 3U);
  }
  return used;
}

jpeg_structure scan_jpeg(bytes_view bytes) {
  jpeg_structure found;
  unsigned tables = 0;
  bool oriented = false;
  std::size_t at = 2;
  while (at + 2 <= bytes.size()) {
    unsigned const marker = byte_at(bytes, at + 1);
    bool const stands_alone = marker == 0 || marker == 1 || (marker >= 0xD0 && marker <= 0xD7);
    if (byte_at(bytes, at) != 0xFF || marker == 0xFF || stands_alone) {
      ++at;  // compressed pixels, a marker without a segment such as a restart, or filling before a marker
      continue;
    }
    if (marker == 0xD9) {
      found.complete = true;
      return found;
    }
    if (at + 4 > bytes.size()) return found;
    std::size_t const length = byte_at(bytes, at + 2) * 256U + byte_at(bytes, at + 3);
    if (length < 2 || length > bytes.size() - at - 2) return found;
    auto const segment = bytes.subspan(at + 4, length - 2);
    bool const is_frame = marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
    if (is_frame && segment.size() >= 6) {
      if (found.components > 0) found.fault = "it has a second frame";
      found.height = byte_at(segment, 1) * 256 + byte_at(segment, 2);
      found.width = byte_at(segment, 3) * 256 + byte_at(segment, 4);
      found.components = byte_at(segment, 5);
      found.arithmetic = marker > 0xC8;
      found.progressive = (marker & 3U) == 2;
    }
    if (marker == 0xDA) {
      ++found.scans;
      found.table_missing |= (tables_of_scan(segment, found.progressive) & ~tables) != 0;
    }
    if (marker == 0xC4) {
      auto const defined = huffman_tables(segment);
      if (!defined) found.fault = "a Huffman table is too large";
      tables |= defined.value_or(0);
    }
    if (marker == 0xE1 && !oriented && starts_with(segment, "Exif")) {
      found.orientation = exif_orientation(segment);
      oriented = true;
    }
    at += 2 + length;
  }
  return found;
}

/// The upright picture of one stored with EXIF orientation 1 to 8.
image apply_orientation(image in, int orientation) {
  if (orientation == 1) return in;
  bool const transposed = orientation >= 5;
  bool const from_bottom = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  bool const from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  image out{transposed ? in.height : in.width, transposed ? in.width : in.height, in.channels, in.bit_depth};
  auto const from = std::as_const(in).as_view();
  auto const to = out.as_view();
  for (int y = 0; y < out.height; ++y) {
    for (int x = 0; x < out.width; ++x) {
      int const row = transposed ? x : y;
      int const column = transposed ? y : x;
      float const* const pixel =
          from.pixel(0, from_bottom ? in.height - 1 - row : row, from_right ? in.width - 1 - column : column);
      std::copy_n(pixel, in.channels, to.pixel(0, y, x));
    }
  }
  return out;
}

// ---- JPEG
// ------------------------------------------------------------------------------------------------------------

[[noreturn]] void refuse_cmyk(source const& in) { in.fail("is a CMYK JPEG (made for printing); convert it to RGB"); }

#if UNETDN_HAVE_JPEG

// As with libpng: errors come by longjmp, so calls run inside guarded() and what must be freed lives in the struct.
struct jpeg_errors {
  jpeg_error_mgr manager{};  // first, so that a pointer to it is a pointer to this
  std::jmp_buf jump{};
  std::array<char, JMSG_LENGTH_MAX> message{};

  static void on_error(j_common_ptr codec) {
    auto* const self = reinterpret_cast<jpeg_errors*>(codec->err);
    codec->err->format_message(codec, self->message.data());
    std::longjmp(self->jump, 1);
  }

  /// libjpeg only warns when it fills missing pixels with grey; here that is an error. Harmless warnings pass.
  static void on_message(j_common_ptr codec, int level) {
    if (level >= 0) return;
    switch (codec->err->msg_code) {
      case JWRN_ARITH_BAD_CODE:
      case JWRN_HIT_MARKER:
      case JWRN_HUFF_BAD_CODE:
      case JWRN_JPEG_EOF:
      case JWRN_MUST_RESYNC:
        on_error(codec);
        break;
      default:
        break;
    }
  }

  jpeg_error_mgr* start() {
    jpeg_std_error(&manager);
    manager.error_exit = on_error;
    manager.emit_message = on_message;
    return &manager;
  }

  template <class Step> bool guarded(Step&& step) {
    if (setjmp(jump)) return false;
    step();
    return true;
  }
};

struct jpeg_reader {
  jpeg_errors errors;
  jpeg_decompress_struct codec{};

  jpeg_reader() { codec.err = errors.start(); }
  jpeg_reader(jpeg_reader const&) = delete;
  jpeg_reader& operator=(jpeg_reader const&) = delete;
  ~jpeg_reader() { jpeg_destroy_decompress(&codec); }

  void start(bytes_view bytes) {
    jpeg_create_decompress(&codec);
    jpeg_mem_src(&codec, reinterpret_cast<unsigned char const*>(bytes.data()),
                 static_cast<unsigned long>(bytes.size()));
    jpeg_read_header(&codec, TRUE);
  }

  void read_pixels(std::uint8_t* row, image& out) {
    JSAMPROW rows[1] = {row};
    std::size_t const count = std::size_t(out.width) * std::size_t(out.channels);
    while (codec.output_scanline < codec.output_height) {
      float* const to = out.pixels.data() + codec.output_scanline * count;
      jpeg_read_scanlines(&codec, rows, 1);
      from_8_bit(row, count, to);
    }
    jpeg_finish_decompress(&codec);
  }
};

image decode_jpeg_pixels(source const& in) {
  jpeg_reader reader;
  auto const step = [&](auto&& call) {
    if (!reader.errors.guarded(call)) in.fail_damaged("JPEG", reader.errors.message.data());
  };
  step([&] { reader.start(in.bytes); });
  auto& codec = reader.codec;
  check_size(in, "JPEG", codec.image_width, codec.image_height);
  if (codec.num_components == 4) refuse_cmyk(in);
  if (codec.num_components != 1 && codec.num_components != 3) {
    in.fail(text("is a JPEG with ", codec.num_components, " channels; convert it to grey or RGB"));
  }
  codec.out_color_space = codec.num_components == 1 ? JCS_GRAYSCALE : JCS_RGB;
  image out{int(codec.image_width), int(codec.image_height), codec.num_components};
  std::vector<std::uint8_t> row(row_bytes(out, 8));
  step([&] {
    jpeg_start_decompress(&codec);
    reader.read_pixels(row.data(), out);
  });
  return out;
}

struct jpeg_writer {
  jpeg_errors errors;
  jpeg_compress_struct codec{};
  jpeg_destination_mgr destination{};
  std::array<JOCTET, 16384> buffer{};
  std::vector<std::byte> bytes;

  jpeg_writer() { codec.err = errors.start(); }
  jpeg_writer(jpeg_writer const&) = delete;
  jpeg_writer& operator=(jpeg_writer const&) = delete;
  ~jpeg_writer() { jpeg_destroy_compress(&codec); }

  static jpeg_writer& of(j_compress_ptr codec) { return *static_cast<jpeg_writer*>(codec->client_data); }

  void start_buffer() {
    destination.next_output_byte = buffer.data();
    destination.free_in_buffer = buffer.size();
  }

  void drain(std::size_t count) {
    auto const* const first = reinterpret_cast<std::byte const*>(buffer.data());
    bool room = true;
    try {
      bytes.insert(bytes.end(), first, first + count);
    } catch (std::exception const&) {
      room = false;  // an exception must not pass through libjpeg's C code
    }
    if (!room) ERREXIT1(&codec, JERR_OUT_OF_MEMORY, 0);
    start_buffer();
  }

  static void on_start(j_compress_ptr codec) { of(codec).start_buffer(); }
  // libjpeg calls this when the whole buffer is full, whatever free_in_buffer says.
  static boolean on_full(j_compress_ptr codec) {
    of(codec).drain(of(codec).buffer.size());
    return TRUE;
  }
  static void on_end(j_compress_ptr codec) {
    auto& self = of(codec);
    self.drain(self.buffer.size() - self.destination.free_in_buffer);
  }

  void start(image const& picture, int quality) {
    jpeg_create_compress(&codec);
    codec.client_data = this;
    destination.init_destination = on_start;
    destination.empty_output_buffer = on_full;
    destination.term_destination = on_end;
    codec.dest = &destination;
    codec.image_width = JDIMENSION(picture.width);
    codec.image_height = JDIMENSION(picture.height);
    codec.input_components = picture.channels;
    codec.in_color_space = picture.channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(&codec);
    jpeg_set_quality(&codec, quality, TRUE);
    if (quality >= 90) codec.comp_info[0].h_samp_factor = codec.comp_info[0].v_samp_factor = 1;
    jpeg_start_compress(&codec, TRUE);
  }
};

std::vector<std::byte> encode_jpeg_bytes(image const& picture, int quality) {
  jpeg_writer writer;
  std::vector<std::uint8_t> row(row_bytes(picture, 8));
  bool const complete = writer.errors.guarded([&] {
    writer.start(picture, quality);
    JSAMPROW rows[1] = {row.data()};
    for (int y = 0; y < picture.height; ++y) {
      quantize_row(picture, y, 8, row.data());
      jpeg_write_scanlines(&writer.codec, rows, 1);
    }
    jpeg_finish_compress(&writer.codec);
  });
  check(complete, "a picture of ", picture.width, " x ", picture.height,
        " pixels can't be made a JPEG: ", writer.errors.message.data());
  return std::move(writer.bytes);
}

#else

image decode_jpeg_pixels(source const& in) { return decode_stb(in, "JPEG"); }

std::vector<std::byte> encode_jpeg_bytes(image const& picture, int quality) {
  #if UNETDN_HAVE_STB_WRITE
  std::vector<std::byte> bytes;
  auto const samples = quantize_all(picture);
  int const ok = stbi_write_jpg_to_func(append_stb, &bytes, picture.width, picture.height, picture.channels,
                                        samples.data(), quality);
  check(ok != 0, "a picture of ", picture.width, " x ", picture.height, " pixels can't be made a JPEG");
  return bytes;
  #else
  throw argument_error("this build can't write JPEG; install libjpeg-turbo or stb and build again");
  #endif
}

#endif

image decode_jpeg(source const& in) {
  auto const structure = scan_jpeg(in.bytes);
  if (!structure.complete) in.fail_damaged("JPEG", "the file ends early");
  if (structure.fault != nullptr) in.fail_damaged("JPEG", structure.fault);
#if !UNETDN_HAVE_JPEG
  // libjpeg-turbo takes the usual tables, which frames of Motion JPEG leave out; stb decodes by what its memory holds.
  if (structure.table_missing) in.fail_damaged("JPEG", "a Huffman table is missing");
#endif
  // A progressive file may declare thousands of scans, each of which costs a pass over all pixels.
  if (structure.scans > 500) in.fail_damaged("JPEG", text("it has ", structure.scans, " scans"));
  if (structure.components == 4) refuse_cmyk(in);
  check_size(in, "JPEG", structure.width, structure.height);
  // Each 8 x 8 block needs a Huffman code, of at least one bit. Arithmetic coding has no such bound, but no picture
  // comes near an eighth of a bit.
  std::int64_t const blocks = (structure.width + 7) / 8 * std::int64_t((structure.height + 7) / 8);
  std::uint64_t const most_blocks_per_byte = structure.arithmetic ? 64 : 8;
  if (std::uint64_t(blocks) / most_blocks_per_byte > in.bytes.size()) {
    in.fail_damaged("JPEG", text("it declares ", structure.width, " x ", structure.height, " pixels in only ",
                                 in.bytes.size(), " bytes"));
  }
  return apply_orientation(decode_jpeg_pixels(in), structure.orientation);
}

// ---- BMP
// -------------------------------------------------------------------------------------------------------------

/// What a BMP header says, as far as stb doesn't check it.
struct bmp_header {
  tiff_view fields;  // little-endian
  std::uint32_t pixels_at = 0, size = 0, bits = 0, compression = 0;
  std::int64_t width = 0, height = 0;

  explicit bmp_header(source const& in) : fields{in.bytes} {
    pixels_at = field(in, 10, 4);
    size = field(in, 14, 4);
    bool const old = size == 12;
    // Of the newer header's signed 32 bits, or the older one's unsigned 16.
    width = old ? field(in, 18, 2) : signed_field(in, 18);
    height = old ? field(in, 20, 2) : signed_field(in, 22);
    if (height < 0) height = -height;  // rows stored from the top
    bits = field(in, old ? 24 : 28, 2);
    compression = old ? 0 : field(in, 30, 4);
  }

  static std::uint32_t field(source const& in, std::size_t at, std::size_t bytes) {
    auto const value = tiff_view{in.bytes}.get(at, bytes);
    if (!value) in.fail_damaged("BMP", "it ends inside the header");
    return *value;
  }

  static std::int64_t signed_field(source const& in, std::size_t at) {
    return static_cast<std::int32_t>(field(in, at, 4));
  }

  /// Whether there is a palette and all of it is grey.
  bool grey_palette() const {
    std::size_t const first = std::size_t(14) + size;
    std::size_t const step = size == 12 ? 3 : 4;
    if (bits > 8 || first + step > pixels_at) return false;
    std::size_t const count = std::min<std::size_t>((pixels_at - first) / step, std::size_t(1) << bits);
    for (std::size_t i = 0; i < count; ++i) {
      auto const blue = fields.get(first + i * step, 1);
      if (!blue || fields.get(first + i * step + 1, 1) != blue || fields.get(first + i * step + 2, 1) != blue) {
        return false;
      }
    }
    return true;
  }
};

image decode_bmp(source const& in) {
  bmp_header const header{in};
  check_size(in, "BMP", header.width, header.height);
  if (header.compression != 0 && header.compression != 3 && header.compression != 6) {
    in.fail("is a compressed BMP; convert it to PNG");
  }
  // Rows fill whole groups of 4 bytes; some programs leave out the last group's filling. stb would read zeros instead.
  auto const row_bits = std::uint64_t(header.width) * header.bits;
  std::uint64_t const needed = std::uint64_t(header.height - 1) * ((row_bits + 31) / 32 * 4) + (row_bits + 7) / 8;
  if (header.pixels_at > in.bytes.size() || in.bytes.size() - header.pixels_at < needed) {
    in.fail_damaged(
        "BMP", text("it declares ", header.width, " x ", header.height, " pixels in only ", in.bytes.size(), " bytes"));
  }
  image out = decode_stb(in, "BMP");
  // Without masks, the fourth byte of 32 bits is filling by definition.
  if (out.has_alpha() && header.compression == 0) out = without_alpha(std::move(out));
  // BMP has no grey pictures but by palette.
  if (out.channels == 3 && header.grey_palette()) {
    out = detail::map_pixels(out, 1, [](float const* from, float* to) { to[0] = from[0]; });
  }
  return out;
}

// ---- PNM
// -------------------------------------------------------------------------------------------------------------

bool is_space(std::uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/// Reads the decimal numbers of a PNM file, with comments from # to the end of the line.
class pnm_numbers {
 public:
  explicit pnm_numbers(source const& in) : in_{in} {}

  std::size_t position() const { return at_; }
  std::size_t left() const { return in_.bytes.size() - at_; }
  /// The one white space character between header and binary samples.
  void skip_one() {
    if (left() == 0 || !is_space(peek())) in_.fail_damaged("PNM", "no white space after the header");
    ++at_;
  }

  std::int64_t next() {
    skip_blank();
    std::int64_t value = 0;
    std::size_t const first = at_;
    while (left() > 0 && peek() >= '0' && peek() <= '9') {
      value = value * 10 + (peek() - '0');
      if (value > INT_MAX) in_.fail_damaged("PNM", "a number is too large");
      ++at_;
    }
    if (at_ == first) in_.fail_damaged("PNM", left() == 0 ? "the file ends early" : "a number is missing");
    return value;
  }

 private:
  std::uint8_t peek() const { return byte_at(in_.bytes, at_); }

  void skip_blank() {
    while (left() > 0 && (is_space(peek()) || peek() == '#')) {
      if (peek() == '#') skip_line();
      if (left() > 0) ++at_;
    }
  }

  void skip_line() {
    while (left() > 0 && peek() != '\n' && peek() != '\r') ++at_;
  }

  source const& in_;
  std::size_t at_ = 2;  // after P and the digit
};

/// v / maximum, where a file may hold a larger v.
float pnm_sample(source const& in, std::int64_t v, std::int64_t maximum) {
  if (v > maximum) in.fail_damaged("PNM", text("sample ", v, " is above the maximum ", maximum));
  return float(v) / float(maximum);
}

image decode_pnm(source const& in) {
  char const kind = std::to_integer<char>(in.bytes[1]);
  if (kind == '1' || kind == '4' || kind == '7') {
    in.fail("is a PBM or PAM picture; convert it to PNG, PGM or PPM");
  }
  bool const plain = kind == '2' || kind == '3';
  pnm_numbers numbers{in};
  std::int64_t const width = numbers.next();
  std::int64_t const height = numbers.next();
  std::int64_t const maximum = numbers.next();
  check_size(in, "PNM", width, height);
  if (maximum < 1 || maximum > 65535) {
    in.fail_damaged("PNM", text("its maximum is ", maximum, ", not 1 to 65535"));
  }
  numbers.skip_one();
  bool const deep = maximum > 255;
  int const channels = kind == '3' || kind == '6' ? 3 : 1;
  std::int64_t const samples = width * height * channels;
  // A plain sample is at least a digit and, but for the last one, white space.
  std::int64_t const needed = plain ? 2 * samples - 1 : samples * (deep ? 2 : 1);
  if (std::int64_t(numbers.left()) < needed) {
    in.fail_damaged("PNM", text("it declares ", width, " x ", height, " pixels in only ", in.bytes.size(), " bytes"));
  }
  image out{int(width), int(height), channels, deep ? 16 : 8};
  bytes_view const raw = in.bytes.subspan(numbers.position());
  for (std::size_t i = 0; i < out.pixels.size(); ++i) {
    std::int64_t v = 0;
    if (plain) {
      v = numbers.next();
    } else if (deep) {
      v = byte_at(raw, 2 * i) * 256 + byte_at(raw, 2 * i + 1);
    } else {
      v = byte_at(raw, i);
    }
    out.pixels[i] = pnm_sample(in, v, maximum);
  }
  return out;
}

// ---- Which format
// ----------------------------------------------------------------------------------------------------

bool is_pnm(bytes_view bytes) {
  return bytes.size() >= 3 && byte_at(bytes, 0) == 'P' && byte_at(bytes, 1) >= '1' && byte_at(bytes, 1) <= '7' &&
         (is_space(byte_at(bytes, 2)) || byte_at(bytes, 2) == '#');
}

/// The name of a well-known format that isn't read here, for the error; empty where it isn't known.
std::string_view other_format(bytes_view bytes) {
  if (starts_with(bytes, "GIF8")) return "GIF";
  if (starts_with(bytes, std::string_view("II*\0", 4)) || starts_with(bytes, std::string_view("MM\0*", 4))) {
    return "TIFF or camera raw";
  }
  if (starts_with(bytes, "RIFF") && bytes.size() >= 12 && starts_with(bytes.subspan(8), "WEBP")) return "WebP";
  if (bytes.size() >= 12 && starts_with(bytes.subspan(4), "ftyp")) return "HEIC, AVIF or video";
  if (starts_with(bytes, "\x76\x2f\x31\x01")) return "OpenEXR";
  return {};
}

image decode(source const& in) {
  if (in.bytes.empty()) in.fail("is empty; replace or remove it");
  if (starts_with(in.bytes, png_signature)) return decode_png(in);
  if (starts_with(in.bytes, "\xFF\xD8\xFF")) return decode_jpeg(in);
  if (starts_with(in.bytes, "BM")) return decode_bmp(in);
  if (is_pnm(in.bytes)) return decode_pnm(in);
  auto const other = other_format(in.bytes);
  if (!other.empty()) in.fail(text("is a ", other, " file; convert it to PNG, JPEG, BMP or PNM"));
  in.fail("is not a PNG, JPEG, BMP or PNM picture; convert or remove it");
}

std::string lower_extension(std::filesystem::path const& path) {
  std::string extension = path.extension().string();
  for (char& c : extension) {
    if (c >= 'A' && c <= 'Z') c = char(c - 'A' + 'a');
  }
  return extension;
}

}  // namespace

// ---- Public
// ----------------------------------------------------------------------------------------------------------

image decode_image(std::span<std::byte const> bytes, std::string_view name, read_options const& options) {
  source const in{bytes, name, options};
  try {
    return decode(in);
  } catch (std::bad_alloc const&) {
    in.fail("needs more memory than is free; use a smaller picture");
  } catch (std::length_error const&) {
    in.fail("needs more memory than can be addressed; use a smaller picture");
  }
}

image read_image(std::filesystem::path const& path, read_options const& options) {
  // The longest sensible file: 200 megapixels as plain text with 16 bits, about six bytes a sample.
  constexpr std::uint64_t most_bytes = std::uint64_t(4) << 30;
  auto const bytes = options.any_size ? read_file(path) : read_file(path, most_bytes);
  return decode_image(bytes, path.string(), options);
}

std::vector<std::byte> encode_png(image const& picture) {
  picture.check_valid();
  return encode_png_bytes(picture);
}

std::vector<std::byte> encode_jpeg(image const& picture, int quality) {
  picture.check_valid();
  check(!picture.has_alpha(), "JPEG can't hold an alpha channel; write PNG, or without_alpha(picture)");
  check(picture.width <= 65500 && picture.height <= 65500, "JPEG can't hold ", picture.width, " x ", picture.height,
        " pixels, only 65500 a side; write PNG");
  check(quality >= 1 && quality <= 100, "JPEG quality ", quality, "; it must be 1 to 100");
  return encode_jpeg_bytes(picture, quality);
}

std::vector<std::byte> encode_pnm(image const& picture) {
  picture.check_valid();
  check(!picture.has_alpha(), "PNM can't hold an alpha channel; write PNG, or without_alpha(picture)");
  std::string const header = text(picture.channels == 1 ? "P5\n" : "P6\n", picture.width, " ", picture.height, "\n",
                                  picture.bit_depth == 16 ? 65535 : 255, "\n");
  std::size_t const stride = row_bytes(picture, picture.bit_depth);
  std::vector<std::byte> bytes(header.size() + stride * std::size_t(picture.height));
  std::memcpy(bytes.data(), header.data(), header.size());
  auto* to = reinterpret_cast<std::uint8_t*>(bytes.data()) + header.size();
  for (int y = 0; y < picture.height; ++y) {
    quantize_row(picture, y, picture.bit_depth, to);
    to += stride;
  }
  return bytes;
}

void write_image(std::filesystem::path const& path, image const& picture, write_options const& options) {
  picture.check_valid();
  std::string const extension = lower_extension(path);
  bool const jpeg = extension == ".jpg" || extension == ".jpeg";
  bool const pnm = extension == ".ppm" || extension == ".pgm" || extension == ".pnm";
  if (extension != ".png" && !jpeg && !pnm)
    throw file_error(path.string(), "can't be written; name it .png, .jpg, .jpeg, .ppm, .pgm or .pnm");
  check(!(jpeg || pnm) || !picture.has_alpha(), path.string(),
        ": can't hold the picture's alpha channel; name it .png or leave alpha out");
  check(extension != ".pgm" || picture.channels != 3, path.string(), ": can't hold colour; name it .ppm or .png");
  if (extension == ".png") {
    write_file_atomically(path, encode_png(picture));
  } else if (jpeg) {
    write_file_atomically(path, encode_jpeg(picture, options.jpeg_quality));
  } else if (extension == ".ppm") {
    write_file_atomically(path, encode_pnm(to_rgb(picture)));
  } else {
    write_file_atomically(path, encode_pnm(picture));
  }
}

bool is_image_name(std::filesystem::path const& path) {
  constexpr std::array<std::string_view, 7> known{".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".pnm"};
  return std::find(known.begin(), known.end(), lower_extension(path)) != known.end();
}

std::vector<std::filesystem::path> list_images(std::filesystem::path const& folder) {
  std::string const name = folder.string();
  std::error_code code;
  std::filesystem::directory_iterator entry{folder, code};
  if (code == std::errc::not_a_directory) throw file_error(name, "is a file, not a folder; name the folder it is in");
  if (code) throw file_error(name, "cannot be listed: " + detail::system_text(code.value()));
  std::vector<std::filesystem::path> found;
  while (entry != std::filesystem::directory_iterator{}) {
    auto const& path = entry->path();
    bool const hidden = path.filename().native().starts_with('.');
    std::error_code ignored;
    if (!hidden && is_image_name(path) && entry->is_regular_file(ignored)) found.push_back(path);
    entry.increment(code);
    if (code) throw file_error(name, "cannot be listed: " + detail::system_text(code.value()));
  }
  if (found.empty()) {
    throw file_error(name, "holds no pictures (.png .jpg .jpeg .bmp .ppm .pgm .pnm); name the folder that has them");
  }
  std::sort(found.begin(), found.end(),
            [](auto const& a, auto const& b) { return a.filename().native() < b.filename().native(); });
  return found;
}

}  // namespace unetdn
