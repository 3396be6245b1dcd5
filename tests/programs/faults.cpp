// SPDX-License-Identifier: Apache-2.0
// A library to preload into a program (LD_PRELOAD), which lets a chosen file operation go wrong.
//
// UNETDN_FAULT_FOLDER  absolute; operations on files in there are counted, from 1
// UNETDN_FAULT         what happens, and at which operation:
//   kill:N  the process gets SIGKILL instead of operation N; of a write, the first half is done
//   full:N  the disk is full from operation N on, for that one and all later writes; of the first of them, half is done
//   fail:N  operation N alone fails; of a write, the first half is done
//   stop:N  the process gets SIGSTOP before operation N, for a test to do something at that moment
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <string>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

namespace {

enum class fault { none, kill, full, still_full, fail, stop };

template <class Function> Function* next(char const* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

bool counts(std::string const& path) {
  static char const* const folder = std::getenv("UNETDN_FAULT_FOLDER");
  return folder && path.compare(0, std::strlen(folder), folder) == 0;
}

/// Not of folders: their sync may fail, as some file systems have none.
bool counts(int file) {
  struct stat info {};
  if (::fstat(file, &info) != 0 || !S_ISREG(info.st_mode)) return false;
  std::string const link = "/proc/self/fd/" + std::to_string(file);
  char path[4096];
  ssize_t const size = ::readlink(link.c_str(), path, sizeof path);
  return size > 0 && counts(std::string(path, static_cast<std::size_t>(size)));
}

/// Counts an operation and says what is to happen to it.
fault next_fault() {
  static char const* const wish = std::getenv("UNETDN_FAULT");
  static long const at = wish ? std::atol(wish + std::strlen("kill:")) : 0;
  static std::atomic<long> counted{0};
  long const count = ++counted;
  if (!wish) return fault::none;
  bool const full = std::strncmp(wish, "full", 4) == 0;
  if (count > at && full) return fault::still_full;
  if (count != at) return fault::none;
  if (full) return fault::full;
  if (std::strncmp(wish, "fail", 4) == 0) return fault::fail;
  return std::strncmp(wish, "kill", 4) == 0 ? fault::kill : fault::stop;
}

[[noreturn]] void die() {
  ::raise(SIGKILL);
  ::_exit(99);  // not reached
}

/// Does the operation, or not: `counted` ones may meet their fault. `takes_space` tells what a full disk hinders.
template <class Operation> int operate(bool counted, bool takes_space, Operation const& operation) {
  fault const f = counted ? next_fault() : fault::none;
  if (f == fault::kill) die();
  if (f == fault::stop) ::raise(SIGSTOP);
  if (f == fault::fail || (f == fault::full && takes_space)) {
    errno = f == fault::fail ? EIO : ENOSPC;
    return -1;
  }
  return operation();
}

}  // namespace

extern "C" {

ssize_t write(int file, void const* data, size_t size) {
  static auto* const real = next<ssize_t(int, void const*, size_t)>("write");
  static std::atomic<bool> half_done{false};
  fault const f = counts(file) ? next_fault() : fault::none;
  if (f == fault::kill) {
    real(file, data, size / 2);
    die();
  }
  if (f == fault::stop) ::raise(SIGSTOP);
  if (f == fault::none || f == fault::stop) return real(file, data, size);
  if (f != fault::fail && size > 1 && !half_done.exchange(true)) {
    return real(file, data, size / 2);
  }
  if (f == fault::fail) real(file, data, size / 2);
  errno = f == fault::fail ? EIO : ENOSPC;
  return -1;
}

int fsync(int file) {
  static auto* const real = next<int(int)>("fsync");
  return operate(counts(file), true, [&] { return real(file); });
}

int ftruncate(int file, off_t size) noexcept {
  static auto* const real = next<int(int, off_t)>("ftruncate");
  return operate(counts(file), false, [&] { return real(file, size); });
}

int rename(char const* from, char const* to) noexcept {
  static auto* const real = next<int(char const*, char const*)>("rename");
  return operate(counts(from), true, [&] { return real(from, to); });
}

int link(char const* from, char const* to) noexcept {
  static auto* const real = next<int(char const*, char const*)>("link");
  return operate(counts(from), true, [&] { return real(from, to); });
}

int unlink(char const* path) noexcept {
  static auto* const real = next<int(char const*)>("unlink");
  return operate(counts(path), false, [&] { return real(path); });
}
}
