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

/// The same scene with and without noise.
struct picture_pair {
  std::string name;
  std::filesystem::path noisy, clean;
};

namespace detail {

/// The last word of a name, with what sets it off: "_real" of "plug_12_real"; empty where there is only one word.
inline std::string last_word(std::string const& stem) {
  std::size_t const at = stem.find_last_of("_- .");
  return at == std::string::npos || at == 0 ? std::string() : stem.substr(at);
}

/// What files are paired by: their names, their stems, or their stems without the last word, if that is the same for
/// all.
enum class pair_key { name, stem, stem_without_word };

inline std::vector<std::string> pair_keys(std::vector<std::filesystem::path> const& files, pair_key kind) {
  std::string const word = last_word(files.front().stem().string());
  std::vector<std::string> keys;
  for (auto const& file : files) {
    std::string key = (kind == pair_key::name ? file.filename() : file.stem()).string();
    if (kind == pair_key::stem_without_word) {
      if (last_word(key) != word) return {};
      key.resize(key.size() - word.size());
    }
    keys.push_back(std::move(key));
  }
  return keys;
}

/// Pairs of equal keys; false, and the first file without a partner of its own, where some are left.
inline bool pair_by_keys(std::vector<std::filesystem::path> const& noisy, pair_key noisy_kind,
                         std::vector<std::filesystem::path> const& clean, pair_key clean_kind,
                         std::vector<picture_pair>& pairs, std::filesystem::path& alone) {
  pairs.clear();
  alone.clear();
  std::vector<std::string> const noisy_keys = pair_keys(noisy, noisy_kind);
  std::vector<std::string> const clean_keys = pair_keys(clean, clean_kind);
  std::map<std::string, std::filesystem::path> partners;
  for (std::size_t i = 0; i < clean_keys.size(); ++i) {
    if (!partners.emplace(clean_keys[i], clean[i]).second) alone = clean[i];
  }
  for (std::size_t i = 0; i < noisy_keys.size(); ++i) {
    auto const partner = partners.extract(noisy_keys[i]);
    if (partner) {
      pairs.push_back({noisy_keys[i], noisy[i], partner.mapped()});
    } else if (alone.empty()) {
      alone = noisy[i];
    }
  }
  if (alone.empty() && !partners.empty()) alone = partners.begin()->second;
  return alone.empty() && !pairs.empty();
}

/// Takes the clean pictures, told by their last word, out of a folder's `files`, which then are the noisy ones.
inline std::vector<std::filesystem::path> take_clean(std::vector<std::filesystem::path>& files) {
  auto const is_noisy = [](std::filesystem::path const& file) {
    std::string const word = last_word(file.stem().string());
    return word != "_clean" && word != "_mean" && word != "_gt" && word != "_GT";
  };
  auto const middle = std::stable_partition(files.begin(), files.end(), is_noisy);
  std::vector<std::filesystem::path> clean(middle, files.end());
  files.erase(middle, files.end());
  return clean;
}

}  // namespace detail

/// Pairs the pictures of two folders by name: equal names, equal names but for the extension, or equal ones without the
/// last word where that is the same in all of a folder (plug_12_real.jpg and plug_12_mean.jpg). Both may be one folder
/// whose clean pictures end in _clean, _mean or _gt.
///
/// Throws argument_error, naming the picture, where one has no partner; file_error where a folder has no pictures.
inline std::vector<picture_pair> pair_pictures(std::filesystem::path const& noisy_folder,
                                               std::filesystem::path const& clean_folder) {
  std::vector<std::filesystem::path> noisy = unetdn::list_images(noisy_folder);
  std::vector<std::filesystem::path> clean = unetdn::list_images(clean_folder);
  if (std::filesystem::equivalent(noisy_folder, clean_folder)) {
    clean = detail::take_clean(noisy);
    unetdn::check(
        !noisy.empty() && !clean.empty(), noisy_folder.string(),
        " is to hold both noisy and clean pictures; end the clean ones' names in _clean or _mean, or give two "
        "folders");
  }
  using detail::pair_key;
  std::pair<pair_key, pair_key> const kinds[] = {{pair_key::name, pair_key::name},
                                                 {pair_key::stem, pair_key::stem},
                                                 {pair_key::stem_without_word, pair_key::stem},
                                                 {pair_key::stem, pair_key::stem_without_word},
                                                 {pair_key::stem_without_word, pair_key::stem_without_word}};
  std::size_t most = 0;
  std::filesystem::path alone, alone_at_best;
  for (auto const& [noisy_kind, clean_kind] : kinds) {
    std::vector<picture_pair> pairs;
    if (detail::pair_by_keys(noisy, noisy_kind, clean, clean_kind, pairs, alone)) return pairs;
    if (alone_at_best.empty() || pairs.size() > most) alone_at_best = alone;
    most = std::max(most, pairs.size());
  }
  throw unetdn::argument_error(alone_at_best.string() +
                               " has no partner of the same name; rename it, or remove it from the folder");
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
