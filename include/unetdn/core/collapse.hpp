// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <limits>

#include <unetdn/core/view.hpp>

// Element-wise operations do not care which axis an element lies on. Where memory allows, they see a window with fewer
// and longer axes: a dense one as a single row of channels.

namespace unetdn::detail {

/// Whether `outer` steps of `outer_stride`, each of `inner` steps of `inner_stride`, are evenly spaced steps.
inline bool joins(int outer, std::int64_t outer_stride, int inner, std::int64_t inner_stride) {
  return outer == 1 || inner == 1 || outer_stride == inner * inner_stride;
}
inline bool fits_int(std::int64_t n) { return n <= std::numeric_limits<int>::max(); }

template <class T> void join_images(view<T>& v) {
  if (v.h == 1) v.row_stride = v.image_stride;
  v.h *= v.n;
  v.n = 1;
}
template <class T> void join_rows(view<T>& v) {
  if (v.w == 1) v.pixel_stride = v.row_stride;
  v.w *= v.h;
  v.h = 1;
}
template <class T> void join_pixels(view<T>& v) {
  v.c *= v.w;
  v.w = 1;
}

/// Joins pictures and rows of windows of equal extents, but perhaps other channels, as far as the memory of all of them
/// allows. Pixel i of one still corresponds to pixel i of the others.
template <class First, class... Others> void collapse_rows(view<First>& first, view<Others>&... others) {
  auto const all = [&](auto condition) { return condition(first) && (... && condition(others)); };
  if (all([](auto const& v) {
        return joins(v.n, v.image_stride, v.h, v.row_stride) && fits_int(std::int64_t(v.n) * v.h);
      })) {
    join_images(first);
    (join_images(others), ...);
  }
  if (all([](auto const& v) {
        return v.n == 1 && joins(v.h, v.row_stride, v.w, v.pixel_stride) && fits_int(std::int64_t(v.h) * v.w);
      })) {
    join_rows(first);
    (join_rows(others), ...);
  }
}

/// Joins pictures, rows and pixels of windows of equal extents, as far as the memory of all of them allows. Element i
/// of one still corresponds to element i of the others.
template <class First, class... Others> void collapse(view<First>& first, view<Others>&... others) {
  auto const all = [&](auto condition) { return condition(first) && (... && condition(others)); };
  collapse_rows(first, others...);
  if (all([](auto const& v) {
        return v.n == 1 && v.h == 1 && (v.w == 1 || v.pixel_stride == v.c) && fits_int(std::int64_t(v.w) * v.c);
      })) {
    join_pixels(first);
    (join_pixels(others), ...);
  }
}

/// Whether accesses of so many bytes to pixels, at channels that are multiples of them, are aligned.
template <int Bytes = 16, class T> bool aligned_pixels(view<T> const& v) {
  auto const whole = [](int extent, std::int64_t stride) {
    return extent == 1 || stride * int(sizeof(T)) % Bytes == 0;
  };
  return reinterpret_cast<std::uintptr_t>(v.data) % Bytes == 0 && whole(v.n, v.image_stride) &&
         whole(v.h, v.row_stride) && whole(v.w, v.pixel_stride);
}

}  // namespace unetdn::detail
