// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
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

struct program_result {
  int code = 0;  ///< of the exit; 128 + number of the signal that ended it
  std::string out, error;
};

/// Runs a program without a shell, in `folder` where one is given, with nothing on its standard input, and waits for
/// its end. Code 127: it could not be started.
inline program_result run_program(std::filesystem::path const& program, std::vector<std::string> const& arguments,
                                  std::filesystem::path const& folder = {}) {
  scratch_folder const printed;
  std::filesystem::path const out = printed.path / "out", error = printed.path / "error";
  std::vector<char*> argv{const_cast<char*>(program.c_str())};
  for (auto const& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  pid_t const id = ::fork();
  unetdn::check(id >= 0, "no process could be started");
  if (id == 0) {
    ::dup2(::open("/dev/null", O_RDONLY), STDIN_FILENO);
    ::dup2(::open(out.c_str(), O_WRONLY | O_CREAT, 0666), STDOUT_FILENO);
    ::dup2(::open(error.c_str(), O_WRONLY | O_CREAT, 0666), STDERR_FILENO);
    if (!folder.empty() && ::chdir(folder.c_str()) != 0) ::_exit(127);
    ::execv(program.c_str(), argv.data());
    ::_exit(127);
  }
  int status = 0;
  ::waitpid(id, &status, 0);
  int const code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return {code, file_contents(out), file_contents(error)};
}
