// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <csignal>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include <unetdn/core/file.hpp>
#include <unetdn/image.hpp>

#include "../image/made_files.hpp"
#include "catch.hpp"
#include "run_program.hpp"
#include "thrown.hpp"

// Good and bad input for the programs that work on pictures.

namespace inputs {

namespace fs = std::filesystem;
using arguments = std::vector<std::string>;

inline void write_text(fs::path const& path, std::string const& s) {
  unetdn::write_file_atomically(path, std::as_bytes(std::span(s)));
}

/// A picture whose samples are exact in 8 or 16 bits, as a file.
inline unetdn::image write_picture(fs::path const& path, int width, int height, int channels, int bit_depth = 8,
                                   unsigned seed = 1) {
  unetdn::image picture = made_files::noise_picture(width, height, channels, bit_depth, seed);
  unetdn::write_image(path, picture);
  return picture;
}

/// The arguments with more at the end.
inline arguments with(arguments all, arguments const& more) {
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

/// A program that must refuse: one line on standard error that has these parts, and a code of failure.
inline void refuses(arguments const& given, std::vector<std::string> const& parts, int code,
                    surroundings const& around = {}) {
  program_result const r = run_program(UNETDN_TEST_PROGRAM, given, around);
  if (r.code == privileges_kept) {
    WARN("root's privileges cannot be given up here: permissions are not tested");
    return;
  }
  INFO(r.error << "code " << r.code);
  CHECK(r.code == code);
  CHECK(one_line(r.error));
  for (std::string const& part : parts) {
    INFO("wanted: " << part);
    CHECK(contains(r.error, part));
  }
  CHECK(contains(r.error, "; "));  // behind it is what to do
}

/// A program that must succeed in silence; what it prints.
inline std::string succeeds(arguments const& given) {
  program_result const r = run_program(UNETDN_TEST_PROGRAM, given);
  INFO(r.error);
  CHECK(r.code == 0);
  CHECK(r.error.empty());
  return r.out;
}

/// All that a folder holds, temporary files included.
inline std::vector<std::string> names_in(fs::path const& folder) {
  std::vector<std::string> names;
  for (auto const& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

/// A program that must refuse, as the value of an option, what is no number.
inline void refuses_values(arguments const& given, std::string const& option, std::vector<std::string> const& values) {
  for (std::string const& value : values) refuses(with(given, {option, value}), {option}, 2);
}

/// Files that are no whole pictures, each with what a refusal of it says.
inline std::vector<std::pair<std::string, std::string>> write_broken_pictures(fs::path const& folder) {
  write_picture(folder / "whole.png", 16, 16, 3);
  std::string const whole = file_contents(folder / "whole.png");
  fs::remove(folder / "whole.png");
  write_text(folder / "empty.png", "");
  write_text(folder / "text.jpg", "This is no picture.\n");
  write_text(folder / "truncated.png", whole.substr(0, whole.size() / 2));
  std::string header;
  made_files::append_32(header, 100000);
  made_files::append_32(header, 100000);
  header += {8, 2, 0, 0, 0};
  write_text(folder / "huge.png", whole.substr(0, 8) + made_files::png_chunk("IHDR", header) +
                                      made_files::png_chunk("IDAT", "") + made_files::png_chunk("IEND", ""));
  return {{"empty.png", "empty"}, {"huge.png", "100000"}, {"text.jpg", "picture"}, {"truncated.png", "truncated"}};
}

/// Nobody may do anything with this file or folder for as long as this lives.
class forbidden {
 public:
  explicit forbidden(fs::path path) : path_{std::move(path)} { fs::permissions(path_, fs::perms::none); }
  forbidden(forbidden const&) = delete;
  forbidden& operator=(forbidden const&) = delete;
  ~forbidden() { fs::permissions(path_, fs::perms::owner_all); }

 private:
  fs::path path_;
};

/// A program that must refuse because of permissions.
inline void refuses_without_permission(arguments const& given, fs::path const& names) {
  refuses(given, {names, "ermission denied", "check the permissions"}, 1, {.obeys_permissions = true});
}

/// Names and contents of all files below a folder.
inline std::map<std::string, std::string> files_below(fs::path const& folder) {
  std::map<std::string, std::string> files;
  if (!fs::exists(folder)) return files;
  for (auto const& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) files[entry.path().lexically_relative(folder)] = file_contents(entry.path());
  }
  return files;
}

/// A program that writes into the folder `out` must end with one line where the disk is full from any moment on or an
/// operation fails, and leave whole files only, also where it is killed.
inline void survives_full_disk(arguments const& given, fs::path const& out) {
  fs::remove_all(out);
  succeeds(given);
  auto const whole = files_below(out);
  for (std::string const fault : {"full:", "fail:"}) {
    int n = 1;
    for (;; ++n) {
      REQUIRE(n < 1000);  // it succeeds where there is no such operation
      fs::remove_all(out);
      program_result const r = run_program(UNETDN_TEST_PROGRAM, given,
                                           {.variables = with_fault(UNETDN_TEST_FAULTS, unetdn::text(fault, n), out)});
      CAPTURE(fault, n, r.error);
      auto const left = files_below(out);
      if (r.code == 0) {
        CHECK(left == whole);
        break;
      }
      CHECK(r.code == 1);
      CHECK(one_line(r.error));
      CHECK(contains(r.error, out));
      CHECK(contains(r.error, fault == "full:" ? "No space left on device; free some space" : "Input/output error"));
      CHECK(left.size() < whole.size());
      for (auto const& [name, contents] : left) {
        CAPTURE(name);
        REQUIRE(whole.count(name) == 1);
        CHECK(contents == whole.at(name));
      }
    }
    CHECK(n > 3 * static_cast<int>(whole.size()));  // a write, a sync and a rename each
  }
  for (int n = 1; n <= 3; ++n) {  // killed while it writes: the next one removes what that left
    fs::remove_all(out);
    auto const kill = with_fault(UNETDN_TEST_FAULTS, unetdn::text("kill:", n), out);
    CHECK(run_program(UNETDN_TEST_PROGRAM, given, {.variables = kill}).code == 128 + SIGKILL);
    for (auto const& [name, contents] : files_below(out)) CHECK((whole.count(name) == 0 || contents == whole.at(name)));
    succeeds(with(given, {"--force"}));
    CHECK(files_below(out) == whole);
  }
}

/// What every program must refuse that takes inputs and --out: `command` makes its arguments of both.
template <class Command> void refuse_bad_files(Command command) {
  scratch_folder const scratch;
  fs::path const in = scratch.path / "in", out = scratch.path / "out";
  fs::create_directory(in);
  std::string const one = in / "one.png", result = out / "one.png";

  refuses(command(in, out), {in, "holds no pictures"}, 1);
  refuses(command(one, out), {one, "check the spelling"}, 1);
  for (auto const& [name, says] : write_broken_pictures(in)) {
    refuses(command(in / name, out), {in / name, says}, 1);
    CHECK(!fs::exists(out));
  }
  fs::create_directory(out);
  refuses(command(in / "text.jpg", out), {in / "text.jpg"}, 1);
  CHECK(fs::remove(out));  // a folder that was there before stays, though it is empty
  refuses(command(in / "huge.png", out), {"200 megapixels", "--any-size"}, 1);
  refuses(with(command(in / "huge.png", out), {"--any-size"}), {in / "huge.png", "damaged or truncated"}, 1);
  refuses(command(in / "text.jpg" / "below", out), {in / "text.jpg" / "below"}, 1);
  refuses(command(in / "two\nlines.png", out), {in / "two?lines.png", "check the spelling"}, 1);
  fs::create_directory(in / "folder.png");
  refuses(command(in / "folder.png", out), {in / "folder.png", "holds no pictures"}, 1);
  fs::remove(in / "folder.png");

  // One good picture among the broken ones is still worked on, and behind one whose name says too little for its alpha.
  write_picture(one, 12, 12, 3);
  write_picture(in / "alpha.png", 12, 12, 4);
  fs::rename(in / "alpha.png", in / "alpha.jpg");
  program_result const r = run_program(UNETDN_TEST_PROGRAM, command(in, out));
  CHECK(r.code == 1);
  CHECK(std::count(r.error.begin(), r.error.end(), '\n') == 5);
  CHECK(contains(r.error, "alpha channel"));
  CHECK(names_in(out) == arguments{"one.png"});
  fs::remove(in / "alpha.jpg");

  std::string const before = file_contents(result);
  refuses(command(one, out), {result, "--force"}, 2);
  CHECK(file_contents(result) == before);
  refuses(command(one, in), {one, "input itself"}, 2);
  refuses(with(command(one, in), {"--force"}), {one, "input itself"}, 2);
  refuses(command(in, scratch.path / "single.png"), {"--out", "give a folder"}, 2);
  refuses(command(one, scratch.path / "single.tif"), {"--out", ".tif cannot be written"}, 2);
  refuses(command(one, scratch.path / "none" / "single.png"), {"single.png", "there is no folder"}, 1);
  refuses(command(one, in / "text.jpg" / "below"), {in / "text.jpg" / "below", "cannot be made a folder"}, 1);
  refuses(with(command(one, out), {"--no-such-option"}), {"--no-such-option", "--help"}, 2);
  refuses_values(command(one, out), "--threads", no_whole_numbers);
  refuses(command(one, ""), {"--out", "is empty"}, 2);
  refuses(command(one, scratch.path / "single.PFM"), {"--out", ".pfm cannot be written", "a folder"}, 2);
  CHECK(!fs::exists(scratch.path / "single.PFM"));
  succeeds(command(one, scratch.path / "single.pfm/"));  // told that it is a folder
  CHECK(names_in(scratch.path / "single.pfm") == arguments{"one.png"});

  {
    forbidden const file(one);
    refuses_without_permission(command(one, scratch.path / "unread"), one);
  }
  {
    forbidden const folder(in);
    refuses_without_permission(command(in, scratch.path / "unread"), in);
    refuses_without_permission(command(one, scratch.path / "unread"), one);
  }
  {
    fs::remove_all(out);
    fs::create_directory(out);
    forbidden const folder(out);
    refuses_without_permission(command(one, out), result);
  }
  CHECK(names_in(out).empty());

  write_picture(in / "same.png", 4, 4, 3);
  write_text(in / "same.bmp", "");
  refuses(command(in, scratch.path / "new"), {"same.bmp", "same.png", "would both become"}, 2);
  CHECK(!fs::exists(scratch.path / "new"));

  for (char const* name : {"empty.png", "huge.png", "same.bmp", "same.png", "text.jpg", "truncated.png"}) {
    fs::remove(in / name);
  }
  write_picture(in / "two.png", 10, 10, 3);
  survives_full_disk(with(command(in, out), {"--threads", "1"}), out);
}

/// Help shows examples and the exit codes.
inline void check_help(std::string const& name) {
  std::string const help = succeeds({"--help"});
  CHECK(contains(help, "Examples:\n  " + name));
  CHECK(contains(help, "Exit codes:"));
}

}  // namespace inputs
