// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <unetdn/core/json.hpp>
#include <unetdn/metrics.hpp>
#include <unetdn/networks/denoiser.hpp>
#include <unetdn/train/log.hpp>
#include <unetdn/train/trainer.hpp>

namespace unetdn {

/// How long to train, what to measure on the way and where to keep the results.
struct run_options {
  std::filesystem::path folder;    ///< gets best.safetensors, log.csv and the checkpoints
  std::int64_t steps = 0;          ///< train this many steps (deterministic), or
  double minutes = 0;              ///< for about this long
  int validations = 20;            ///< how often the validation pictures are denoised, evenly over the run
  double checkpoint_seconds = 60;  ///< time between checkpoints
  bool resume = false;             ///< go on from the folder's checkpoint
  bool start_over = false;         ///< remove the run that the folder holds
  std::map<std::string, std::string> provenance;  ///< added to the weights' metadata; a resumed run keeps the first
                                                  ///< run's where it has none of that key
};

/// Where a run stands; handed to the progress callback.
struct run_progress {
  training_step last{};
  std::int64_t steps = 0;          ///< planned; 0 while the time is still being measured
  double pictures_per_second = 0;  ///< patches, over the last second or so
  double seconds_left = 0;
  std::optional<double> psnr;  ///< dB on the validation pictures, where this step measured it
  double best_psnr = -std::numeric_limits<double>::infinity();
};

/// A validation picture as the network sees it and as it leaves it.
struct denoised_picture {
  image clean, noisy, denoised;
};

namespace detail {
/// Of a checkpoint's metadata, before what the run was told of its beginning.
inline constexpr std::string_view provenance_prefix = "provenance.";
}  // namespace detail

/// Trains for a number of steps or minutes, measures the averaged weights on validation pictures, keeps the best ones,
/// and writes checkpoints that lose no more than the work since the last one.
///
/// The folder holds, whole at every moment, whatever happens to process, disk or power:
///   best.safetensors                 the averaged weights that did best on the validation pictures
///   checkpoint.safetensors           all that a resume needs
///   checkpoint.previous.safetensors  the one before it
///   log.csv                          a row for every step; its lock keeps a second run out
/// One checkpoint is written before the first step, so that a folder that cannot take it is found at once.
///
/// With `minutes` the clock is read during the first 3 % of them (20 s at most); then the number of steps is fixed and
/// nothing that affects weights reads a clock again.
template <class T, class Device> class training_run {
 public:
  /// Returns false to stop early; the run then writes a checkpoint and ends.
  using callback = std::function<bool(run_progress const&)>;

  /// Takes the folder. Throws argument_error where the options do not fit, and where the folder holds a run already and
  /// neither `resume` nor `start_over` is set; file_error where it cannot be used or resumed from, or is in use;
  /// out_of_memory where what the trainer left of the device's memory is too little for a validation picture.
  /// Validation pictures without a noisy twin get the noise of the training options. They are converted to the channels
  /// of those that are learnt from.
  training_run(trainer<T, Device>& trainer, run_options options, std::vector<image_pair> validation)
      : trainer_{trainer}, options_{checked(std::move(options))}, validation_{std::move(validation)} {
    for (image_pair& p : validation_) {
      p.clean = with_channels(std::move(p.clean), trainer_.pictures().channels());
      if (p.noisy) p.noisy = with_channels(std::move(*p.noisy), trainer_.pictures().channels());
    }
    check_twins();
    check_memory();
    make_folder();
    log_.emplace(options_.folder / "log.csv");
    if (options_.resume) resume();
    check_unused();
    if (options_.steps > 0) plan_steps(options_.steps);
  }

  /// Trains to the end, or until `progress` returns false; returns where it stood. Throws file_error where a file
  /// cannot be written, error where training diverges, and argument_error where measuring on the validation pictures
  /// would take most of the minutes; the last checkpoint is whole.
  run_progress run(callback const& progress) {
    prepare_folder();
    clock::time_point const begin = clock::now();
    read_before_ = trainer_.pictures().reading_seconds();
    checkpointed_ = begin;
    last_report_ = {begin, trainer_.steps_done()};
    run_progress p;
    p.best_psnr = best_psnr_;
    p.last.step = trainer_.steps_done();
    p.steps = planned();
    bool go_on = true;
    while (planned() == 0 || trainer_.steps_done() < planned()) {
      if (trainer_.steps_under_way() == 0) trainer_.begin_step();
      if (go_on && may_look_ahead()) trainer_.begin_step();
      p.last = trainer_.end_step();
      if (planned() == 0) plan_minutes(seconds(begin));
      p.steps = planned();
      p.psnr.reset();
      if (validates_now()) p.psnr = validate();
      p.best_psnr = best_psnr_;
      measure_speed(p);
      log_->add(p.last, p.psnr);
      go_on = progress(p) && go_on;
      bool const done = planned() != 0 && trainer_.steps_done() >= planned();
      if (trainer_.steps_under_way() > 0) continue;  // its end is waited for before the weights are looked at
      if (!go_on || done || checkpoint_is_due()) checkpoint();
      if (!go_on) break;
    }
    return p;
  }

  /// What a resume met that the user should know, one line; empty where there is nothing to say.
  std::string const& resume_note() const { return resume_note_; }
  /// The step of the last whole checkpoint; none before the first.
  std::optional<std::int64_t> checkpoint_step() const { return checkpoint_step_; }

  /// The log's rows up to the checkpoint that a resume goes on from; none of a new run.
  std::vector<logged_step> resumed_steps() const {
    return checkpoint_step_ ? log_->rows(*checkpoint_step_) : std::vector<logged_step>();
  }

  std::vector<image_pair> const& validation() const { return validation_; }

  /// What the averaged weights make of a picture now. One without a noisy twin gets noise of its own that is the same
  /// at every step: validation picture i of n that of sample i, with a range of levels the one at (i + 1/2) / n of it.
  /// Changes nothing about the training.
  denoised_picture denoised(image_pair const& picture, std::size_t i = 0) {
    auto const average = trainer_.average();
    if (!denoiser_) denoiser_.emplace(average, trainer_device().sibling());
    denoised_picture result{picture.clean, picture.noisy ? *picture.noisy : picture.clean, {}};
    std::optional<float> sigma;
    if (!picture.noisy) sigma = add_validation_noise(result.noisy, i);
    result.denoised = (*denoiser_)(result.noisy, trainer_.network().config().noise_map ? sigma : std::nullopt);
    for (float& v : result.denoised.pixels) v = std::min(std::max(v, 0.f), 1.f);
    return result;
  }

  std::filesystem::path best_path() const { return options_.folder / "best.safetensors"; }
  std::filesystem::path checkpoint_path() const { return options_.folder / "checkpoint.safetensors"; }
  std::filesystem::path previous_checkpoint_path() const { return options_.folder / "checkpoint.previous.safetensors"; }

 private:
  /// A whole checkpoint that does not have its name yet.
  std::filesystem::path new_checkpoint_path() const { return options_.folder / "checkpoint.new.safetensors"; }

  static run_options checked(run_options options) {
    check((options.steps > 0) != (options.minutes > 0), "give either a number of steps or of minutes, above 0");
    check(std::isfinite(options.minutes) && options.minutes <= 1e6, "the number of minutes is not sensible");
    check(options.checkpoint_seconds >= 0, "the seconds between checkpoints are 0 or more, not ",
          options.checkpoint_seconds);
    check(!options.folder.empty(), "a training run needs a folder for its results");
    check(!options.resume || !options.start_over, "either resume the run in the folder or start over, not both");
    for (auto const& [key, value] : options.provenance)
      check(detail::utf8_end(value) == value.size(), "what is to be noted as ", key,
            " is not UTF-8; where it names a file, rename that");
    return options;
  }

  void check_twins() const {
    for (image_pair const& p : validation_) {
      check(!p.noisy || (p.noisy->width == p.clean.width && p.noisy->height == p.clean.height),
            "a noisy validation picture differs in size from its clean twin");
      check(
          !p.noisy || !trainer_.network().config().noise_map,
          "the noise level of a real pair is not known, but the network has a noise map: measure on clean pictures, or "
          "train it without");
      check(p.noisy || !trainer_.pictures().paired(),
            "training on real pairs is validated on real pairs: a validation picture has no noisy twin");
    }
  }

  /// The validation's denoiser is made when it is first needed; that it fits beside the trainer is known now.
  void check_memory() const {
    if constexpr (!Device::is_host) {
      Device own = trainer_.session().device().sibling();
      memory_need most;
      for (image_pair const& p : validation_) {
        auto const need = denoiser<T, Device>::need(own, trainer_.network().config(), p.clean.width, p.clean.height);
        if (need.total() > most.total()) most = need;
      }
      require_memory(own, "validation", most);
    }
  }

  void make_folder() const {
    std::filesystem::path const& folder = options_.folder;
    std::error_code failure;
    if (options_.resume && !std::filesystem::exists(folder / "log.csv", failure) && !holds_results()) {
      throw file_error(folder.string(),
                       "holds no training run to resume; check its name, or start one without --resume");
    }
    unetdn::make_folder(folder);
  }

  std::vector<std::filesystem::path> results() const {
    // Checkpoints last to first: a kill while they are removed leaves the newest.
    return {best_path(), previous_checkpoint_path(), checkpoint_path(), new_checkpoint_path()};
  }

  bool holds_results() const {
    for (auto const& path : results()) {
      std::error_code failure;
      if (std::filesystem::exists(path, failure)) return true;
    }
    return false;
  }

  /// Nobody's run is lost by a forgotten option.
  void check_unused() const {
    if (options_.resume || options_.start_over || (!holds_results() && !log_->has_rows())) return;
    throw argument_error(options_.folder.string() +
                         ": already holds a training run; go on with it (--resume), choose another folder, or start "
                         "over (--force), which removes it");
  }

  /// Removes what is not of this run, and writes the first checkpoint.
  void prepare_folder() {
    remove_abandoned_files(options_.folder);
    if (checkpoint_step_) return log_->cut_to_step(*checkpoint_step_);
    log_->clear();
    for (auto const& path : results()) remove_file(path);
    checkpoint();
  }

  using clock = std::chrono::steady_clock;
  static double seconds(clock::time_point since) { return std::chrono::duration<double>(clock::now() - since).count(); }
  std::int64_t planned() const { return trainer_.options().rate.steps; }

  void plan_steps(std::int64_t steps) {
    check(planned() == 0 || planned() == steps, "the checkpoint was planned for ", planned(), " steps, not ", steps,
          "; resume with that number");
    if (planned() == 0) trainer_.plan(steps, trainer_.options().rate.warmup);
  }

  /// Once enough was measured, turns the minutes into a number of steps. Reading pictures is no part of a step: most
  /// of it happens at the beginning. On a GPU a picture may be read while a step runs: only steps in which none was are
  /// measured, if there are any.
  void plan_minutes(double elapsed) {
    double const all = options_.minutes * 60;
    double const reading = trainer_.pictures().reading_seconds() - read_before_;
    ++measured_steps_;
    if (reading == reading_until_now_) {
      ++steps_without_reading_;
      seconds_without_reading_ += elapsed - measured_until_now_;
    }
    reading_until_now_ = reading;
    measured_until_now_ = elapsed;
    if (elapsed < std::min(0.03 * all, 20.0)) return;
    bool const overlapped = trainer_.most_under_way > 1;
    double const step_seconds = steps_without_reading_ > 0
                                    ? seconds_without_reading_ / static_cast<double>(steps_without_reading_)
                                    : (elapsed - (overlapped ? 0 : reading)) / static_cast<double>(measured_steps_);
    double const left = all - elapsed - plan_validations(all);
    trainer_.plan(trainer_.steps_done() + steps_within(left, step_seconds), trainer_.steps_done());
  }

  /// Most steps that fit, with the reading that they cause; one at least.
  std::int64_t steps_within(double seconds, double step_seconds) const {
    std::int64_t few = 1, many = std::max<std::int64_t>(1, static_cast<std::int64_t>(seconds / step_seconds));
    while (few < many) {
      std::int64_t const n = few + (many - few + 1) / 2;
      double const reading = trainer_.pictures().reading_seconds_left(n * trainer_.options().batch);
      if (static_cast<double>(n) * step_seconds + reading <= seconds)
        few = n;
      else
        many = n - 1;
    }
    return few;
  }

  /// Measures what a validation takes, and has fewer of them where they would take more than a quarter of the time.
  /// Returns the seconds of all, the one for measuring included. Throws argument_error where not even one fits.
  double plan_validations(double all) {
    if (validation_.empty()) return 0;
    clock::time_point const before = clock::now();
    validation_psnr();
    double const each = seconds(before);
    check(2 * each < all / 2, "measuring on ", validation_.size(), " validation pictures takes ", std::ceil(each),
          " s, too much of ", options_.minutes, " minutes; give fewer or smaller ones, or more time");
    options_.validations = std::clamp(static_cast<int>(all / 4 / each) - 1, 1, std::max(1, options_.validations));
    return (options_.validations + 1) * each;
  }

  bool validates_now() const { return validates_after(trainer_.steps_done()); }
  bool validates_after(std::int64_t step) const {
    if (planned() == 0) return false;
    std::int64_t const interval = std::max<std::int64_t>(1, planned() / std::max(1, options_.validations));
    return step % interval == 0 || step == planned();
  }
  bool checkpoint_is_due() const { return seconds(checkpointed_) >= options_.checkpoint_seconds; }

  /// Whether another step may begin before the one under way has ended, so that a GPU does not wait for the host: not
  /// where something looks at the weights in between.
  bool may_look_ahead() const {
    std::int64_t const under_way = trainer_.steps_done() + 1;
    return trainer_.steps_under_way() < trainer_.most_under_way && planned() > under_way &&
           !validates_after(under_way) && !checkpoint_is_due();
  }

  /// Denoises the validation pictures with the averaged weights; keeps the weights where they are the best so far.
  std::optional<double> validate() {
    std::optional<double> const psnr = validation_psnr();
    if (!psnr || *psnr > best_psnr_) {
      if (psnr) best_psnr_ = *psnr;
      std::map<std::string, std::string> metadata = options_.provenance;
      metadata.merge(trainer_.settings());
      metadata["unetdn.step"] = text(trainer_.steps_done());
      metadata["unetdn.steps"] = text(planned());
      if (psnr) metadata["unetdn.validation_psnr"] = text(*psnr);
      trainer_.save_average(best_path(), metadata);
    }
    return psnr;
  }

  /// Mean PSNR in dB of the validation pictures, without those that come out exactly right, as black ones may; none
  /// where there are no others.
  std::optional<double> validation_psnr() {
    mean_of_metrics mean;
    for (std::size_t i = 0; i < validation_.size(); ++i) {
      denoised_picture const p = denoised(validation_[i], i);
      mean.add(psnr(p.clean.as_view(), p.denoised.as_view()));
    }
    return mean.count() > mean.infinite() ? std::optional(mean.mean()) : std::nullopt;
  }

  float add_validation_noise(image& picture, std::size_t i) {
    noise_level const& level = trainer_.options().noise;
    float const part =
        (static_cast<float>(i) + 0.5f) / static_cast<float>(std::max<std::size_t>(1, validation_.size()));
    float const sigma = level.low + (level.high - level.low) * part;
    random_key const key{validation_seed, 0, random_stream::noise};
    add_gaussian_noise<cpu, float>(trainer_.host(), picture.as_view(), picture.as_view(), std::span(&sigma, 1), key,
                                   static_cast<std::uint32_t>(i));
    return sigma;
  }

  void checkpoint() {
    log_->sync();  // it has all rows up to the checkpoint's step
    std::map<std::string, std::string> metadata;
    for (auto const& [key, value] : options_.provenance) metadata[text(detail::provenance_prefix, key)] = value;
    metadata["unetdn.best_psnr"] = text(best_psnr_);
    metadata["unetdn.validations"] = text(options_.validations);
    trainer_.save_checkpoint(new_checkpoint_path(), metadata);
    name_new_checkpoint();
    checkpoint_step_ = trainer_.steps_done();
    checkpointed_ = clock::now();
  }

  /// The new checkpoint becomes the present one, and the present one the previous. A kill in between is made good when
  /// the run is resumed.
  void name_new_checkpoint() const {
    if (std::filesystem::exists(checkpoint_path())) rename_file(checkpoint_path(), previous_checkpoint_path());
    rename_file(new_checkpoint_path(), checkpoint_path());
    detail::sync_folder(options_.folder);
  }

  /// Loads the newest whole checkpoint.
  void resume() {
    if (std::filesystem::exists(new_checkpoint_path())) name_new_checkpoint();
    if (!holds_results() && !log_->has_rows()) {
      resume_note_ = text(options_.folder.string(), ": was stopped before its first checkpoint; it begins anew");
      return;
    }
    try {
      load(checkpoint_path());
    } catch (file_error const& damage) {
      if (!load_previous()) throw;
      resume_note_ = text(damage.what(), "; going on from the previous checkpoint, step ", trainer_.steps_done());
    }
  }

  bool load_previous() {
    try {
      load(previous_checkpoint_path());
      return true;
    } catch (file_error const&) {
      return false;
    }
  }

  void load(std::filesystem::path const& path) {
    auto const metadata = trainer_.load_checkpoint(path);
    checkpoint_step_ = trainer_.steps_done();
    auto const it = metadata.find("unetdn.best_psnr");
    bool const still_there = std::filesystem::exists(best_path());  // else the next one is better than nothing
    if (it != metadata.end() && still_there)
      std::from_chars(it->second.data(), it->second.data() + it->second.size(), best_psnr_);
    if (auto const validations = metadata.find("unetdn.validations"); planned() > 0 && validations != metadata.end()) {
      std::string const& n = validations->second;
      std::from_chars(n.data(), n.data() + n.size(), options_.validations);  // minutes may have lessened them
    }
    for (auto const& [key, value] : metadata) {  // what this run was not told again, as the weights it began with
      if (key.starts_with(detail::provenance_prefix))
        options_.provenance.emplace(key.substr(detail::provenance_prefix.size()), value);
    }
  }

  void measure_speed(run_progress& p) {
    double const elapsed = seconds(last_report_.first);
    double const steps = static_cast<double>(trainer_.steps_done() - last_report_.second);
    bool const first_second = elapsed < 1 && !measured_a_second_;
    if (elapsed >= 1 || (first_second && elapsed > 0)) steps_per_second_ = steps / elapsed;
    if (elapsed >= 1) {
      measured_a_second_ = true;
      last_report_ = {clock::now(), trainer_.steps_done()};
    }
    p.pictures_per_second = steps_per_second_ * trainer_.options().batch;
    double const left = static_cast<double>(planned() - trainer_.steps_done());
    p.seconds_left = planned() && steps_per_second_ > 0 ? left / steps_per_second_ : 0;
  }

  Device& trainer_device() { return trainer_.session().device(); }

  static constexpr std::uint64_t validation_seed = 0x756e6574646eu;  // far from the seeds that people choose
  trainer<T, Device>& trainer_;
  run_options options_;
  std::vector<image_pair> validation_;
  std::optional<training_log> log_;
  std::optional<std::int64_t> checkpoint_step_;
  std::string resume_note_;
  std::optional<denoiser<T, Device>> denoiser_;
  double best_psnr_ = -std::numeric_limits<double>::infinity();
  std::int64_t measured_steps_ = 0, steps_without_reading_ = 0;
  double measured_until_now_ = 0, reading_until_now_ = 0, seconds_without_reading_ = 0;
  double read_before_ = 0;
  clock::time_point checkpointed_;
  std::pair<clock::time_point, std::int64_t> last_report_;
  double steps_per_second_ = 0;
  bool measured_a_second_ = false;
};

namespace detail {
/// f(file) of the newest checkpoint in a folder for which it throws no file_error; a default value where there is none.
template <class F> auto of_newest_checkpoint(std::filesystem::path const& folder, F&& f) {
  for (char const* name : {"checkpoint.new", "checkpoint", "checkpoint.previous"}) {
    try {
      return f(safetensors_file(folder / text(name, ".safetensors")));
    } catch (file_error const&) {
    }
  }
  return decltype(f(std::declval<safetensors_file const&>())){};
}
}  // namespace detail

/// The network of the run that a folder holds; none where it has no whole checkpoint.
inline std::optional<unet_config> network_of_run(std::filesystem::path const& folder) {
  return detail::of_newest_checkpoint(folder, [](safetensors_file const& file) {
    return std::optional(unet_config::from_metadata(file.metadata(), file.path()));
  });
}

/// What the run that a folder holds was told of its beginning, run_options::provenance; empty where it has no whole
/// checkpoint.
inline std::map<std::string, std::string> provenance_of_run(std::filesystem::path const& folder) {
  return detail::of_newest_checkpoint(folder, [](safetensors_file const& file) {
    std::map<std::string, std::string> notes;
    for (auto const& [key, value] : file.metadata()) {
      if (key.starts_with(detail::provenance_prefix))
        notes.emplace(key.substr(detail::provenance_prefix.size()), value);
    }
    return notes;
  });
}

}  // namespace unetdn
