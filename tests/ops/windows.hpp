// SPDX-License-Identifier: Apache-2.0
// Windows into guarded memory, and comparison with references, for the tests of the cpu operations.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <unetdn/core/shape.hpp>
#include <unetdn/core/view.hpp>

#include "catch.hpp"
#include "devices/instruction_sets.hpp"

namespace windows {

using unetdn::test::instruction_sets;
using unetdn::test::use_isa;

/// Values in [-1, 1], a function of the seed; exact in float.
template <class T = double> std::vector<T> random_values(std::size_t count, unsigned seed) {
  std::vector<T> values(count);
  std::uint32_t state = seed * 2654435761u + 12345u;
  for (T& v : values) {
    state = state * 1664525u + 1013904223u;
    v = static_cast<T>(int(state >> 12) - (1 << 19)) / T(1 << 19);
  }
  return values;
}

template <class T> std::vector<double> widened(std::vector<T> const& v) { return {v.begin(), v.end()}; }

/// A window of the given shape: dense, from a cache line on like the arena's, or a crop of some channels of a larger
/// picture (so pixels, rows and pictures have gaps and nothing is aligned). What lies outside must not change.
template <class T> class window {
 public:
  window(unetdn::shape s, bool inside_larger) : shape_{s} {
    int const rim = inside_larger ? 1 : 0;
    int const h = s.h + 3 * rim, w = s.w + 2 * rim, c = s.c + 5 * rim;
    constexpr std::size_t line = 64;
    memory_.assign(std::size_t(s.n) * h * w * c + line / sizeof(T) + 1, guard);
    std::size_t const past_line = reinterpret_cast<std::uintptr_t>(memory_.data()) % line;
    T* const begin = memory_.data() + (line - past_line) % line / sizeof(T) + rim;
    unetdn::view<T> const whole{begin, s.n, h, w, c};
    view_ = inside_larger ? whole.crop(2, 1, s.h, s.w).channels(3, s.c) : whole;
  }
  window(unetdn::shape s, bool inside_larger, std::vector<T> const& values) : window(s, inside_larger) { set(values); }
  window(window const&) = delete;
  window& operator=(window const&) = delete;

  unetdn::view<T> view() const { return view_; }
  void set(std::vector<T> const& values) {
    std::size_t from = 0;
    each([&](T& v) { v = values[from++]; });
  }
  std::vector<T> values() const {
    std::vector<T> all;
    each([&](T& v) { all.push_back(v); });
    return all;
  }
  /// Whether everything outside the window is as it was.
  bool rim_untouched() const {
    std::vector<T> copy = memory_;
    auto const v = view_;
    for (int i = 0; i < v.n; ++i)
      for (int y = 0; y < v.h; ++y)
        for (int x = 0; x < v.w; ++x) std::fill_n(copy.data() + (v.pixel(i, y, x) - memory_.data()), v.c, guard);
    return std::all_of(copy.begin(), copy.end(), [](T t) { return t == guard; });
  }

 private:
  static constexpr T guard = T(-777);
  template <class F> void each(F f) const {
    for (int i = 0; i < view_.n; ++i)
      for (int y = 0; y < view_.h; ++y)
        for (int x = 0; x < view_.w; ++x)
          for (int c = 0; c < view_.c; ++c) f(view_.pixel(i, y, x)[c]);
  }

  unetdn::shape shape_;
  std::vector<T> memory_;
  unetdn::view<T> view_;
};

/// A sum of `terms` products of values in [-1, 1] may be off by one rounding of a partial sum for each term.
template <class T> double tolerance(double terms) { return double(std::numeric_limits<T>::epsilon()) * (terms + 8); }

/// The largest difference; infinite where a value is NaN or the sizes differ.
template <class T> double distance(std::vector<T> const& a, std::vector<double> const& b) {
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    double const d = std::abs(double(a[i]) - b[i]);
    if (!(d <= largest)) largest = std::isnan(d) ? std::numeric_limits<double>::infinity() : d;
  }
  return largest;
}

inline double dot(std::vector<double> const& a, std::vector<double> const& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace windows
