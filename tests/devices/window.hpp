// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <type_traits>
#include <vector>

#include <unetdn/core/half.hpp>
#include <unetdn/core/shape.hpp>
#include <unetdn/core/view.hpp>

#include "catch.hpp"

namespace unetdn::test {

/// Where a window lies in the buffer around it: channels before and after it in each pixel, pixels on every side.
struct placement {
  char const* name;
  int before = 0, after = 0, border = 0;
};

/// Dense; slices with and without 16-byte alignment; a crop; both.
inline constexpr placement placements[] = {
    {"dense"}, {"slice", 8, 16}, {"odd slice", 3, 2}, {"crop", 0, 0, 1}, {"slice of a crop", 8, 5, 2}};

/// Sizes that are one, odd, and off every tile.
inline constexpr shape awkward_shapes[] = {{1, 1, 1, 1},  {1, 1, 1, 3},   {2, 3, 5, 7},   {1, 4, 4, 16},
                                           {2, 5, 3, 33}, {3, 17, 19, 8}, {1, 1, 300, 64}};

/// Numbers from -1 to 1 that every element type holds exactly, some of them zero.
inline std::vector<double> some_numbers(std::int64_t count, std::uint32_t seed) {
  std::vector<double> v(static_cast<std::size_t>(count));
  std::uint32_t state = seed;
  for (double& x : v) {
    state = state * 1664525u + 1013904223u;
    x = (static_cast<int>(state >> 24) - 128) / 128.0;
  }
  return v;
}

/// The largest relative error of rounding to T: half a unit in the last place.
template <class T> constexpr double unit_roundoff() {
  if (std::is_same_v<T, bf16>) return 0x1p-8;
  if (std::is_same_v<T, fp16>) return 0x1p-11;
  return std::is_same_v<T, float> ? 0x1p-24 : 0x1p-53;
}

/// A window x[n,h,w,c] in device memory, in the midst of a buffer whose other elements must not change.
template <class T, class Device> class window {
 public:
  window(Device& dev, shape s, placement where, std::vector<double> const& values) : window(dev, s, where) {
    write(values);
  }
  /// All elements hold the guard's value.
  window(Device& dev, shape s, placement where) : dev_{dev}, shape_{s}, where_{where} {
    int const channels = where.before + s.c + where.after;
    std::int64_t const row = std::int64_t(s.w + 2 * where.border) * channels;
    std::int64_t const image = (s.h + 2 * where.border) * row;
    host_.assign(static_cast<std::size_t>(s.n * image), T(guard));
    memory_ = static_cast<T*>(dev.allocate(bytes()));
    dev.upload(memory_, host_.data(), bytes());
    view_ = {memory_ + where.border * (row + channels) + where.before, s.n, s.h, s.w, s.c, image, row, channels};
  }
  window(window const&) = delete;
  window& operator=(window const&) = delete;
  ~window() { Device::release(memory_); }

  unetdn::view<T> view() const { return view_; }
  void write(std::vector<double> const& values) {
    std::size_t i = 0;
    for_each_offset([&](std::size_t offset) { host_[offset] = T(static_cast<float>(values[i++])); });
    dev_.upload(memory_, host_.data(), bytes());
  }
  /// The elements in NHWC order. Checks that nothing around the window has changed.
  std::vector<double> read() {
    dev_.download(host_.data(), memory_, bytes());
    std::vector<double> values;
    std::size_t kept = 0;
    for (T const& x : host_) kept += widen(x) == guard ? 1u : 0u;
    for_each_offset([&](std::size_t offset) {
      values.push_back(widen(host_[offset]));
      if (values.back() == guard) --kept;
    });
    CHECK(kept == host_.size() - values.size());
    return values;
  }

 private:
  static constexpr float guard = 77.0f;
  static double widen(T x) {
    if constexpr (std::is_same_v<T, double>) return x;
    return static_cast<float>(x);
  }
  std::size_t bytes() const { return host_.size() * sizeof(T); }
  template <class F> void for_each_offset(F f) const {
    for (int n = 0; n < shape_.n; ++n) {
      for (int h = 0; h < shape_.h; ++h) {
        for (int w = 0; w < shape_.w; ++w) {
          for (int c = 0; c < shape_.c; ++c) f(static_cast<std::size_t>(view_.pixel(n, h, w) + c - memory_));
        }
      }
    }
  }

  Device& dev_;
  shape shape_;
  placement where_;
  std::vector<T> host_;
  T* memory_ = nullptr;
  unetdn::view<T> view_;
};

}  // namespace unetdn::test
