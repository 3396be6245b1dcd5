// SPDX-License-Identifier: Apache-2.0
// Makes a training set of equal squares out of a folder of photographs.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "command_line.hpp"
#include "files.hpp"
#include "work.hpp"

namespace {

struct settings {
  std::filesystem::path data, out;
  int size = 256;
  std::string shape = "crop", filter = "lanczos";
  programs::common_settings common;
  unetdn::read_options reading;
  bool json = false;
};

unetdn::image resized(settings const& s, unetdn::image const& picture) {
  auto const filter = s.filter == "area" ? unetdn::resize_filter::area : unetdn::resize_filter::lanczos3;
  int const side = std::min(picture.width, picture.height);
  if (s.shape == "crop") return unetdn::resize(unetdn::middle(picture, side, side), s.size, s.size, filter);
  if (s.shape == "stretch") return unetdn::resize(picture, s.size, s.size, filter);
  double const scale = double(s.size) / std::max(picture.width, picture.height);
  auto const scaled = [&](int extent) { return std::max(1, static_cast<int>(std::lround(extent * scale))); };
  return unetdn::resize(picture, scaled(picture.width), scaled(picture.height), filter);
}

int resize(settings const& s) {
  std::vector<std::filesystem::path> const files = programs::expand({s.data});
  programs::planned_files plan(files, s.common.force);
  programs::outputs outputs("--out", s.out, files, plan);
  outputs.make_folder();
  unetdn::cpu device(s.common.threads);
  programs::result_line const line{s.json, s.common.quiet};
  programs::progress progress("resize", files.size(), s.common.quiet);
  auto const work = [&](std::filesystem::path const& file, unetdn::image const& picture, std::size_t) {
    std::filesystem::path const to = outputs.path_for(file);
    unetdn::image const result = resized(s, picture);
    unetdn::write_image(to, result);
    return line.text(file, to, result);
  };
  return programs::for_each_picture(device, device.threads(), files, s.reading, progress, "resize", work);
}

}  // namespace

int main(int argc, char** argv) {
  programs::command_line options("resize", "Scales a folder of pictures to one size.",
                                 "Examples:\n"
                                 "  resize --data photographs --size 256 --out squares\n"
                                 "  resize --data photographs --size 1024 --shape fit --out smaller\n"
                                 "  resize --data photo.jpg --size 512 --shape stretch --filter area --out square.png\n"
                                 "Exit codes: 0 done, 1 failed or some pictures could not be read, 2 wrong usage.");
  settings s;
  options.path("--data", s.data, "PATH", "folder of pictures, or one picture").required();
  options.number("--size", s.size, 1, 16384, "side of the results, in pixels");
  options.path("--out", s.out, "PATH", "folder for the results, or a picture to write").required();
  options
      .text("--shape", s.shape,
            "crop: the square in the middle; stretch: all of it; fit: keep the proportions, longer side --size")
      .one_of({"crop", "stretch", "fit"});
  options.text("--filter", s.filter, "lanczos or area").one_of({"lanczos", "area"});
  programs::add_reading_options(options, s.reading);
  programs::add_json_option(options, s.json);
  programs::add_common_options(options, s.common);
  return options.run(argc, argv, [&] { return resize(s); });
}
