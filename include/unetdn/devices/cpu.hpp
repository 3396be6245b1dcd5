// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <type_traits>
#include <utility>

#include <unetdn/core/device.hpp>
#include <unetdn/core/kernel.hpp>
#include <unetdn/core/parallel.hpp>

#if defined(__linux__)
  #include <sys/mman.h>
#endif

namespace unetdn {

/// The processor, with its own threads: float and double.
class cpu {
 public:
  static constexpr bool is_host = true;
  static constexpr std::size_t alignment = 64;
  static constexpr std::size_t red_zone = 0;
  template <class T> static constexpr bool supports = std::is_same_v<T, float> || std::is_same_v<T, double>;
  static constexpr char const* name() { return "cpu"; }

  /// `threads` <= 0 takes one per hardware thread. Results do not depend on it.
  explicit cpu(int threads = 0) : pool_{std::make_unique<thread_pool>(threads)} {}
  ~cpu() { release(scratch_); }
  cpu(cpu&& other) noexcept
      : pool_{std::move(other.pool_)},
        scratch_{std::exchange(other.scratch_, nullptr)},
        scratch_bytes_{std::exchange(other.scratch_bytes_, 0)} {}
  cpu& operator=(cpu&& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(scratch_, other.scratch_);
    std::swap(scratch_bytes_, other.scratch_bytes_);
    return *this;
  }

  int threads() const { return pool_->threads(); }
  cpu sibling() const { return cpu(threads()); }

  /// Calls f(chunk, worker) for chunk in [0, chunks); see thread_pool::run. The result of a chunk must not depend on
  /// `worker`, which only picks scratch memory.
  template <class F> void parallel(int chunks, F&& f) { pool_->run(chunks, std::forward<F>(f)); }

  static void* allocate(std::size_t bytes) {
    // Walks in NHWC order touch many pages, so large buffers ask for huge ones.
    bool const huge = bytes >= huge_page;
    std::size_t const align = huge ? huge_page : alignment;
    bool const possible = bytes < std::size_t(-1) / 2;
    std::size_t const whole = possible ? round_up(bytes ? bytes : 1, align) : 0;
    void* p = possible ? std::aligned_alloc(align, whole) : nullptr;
    if (!p) throw out_of_memory(text("cannot allocate ", bytes >> 20, " MiB; use smaller pictures or a smaller batch"));
#if defined(__linux__)
    if (huge) ::madvise(p, whole, MADV_HUGEPAGE);  // only advice: failure costs speed alone
#endif
    return p;
  }
  static void release(void* p) noexcept { std::free(p); }
  static void upload(void* to, void const* from, std::size_t bytes) { copy(to, from, bytes); }
  static void download(void* to, void const* from, std::size_t bytes) { copy(to, from, bytes); }
  static void copy(void* to, void const* from, std::size_t bytes) {
    if (bytes) std::memcpy(to, from, bytes);  // empty spans may be null, which memcpy must not be given
  }
  static void fill_zero(void* p, std::size_t bytes) { std::memset(p, 0, bytes); }
  static void synchronize() {}

  /// It cannot know: the system promises more than it has.
  static std::size_t available_bytes() { return std::numeric_limits<std::size_t>::max(); }

  // Its queue is always empty: what it is asked for is done when the call returns.
  struct mark {};
  struct graph {};
  static void* allocate_host(std::size_t bytes) { return allocate(bytes); }
  static void release_host(void* p) noexcept { release(p); }
  static void upload_async(void* to, void const* from, std::size_t bytes) { copy(to, from, bytes); }
  static void download_async(void* to, void const* from, std::size_t bytes) { copy(to, from, bytes); }
  static void set(mark&) {}
  static void wait(mark&) {}
  template <class F> static void repeat(graph&, F&& work) { work(); }
  static void begin_range(char const*) {}
  static void end_range() {}

  void* scratch(std::size_t bytes) {
    if (bytes > scratch_bytes_) {
      release(std::exchange(scratch_, nullptr));
      scratch_bytes_ = 0;
      scratch_ = allocate(bytes);
      scratch_bytes_ = bytes;
    }
    return scratch_;
  }
  std::size_t scratch_bytes() const { return scratch_bytes_; }

 private:
  static constexpr std::size_t huge_page = std::size_t(2) << 20;
  std::unique_ptr<thread_pool> pool_;
  void* scratch_ = nullptr;
  std::size_t scratch_bytes_ = 0;
};
static_assert(device<cpu>);

}  // namespace unetdn
