// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <functional>
#include <iostream>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <type_traits>
#include <unistd.h>
#include <utility>
#include <vector>

#include <unetdn/core/error.hpp>
#include <unetdn/core/file.hpp>
#include <unetdn/core/json.hpp>
#include <unetdn/devices/cpu.hpp>
#include <unetdn/image.hpp>

// What all programs share: exit codes, one line for every error, files that are never overwritten by surprise,
// progress.

namespace programs {

inline constexpr int failed = 1;     ///< something went wrong; one line on standard error says what
inline constexpr int bad_usage = 2;  ///< the command line does not fit

/// Throws argument_error where an option was given an empty value, as a script with an unset variable does: for a path,
/// that is no name at all.
inline void check_no_value_is_empty(CLI::App const& app) {
  for (CLI::Option const* option : app.get_options()) {
    for (std::string const& value : option->results()) {
      unetdn::check(!value.empty(), option->get_name(), ": the value is empty; give one, or leave the option out");
    }
  }
}

/// Parses the command line, runs `work`, and turns every error into one line and an exit code.
inline int run(CLI::App& app, int argc, char** argv, std::function<int()> const& work) {
  auto const complain = [&](std::string const& what, int code) {
    std::cerr << app.get_name() << ": " << what << '\n';
    return code;
  };
  int code = 0;
  try {
    app.parse(argc, argv);
    check_no_value_is_empty(app);
    code = work();
  } catch (CLI::ParseError const& e) {
    if (e.get_exit_code() != 0) return complain(unetdn::text(e.what(), "; see --help"), bad_usage);
    app.exit(e);  // --help
  } catch (unetdn::argument_error const& e) {
    return complain(e.what(), bad_usage);
  } catch (std::filesystem::filesystem_error const& e) {
    return complain(unetdn::text(e.path1().string(), ": ", unetdn::detail::system_text(e.code().value())), failed);
  } catch (std::bad_alloc const&) {
    return complain("not enough memory; use smaller pictures or a smaller batch", failed);
  } catch (std::exception const& e) {
    return complain(e.what(), failed);
  }
  std::cout.flush();
  if (!std::cout || std::fflush(stdout) != 0 || std::ferror(stdout)) {
    return complain("standard output cannot be written; free some space or print elsewhere", failed);
  }
  return code;
}

// ---- Numbers -------------------------------------------------------------------------------------------------------

namespace detail {

template <class T> struct number_of { using type = T; };
template <class T> struct number_of<std::optional<T>> { using type = T; };

/// A bound for people: 1000000, which would be shorter as 1e+06.
template <class T> std::string bound_text(T bound) {
  double const value = static_cast<double>(bound);
  bool const whole = !std::is_integral_v<T> && std::abs(value) < 1e15 && value == std::floor(value);
  return whole ? unetdn::text(static_cast<long long>(value)) : unetdn::text(bound);
}

template <class T> T parse_number(std::string const& option, std::string const& said, T least, T most) {
  T value{};
  char const* const end = said.data() + said.size();
  auto const [stop, failure] = std::from_chars(said.data(), end, value);
  // NaN is in no range.
  if (failure == std::errc{} && stop == end && value >= least && value <= most) return value;
  char const* const kind = std::is_integral_v<T> ? "whole number" : "number";
  throw CLI::ValidationError(
      option, unetdn::text("'", said, "' is no ", kind, " from ", bound_text(least), " to ", bound_text(most)));
}

}  // namespace detail

/// An option whose value is a number from `least` to `most`. CLI11 by itself takes -1 for a large number, what is too
/// large for the largest, and NaN for a number in any range.
template <class T, class Number = typename detail::number_of<T>::type>
CLI::Option* add_number(CLI::App& app, std::string const& option, T& value, std::type_identity_t<Number> least,
                        std::type_identity_t<Number> most, std::string const& help) {
  auto const read = [&value, option, least, most](std::string const& said) {
    value = detail::parse_number<Number>(option, said, least, most);
  };
  CLI::Option* const added = app.add_option_function<std::string>(option, read, help);
  added->type_name(std::is_integral_v<Number> ? "INT" : "NUMBER");
  if constexpr (std::is_same_v<T, Number>) {
    if (value >= least && value <= most) added->default_str(unetdn::text(value));
  }
  return added;
}

inline CLI::Option* add_seed_option(CLI::App& app, std::uint64_t& seed, std::string const& help) {
  return add_number(app, "--seed", seed, 0, std::numeric_limits<std::uint64_t>::max(), help);
}

inline CLI::Option* add_threads_option(CLI::App& app, int& threads) {
  return add_number(app, "--threads", threads, 0, 1024, "0: one a core; the result does not depend on it");
}

// ---- Options that programs share -----------------------------------------------------------------------------------

/// What every program takes that writes files.
struct common_settings {
  int threads = 0;
  bool force = false, quiet = false;
};

inline void add_common_options(CLI::App& app, common_settings& s, std::string const& quiet = "print errors only") {
  add_threads_option(app, s.threads);
  app.add_flag("--force", s.force, "overwrite results that exist");
  app.add_flag("--quiet", s.quiet, quiet);
}

/// For programs that read pictures.
inline void add_reading_options(CLI::App& app, unetdn::read_options& reading) {
  app.add_flag("--any-size", reading.any_size, "also read pictures of more than 200 megapixels");
}

// ---- Names ---------------------------------------------------------------------------------------------------------

namespace detail {

/// The name that all names of one file share, where that can be told.
inline std::filesystem::path true_name(std::filesystem::path const& path) {
  std::error_code failure;
  std::filesystem::path const name = std::filesystem::weakly_canonical(path, failure);
  return failure ? path : name;
}

inline std::string lower_extension(std::filesystem::path const& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return extension;
}

inline bool is_jpeg_name(std::filesystem::path const& path) {
  std::string const extension = lower_extension(path);
  return extension == ".jpg" || extension == ".jpeg";
}

inline bool is_writable_name(std::filesystem::path const& path) {
  return unetdn::is_image_name(path) && lower_extension(path) != ".bmp";
}

/// Whether the name is that of a picture, though of none that is written here: such a name is not meant for a folder.
inline bool is_foreign_picture_name(std::filesystem::path const& path) {
  static std::set<std::string> const foreign{".arw", ".avif", ".bmp",  ".cr2",  ".cr3", ".dcm",  ".dng",  ".exr",
                                             ".gif", ".hdr",  ".heic", ".heif", ".ico", ".j2k",  ".jfif", ".jp2",
                                             ".jpe", ".jxl",  ".nef",  ".nii",  ".pam", ".pbm",  ".pdf",  ".pfm",
                                             ".psd", ".raw",  ".svg",  ".tga",  ".tif", ".tiff", ".webp"};
  return foreign.contains(lower_extension(path));
}

}  // namespace detail

/// Throws argument_error where no picture can be written under the name that an option gave, or none of 16 bits where
/// `deep`. `otherwise` ends the remedy.
inline void check_picture_name(std::string const& option, std::filesystem::path const& name, bool deep = false,
                               std::string const& otherwise = "") {
  std::string const extension = detail::lower_extension(name);
  unetdn::check(detail::is_writable_name(name), option, ' ', name.string(), ": ",
                extension.empty() ? "a picture without extension" : extension,
                " cannot be written; name it .png, .jpg, .ppm or .pgm", otherwise);
  unetdn::check(!deep || !detail::is_jpeg_name(name), option, ' ', name.string(),
                ": JPEG holds no 16 bits; name it .png, or leave --16-bit out");
}

/// The pictures that a list of files and folders names, each once: a folder stands for all pictures in it. Throws
/// file_error where one does not exist.
inline std::vector<std::filesystem::path> expand(std::vector<std::filesystem::path> const& inputs) {
  std::vector<std::filesystem::path> files;
  std::set<std::filesystem::path> seen;
  auto const add = [&](std::filesystem::path const& file) {
    if (seen.insert(detail::true_name(file)).second) files.push_back(file);
  };
  for (auto const& input : inputs) {
    std::error_code failure;
    if (std::filesystem::is_directory(input, failure)) {
      for (auto const& file : unetdn::list_images(input)) add(file);
    } else if (std::filesystem::exists(input, failure)) {
      add(input);
    } else {
      throw unetdn::file_error(input.string(),
                               "cannot be opened: " + unetdn::detail::system_text(failure ? failure.value() : ENOENT));
    }
  }
  return files;
}

/// The files that a program is going to write, all planned before any work.
class planned_files {
 public:
  planned_files(std::vector<std::filesystem::path> const& inputs, bool force) : force_{force} {
    for (auto const& input : inputs) inputs_.insert(detail::true_name(input));
  }

  /// Throws argument_error where `to` is an input, is planned already, or, without force, exists. `origin` is what it
  /// is made of, for that message.
  void add(std::filesystem::path const& to, std::string const& origin) {
    std::filesystem::path const name = detail::true_name(to);
    unetdn::check(!inputs_.contains(name), to.string(), " is an input itself; give another name or folder");
    auto const [other, fresh] = planned_.emplace(name, origin);
    unetdn::check(fresh, other->second, " and ", origin, " would both become ", to.string(),
                  "; give them other names or folders");
    unetdn::check(force_ || !std::filesystem::exists(to), to.string(), " exists already; --force overwrites it");
  }

  /// The same for a file whose folder must exist. Throws file_error where it does not.
  void add_single(std::filesystem::path const& to, std::string const& origin) {
    std::filesystem::path const folder = to.has_parent_path() ? to.parent_path() : ".";
    std::error_code failure;
    if (!std::filesystem::is_directory(folder, failure)) {
      throw unetdn::file_error(to.string(), "cannot be written: there is no folder " + folder.string() +
                                                "; make it first or give another name");
    }
    add(to, origin);
  }

 private:
  std::set<std::filesystem::path> inputs_;
  std::map<std::filesystem::path, std::string> planned_;
  bool force_;
};

/// Where results go: into the folder `out`, under the names of the inputs, or to the file `out` where it names a
/// picture.
class outputs {
 public:
  /// Plans the results of all inputs, of 16 bits where `deep`. Throws argument_error where the option's value `out`
  /// cannot hold them.
  outputs(std::string const& option, std::filesystem::path const& out, std::vector<std::filesystem::path> const& inputs,
          planned_files& plan, bool deep = false)
      : out_{out},
        to_file_{(unetdn::is_image_name(out) || detail::is_foreign_picture_name(out)) &&
                 !std::filesystem::is_directory(out)},
        deep_{deep} {
    if (to_file_) check_picture_name(option, out, deep, ", or give a folder, whose name may end in /");
    unetdn::check(!to_file_ || inputs.size() == 1, option, " ", out.string(), " is one picture, but there are ",
                  inputs.size(), " inputs; give a folder");
    for (auto const& input : inputs) {
      std::string const origin = option + " of " + input.string();
      if (to_file_) {
        plan.add_single(out, origin);
      } else {
        plan.add(path_for(input), origin);
      }
    }
  }

  /// Makes the folder, where results go into one, and removes what a killed program left half-written there. Throws
  /// file_error.
  void make_folder() const {
    if (to_file_) return;
    unetdn::make_folder(out_);
    unetdn::remove_abandoned_files(out_);
  }

  /// The result of one input. Formats that are only read become PNG, and so does JPEG where there are to be 16 bits.
  std::filesystem::path path_for(std::filesystem::path const& input) const {
    if (to_file_) return out_;
    bool const writable = detail::is_writable_name(input) && !(deep_ && detail::is_jpeg_name(input));
    return out_ / (writable ? input.filename() : std::filesystem::path(input.stem()) += ".png");
  }

 private:
  std::filesystem::path out_;
  bool to_file_, deep_;
};

/// A file's name as a JSON string. Names are bytes: what is not UTF-8 becomes U+FFFD.
inline std::string json_name(std::filesystem::path const& path) {
  std::string const bytes = path.string();
  std::string name;
  for (std::size_t at = 0; at < bytes.size();) {
    std::size_t const length = unetdn::detail::utf8_length(std::string_view(bytes).substr(at));
    name += length ? bytes.substr(at, length) : "\xEF\xBF\xBD";
    at += std::max<std::size_t>(length, 1);
  }
  return unetdn::json_quoted(name);
}

inline void add_json_option(CLI::App& app, bool& json) {
  app.add_flag("--json", json, "print a JSON object a picture, one a line");
}

/// What is printed of one result: nothing, a line for people with `note` at its end, or
/// with --json an object that also has the JSON value `value` under `key`, unless that is empty.
struct result_line {
  bool json = false, quiet = false;

  std::string text(std::filesystem::path const& from, std::filesystem::path const& to, unetdn::image const& result,
                   std::string const& note = "", std::string const& key = "", std::string const& value = "") const {
    if (!json) return quiet ? std::string() : unetdn::text(from.string(), " -> ", to.string(), note);
    std::string const also = key.empty() ? "" : unetdn::text('"', key, "\": ", value, ", ");
    return unetdn::text("{\"input\": ", json_name(from), ", \"output\": ", json_name(to), ", ", also,
                        "\"width\": ", result.width, ", \"height\": ", result.height, '}');
  }
};

// ---- Pictures ------------------------------------------------------------------------------------------------------

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

/// The middle of a picture, of at most these extents.
inline unetdn::image middle(unetdn::image const& picture, int width, int height) {
  width = std::min(width, picture.width);
  height = std::min(height, picture.height);
  unetdn::image part(width, height, picture.channels, picture.bit_depth);
  auto const from = picture.as_view().crop((picture.height - height) / 2, (picture.width - width) / 2, height, width);
  for (int row = 0; row < height; ++row) {
    std::copy_n(from.pixel(0, row, 0), std::ptrdiff_t(width) * picture.channels, part.as_view().pixel(0, row, 0));
  }
  return part;
}

// ---- Work ----------------------------------------------------------------------------------------------------------

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

/// Tells on standard error how far long work is: on a terminal in one line that is written over, elsewhere by a line
/// every ten seconds.
class progress {
 public:
  progress(std::string program, std::size_t pictures, bool quiet)
      : program_{std::move(program)}, pictures_{pictures}, quiet_{quiet} {}
  progress(progress const&) = delete;
  progress& operator=(progress const&) = delete;
  ~progress() { clear(); }

  /// A fraction of the picture at work is done.
  void advance(double fraction) {
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

  void picture_done() {
    ++done_;
    advance(0);
  }

  /// Takes the line away, before others are printed.
  void clear() {
    if (shown_) std::cerr << '\r' << std::string(shown_, ' ') << '\r' << std::flush;
    shown_ = 0;
  }

 private:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count(); }

  std::string program_;
  std::size_t pictures_, done_ = 0, shown_ = 0;
  bool quiet_, terminal_ = ::isatty(STDERR_FILENO) == 1;
  double next_ = terminal_ ? 1 : 10;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

/// What is done with one picture; `number` counts from 0. The line that is returned is printed unless it is empty.
using picture_work =
    std::function<std::string(std::filesystem::path const& file, unetdn::image const& picture, std::size_t number)>;

namespace detail {

struct picture_outcome {
  std::string line, error;
};

inline picture_outcome work_on(std::filesystem::path const& file, std::size_t number,
                               unetdn::read_options const& reading, picture_work const& work) {
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

}  // namespace detail

/// Reads the pictures and works on them, `at_once` at the same time. Returns the exit code: a picture that is broken or
/// too large is told of in one line and the others are still worked on; other errors, such as a full disk, end it all.
inline int for_each_picture(unetdn::cpu& device, int at_once, std::vector<std::filesystem::path> const& files,
                            unetdn::read_options const& reading, progress& shown, std::string const& program,
                            picture_work const& work) {
  int code = 0;
  for (std::size_t begin = 0; begin < files.size(); begin += static_cast<std::size_t>(at_once)) {
    int const count = static_cast<int>(std::min(files.size() - begin, static_cast<std::size_t>(at_once)));
    std::vector<detail::picture_outcome> outcomes(static_cast<std::size_t>(count));
    device.parallel(count, [&](int i, int) {
      std::size_t const number = begin + static_cast<std::size_t>(i);
      outcomes[static_cast<std::size_t>(i)] = detail::work_on(files[number], number, reading, work);
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
