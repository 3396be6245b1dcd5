// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

#include <unetdn/core/error.hpp>

namespace unetdn {

/// The only threads in the library. Runs numbered chunks of work on `threads` threads, the calling one among them.
/// Each takes the chunks of its own share of the numbers first, then what others have left: so the work on one part of
/// a picture tends to stay on one core, whose caches hold it, from one layer to the next. Which thread runs which chunk
/// is still left to chance, so a chunk's result must depend on its number alone; then results have equal bits for any
/// number of threads. One caller at a time.
class thread_pool {
 public:
  /// `threads` <= 0 takes one per hardware thread. Throws argument_error for more than 1024, std::system_error where
  /// the system has no more.
  explicit thread_pool(int threads = 0) {
    if (threads <= 0) threads = static_cast<int>(std::thread::hardware_concurrency());
    check(threads <= 1024, threads, " threads are more than any machine has use for; give at most 1024");
    shares_ = std::vector<share>(static_cast<std::size_t>(threads));
    try {
      for (int worker = 1; worker < threads; ++worker) helpers_.emplace_back([this, worker] { serve(worker); });
    } catch (...) {
      stop();
      throw;
    }
  }
  ~thread_pool() { stop(); }
  thread_pool(thread_pool const&) = delete;
  thread_pool& operator=(thread_pool const&) = delete;

  int threads() const { return static_cast<int>(helpers_.size()) + 1; }

  /// Calls f(chunk, worker) for every chunk in [0, chunks), worker in [0, threads()), and returns when all are done.
  /// Two calls never run with the same worker at the same time. The first exception that a chunk throws is rethrown
  /// here; chunks not yet begun are then left out.
  template <class F> void run(int chunks, F&& f) {
    // A type-erased reference: a std::function would allocate, and each F would be a copy of all below.
    run(
        chunks,
        [](void* function, int chunk, int worker) {
          (*static_cast<std::remove_reference_t<F>*>(function))(chunk, worker);
        },
        const_cast<void*>(static_cast<void const*>(&f)));
  }

 private:
  using call = void (*)(void* function, int chunk, int worker);
  /// Consecutive chunks that one worker takes first; on a cache line of its own.
  struct alignas(64) share {
    std::atomic<int> next{0};
    int end = 0;
  };

  void run(int chunks, call f, void* function) {
    if (chunks <= 0) return;
    if (chunks == 1 || helpers_.empty()) {
      for (int chunk = 0; chunk < chunks; ++chunk) f(function, chunk, 0);
      return;
    }
    {
      std::scoped_lock hold{mutex_};
      call_ = f;
      function_ = function;
      std::int64_t const workers = threads();
      for (std::int64_t w = 0; w < workers; ++w) {
        share& s = shares_[static_cast<std::size_t>(w)];
        s.next.store(static_cast<int>(chunks * w / workers), std::memory_order_relaxed);
        s.end = static_cast<int>(chunks * (w + 1) / workers);
      }
      failure_ = nullptr;
      busy_.store(static_cast<int>(helpers_.size()), std::memory_order_relaxed);
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    take_chunks(0);
    auto const all_done = [this] { return busy_.load(std::memory_order_acquire) == 0; };
    if (!soon(all_done)) {
      std::unique_lock hold{mutex_};
      done_.wait(hold, all_done);
    }
    if (failure_) std::rethrow_exception(failure_);
  }

  void stop() {
    {
      std::scoped_lock hold{mutex_};
      stopping_ = true;
    }
    wake_.notify_all();
    for (auto& helper : helpers_) helper.join();
  }
  void take_chunks(int worker) {
    std::size_t const count = shares_.size();
    try {
      for (std::size_t i = 0; i < count; ++i) {
        share& s = shares_[(static_cast<std::size_t>(worker) + i) % count];
        for (int chunk; (chunk = s.next.fetch_add(1, std::memory_order_relaxed)) < s.end;)
          call_(function_, chunk, worker);
      }
    } catch (...) {
      for (share& s : shares_) s.next.store(s.end, std::memory_order_relaxed);
      std::scoped_lock hold{mutex_};
      if (!failure_) failure_ = std::current_exception();
    }
  }
  void serve(int worker) {
    unsigned seen = 0;
    for (;;) {
      auto const called = [&] { return stopping_.load() || generation_.load(std::memory_order_acquire) != seen; };
      if (!soon(called)) {
        std::unique_lock hold{mutex_};
        wake_.wait(hold, called);
      }
      if (stopping_.load()) return;
      seen = generation_.load(std::memory_order_acquire);
      take_chunks(worker);
      if (busy_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        std::scoped_lock hold{mutex_};
        done_.notify_one();
      }
    }
  }

  /// Whether `condition` holds within some tens of microseconds. Layers follow each other faster than a sleeping thread
  /// wakes; but waiting is bounded and yields, so that it costs others little where cores are shared.
  template <class Condition> static bool soon(Condition const& condition) {
    auto const end = std::chrono::steady_clock::now() + std::chrono::microseconds(50);
    do {
      if (condition()) return true;
      std::this_thread::yield();
    } while (std::chrono::steady_clock::now() < end);
    return condition();
  }

  std::vector<std::thread> helpers_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  call call_ = nullptr;
  void* function_ = nullptr;
  std::vector<share> shares_;
  std::atomic<int> busy_{0};
  std::atomic<unsigned> generation_{0};
  std::atomic<bool> stopping_{false};
  std::exception_ptr failure_;
};

}  // namespace unetdn
