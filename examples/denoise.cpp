// SPDX-License-Identifier: Apache-2.0
// Removes the noise from pictures with a trained network.
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <unetdn/noise.hpp>

#include "any_denoiser.hpp"
#include "command_line.hpp"
#include "files.hpp"
#include "picture_report.hpp"
#include "work.hpp"

namespace {

struct settings {
  std::filesystem::path weights, out, report;
  std::vector<std::filesystem::path> inputs;
  std::optional<float> sigma;
  float strength = 1;
  programs::common_settings common;
  programs::device_settings where;
  unetdn::read_options reading;
  bool json = false;
};

/// Throws argument_error where the network and the options do not fit each other.
void check_fits(settings const& s, programs::any_denoiser const& denoiser) {
  try {
    denoiser.check_fits(s.sigma);
  } catch (unetdn::argument_error const& e) {
    throw unetdn::argument_error(
        unetdn::text(s.weights.string(), s.sigma ? " with --sigma" : " without --sigma", ": ", e.what()));
  }
}

int denoise(settings const& s) {
  programs::check_device(s.where);
  std::vector<std::filesystem::path> const files = programs::expand(s.inputs);
  std::vector<std::filesystem::path> read = files;
  read.push_back(s.weights);
  programs::planned_files plan(read, s.common.force);
  programs::outputs outputs("--out", s.out, files, plan);
  programs::picture_report report(s.report, "Denoised pictures");
  report.plan(plan);
  auto const made = programs::make_denoiser("denoise", s.where, s.common.threads, s.common.quiet, s.weights);
  programs::any_denoiser& denoiser = *made;
  check_fits(s, denoiser);
  outputs.make_folder();

  report.setting("strength", unetdn::text(s.strength));
  if (s.sigma) report.setting("sigma", unetdn::text(*s.sigma));
  programs::result_line const line{s.json, s.common.quiet};
  programs::progress progress("denoise", files.size(), s.common.quiet);
  denoiser.on_progress([&](double fraction) { progress.advance(fraction); });
  auto const work = [&](std::filesystem::path const& file, unetdn::image const& noisy, std::size_t) {
    auto const begin = std::chrono::steady_clock::now();
    unetdn::image const denoised = unetdn::blend(noisy, denoiser(noisy, s.sigma), s.strength);
    std::chrono::duration<double> const seconds = std::chrono::steady_clock::now() - begin;
    std::filesystem::path const to = outputs.path_for(file);
    unetdn::write_image(to, denoised);
    report.add(file.filename().string(), nullptr, noisy, denoised, {});
    return line.text(file, to, denoised, "", "seconds", unetdn::text(seconds.count()));
  };
  unetdn::cpu one_at_a_time(1);
  int const code = programs::for_each_picture(one_at_a_time, 1, files, s.reading, progress, "denoise", work);
  report.write(s.weights);
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  programs::command_line options(
      "denoise", "Removes the noise from pictures with a trained network.",
      "Examples:\n"
      "  denoise --weights run/best.safetensors noisy.jpg --out clean.png\n"
      "  denoise --weights run/best.safetensors photos more/dark.png --out denoised --report report.html\n"
      "  denoise --weights run/best.safetensors photos --out natural --strength 0.7\n"
      "  denoise --weights run/best.safetensors photos --out denoised --quiet --json\n"
      "Exit codes: 0 done, 1 failed or some pictures could not be read, 2 wrong usage.");
  settings s;
  options.path("--weights", s.weights, "FILE", "weight file that train wrote").required();
  options.paths("input", s.inputs, "PATH", "pictures, or folders of pictures").required();
  options.path("--out", s.out, "PATH", "a picture to write, or a folder").required();
  options.number("--strength", s.strength, 0, 1, "0 keeps the picture as it is, 1 takes all noise away that is found");
  options.number("--sigma", s.sigma, 0, unetdn::largest_sigma,
                 "noise level in units of 1/255, for networks that must be told it");
  options.path("--report", s.report, "FILE", "also write a page that shows the first pictures before and after");
  programs::add_reading_options(options, s.reading);
  programs::add_json_option(options, s.json);
  programs::add_device_options(options, s.where);
  programs::add_common_options(options, s.common);
  return options.run(argc, argv, [&] { return denoise(s); });
}
