// SPDX-License-Identifier: Apache-2.0
// Measures how well a network denoises: pictures without their noise are compared with clean ones.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <unetdn/literature.hpp>
#include <unetdn/metrics.hpp>
#include <unetdn/noise.hpp>

#include "any_denoiser.hpp"
#include "command_line.hpp"
#include "files.hpp"
#include "picture_report.hpp"
#include "work.hpp"

namespace {

struct settings {
  std::filesystem::path weights, data, noisy, clean, report;
  std::optional<float> sigma;
  std::string protocol = "unetdn", format = "table";
  std::uint64_t seed = 0;
  programs::common_settings common;
  programs::device_settings where;
  unetdn::read_options reading;

  bool pairs() const { return data.empty(); }
  /// Of the noise that is added to clean pictures.
  float added_sigma() const { return sigma.value_or(25); }
};

/// A picture to measure on. Without a noisy file, noise is added to the clean one.
struct sample {
  std::string name;
  std::filesystem::path noisy, clean;
};

struct result {
  std::string name;
  programs::picture_scores scores;
};

std::vector<sample> find_samples(settings const& s) {
  std::vector<sample> samples;
  if (s.pairs()) {
    for (auto const& pair : programs::pair_pictures(s.noisy, s.clean)) {
      samples.push_back({pair.name, pair.noisy, pair.clean});
    }
  } else {
    for (auto const& file : unetdn::list_images(s.data)) samples.push_back({file.filename().string(), {}, file});
  }
  return samples;
}

unetdn::image with_noise(settings const& s, unetdn::cpu& device, unetdn::image const& clean, std::uint32_t number) {
  unetdn::image noisy = clean;
  float const sigma = s.added_sigma();
  if (s.protocol == "literature") {
    unetdn::add_literature_noise(clean.as_view(), noisy.as_view(), sigma, static_cast<std::uint32_t>(s.seed));
  } else {
    unetdn::random_key const key{s.seed, 0, unetdn::random_stream::noise};
    unetdn::add_gaussian_noise<unetdn::cpu, float>(device, clean.as_view(), noisy.as_view(), std::span(&sigma, 1), key,
                                                   number);
  }
  return noisy;
}

unetdn::image read_noisy(settings const& s, sample const& from, unetdn::image const& clean) {
  unetdn::image noisy = unetdn::without_alpha(unetdn::read_image(from.noisy, s.reading));
  unetdn::check(noisy.width == clean.width && noisy.height == clean.height && noisy.channels == clean.channels,
                from.noisy.string(), " has ", noisy.width, " x ", noisy.height, " pixels of ", noisy.channels,
                " channels, but ", from.clean.string(), ' ', clean.width, " x ", clean.height, " of ", clean.channels,
                "; give pictures of one scene");
  return noisy;
}

/// What the network is told.
std::optional<float> told_sigma(settings const& s, programs::any_denoiser const& denoiser) {
  if (s.pairs()) return s.sigma;
  return denoiser.takes_noise_map() ? std::optional(s.added_sigma()) : std::nullopt;
}

result evaluate_picture(settings const& s, unetdn::cpu& host, programs::any_denoiser& denoiser, sample const& from,
                        std::uint32_t number, programs::picture_report& report) {
  unetdn::image const clean = unetdn::without_alpha(unetdn::read_image(from.clean, s.reading));
  unetdn::image const noisy = s.pairs() ? read_noisy(s, from, clean) : with_noise(s, host, clean, number);
  unetdn::image const denoised = denoiser(noisy, told_sigma(s, denoiser));
  programs::picture_scores const scores = programs::score(clean, noisy, denoised);
  report.add(from.name, &clean, noisy, denoised, scores);
  return {from.name, scores};
}

/// The mean over all pictures. Infinite PSNR is left out and counted, and so is the SSIM of pictures too small for it.
struct summary {
  unetdn::mean_of_metrics psnr, ssim, noisy_psnr, noisy_ssim;

  void add(programs::picture_scores const& of) {
    psnr.add(of.psnr);
    noisy_psnr.add(of.noisy_psnr);
    if (std::isnan(of.ssim)) return;
    ssim.add(of.ssim);
    noisy_ssim.add(of.noisy_ssim);
  }
  result mean() const { return {"mean", {psnr.mean(), ssim.mean(), noisy_psnr.mean(), noisy_ssim.mean()}}; }
};

std::string json(programs::picture_scores const& of) {
  return unetdn::text("\"psnr\": ", unetdn::metric_json(of.psnr), ", \"ssim\": ", unetdn::metric_json(of.ssim),
                      ", \"noisy_psnr\": ", unetdn::metric_json(of.noisy_psnr),
                      ", \"noisy_ssim\": ", unetdn::metric_json(of.noisy_ssim));
}

void print_json(std::vector<result> const& results, result const& mean) {
  std::cout << "{\"mean\": {" << json(mean.scores) << "},\n \"pictures\": [";
  char const* separator = "\n";
  for (result const& r : results) {
    std::cout << separator << "  {\"name\": " << programs::json_name(r.name) << ", " << json(r.scores) << '}';
    separator = ",\n";
  }
  std::cout << "\n]}\n";
}

/// A name between quotes as CSV has it (RFC 4180): quotes are doubled.
std::string csv_quoted(std::string const& name) {
  std::string quoted = "\"";
  for (char const c : name) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + '"';
}

void print_csv(std::vector<result> const& results) {
  std::cout << "name,psnr,ssim,noisy_psnr,noisy_ssim\n";
  for (auto const& [name, of] : results) {
    std::cout << unetdn::text(csv_quoted(name), ',', unetdn::metric_text(of.psnr, 4), ',',
                              unetdn::metric_text(of.ssim, 6), ',', unetdn::metric_text(of.noisy_psnr, 4), ',',
                              unetdn::metric_text(of.noisy_ssim, 6), '\n');
  }
}

void print_row(result const& r) {
  std::printf("%-32s %8s dB %8s    noisy %8s dB %8s\n", r.name.c_str(), unetdn::metric_text(r.scores.psnr, 2).c_str(),
              unetdn::metric_text(r.scores.ssim, 4).c_str(), unetdn::metric_text(r.scores.noisy_psnr, 2).c_str(),
              unetdn::metric_text(r.scores.noisy_ssim, 4).c_str());
  std::fflush(stdout);
}

void print_summary(settings const& s, std::vector<result> const& results, summary const& all) {
  if (s.format == "json") print_json(results, all.mean());
  if (s.format == "csv") print_csv(results);
  if (s.format != "table") return;
  print_row(all.mean());
  if (all.psnr.infinite())
    std::printf("%zu pictures came back exactly and are left out of the mean PSNR\n", all.psnr.infinite());
  if (all.ssim.count() < results.size())
    std::printf("%zu pictures are smaller than the window of SSIM, 11 x 11, and are left out of its mean\n",
                results.size() - all.ssim.count());
}

void check_settings(settings const& s) {
  unetdn::check(
      s.data.empty() != (s.noisy.empty() && s.clean.empty()) && s.noisy.empty() == s.clean.empty(),
      "there is nothing to measure on; give --data DIR with clean pictures, or --noisy DIR and --clean DIR with "
      "pairs");
  unetdn::check(s.protocol != "literature" || s.seed <= 0xffffffffu,
                "--seed: the literature's generator takes seeds up to 4294967295; give a smaller one");
}

/// Throws argument_error where the network does not fit.
void check_fits(settings const& s, programs::any_denoiser const& denoiser) {
  try {
    denoiser.check_fits(told_sigma(s, denoiser));
  } catch (unetdn::argument_error const& e) {
    throw unetdn::argument_error(unetdn::text(s.weights.string(), s.sigma ? " with --sigma: " : ": ", e.what()));
  }
}

int evaluate(settings const& s) {
  programs::check_device(s.where);
  check_settings(s);
  std::vector<sample> const samples = find_samples(s);
  std::vector<std::filesystem::path> inputs{s.weights};
  for (sample const& from : samples) inputs.insert(inputs.end(), {from.clean, from.noisy});
  programs::planned_files plan(inputs, s.common.force);
  programs::picture_report report(s.report, "Evaluation");
  report.plan(plan);
  unetdn::cpu host(s.common.threads);
  auto const made = programs::make_denoiser("evaluate", s.where, s.common.threads, s.common.quiet, s.weights);
  programs::any_denoiser& denoiser = *made;
  check_fits(s, denoiser);
  if (!s.pairs()) {
    report.setting("sigma", unetdn::text(s.added_sigma()));
    report.setting("protocol", s.protocol);
    report.setting("seed", unetdn::text(s.seed));
  }
  std::vector<result> results;
  summary all;
  programs::progress progress("evaluate", samples.size(), s.common.quiet);
  denoiser.on_progress([&](double fraction) { progress.advance(fraction); });
  for (sample const& from : samples) {
    results.push_back(evaluate_picture(s, host, denoiser, from, static_cast<std::uint32_t>(results.size()), report));
    all.add(results.back().scores);
    progress.clear();
    if (s.format == "table") print_row(results.back());
    progress.picture_done();
  }
  progress.clear();
  print_summary(s, results, all);
  report.mean(all.mean().scores);
  report.write(s.weights);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  programs::command_line options(
      "evaluate",
      "Measures how well a network denoises: adds noise to clean pictures, or takes pairs, removes it, and compares.",
      "Examples:\n"
      "  evaluate --weights run/best.safetensors --data others --sigma 25\n"
      "  evaluate --weights run/best.safetensors --data Set12 --sigma 25 --protocol literature --format json\n"
      "  evaluate --weights run/best.safetensors --noisy real --clean mean --report report.html\n"
      "Exit codes: 0 done, 1 failed, 2 wrong usage.");
  settings s;
  options.path("--weights", s.weights, "FILE", "weight file that train wrote").required();
  auto const data = options.path("--data", s.data, "DIR", "folder of clean pictures, to add noise to");
  auto const pairs =
      options.path("--noisy", s.noisy, "DIR", "folder of noisy pictures whose clean versions --clean has")
          .excludes(data);
  options
      .path("--clean", s.clean, "DIR",
            "their clean versions: of the same names, or of the same without the last word (a_real.jpg, a_mean.jpg)")
      .excludes(data);
  options.number("--sigma", s.sigma, 0, unetdn::largest_sigma,
                 "standard deviation of the noise in units of 1/255, 25 unless given; with pairs, for networks that "
                 "must be told it");
  options
      .text("--protocol", s.protocol,
            "literature: the noise that published tables use, NumPy's of seed 0 for every picture")
      .one_of({"unetdn", "literature"})
      .excludes(pairs);
  options.seed(s.seed, "other noise").excludes(pairs);
  options.text("--format", s.format, "table, csv or json").one_of({"table", "csv", "json"});
  options.path("--report", s.report, "FILE",
               "also write a page that shows the first pictures clean, noisy and denoised");
  programs::add_reading_options(options, s.reading);
  programs::add_device_options(options, s.where);
  programs::add_common_options(options, s.common, "no progress on standard error");
  return options.run(argc, argv, [&] { return evaluate(s); });
}
