// SPDX-License-Identifier: Apache-2.0
#include "work.hpp"

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <new>
#include <optional>
#include <unistd.h>
#include <utility>

#include <unetdn/core/error.hpp>

#include "command_line.hpp"

namespace programs {

namespace {

struct picture_outcome {
  std::string line, error;
};

picture_outcome work_on(std::filesystem::path const& file, std::size_t number, unetdn::read_options const& reading,
                        picture_work const& work) {
  std::optional<unetdn::image> picture;
  try {
    picture = unetdn::read_image(file, reading);
  } catch (unetdn::file_error const& e) {
    return {{}, e.what()};
  } catch (std::bad_alloc const&) {
    return {{}, file.string() + ": not enough memory for this picture; scale it down or split it"};
  }
  try {
    return {work(file, *picture, number), {}};
  } catch (unetdn::argument_error const& e) {
    return {{}, unetdn::text(file.string(), ": ", e.what())};
  } catch (unetdn::out_of_memory const& e) {
    return {{}, unetdn::text(file.string(), ": ", e.what())};
  } catch (std::bad_alloc const&) {
    return {{}, file.string() + ": not enough memory for this picture; scale it down or split it"};
  }
}

}  // namespace

std::string duration(double seconds) {
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

progress::progress(std::string program, std::size_t pictures, bool quiet)
    : program_{std::move(program)}, pictures_{pictures}, quiet_{quiet}, terminal_{::isatty(STDERR_FILENO) == 1} {}

void progress::advance(double fraction) {
  double const now = seconds();
  if (quiet_ || now < next_) return;
  double const whole = (static_cast<double>(done_) + fraction) / static_cast<double>(pictures_);
  if (whole <= 0 || whole >= 1) return;
  next_ = now + (terminal_ ? 0.5 : 10);
  std::string const line =
      unetdn::text(program_, ": ", static_cast<int>(100 * whole), " % done, ", duration(now / whole - now), " left");
  clear();
  std::cerr << line << (terminal_ ? "" : "\n") << std::flush;
  shown_ = terminal_ ? line.size() : 0;
}

void progress::picture_done() {
  ++done_;
  advance(0);
}

void progress::clear() {
  if (shown_) std::cerr << '\r' << std::string(shown_, ' ') << '\r' << std::flush;
  shown_ = 0;
}

double progress::seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
}

int for_each_picture(unetdn::cpu& device, int at_once, std::vector<std::filesystem::path> const& files,
                     unetdn::read_options const& reading, progress& shown, std::string const& program,
                     picture_work const& work) {
  int code = 0;
  for (std::size_t begin = 0; begin < files.size(); begin += static_cast<std::size_t>(at_once)) {
    int const count = static_cast<int>(std::min(files.size() - begin, static_cast<std::size_t>(at_once)));
    std::vector<picture_outcome> outcomes(static_cast<std::size_t>(count));
    device.parallel(count, [&](int i, int) {
      std::size_t const number = begin + static_cast<std::size_t>(i);
      outcomes[static_cast<std::size_t>(i)] = work_on(files[number], number, reading, work);
    });
    shown.clear();
    for (auto const& [line, error] : outcomes) {
      if (!line.empty()) std::cout << line << std::endl;
      if (!error.empty()) std::cerr << program << ": " << error << '\n';
      if (!error.empty()) code = failed;
      shown.picture_done();
    }
  }
  return code;
}

}  // namespace programs
