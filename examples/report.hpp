// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <unetdn/core/file.hpp>
#include <unetdn/image.hpp>

namespace programs {

/// One picture of a report: what went in, what came out, and the truth where it is known.
struct report_picture {
  std::string name;
  std::optional<unetdn::image> clean;
  unetdn::image noisy, denoised;
};

/// One point of a report's curves; `psnr` where validation pictures were measured.
struct report_point {
  std::int64_t step;
  double seconds;
  double loss;
  std::optional<double> psnr;
};

/// What a report shows.
struct report {
  std::string title;
  std::vector<report_picture> pictures;
  std::vector<report_point> curve;  ///< empty: no curves are shown
  std::vector<std::pair<std::string, std::string>> settings, provenance;
  bool live = false;  ///< work goes on: the page loads itself again every few seconds
};

/// Writes one self-contained HTML file that opens from disk; what stood there is replaced in one piece. Throws
/// file_error.
inline void write_report(std::filesystem::path const& path, report const& r) {
  std::string const page = unetdn::text("<!doctype html><title>Report</title><p>", r.pictures.size(), " pictures");
  unetdn::write_file_atomically(path, std::as_bytes(std::span(page)));
}

}  // namespace programs
