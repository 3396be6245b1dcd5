// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <filesystem>
#include <limits>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <sys/file.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

#include <unetdn/core/error.hpp>

namespace unetdn {
namespace detail {

/// What the operating system says about error number `code`, with the remedy for the usual ones.
inline std::string system_text(int code) {
  std::string said = std::generic_category().message(code);
  if (code == ENOENT) return said + "; check the spelling of the path";
  if (code == EACCES || code == EPERM || code == EROFS)
    return said + "; check the permissions of the file and its folder";
  if (code == ENOSPC || code == EDQUOT) return said + "; free some space or choose another folder";
  if (code == ENAMETOOLONG) return said + "; choose a shorter name";
  if (code == EIO) return said + "; the disk may be failing, use another";
  return said;
}

/// A POSIX file descriptor that closes itself.
class file_descriptor {
 public:
  file_descriptor() = default;
  explicit file_descriptor(int number) : number_{number} {}
  file_descriptor(file_descriptor&& other) noexcept : number_{std::exchange(other.number_, -1)} {}
  file_descriptor& operator=(file_descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~file_descriptor() {
    if (number_ >= 0) ::close(number_);
  }

  explicit operator bool() const { return number_ >= 0; }
  int get() const { return number_; }
  /// Closes now and says whether the system reported an error, which some network file systems do only here.
  bool close() { return ::close(std::exchange(number_, -1)) == 0; }

 private:
  int number_ = -1;
};

// Reads and writes are cut to this size: Linux transfers no more than 2 GiB at once.
inline constexpr std::size_t largest_transfer = std::size_t(1) << 30;

/// Writes all bytes; returns 0 or the system's error number.
inline int write_all(file_descriptor const& file, std::span<std::byte const> bytes) {
  while (!bytes.empty()) {
    ssize_t const put = ::write(file.get(), bytes.data(), std::min(bytes.size(), largest_transfer));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return errno;
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
  return 0;
}

[[noreturn]] inline void cannot_write(std::filesystem::path const& path, int code) {
  throw file_error(path.string(), "cannot be written: " + system_text(code));
}

/// Takes the lock of an open file, which the system frees when the process ends, however it ends. Returns false where
/// another holder has it. Where the file system has no locks there is nobody to ask: true.
inline bool try_lock(file_descriptor const& file) {
  return ::flock(file.get(), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
}

/// Puts a folder's names on the disk: renames and new files. Some file systems can't: not an error.
inline void sync_folder(std::filesystem::path const& folder) {
  file_descriptor const opened{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (opened) ::fsync(opened.get());
}

inline constexpr std::string_view temporary_prefix = ".unetdn-", temporary_suffix = ".tmp";

}  // namespace detail

/// Reads a whole regular file.
///
/// Throws file_error when it is missing, a folder, a device or a pipe, unreadable, larger than `max_bytes`, or when it
/// shrinks while it is read.
inline std::vector<std::byte> read_file(std::filesystem::path const& path,
                                        std::uint64_t max_bytes = std::numeric_limits<std::int64_t>::max()) {
  std::string const name = path.string();
  // Without O_NONBLOCK, opening a pipe would wait for a writer.
  detail::file_descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (!file) throw file_error(name, "cannot be opened: " + detail::system_text(errno));
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) throw file_error(name, "cannot be read: " + detail::system_text(errno));
  if (S_ISDIR(info.st_mode)) throw file_error(name, "is a folder, not a file; name a file inside it");
  if (!S_ISREG(info.st_mode)) throw file_error(name, "is not a regular file; copy its contents to one first");
  auto const size = static_cast<std::uint64_t>(info.st_size);
  if (size > max_bytes) {
    throw file_error(name,
                     text("holds ", size, " bytes, more than the ", max_bytes, " allowed here; use a smaller file"));
  }
  std::vector<std::byte> bytes;
  try {
    bytes.resize(static_cast<std::size_t>(size));
  } catch (std::bad_alloc const&) {
    throw file_error(name, text("holds ", size, " bytes, more than the free memory; use a smaller file"));
  }
  std::size_t done = 0;
  while (done < bytes.size()) {
    ssize_t const got =
        ::read(file.get(), bytes.data() + done, std::min(bytes.size() - done, detail::largest_transfer));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw file_error(name, "cannot be read: " + detail::system_text(errno));
    if (got == 0) throw file_error(name, "shrank while it was read; try again when nothing writes to it");
    done += static_cast<std::size_t>(got);
  }
  return bytes;
}

/// Writes a file so that its name shows either the old contents or all of the new ones, never a part.
///
/// Bytes go to a temporary file in the same folder; commit() flushes it to the disk and renames it. Without commit(),
/// as after an exception, the temporary file is removed. A symbolic link is followed, an existing file's permission
/// bits are kept. Every function throws file_error naming the final path; a disk that is full may be found by a later
/// one than the write() that it had no room for.
class atomic_file {
 public:
  explicit atomic_file(std::filesystem::path const& path) : name_{path.string()}, target_{path} {
    resolve_target();
    create_temporary();
  }
  atomic_file(atomic_file const&) = delete;
  atomic_file& operator=(atomic_file const&) = delete;
  ~atomic_file() { remove_temporary(); }

  /// Appends to the temporary file. Small pieces are gathered and written together.
  void write(std::span<std::byte const> bytes) {
    constexpr std::size_t together = std::size_t(1) << 16;
    if (gathered_.size() + bytes.size() > together) write_gathered();
    if (bytes.size() < together) {
      gathered_.insert(gathered_.end(), bytes.begin(), bytes.end());
    } else if (int const code = detail::write_all(file_, bytes)) {
      fail(code);
    }
  }

  /// Makes the bytes written so far the contents of the file. Call it once, last.
  void commit() {
    write_gathered();
    if (::fsync(file_.get()) != 0) fail(errno);
    if (!file_.close()) fail(errno);
    if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail(errno);
    temporary_.clear();
    // The rename itself is on the disk only when the folder is.
    detail::sync_folder(target_.has_parent_path() ? target_.parent_path() : std::filesystem::path("."));
  }

 private:
  [[noreturn]] void fail(int code) const { detail::cannot_write(name_, code); }

  void resolve_target() {
    if (name_.empty() || !target_.has_filename()) {
      throw file_error(name_, "cannot be written: it names a folder; add a file name");
    }
    std::error_code failure;
    constexpr int most_links = 40;  // as many as the system follows
    for (int i = 0; i < most_links && std::filesystem::is_symlink(target_, failure); ++i) {
      auto const next = std::filesystem::read_symlink(target_, failure);
      if (failure) break;  // what follows tells why
      target_ = next.is_absolute() ? next : target_.parent_path() / next;
    }
    if (std::filesystem::is_symlink(target_, failure)) fail(ELOOP);
    struct stat info {};
    if (::stat(target_.c_str(), &info) != 0) return;  // a new file, or open() below tells what is wrong
    if (S_ISDIR(info.st_mode)) throw file_error(name_, "cannot be written: it is a folder; add a file name");
    if (!S_ISREG(info.st_mode)) {
      // Renaming over a device such as /dev/null would replace it for the whole machine.
      throw file_error(name_, "cannot be written: it is a device or a pipe; name a regular file");
    }
    if (::access(target_.c_str(), W_OK) != 0) fail(errno);
    mode_ = info.st_mode & 07777U;
    exists_ = true;
  }

  void create_temporary() {
    static std::atomic<unsigned> counter{0};
    // Process number and counter make the name unique on this machine; another machine on the same network folder, or
    // a crashed process with the same number, is met by trying the next one.
    for (int attempt = 0; attempt < 1000; ++attempt) {
      auto const name =
          text(detail::temporary_prefix, long(::getpid()), "-", counter.fetch_add(1), detail::temporary_suffix);
      auto const candidate = target_.parent_path() / name;
      file_ = detail::file_descriptor{::open(candidate.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)};
      if (file_) {
        temporary_ = candidate;
        detail::try_lock(file_);  // tells remove_abandoned_files that the writer lives
        if (exists_ && ::fchmod(file_.get(), mode_) != 0 && errno != EPERM && errno != ENOSYS) {
          int const code = errno;
          remove_temporary();  // a constructor that throws runs no destructor
          fail(code);
        }
        return;
      }
      if (errno != EEXIST) fail(errno);
    }
    fail(EEXIST);
  }

  void write_gathered() {
    if (int const code = detail::write_all(file_, gathered_)) fail(code);
    gathered_.clear();
  }

  void remove_temporary() noexcept {
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
    temporary_.clear();
  }

  std::string name_;
  std::filesystem::path target_;
  std::filesystem::path temporary_;
  detail::file_descriptor file_;
  std::vector<std::byte> gathered_;
  mode_t mode_ = 0;
  bool exists_ = false;
};

/// Replaces or creates a file with these bytes, atomically and durably.
///
/// Throws file_error when the folder is missing or closed to us or the disk is full; the old file, if any, then stays
/// as it was and nothing else is left behind.
inline void write_file_atomically(std::filesystem::path const& path, std::span<std::byte const> bytes) {
  atomic_file file{path};
  file.write(bytes);
  file.commit();
}

/// Makes a folder, and those that it lies in, where they are missing. Throws file_error.
inline void make_folder(std::filesystem::path const& folder) {
  std::error_code failure;
  std::filesystem::create_directories(folder, failure);
  if (!failure) return;
  std::string const said = detail::system_text(failure.value());
  bool const has_remedy = said.find("; ") != std::string::npos;
  throw file_error(folder.string(),
                   "cannot be made a folder: " + said + (has_remedy ? "" : "; give another name or folder"));
}

/// Renames a file, replacing what has the new name; durable at the next commit() or sync of the folder. Throws
/// file_error.
inline void rename_file(std::filesystem::path const& from, std::filesystem::path const& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) detail::cannot_write(to, errno);
}

/// Removes a file, where there is one. Throws file_error.
inline void remove_file(std::filesystem::path const& path) {
  if (::unlink(path.c_str()) == 0 || errno == ENOENT) return;
  throw file_error(path.string(), "cannot be removed: " + detail::system_text(errno));
}

/// Removes the temporary files that atomic_file left in a folder when its process was killed. Those of living processes
/// stay, and so does what cannot be removed.
inline void remove_abandoned_files(std::filesystem::path const& folder) {
  std::vector<std::filesystem::path> found;
  std::error_code failure;
  for (std::filesystem::directory_iterator it(folder, failure), end; !failure && it != end; it.increment(failure)) {
    std::string const name = it->path().filename().string();
    if (name.starts_with(detail::temporary_prefix) && name.ends_with(detail::temporary_suffix)) {
      found.push_back(it->path());
    }
  }
  for (auto const& path : found) {
    detail::file_descriptor const file{::open(path.c_str(), O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)};
    if (file && ::flock(file.get(), LOCK_EX | LOCK_NB) == 0) ::unlink(path.c_str());
  }
}

}  // namespace unetdn
