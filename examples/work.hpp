// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <unetdn/devices/cpu.hpp>
#include <unetdn/image.hpp>

// Work on many pictures, and how far it is.

namespace programs {

/// "75 s", "12 min" or "3.5 h".
std::string duration(double seconds);

/// Tells on standard error how far long work is: on a terminal in one line that is written over, elsewhere by a line
/// every ten seconds.
class progress {
 public:
  progress(std::string program, std::size_t pictures, bool quiet);
  progress(progress const&) = delete;
  progress& operator=(progress const&) = delete;
  ~progress() { clear(); }

  /// A fraction of the picture at work is done.
  void advance(double fraction);
  void picture_done();
  /// Takes the line away, before others are printed.
  void clear();

 private:
  double seconds() const;

  std::string program_;
  std::size_t pictures_, done_ = 0, shown_ = 0;
  bool quiet_, terminal_;
  double next_ = terminal_ ? 1 : 10;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

/// What is done with one picture; `number` counts from 0. The line that is returned is printed unless it is empty.
using picture_work =
    std::function<std::string(std::filesystem::path const& file, unetdn::image const& picture, std::size_t number)>;

/// Reads the pictures and works on them, `at_once` at the same time. Returns the exit code: a picture that is broken or
/// too large is told of in one line and the others are still worked on; other errors, such as a full disk, end it all.
int for_each_picture(unetdn::cpu& device, int at_once, std::vector<std::filesystem::path> const& files,
                     unetdn::read_options const& reading, progress& shown, std::string const& program,
                     picture_work const& work);

}  // namespace programs
