// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <charconv>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <unetdn/core/half.hpp>
#include <unetdn/core/update_state.hpp>
#include <unetdn/loss.hpp>
#include <unetdn/networks/unet_session.hpp>
#include <unetdn/noise.hpp>
#include <unetdn/ops/adamw.hpp>
#include <unetdn/train/dataset.hpp>
#include <unetdn/train/forward_with_loss.hpp>
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

/// The arithmetic of a training: "float", "tf32", "bf16" or "fp16".
template <class T, class Device> std::string_view precision_of(Device const& dev) {
  if constexpr (std::is_same_v<T, bf16>) return "bf16";
  if constexpr (std::is_same_v<T, fp16>) return "fp16";
  if constexpr (!Device::is_host) return dev.tf32() ? "tf32" : "float";
  return "float";
}

/// Trains a U-Net to remove noise. Everything that happens is a function of the configuration, the options, the
/// pictures and the number of the step: equal seeds give equal bits for any number of threads, also across a
/// checkpoint.
///
/// On a GPU the host does not wait for a step: begin_step puts it into the device's queue, as one CUDA graph but for
/// what changes from step to step, and reads the pictures of the next one meanwhile. Noise is added there. A network of
/// bf16 or fp16 is trained by a copy of its weights in float, and fp16's gradients are scaled up: see adamw_step.
template <class T, class Device> class trainer {
 public:
  using real = accumulator_t<T>;  ///< of weights that are trained and moments

  /// Throws argument_error where something does not fit; out_of_memory, which says what was planned and what is free.
  /// Device and pictures must outlive the trainer. Where the device is a GPU, `host_threads` of the processor make the
  /// batches (0: one a core).
  trainer(Device& dev, unet_config const& config, training_options const& options, training_set& pictures,
          int host_threads = 0)
      : device_{&with_memory(dev, config, options)},
        options_{options},
        pictures_{&pictures},
        network_{std::make_shared<unet<T, Device>>(dev, config)},
        average_{options.averaging > 0 ? std::make_shared<unet<T, Device>>(dev, config) : network_},
        first_moment_{dev, elements()},
        second_moment_{dev, elements()},
        rate_factors_{dev, factor_count(size())},
        session_{dev, config, options.batch, options.patch, options.patch, session_mode::training},
        target_{dev, {options.batch, options.patch, options.patch, config.out_channels}} {
    check(config.in_channels == config.out_channels, "a denoiser has as many output as input channels, not ",
          config.in_channels, " and ", config.out_channels);
    check(!config.noise_map || !pictures.paired(),
          "the noise level of real pairs is not known; train them without a noise map");
    if constexpr (is_16_bit<T>) {
      trained_ = buffer<real, Device>(dev, elements());
      if (options.averaging > 0) averaged_ = buffer<real, Device>(dev, elements());
    }
    if constexpr (!Device::is_host) prepare_queue(host_threads);
    auto const factors = network_->parameters().template rate_factors<real>();
    dev.upload(rate_factors_.data(), factors.data(), factors.size() * sizeof(real));
    draw_parameters(dev, config, network_->parameters(), options.seed, trained());
    begin_with_trained();
  }

  /// Begins with these weights in place of random ones: fine-tuning. Call it before the first step. `other` may lie on
  /// another device, `from`, and be of another type. Throws argument_error where it has another configuration.
  template <class U, class D> void start_from(D& from, unet<U, D> const& other) {
    check(other.config() == network_->config(), "the weights to start from belong to a network of another kind");
    check(steps_begun_ == 0, "training has begun; weights to start from come before the first step");
    for (int i = 0; i < network_->parameters().count(); ++i) {
      std::vector<real> const values = download<real>(from, other.parameters()[i], other.weights());
      upload(*device_, network_->parameters()[i], std::span<real const>(values), trained());
    }
    begin_with_trained();
  }

  /// Makes one step. Throws error where the loss stops being a number; the weights are then those before the step.
  training_step step() {
    begin_step();
    return end_step();
  }

  /// Begins a step. A GPU may have two under way; the cpu makes the step at once.
  void begin_step() {
    check(steps_under_way() < most_under_way, "a step must end before another one begins");
    if constexpr (Device::is_host) {
      result_ = make_step(steps_begun_ + 1);
    } else {
      queue_step(steps_begun_ + 1);
    }
    ++steps_begun_;
    if constexpr (!Device::is_host) prepare_next_batch();
  }

  /// Waits for the earliest step under way, and says what it did. Throws error where the loss stopped being a number:
  /// the weights are then those before the step, or on a GPU, where another step is under way, what that one made of
  /// them. fp16 throws it only when no scale of the loss is small enough; until then it skips a step that overflows.
  training_step end_step() {
    check(steps_under_way() > 0, "no step has begun");
    if constexpr (!Device::is_host) await_step(steps_done_ + 1);
    ++steps_done_;
    return result_;
  }

  /// Steps that have begun and not ended, and how many there may be.
  int steps_under_way() const { return static_cast<int>(steps_begun_ - steps_done_); }
  static constexpr int most_under_way = Device::is_host ? 1 : 2;

  /// Steps that have ended.
  std::int64_t steps_done() const { return steps_done_; }
  training_options const& options() const { return options_; }
  /// Fixes the number of steps and where the learning rate begins to fall. It is part of a checkpoint.
  void plan(std::int64_t steps, std::int64_t decay_begins) {
    options_.rate.steps = steps;
    options_.rate.decay_begins = std::max(options_.rate.warmup, decay_begins);
  }

  /// The network that is trained.
  unet<T, Device> const& network() const { return *network_; }
  /// The moving average of its weights, which denoises better; the network itself where none is kept. What it returns
  /// may be used on other device objects at once, until the next step.
  std::shared_ptr<unet<T, Device> const> average() const {
    if constexpr (is_16_bit<T>) {
      if (average_ != network_) recast(*device_, averaged(), average_->weights(), size());
    }
    device_->synchronize();
    return average_;
  }
  /// Writes the moving average as a weight file, as exact as it is kept. Throws file_error.
  void save_average(std::filesystem::path const& path, std::map<std::string, std::string> const& metadata) const {
    write_weights(*device_, network_->config(), network_->parameters(), averaged(), path, metadata);
  }
  unet_session<T, Device> const& session() const { return session_; }
  training_set const& pictures() const { return *pictures_; }
  /// The processor that reads the pictures: the device itself where that is the cpu.
  cpu& host() const {
    if constexpr (Device::is_host) {
      return *device_;
    } else {
      return *queue_->host;
    }
  }
  /// Bytes of weights, moments and averages.
  std::size_t state_bytes() const { return state_bytes(size(), average_ != network_); }

  /// The settings that decide the weights, as metadata; a resumed run must share them. The precision is left out where
  /// it is float.
  std::map<std::string, std::string> settings() const {
    std::map<std::string, std::string> all{{"unetdn.noise", pictures_->paired() ? "pairs" : to_string(options_.noise)},
                                           {"unetdn.loss", std::string(to_string(options_.loss))},
                                           {"unetdn.patch", text(options_.patch)},
                                           {"unetdn.batch", text(options_.batch)},
                                           {"unetdn.rate", text(options_.rate.peak)},
                                           {"unetdn.last_rate", text(options_.rate.last)},
                                           {"unetdn.warmup", text(options_.rate.warmup)},
                                           {"unetdn.clip", text(options_.clip)},
                                           {"unetdn.beta1", text(options_.adam.beta1)},
                                           {"unetdn.beta2", text(options_.adam.beta2)},
                                           {"unetdn.epsilon", text(options_.adam.epsilon)},
                                           {"unetdn.weight_decay", text(options_.adam.weight_decay)},
                                           {"unetdn.averaging", text(options_.averaging)},
                                           {"unetdn.seed", text(options_.seed)}};
    std::string_view const precision = precision_of<T>(*device_);
    if (precision != usual_precision) all.emplace("unetdn.precision", precision);
    return all;
  }

  /// Writes all that a resume needs; `metadata` is added. Throws file_error, and then what stood at `path` still
  /// stands.
  void save_checkpoint(std::filesystem::path const& path,
                       std::map<std::string, std::string> const& metadata = {}) const {
    check(steps_under_way() == 0, "a checkpoint is written between two steps");
    safetensors_writer file;
    for (auto const& [key, value] : network_->config().to_metadata()) file.metadata(key, value);
    for (auto const& [key, value] : settings()) file.metadata(key, value);
    for (auto const& [key, value] : metadata) file.metadata(key, value);
    file.metadata("unetdn.step", text(steps_done_));
    file.metadata("unetdn.steps", text(options_.rate.steps));
    file.metadata("unetdn.decay_begins", text(options_.rate.decay_begins));
    if constexpr (scales_loss) {
      file.metadata("unetdn.updates", text(last_.updates));
      file.metadata("unetdn.skipped", text(last_.skipped));
      file.metadata("unetdn.loss_scale", text(static_cast<std::int64_t>(last_.loss_scale)));
      file.metadata("unetdn.since_change", text(last_.since_change));
    }
    for (auto const& [prefix, data] : arrays(*this)) {
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
    auto const value_in_file = [&](std::string const& key) {
      bool const left_out = key == "unetdn.precision" && !file.metadata().contains(key);
      return left_out ? std::string(usual_precision) : file.metadata(key);
    };
    auto wanted = settings();
    wanted.emplace("unetdn.precision", usual_precision);
    for (auto const& [key, value] : wanted) {
      if (std::string const there = value_in_file(key); there != value) {
        throw file_error(path.string(), text("was written with ", key, " = ", there, ", this run has ", value,
                                             "; give the options of the run that wrote it"));
      }
    }
    std::int64_t const step = number(file, "unetdn.step");
    std::int64_t const steps = number(file, "unetdn.steps");
    std::int64_t const decay_begins = number(file, "unetdn.decay_begins");
    update_state state = first_state();
    state.updates = step;
    if constexpr (scales_loss) {
      state.updates = number(file, "unetdn.updates");
      state.skipped = number(file, "unetdn.skipped");
      state.loss_scale = static_cast<float>(number(file, "unetdn.loss_scale"));
      state.since_change = static_cast<std::int32_t>(number(file, "unetdn.since_change"));
    }
    for (auto const& [prefix, data] : arrays(*this)) {
      check_parameters(network_->parameters(), file, prefix);
      for (parameter const& p : network_->parameters()) finite_values(file, prefix + p.name);
    }
    for (auto const& [prefix, data] : arrays(*this)) {
      read_parameters(*device_, network_->parameters(), file, prefix, data);
    }
    copy_to_network();
    begin_counting(step, state);
    plan(steps, decay_begins);
    return file.metadata();
  }

 private:
  static constexpr bool scales_loss = std::is_same_v<T, fp16>;
  static constexpr std::string_view usual_precision = "float";

  /// Checks everything before anything is allocated.
  static Device& with_memory(Device& dev, unet_config const& config, training_options const& options) {
    options.validate();
    config.validate();
    if constexpr (!Device::is_host) {
      memory_need need = unet_session<T, Device>::need(dev, config, options.batch, options.patch, options.patch,
                                                       session_mode::training);
      unetdn::shape const crops{options.batch, options.patch, options.patch, config.out_channels};
      need.state = state_bytes(unet_layers<T, Device>(config).parameters.size(), options.averaging > 0);
      need.activations += static_cast<std::size_t>(crops.size()) * (sizeof(real) + 2 * sizeof(std::uint8_t));
      need.scratch = std::max({need.scratch, squared_norm_scratch_bytes(), loss_scratch_bytes(options.loss, crops)});
      require_memory(dev, "training", need);
    }
    return dev;
  }
  static std::size_t state_bytes(std::int64_t parameters, bool averages) {
    std::size_t const copies = averages ? 2 : 1;  // of what a 16-bit network reads
    std::size_t const each = (2 + copies) * sizeof(real) + (is_16_bit<T> ? copies * sizeof(T) : 0);
    return static_cast<std::size_t>(parameters) * each + factor_count(parameters) * sizeof(real);
  }
  static std::size_t factor_count(std::int64_t parameters) { return static_cast<std::size_t>(parameters / rate_block); }
  std::int64_t size() const { return network_->parameters().size(); }
  std::size_t elements() const { return static_cast<std::size_t>(size()); }

  /// The weights that are trained, and their average: the networks' own, but for 16 bits.
  template <class Self> static auto* trained_of(Self& self) {
    if constexpr (is_16_bit<T>) {
      return self.trained_.data();
    } else {
      return self.network_->weights();
    }
  }
  template <class Self> static auto* averaged_of(Self& self) {
    if constexpr (is_16_bit<T>) {
      return self.average_ == self.network_ ? self.trained_.data() : self.averaged_.data();
    } else {
      return self.average_->weights();
    }
  }
  real* trained() { return trained_of(*this); }
  real* averaged() { return averaged_of(*this); }
  real const* averaged() const { return averaged_of(*this); }

  void begin_with_trained() {
    if (average_ != network_) device_->copy(averaged(), trained(), elements() * sizeof(real));
    copy_to_network();
  }
  void copy_to_network() {
    if constexpr (is_16_bit<T>) recast(*device_, trained(), network_->weights(), size());
  }

  /// The arrays of a checkpoint by the prefix of their tensors.
  template <class Self> static auto arrays(Self& self) {
    std::vector<std::pair<std::string, decltype(self.first_moment_.data())>> all;
    all.emplace_back("weights/", trained_of(self));
    all.emplace_back("first_moment/", self.first_moment_.data());
    all.emplace_back("second_moment/", self.second_moment_.data());
    if (self.average_ != self.network_) all.emplace_back("average/", averaged_of(self));
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

  random_key key_of(std::int64_t n) const {
    return {options_.seed, static_cast<std::uint32_t>(n), random_stream::noise};
  }
  std::vector<float> sigmas_of(random_key const& key) const {
    std::vector<float> sigmas(static_cast<std::size_t>(options_.batch));
    for (std::size_t i = 0; i < sigmas.size(); ++i) {
      sigmas[i] = draw_sigma(options_.noise, key, static_cast<std::uint32_t>(i));
    }
    return sigmas;
  }
  [[noreturn]] static void diverged(std::int64_t n) {
    throw error(text("training diverged at step ", n, ": the loss is not a number; use a smaller learning rate"));
  }

  // ---- The cpu: each step at once ----------------------------------------------------------------------------------

  training_step make_step(std::int64_t n) {
    load_batch(n);
    session_.forward(*network_);
    double const loss =
        loss_and_gradient<T>(*device_, options_.loss, session_.output(), target_.view(), session_.output_gradient());
    session_.backward(*network_);
    double const norm = std::sqrt(squared_norm(*device_, session_.gradients(), size()));
    if (!std::isfinite(loss) || !std::isfinite(norm)) diverged(n);
    double const scale = options_.clip > 0 && norm > options_.clip ? options_.clip / norm : 1;
    double const rate = options_.rate.at(n);
    adamw_step(*device_, options_.adam, update_arrays(), n, rate, scale, average_decay(options_.averaging, n));
    return {n, loss, norm, rate};
  }

  adamw_arrays<T> update_arrays() {
    adamw_arrays<T> all{trained(),
                        session_.gradients(),
                        first_moment_.data(),
                        second_moment_.data(),
                        average_ == network_ ? nullptr : averaged(),
                        size()};
    if constexpr (is_16_bit<T>) all.network_weights = network_->weights();
    all.rate_factors = rate_factors_.data();
    return all;
  }

  /// Crops into target_, the same with noise, added or real, into the session's input.
  void load_batch(std::int64_t n) {
    random_key const key = key_of(n);
    if (pictures_->paired()) return pictures_->draw(*device_, key, n, target_.view(), session_.input());
    pictures_->draw(*device_, key, n, target_.view());
    std::vector<float> const sigmas = sigmas_of(key);
    add_gaussian_noise<Device, T>(*device_, target_.view(), session_.input(), sigmas, key);
    if (!network_->config().noise_map) return;
    for (int i = 0; i < options_.batch; ++i) {
      fill(*device_, session_.noise_map().images(i, 1), sigmas[static_cast<std::size_t>(i)] / 255);
    }
  }

  // ---- A GPU: a queue of steps -------------------------------------------------------------------------------------

  /// What the host and the GPU hand each other. Steps take the two slots in turn.
  struct queue_of_steps {
    struct slot {
      host_buffer<std::uint8_t, Device> crops;
      typename Device::mark sent;  // crops may be overwritten
      std::int64_t prepared = 0;   // the step whose crops they are
      host_buffer<update_state, Device> result;
      typename Device::mark finished;  // result may be read
    };
    explicit queue_of_steps(Device& dev) : device{&dev} {}
    queue_of_steps(queue_of_steps const&) = delete;
    queue_of_steps& operator=(queue_of_steps const&) = delete;
    /// A step that is still under way, after an error, copies from and to the slots.
    ~queue_of_steps() {
      try {
        device->synchronize();
      } catch (...) {  // it has ended all the same
      }
    }

    Device* device;
    std::unique_ptr<cpu> host;
    buffer<std::uint8_t, Device> crops;  // [N,P,P,C], clean ones, then their noisy twins where there are
    buffer<update_state, Device> state;
    slot slots[most_under_way];
    typename Device::graph graph;
  };

  void prepare_queue(int host_threads) {
    queue_ = std::make_unique<queue_of_steps>(*device_);
    queue_->host = std::make_unique<cpu>(host_threads);
    std::size_t const bytes = static_cast<std::size_t>(target_.size()) * (pictures_->paired() ? 2 : 1);
    queue_->crops = buffer<std::uint8_t, Device>(*device_, bytes);
    queue_->state = buffer<update_state, Device>(*device_, 1);
    for (auto& slot : queue_->slots) {
      slot.crops = host_buffer<std::uint8_t, Device>(bytes);
      slot.result = host_buffer<update_state, Device>(1);
    }
    begin_counting(0, first_state());
    device_->scratch(std::max(
        {squared_norm_scratch_bytes(), loss_scratch_bytes(options_.loss, target_.shape()), device_->scratch_bytes()}));
  }

  static update_state first_state() {
    update_state state;
    if constexpr (scales_loss) state.loss_scale = initial_loss_scale;
    return state;
  }

  /// `steps` are done, and this is what the device is to know of them.
  void begin_counting(std::int64_t steps, update_state const& state) {
    last_ = state;
    steps_begun_ = steps_done_ = steps;
    if (queue_) device_->upload(queue_->state.data(), &last_, sizeof last_);
  }

  auto& slot_of(std::int64_t n) { return queue_->slots[n % most_under_way]; }
  template <class V> view<V> crops_at(V* data, bool noisy) const {
    unetdn::shape const s = target_.shape();
    return {data + (noisy ? s.size() : 0), s.n, s.h, s.w, s.c};
  }

  /// Draws the crops of step n into its slot, unless that has been done.
  void prepare_batch(std::int64_t n) {
    auto& slot = slot_of(n);
    if (slot.prepared == n) return;
    device_->wait(slot.sent);
    slot.prepared = 0;
    view<std::uint8_t> const clean = crops_at(slot.crops.data(), false);
    if (pictures_->paired()) {
      pictures_->draw(*queue_->host, key_of(n), n, clean, crops_at(slot.crops.data(), true));
    } else {
      pictures_->draw(*queue_->host, key_of(n), n, clean);
    }
    slot.prepared = n;
  }
  void prepare_next_batch() {
    std::int64_t const next = steps_begun_ + 1;
    if (options_.rate.steps > 0 && next > options_.rate.steps) return;
    try {
      prepare_batch(next);
    } catch (file_error const&) {  // not this step's fault: the next one meets it again, and says so
    }
  }

  void queue_step(std::int64_t n) {
    prepare_batch(n);
    auto& slot = slot_of(n);
    device_->upload_async(queue_->crops.data(), slot.crops.data(), slot.crops.bytes());
    device_->set(slot.sent);
    add_noise(n);
    update_state* const state = queue_->state.data();
    begin_update(*device_, state, options_.rate.at(n), average_decay(options_.averaging, n));
    device_->repeat(queue_->graph, [&] { queue_update(state); });
    device_->download_async(slot.result.data(), state, sizeof(update_state));
    device_->set(slot.finished);
  }

  /// Makes the step's batch of the crops: target, input and noise map.
  void add_noise(std::int64_t n) {
    profile_range<Device> const range("batch");
    random_key const key = key_of(n);
    view<std::uint8_t const> const clean = crops_at(queue_->crops.data(), false);
    if (pictures_->paired()) {
      std::vector<float> const none(static_cast<std::size_t>(options_.batch));
      view<std::uint8_t const> const noisy = crops_at(queue_->crops.data(), true);
      noisy_batch<T>(*device_, clean, target_.view(), {}, {}, none, key);
      return noisy_batch<T>(*device_, noisy, {}, session_.input(), {}, none, key);
    }
    view<T> const map = network_->config().noise_map ? session_.noise_map() : view<T>{};
    noisy_batch<T>(*device_, clean, target_.view(), session_.input(), map, sigmas_of(key), key);
  }

  /// The part of a step that is the same each time.
  void queue_update(update_state* state) {
    forward_with_loss<T>(session_, *network_, options_.loss, target_.view(), &state->loss, &state->loss_scale);
    session_.backward(*network_, gradient_of::sums);
    profile_range<Device> const range("update");
    squared_norm(*device_, session_.gradients(), size(), &state->squared_norm);
    adamw_step<T>(*device_, options_.adam, {options_.clip, scales_loss ? loss_scale_growth_interval : 0},
                  update_arrays(), state);
  }

  void await_step(std::int64_t n) {
    auto& slot = slot_of(n);
    device_->wait(slot.finished);
    update_state const before = std::exchange(last_, *slot.result.data());
    bool const skipped = last_.skipped > before.skipped;
    if (skipped && (!scales_loss || before.loss_scale <= 1)) {
      steps_begun_ = steps_done_;  // what is under way is not waited for
      diverged(n);
    }
    result_ = {n, last_.loss, last_.gradient_norm, last_.rate};
  }

  Device* device_;
  training_options options_;
  training_set* pictures_;
  std::shared_ptr<unet<T, Device>> network_, average_;
  buffer<real, Device> trained_, averaged_;  // in float, for a network of 16 bits
  buffer<real, Device> first_moment_, second_moment_;
  buffer<real, Device> rate_factors_;  // of rate_block parameters each
  unet_session<T, Device> session_;
  tensor<real, Device> target_;
  std::unique_ptr<queue_of_steps> queue_;  // none on the cpu
  update_state last_;                      // of the last step that ended
  training_step result_{};
  std::int64_t steps_begun_ = 0, steps_done_ = 0;
};

}  // namespace unetdn
