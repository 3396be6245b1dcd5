// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <charconv>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <unetdn/loss.hpp>
#include <unetdn/networks/unet_session.hpp>
#include <unetdn/noise.hpp>
#include <unetdn/ops/adamw.hpp>
#include <unetdn/train/dataset.hpp>
#include <unetdn/train/schedule.hpp>

namespace unetdn {

/// What decides the weights that come out, beside the network's configuration and the pictures.
struct training_options {
  noise_level noise;
  loss_kind loss = loss_kind::mse;
  int patch = 64;  ///< side of the square crops, in pixels
  int batch = 4;   ///< crops a step
  learning_rate rate;
  adamw_options adam;
  double clip = 1;           ///< gradients of a larger norm are scaled down to it; 0: never
  double averaging = 0.999;  ///< decay of the weights' moving average; 0: none is kept
  std::uint64_t seed = 0;

  /// Throws argument_error where a setting makes no sense.
  void validate() const {
    check(patch >= 8 && patch <= 4096, "the patch is 8 to 4096 pixels wide, not ", patch);
    check(patch >= smallest_side(loss), "the loss ", to_string(loss), " compares patches of at least ",
          smallest_side(loss), " pixels, not ", patch, "; use larger patches or another loss");
    check(batch >= 1 && batch <= 1024, "a batch has 1 to 1024 patches, not ", batch);
    check(std::isfinite(rate.peak) && rate.peak > 0 && rate.peak <= 1,
          "the learning rate is above 0 and at most 1, not ", rate.peak);
    check(rate.warmup >= 1 && rate.decay_begins >= rate.warmup,
          "the warm-up has at least one step and ends before the decay");
    check(std::isfinite(clip) && clip >= 0, "the gradient clipping norm is 0 or more, not ", clip);
    check(averaging >= 0 && averaging < 1, "the averaging decay is at least 0 and below 1, not ", averaging);
  }
};

/// What one step of training did.
struct training_step {
  std::int64_t step;     ///< counted from 1
  double loss;           ///< of this step's batch
  double gradient_norm;  ///< before clipping
  double rate;
};

/// Trains a U-Net to remove noise. Everything that happens is a function of the configuration, the options, the
/// pictures and the number of the step: equal seeds give equal bits for any number of threads, also across a
/// checkpoint.
template <class T, class Device> class trainer {
  static_assert(Device::is_host, "training runs on the cpu device only");

 public:
  /// Throws argument_error where something does not fit, out_of_memory. Device and pictures must outlive the trainer.
  trainer(Device& dev, unet_config const& config, training_options const& options, training_set& pictures)
      : device_{&dev},
        options_{checked(options)},
        pictures_{&pictures},
        network_{std::make_shared<unet<T, Device>>(dev, config)},
        average_{options.averaging > 0 ? std::make_shared<unet<T, Device>>(dev, config) : network_},
        gradients_{dev, elements()},
        first_moment_{dev, elements()},
        second_moment_{dev, elements()},
        session_{dev, config, options.batch, options.patch, options.patch, session_mode::training},
        target_{dev, {options.batch, options.patch, options.patch, config.out_channels}} {
    check(config.in_channels == config.out_channels, "a denoiser has as many output as input channels, not ",
          config.in_channels, " and ", config.out_channels);
    check(!config.noise_map || !pictures.paired(),
          "the noise level of real pairs is not known; train them without a noise map");
    network_->initialise(dev, options.seed);
    copy_to_average();
  }

  /// Begins with these weights in place of random ones: fine-tuning. Call it before the first step. Throws
  /// argument_error where the network has another configuration.
  void start_from(unet<T, Device> const& other) {
    check(other.config() == network_->config(), "the weights to start from belong to a network of another kind");
    check(steps_done_ == 0, "training has begun; weights to start from come before the first step");
    device_->copy(network_->weights(), other.weights(), elements() * sizeof(T));
    copy_to_average();
  }

  /// Makes one step. Throws error where the loss stops being a number; the weights are then those before the step.
  training_step step() {
    std::int64_t const n = steps_done_ + 1;
    load_batch(n);
    session_.forward(*network_);
    double const loss =
        loss_and_gradient<T>(*device_, options_.loss, session_.output(), target_.view(), session_.output_gradient());
    session_.backward(*network_, gradients_.data());
    double const norm = std::sqrt(squared_norm(*device_, gradients_.data(), size()));
    if (!std::isfinite(loss) || !std::isfinite(norm)) {
      throw error(text("training diverged at step ", n, ": the loss is not a number; use a smaller learning rate"));
    }
    double const scale = options_.clip > 0 && norm > options_.clip ? options_.clip / norm : 1;
    double const rate = options_.rate.at(n);
    adamw_arrays<T> const arrays{network_->weights(),
                                 gradients_.data(),
                                 first_moment_.data(),
                                 second_moment_.data(),
                                 average_ == network_ ? nullptr : average_->weights(),
                                 size()};
    adamw_step(*device_, options_.adam, arrays, n, rate, scale, average_decay(options_.averaging, n));
    steps_done_ = n;
    return {n, loss, norm, rate};
  }

  std::int64_t steps_done() const { return steps_done_; }
  training_options const& options() const { return options_; }
  /// Fixes the number of steps and where the learning rate begins to fall. It is part of a checkpoint.
  void plan(std::int64_t steps, std::int64_t decay_begins) {
    options_.rate.steps = steps;
    options_.rate.decay_begins = std::max(options_.rate.warmup, decay_begins);
  }

  /// The network that is trained.
  unet<T, Device> const& network() const { return *network_; }
  /// The moving average of its weights, which denoises better; the network itself where none is kept.
  std::shared_ptr<unet<T, Device> const> average() const { return average_; }
  unet_session<T, Device> const& session() const { return session_; }
  training_set const& pictures() const { return *pictures_; }
  /// Bytes of weights, gradients, moments and averages.
  std::size_t state_bytes() const { return (average_ == network_ ? 4 : 5) * elements() * sizeof(T); }

  /// The settings that decide the weights, as metadata; a resumed run must share them.
  std::map<std::string, std::string> settings() const {
    return {{"unetdn.noise", pictures_->paired() ? "pairs" : to_string(options_.noise)},
            {"unetdn.loss", std::string(to_string(options_.loss))},
            {"unetdn.patch", text(options_.patch)},
            {"unetdn.batch", text(options_.batch)},
            {"unetdn.rate", text(options_.rate.peak)},
            {"unetdn.warmup", text(options_.rate.warmup)},
            {"unetdn.clip", text(options_.clip)},
            {"unetdn.weight_decay", text(options_.adam.weight_decay)},
            {"unetdn.averaging", text(options_.averaging)},
            {"unetdn.seed", text(options_.seed)}};
  }

  /// Writes all that a resume needs; `metadata` is added. Throws file_error, and then what stood at `path` still
  /// stands.
  void save_checkpoint(std::filesystem::path const& path,
                       std::map<std::string, std::string> const& metadata = {}) const {
    safetensors_writer file;
    for (auto const& [key, value] : network_->config().to_metadata()) file.metadata(key, value);
    for (auto const& [key, value] : settings()) file.metadata(key, value);
    for (auto const& [key, value] : metadata) file.metadata(key, value);
    file.metadata("unetdn.step", text(steps_done_));
    file.metadata("unetdn.steps", text(options_.rate.steps));
    file.metadata("unetdn.decay_begins", text(options_.rate.decay_begins));
    for (auto const& [prefix, data] : state(*this)) {
      write_parameters(*device_, network_->parameters(), data, file, prefix);
    }
    file.write(path);
  }

  /// Goes on where save_checkpoint stopped, and returns the file's metadata. Throws file_error where the file is
  /// damaged or belongs to a run with other settings; the trainer is then unchanged.
  std::map<std::string, std::string> load_checkpoint(std::filesystem::path const& path) {
    safetensors_file const file(path);
    if (unet_config::from_metadata(file.metadata(), path.string()) != network_->config()) {
      throw file_error(path.string(),
                       "is the checkpoint of another network; give the options of the run that wrote it");
    }
    for (auto const& [key, value] : settings()) {
      if (std::string const& there = file.metadata(key); there != value) {
        throw file_error(path.string(), text("was written with ", key, " = ", there, ", this run has ", value,
                                             "; give the options of the run that wrote it"));
      }
    }
    std::int64_t const step = number(file, "unetdn.step");
    std::int64_t const steps = number(file, "unetdn.steps");
    std::int64_t const decay_begins = number(file, "unetdn.decay_begins");
    for (auto const& [prefix, data] : state(*this)) check_parameters(network_->parameters(), file, prefix);
    for (auto const& [prefix, data] : state(*this)) {
      read_parameters(*device_, network_->parameters(), file, prefix, data);
    }
    steps_done_ = step;
    plan(steps, decay_begins);
    return file.metadata();
  }

 private:
  static training_options const& checked(training_options const& options) {
    options.validate();
    return options;
  }
  std::int64_t size() const { return network_->parameters().size(); }
  std::size_t elements() const { return static_cast<std::size_t>(size()); }
  void copy_to_average() {
    if (average_ != network_) device_->copy(average_->weights(), network_->weights(), elements() * sizeof(T));
  }

  /// The arrays of a checkpoint by the prefix of their tensors.
  template <class Self> static auto state(Self& self) {
    std::vector<std::pair<std::string, decltype(self.first_moment_.data())>> all;
    all.emplace_back("weights/", self.network_->weights());
    all.emplace_back("first_moment/", self.first_moment_.data());
    all.emplace_back("second_moment/", self.second_moment_.data());
    if (self.average_ != self.network_) all.emplace_back("average/", self.average_->weights());
    return all;
  }

  static std::int64_t number(safetensors_file const& file, std::string const& key) {
    std::string const& s = file.metadata(key);
    std::int64_t value = 0;
    auto const [end, failure] = std::from_chars(s.data(), s.data() + s.size(), value);
    if (failure != std::errc{} || end != s.data() + s.size() || value < 0) {
      throw file_error(file.path(), text("its metadata has ", key, " = '", s, "', which is not a count"));
    }
    return value;
  }

  /// Crops into target_, the same with noise, added or real, into the session's input.
  void load_batch(std::int64_t n) {
    random_key const key{options_.seed, static_cast<std::uint32_t>(n), random_stream::noise};
    if (pictures_->paired()) return pictures_->draw(*device_, key, n, target_.view(), session_.input());
    pictures_->draw(*device_, key, n, target_.view());
    std::vector<float> sigmas(static_cast<std::size_t>(options_.batch));
    for (std::size_t i = 0; i < sigmas.size(); ++i) {
      sigmas[i] = draw_sigma(options_.noise, key, static_cast<std::uint32_t>(i));
    }
    add_gaussian_noise<Device, T>(*device_, target_.view(), session_.input(), sigmas, key);
    if (!network_->config().noise_map) return;
    for (int i = 0; i < options_.batch; ++i) {
      fill(*device_, session_.noise_map().images(i, 1), sigmas[static_cast<std::size_t>(i)] / 255);
    }
  }

  Device* device_;
  training_options options_;
  training_set* pictures_;
  std::shared_ptr<unet<T, Device>> network_, average_;
  buffer<T, Device> gradients_, first_moment_, second_moment_;
  unet_session<T, Device> session_;
  tensor<T, Device> target_;
  std::int64_t steps_done_ = 0;
};

}  // namespace unetdn
