// SPDX-License-Identifier: Apache-2.0
// Adds noise to pictures, as training does.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <unetdn/noise.hpp>
#include <unetdn/ops/elementwise.hpp>

#include "command_line.hpp"
#include "files.hpp"
#include "work.hpp"

namespace {

struct settings {
  std::filesystem::path out, noise_map, preview;
  std::vector<std::filesystem::path> inputs;
  std::string noise = "gaussian:25";
  std::uint64_t seed = 0;
  programs::common_settings common;
  unetdn::read_options reading;
  bool deep = false, json = false;
};

/// The picture with noise of `sigma` on its colours; alpha stays.
unetdn::image with_noise(unetdn::cpu& device, unetdn::image const& clean, float sigma, std::uint64_t seed,
                         std::uint32_t number) {
  unetdn::image noisy = clean;
  int const colors = clean.color_channels();
  unetdn::random_key const key{seed, 0, unetdn::random_stream::noise};
  unetdn::add_gaussian_noise<unetdn::cpu, float>(device, clean.as_view().channels(0, colors),
                                                 noisy.as_view().channels(0, colors), std::span(&sigma, 1), key,
                                                 number);
  return noisy;
}

/// What was added, as a picture: middle grey is nothing.
unetdn::image noise_alone(unetdn::image const& clean, unetdn::image const& noisy) {
  unetdn::image map = unetdn::without_alpha(noisy);
  unetdn::image const without = unetdn::without_alpha(clean);
  for (std::size_t i = 0; i < map.pixels.size(); ++i) map.pixels[i] += 0.5f - without.pixels[i];
  return map;
}

/// One picture with rising noise, side by side.
unetdn::image preview_sheet(unetdn::cpu& device, unetdn::image const& clean, std::uint64_t seed) {
  std::array<float, 6> const levels{0, 5, 15, 25, 50, 75};
  int const gap = 4;
  unetdn::image sheet(static_cast<int>(levels.size()) * (clean.width + gap) - gap, clean.height, clean.channels,
                      clean.bit_depth);
  std::fill(sheet.pixels.begin(), sheet.pixels.end(), 1.f);
  int left = 0;
  for (float level : levels) {
    unetdn::image noisy = with_noise(device, clean, level, seed, 0);
    unetdn::copy<float>(device, noisy.as_view(), sheet.as_view().crop(0, left, clean.height, clean.width));
    left += clean.width + gap;
  }
  return sheet;
}

int add_noise(settings const& s) {
  unetdn::noise_level const level = unetdn::parse_noise(s.noise);
  std::vector<std::filesystem::path> const files = programs::expand(s.inputs);
  programs::planned_files plan(files, s.common.force);
  programs::outputs outputs("--out", s.out, files, plan, s.deep);
  std::optional<programs::outputs> maps;
  if (!s.noise_map.empty()) maps.emplace("--noise-map", s.noise_map, files, plan, s.deep);
  if (!s.preview.empty()) programs::check_picture_name("--preview", s.preview, s.deep);
  if (!s.preview.empty()) plan.add_single(s.preview, "--preview");
  outputs.make_folder();
  if (maps) maps->make_folder();
  unetdn::cpu device(s.common.threads);
  programs::result_line const line{s.json, s.common.quiet};
  programs::progress progress("add_noise", files.size(), s.common.quiet);
  bool preview = !s.preview.empty();
  auto const work = [&](std::filesystem::path const& file, unetdn::image clean, std::size_t picture) {
    auto const number = static_cast<std::uint32_t>(picture);
    if (s.deep) clean.bit_depth = 16;
    if (preview) unetdn::write_image(s.preview, preview_sheet(device, clean, s.seed));
    preview = false;
    float const sigma = unetdn::draw_sigma(level, {s.seed, 0, unetdn::random_stream::level}, number);
    unetdn::image const noisy = with_noise(device, clean, sigma, s.seed, number);
    std::filesystem::path const to = outputs.path_for(file);
    unetdn::write_image(to, noisy);
    if (maps) unetdn::write_image(maps->path_for(file), noise_alone(clean, noisy));
    return line.text(file, to, noisy, unetdn::text(", sigma ", sigma), "sigma", unetdn::text(sigma));
  };
  return programs::for_each_picture(device, 1, files, s.reading, progress, "add_noise", work);
}

}  // namespace

int main(int argc, char** argv) {
  programs::command_line options(
      "add_noise",
      "Adds noise to pictures, as training does. Files hold values from black to white only, so noise beyond is cut "
      "off.",
      "Examples:\n"
      "  add_noise --noise gaussian:25 photo.jpg --out noisy.png\n"
      "  add_noise --noise gaussian:0..55 photos --out noisy --seed 1 --noise-map noise\n"
      "  add_noise photo.jpg --out noisy.png --preview levels.png\n"
      "Exit codes: 0 done, 1 failed or some pictures could not be read, 2 wrong usage.");
  settings s;
  options.text("--noise", s.noise, "gaussian:25, or gaussian:0..55 for a level of its own for each picture");
  options.paths("input", s.inputs, "PATH", "pictures, or folders of pictures").required();
  options.path("--out", s.out, "PATH", "a picture to write, or a folder").required();
  options.seed(s.seed, "other noise");
  options.path("--noise-map", s.noise_map, "PATH",
               "also write the noise alone, to a picture or a folder; middle grey is none");
  options.path("--preview", s.preview, "FILE",
               "also write the first picture with noise of 0, 5, 15, 25, 50 and 75 side by side");
  options.flag("--16-bit", s.deep, "write 16 bits a channel; JPEG becomes PNG");
  programs::add_reading_options(options, s.reading);
  programs::add_json_option(options, s.json);
  programs::add_common_options(options, s.common);
  return options.run(argc, argv, [&] { return add_noise(s); });
}
