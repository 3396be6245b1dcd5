// SPDX-License-Identifier: Apache-2.0
// Removes the noise from pictures with a trained network.
#include <optional>

#include <unetdn/unet.hpp>

#include "common.hpp"

namespace {

struct settings {
  std::filesystem::path weights, out;
  std::vector<std::filesystem::path> inputs;
  std::optional<float> sigma;
  int threads = 0;
  bool force = false, quiet = false;
};

int denoise(settings const& s) {
  std::vector<std::filesystem::path> const files = programs::expand(s.inputs);
  programs::outputs const outputs(s.out, s.force);
  outputs.prepare(files);
  unetdn::denoiser<> denoiser(s.weights, unetdn::cpu(s.threads));
  for (auto const& file : files) {
    std::filesystem::path const to = outputs.path_for(file);
    unetdn::write_image(to, denoiser(unetdn::read_image(file), s.sigma));
    if (!s.quiet) std::cout << file.string() << " -> " << to.string() << '\n';
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Removes the noise from pictures with a trained network.", "denoise");
  app.footer(
      "Examples:\n"
      "  denoise --weights run/best.safetensors noisy.jpg --out clean.png\n"
      "  denoise --weights run/best.safetensors photos --out denoised\n"
      "Exit codes: 0 done, 1 failed, 2 wrong usage.");
  settings s;
  app.add_option("--weights", s.weights, "weight file that train wrote")->required()->type_name("FILE");
  app.add_option("input", s.inputs, "pictures, or folders of pictures")->required();
  app.add_option("--out", s.out, "a picture to write, or a folder")->required();
  app.add_option("--sigma", s.sigma, "noise level in units of 1/255, for networks that must be told it");
  app.add_option("--threads", s.threads, "0: one a core")->capture_default_str();
  app.add_flag("--force", s.force, "overwrite results that exist");
  app.add_flag("--quiet", s.quiet, "print errors only");
  return programs::run(app, argc, argv, [&] { return denoise(s); });
}
