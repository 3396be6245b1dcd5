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

/// unetdn::denoiser on whatever device and in whatever precision a program's options name. Its functions are that
/// one's.
class any_denoiser {
 public:
  virtual ~any_denoiser() = default;
  virtual unetdn::image operator()(unetdn::image const& picture, std::optional<float> sigma_255) = 0;
  virtual void check_fits(std::optional<float> sigma_255) const = 0;
  virtual void on_progress(std::function<void(double)> f) = 0;
  /// Whether the network must be told the noise level.
  virtual bool takes_noise_map() const = 0;
};

/// Reads the weights. Throws what on_device and unetdn::denoiser throw.
std::unique_ptr<any_denoiser> make_denoiser(std::string const& program, device_settings const& where, int threads,
                                            bool quiet, std::filesystem::path const& weights);

}  // namespace programs
