// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

#include <unetdn/core/error.hpp>

namespace unetdn {

/// The only threads in the library. Runs numbered chunks of work on `threads` threads, the calling one among them.
/// Which thread runs which chunk is left to chance, so a chunk's result must depend on its number alone; then results
/// have equal bits for any number of threads. One caller at a time.
class thread_pool {
 public:
  /// `threads` <= 0 takes one per hardware thread. Throws argument_error for more than 1024, std::system_error where
  /// the system has no more.
  explicit thread_pool(int threads = 0) {
    if (threads <= 0) threads = static_cast<int>(std::thread::hardware_concurrency());
    check(threads <= 1024, threads, " threads are more than any machine has use for; give at most 1024");
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
    if (chunks <= 0) return;
    if (chunks == 1 || helpers_.empty()) {
      for (int chunk = 0; chunk < chunks; ++chunk) f(chunk, 0);
      return;
    }
    {
      std::scoped_lock hold{mutex_};
      // A type-erased reference: a std::function would allocate.
      call_ = [](void* function, int chunk, int worker) {
        (*static_cast<std::remove_reference_t<F>*>(function))(chunk, worker);
      };
      function_ = const_cast<void*>(static_cast<void const*>(&f));
      chunks_ = chunks;
      next_.store(0, std::memory_order_relaxed);
      failure_ = nullptr;
      busy_ = static_cast<int>(helpers_.size());
      ++generation_;
    }
    wake_.notify_all();
    take_chunks(0);
    std::unique_lock hold{mutex_};
    done_.wait(hold, [this] { return busy_ == 0; });
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  void stop() {
    {
      std::scoped_lock hold{mutex_};
      stopping_ = true;
    }
    wake_.notify_all();
    for (auto& helper : helpers_) helper.join();
  }
  void take_chunks(int worker) {
    try {
      for (int chunk; (chunk = next_.fetch_add(1, std::memory_order_relaxed)) < chunks_;)
        call_(function_, chunk, worker);
    } catch (...) {
      next_.store(chunks_, std::memory_order_relaxed);
      std::scoped_lock hold{mutex_};
      if (!failure_) failure_ = std::current_exception();
    }
  }
  void serve(int worker) {
    unsigned seen = 0;
    for (;;) {
      {
        std::unique_lock hold{mutex_};
        wake_.wait(hold, [&] { return stopping_ || generation_ != seen; });
        if (stopping_) return;
        seen = generation_;
      }
      take_chunks(worker);
      std::scoped_lock hold{mutex_};
      if (--busy_ == 0) done_.notify_one();
    }
  }

  std::vector<std::thread> helpers_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  void (*call_)(void*, int, int) = nullptr;
  void* function_ = nullptr;
  int chunks_ = 0, busy_ = 0;
  std::atomic<int> next_{0};
  unsigned generation_ = 0;
  bool stopping_ = false;
  std::exception_ptr failure_;
};

}  // namespace unetdn
