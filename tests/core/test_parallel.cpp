// SPDX-License-Identifier: Apache-2.0
// Also run under ThreadSanitizer. Catch's macros are used by the calling thread alone.
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <unetdn/core/parallel.hpp>
#include <unetdn/devices/cpu.hpp>

#include "catch.hpp"

using namespace unetdn;

namespace {

/// Long enough for the other threads to come by.
void dawdle() { std::this_thread::sleep_for(std::chrono::microseconds(200)); }

}  // namespace

TEST_CASE("every chunk runs exactly once") {
  for (int threads : {1, 2, 3, 8}) {
    thread_pool pool(threads);
    CHECK(pool.threads() == threads);
    for (int chunks : {-1, 0, 1, 2, 3, 7, 64, 1000}) {
      INFO(threads << " threads, " << chunks << " chunks");
      // Plain ints: ThreadSanitizer objects where a chunk runs twice, or where run() returns before the work is done.
      std::vector<int> runs(static_cast<std::size_t>(chunks < 0 ? 0 : chunks), 0);
      pool.run(chunks, [&](int chunk, int) { ++runs[static_cast<std::size_t>(chunk)]; });
      CHECK(runs == std::vector<int>(runs.size(), 1));
    }
  }
}

TEST_CASE("no two calls run with the same worker at the same time") {
  for (int threads : {1, 2, 3, 8}) {
    thread_pool pool(threads);
    std::vector<std::atomic<int>> inside(static_cast<std::size_t>(threads));
    std::vector<int> scratch(static_cast<std::size_t>(threads), 0);
    std::atomic<int> clashes{0};
    std::atomic<int> strangers{0};
    pool.run(200, [&](int chunk, int worker) {
      if (worker < 0 || worker >= threads) {
        ++strangers;
        return;
      }
      auto const w = static_cast<std::size_t>(worker);
      if (++inside[w] != 1) ++clashes;
      ++scratch[w];
      if (chunk % 16 == 0) dawdle();
      --inside[w];
    });
    CHECK(clashes == 0);
    CHECK(strangers == 0);
    int total = 0;
    for (int s : scratch) total += s;
    CHECK(total == 200);
  }
}

TEST_CASE("the chunks are shared out among all threads") {
  // Each chunk waits until every thread has one: it ends only where all threads work at the same time.
  for (int threads : {2, 3, 8}) {
    thread_pool pool(threads);
    std::atomic<int> arrived{0};
    std::vector<int> worker_of(static_cast<std::size_t>(threads), -1);
    pool.run(threads, [&](int chunk, int worker) {
      worker_of[static_cast<std::size_t>(chunk)] = worker;
      ++arrived;
      while (arrived < threads) std::this_thread::yield();
    });
    std::vector<int> seen(static_cast<std::size_t>(threads), 0);
    for (int worker : worker_of) ++seen.at(static_cast<std::size_t>(worker));
    CHECK(seen == std::vector<int>(seen.size(), 1));
  }
}

TEST_CASE("an exception reaches the caller, and the pool works afterwards") {
  for (int threads : {1, 2, 3, 8}) {
    thread_pool pool(threads);
    for (int bad : {0, 1, 50, 99}) {
      INFO(threads << " threads, chunk " << bad << " throws");
      std::vector<int> runs(100, 0);
      std::string what;
      try {
        pool.run(100, [&](int chunk, int) {
          ++runs[static_cast<std::size_t>(chunk)];
          if (chunk == bad) throw std::runtime_error("chunk " + std::to_string(chunk));
        });
      } catch (std::runtime_error const& e) {
        what = e.what();
      }
      CHECK(what == "chunk " + std::to_string(bad));
      int most = 0;
      for (int r : runs) most = r > most ? r : most;
      CHECK(most == 1);
      CHECK(runs[static_cast<std::size_t>(bad)] == 1);

      std::vector<int> again(100, 0);
      pool.run(100, [&](int chunk, int) { ++again[static_cast<std::size_t>(chunk)]; });
      CHECK(again == std::vector<int>(100, 1));
    }
  }
}

TEST_CASE("chunks not yet begun are left out after an exception") {
  for (int threads : {1, 2, 3, 8}) {
    thread_pool pool(threads);
    int const chunks = 20000;
    std::atomic<int> begun{0};
    CHECK_THROWS_AS(pool.run(chunks,
                             [&](int chunk, int) {
                               ++begun;
                               if (chunk == 0) throw std::runtime_error("stop");
                               dawdle();
                             }),
                    std::runtime_error);
    CHECK(begun >= 1);
    CHECK(begun < chunks / 2);
  }
}

TEST_CASE("one of many exceptions is rethrown, of whatever type") {
  thread_pool pool(3);
  CHECK_THROWS_AS(pool.run(3, [](int, int) { throw 7; }), int);
  CHECK_THROWS_AS(pool.run(1, [](int, int) { throw 7; }), int);
  CHECK_NOTHROW(pool.run(3, [](int, int) {}));
}

TEST_CASE("many short runs follow each other") {
  thread_pool pool(3);
  long total = 0;
  std::vector<long> sums(4);
  for (int round = 0; round < 2000; ++round) {
    pool.run(4, [&](int chunk, int) { sums[static_cast<std::size_t>(chunk)] = chunk + round; });
    for (long s : sums) total += s;
  }
  CHECK(total == 2000L * 6 + 4L * (1999L * 2000L / 2));
}

TEST_CASE("a pool may end without having worked") {
  for (int i = 0; i < 50; ++i) thread_pool pool(4);
  CHECK(thread_pool(0).threads() >= 1);
  CHECK(thread_pool(-3).threads() >= 1);
}

TEST_CASE("functions are called in place, never copied") {
  struct counter {
    int calls = 0;
    counter() = default;
    counter(counter const&) = delete;
    void operator()(int, int) { ++calls; }
  };
  thread_pool pool(1);
  counter here;
  pool.run(5, here);
  CHECK(here.calls == 5);
  thread_pool two(2);
  std::vector<int> runs(5, 0);
  auto const fixed = [&](int chunk, int) { ++runs[static_cast<std::size_t>(chunk)]; };
  two.run(5, fixed);
  CHECK(runs == std::vector<int>(5, 1));
}

TEST_CASE("a cpu moves with its threads and its scratch memory") {
  cpu dev(3);
  CHECK(dev.threads() == 3);
  CHECK(dev.scratch_bytes() == 0);
  void* const small = dev.scratch(100);
  CHECK(dev.scratch_bytes() == 100);
  CHECK(dev.scratch(50) == small);
  CHECK(reinterpret_cast<std::uintptr_t>(small) % cpu::alignment == 0);
  cpu moved(std::move(dev));
  CHECK(moved.threads() == 3);
  CHECK(moved.scratch(100) == small);
  cpu assigned(1);
  assigned = std::move(moved);
  CHECK(assigned.threads() == 3);
  CHECK(assigned.scratch(100) == small);
  std::vector<int> runs(10, 0);
  assigned.parallel(10, [&](int chunk, int) { ++runs[static_cast<std::size_t>(chunk)]; });
  CHECK(runs == std::vector<int>(10, 1));
}

TEST_CASE("two devices work at the same time") {
  std::vector<int> a(500, 0), b(500, 0);
  auto const work = [](std::vector<int>& runs) {
    cpu dev(2);
    for (int round = 0; round < 20; ++round)
      dev.parallel(500, [&](int chunk, int) { ++runs[static_cast<std::size_t>(chunk)]; });
  };
  std::thread other([&] { work(a); });
  work(b);
  other.join();
  CHECK(a == std::vector<int>(500, 20));
  CHECK(b == std::vector<int>(500, 20));
}
