// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <unetdn/devices/cpu.hpp>
#include <unetdn/image.hpp>
#include <unetdn/networks/picture_transfer.hpp>
#include <unetdn/networks/unet_session.hpp>

namespace unetdn {

/// Denoises pictures of any size: a device, a network and a session in one. Pictures are floats on the host, whatever
/// the device and T. One picture at a time; for more at once, give each thread a denoiser of its own (they may share
/// the network).
///
/// Pictures too large to be held at once are cut into tiles that overlap by the network's reach, so that the result is
/// that of the whole (no normalisation layer looks further): up to rounding, since Winograd convolution computes 4x4
/// outputs together, and to the bit where UNETDN_CONV=direct is set.
template <class T = float, class Device = cpu> class denoiser {
 public:
  /// Reads the weights. Throws file_error where the file is missing, damaged or not a U-Net's; out_of_memory.
  explicit denoiser(std::filesystem::path const& weights, Device dev = Device{})
      : device_{std::move(dev)},
        network_{std::make_shared<unet<T, Device> const>(unet<T, Device>::load(device_, weights))} {
    limit_tile_side(default_tile_side(network_->config()));
  }
  /// Uses a network that others may use too.
  explicit denoiser(std::shared_ptr<unet<T, Device> const> network, Device dev = Device{})
      : device_{std::move(dev)}, network_{std::move(network)} {
    limit_tile_side(default_tile_side(network_->config()));
  }
  denoiser(denoiser const&) = delete;
  denoiser& operator=(denoiser const&) = delete;

  /// The picture without its noise, same extents and channels. A network for colours sees grey as three equal channels;
  /// a grey one sees each colour channel as a picture. Alpha is kept. `sigma_255` (noise level in units of 1/255) must
  /// be given exactly where the network takes a noise map.
  ///
  /// Throws argument_error where the network or sigma does not fit, and where a sample is infinite or no number: it
  /// would spread over all pixels that see it. Throws error where the result is; the weights are damaged then.
  image operator()(image const& picture, std::optional<float> sigma_255 = {}) {
    check_fits(sigma_255);
    picture.check_valid();
    if (std::int64_t const at = not_finite(picture); at >= 0) {
      std::int64_t const pixel = at / picture.channels;
      throw argument_error(text("the picture's sample in row ", pixel / picture.width, ", column ",
                                pixel % picture.width, ", channel ", at % picture.channels,
                                " is no finite number; replace it first"));
    }
    image result = picture;
    view<float const> const from = picture.as_view();
    view<float> const to = result.as_view();
    int const colors = picture.color_channels();
    int const in_channels = network_->config().in_channels;
    runs_ = in_channels == 1 ? colors : 1;
    runs_done_ = 0;
    if (in_channels == 1) {
      for (int channel = 0; channel < colors; ++channel) {
        run_window(from.channels(channel, 1), to.channels(channel, 1), sigma_255);
      }
    } else if (colors == 3) {
      run_window(from.channels(0, 3), to.channels(0, 3), sigma_255);
    } else {
      image gray_as_color(picture.width, picture.height, 3, picture.bit_depth);
      view<float> const color = gray_as_color.as_view();
      for (int channel = 0; channel < 3; ++channel) copy_on_host(from.channels(0, 1), color.channels(channel, 1));
      run_window(color, color, sigma_255);
      average_channels(color, to.channels(0, 1));
    }
    if (not_finite(result) >= 0)
      throw error("the network's result is no finite number; its weights are damaged, take others");
    return result;
  }

  /// The same for a window [1,h,w,in_channels] of floats on the host, unchecked; `to` may be `from`.
  void run(view<float const> from, view<float> to, std::optional<float> sigma_255 = {}) {
    runs_ = 1;
    runs_done_ = 0;
    run_window(from, to, sigma_255);
  }

  /// Throws argument_error where the network is none for pictures, or `sigma_255` not what it needs.
  void check_fits(std::optional<float> sigma_255) const {
    unet_config const& c = network_->config();
    check(c.in_channels == c.out_channels && (c.in_channels == 1 || c.in_channels == 3), "a network from ",
          c.in_channels, " to ", c.out_channels, " channels does not denoise pictures; use a session");
    check(c.noise_map == sigma_255.has_value(), c.noise_map
                                                    ? "this network needs the noise level; give sigma"
                                                    : "this network finds the noise level itself; leave out sigma");
    check(!sigma_255 || (std::isfinite(*sigma_255) && *sigma_255 >= 0 && *sigma_255 <= 1000),
          "sigma is a number from 0 to 1000 in units of 1/255");
  }

  /// Calls `f` as work on a picture goes on, with the fraction of it that is done, at most 1.
  void on_progress(std::function<void(double)> f) { progress_ = std::move(f); }

  unet<T, Device> const& network() const { return *network_; }
  Device& device() { return device_; }

  /// Pictures of more than side x side pixels are cut into tiles of about that size, at least 4 reach() pixels wide.
  /// The default keeps activations near 0.5 GiB.
  void limit_tile_side(int side) { tile_side_ = std::max(side, 4 * reach()); }

  /// How far, in pixels, an output can see: two 3x3 convolutions a level on the way down and up, and the alignment of
  /// the pooling windows.
  int reach() const { return reach(network_->config()); }

  /// What a picture of width x height pixels takes of a device's memory beside the network, in tiles of the default
  /// size; nothing is allocated.
  static memory_need need(Device& dev, unet_config const& config, int width, int height) {
    int const side = std::max(default_tile_side(config), 4 * reach(config));
    if (!fits(config, side, height, width)) {
      tiling const tiles(config, side);
      width = std::min(width, tiles.core + 2 * tiles.margin);
      height = std::min(height, tiles.core + 2 * tiles.margin);
    }
    memory_need need = unet_session<T, Device>::need(dev, config, 1, height, width, session_mode::inference);
    if constexpr (!Device::is_host) {  // the picture in float, on its way
      need.activations += std::size_t(width) * std::size_t(height) * std::size_t(config.in_channels) * sizeof(float);
    }
    return need;
  }

 private:
  /// How a large picture is cut: tiles give core x core pixels each and see `margin` more on every side.
  struct tiling {
    int margin, core;
    tiling(unet_config const& config, int side)
        : margin{round_up(reach(config), config.multiple())},
          core{std::max(config.multiple(), (side - 2 * margin) / config.multiple() * config.multiple())} {}
  };

  /// Whether a picture is computed as a whole: it is padded first.
  static bool fits(unet_config const& config, int side, int height, int width) {
    std::int64_t const multiple = config.multiple();
    return round_up(std::int64_t(height), multiple) * round_up(std::int64_t(width), multiple) <=
           std::int64_t(side) * side;
  }

  void run_window(view<float const> from, view<float> to, std::optional<float> sigma_255) {
    int const side = tile_side_;
    if (fits(network_->config(), side, from.h, from.w)) {
      run_tile(from, to, 0, 0, from.h, from.w, sigma_255);
      tell_progress(1);
      ++runs_done_;
      return;
    }
    // Tiles read their neighbours' pixels, so a result written in place would be read as input.
    std::vector<float> pixels(static_cast<std::size_t>(from.size()));
    view<float> const source(pixels.data(), 1, from.h, from.w, from.c);
    copy_on_host(from, source);
    auto const [margin, core] = tiling(network_->config(), side);
    for (int y = 0; y < from.h; y += core) {
      for (int x = 0; x < from.w; x += core) {
        int const top = std::max(0, y - margin);
        int const left = std::max(0, x - margin);
        int const bottom = std::min(from.h, y + core + margin);
        int const right = std::min(from.w, x + core + margin);
        view<float const> const tile = source.crop(top, left, bottom - top, right - left);
        int const rows = std::min(core, from.h - y);
        int const columns = std::min(core, from.w - x);
        run_tile(tile, to.crop(y, x, rows, columns), y - top, x - left, rows, columns, sigma_255);
        tell_progress((double(y) * from.w + double(rows) * (x + columns)) / (double(from.h) * from.w));
      }
    }
    ++runs_done_;
  }

  void run_tile(view<float const> tile, view<float> to, int top, int left, int rows, int columns,
                std::optional<float> sigma_255) {
    unetdn::shape const s{1, tile.h, tile.w, tile.c};
    if (!session_ || session_->shape() != s) {
      session_.reset();  // frees its memory before the next one takes its own
      session_.emplace(device_, network_->config(), 1, s.h, s.w, session_mode::inference);
    }
    transfer_.upload(device_, tile, session_->input());
    if (sigma_255) fill(device_, session_->noise_map(), *sigma_255 / 255);
    session_->forward(*network_);
    transfer_.download(device_, session_->output().crop(top, left, rows, columns), to);
  }

  /// A fraction of one channel's or all channels' run is done.
  void tell_progress(double of_run) {
    if (progress_) progress_(std::min(1.0, (runs_done_ + of_run) / runs_));
  }

  /// The first sample that is infinite or no number, or -1.
  static std::int64_t not_finite(image const& picture) {
    auto const& p = picture.pixels;
    auto const found = std::find_if(p.begin(), p.end(), [](float sample) { return !std::isfinite(sample); });
    return found == p.end() ? -1 : found - p.begin();
  }

  static void average_channels(view<float const> color, view<float> gray) {
    for (int row = 0; row < gray.h; ++row) {
      for (int column = 0; column < gray.w; ++column) {
        float const* const p = color.pixel(0, row, column);
        *gray.pixel(0, row, column) = (p[0] + p[1] + p[2]) / 3;
      }
    }
  }

  static int reach(unet_config const& config) {
    int const levels = config.levels;
    return 2 * ((2 << levels) - 1) + 2 * ((1 << levels) - 1) + (1 << levels) - 1;
  }
  static int default_tile_side(unet_config const& config) {
    return static_cast<int>(8192 / std::sqrt(static_cast<double>(config.base)));
  }

  Device device_;
  std::shared_ptr<unet<T, Device> const> network_;
  std::optional<unet_session<T, Device>> session_;
  picture_transfer<T, Device> transfer_;
  int tile_side_ = 0;
  std::function<void(double)> progress_;
  int runs_ = 1, runs_done_ = 0;
};

}  // namespace unetdn
