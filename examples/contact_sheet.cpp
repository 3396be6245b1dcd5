// SPDX-License-Identifier: Apache-2.0
// Writes one picture with rows of generated pictures: one row a texture class, one a shape, and rows of all together.
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <string>

#include <unetdn/devices/cpu.hpp>
#include <unetdn/generated.hpp>
#include <unetdn/image.hpp>

#include "command_line.hpp"
#include "files.hpp"

namespace {

using unetdn::generated_shape;
using unetdn::generated_texture;

struct row {
  generated_texture texture;
  generated_shape shape;
};

row const rows[] = {
    {generated_texture::flat, generated_shape::any},      {generated_texture::gradient, generated_shape::any},
    {generated_texture::sinusoid, generated_shape::any},  {generated_texture::noise, generated_shape::any},
    {generated_texture::mix, generated_shape::any},       {generated_texture::any, generated_shape::disk},
    {generated_texture::any, generated_shape::rectangle}, {generated_texture::any, generated_shape::polygon},
    {generated_texture::any, generated_shape::any},       {generated_texture::any, generated_shape::any},
};

void paste(unetdn::image const& part, unetdn::image& whole, int left, int top) {
  int const row_size = part.width * part.channels;
  for (int y = 0; y < part.height; ++y) {
    float const* const from = part.pixels.data() + std::int64_t(y) * row_size;
    std::int64_t const to = (std::int64_t(top + y) * whole.width + left) * whole.channels;
    std::copy(from, from + row_size, whole.pixels.begin() + to);
  }
}

struct settings {
  std::filesystem::path out;
  std::uint64_t seed = 0;
  int size = 192, columns = 6;
  programs::common_settings common;
};

int contact_sheet(settings const& s) {
  int const gap = 4, cell = s.size + gap, row_count = int(std::size(rows));
  int const width = s.columns * cell - gap, height = row_count * cell - gap;
  unetdn::check(std::int64_t(width) * height <= 200'000'000, "a sheet of ", width, " x ", height,
                " pixels is too large to be read again; give a smaller --size or fewer --columns");
  programs::check_picture_name("--out", s.out);
  programs::planned_files plan({}, s.common.force);
  plan.add_single(s.out, "--out");
  unetdn::image sheet{width, height, 3};
  std::fill(sheet.pixels.begin(), sheet.pixels.end(), 1.0F);
  unetdn::cpu device(s.common.threads);
  device.parallel(row_count * s.columns, [&](int i, int) {
    int const y = i / s.columns, x = i % s.columns;
    unetdn::generated_options options;
    options.texture = rows[y].texture;
    options.shape = rows[y].shape;
    auto const index = static_cast<std::uint64_t>(i);
    paste(unetdn::generate_picture(s.seed, index, s.size, s.size, options), sheet, x * cell, y * cell);
  });
  unetdn::write_image(s.out, sheet);
  if (!s.common.quiet) std::cout << unetdn::text(s.out.string(), ": ", width, " x ", height, " pixels\n");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  programs::command_line options(
      "contact_sheet",
      "Writes a contact sheet of generated pictures: the rows are flat, gradient, sinusoid, noise and mixed "
      "textures, disks, rectangles and polygons, and twice all together.",
      "Examples:\n"
      "  contact_sheet --out sheet.png\n"
      "  contact_sheet --seed 7 --size 96 --columns 12 --out sheet.png --force\n"
      "Exit codes: 0 done, 1 failed, 2 wrong usage.");
  settings s;
  options.path("--out", s.out, "FILE", "picture to write, such as sheet.png").required();
  options.seed(s.seed, "other pictures");
  options.number("--size", s.size, 16, 1024, "side of one picture in pixels");
  options.number("--columns", s.columns, 1, 32, "pictures in a row");
  programs::add_common_options(options, s.common);
  return options.run(argc, argv, [&] { return contact_sheet(s); });
}
