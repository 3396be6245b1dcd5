// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <fcntl.h>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unistd.h>

#include <unetdn/core/file.hpp>
#include <unetdn/train/trainer.hpp>

namespace unetdn {

/// log.csv of a training run: one row for every step, written at once.
///
/// The open log is also the sign that its folder is in use: it is locked, and the system frees the lock when the
/// process ends, however it ends.
class training_log {
 public:
  static constexpr std::string_view header = "step,loss,gradient_norm,rate,psnr\n";

  /// Opens or creates the log and takes its lock. Throws file_error: naming the folder where another run uses it, and
  /// the file where it is no such log.
  explicit training_log(std::filesystem::path const& path)
      : path_{path}, file_{::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666)} {
    if (!file_) detail::cannot_write(path_, errno);
    if (!detail::try_lock(file_)) {
      std::filesystem::path const folder = path_.parent_path();
      throw file_error(folder.empty() ? "." : folder.string(),
                       "is in use by another training run; wait for it, stop it, or choose another folder");
    }
    std::string const start = contents().substr(0, header.size());
    if (start != header.substr(0, start.size())) {
      throw file_error(path_.string(), "is not the log of a training run; choose another folder");
    }
  }

  /// Whether there is a row of some step.
  bool has_rows() const { return contents().size() > header.size(); }

  /// Forgets all rows.
  void clear() {
    cut(0);
    append(header);
  }

  /// Keeps the rows of steps 1 to `step` and forgets the rest, as well as a last row that a kill tore.
  void cut_to_step(std::int64_t step) {
    std::string const all = contents();
    if (all.size() < header.size()) return clear();
    std::size_t kept = header.size();
    while (true) {
      std::size_t const end = all.find('\n', kept);
      if (end == std::string::npos) break;
      std::int64_t row = 0;
      auto const [rest, failure] = std::from_chars(all.data() + kept, all.data() + end, row);
      if (failure != std::errc{} || rest == all.data() + end || *rest != ',' || row > step) break;
      kept = end + 1;
    }
    cut(kept);
  }

  /// Adds a row. Throws file_error, as where the disk is full.
  void add(training_step const& s, std::optional<double> psnr) {
    append(text(s.step, ',', s.loss, ',', s.gradient_norm, ',', s.rate, ',', psnr ? text(*psnr) : "", '\n'));
  }

  /// Puts all rows on the disk. Throws file_error.
  void sync() {
    if (::fsync(file_.get()) != 0) detail::cannot_write(path_, errno);
  }

 private:
  std::string contents() const {
    auto const bytes = read_file(path_);
    return {reinterpret_cast<char const*>(bytes.data()), bytes.size()};
  }

  void cut(std::size_t size) {
    if (::ftruncate(file_.get(), static_cast<off_t>(size)) != 0) detail::cannot_write(path_, errno);
  }

  void append(std::string_view row) {
    if (int const code = detail::write_all(file_, std::as_bytes(std::span(row)))) detail::cannot_write(path_, code);
  }

  std::filesystem::path path_;
  detail::file_descriptor file_;
};

}  // namespace unetdn
