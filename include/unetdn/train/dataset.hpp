// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <deque>
#include <functional>
#include <numeric>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include <unetdn/core/random.hpp>
#include <unetdn/image.hpp>
#include <unetdn/ops/elementwise.hpp>
#include <unetdn/train/training_picture.hpp>

namespace unetdn {

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

/// Copies a crop to patch[1,P,P,C]: as floats in [0, 1], or as the bytes that they are 1/255 of.
template <class T> void copy_crop(training_picture const& picture, crop_choice const& c, view<T> patch) {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, std::uint8_t>);
  for (int row = 0; row < patch.h; ++row) {
    for (int column = 0; column < patch.w; ++column) {
      int y = c.transpose ? column : row;
      int x = c.transpose ? row : column;
      if (c.flip_rows) y = patch.h - 1 - y;
      if (c.flip_columns) x = patch.h - 1 - x;
      std::uint8_t const* const from =
          picture.pixel(reflect(c.top + y, picture.height), reflect(c.left + x, picture.width));
      T* const to = patch.pixel(0, row, column);
      for (int channel = 0; channel < patch.c; ++channel) {
        if constexpr (std::is_same_v<T, float>) {
          to[channel] = static_cast<float>(from[channel]) / 255.f;
        } else {
          to[channel] = from[channel];
        }
      }
    }
  }
}

/// Which picture choose_crop takes: its first draw.
inline std::uint32_t choose_picture(random_key key, std::uint32_t sample, std::uint32_t pictures) {
  key.stream = random_stream::crop;
  return random_sequence(key, sample).index(pictures);
}

/// A picture, or a pair, that is read when training first reaches for it.
struct training_source {
  std::function<image_pair()> read;
  std::uint64_t bytes = 0;  ///< of its files, which tells how long reading takes
};

/// How pictures are read while training goes on.
struct reading_options {
  std::uint64_t seed = 0;                         ///< decides their order, and which windows are kept of large ones
  int patch = 128;                                ///< windows are at least so wide
  bool paired = false;                            ///< they come with noisy twins
  std::uint64_t memory = std::uint64_t(1) << 30;  ///< bytes that all of them may take: with many, windows are smaller,
                                                  ///< and where even those are too many, some are read again
};

/// The pictures that a network is trained on: photographs, generated ones, or both; or pairs of a clean and a noisy
/// picture.
///
/// Training starts with a few. At step s the first photographs_at(s) and generated_at(s) of them take part, which
/// depends on s alone, and each is read or made when a crop of it is drawn and it is not kept. So which crops a step
/// sees depends neither on threads nor on where a run was resumed.
class training_set {
 public:
  /// Makes generated picture number i: a pure function.
  using generator = std::function<image(std::uint64_t)>;

  explicit training_set(int channels) : channels_{channels} {}

  /// Adds a picture that is in memory, all of it. Pictures with and without noisy twins are not mixed: argument_error.
  void add(image_pair const& picture) {
    check(sources_.empty(), "add pictures before those that are read later");
    admit(picture.noisy.has_value());
    photographs_.emplace_back(training_example(picture, channels_));
  }
  void add(image picture) { add(image_pair{std::move(picture)}); }

  /// Adds pictures that are read as training goes on; once. Of large ones, a part is kept: see picture_limits. What
  /// reading throws, draw and prepare throw.
  void read_later(std::vector<training_source> sources, reading_options const& options) {
    check(sources_.empty(), "pictures that are read later are given once");
    if (sources.empty()) return;
    admit(options.paired);
    sources_ = std::move(sources);
    reading_ = options;
    shuffle_sources();
    std::uint64_t sum = 0;
    for (auto const& source : sources_) bytes_up_to_.push_back(sum += source.bytes);
    photographs_.resize(photographs_.size() + sources_.size());
  }

  /// Adds up to `count` generated pictures, in place of those of an earlier call.
  void generate(generator make, int count) {
    check(count >= 0, "the number of generated pictures is 0 or more, not ", count);
    if (count > 0) admit(false);
    for (auto const& made : generated_) bytes_kept_ -= made ? made->bytes() : 0;
    std::erase_if(kept_, [](kept_picture const& p) { return !p.photograph; });
    generated_.clear();
    make_ = std::move(make);
    generated_limit_ = count;
  }

  int channels() const { return channels_; }
  std::size_t photographs() const { return photographs_.size(); }
  bool empty() const { return photographs_.empty() && generated_limit_ == 0; }
  /// Whether the pictures have noisy twins, so that no noise is added.
  bool paired() const { return paired_; }

  /// How many photographs take part in step `step`: of those that are read, 16 MiB of files at first, one at least,
  /// and 64 MiB more every 32 steps.
  int photographs_at(std::int64_t step) const {
    std::int64_t const more = std::min<std::int64_t>(step / 32, std::int64_t(1) << 32);
    std::uint64_t const bytes =
        (std::uint64_t(16) << 20) + (std::uint64_t(64) << 20) * static_cast<std::uint64_t>(more);
    auto const read = std::upper_bound(bytes_up_to_.begin(), bytes_up_to_.end(), bytes) - bytes_up_to_.begin();
    return static_cast<int>(given()) + std::max(static_cast<int>(read), sources_.empty() ? 0 : 1);
  }
  /// How many generated pictures take part in step `step`: a few at first, so that training starts at once.
  int generated_at(std::int64_t step) const {
    return static_cast<int>(std::min<std::int64_t>(generated_limit_, 8 + step / 4));
  }

  /// Reads and makes all pictures that take part in step `step`, on the device's threads, a few at a time: large ones
  /// take much memory while they are read.
  void prepare(cpu& dev, std::int64_t step) {
    std::vector<std::uint32_t> all(taking_part(step));
    std::iota(all.begin(), all.end(), 0u);
    make_missing(dev, std::move(all), step);
  }

  /// Writes a batch of crops for one step to clean[N,P,P,C], and where the pictures are paired the same crops of the
  /// twins to noisy[N,P,P,C], as floats in [0, 1] or as bytes. Reads and makes the pictures that are missing.
  template <class T>
  void draw(cpu& dev, random_key const& key, std::int64_t step, view<T> clean,
            std::type_identity_t<std::optional<view<T>>> noisy = {}) {
    check(!empty(), "there are no pictures to train on");
    check(clean.c == channels_, "the training pictures have ", channels_, " channels, the network takes ", clean.c);
    check(clean.h == clean.w, "crops are square, not ", clean.h, " x ", clean.w);
    check(noisy.has_value() == paired_, "pictures with noisy twins are drawn with them, others without");
    check(!noisy || same_shape(clean, *noisy), "crops of clean and noisy pictures have one shape");
    std::uint32_t const total = taking_part(step);
    std::vector<std::uint32_t> chosen;
    for (int i = 0; i < clean.n; ++i) chosen.push_back(choose_picture(key, static_cast<std::uint32_t>(i), total));
    make_missing(dev, std::move(chosen), step);
    dev.parallel(clean.n, [&](int i, int) {
      auto const at = [&](std::uint32_t index) -> training_example const& { return *slot(index, step); };
      auto const sizes = [&](std::uint32_t index) { return std::pair{at(index).clean.height, at(index).clean.width}; };
      crop_choice const c = choose_crop(key, static_cast<std::uint32_t>(i), total, clean.h, sizes);
      copy_crop(at(c.picture).clean, c, clean.images(i, 1));
      if (noisy) copy_crop(*at(c.picture).noisy, c, noisy->images(i, 1));
    });
  }

  /// Seconds spent on reading so far; and an estimate of what is left for so many more draws, most of which reach for
  /// pictures that are there already: for plans.
  double reading_seconds() const { return reading_seconds_; }
  double reading_seconds_left(std::int64_t draws) const {
    if (sources_read_ == 0) return 0;
    double const left = static_cast<double>(sources_.size() - std::min(sources_.size(), sources_read_));
    double const all = static_cast<double>(photographs_.size()) + generated_limit_;
    double const reached = left * -std::expm1(-static_cast<double>(draws) / all);
    return reached * reading_seconds_ / static_cast<double>(sources_read_);
  }
  /// What the pictures take that were read and made, and are still kept.
  std::uint64_t bytes_kept() const { return bytes_kept_; }

 private:
  static constexpr std::size_t made_at_once = 8;

  std::size_t given() const { return photographs_.size() - sources_.size(); }
  std::uint32_t taking_part(std::int64_t step) const {
    return static_cast<std::uint32_t>(photographs_at(step)) + static_cast<std::uint32_t>(generated_at(step));
  }

  void admit(bool paired) {
    check(empty() || paired == paired_, "pictures with and without noisy twins cannot be mixed in one training");
    paired_ = paired;
  }

  /// Names often sort alike pictures together; the first few should be a fair choice.
  void shuffle_sources() {
    random_sequence random({reading_.seed, 0, random_stream::order});
    for (std::size_t i = sources_.size(); i > 1; --i) {
      std::swap(sources_[i - 1], sources_[random.index(static_cast<std::uint32_t>(i))]);
    }
  }

  /// Where the picture is that choose_picture calls `index` at this step.
  std::optional<training_example>& slot(std::uint32_t index, std::int64_t step) {
    auto const photographs = static_cast<std::uint32_t>(photographs_at(step));
    return index < photographs ? photographs_[index] : generated_[index - photographs];
  }

  training_example make(std::uint32_t index, std::int64_t step) const {
    auto const photographs = static_cast<std::uint32_t>(photographs_at(step));
    if (index >= photographs) return {image_pair{make_(index - photographs)}, channels_};
    std::size_t const number = index - given();
    image_pair pair = sources_[number].read();
    check(pair.noisy.has_value() == paired_, "a picture that is read later has a noisy twin exactly where all have");
    random_sequence random({reading_.seed, 1, random_stream::order}, static_cast<std::uint32_t>(number));
    picture_limits limits;
    std::uint64_t const bytes = reading_.memory / sources_.size() / static_cast<std::uint64_t>(paired_ ? 2 : 1);
    limits.pixels = std::min(limits.pixels, static_cast<std::int64_t>(bytes) / channels_);
    limits.least = reading_.patch;
    limits.down = random.uniform();
    limits.right = random.uniform();
    return {reduced(std::move(pair), limits), channels_};
  }

  void make_missing(cpu& dev, std::vector<std::uint32_t> all, std::int64_t step) {
    generated_.resize(std::max(generated_.size(), static_cast<std::size_t>(generated_at(step))));
    std::sort(all.begin(), all.end());
    all.erase(std::unique(all.begin(), all.end()), all.end());
    std::vector<std::uint32_t> wanted = all;
    std::erase_if(wanted, [&](std::uint32_t index) { return slot(index, step).has_value(); });
    auto const photographs = static_cast<std::uint32_t>(photographs_at(step));
    auto const read = std::lower_bound(wanted.begin(), wanted.end(), photographs) - wanted.begin();
    auto const begin = std::chrono::steady_clock::now();
    for (std::size_t first = 0; first < wanted.size(); first += made_at_once) {
      std::size_t const count = std::min(made_at_once, wanted.size() - first);
      std::vector<std::optional<training_example>> made(count);
      dev.parallel(static_cast<int>(count), [&](int i, int) {
        auto const number = static_cast<std::size_t>(i);
        made[number] = make(wanted[first + number], step);
      });
      for (std::size_t i = 0; i < count; ++i) {
        std::uint32_t const index = wanted[first + i];
        bytes_kept_ += made[i]->bytes();
        slot(index, step) = std::move(made[i]);
        kept_.push_back({index < photographs, index < photographs ? index : index - photographs});
      }
    }
    drop_oldest(all, photographs);
    if (read == 0) return;
    sources_read_ += static_cast<std::size_t>(read);
    reading_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }

  /// A picture that can be read or made again.
  struct kept_picture {
    bool photograph;
    std::uint32_t number;
  };

  /// Makes room, but not of those that are wanted now. Reading and making are pure, so no crop changes.
  void drop_oldest(std::vector<std::uint32_t> const& wanted, std::uint32_t photographs) {
    for (std::size_t tries = kept_.size(); tries > 0 && bytes_kept_ > reading_.memory; --tries) {
      kept_picture const oldest = kept_.front();
      kept_.pop_front();
      std::uint32_t const index = oldest.photograph ? oldest.number : oldest.number + photographs;
      if (std::binary_search(wanted.begin(), wanted.end(), index)) {
        kept_.push_back(oldest);
        continue;
      }
      auto& dropped = (oldest.photograph ? photographs_ : generated_)[oldest.number];
      bytes_kept_ -= dropped.value().bytes();
      dropped.reset();
    }
  }

  int channels_;
  bool paired_ = false;
  std::vector<std::optional<training_example>> photographs_;  ///< those given, then those of sources_
  std::vector<std::optional<training_example>> generated_;
  std::vector<training_source> sources_;
  std::vector<std::uint64_t> bytes_up_to_;  ///< of sources_ up to and with each
  reading_options reading_;
  std::deque<kept_picture> kept_;  ///< in the order in which they came
  std::uint64_t bytes_kept_ = 0;
  std::size_t sources_read_ = 0;  ///< again included
  double reading_seconds_ = 0;
  generator make_;
  int generated_limit_ = 0;
};

}  // namespace unetdn
