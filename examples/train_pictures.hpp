// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

#include <unetdn/core/random.hpp>
#include <unetdn/generated.hpp>
#include <unetdn/train/dataset.hpp>

#include "files.hpp"

// Where the program `train` has its pictures from. A picture_pair without a noisy file is a clean picture alone.

namespace programs {

inline std::vector<picture_pair> clean_pictures(std::filesystem::path const& folder) {
  std::vector<picture_pair> pictures;
  for (auto const& file : unetdn::list_images(folder)) pictures.push_back({file.filename().string(), {}, file});
  return pictures;
}

/// Bytes of a file. One that is empty or may not be read is told of at once, and not when training reaches for it.
inline std::uint64_t checked_size(std::filesystem::path const& file) {
  std::error_code failure;
  std::uint64_t const size = std::filesystem::file_size(file, failure);
  if (failure || size == 0 || ::access(file.c_str(), R_OK) != 0) unetdn::read_image(file);  // says what is wrong
  return size;
}

inline std::uint64_t checked_size(picture_pair const& files) {
  return checked_size(files.clean) + (files.noisy.empty() ? 0 : checked_size(files.noisy));
}

inline unetdn::image_pair read_pair(picture_pair const& files, unetdn::read_options const& reading) {
  unetdn::image_pair pair{unetdn::read_image(files.clean, reading)};
  if (files.noisy.empty()) return pair;
  pair.noisy = unetdn::read_image(files.noisy, reading);
  if (pair.clean.width != pair.noisy->width || pair.clean.height != pair.noisy->height) {
    auto const size = [](unetdn::image const& p) { return unetdn::text(p.width, " x ", p.height, " pixels"); };
    throw unetdn::file_error(files.noisy.string(),
                             unetdn::text("has ", size(*pair.noisy), ", but its clean partner ", files.clean.string(),
                                          " has ", size(pair.clean), "; crop them to one size or remove both"));
  }
  return pair;
}

inline std::vector<unetdn::training_source> training_sources(std::vector<picture_pair> const& pictures,
                                                             unetdn::read_options const& reading) {
  std::vector<unetdn::training_source> sources;
  for (auto const& files : pictures) {
    sources.push_back({[files, reading] { return read_pair(files, reading); }, checked_size(files)});
  }
  return sources;
}

/// The same of clean pictures; where one cannot be read, a line says so and a generated picture takes its place. Which
/// pictures are damaged decides the weights, but not when that is found.
inline std::vector<unetdn::training_source> replacing_sources(std::vector<picture_pair> const& pictures,
                                                              unetdn::read_options const& reading, std::uint64_t seed) {
  std::vector<unetdn::training_source> sources;
  for (auto const& files : pictures) {
    std::uint64_t const number = sources.size();
    auto const read = [files, reading, seed, number] {
      try {
        return read_pair(files, reading);
      } catch (unetdn::file_error const& e) {
        std::cerr << unetdn::text("train: left out: ", e.what(), "\n") << std::flush;
        return unetdn::image_pair{unetdn::generate_picture(~seed, number + 1, 256, 256)};
      }
    };
    std::error_code failure;
    std::uint64_t const size = std::filesystem::file_size(files.clean, failure);
    sources.push_back({read, failure ? 0 : size});
  }
  return sources;
}

/// Takes that part of the pictures, chosen by the seed, out of `pictures`: at least one, and no more than 16 MiB of
/// files, so that photographs of any size are measured quickly. Of those that cannot be read, `leave_out` says so in a
/// line and draws another. Throws argument_error where none would be left.
inline std::vector<picture_pair> take_part(std::vector<picture_pair>& pictures, double fraction, std::uint64_t seed,
                                           unetdn::read_options const& reading, bool leave_out) {
  unetdn::check(pictures.size() >= 2,
                "--split holds a picture out, but there is no other one to learn from; add pictures, or measure on "
                "others: --val DIR");
  auto const most = static_cast<std::size_t>(fraction * static_cast<double>(pictures.size()));
  std::size_t const wanted = std::clamp<std::size_t>(most, 1, pictures.size() - 1);
  std::vector<picture_pair> taken;
  unetdn::random_sequence random({seed, 2, unetdn::random_stream::order});
  std::uint64_t bytes = 0;
  while (taken.size() < wanted && pictures.size() > 1) {
    auto const next = pictures.begin() + random.index(static_cast<std::uint32_t>(pictures.size()));
    if (leave_out) {
      try {
        read_pair(*next, reading);
      } catch (unetdn::file_error const& e) {
        std::cerr << "train: left out: " << e.what() << '\n';
        pictures.erase(next);
        continue;
      }
    }
    bytes += checked_size(*next);
    if (!taken.empty() && bytes > std::uint64_t(16) << 20) break;
    taken.push_back(std::move(*next));
    pictures.erase(next);
  }
  unetdn::check(!taken.empty(), "--split finds no picture that can be read; measure on others: --val DIR");
  std::sort(taken.begin(), taken.end(), [](auto const& a, auto const& b) { return a.clean < b.clean; });
  return taken;
}

/// Reads pictures to measure on, a few at a time; of large ones the middle is kept, scaled down as in training.
inline std::vector<unetdn::image_pair> read_validation(unetdn::cpu& device, std::vector<picture_pair> const& pictures,
                                                       unetdn::read_options const& reading, int channels) {
  for (auto const& files : pictures) checked_size(files);
  unetdn::picture_limits limits;
  limits.pixels = 1 << 20;
  std::vector<unetdn::image_pair> read(pictures.size());
  constexpr std::size_t at_once = 8;
  for (std::size_t first = 0; first < pictures.size(); first += at_once) {
    int const count = static_cast<int>(std::min(at_once, pictures.size() - first));
    device.parallel(count, [&](int i, int) {
      std::size_t const number = first + static_cast<std::size_t>(i);
      unetdn::image_pair pair = unetdn::reduced(read_pair(pictures[number], reading), limits);
      pair.clean = unetdn::with_channels(std::move(pair.clean), channels);
      if (pair.noisy) pair.noisy = unetdn::with_channels(std::move(*pair.noisy), channels);
      read[number] = std::move(pair);
    });
  }
  return read;
}

}  // namespace programs
