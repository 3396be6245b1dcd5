// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <fcntl.h>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <unistd.h>
#include <vector>

#include <unetdn/core/file.hpp>
#include <unetdn/train/trainer.hpp>

namespace unetdn {

/// A row of the log.
struct logged_step {
  training_step step;
  std::optional<double> psnr;  ///< dB on the validation pictures, where it was measured
};

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

  /// The rows of steps 1 to `step`, without those that somebody changed beyond recognition.
  std::vector<logged_step> rows(std::int64_t step) const {
    std::vector<logged_step> found;
    for_each_row(contents(), step, [&](std::string_view row, std::size_t) {
      if (auto const logged = parsed(row)) found.push_back(*logged);
    });
    return found;
  }

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
    for_each_row(all, step, [&](std::string_view, std::size_t end) { kept = end; });
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
  /// Calls f(row, where the next one begins) for the whole rows of steps 1 to `step`.
  template <class F> static void for_each_row(std::string_view all, std::int64_t step, F const& f) {
    std::size_t begin = std::min(header.size(), all.size());
    while (true) {
      std::size_t const end = all.find('\n', begin);
      if (end == std::string_view::npos) return;
      std::string_view const row = all.substr(begin, end - begin);
      std::int64_t number = 0;
      auto const [rest, failure] = std::from_chars(row.data(), row.data() + row.size(), number);
      if (failure != std::errc{} || rest == row.data() + row.size() || *rest != ',' || number > step) return;
      begin = end + 1;
      f(row, begin);
    }
  }

  static std::optional<logged_step> parsed(std::string_view line) {
    auto const take = [&line](auto& number, bool last) {
      auto const [rest, failure] = std::from_chars(line.data(), line.data() + line.size(), number);
      line.remove_prefix(static_cast<std::size_t>(rest - line.data()));
      if (failure != std::errc{} || line.empty() != last || (!last && line.front() != ',')) return false;
      line.remove_prefix(last ? 0 : 1);
      return true;
    };
    logged_step row{};
    training_step& s = row.step;
    if (!take(s.step, false) || !take(s.loss, false) || !take(s.gradient_norm, false) || !take(s.rate, false))
      return {};
    if (line.empty()) return row;
    if (!take(row.psnr.emplace(), true)) return {};
    return row;
  }

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
