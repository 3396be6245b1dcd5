// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <type_traits>

#include <unetdn/devices/cpu.hpp>
#include <unetdn/ops/checks.hpp>
#include <unetdn/ops/cost.hpp>

namespace unetdn {

namespace detail {

/// Calls f(image, row) for all rows of n pictures of h rows, spread over the threads in chunks of about `work`
/// elements, `row_work` of them a row.
template <class F> void for_each_row(cpu& dev, int n, int h, std::int64_t row_work, F&& f) {
  constexpr std::int64_t work = 1 << 14;  // a chunk must outlast the few hundred nanoseconds that claiming it costs
  std::int64_t const rows = std::int64_t(n) * h;
  std::int64_t const per_chunk = std::max<std::int64_t>(1, work / std::max<std::int64_t>(1, row_work));
  dev.parallel(static_cast<int>(ceil_div(rows, per_chunk)), [&](int chunk, int) {
    std::int64_t const end = std::min(rows, (chunk + 1) * per_chunk);
    for (std::int64_t row = chunk * per_chunk; row < end; ++row)
      f(static_cast<int>(row / h), static_cast<int>(row % h));
  });
}

/// y[element] = f(x[element]) for all elements of two windows of equal extents, which may be the same window.
template <class X, class Y, class F> void map_elements(cpu& dev, view<X> x, view<Y> y, F&& f) {
  for_each_row(dev, y.n, y.h, std::int64_t(y.w) * y.c, [&](int image, int row) {
    for (int column = 0; column < y.w; ++column) {
      X* const from = x.pixel(image, row, column);
      Y* const to = y.pixel(image, row, column);
      for (int channel = 0; channel < y.c; ++channel) to[channel] = f(from[channel], to[channel]);
    }
  });
}

}  // namespace detail

/// x read, y written.
inline op_cost copy_cost(unetdn::shape x, std::size_t element_bytes = sizeof(float)) {
  return {0, 2.0 * double(x.size()) * double(element_bytes)};
}
/// x and y read, y written.
inline op_cost add_cost(unetdn::shape x, std::size_t element_bytes = sizeof(float)) {
  return {double(x.size()), 3.0 * double(x.size()) * double(element_bytes)};
}

/// y = x, element by element: x[N,H,W,C], y[N,H,W,C]. Moves 2 sizeof(T) bytes an element.
/// Throws argument_error where the shapes differ.
template <class T, class Device> void copy(Device& dev, view<std::type_identity_t<T> const> x, view<T> y) {
  static_assert(std::is_same_v<Device, cpu>, "copy runs on the cpu device only");
  detail::check_same_shape("copy", x, y);
  detail::map_elements(dev, x, y, [](T from, T) { return from; });
}

/// y += x, element by element: x[N,H,W,C], y[N,H,W,C]. Moves 3 sizeof(T) bytes an element.
/// Throws argument_error where the shapes differ.
template <class T, class Device> void add(Device& dev, view<std::type_identity_t<T> const> x, view<T> y) {
  static_assert(std::is_same_v<Device, cpu>, "add runs on the cpu device only");
  detail::check_same_shape("add", x, y);
  detail::map_elements(dev, x, y, [](T from, T to) { return to + from; });
}

/// Index in [0, n) of a position that may lie outside, reflected at the borders without repeating them
/// (... 2 1 | 0 1 2 ... n-1 | n-2 ...), as often as needed. n = 1 gives 0.
inline int reflect(int position, int n) {
  if (n == 1) return 0;
  int const period = 2 * (n - 1);
  int const p = ((position % period) + period) % period;
  return p < n ? p : period - p;
}

/// y[n][i][j] = x[n][reflect(i - top)][reflect(j - left)]: x in the middle of a larger y, mirrored beyond its borders.
/// x[N,H,W,C] with H, W >= 1; y[N,P,Q,C]. Throws argument_error where pictures or channels differ.
template <class T, class Device>
void copy_reflected(Device& dev, view<std::type_identity_t<T> const> x, view<T> y, int top, int left) {
  static_assert(std::is_same_v<Device, cpu>, "copy_reflected runs on the cpu device only");
  check(x.n == y.n && x.c == y.c && x.h > 0 && x.w > 0, "copy_reflected: a window of ", to_string(detail::extents(x)),
        " cannot fill one of ", to_string(detail::extents(y)));
  detail::for_each_row(dev, y.n, y.h, std::int64_t(y.w) * y.c, [&](int image, int row) {
    for (int column = 0; column < y.w; ++column) {
      T const* const from = x.pixel(image, reflect(row - top, x.h), reflect(column - left, x.w));
      std::copy_n(from, y.c, y.pixel(image, row, column));
    }
  });
}

}  // namespace unetdn
