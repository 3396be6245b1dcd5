// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <exception>
#include <filesystem>
#include <iostream>
#include <string>
#include <utility>

#include <unetdn/train.hpp>

#include "report.hpp"

namespace programs {

/// The page that shows how a training run gets on: one picture as the network denoises it now, and the curves.
///
/// It is written at validations and every 5 s, but takes no more than 3 % of the time. A page that cannot be written is
/// told of once and stops nothing.
template <class TrainingRun> class train_report {
 public:
  /// `shown` is denoised for the page, of large pictures the middle.
  train_report(std::filesystem::path path, TrainingRun& run, std::string name, unetdn::image_pair shown)
      : path_{std::move(path)}, run_{run}, name_{std::move(name)} {
    unetdn::picture_limits limits;
    limits.pixels = 512 * 512;
    limits.scale = false;
    int const width = shown.clean.width, height = shown.clean.height;
    shown_ = unetdn::reduced(std::move(shown), limits);
    if (shown_.clean.width < width || shown_.clean.height < height) name_ += ", the middle";
    page.title = "Training a denoiser";
    add_resumed_steps();
  }

  /// Takes note of a step, `seconds` after the beginning, and writes the page where it is time to.
  void step(unetdn::run_progress const& p, double seconds) {
    loss_sum_ += p.last.loss;
    ++losses_;
    last_ = {p.last.step, seconds, 0, p.psnr};
    if (!p.psnr && seconds < next_point_) return;
    add_point();
    if (seconds >= next_write_) write(true);
  }

  /// Writes the page for the last time.
  void finish() {
    if (losses_ > 0) add_point();
    write(false);
  }

  report page;  ///< settings and provenance are the program's to fill in

 private:
  /// A resumed run's curves begin where the run began.
  void add_resumed_steps() {
    auto const rows = run_.resumed_steps();
    if (rows.empty()) return;
    page.resumed_at = rows.back().step.step;
    std::size_t const apart = std::max<std::size_t>(1, rows.size() / most_resumed_points);
    for (auto const& row : rows) {
      loss_sum_ += row.step.loss;
      ++losses_;
      last_ = {row.step.step, 0, 0, row.psnr};
      if (row.psnr || losses_ >= static_cast<double>(apart) || &row == &rows.back()) add_point();
    }
    next_point_ = 0;
  }

  /// The mean loss since the point before.
  void add_point() {
    last_.loss = loss_sum_ / losses_;
    page.curve.push_back(last_);
    loss_sum_ = losses_ = 0;
    next_point_ = last_.seconds + 5;
  }

  void write(bool live) {
    auto const begin = std::chrono::steady_clock::now();
    try {
      auto [clean, noisy, denoised] = run_.denoised(shown_);
      page.pictures = {{name_, std::move(clean), std::move(noisy), std::move(denoised)}};
      page.live = live;
      write_report(path_, page);
    } catch (std::exception const& e) {
      if (!told_) std::cerr << "train: " << e.what() << "; training goes on without the report\n";
      told_ = true;
    }
    double const cost = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    next_write_ = last_.seconds + cost / 0.03;
  }

  static constexpr std::size_t most_resumed_points = 500;

  std::filesystem::path path_;
  TrainingRun& run_;
  std::string name_;
  unetdn::image_pair shown_;
  report_point last_{};
  double loss_sum_ = 0, losses_ = 0;
  double next_point_ = 0, next_write_ = 0;  // seconds
  bool told_ = false;
};

}  // namespace programs
