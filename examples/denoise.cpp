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

/// Whether write_image knows the name's format; bmp it only reads.
bool can_write(std::filesystem::path const& file) {
  std::string const extension = file.extension().string();
  return unetdn::is_image_name(file) && extension != ".bmp" && extension != ".BMP";
}

/// Where the result of one input goes: into the folder `out`, or to the file `out` where it names a picture.
std::filesystem::path output_path(settings const& s, std::filesystem::path const& input) {
  if (unetdn::is_image_name(s.out) && !std::filesystem::is_directory(s.out)) return s.out;
  std::filesystem::path const name = can_write(input) ? input.filename() : std::filesystem::path(input.stem()) += ".png";
  return s.out / name;
}

int denoise(settings const& s) {
  std::vector<std::filesystem::path> const files = programs::expand(s.inputs);
  bool const to_file = unetdn::is_image_name(s.out) && !std::filesystem::is_directory(s.out);
  unetdn::check(!to_file || files.size() == 1, "--out ", s.out.string(), " is one picture, but there are ",
                files.size(), " inputs; give a folder");
  for (auto const& file : files) {
    std::filesystem::path const to = output_path(s, file);
    unetdn::check(s.force || !std::filesystem::exists(to), to.string(), " exists already; --force overwrites it");
  }
  unetdn::denoiser<> denoiser(s.weights, unetdn::cpu(s.threads));
  if (!to_file) std::filesystem::create_directories(s.out);
  for (auto const& file : files) {
    unetdn::image const picture = unetdn::read_image(file);
    std::filesystem::path const to = output_path(s, file);
    unetdn::write_image(to, denoiser(picture, s.sigma));
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
