// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>

#include <unetdn/image.hpp>
#include <unetdn/safetensors.hpp>

#include "files.hpp"
#include "report.hpp"

namespace programs {

/// The report of a program that denoises many pictures: shows the middle of the first ones.
class picture_report {
 public:
  /// No report where `path` is empty.
  picture_report(std::filesystem::path path, std::string title) : path_{std::move(path)} {
    report_.title = std::move(title);
  }

  void plan(planned_files& plan) const {
    if (wanted()) plan.add_single(path_, "--report");
  }
  void setting(std::string name, std::string value) {
    report_.settings.emplace_back(std::move(name), std::move(value));
  }
  /// `scores` are known where `clean` is.
  void add(std::string name, unetdn::image const* clean, unetdn::image const& noisy, unetdn::image const& denoised,
           std::optional<picture_scores> scores) {
    if (!wanted()) return;
    ++report_.pictures_in_all;
    if (report_.pictures.size() == most_pictures) return;
    report_picture p{
        std::move(name), {},    unetdn::middle(noisy, side, side), unetdn::middle(denoised, side, side), noisy.width,
        noisy.height,    scores};
    if (clean) p.clean = unetdn::middle(*clean, side, side);
    report_.pictures.push_back(std::move(p));
  }
  /// The mean over all pictures that were added.
  void mean(picture_scores const& of) { report_.mean = of; }
  /// Writes it, with what the weight file says of itself. Throws file_error.
  void write(std::filesystem::path const& weights) {
    if (!wanted() || report_.pictures.empty()) return;
    unetdn::safetensors_file const file(weights);
    report_.provenance.assign(file.metadata().begin(), file.metadata().end());
    report_.provenance.emplace_back("weights", weights.string());
    write_report(path_, report_);
  }

 private:
  bool wanted() const { return !path_.empty(); }

  static constexpr std::size_t most_pictures = 20;
  static constexpr int side = 768;
  std::filesystem::path path_;
  report report_;
};

}  // namespace programs
