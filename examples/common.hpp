// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <functional>
#include <iostream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <unetdn/core/error.hpp>
#include <unetdn/image.hpp>

// What all programs share: exit codes, and one line for every error.

namespace programs {

inline constexpr int failed = 1;     ///< something went wrong; one line on standard error says what
inline constexpr int bad_usage = 2;  ///< the command line does not fit

/// Parses the command line, runs `work`, and turns every error into one line and an exit code.
inline int run(CLI::App& app, int argc, char** argv, std::function<int()> const& work) {
  try {
    app.parse(argc, argv);
  } catch (CLI::ParseError const& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help
    std::cerr << app.get_name() << ": " << e.what() << "; see --help\n";
    return bad_usage;
  }
  try {
    return work();
  } catch (unetdn::argument_error const& e) {
    std::cerr << app.get_name() << ": " << e.what() << '\n';
    return bad_usage;
  } catch (std::bad_alloc const&) {
    std::cerr << app.get_name() << ": not enough memory; use smaller pictures or a smaller batch\n";
    return failed;
  } catch (std::exception const& e) {
    std::cerr << app.get_name() << ": " << e.what() << '\n';
    return failed;
  }
}

/// The pictures that a list of files and folders names: a folder stands for all pictures in it.
inline std::vector<std::filesystem::path> expand(std::vector<std::filesystem::path> const& inputs) {
  std::vector<std::filesystem::path> files;
  for (auto const& input : inputs) {
    if (!std::filesystem::is_directory(input)) {
      files.push_back(input);
      continue;
    }
    for (auto const& file : unetdn::list_images(input)) files.push_back(file);
  }
  return files;
}

/// Where results go: into the folder `out`, under the names of the inputs, or to the file `out` where it names a
/// picture.
class outputs {
 public:
  outputs(std::filesystem::path out, bool force) : out_{std::move(out)}, force_{force} {}

  /// Throws argument_error where results would overwrite each other, an input, or, without force, anything; else makes
  /// the folder. Called before any work.
  void prepare(std::vector<std::filesystem::path> const& inputs) const {
    unetdn::check(!inputs.empty(), "there are no pictures to work on");
    unetdn::check(!to_file() || inputs.size() == 1, "--out ", out_.string(), " is one picture, but there are ",
                  inputs.size(), " inputs; give a folder");
    std::map<std::filesystem::path, std::filesystem::path> from;
    for (auto const& input : inputs) {
      std::filesystem::path const to = path_for(input);
      auto const [other, fresh] = from.emplace(to, input);
      unetdn::check(fresh, input.string(), " and ", other->second.string(), " would both become ", to.string(),
                    "; give them one after the other, with other folders");
      bool const exists = std::filesystem::exists(to);
      std::error_code ignored;
      unetdn::check(!exists || !std::filesystem::equivalent(to, input, ignored), to.string(),
                    " is the input itself; give another --out");
      unetdn::check(!exists || force_, to.string(), " exists already; --force overwrites it");
    }
    if (to_file()) return;
    std::error_code failure;
    std::filesystem::create_directories(out_, failure);
    if (failure) throw unetdn::file_error(out_.string(), "cannot be made a folder: " + failure.message());
  }

  /// The result of one input. Formats that are only read become PNG.
  std::filesystem::path path_for(std::filesystem::path const& input) const {
    if (to_file()) return out_;
    std::string extension = input.extension().string();
    std::transform(extension.begin(), extension.end(), extension.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    bool const writable = unetdn::is_image_name(input) && extension != ".bmp";
    return out_ / (writable ? input.filename() : std::filesystem::path(input.stem()) += ".png");
  }

 private:
  bool to_file() const { return unetdn::is_image_name(out_) && !std::filesystem::is_directory(out_); }
  std::filesystem::path out_;
  bool force_;
};

/// All pictures of a folder, in the order of their names.
inline std::vector<unetdn::image> read_folder(std::filesystem::path const& folder) {
  std::vector<unetdn::image> pictures;
  for (auto const& file : unetdn::list_images(folder)) pictures.push_back(unetdn::read_image(file));
  return pictures;
}

/// "75 s", "12 min" or "3.5 h".
inline std::string duration(double seconds) {
  char line[32];
  if (seconds < 100) {
    std::snprintf(line, sizeof line, "%.0f s", seconds);
  } else if (seconds < 6000) {
    std::snprintf(line, sizeof line, "%.0f min", seconds / 60);
  } else {
    std::snprintf(line, sizeof line, "%.1f h", seconds / 3600);
  }
  return line;
}

}  // namespace programs
