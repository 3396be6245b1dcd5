// SPDX-License-Identifier: Apache-2.0
// Measures how well a network denoises: adds noise to clean pictures, removes it, and compares.
#include <cmath>
#include <optional>

#include <unetdn/core/json.hpp>
#include <unetdn/literature.hpp>
#include <unetdn/metrics.hpp>
#include <unetdn/noise.hpp>
#include <unetdn/unet.hpp>

#include "common.hpp"

namespace {

struct settings {
  std::filesystem::path weights, data;
  float sigma = 25;
  std::string protocol = "unetdn", format = "table";
  std::uint64_t seed = 0;
  int threads = 0;
};

struct result {
  std::string name;
  double psnr, ssim, noisy_psnr, noisy_ssim;
};

result evaluate_picture(settings const& s, unetdn::denoiser<>& denoiser, std::filesystem::path const& file,
                        std::uint32_t number) {
  unetdn::image const clean = unetdn::without_alpha(unetdn::read_image(file));
  unetdn::image noisy = clean;
  if (s.protocol == "literature") {
    unetdn::add_literature_noise(clean.as_view(), noisy.as_view(), s.sigma, static_cast<std::uint32_t>(s.seed));
  } else {
    unetdn::random_key const key{s.seed, 0, unetdn::random_stream::noise};
    unetdn::add_gaussian_noise<unetdn::cpu, float>(denoiser.device(), clean.as_view(), noisy.as_view(),
                                                   std::span(&s.sigma, 1), key, number);
  }
  bool const map = denoiser.network().config().noise_map;
  unetdn::image denoised = denoiser(noisy, map ? std::optional(s.sigma) : std::nullopt);
  unetdn::round_to_8_bits(denoised.as_view());
  result r{file.filename().string(), 0, 0, 0, 0};
  r.psnr = unetdn::psnr(clean.as_view(), denoised.as_view());
  r.ssim = unetdn::ssim(clean.as_view(), denoised.as_view());
  r.noisy_psnr =
      unetdn::psnr(clean.as_view(), noisy.as_view());  // of what the network sees: neither clipped nor rounded
  unetdn::round_to_8_bits(noisy.as_view());
  r.noisy_ssim = unetdn::ssim(clean.as_view(), noisy.as_view());
  return r;
}

/// The mean over all pictures; infinite PSNR is left out and counted.
struct summary {
  unetdn::mean_of_metrics psnr, ssim, noisy_psnr, noisy_ssim;

  void add(result const& r) {
    psnr.add(r.psnr);
    ssim.add(r.ssim);
    noisy_psnr.add(r.noisy_psnr);
    noisy_ssim.add(r.noisy_ssim);
  }
  result mean() const { return {"mean", psnr.mean(), ssim.mean(), noisy_psnr.mean(), noisy_ssim.mean()}; }
};

std::string json(result const& r) {
  return unetdn::text("\"psnr\": ", unetdn::metric_json(r.psnr), ", \"ssim\": ", unetdn::metric_json(r.ssim),
                      ", \"noisy_psnr\": ", unetdn::metric_json(r.noisy_psnr),
                      ", \"noisy_ssim\": ", unetdn::metric_json(r.noisy_ssim));
}

void print_json(std::vector<result> const& results, result const& mean) {
  std::cout << "{\"mean\": {" << json(mean) << "},\n \"pictures\": [";
  char const* separator = "\n";
  for (result const& r : results) {
    std::cout << separator << "  {\"name\": " << unetdn::json_quoted(r.name) << ", " << json(r) << '}';
    separator = ",\n";
  }
  std::cout << "\n]}\n";
}

void print_csv(std::vector<result> const& results) {
  std::cout << "name,psnr,ssim,noisy_psnr,noisy_ssim\n";
  for (result const& r : results) {
    std::cout << unetdn::text('"', r.name, "\",", unetdn::metric_text(r.psnr, 4), ',', unetdn::metric_text(r.ssim, 6),
                              ',', unetdn::metric_text(r.noisy_psnr, 4), ',', unetdn::metric_text(r.noisy_ssim, 6),
                              '\n');
  }
}

void print_row(result const& r) {
  std::printf("%-32s %8s dB %8s    noisy %8s dB %8s\n", r.name.c_str(), unetdn::metric_text(r.psnr, 2).c_str(),
              unetdn::metric_text(r.ssim, 4).c_str(), unetdn::metric_text(r.noisy_psnr, 2).c_str(),
              unetdn::metric_text(r.noisy_ssim, 4).c_str());
}

int evaluate(settings const& s) {
  unetdn::check(std::isfinite(s.sigma) && s.sigma >= 0 && s.sigma <= unetdn::largest_sigma,
                "--sigma is a number from 0 to 1000 in units of 1/255");
  unetdn::check(s.protocol != "literature" || s.seed <= 0xffffffffu,
                "the literature's generator takes seeds up to 4294967295");
  unetdn::denoiser<> denoiser(s.weights, unetdn::cpu(s.threads));
  std::vector<result> results;
  summary all;
  std::uint32_t number = 0;
  for (auto const& file : unetdn::list_images(s.data)) {
    results.push_back(evaluate_picture(s, denoiser, file, number++));
    all.add(results.back());
    if (s.format == "table") print_row(results.back());
  }
  if (s.format == "json") print_json(results, all.mean());
  if (s.format == "csv") print_csv(results);
  if (s.format != "table") return 0;
  print_row(all.mean());
  if (all.psnr.infinite())
    std::printf("%zu pictures came back exactly and are left out of the mean PSNR\n", all.psnr.infinite());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Measures how well a network denoises: adds noise to clean pictures, removes it, and compares.",
               "evaluate");
  app.footer(
      "Examples:\n"
      "  evaluate --weights run/best.safetensors --data others --sigma 25\n"
      "  evaluate --weights run/best.safetensors --data Set12 --sigma 25 --protocol literature --format json\n"
      "Exit codes: 0 done, 1 failed, 2 wrong usage.");
  settings s;
  app.add_option("--weights", s.weights, "weight file that train wrote")->required()->type_name("FILE");
  app.add_option("--data", s.data, "folder of clean pictures")->required()->type_name("DIR");
  app.add_option("--sigma", s.sigma, "standard deviation of the noise in units of 1/255")->capture_default_str();
  app.add_option("--protocol", s.protocol,
                 "literature: the noise that published tables use, NumPy's of seed 0 for every picture")
      ->check(CLI::IsMember({"unetdn", "literature"}))
      ->capture_default_str();
  app.add_option("--seed", s.seed, "other noise")->capture_default_str();
  app.add_option("--format", s.format, "table, csv or json")
      ->check(CLI::IsMember({"table", "csv", "json"}))
      ->capture_default_str();
  app.add_option("--threads", s.threads, "0: one a core")->capture_default_str();
  return programs::run(app, argc, argv, [&] { return evaluate(s); });
}
