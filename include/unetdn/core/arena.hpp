// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <iomanip>
#include <numeric>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <unetdn/core/device.hpp>
#include <unetdn/core/kernel.hpp>
#include <unetdn/core/sanitizer.hpp>

namespace unetdn {

/// What a buffer is for. State outlives a step (weights, moments); activations live within one, and so do gradients;
/// scratch within one operation.
enum class memory_kind { state, activations, scratch };

/// "state", "activations" or "scratch".
inline std::string_view to_string(memory_kind kind) {
  constexpr std::string_view names[] = {"state", "activations", "scratch"};
  return names[static_cast<int>(kind)];
}

/// Decides, before anything is allocated, where each buffer of a computation lies in one block of memory. Buffers whose
/// lives do not overlap may share their place. A life is a closed range of step numbers. A buffer may come to life in
/// parts, each of which keeps its place within it: an array that is written piece by piece, until then, needs memory
/// only for what has been.
class memory_plan {
 public:
  /// Bytes `begin` to `end`, without the latter, of a buffer.
  struct part {
    std::size_t begin, end;
    int first, last;
  };
  struct item {
    std::string name;
    memory_kind kind;
    std::size_t bytes;
    int first, last;  ///< from the first part's life to the last one's
    std::vector<part> parts;
    std::size_t offset = 0;
  };

  /// Adds a buffer that is alive from step `first` to step `last`; returns its number. Throws argument_error where it
  /// ends before it begins.
  int add(std::string name, memory_kind kind, std::size_t bytes, int first, int last) {
    return add(std::move(name), kind, {{0, bytes, first, last}});
  }
  /// Adds a buffer that is as long as its parts reach; bytes that are in none are nobody's. Throws argument_error where
  /// there is no part, or one ends before it begins.
  int add(std::string name, memory_kind kind, std::vector<part> parts) {
    check(!parts.empty(), "the plan's buffer ", name, " has no part");
    item it{std::move(name), kind, 0, parts[0].first, parts[0].last, {}};
    for (part const& p : parts) {
      check(p.first <= p.last && p.begin <= p.end, "the plan's buffer ", it.name, " ends before it begins");
      it.bytes = std::max(it.bytes, p.end);
      it.first = std::min(it.first, p.first);
      it.last = std::max(it.last, p.last);
    }
    it.parts = std::move(parts);
    items_.push_back(std::move(it));
    return static_cast<int>(items_.size()) - 1;
  }

  /// Gives every buffer a place at a multiple of `alignment`: the largest first, each at the lowest offset that is free
  /// during its whole life (greedy by size; Pisarchyk and Lee 2020, "Efficient memory management for deep neural net
  /// inference", section 5.2). With a `red_zone`, none share their place, and that many bytes, a multiple of
  /// `alignment`, follow each buffer that are nobody's at any time.
  void place(std::size_t alignment, std::size_t red_zone = 0) {
    alignment_ = alignment;
    red_zone_ = red_zone;
    std::vector<int> order(items_.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return at(a).bytes > at(b).bytes; });
    std::vector<item const*> placed;
    total_ = 0;
    for (int index : order) {
      item& it = items_[static_cast<std::size_t>(index)];
      it.offset = lowest_free(it, placed);
      total_ = std::max(total_, it.offset + room(it));
      placed.push_back(&it);
    }
  }

  item const& at(int index) const { return items_[static_cast<std::size_t>(index)]; }
  std::vector<item> const& items() const { return items_; }
  /// Bytes from a buffer's offset to where the next one may begin: its own, padding and the red zone.
  std::size_t room(item const& it) const { return round_up(it.bytes, alignment_) + red_zone_; }
  /// Bytes of the block that holds all buffers.
  std::size_t total() const { return total_; }
  /// Sum of the sizes of one kind's buffers, as if none shared its place.
  std::size_t sum(memory_kind kind) const {
    std::size_t bytes = 0;
    for (auto const& it : items_) bytes += it.kind == kind ? it.bytes : 0;
    return bytes;
  }

 private:
  /// Offsets that a buffer may not have: those between `above` and `below`.
  struct refused {
    std::int64_t above, below;
  };
  /// Adds those at which the two would share bytes while both are alive.
  void refuse(item const& it, item const& placed, std::vector<refused>& all) const {
    auto const add = [&](std::size_t begin, std::size_t end, std::size_t other_begin, std::size_t other_end) {
      auto const place = static_cast<std::int64_t>(placed.offset);
      all.push_back({place + static_cast<std::int64_t>(other_begin) - static_cast<std::int64_t>(end),
                     place + static_cast<std::int64_t>(other_end) - static_cast<std::int64_t>(begin)});
    };
    if (red_zone_ > 0) return add(0, room(it), 0, room(placed));
    for (part const& a : it.parts) {
      for (part const& b : placed.parts) {
        bool const together = a.first <= b.last && b.first <= a.last;
        if (together && a.begin < a.end && b.begin < b.end) add(a.begin, a.end, b.begin, b.end);
      }
    }
  }
  std::size_t lowest_free(item const& it, std::vector<item const*> const& placed) const {
    std::vector<refused> all;
    for (item const* other : placed) refuse(it, *other, all);
    std::sort(all.begin(), all.end(), [](refused const& a, refused const& b) { return a.above < b.above; });
    std::int64_t offset = 0;
    for (auto [above, below] : all) {
      if (offset <= above) break;
      if (offset < below) offset = round_up(below, static_cast<std::int64_t>(alignment_));
    }
    return static_cast<std::size_t>(offset);
  }
  std::vector<item> items_;
  std::size_t total_ = 0, alignment_ = 1, red_zone_ = 0;
};

/// Prints one line a kind and one for all, in MiB; with `every_item` also one line a buffer.
inline void print_plan(std::ostream& out, memory_plan const& plan, std::size_t state_bytes, std::size_t scratch_bytes,
                       bool every_item = false) {
  auto const mebibytes = [](std::size_t bytes) {
    char number[32];
    std::snprintf(number, sizeof number, "%.2f MiB", static_cast<double>(bytes) / (1 << 20));
    return std::string(number);
  };
  auto const line = [&](std::string_view name, std::size_t bytes, std::string_view note = "") {
    out << "  " << std::left << std::setw(28) << name << std::right << std::setw(14) << mebibytes(bytes) << note
        << '\n';
  };
  if (every_item) {
    for (auto const& it : plan.items()) {
      line(it.name, it.bytes, text("  steps ", it.first, " to ", it.last, ", at ", it.offset));
    }
  }
  line("state", state_bytes);
  line("activations", plan.total(), text("  (", mebibytes(plan.sum(memory_kind::activations)), " without sharing)"));
  line("scratch", scratch_bytes);
  line("total", state_bytes + plan.total() + scratch_bytes);
}

/// Owns the block of memory of a plan.
template <class Device> class arena {
 public:
  arena() = default;
  /// Allocates plan.total() bytes, which hold nothing yet. Throws out_of_memory. A device with red zones has them
  /// poisoned, so that AddressSanitizer finds an access beyond a buffer, though it is not beyond the arena.
  arena(Device& dev, memory_plan const& plan) : memory_{static_cast<std::byte*>(dev.allocate(plan.total()))} {
    if constexpr (Device::red_zone > 0) {
      for (auto const& it : plan.items()) poison(memory_ + it.offset + it.bytes, plan.room(it) - it.bytes);
    }
  }
  ~arena() { Device::release(memory_); }
  arena(arena&& other) noexcept : memory_{std::exchange(other.memory_, nullptr)} {}
  arena& operator=(arena&& other) noexcept {
    std::swap(memory_, other.memory_);
    return *this;
  }

  /// Where a buffer of the plan lies.
  template <class T> T* at(memory_plan::item const& it) const { return reinterpret_cast<T*>(memory_ + it.offset); }

 private:
  std::byte* memory_ = nullptr;
};

}  // namespace unetdn
