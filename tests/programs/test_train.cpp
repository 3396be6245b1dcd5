// SPDX-License-Identifier: Apache-2.0
// The program `train` as a user meets it: what it takes, writes, prints and refuses.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include <unetdn/generated.hpp>
#include <unetdn/image.hpp>
#include <unetdn/networks/unet.hpp>

#include "../catch.hpp"
#include "../thrown.hpp"
#include "run_program.hpp"

namespace {

namespace fs = std::filesystem;
using arguments = std::vector<std::string>;

/// A folder with pictures: data (3), pairs (3 of each, in one folder), val (1).
struct place : scratch_folder {
  place() {
    for (char const* name : {"data", "pairs", "val", "empty", "text"}) fs::create_directories(path / name);
    for (unsigned i = 0; i < 3; ++i) {
      auto const picture = unetdn::generate_picture(1, i, 40, 32);
      unetdn::write_image(path / "data" / unetdn::text(i, ".png"), picture);
      unetdn::write_image(path / "pairs" / unetdn::text("scene_", i, "_mean.png"), picture);
      unetdn::write_image(path / "pairs" / unetdn::text("scene_", i, "_real.jpg"), picture);
    }
    unetdn::write_image(path / "val" / "0.png", unetdn::generate_picture(2, 0, 24, 24));
    std::ofstream(path / "text" / "notes.txt") << "no picture\n";
  }

  program_result train(arguments const& pictures, arguments const& more = {}, std::string const& base = "8",
                       bool obeys_permissions = false) const {
    arguments all = pictures;
    for (char const* a : {"--levels", "1", "--patch", "16", "--batch", "2", "--threads", "1"}) all.push_back(a);
    if (!base.empty()) all.insert(all.end(), {"--base", base});
    all.insert(all.end(), more.begin(), more.end());
    return run_program(UNETDN_TEST_PROGRAM, all, {.folder = path, .obeys_permissions = obeys_permissions});
  }

  /// Exit code and one line that has these words.
  void refused(int code, arguments const& pictures, arguments const& more, arguments const& words,
               bool obeys_permissions = false) const {
    fs::remove_all(path / "run");
    arguments given = more;
    if (std::find(given.begin(), given.end(), "--steps") == given.end()) given.insert(given.end(), {"--steps", "2"});
    if (std::find(given.begin(), given.end(), "--out") == given.end()) given.insert(given.end(), {"--out", "run"});
    program_result const r = train(pictures, given, "", obeys_permissions);
    if (r.code == privileges_kept) {
      WARN("root's privileges cannot be given up here: permissions are not tested");
      return;
    }
    CAPTURE(pictures, more, r.error);
    CHECK(r.code == code);
    CHECK(one_line(r.error));
    CHECK(contains(r.error, "; "));  // behind it is what to do
    CHECK(r.error.rfind("train: ", 0) == 0);
    for (auto const& word : words) CHECK(contains(r.error, word));
    CHECK(!fs::exists(path / "run"));
  }
};

std::map<std::string, std::string> metadata(fs::path const& weights) {
  return unetdn::safetensors_file(weights).metadata();
}

}  // namespace

TEST_CASE("train learns from pairs in one folder, and measures on some of them") {
  place const where;
  program_result const r =
      where.train({"--noisy", "pairs", "--clean", "pairs", "--split", "0.4"}, {"--steps", "4", "--out", "run"});
  CAPTURE(r.error, r.out);
  REQUIRE(r.code == 0);
  CHECK(r.error.empty());
  CHECK(!contains(r.out, " 0.0 patches/s"));  // a run of less than a second has a speed too
  CHECK(!contains(r.out, "(0 MiB without sharing)"));
  CHECK(contains(r.out, "2 pairs"));
  CHECK(contains(r.out, "1 to measure on (held out)"));
  auto const notes = metadata(where.path / "run" / "best.safetensors");
  CHECK(notes.at("unetdn.noise") == "pairs");
  CHECK(notes.at("unetdn.photographs") == "2");
  CHECK(notes.at("unetdn.split") == "0.4");
  CHECK(notes.at("unetdn.steps") == "4");
  CHECK(notes.count("unetdn.validation_psnr") == 1);
  for (auto const& [key, value] : notes) CHECK(!contains(value, where.path.string()));
  std::string const page = file_contents(where.path / "run" / "report.html");
  CHECK(contains(page, "</html>"));
  CHECK(contains(page, "scene_"));
  CHECK(!contains(page, where.path.string()));
  CHECK(where
            .train({"--noisy", "pairs", "--clean", "pairs"},
                   {"--val-noisy", "pairs", "--val-clean", "pairs", "--steps", "1", "--out", "other", "--quiet"})
            .code == 0);
}

TEST_CASE("train holds the same pictures out each time, and says so") {
  place const where;
  for (char const* run : {"a", "b"}) {
    REQUIRE(where.train({"--data", "data", "--split", "0.5"}, {"--steps", "2", "--out", run, "--no-report"}).code == 0);
    CHECK(!fs::exists(where.path / run / "report.html"));
  }
  CHECK(file_contents(where.path / "a" / "best.safetensors") == file_contents(where.path / "b" / "best.safetensors"));
  CHECK(metadata(where.path / "a" / "best.safetensors").at("unetdn.photographs") == "2");
}

TEST_CASE("a resume with other pictures is refused, and changes nothing") {
  place const where;
  arguments const run{"--steps", "2", "--out", "begun", "--resume"};
  REQUIRE(where.train({"--data", "data", "--split", "0.4"}, {"--steps", "2", "--out", "begun"}).code == 0);
  std::string const before = file_contents(where.path / "begun" / "best.safetensors");
  where.refused(2, {"--data", "data"}, run, {"begun: the run began with other pictures", "split: 0.4, now none"});
  where.refused(2, {"--data", "data", "--split", "0.4", "--generated", "5"}, run, {"generated: 0, now 5"});
  where.refused(2, {"--data", "data", "--val", "val"}, run, {"split"});
  fs::create_directories(where.path / "moved");
  for (auto const& file : fs::directory_iterator(where.path / "data"))
    fs::copy(file, where.path / "moved" / file.path().filename());
  program_result const same = where.train({"--data", "moved", "--split", "0.4"}, run);
  CAPTURE(same.error);
  CHECK(same.code == 0);  // the same pictures elsewhere
  fs::rename(where.path / "moved" / "0.png", where.path / "moved" / "3.png");
  where.refused(2, {"--data", "moved", "--split", "0.4"}, run, {"pictures hash"});
  CHECK(file_contents(where.path / "begun" / "best.safetensors") == before);

  arguments const anew{"--steps", "1", "--out", "begun", "--force", "--no-report"};
  CHECK(fs::exists(where.path / "begun" / "report.html"));
  CHECK(where.train({"--data", "data"}, anew).code == 0);
  CHECK(!fs::exists(where.path / "begun" / "report.html"));  // of the run that was removed
}

TEST_CASE("train goes on from weights, of which it takes the configuration, and a resume remembers them") {
  place const where;
  REQUIRE(where.train({"--data", "data"}, {"--steps", "2", "--out", "first", "--output", "residual"}).code == 0);
  auto const tune = [&](std::string const& out, arguments const& more) {
    arguments all{"--init", "first/best.safetensors", "--steps", "40", "--out", out, "--checkpoint-seconds", "0"};
    all.insert(all.end(), more.begin(), more.end());
    return where.train({"--data", "data"}, all, "");
  };
  REQUIRE(tune("tuned", {}).code == 0);
  auto const notes = metadata(where.path / "tuned" / "best.safetensors");
  CHECK(notes.at("unetdn.base") == "8");
  CHECK(notes.at("unetdn.residual") == "true");
  CHECK(notes.at("unetdn.init") == "best.safetensors");
  CHECK(notes.at("unetdn.init_hash").size() == 16);

  fs::rename(where.path / "first", where.path / "gone");  // the checkpoint wins
  fs::rename(where.path / "tuned" / "best.safetensors", where.path / "best.safetensors");
  fs::rename(where.path / "tuned" / "checkpoint.previous.safetensors", where.path / "tuned" / "checkpoint.safetensors");
  program_result const resumed = tune("tuned", {"--resume"});
  CAPTURE(resumed.error);
  CHECK(resumed.code == 0);
  CHECK(file_contents(where.path / "tuned" / "best.safetensors") == file_contents(where.path / "best.safetensors"));

  std::string const page = file_contents(where.path / "tuned" / "report.html");
  std::string const log = file_contents(where.path / "tuned" / "log.csv");
  CHECK(contains(page, "<dd class=''>40 <small>1 of them in "));
  std::size_t const first_loss = log.find("\n1,") + 3;
  CHECK(contains(
      page, "Loss against steps: " + log.substr(first_loss, log.find(',', first_loss) - first_loss) + " at first"));

  where.refused(2, {"--data", "data"}, {"--init", "gone/best.safetensors", "--base", "16"},
                {"best.safetensors", "--base"});
  where.refused(2, {"--data", "data"}, {"--init", "gone/best.safetensors", "--grey"}, {"best.safetensors", "--grey"});
  where.refused(2, {"--data", "data"}, {"--init", "gone/best.safetensors", "--output", "sigmoid"}, {"--output"});
  where.refused(1, {"--data", "data"}, {"--init", "first/best.safetensors"},
                {"first/best.safetensors", "No such file"});
  where.refused(1, {"--data", "data"}, {"--init", "data/0.png"}, {"data/0.png"});
}

TEST_CASE("train prints lines for other programs, or nothing") {
  place const where;
  program_result const r = where.train({"--data", "data", "--val", "val"}, {"--steps", "3", "--out", "run", "--json"});
  REQUIRE(r.code == 0);
  CHECK(r.out.rfind("{\"step\": 1, \"steps\": 3, \"loss\": ", 0) == 0);
  CHECK(std::count(r.out.begin(), r.out.end(), '\n') == 4);
  CHECK(!contains(r.out, "\"patches_per_second\": 0,"));
  CHECK(contains(r.out, "{\"done\": true, \"step\": 3, \"best_psnr\": "));
  CHECK(contains(r.out, "\"weights\": \"run/best.safetensors\"}"));
  program_result const quiet = where.train({"--generated", "9"}, {"--steps", "1", "--out", "quiet", "--quiet"});
  CHECK(quiet.code == 0);
  CHECK(quiet.out + quiet.error == "");
}

TEST_CASE("train refuses pictures that do not fit") {
  place const where;
  arguments const data{"--data", "data"};
  where.refused(1, {"--data", "empty"}, {}, {"empty", "no picture"});
  where.refused(1, {"--data", "text"}, {}, {"text", "no picture"});
  where.refused(1, {"--data", "nowhere"}, {}, {"nowhere"});
  where.refused(2, {}, {}, {"--data"});
  where.refused(2, {"--data", "val", "--split", "0.5"}, {}, {"--split"});
  where.refused(2, {"--data", "data", "--split", "1.5"}, {}, {"--split"});
  where.refused(2, {"--generated", "5", "--split", "0.5"}, {}, {"--split", "--val"});
  where.refused(2, {"--data", "data", "--split", "0.5", "--val", "val"}, {}, {"--split", "--val"});
  where.refused(2, {"--noisy", "pairs"}, {}, {"--clean"});
  arguments const pairs{"--noisy", "pairs", "--clean", "pairs"};
  where.refused(2, pairs, {"--data", "data"}, {"--data"});
  where.refused(2, pairs, {"--generated", "5"}, {"--generated"});
  where.refused(2, pairs, {"--noise", "gaussian:25"}, {"--noise"});
  where.refused(2, pairs, {"--noise-map"}, {"noise map"});
  where.refused(2, pairs, {"--val", "val"}, {"--val-noisy", "--split"});
  where.refused(2, {"--noisy", "data", "--clean", "val"}, {}, {"has no partner"});
  unetdn::write_image(where.path / "pairs" / "scene_2_mean.png", unetdn::generate_picture(1, 2, 40, 31));
  where.refused(1, pairs, {}, {"scene_2_real.jpg", "has 40 x 32 pixels", "scene_2_mean.png has 40 x 31 pixels"});
  std::ofstream(where.path / "data" / "damaged.png") << "\x89PNG\r\n\x1a\n and no more";
  where.refused(1, data, {}, {"data/damaged.png"});
  std::ofstream(where.path / "data" / "damaged.png", std::ios::trunc).flush();
  where.refused(1, data, {}, {"data/damaged.png"});
  program_result const replaced =
      where.train(data, {"--replace-damaged", "--steps", "2", "--out", "replaced", "--quiet"});
  CHECK(replaced.code == 0);
  CHECK(one_line(replaced.error));
  CHECK(contains(replaced.error, "train: left out: data/damaged.png: is empty"));
  for (char const* seed : {"1", "2", "3", "4"}) {  // whichever is drawn first to be held out
    program_result const held_out = where.train(data, {"--replace-damaged", "--split", "0.5", "--seed", seed, "--steps",
                                                       "1", "--out", "split", "--quiet", "--force"});
    CHECK(held_out.code == 0);
    CHECK(contains(held_out.error, "train: left out: data/damaged.png: is empty"));
  }
  where.refused(2, pairs, {"--replace-damaged"}, {"--replace-damaged"});
  fs::remove(where.path / "data" / "damaged.png");
  where.refused(1, {"--data", "data", "--val", "empty"}, {}, {"empty"});
  for (fs::path const name : {"data/0.png", "data"}) {
    fs::permissions(where.path / name, fs::perms::none);
    where.refused(1, data, {}, {name, "ermission denied"}, true);
    fs::permissions(where.path / name, fs::perms::owner_all);
  }
  fs::create_directory(where.path / "locked");
  fs::permissions(where.path / "locked", fs::perms::owner_read);
  where.refused(1, data, {"--out", "locked/run"}, {"locked/run", "ermission denied"}, true);
  fs::permissions(where.path / "locked", fs::perms::owner_all);
}

TEST_CASE("train refuses options that make no sense") {
  place const where;
  arguments const data{"--data", "data"};
  auto const refused = [&](arguments const& more, std::string const& word) { where.refused(2, data, more, {word}); };
  refused({"--noise", "gaussian:-1"}, "negative");
  refused({"--noise", "gaussian:nan"}, "not a number");
  refused({"--noise", "gaussian:1e9"}, "above 1000");
  refused({"--noise", "poisson:3"}, "unknown model");
  for (char const* option :
       {"--base", "--levels", "--patch", "--batch", "--steps", "--threads", "--seed", "--generated", "--validations"}) {
    for (std::string const& value : no_whole_numbers) refused({option, value}, option);
  }
  for (char const* option : {"--rate", "--split", "--minutes", "--checkpoint-seconds"}) {
    for (std::string const& value : no_numbers) refused({option, value}, option);
  }
  for (char const* option : {"--base", "--levels", "--patch", "--steps", "--validations"}) {
    refused({option, "0"}, option);
  }
  refused({"--rate", "0"}, "rate");
  refused({"--base", "12"}, "multiple of 8");
  refused({"--steps", "5", "--minutes", "1"}, "--minutes");
  refused({"--out", ""}, "--out");
  refused({"--loss", "l7"}, "l7");
  refused({"--output", "tanh"}, "tanh");
  refused({"--json", "--quiet"}, "--quiet");
  refused({"--unknown"}, "--unknown");
  refused({"stray"}, "stray");
  std::ofstream(where.path / "file") << "x";
  where.refused(1, data, {"--out", "file/run"}, {"file/run"});
  where.refused(1, data, {"--out", "file"}, {"file"});
  where.refused(1, data, {"--resume"}, {"holds no training run"});
}

TEST_CASE("train does not lose a run to a report that cannot be written") {
  place const where;
  fs::create_directories(where.path / "run" / "report.html");  // a folder stands in its way
  program_result const r = where.train({"--data", "data", "--val", "val"}, {"--steps", "3", "--out", "run"});
  CHECK(r.code == 0);
  CHECK(one_line(r.error));
  CHECK(contains(r.error, "report.html"));
  CHECK(fs::exists(where.path / "run" / "best.safetensors"));
}

TEST_CASE("train explains itself") {
  place const where;
  program_result const r = run_program(UNETDN_TEST_PROGRAM, {"--help"});
  CHECK(r.code == 0);
  for (char const* word : {"--noisy", "--split", "--init", "Examples:", "Exit codes:"}) CHECK(contains(r.out, word));
}
