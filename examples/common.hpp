// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <functional>
#include <iostream>
#include <string>
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
