// SPDX-License-Identifier: Apache-2.0
// Adds noise to one picture, removes it with a trained network, and shows both.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include <unetdn/literature.hpp>
#include <unetdn/metrics.hpp>
#include <unetdn/noise.hpp>
#include <unetdn/unet.hpp>

#include "command_line.hpp"
#include "files.hpp"
#include "report.hpp"
#include "scene.hpp"
#include "terminal.hpp"

namespace {

struct settings {
  std::filesystem::path weights = UNETDN_TINY_WEIGHTS, picture, out;
  float sigma = 25;
  std::uint64_t seed = 0;
  int longest = 0;
  programs::common_settings common;
  unetdn::read_options reading;
};

void plan_files(settings const& s) {
  programs::planned_files plan({s.weights, s.picture}, s.common.force);
  for (char const* name : {"clean.png", "noisy.png", "denoised.png", "report.html"}) plan.add(s.out / name, name);
}

/// The picture without noise, at 8 bits as its file has it.
unetdn::image clean_picture(settings const& s) {
  if (s.picture.empty()) {
    unetdn::image scene = programs::draw_scene();
    unetdn::round_to_8_bits(scene.as_view());
    return scene;
  }
  unetdn::image clean = unetdn::without_alpha(unetdn::read_image(s.picture, s.reading));
  double const scale = double(s.longest) / std::max(clean.width, clean.height);
  if (s.longest == 0 || scale >= 1) return clean;
  auto const scaled = [&](int extent) { return std::max(1, static_cast<int>(std::lround(extent * scale))); };
  clean = unetdn::resize(clean, scaled(clean.width), scaled(clean.height));
  unetdn::round_to_8_bits(clean.as_view());
  return clean;
}

void write_results(settings const& s, unetdn::unet_config const& network, programs::report_picture picture) {
  unetdn::write_image(s.out / "clean.png", *picture.clean);
  unetdn::write_image(s.out / "noisy.png", picture.noisy);
  unetdn::write_image(s.out / "denoised.png", picture.denoised);
  programs::report r;
  r.title = "Before and after";
  r.pictures.push_back(std::move(picture));
  r.settings = {{"noise", unetdn::text("gaussian:", s.sigma)}, {"seed", unetdn::text(s.seed)}};
  r.provenance = {{"weights", s.weights.filename().string()},
                  {"network", unetdn::text("U-Net, base ", network.base, ", levels ", network.levels)}};
  programs::write_report(s.out / "report.html", r);
}

void print_scores(programs::picture_scores const& score) {
  auto const line = [](char const* what, double psnr, double ssim) {
    std::string const similarity = std::isnan(ssim) ? "" : ", SSIM " + unetdn::metric_text(ssim, 3);
    std::cout << what << unetdn::metric_text(psnr, 2) << " dB" << similarity << '\n';
  };
  line("noisy     ", score.noisy_psnr, score.noisy_ssim);
  line("denoised  ", score.psnr, score.ssim);
  if (std::isfinite(score.psnr) && std::isfinite(score.noisy_psnr)) {
    std::cout << "gain      " << unetdn::metric_text(score.psnr - score.noisy_psnr, 2) << " dB\n";
  }
}

int before_after(settings const& s) {
  plan_files(s);
  unetdn::denoiser<> denoiser(s.weights, unetdn::cpu(s.common.threads));
  unetdn::unet_config const& network = denoiser.network().config();
  unetdn::image const clean = clean_picture(s);
  unetdn::make_folder(s.out);

  unetdn::image noisy = clean;
  unetdn::random_key const key{s.seed, 0, unetdn::random_stream::noise};
  unetdn::add_gaussian_noise<unetdn::cpu, float>(denoiser.device(), clean.as_view(), noisy.as_view(),
                                                 std::span(&s.sigma, 1), key, 0);
  unetdn::image const denoised = denoiser(noisy, network.noise_map ? std::optional(s.sigma) : std::nullopt);

  std::string const name = s.picture.empty() ? "a drawn scene" : s.picture.filename().string();
  write_results(s, network, {name, clean, noisy, denoised});
  if (s.common.quiet) return 0;
  std::cout << programs::side_by_side(programs::find_terminal(), noisy, "noisy", denoised, "denoised");
  print_scores(programs::score(clean, noisy, denoised));
  std::cout << "report    " << (s.out / "report.html").string() << '\n';
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  programs::command_line options(
      "before_after", "Adds noise to one picture, removes it with a trained network, and shows both.",
      "Examples:\n"
      "  before_after --out result\n"
      "  before_after photo.jpg --out result\n"
      "  before_after --weights run/best.safetensors --sigma 15 photo.jpg --out result --force\n"
      "Exit codes: 0 done, 1 failed, 2 wrong usage.");
  settings s;
  options.path("picture", s.picture, "PICTURE", "clean picture; none: a scene that the program draws");
  options.path("--out", s.out, "DIR", "folder for clean.png, noisy.png, denoised.png and report.html").required();
  options.path("--weights", s.weights, "FILE", "weight file that train wrote; none: a tiny network for sigma 25");
  options.number("--sigma", s.sigma, 0, unetdn::largest_sigma, "standard deviation of the noise in units of 1/255");
  options.seed(s.seed, "other noise");
  options.number("--longest", s.longest, 0, 16384, "scale the picture down to this longer side; 0: keep it");
  programs::add_reading_options(options, s.reading);
  programs::add_common_options(options, s.common);
  return options.run(argc, argv, [&] { return before_after(s); });
}
