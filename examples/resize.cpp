// SPDX-License-Identifier: Apache-2.0
// Makes a training set of equal squares out of a folder of photographs.
#include <cmath>

#include "common.hpp"

namespace {

struct settings {
  std::filesystem::path data, out;
  int size = 256;
  std::string shape = "crop", filter = "lanczos";
  bool force = false, quiet = false;
};

/// The square in the middle.
unetdn::image middle_square(unetdn::image const& picture) {
  int const side = std::min(picture.width, picture.height);
  unetdn::image square(side, side, picture.channels, picture.bit_depth);
  int const top = (picture.height - side) / 2;
  int const left = (picture.width - side) / 2;
  auto const from = picture.as_view().crop(top, left, side, side);
  auto const to = square.as_view();
  for (int row = 0; row < side; ++row) {
    std::copy_n(from.pixel(0, row, 0), static_cast<std::ptrdiff_t>(side) * picture.channels, to.pixel(0, row, 0));
  }
  return square;
}

unetdn::image resized(settings const& s, unetdn::image const& picture) {
  auto const filter = s.filter == "area" ? unetdn::resize_filter::area : unetdn::resize_filter::lanczos3;
  if (s.shape == "crop") return unetdn::resize(middle_square(picture), s.size, s.size, filter);
  if (s.shape == "stretch") return unetdn::resize(picture, s.size, s.size, filter);
  double const scale = double(s.size) / std::max(picture.width, picture.height);
  auto const scaled = [&](int extent) { return std::max(1, static_cast<int>(std::lround(extent * scale))); };
  return unetdn::resize(picture, scaled(picture.width), scaled(picture.height), filter);
}

int resize(settings const& s) {
  std::vector<std::filesystem::path> const files = programs::expand({s.data});
  programs::outputs const outputs(s.out, s.force);
  outputs.prepare(files);
  for (auto const& file : files) {
    std::filesystem::path const to = outputs.path_for(file);
    unetdn::write_image(to, resized(s, unetdn::read_image(file)));
    if (!s.quiet) std::cout << file.string() << " -> " << to.string() << '\n';
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Scales a folder of pictures to one size.", "resize");
  app.footer(
      "Examples:\n"
      "  resize --data photographs --size 256 --out squares\n"
      "  resize --data photographs --size 1024 --shape fit --out smaller\n"
      "Exit codes: 0 done, 1 failed, 2 wrong usage.");
  settings s;
  app.add_option("--data", s.data, "folder of pictures, or one picture")->required();
  app.add_option("--size", s.size, "side of the results, in pixels")
      ->check(CLI::Range(1, 16384))
      ->capture_default_str();
  app.add_option("--out", s.out, "folder for the results")->required();
  app.add_option("--shape", s.shape,
                 "crop: the square in the middle; stretch: all of it; fit: keep the proportions, longer side --size")
      ->check(CLI::IsMember({"crop", "stretch", "fit"}))
      ->capture_default_str();
  app.add_option("--filter", s.filter, "lanczos or area")
      ->check(CLI::IsMember({"lanczos", "area"}))
      ->capture_default_str();
  app.add_flag("--force", s.force, "overwrite results that exist");
  app.add_flag("--quiet", s.quiet, "print errors only");
  return programs::run(app, argc, argv, [&] { return resize(s); });
}
