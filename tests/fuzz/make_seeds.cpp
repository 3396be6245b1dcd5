// SPDX-License-Identifier: Apache-2.0
// make_seeds FOLDER: writes the small files that fuzzing begins with, one folder for each kind of file.
#include <cstdio>
#include <filesystem>

#include <unetdn/core/file.hpp>
#include <unetdn/safetensors.hpp>

#include "core/json_events.hpp"
#include "image/made_files.hpp"

#if UNETDN_TEST_LIBJPEG
  #include <jpeglib.h>
#endif

namespace {

using made_files::bytes;

/// Every colour type and depth of PNG, plain and interlaced.
void append_pngs(std::vector<bytes>& to) {
  constexpr std::array<std::pair<int, int>, 15> kinds{{{0, 1},
                                                       {0, 2},
                                                       {0, 4},
                                                       {0, 8},
                                                       {0, 16},
                                                       {2, 8},
                                                       {2, 16},
                                                       {3, 1},
                                                       {3, 2},
                                                       {3, 4},
                                                       {3, 8},
                                                       {4, 8},
                                                       {4, 16},
                                                       {6, 8},
                                                       {6, 16}}};
  for (auto const& [color_type, bits] : kinds) {
    unsigned const top = color_type == 3 ? 1 : (1U << bits) - 1;
    auto const sample = [top](int x, int y, int c) { return unsigned(x * 37 + y * 11 + c * 5) & top; };
    std::string const palette = color_type == 3 ? made_files::png_chunk("PLTE", "abcdef") : "";
    for (bool const interlaced : {false, true}) {
      to.push_back(made_files::png_maker{5, 4, bits, color_type, sample, palette, interlaced}.make());
    }
  }
}

#if UNETDN_TEST_LIBJPEG
enum class jpeg_kind { restarts, progressive, arithmetic, subsampled };

/// JPEG files as encode_jpeg() writes none.
bytes jpeg_of(jpeg_kind kind) {
  jpeg_compress_struct codec{};
  jpeg_error_mgr errors{};
  codec.err = jpeg_std_error(&errors);
  jpeg_create_compress(&codec);
  unsigned char* memory = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&codec, &memory, &size);
  codec.image_width = codec.image_height = 24;
  codec.input_components = 3;
  codec.in_color_space = JCS_RGB;
  jpeg_set_defaults(&codec);
  jpeg_set_quality(&codec, 60, TRUE);
  if (kind == jpeg_kind::restarts) codec.restart_interval = 2;
  if (kind == jpeg_kind::progressive) jpeg_simple_progression(&codec);
  if (kind == jpeg_kind::arithmetic) codec.arith_code = TRUE;
  if (kind == jpeg_kind::subsampled) codec.comp_info[0].v_samp_factor = 1;
  jpeg_start_compress(&codec, TRUE);
  std::vector<JSAMPLE> row(24 * 3);
  while (codec.next_scanline < codec.image_height) {
    for (std::size_t i = 0; i < row.size(); ++i) row[i] = JSAMPLE(i * 5 + codec.next_scanline * 9);
    JSAMPROW rows[1] = {row.data()};
    jpeg_write_scanlines(&codec, rows, 1);
  }
  jpeg_finish_compress(&codec);
  auto const* const first = reinterpret_cast<std::byte const*>(memory);
  bytes out(first, first + size);
  jpeg_destroy_compress(&codec);
  std::free(memory);
  return out;
}
#endif

std::vector<bytes> images() {
  std::vector<bytes> all = made_files::valid_files();
  append_pngs(all);
#if UNETDN_TEST_LIBJPEG
  for (auto const kind : {jpeg_kind::restarts, jpeg_kind::progressive, jpeg_kind::arithmetic, jpeg_kind::subsampled}) {
    all.push_back(jpeg_of(kind));
  }
#endif
  return all;
}

/// Files of a network's kind, of every type, and of nothing.
std::vector<bytes> safetensors() {
  std::vector<float> const values{0.5F, -1, 2, 0.25F, -0.125F, 3, 1e-9F, 7};
  unetdn::safetensors_writer network;
  network.metadata("architecture", R"({"base":2,"depth":1})");
  network.metadata("format", "unetdn");
  network.add("down.0.weight", {2, 2, 1, 2}, values);
  network.add("down.0.bias", {2}, std::span(values).first(2));
  unetdn::safetensors_writer types;
  for (auto const* dtype : {"BOOL", "U8", "I8", "F8_E4M3", "U16", "I16", "F16", "BF16", "U32", "F32", "U64", "F64"}) {
    std::size_t const size = 2 * unetdn::detail::bytes_of_dtype(dtype);
    types.add_bytes(dtype, dtype, {1, 2, 1}, std::as_bytes(std::span(values)).first(size));
  }
  types.add("none", {0, 3}, std::span<float const>{});
  types.add("scalar", {}, std::span(values).first(1));
  return {network.bytes(), types.bytes(), unetdn::safetensors_writer{}.bytes()};
}

std::vector<bytes> json() {
  std::vector<bytes> all;
  for (auto const& document : json_events::documents()) all.push_back(made_files::to_bytes(document));
  return all;
}

void write_all(std::filesystem::path const& folder, std::vector<bytes> const& files) {
  std::filesystem::create_directories(folder);
  for (std::size_t i = 0; i < files.size(); ++i) {
    unetdn::write_file_atomically(folder / unetdn::text("seed-", i), files[i]);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: make_seeds FOLDER\n");
    return 2;
  }
  std::filesystem::path const folder = argv[1];
  write_all(folder / "image", images());
  write_all(folder / "safetensors", safetensors());
  write_all(folder / "json", json());
}
