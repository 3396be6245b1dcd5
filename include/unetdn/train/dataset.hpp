// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <iterator>
#include <utility>
#include <vector>

#include <unetdn/core/random.hpp>
#include <unetdn/image.hpp>
#include <unetdn/ops/elementwise.hpp>

namespace unetdn {

/// A picture to learn from, kept at 8 bits a channel: four times as many fit into memory as floats would.
struct training_picture {
  int height = 0, width = 0, channels = 0;
  std::vector<std::uint8_t> pixels;  ///< rows of pixels of channels

  training_picture() = default;
  /// Rounds to 8 bits and drops alpha; grey becomes three equal channels, or colour grey, where `channels` (1 or 3)
  /// says so.
  training_picture(image const& picture, int channels_)
      : height{picture.height}, width{picture.width}, channels{channels_} {
    check(channels == 1 || channels == 3, "training pictures have 1 or 3 channels, not ", channels);
    picture.check_valid();
    image const opaque = without_alpha(picture);
    image const converted = channels == 1 ? to_grey(opaque) : to_rgb(opaque);
    pixels.resize(converted.pixels.size());
    std::transform(converted.pixels.begin(), converted.pixels.end(), pixels.begin(), [](float v) {
      float const level = std::min(std::max(0.f, v), 1.f) * 255;  // NaN becomes 0
      return static_cast<std::uint8_t>(std::nearbyint(level));
    });
  }

  std::uint8_t const* pixel(int y, int x) const {
    return pixels.data() +
           (static_cast<std::size_t>(y) * static_cast<std::size_t>(width) + static_cast<std::size_t>(x)) *
               static_cast<std::size_t>(channels);
  }
};

/// Where a crop comes from: one of the picture's eight orientations and a place in it.
struct crop_choice {
  std::uint32_t picture = 0;
  int top = 0, left = 0;
  bool transpose = false, flip_rows = false, flip_columns = false;
};

/// Chooses a crop uniformly among pictures, places and the eight symmetries of the square. A pure function of its
/// arguments. `sizes(i)` gives {height, width} of picture i; a picture smaller than the patch is reflected at its
/// borders.
template <class Sizes>
crop_choice choose_crop(random_key key, std::uint32_t sample, std::uint32_t pictures, int patch, Sizes&& sizes) {
  key.stream = random_stream::crop;
  random_sequence random(key, sample);
  crop_choice c;
  c.picture = random.index(pictures);
  auto const [height, width] = sizes(c.picture);
  c.top = static_cast<int>(random.index(static_cast<std::uint32_t>(std::max(height - patch, 0) + 1)));
  c.left = static_cast<int>(random.index(static_cast<std::uint32_t>(std::max(width - patch, 0) + 1)));
  std::uint32_t const symmetry = random.index(8);
  c.transpose = symmetry & 1;
  c.flip_rows = symmetry & 2;
  c.flip_columns = symmetry & 4;
  return c;
}

/// Copies a crop, in [0, 1], to patch[1,P,P,C].
inline void copy_crop(training_picture const& picture, crop_choice const& c, view<float> patch) {
  for (int row = 0; row < patch.h; ++row) {
    for (int column = 0; column < patch.w; ++column) {
      int y = c.transpose ? column : row;
      int x = c.transpose ? row : column;
      if (c.flip_rows) y = patch.h - 1 - y;
      if (c.flip_columns) x = patch.h - 1 - x;
      std::uint8_t const* const from =
          picture.pixel(reflect(c.top + y, picture.height), reflect(c.left + x, picture.width));
      float* const to = patch.pixel(0, row, column);
      for (int channel = 0; channel < patch.c; ++channel) to[channel] = static_cast<float>(from[channel]) / 255.f;
    }
  }
}

/// The pictures that a network is trained on: photographs, generated ones, or both.
///
/// Generated pictures are made when training first reaches for them: at step s the first generated_at(s) of them take
/// part, which depends on s alone, so that a resumed run sees the same pictures.
class training_set {
 public:
  /// Makes generated picture number i: a pure function.
  using generator = std::function<image(std::uint64_t)>;

  explicit training_set(int channels) : channels_{channels} {}

  void add(image const& picture) { photographs_.emplace_back(picture, channels_); }
  /// Adds up to `count` generated pictures.
  void generate(generator make, int count) {
    check(count >= 0, "the number of generated pictures is 0 or more, not ", count);
    generated_.clear();
    make_ = std::move(make);
    generated_limit_ = count;
  }

  int channels() const { return channels_; }
  std::size_t photographs() const { return photographs_.size(); }
  bool empty() const { return photographs_.empty() && generated_limit_ == 0; }

  /// How many generated pictures take part in step `step`: a few at first, so that training starts at once.
  int generated_at(std::int64_t step) const {
    return static_cast<int>(std::min<std::int64_t>(generated_limit_, 8 + step / 4));
  }
  /// Makes the pictures that step `step` needs, on the device's threads.
  void prepare(cpu& dev, std::int64_t step) {
    int const have = static_cast<int>(generated_.size());
    int const need = generated_at(step);
    if (need <= have) return;
    std::vector<training_picture> made(static_cast<std::size_t>(need - have));
    dev.parallel(need - have, [&](int chunk, int) {
      std::size_t const i = static_cast<std::size_t>(chunk);
      made[i] = training_picture(make_(static_cast<std::uint64_t>(have) + i), channels_);
    });
    std::move(made.begin(), made.end(), std::back_inserter(generated_));
  }
  /// Writes a batch of crops for one step to patches[N,P,P,C]; call prepare(step) before.
  void draw(cpu& dev, random_key const& key, std::int64_t step, view<float> patches) const {
    check(!empty(), "there are no pictures to train on");
    check(patches.c == channels_, "the training pictures have ", channels_, " channels, the network takes ", patches.c);
    check(patches.h == patches.w, "crops are square, not ", patches.h, " x ", patches.w);
    check(static_cast<std::int64_t>(generated_.size()) >= generated_at(step), "step ", step,
          " needs generated pictures; call prepare(", step, ") before draw");
    std::uint32_t const total =
        static_cast<std::uint32_t>(photographs_.size()) + static_cast<std::uint32_t>(generated_at(step));
    dev.parallel(patches.n, [&](int i, int) {
      auto const at = [&](std::uint32_t index) -> training_picture const& {
        return index < photographs_.size() ? photographs_[index] : generated_[index - photographs_.size()];
      };
      auto const sizes = [&](std::uint32_t index) { return std::pair{at(index).height, at(index).width}; };
      crop_choice const c = choose_crop(key, static_cast<std::uint32_t>(i), total, patches.h, sizes);
      copy_crop(at(c.picture), c, patches.images(i, 1));
    });
  }

 private:
  int channels_;
  std::vector<training_picture> photographs_, generated_;
  generator make_;
  int generated_limit_ = 0;
};

}  // namespace unetdn
