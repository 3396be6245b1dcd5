// SPDX-License-Identifier: Apache-2.0
#include "any_denoiser.hpp"

#include <type_traits>
#include <utility>

#include <unetdn/unet.hpp>

#include "device.hpp"

namespace programs {

namespace {

template <class T, class Device> class denoiser_on final : public any_denoiser {
 public:
  denoiser_on(std::filesystem::path const& weights, Device device) : denoiser_(weights, std::move(device)) {}

  unetdn::image operator()(unetdn::image const& picture, std::optional<float> sigma_255) override {
    return denoiser_(picture, sigma_255);
  }
  void check_fits(std::optional<float> sigma_255) const override { denoiser_.check_fits(sigma_255); }
  void on_progress(std::function<void(double)> f) override { denoiser_.on_progress(std::move(f)); }
  bool takes_noise_map() const override { return denoiser_.network().config().noise_map; }

 private:
  unetdn::denoiser<T, Device> denoiser_;
};

}  // namespace

void check_device(device_settings const& where) { wants_gpu(where); }

std::unique_ptr<any_denoiser> make_denoiser(std::string const& program, device_settings const& where, int threads,
                                            bool quiet, std::filesystem::path const& weights) {
  return on_device(program, where, threads, quiet,
                   [&]<class T, class Device>(std::type_identity<T>, Device device) -> std::unique_ptr<any_denoiser> {
                     return std::make_unique<denoiser_on<T, Device>>(weights, std::move(device));
                   });
}

}  // namespace programs
