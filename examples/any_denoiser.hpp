// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <unetdn/image.hpp>

#include "device_settings.hpp"

namespace programs {

/// unetdn::denoiser on whatever device and in whatever precision a program's options name; it is that one's
/// functions that are called.
class any_denoiser {
 public:
  virtual ~any_denoiser() = default;
  virtual unetdn::image operator()(unetdn::image const& picture, std::optional<float> sigma_255) = 0;
  virtual void check_fits(std::optional<float> sigma_255) const = 0;
  virtual void on_progress(std::function<void(double)> f) = 0;
  /// Whether the network must be told the noise level.
  virtual bool takes_noise_map() const = 0;
};

/// Throws error where the options demand a GPU that there is not, argument_error where they demand of the cpu what it
/// does not have. To be asked before any work.
void check_device(device_settings const& where);

/// Reads the weights. `threads` are the cpu device's; unless `quiet`, `program` says on standard error which GPU it
/// uses. Throws what check_device does, file_error where the weights are missing, damaged or not a U-Net's, and
/// out_of_memory.
std::unique_ptr<any_denoiser> make_denoiser(std::string const& program, device_settings const& where, int threads,
                                            bool quiet, std::filesystem::path const& weights);

}  // namespace programs
