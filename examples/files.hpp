// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <unetdn/image.hpp>

#include "command_line.hpp"

// The files that programs read and write: where results go, nothing that is overwritten by surprise, pictures that
// belong together.

namespace programs {

/// What every program takes that writes files.
struct common_settings {
  int threads = 0;
  bool force = false, quiet = false;
};

void add_common_options(command_line& options, common_settings& s, std::string const& quiet = "print errors only");
/// For programs that read pictures.
void add_reading_options(command_line& options, unetdn::read_options& reading);
void add_json_option(command_line& options, bool& json);

/// Throws argument_error where no picture can be written under the name that an option gave, or none of 16 bits where
/// `deep`. `otherwise` ends the remedy.
void check_picture_name(std::string const& option, std::filesystem::path const& name, bool deep = false,
                        std::string const& otherwise = "");

/// The pictures that a list of files and folders names, each once: a folder stands for all pictures in it. Throws
/// file_error where one does not exist.
std::vector<std::filesystem::path> expand(std::vector<std::filesystem::path> const& inputs);

/// The files that a program is going to write, all planned before any work.
class planned_files {
 public:
  planned_files(std::vector<std::filesystem::path> const& inputs, bool force);

  /// Throws argument_error where `to` is an input, is planned already, or, without force, exists. `origin` is what it
  /// is made of, for that message.
  void add(std::filesystem::path const& to, std::string const& origin);
  /// The same for a file whose folder must exist. Throws file_error where it does not.
  void add_single(std::filesystem::path const& to, std::string const& origin);

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
          planned_files& plan, bool deep = false);
  /// Removes the folder that make_folder() has made, if nothing was written there.
  ~outputs();
  outputs(outputs const&) = delete;
  outputs& operator=(outputs const&) = delete;

  /// Makes the folder, where results go into one, and removes what a killed program left half-written there. Throws
  /// file_error.
  void make_folder();
  /// The result of one input. Formats that are only read become PNG, and so does JPEG where there are to be 16 bits.
  std::filesystem::path path_for(std::filesystem::path const& input) const;

 private:
  std::filesystem::path out_;
  bool to_file_, deep_, made_ = false;
};

/// A file's name as a JSON string. Names are bytes: what is not UTF-8 becomes U+FFFD.
std::string json_name(std::filesystem::path const& path);

/// What is printed of one result: nothing, a line for people with `note` at its end, or
/// with --json an object that also has the JSON value `value` under `key`, unless that is empty.
struct result_line {
  bool json = false, quiet = false;

  std::string text(std::filesystem::path const& from, std::filesystem::path const& to, unetdn::image const& result,
                   std::string const& note = "", std::string const& key = "", std::string const& value = "") const;
};

/// The same scene with and without noise.
struct picture_pair {
  std::string name;
  std::filesystem::path noisy, clean;
};

/// Pairs the pictures of two folders by name: equal names, equal names but for the extension, or equal ones without the
/// last word where that is the same in all of a folder (plug_12_real.jpg and plug_12_mean.jpg). Both may be one folder
/// whose clean pictures end in _clean, _mean or _gt.
///
/// Throws argument_error, naming the picture, where one has no partner; file_error where a folder has no pictures.
std::vector<picture_pair> pair_pictures(std::filesystem::path const& noisy_folder,
                                        std::filesystem::path const& clean_folder);

}  // namespace programs
