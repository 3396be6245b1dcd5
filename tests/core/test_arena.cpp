// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <unetdn/core/arena.hpp>
#include <unetdn/devices/cpu.hpp>

#include "catch.hpp"
#include "thrown.hpp"

using namespace unetdn;

namespace {

bool share_bytes(memory_plan::item const& a, memory_plan::item const& b) {
  if (a.bytes == 0 || b.bytes == 0) return false;
  return a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
}

/// Whether a byte belongs to both at some step.
bool clash(memory_plan::item const& a, memory_plan::item const& b) {
  for (auto const& p : a.parts) {
    for (auto const& q : b.parts) {
      for (int step = p.first; step <= p.last; ++step) {
        bool const together = step >= q.first && step <= q.last && p.begin < p.end && q.begin < q.end;
        if (together && a.offset + p.begin < b.offset + q.end && b.offset + q.begin < a.offset + p.end) return true;
      }
    }
  }
  return false;
}

memory_plan random_plan(unsigned seed, int buffers) {
  std::mt19937 random(seed);
  auto const below = [&](unsigned n) { return static_cast<int>(random() % n); };
  memory_plan plan;
  for (int i = 0; i < buffers; ++i) {
    int const first = below(20);
    int const last = first + below(seed % 2 == 0 ? 4 : 20);
    auto const bytes = static_cast<std::size_t>(below(5) == 0 ? 64 * below(4) : below(3000));
    if (seed % 5 != 4 || below(3) > 0) {
      plan.add("b", memory_kind::activations, bytes, first, last);
      continue;
    }
    std::vector<memory_plan::part> parts;
    std::size_t end = 0;
    for (int part = below(6); part >= 0; --part) {
      std::size_t const begin = end + static_cast<std::size_t>(below(3) == 0 ? below(100) : 0);
      end = begin + static_cast<std::size_t>(below(700));
      int const born = below(20);
      parts.push_back({begin, end, born, born + below(10)});
    }
    plan.add("in parts", memory_kind::activations, parts);
  }
  return plan;
}

/// The most bytes that are alive at one step: no plan needs less.
std::size_t most_alive(memory_plan const& plan, std::size_t alignment) {
  std::size_t most = 0;
  for (int step = 0; step < 60; ++step) {
    std::size_t alive = 0;
    for (auto const& it : plan.items()) {
      bool const whole = it.parts.size() == 1;  // parts need no padding
      for (auto const& p : it.parts) {
        std::size_t const bytes = p.end - p.begin;
        std::size_t const padded = (bytes + alignment - 1) / alignment * alignment;
        if (p.first <= step && step <= p.last) alive += whole ? padded : bytes;
      }
    }
    most = std::max(most, alive);
  }
  return most;
}

}  // namespace

TEST_CASE("buffers that live together share no byte, whatever the plan") {
  for (unsigned seed = 0; seed < 200; ++seed) {
    memory_plan plan = random_plan(seed, 1 + static_cast<int>(seed) % 40);
    std::size_t const alignment = seed % 3 == 0 ? 1 : seed % 3 == 1 ? 64 : 256;
    plan.place(alignment);
    INFO("seed " << seed);
    int clashes = 0;
    int misplaced = 0;
    std::size_t summed = 0;
    auto const& items = plan.items();
    for (std::size_t i = 0; i < items.size(); ++i) {
      misplaced += items[i].offset % alignment != 0;
      misplaced += items[i].offset + items[i].bytes > plan.total();
      summed += (items[i].bytes + alignment - 1) / alignment * alignment;
      for (std::size_t j = 0; j < i; ++j) clashes += clash(items[i], items[j]);
    }
    CHECK(clashes == 0);
    CHECK(misplaced == 0);
    CHECK(plan.total() >= most_alive(plan, alignment));
    CHECK(plan.total() <= summed);
  }
}

TEST_CASE("buffers that follow each other share their place") {
  memory_plan plan;
  for (int i = 0; i < 10; ++i) plan.add("stage", memory_kind::activations, 1000, 2 * i, 2 * i + 1);
  plan.place(64);
  CHECK(plan.total() == 1024);
  for (auto const& it : plan.items()) CHECK(it.offset == 0);
}

TEST_CASE("a life includes its last step") {
  memory_plan plan;
  int const a = plan.add("a", memory_kind::activations, 100, 0, 3);
  int const b = plan.add("b", memory_kind::activations, 100, 3, 5);
  int const c = plan.add("c", memory_kind::activations, 100, 4, 4);
  plan.place(1);
  CHECK_FALSE(share_bytes(plan.at(a), plan.at(b)));
  CHECK_FALSE(share_bytes(plan.at(b), plan.at(c)));
  CHECK(plan.at(a).offset == plan.at(c).offset);
  CHECK(plan.total() == 200);
}

TEST_CASE("a gap takes a buffer that fits exactly, and none that does not") {
  memory_plan plan;
  int const large = plan.add("large", memory_kind::activations, 128, 0, 1);
  int const above = plan.add("above", memory_kind::activations, 96, 0, 9);
  int const fits = plan.add("fits", memory_kind::activations, 64, 5, 9);
  int const also = plan.add("also", memory_kind::activations, 64, 5, 9);
  int const late = plan.add("late", memory_kind::activations, 32, 5, 9);
  plan.place(32);
  CHECK(plan.at(large).offset == 0);
  CHECK(plan.at(above).offset == 128);
  CHECK(plan.at(fits).offset == 0);
  CHECK(plan.at(also).offset == 64);
  CHECK(plan.at(late).offset == 224);
  CHECK(plan.total() == 256);
}

TEST_CASE("a buffer that comes to life in parts takes places as they become free") {
  memory_plan plan;
  int const early = plan.add("early", memory_kind::activations, 256, 0, 2);
  int const late = plan.add("late", memory_kind::activations, 192, 0, 4);
  // Written from its end on: the last 64 bytes while both others live, 192 more behind the first, the rest at last.
  int const grows = plan.add("grows", memory_kind::activations, {{0, 64, 5, 9}, {64, 256, 3, 9}, {256, 320, 1, 9}});
  plan.place(64);
  CHECK(plan.at(grows).bytes == 320);
  CHECK(plan.at(grows).first == 1);
  CHECK(plan.at(grows).last == 9);
  CHECK(plan.at(grows).offset == 0);
  CHECK(plan.at(early).offset == 0);
  CHECK(plan.at(late).offset == 320);
  CHECK(plan.total() == 512);
  CHECK(share_bytes(plan.at(grows), plan.at(early)));
  CHECK_FALSE(clash(plan.at(grows), plan.at(early)));
  plan.place(64, 64);
  CHECK(plan.total() == 320 + 256 + 192 + 3 * 64);
}

TEST_CASE("with red zones, no bytes behind a buffer are another's at any time") {
  memory_plan plan;
  for (int i = 0; i < 3; ++i) plan.add("stage", memory_kind::activations, 100, 2 * i, 2 * i + 1);
  plan.place(64, 256);
  for (int i = 0; i < 3; ++i) CHECK(plan.at(i).offset == static_cast<std::size_t>(i) * (128 + 256));
  CHECK(plan.total() == 3 * (128 + 256));
  CHECK(plan.room(plan.at(0)) == 128 + 256);
  plan.place(64);
  CHECK(plan.total() == 128);
}

TEST_CASE("placing again forgets the places before") {
  memory_plan plan;
  plan.add("a", memory_kind::activations, 1000, 0, 0);
  plan.place(4096);
  CHECK(plan.total() == 4096);
  plan.place(8);
  CHECK(plan.total() == 1000);
  CHECK(memory_plan{}.total() == 0);
}

TEST_CASE("a plan sums each kind as if nothing were shared") {
  memory_plan plan;
  plan.add("w", memory_kind::state, 10, 0, 9);
  plan.add("x", memory_kind::activations, 100, 0, 1);
  plan.add("y", memory_kind::activations, 200, 2, 3);
  plan.add("s", memory_kind::scratch, 1000, 1, 1);
  plan.place(64);
  CHECK(plan.sum(memory_kind::state) == 10);
  CHECK(plan.sum(memory_kind::activations) == 300);
  CHECK(plan.sum(memory_kind::scratch) == 1000);
  CHECK(to_string(memory_kind::state) == "state");
  CHECK(to_string(memory_kind::activations) == "activations");
  CHECK(to_string(memory_kind::scratch) == "scratch");
}

TEST_CASE("a life that ends before it begins is refused by name") {
  memory_plan plan;
  CHECK_THROWS_AS(plan.add("x", memory_kind::activations, 1, 2, 1), argument_error);
  CHECK(contains(thrown([&] { plan.add("bottleneck", memory_kind::activations, 1, 2, 1); }), "bottleneck"));
  CHECK(contains(thrown([&] { plan.add("late", memory_kind::activations, {{0, 1, 1, 2}, {1, 2, 2, 1}}); }), "late"));
  CHECK(contains(thrown([&] { plan.add("back", memory_kind::activations, {{2, 1, 1, 2}}); }), "back"));
  CHECK(contains(thrown([&] { plan.add("none", memory_kind::activations, {}); }), "none"));
  CHECK(plan.items().empty());
}

TEST_CASE("a printed plan names kinds, buffers and MiB") {
  memory_plan plan;
  plan.add("bottleneck", memory_kind::activations, std::size_t(3) << 20, 0, 1);
  plan.add("output", memory_kind::activations, std::size_t(2) << 20, 2, 3);
  plan.place(64);
  std::ostringstream brief, whole;
  print_plan(brief, plan, std::size_t(1) << 20, std::size_t(1) << 19);
  print_plan(whole, plan, std::size_t(1) << 20, std::size_t(1) << 19, true);
  std::string const lines = brief.str();
  CHECK(lines.find("1.00 MiB") != std::string::npos);
  CHECK(lines.find("3.00 MiB  (5.00 MiB without sharing)") != std::string::npos);
  CHECK(lines.find("0.50 MiB") != std::string::npos);
  CHECK(lines.find("4.50 MiB") != std::string::npos);
  CHECK(std::count(lines.begin(), lines.end(), '\n') == 4);
  CHECK(lines.find("bottleneck") == std::string::npos);
  CHECK(whole.str().find("bottleneck") != std::string::npos);
  CHECK(whole.str().find("steps 2 to 3, at 0") != std::string::npos);
}

TEST_CASE("an arena is aligned, and moves") {
  cpu dev{1};
  memory_plan plan;
  int const a = plan.add("a", memory_kind::activations, 100, 0, 1);
  int const b = plan.add("b", memory_kind::activations, 3 << 20, 1, 2);
  plan.place(cpu::alignment);
  arena<cpu> memory(dev, plan);
  auto* const bytes = memory.at<unsigned char>(plan.at(b));
  auto* const floats = memory.at<float>(plan.at(a));
  CHECK(reinterpret_cast<std::uintptr_t>(bytes) % cpu::alignment == 0);
  CHECK(reinterpret_cast<std::uintptr_t>(floats) % cpu::alignment == 0);
  bytes[plan.at(b).bytes - 1] = 1;
  floats[0] = 1.5f;
  arena<cpu> moved(std::move(memory));
  CHECK(moved.at<float>(plan.at(a)) == floats);
  arena<cpu> assigned;
  assigned = std::move(moved);
  CHECK(assigned.at<float>(plan.at(a))[0] == 1.5f);
}
