// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <linux/capability.h>
#include <string>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include <unetdn/core/error.hpp>

// Running the project's programs as a user does.

/// A new empty folder for one test, removed with all that is in it.
class scratch_folder {
 public:
  scratch_folder() {
    static int count = 0;
    path = std::filesystem::canonical(std::filesystem::temp_directory_path()) /
           unetdn::text("unetdn_test_", ::getpid(), '_', ++count);
    std::filesystem::remove_all(path);
    std::filesystem::create_directories(path);
  }
  scratch_folder(scratch_folder const&) = delete;
  scratch_folder& operator=(scratch_folder const&) = delete;
  ~scratch_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }

  std::filesystem::path path;
};

inline std::string file_contents(std::filesystem::path const& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline bool one_line(std::string const& s) { return std::count(s.begin(), s.end(), '\n') == 1 && s.back() == '\n'; }

/// What no option may take for a whole number, and for a number: below and above every range, not read to its end, read
/// otherwise than it looks, or nothing.
inline std::vector<std::string> const no_whole_numbers{
    "-1", "99999999999999999999999", "1.5", "1e3", "0x10", "1 ", "many", "nan", ""};
inline std::vector<std::string> const no_numbers{"-1",   "1e99",  "nan", "-nan", "inf",
                                                 "-inf", "0x1p3", "0,5", "much", ""};

struct program_result {
  int code = 0;  ///< of the exit; 128 + number of the signal that ended it
  std::string out, error;
};

using environment = std::vector<std::pair<std::string, std::string>>;

/// What lets file operations in `folder` go wrong; `fault` as in faults.cpp, the library that is preloaded.
inline environment with_fault(std::filesystem::path const& faults, std::string const& fault,
                              std::filesystem::path const& folder) {
  return {{"LD_PRELOAD", faults}, {"UNETDN_FAULT", fault}, {"UNETDN_FAULT_FOLDER", folder}};
}

/// Where and as whom a program runs.
struct surroundings {
  std::filesystem::path folder = {};        ///< empty: this process'
  environment variables = {};               ///< added to this process'
  bool obeys_permissions = false;           ///< root, too, may not read and write what its owner may not
  std::filesystem::path standard_out = {};  ///< empty: what is printed is the result's
};

/// Exit codes of run_program itself.
inline constexpr int not_started = 127, privileges_kept = 126;

/// Ends the privilege of root to pass over permissions, for what is executed from now on.
inline bool obey_permissions() {
  if (::geteuid() != 0) return true;
  return ::prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0) == 0 &&
         ::prctl(PR_CAPBSET_DROP, CAP_DAC_READ_SEARCH, 0, 0, 0) == 0;
}

/// Runs a program without a shell, with nothing on its standard input, and waits for its end.
inline program_result run_program(std::filesystem::path const& program, std::vector<std::string> const& arguments,
                                  surroundings const& around = {}) {
  scratch_folder const printed;
  std::filesystem::path const error = printed.path / "error";
  std::filesystem::path const out = around.standard_out.empty() ? printed.path / "out" : around.standard_out;
  std::vector<char*> argv{const_cast<char*>(program.c_str())};
  for (auto const& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  pid_t const id = ::fork();
  unetdn::check(id >= 0, "no process could be started");
  if (id == 0) {
    ::dup2(::open("/dev/null", O_RDONLY), STDIN_FILENO);
    ::dup2(::open(out.c_str(), O_WRONLY | O_CREAT, 0666), STDOUT_FILENO);
    ::dup2(::open(error.c_str(), O_WRONLY | O_CREAT, 0666), STDERR_FILENO);
    for (auto const& [name, value] : around.variables) ::setenv(name.c_str(), value.c_str(), 1);
    if (around.obeys_permissions && !obey_permissions()) ::_exit(privileges_kept);
    if (!around.folder.empty() && ::chdir(around.folder.c_str()) != 0) ::_exit(not_started);
    ::execv(program.c_str(), argv.data());
    ::_exit(not_started);
  }
  int status = 0;
  ::waitpid(id, &status, 0);
  int const code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return {code, around.standard_out.empty() ? file_contents(out) : std::string(), file_contents(error)};
}
