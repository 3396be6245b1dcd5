// SPDX-License-Identifier: Apache-2.0
#include "files.hpp"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstddef>
#include <string_view>
#include <system_error>
#include <unistd.h>
#include <utility>

#include <unetdn/core/error.hpp>
#include <unetdn/core/file.hpp>
#include <unetdn/core/json.hpp>

namespace programs {

namespace {

// ---- Names ---------------------------------------------------------------------------------------------------------

/// The name that all names of one file share, where that can be told.
std::filesystem::path true_name(std::filesystem::path const& path) {
  std::error_code failure;
  std::filesystem::path const name = std::filesystem::weakly_canonical(path, failure);
  return failure ? path : name;
}

std::string lower_extension(std::filesystem::path const& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return extension;
}

bool is_jpeg_name(std::filesystem::path const& path) {
  std::string const extension = lower_extension(path);
  return extension == ".jpg" || extension == ".jpeg";
}

bool is_writable_name(std::filesystem::path const& path) {
  return unetdn::is_image_name(path) && lower_extension(path) != ".bmp";
}

/// Whether the name is that of a picture, though of none that is written here: such a name is not meant for a folder.
bool is_foreign_picture_name(std::filesystem::path const& path) {
  static std::set<std::string> const foreign{".arw", ".avif", ".bmp",  ".cr2",  ".cr3", ".dcm",  ".dng",  ".exr",
                                             ".gif", ".hdr",  ".heic", ".heif", ".ico", ".j2k",  ".jfif", ".jp2",
                                             ".jpe", ".jxl",  ".nef",  ".nii",  ".pam", ".pbm",  ".pdf",  ".pfm",
                                             ".psd", ".raw",  ".svg",  ".tga",  ".tif", ".tiff", ".webp"};
  return foreign.contains(lower_extension(path));
}

// ---- Pairs ---------------------------------------------------------------------------------------------------------

/// The last word of a name, with what sets it off: "_real" of "plug_12_real"; empty where there is only one word.
std::string last_word(std::string const& stem) {
  std::size_t const at = stem.find_last_of("_- .");
  return at == std::string::npos || at == 0 ? std::string() : stem.substr(at);
}

/// What files are paired by: their names, their stems, or their stems without the last word, if that is the same for
/// all.
enum class pair_key { name, stem, stem_without_word };

std::vector<std::string> pair_keys(std::vector<std::filesystem::path> const& files, pair_key kind) {
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
bool pair_by_keys(std::vector<std::filesystem::path> const& noisy, pair_key noisy_kind,
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
std::vector<std::filesystem::path> take_clean(std::vector<std::filesystem::path>& files) {
  auto const is_noisy = [](std::filesystem::path const& file) {
    std::string const word = last_word(file.stem().string());
    return word != "_clean" && word != "_mean" && word != "_gt" && word != "_GT";
  };
  auto const middle = std::stable_partition(files.begin(), files.end(), is_noisy);
  std::vector<std::filesystem::path> clean(middle, files.end());
  files.erase(middle, files.end());
  return clean;
}

}  // namespace

void add_common_options(command_line& options, common_settings& s, std::string const& quiet) {
  options.threads(s.threads);
  options.flag("--force", s.force, "overwrite results that exist");
  options.flag("--quiet", s.quiet, quiet);
}

void add_reading_options(command_line& options, unetdn::read_options& reading) {
  options.flag("--any-size", reading.any_size, "also read pictures of more than 200 megapixels");
}

void add_json_option(command_line& options, bool& json) {
  options.flag("--json", json, "print a JSON object a picture, one a line");
}

void check_picture_name(std::string const& option, std::filesystem::path const& name, bool deep,
                        std::string const& otherwise) {
  std::string const extension = lower_extension(name);
  unetdn::check(is_writable_name(name), option, ' ', name.string(), ": ",
                extension.empty() ? "a picture without extension" : extension,
                " cannot be written; name it .png, .jpg, .ppm or .pgm", otherwise);
  unetdn::check(!deep || !is_jpeg_name(name), option, ' ', name.string(),
                ": JPEG holds no 16 bits; name it .png, or leave --16-bit out");
}

std::vector<std::filesystem::path> expand(std::vector<std::filesystem::path> const& inputs) {
  std::vector<std::filesystem::path> files;
  std::set<std::filesystem::path> seen;
  auto const add = [&](std::filesystem::path const& file) {
    if (seen.insert(true_name(file)).second) files.push_back(file);
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

planned_files::planned_files(std::vector<std::filesystem::path> const& inputs, bool force) : force_{force} {
  for (auto const& input : inputs) inputs_.insert(true_name(input));
}

void planned_files::add(std::filesystem::path const& to, std::string const& origin) {
  std::filesystem::path const name = true_name(to);
  unetdn::check(!inputs_.contains(name), to.string(), " is an input itself; give another name or folder");
  auto const [other, fresh] = planned_.emplace(name, origin);
  unetdn::check(fresh, other->second, " and ", origin, " would both become ", to.string(),
                "; give them other names or folders");
  unetdn::check(force_ || !std::filesystem::exists(to), to.string(), " exists already; --force overwrites it");
}

void planned_files::add_single(std::filesystem::path const& to, std::string const& origin) {
  std::filesystem::path const folder = to.has_parent_path() ? to.parent_path() : ".";
  std::error_code failure;
  if (!std::filesystem::is_directory(folder, failure)) {
    throw unetdn::file_error(to.string(), "cannot be written: there is no folder " + folder.string() +
                                              "; make it first or give another name");
  }
  if (::access(folder.c_str(), W_OK) != 0)
    throw unetdn::file_error(to.string(), "cannot be written: " + unetdn::detail::system_text(errno));
  add(to, origin);
}

outputs::outputs(std::string const& option, std::filesystem::path const& out,
                 std::vector<std::filesystem::path> const& inputs, planned_files& plan, bool deep)
    : out_{out},
      to_file_{(unetdn::is_image_name(out) || is_foreign_picture_name(out)) && !std::filesystem::is_directory(out)},
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

outputs::~outputs() {
  std::error_code ignored;
  if (made_) std::filesystem::remove(out_, ignored);  // which no folder allows that holds anything
}

void outputs::make_folder() {
  if (to_file_) return;
  std::error_code ignored;
  made_ = !std::filesystem::exists(out_, ignored);
  unetdn::make_folder(out_);
  unetdn::remove_abandoned_files(out_);
}

std::filesystem::path outputs::path_for(std::filesystem::path const& input) const {
  if (to_file_) return out_;
  bool const writable = is_writable_name(input) && !(deep_ && is_jpeg_name(input));
  return out_ / (writable ? input.filename() : std::filesystem::path(input.stem()) += ".png");
}

std::string json_name(std::filesystem::path const& path) {
  std::string const bytes = path.string();
  std::string name;
  for (std::size_t at = 0; at < bytes.size();) {
    std::size_t const length = unetdn::detail::utf8_length(std::string_view(bytes).substr(at));
    name += length ? bytes.substr(at, length) : "\xEF\xBF\xBD";
    at += std::max<std::size_t>(length, 1);
  }
  return unetdn::json_quoted(name);
}

std::string result_line::text(std::filesystem::path const& from, std::filesystem::path const& to,
                              unetdn::image const& result, std::string const& note, std::string const& key,
                              std::string const& value) const {
  if (!json) return quiet ? std::string() : unetdn::text(from.string(), " -> ", to.string(), note);
  std::string const also = key.empty() ? "" : unetdn::text('"', key, "\": ", value, ", ");
  return unetdn::text("{\"input\": ", json_name(from), ", \"output\": ", json_name(to), ", ", also,
                      "\"width\": ", result.width, ", \"height\": ", result.height, '}');
}

std::vector<picture_pair> pair_pictures(std::filesystem::path const& noisy_folder,
                                        std::filesystem::path const& clean_folder) {
  std::vector<std::filesystem::path> noisy = unetdn::list_images(noisy_folder);
  std::vector<std::filesystem::path> clean = unetdn::list_images(clean_folder);
  if (std::filesystem::equivalent(noisy_folder, clean_folder)) {
    clean = take_clean(noisy);
    unetdn::check(
        !noisy.empty() && !clean.empty(), noisy_folder.string(),
        " is to hold both noisy and clean pictures; end the clean ones' names in _clean or _mean, or give two "
        "folders");
  }
  std::pair<pair_key, pair_key> const kinds[] = {{pair_key::name, pair_key::name},
                                                 {pair_key::stem, pair_key::stem},
                                                 {pair_key::stem_without_word, pair_key::stem},
                                                 {pair_key::stem, pair_key::stem_without_word},
                                                 {pair_key::stem_without_word, pair_key::stem_without_word}};
  std::size_t most = 0;
  std::filesystem::path alone, alone_at_best;
  for (auto const& [noisy_kind, clean_kind] : kinds) {
    std::vector<picture_pair> pairs;
    if (pair_by_keys(noisy, noisy_kind, clean, clean_kind, pairs, alone)) return pairs;
    if (alone_at_best.empty() || pairs.size() > most) alone_at_best = alone;
    most = std::max(most, pairs.size());
  }
  throw unetdn::argument_error(alone_at_best.string() +
                               " has no partner of the same name; rename it, or remove it from the folder");
}

}  // namespace programs
