// SPDX-License-Identifier: Apache-2.0
// make_input FOLDER: writes weights.safetensors, an untrained network, and noisy.png for the README's program.
#include <filesystem>

#include <unetdn/generated.hpp>
#include <unetdn/image.hpp>
#include <unetdn/unet.hpp>

int main(int, char** argv) {
  std::filesystem::path const folder = argv[1];
  unetdn::cpu device;
  unetdn::unet<float, unetdn::cpu> net(device, {3, 3, 8, 2});
  net.initialise(device, 1);
  net.save(device, folder / "weights.safetensors");
  unetdn::write_image(folder / "noisy.png", unetdn::generate_picture(1, 0, 61, 47));
}
