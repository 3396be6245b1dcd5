// SPDX-License-Identifier: Apache-2.0
// Writes one picture with rows of generated pictures: one row a texture class, one a shape, and rows of all together.
#include <algorithm>
#include <cstdint>
#include <string>

#include <unetdn/generated.hpp>
#include <unetdn/image.hpp>

#include "common.hpp"

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
  std::string out;
  std::uint64_t seed = 0;
  int size = 192, columns = 6;
};

int contact_sheet(settings const& s) {
  int const gap = 4, cell = s.size + gap, row_count = int(std::size(rows));
  unetdn::image sheet{s.columns * cell - gap, row_count * cell - gap, 3};
  std::fill(sheet.pixels.begin(), sheet.pixels.end(), 1.0F);
  for (int y = 0; y < row_count; ++y) {
    unetdn::generated_options options;
    options.texture = rows[y].texture;
    options.shape = rows[y].shape;
    for (int x = 0; x < s.columns; ++x) {
      auto const index = static_cast<std::uint64_t>(y * s.columns + x);
      paste(unetdn::generate_picture(s.seed, index, s.size, s.size, options), sheet, x * cell, y * cell);
    }
  }
  unetdn::write_image(s.out, sheet);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "Writes a contact sheet of generated pictures: the rows are flat, gradient, sinusoid, noise and mixed "
      "textures, disks, rectangles and polygons, and twice all together",
      "contact_sheet"};
  settings s;
  app.add_option("--out", s.out, "picture to write, such as sheet.png")->required()->type_name("FILE");
  app.add_option("--seed", s.seed, "other pictures")->capture_default_str();
  app.add_option("--size", s.size, "side of one picture in pixels")->capture_default_str()->check(CLI::Range(16, 1024));
  app.add_option("--columns", s.columns, "pictures in a row")->capture_default_str()->check(CLI::Range(1, 32));
  return programs::run(app, argc, argv, [&] { return contact_sheet(s); });
}
