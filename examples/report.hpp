// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <unetdn/image.hpp>

// The report of a program: pictures before and after, how good they are, how training went, in one HTML file.

namespace programs {

/// How near a noisy and a denoised picture are to the clean one; SSIM is NaN where the pictures are smaller than its
/// window.
struct picture_scores {
  double psnr, ssim, noisy_psnr, noisy_ssim;
};

/// One picture of a report: what went in, what came out, and the truth where it is known. All have one size.
struct report_picture {
  std::string name;
  std::optional<unetdn::image> clean;
  unetdn::image noisy, denoised;
  int whole_width = 0, whole_height = 0;   ///< where these are the middle of a larger picture; else 0
  std::optional<picture_scores> scores{};  ///< of all of it; left out, they are computed from these
};

/// One point of a report's curves; `psnr` where validation pictures were measured.
struct report_point {
  std::int64_t step;
  double seconds;  ///< since work began, or was resumed
  double loss;
  std::optional<double> psnr;
};

/// What a report shows.
struct report {
  std::string title;
  std::vector<report_picture> pictures;
  std::size_t pictures_in_all = 0;       ///< where `pictures` are only the first of more
  std::optional<picture_scores> mean{};  ///< of all of them; left out, that of `pictures` is computed
  std::vector<report_point> curve;       ///< empty: no curves are shown
  std::int64_t resumed_at = 0;           ///< the last step that was done before; 0: work began at the first
  std::vector<std::pair<std::string, std::string>> settings, provenance;
  bool live = false;  ///< work goes on: the page loads itself again every few seconds
};

/// PSNR and SSIM as published tables have them: the denoised picture clamped and rounded to 8 bits; the noisy one as it
/// is for PSNR and rounded for SSIM. Alpha is left out. Throws argument_error where shapes differ.
picture_scores score(unetdn::image const& clean, unetdn::image const& noisy, unetdn::image const& denoised);

/// Writes one self-contained HTML file that opens from disk; what stood there is replaced in one piece. Throws
/// file_error where the file cannot be written, argument_error where pictures that belong together differ in size.
void write_report(std::filesystem::path const& path, report const& r);

/// Base64 (RFC 4648, section 4).
std::string base64(std::span<std::byte const> bytes);

}  // namespace programs
