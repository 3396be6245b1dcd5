// SPDX-License-Identifier: Apache-2.0
// The program contact_sheet, run as a user does.
#include "inputs.hpp"

using namespace inputs;

TEST_CASE("contact_sheet refuses what it cannot do in one line") {
  check_help("contact_sheet");
  scratch_folder const scratch;
  std::string const out = scratch.path / "sheet.png";
  arguments const some{"--out", out, "--size", "16", "--columns", "2"};
  for (char const* option : {"--seed", "--threads"}) refuses_values(some, option, no_whole_numbers);
  for (char const* option : {"--size", "--columns"}) {
    refuses_values({"--out", out}, option, no_whole_numbers);
    refuses_values({"--out", out}, option, {"0", "1025"});
  }
  refuses({"--out", out, "--size", "1024", "--columns", "32"}, {"too large", "--columns"}, 2);
  refuses({"--out", ""}, {"--out", "is empty"}, 2);
  refuses({"--out", scratch.path / "sheet.tif"}, {"--out", ".tif cannot be written"}, 2);
  refuses({"--out", scratch.path / "sheet"}, {"--out", "without extension cannot be written"}, 2);
  refuses({"--out", scratch.path / "none" / "sheet.png"}, {"sheet.png", "there is no folder"}, 1);
  for (std::string const fault : {"full:1", "fail:2", "fail:3"}) {
    refuses(some, {out, "cannot be written"}, 1, {.variables = with_fault(UNETDN_TEST_FAULTS, fault, scratch.path)});
    CHECK(names_in(scratch.path).empty());
  }
  write_text(out, "mine");
  refuses(some, {out, "--force"}, 2);
  CHECK(file_contents(out) == "mine");
  CHECK(succeeds(with(some, {"--force"})) == out + ": 36 x 196 pixels\n");
}

TEST_CASE("contact_sheet's picture depends on the seed, not on the threads") {
  scratch_folder const scratch;
  auto const sheet = [&](std::string const& name, arguments const& more) {
    fs::path const to = scratch.path / name;
    CHECK(succeeds(with({"--out", to, "--size", "16", "--columns", "2", "--quiet"}, more)).empty());
    return file_contents(to);
  };
  std::string const one = sheet("a.png", {"--threads", "1"});
  CHECK(sheet("b.png", {"--threads", "3"}) == one);
  CHECK(sheet("c.png", {"--seed", "1"}) != one);
}
