// SPDX-License-Identifier: Apache-2.0
// The program `train` is killed, interrupted and starved of disk space, and must end with the bits of a run to which
// nothing happened. File operations go wrong through the preloaded library of faults.cpp.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <sys/mount.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include <unetdn/generated.hpp>
#include <unetdn/image.hpp>
#include <unetdn/safetensors.hpp>

#include "catch.hpp"
#include "programs/run_program.hpp"
#include "thrown.hpp"

namespace {

namespace fs = std::filesystem;
using arguments = std::vector<std::string>;

/// How a program ended and what it printed.
struct outcome {
  int status = 0;
  std::string out, errors;
  bool exited_with(int code) const { return WIFEXITED(status) && WEXITSTATUS(status) == code; }
  bool killed() const { return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL; }
};

/// A folder with three pictures to learn from, one to measure on, and room for runs; removed at the end.
struct place {
  fs::path path = fs::canonical(fs::temp_directory_path()) / unetdn::text("unetdn_test_nothing_lost_", ::getpid());
  place() {
    fs::remove_all(path);
    fs::create_directories(path / "data");
    fs::create_directories(path / "val");
    for (int i = 0; i < 3; ++i) {
      unetdn::write_image(path / "data" / unetdn::text(i, ".png"), unetdn::generate_picture(1, unsigned(i), 40, 32));
    }
    unetdn::write_image(path / "val" / "0.png", unetdn::generate_picture(2, 0, 24, 24));
  }
  ~place() { fs::remove_all(path); }
  fs::path run(std::string const& name) const { return path / name; }

  arguments command(fs::path const& run, int steps, std::string const& checkpoint_seconds, arguments more = {}) const {
    arguments all{"--data",
                  path / "data",
                  "--val",
                  path / "val",
                  "--out",
                  run,
                  "--base",
                  "8",
                  "--levels",
                  "1",
                  "--patch",
                  "16",
                  "--batch",
                  "2",
                  "--threads",
                  "1",
                  "--noise",
                  "gaussian:25",
                  "--rate",
                  "0.01",
                  "--steps",
                  unetdn::text(steps),
                  "--checkpoint-seconds",
                  checkpoint_seconds,
                  "--no-report"};  // a test of its own writes it
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
};

/// A running `train`.
class program {
 public:
  /// `fault` as in faults.cpp, for operations in `fault_folder`; empty: none.
  program(place const& where, arguments const& given, std::string const& fault = "", fs::path const& fault_folder = {})
      : out_{where.path / unetdn::text("out", ++count_)}, errors_{where.path / unetdn::text("errors", count_)} {
    std::vector<char*> argv{const_cast<char*>("train")};
    for (auto const& a : given) argv.push_back(const_cast<char*>(a.c_str()));
    argv.push_back(nullptr);
    id_ = ::fork();
    if (id_ != 0) return;
    if (!fault.empty()) {
      for (auto const& [name, value] : with_fault(UNETDN_TEST_FAULTS, fault, fault_folder)) {
        ::setenv(name.c_str(), value.c_str(), 1);
      }
    }
    ::dup2(::open(out_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666), STDOUT_FILENO);
    ::dup2(::open(errors_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666), STDERR_FILENO);
    ::execv(UNETDN_TEST_PROGRAM, argv.data());
    ::_exit(127);
  }
  program(program const&) = delete;
  program& operator=(program const&) = delete;
  ~program() {
    if (running_) signal(SIGKILL), wait();
  }

  void signal(int number) const { ::kill(id_, number); }
  /// Waits for the end.
  outcome wait() {
    outcome o;
    ::waitpid(id_, &o.status, 0);
    return end(o);
  }
  /// Waits until it is stopped, and then is true, or has ended.
  bool wait_for_stop() {
    ::waitpid(id_, &status_, WUNTRACED);
    running_ = WIFSTOPPED(status_);
    return running_;
  }
  /// What it printed, where wait_for_stop was false.
  outcome ended() { return end({status_, {}, {}}); }

 private:
  outcome end(outcome o) {
    running_ = false;
    o.out = file_contents(out_);
    o.errors = file_contents(errors_);
    fs::remove(out_);
    fs::remove(errors_);
    return o;
  }

  static inline int count_ = 0;
  fs::path out_, errors_;
  pid_t id_ = 0;
  int status_ = 0;
  bool running_ = true;
};

outcome train(place const& where, arguments const& given, std::string const& fault = "", fs::path const& folder = {}) {
  return program(where, given, fault, folder).wait();
}

arguments resumed(arguments a) {
  a.push_back("--resume");
  return a;
}

/// The step of a checkpoint, which is read whole: a damaged one throws.
std::int64_t checkpoint_step(fs::path const& file) {
  unetdn::safetensors_file const checkpoint(file);
  for (auto const& name : checkpoint.names()) checkpoint.floats(name);
  return std::stoll(checkpoint.metadata("unetdn.step"));
}

/// The step from which a resume of this folder goes on; -1: there is no checkpoint.
std::int64_t safe_step(fs::path const& run) {
  for (char const* name : {"checkpoint.new.safetensors", "checkpoint.safetensors"}) {
    if (fs::exists(run / name)) return checkpoint_step(run / name);
  }
  return -1;
}

/// Whole rows of the log.
std::int64_t rows(fs::path const& run) {
  std::string const log = file_contents(run / "log.csv");
  return std::max<std::int64_t>(1, std::count(log.begin(), log.end(), '\n')) - 1;
}

/// The names of the files in which two runs differ; a run has nothing beside these.
std::string differences(fs::path const& run, fs::path const& whole) {
  std::string all;
  for (char const* name : {"checkpoint.safetensors", "best.safetensors", "log.csv"}) {
    if (file_contents(run / name).empty() || file_contents(run / name) != file_contents(whole / name))
      all += std::string(name) + ' ';
  }
  for (auto const& entry : fs::directory_iterator(run)) {
    std::string const name = entry.path().filename();
    if (!fs::exists(whole / name) && name != "checkpoint.previous.safetensors") all += "left: " + name + ' ';
  }
  return all;
}

constexpr int few_steps = 4;

/// A run of few steps with a checkpoint after each, to which nothing happens.
fs::path uninterrupted(place const& where) {
  fs::path const whole = where.run("whole");
  outcome const o = train(where, where.command(whole, few_steps, "0"));
  INFO(o.errors);
  REQUIRE(o.exited_with(0));
  REQUIRE(rows(whole) == few_steps);
  return whole;
}

/// Calls test(number of the operation, folder of the run) for one operation after another, until it returns false.
template <class Test> int for_each_operation(place const& where, int stride, Test const& test) {
  int tried = 0;
  for (int n = 1; n < 2000; n += stride) {
    fs::path const run = where.run("run");
    fs::remove_all(run);
    CAPTURE(n);
    if (!test(n, run)) return tried;
    ++tried;
  }
  FAIL("the operations have no end");
  return tried;
}

}  // namespace

TEST_CASE("a kill at any write, sync, rename and removal loses at most a step, and no bit in the end") {
  place const where;
  fs::path const whole = uninterrupted(where);
  int const kills = for_each_operation(where, 1, [&](int n, fs::path const& run) {
    auto const command = where.command(run, few_steps, "0");
    outcome const first = train(where, command, unetdn::text("kill:", n), run);
    if (first.exited_with(0)) return false;
    REQUIRE(first.killed());
    CHECK(rows(run) - std::max<std::int64_t>(0, safe_step(run)) <= 1);
    outcome const second = train(where, resumed(command));
    CAPTURE(second.errors);
    CHECK(second.exited_with(0));
    CHECK(differences(run, whole) == "");
    return true;
  });
  WARN(kills << " kills, one at each operation");
  CHECK(kills > 50);
}

TEST_CASE("a kill while an earlier run is removed or resumed leaves a run that can be resumed") {
  place const where;
  fs::path const whole = uninterrupted(where);
  fs::path const stopped = where.run("stopped");
  // in the first write of the second checkpoint
  REQUIRE(train(where, where.command(stopped, few_steps, "0"), "kill:18", stopped).killed());
  REQUIRE(safe_step(stopped) == 0);
  REQUIRE(!fs::exists(stopped / "checkpoint.new.safetensors"));
  arguments const how = GENERATE(arguments{"--resume"}, arguments{"--force"});
  for (int n = 1; n <= 9; ++n) {
    fs::path const run = where.run("run");
    fs::remove_all(run);
    fs::copy(stopped, run);
    CAPTURE(how[0], n);
    REQUIRE(train(where, where.command(run, few_steps, "0", how), unetdn::text("kill:", n), run).killed());
    outcome const second = train(where, where.command(run, few_steps, "0", {"--resume"}));
    CAPTURE(second.errors);
    CHECK(second.exited_with(0));
    CHECK(differences(run, whole) == "");
  }
}

TEST_CASE("kills at random moments lose no bit in the end") {
  place const where;
  constexpr int steps = 150, wanted = 24;
  fs::path const whole = where.run("whole"), run = where.run("run");
  auto const begin = std::chrono::steady_clock::now();
  REQUIRE(train(where, where.command(whole, steps, "60")).exited_with(0));
  double const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  auto const command = where.command(run, steps, "0.005");
  std::mt19937 random(1);
  std::uniform_real_distribution<double> moment(0, 0.4 * seconds);
  int kills = 0, finished = 0;
  for (bool done = false; kills < wanted || !done;) {
    bool const started = fs::exists(run / "log.csv");
    program p(where, started ? resumed(command) : command);
    if (kills < wanted) {
      std::this_thread::sleep_for(std::chrono::duration<double>(moment(random)));
      p.signal(SIGKILL);
    }
    outcome const o = p.wait();
    CAPTURE(kills, o.errors);
    done = o.exited_with(0);
    if (!done) {
      REQUIRE(o.killed());
      kills += fs::exists(run / "log.csv");  // others came before the run began
      continue;
    }
    CHECK(differences(run, whole) == "");
    ++finished;
    fs::remove_all(run);
  }
  WARN(kills << " kills at random moments, " << finished << " runs finished");
}

TEST_CASE("a full disk or a failure at any operation stops training with one line, and no bit is lost") {
  place const where;
  std::string const fault = GENERATE("full:", "fail:");
  fs::path const whole = uninterrupted(where);
  int stopped = 0;
  int const tried = for_each_operation(where, 1, [&](int n, fs::path const& run) {
    auto const command = where.command(run, few_steps, "0");
    outcome const first = train(where, command, unetdn::text(fault, n), run);
    CAPTURE(first.errors);
    if (first.exited_with(0)) {  // there is no such operation
      CHECK(differences(run, whole) == "");
      return false;
    }
    ++stopped;
    REQUIRE(first.exited_with(1));
    CHECK(one_line(first.errors));
    CHECK(contains(first.errors, run.string()));
    CHECK(contains(first.errors, fault == "full:" ? "No space left" : "Input/output error"));
    if (fs::exists(run / "best.safetensors")) CHECK_NOTHROW(unetdn::safetensors_file(run / "best.safetensors"));
    std::int64_t const step = safe_step(run);
    CHECK(rows(run) - std::max<std::int64_t>(0, step) <= 1);
    if (step > 0) CHECK(contains(first.errors, "is whole: --resume goes on from there"));
    outcome const second = train(where, resumed(command));
    CAPTURE(second.errors);
    CHECK(second.exited_with(0));
    CHECK(differences(run, whole) == "");
    return true;
  });
  WARN(stopped << " times " << fault << "N, one at each operation");
  CHECK(tried > 50);
}

TEST_CASE("a report that meets a full disk or a failure costs no bit, and a kill leaves it whole") {
  place const where;
  fs::path const whole = uninterrupted(where);
  auto const with_report = [&](fs::path const& run) {
    arguments command = where.command(run, few_steps, "0");
    command.erase(std::find(command.begin(), command.end(), "--no-report"));
    return command;
  };
  std::string const kind = GENERATE("fail:", "kill:");
  int unwritten = 0;
  for_each_operation(where, 1, [&](int n, fs::path const& run) {
    outcome const first = train(where, with_report(run), unetdn::text(kind, n), run);
    CAPTURE(first.errors, kind);
    bool const done = first.exited_with(0);
    std::string const page = file_contents(run / "report.html");
    CHECK((page.empty() || contains(page, "</html>")));
    unwritten += contains(first.errors, "training goes on without the report");
    if (!done) {
      outcome const second = train(where, resumed(with_report(run)));
      CAPTURE(second.errors);
      CHECK(second.exited_with(0));
    }
    CHECK(contains(file_contents(run / "report.html"), "</html>"));
    fs::remove(run / "report.html");
    CHECK(differences(run, whole) == "");
    return !done || !first.errors.empty();
  });
  if (kind == "fail:") CHECK(unwritten > 0);
}

TEST_CASE("a file system that is really full stops training with one line, and no bit is lost") {
  place const where;
  fs::path const whole = uninterrupted(where);
  fs::path const disk = where.run("disk");
  fs::create_directories(disk);
  if (::mount("none", disk.c_str(), "tmpfs", 0, "size=400k") != 0) {
    WARN("no file system can be mounted here: not tested");
    return;
  }
  struct unmount {
    fs::path disk;
    ~unmount() { ::umount2(disk.c_str(), MNT_DETACH); }
  } const guard{disk};
  fs::path const run = disk / "run";
  // Two checkpoints of 112 kB and the best weights of 28 kB fit, the third checkpoint does not.
  std::ofstream(disk / "filler") << std::string(100 << 10, 'x');
  auto const command = where.command(run, few_steps, "0");
  outcome const first = train(where, command);
  CAPTURE(first.errors);
  REQUIRE(first.exited_with(1));
  CHECK(one_line(first.errors));
  CHECK(contains(first.errors, "No space left"));
  CHECK(contains(first.errors, "the checkpoint of step 1 is whole"));
  CHECK(checkpoint_step(run / "checkpoint.safetensors") == 1);
  fs::remove(disk / "filler");
  CHECK(train(where, resumed(command)).exited_with(0));
  CHECK(differences(run, whole) == "");
}

TEST_CASE("one signal stops with a checkpoint, two at once, and no bit is lost") {
  place const where;
  fs::path const whole = uninterrupted(where);
  for_each_operation(where, 3, [&](int n, fs::path const& run) {
    auto const command = where.command(run, few_steps, "0");
    bool const twice = n % 2 == 0;
    program p(where, command, unetdn::text("stop:", n), run);
    if (!p.wait_for_stop()) {
      CHECK(p.ended().exited_with(0));
      return false;
    }
    p.signal(SIGINT);
    if (twice) p.signal(SIGTERM);
    std::int64_t const before = safe_step(run);
    p.signal(SIGCONT);
    outcome const o = p.wait();
    CAPTURE(o.out, o.errors, twice);
    if (twice) {
      CHECK(o.exited_with(130));
      CHECK(safe_step(run) == before);
    } else {
      CHECK(o.exited_with(0));
      CHECK(checkpoint_step(run / "checkpoint.safetensors") == rows(run));
      if (rows(run) < few_steps) CHECK(contains(o.out, unetdn::text("stopped at step ", rows(run))));
    }
    outcome const second = train(where, resumed(command));
    CAPTURE(second.errors);
    CHECK(second.exited_with(0));
    CHECK(differences(run, whole) == "");
    return true;
  });
}

TEST_CASE("a second run in a folder is refused, and so is an unwanted new start") {
  place const where;
  fs::path const whole = uninterrupted(where), run = where.run("run");
  auto const command = where.command(run, few_steps, "0");
  auto const refused = [&](arguments const& given, std::string const& why, int code = 1) {
    outcome const o = train(where, given);
    CAPTURE(o.errors);
    CHECK(o.exited_with(code));
    CHECK(one_line(o.errors));
    CHECK(contains(o.errors, run.string() + ": "));
    CHECK(contains(o.errors, why));
  };
  refused(resumed(command), "holds no training run to resume");
  CHECK(!fs::exists(run));
  {
    program first(where, command, "stop:20", run);  // in the middle: it has written a checkpoint
    REQUIRE(first.wait_for_stop());
    refused(command, "in use by another training run");
    refused(resumed(command), "in use by another training run");
    refused(where.command(run, few_steps, "0", {"--force"}), "in use by another training run");
    first.signal(SIGKILL);
    CHECK(first.wait().killed());
  }
  refused(command, "--resume", 2);  // as other programs refuse to overwrite
  CHECK(train(where, resumed(command)).exited_with(0));
  CHECK(differences(run, whole) == "");
  refused(command, "--force", 2);
  CHECK(differences(run, whole) == "");
  CHECK(train(where, where.command(run, few_steps, "0", {"--force", "--seed", "1"})).exited_with(0));
  CHECK(differences(run, whole) == "checkpoint.safetensors best.safetensors log.csv ");

  fs::path const other = where.run("other");
  fs::create_directories(other);
  std::ofstream(other / "log.csv") << "somebody's log\n";
  outcome const o = train(where, where.command(other, few_steps, "0"));
  CHECK(o.exited_with(1));
  CHECK(contains(o.errors, "log.csv: is not the log of a training run"));
  CHECK(file_contents(other / "log.csv") == "somebody's log\n");
}

TEST_CASE("a damaged checkpoint is replaced by the previous one") {
  place const where;
  fs::path const whole = uninterrupted(where);
  fs::path const checkpoint = whole / "checkpoint.safetensors";
  fs::path const previous = whole / "checkpoint.previous.safetensors";
  fs::path const run = where.run("run");
  auto const size = GENERATE(0, 5, 3000, 100000);
  fs::copy(whole, run);
  fs::resize_file(run / "checkpoint.safetensors", unsigned(size));
  outcome const o = train(where, where.command(run, few_steps, "0", {"--resume"}));
  CAPTURE(o.errors);
  CHECK(o.exited_with(0));
  CHECK(one_line(o.errors));
  CHECK(contains(o.errors, (run / "checkpoint.safetensors").string()));
  CHECK(contains(o.errors, unetdn::text("going on from the previous checkpoint, step ", few_steps - 1)));
  CHECK(differences(run, whole) == "");

  for (auto const* name : {"checkpoint.safetensors", "checkpoint.previous.safetensors"}) fs::resize_file(run / name, 5);
  outcome const both = train(where, where.command(run, few_steps, "0", {"--resume"}));
  CAPTURE(both.errors);
  CHECK(both.exited_with(1));
  CHECK(one_line(both.errors));
  CHECK(file_contents(run / "best.safetensors") == file_contents(whole / "best.safetensors"));
  CHECK(file_contents(run / "log.csv") == file_contents(whole / "log.csv"));
}
