// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <cstdint>
#include <type_traits>

#include <unetdn/core/collapse.hpp>
#include <unetdn/core/half.hpp>
#include <unetdn/devices/cpu.hpp>
#include <unetdn/kernels/elementwise.hpp>
#include <unetdn/ops/checks.hpp>
#include <unetdn/ops/cost.hpp>

namespace unetdn {

namespace detail {

/// Elements that a thread takes at once: they must outlast the few hundred nanoseconds that claiming them costs.
inline constexpr std::int64_t chunk_elements = 1 << 14;

/// Calls f(image, row) for all rows of n pictures of h rows, `row_elements` each, spread over the threads.
template <class F> void for_each_row(cpu& dev, int n, int h, std::int64_t row_elements, F&& f) {
  std::int64_t const rows = std::int64_t(n) * h;
  std::int64_t const per_chunk = std::max<std::int64_t>(1, chunk_elements / std::max<std::int64_t>(1, row_elements));
  dev.parallel(static_cast<int>(ceil_div(rows, per_chunk)), [&](int chunk, int) {
    std::int64_t const end = std::min(rows, (chunk + 1) * per_chunk);
    for (std::int64_t row = chunk * per_chunk; row < end; ++row)
      f(static_cast<int>(row / h), static_cast<int>(row % h));
  });
}

/// for_each_run() of windows that are one run. False, and nothing done, where they are not.
template <class F, class First, class... Others>
bool for_each_chunk(cpu& dev, F&& f, view<First> first, view<Others>... others) {
  collapse(first, others...);
  if (std::int64_t(first.n) * first.h * first.w != 1) return false;
  dev.parallel(static_cast<int>(ceil_div<std::int64_t>(first.c, chunk_elements)), [&](int chunk, int) {
    std::int64_t const begin = chunk * chunk_elements;
    f(first.data + begin, others.data + begin..., std::min(chunk_elements, first.c - begin));
  });
  return true;
}

/// Calls f(address in each of the windows..., elements) for runs of elements that lie side by side in all of them:
/// chunks of dense windows, rows, or pixels. They are spread over the threads.
template <class F, class First, class... Others>
void for_each_run(cpu& dev, F&& f, view<First> const& first, view<Others> const&... others) {
  if (for_each_chunk(dev, f, first, others...)) return;
  auto const dense = [](auto const& v) { return v.w == 1 || v.pixel_stride == v.c; };
  bool const rows_are_runs = dense(first) && (... && dense(others));
  std::int64_t const row_elements = std::int64_t(first.w) * first.c;
  for_each_row(dev, first.n, first.h, row_elements, [&](int image, int row) {
    if (rows_are_runs) return f(first.pixel(image, row, 0), others.pixel(image, row, 0)..., row_elements);
    for (int column = 0; column < first.w; ++column)
      f(first.pixel(image, row, column), others.pixel(image, row, column)..., std::int64_t(first.c));
  });
}

/// y[element] = f(x[element], y[element]) for all elements of two windows of equal extents, which may be the same
/// window.
template <class X, class Y, class F> void map_elements(cpu& dev, view<X> x, view<Y> y, F&& f) {
  auto const map_run = [&](X* from, Y* to, std::int64_t elements) {
    for (std::int64_t i = 0; i < elements; ++i) to[i] = f(from[i], to[i]);
  };
  for_each_run(dev, map_run, x, y);
}

/// The launch of an element-wise kernel over a window: one piece of `size` elements a thread.
template <class K, class T>
extent3 elementwise_grid(char const* op, view<T> const& v, int size = kernels::piece_size<T>) {
  std::int64_t const count = kernels::pieces(v, size);
  check(count < (std::int64_t(1) << 31), op, ": a window of ", to_string(extents(v)),
        " is too large for one launch; use smaller pictures or a smaller batch");
  return {static_cast<int>(ceil_div(count, K::threads))};
}

/// Whether 16-byte accesses to all the windows are aligned.
template <class... T> bool all_aligned(view<T> const&... v) { return (... && aligned_pixels(v)); }

}  // namespace detail

/// x read, y written.
inline op_cost copy_cost(unetdn::shape x, std::size_t element_bytes = sizeof(float)) {
  return {0, 2.0 * double(x.size()) * double(element_bytes)};
}
/// x and y read, y written.
inline op_cost add_cost(unetdn::shape x, std::size_t element_bytes = sizeof(float)) {
  return {double(x.size()), 3.0 * double(x.size()) * double(element_bytes)};
}
/// y written.
inline op_cost fill_cost(unetdn::shape y, std::size_t element_bytes = sizeof(float)) {
  return {0, double(y.size()) * double(element_bytes)};
}

/// y = x, element by element, rounded to nearest where To is narrower: x[N,H,W,C], y[N,H,W,C]. On the cpu between float
/// and double, elsewhere between float and one of the 16-bit types. Moves sizeof(From) + sizeof(To) bytes an element.
/// Throws argument_error where the shapes differ.
template <class To, class From, class Device>
void convert(Device& dev, view<From> x, view<std::type_identity_t<To>> y) {
  using from = std::remove_const_t<From>;
  static_assert(Device::template supports<from> && Device::template supports<To>,
                "the cpu takes float and double; cuda and emulated float, bf16, fp16");
  detail::check_same_shape("convert", x, y);
  if (y.size() == 0) return;
  if constexpr (std::is_same_v<Device, cpu>) {
    detail::map_elements(dev, x, y, [](From v, To) { return static_cast<To>(v); });
  } else {
    using kernel = kernels::convert<from, To>;
    static_assert(std::is_same_v<from, To> || std::is_same_v<from, float> || std::is_same_v<To, float>,
                  "convert between bf16 and fp16 by way of float");
    detail::collapse(x, y);
    launch(dev, detail::elementwise_grid<kernel>("convert", y, kernel::size), kernel{x, y, detail::all_aligned(x, y)});
  }
}

/// y = x, element by element: x[N,H,W,C], y[N,H,W,C]. Moves 2 sizeof(T) bytes an element.
/// Throws argument_error where the shapes differ.
template <class T, class Device> void copy(Device& dev, view<std::type_identity_t<T> const> x, view<T> y) {
  detail::check_same_shape("copy", x, y);
  convert<T>(dev, x, y);
}

/// y += x, element by element: x[N,H,W,C], y[N,H,W,C]. Moves 3 sizeof(T) bytes an element.
/// Throws argument_error where the shapes differ.
template <class T, class Device> void add(Device& dev, view<std::type_identity_t<T> const> x, view<T> y) {
  static_assert(Device::template supports<T>, "the cpu takes float and double; cuda and emulated float, bf16, fp16");
  detail::check_same_shape("add", x, y);
  if (y.size() == 0) return;
  if constexpr (std::is_same_v<Device, cpu>) {
    detail::map_elements(dev, x, y, [](T from, T to) { return to + from; });
  } else {
    detail::collapse(x, y);
    launch(dev, detail::elementwise_grid<kernels::add<T>>("add", y), kernels::add<T>{x, y, detail::all_aligned(x, y)});
  }
}

/// y = value, in each element of y[N,H,W,C]. Moves sizeof(T) bytes an element.
template <class T, class Device> void fill(Device& dev, view<T> y, accumulator_t<T> value) {
  static_assert(Device::template supports<T>, "the cpu takes float and double; cuda and emulated float, bf16, fp16");
  if (y.size() == 0) return;
  if constexpr (std::is_same_v<Device, cpu>) {
    detail::map_elements(dev, view<T const>(y), y, [value](T, T) { return value; });
  } else {
    detail::collapse(y);
    launch(dev, detail::elementwise_grid<kernels::fill<T>>("fill", y),
           kernels::fill<T>{y, value, detail::all_aligned(y)});
  }
}

/// y[n][i][j] = x[n][reflect(i - top)][reflect(j - left)]: x in the middle of a larger y, mirrored beyond its borders.
/// x[N,H,W,C] with H, W >= 1; y[N,P,Q,C]. Throws argument_error where pictures or channels differ.
template <class T, class Device>
void copy_reflected(Device& dev, view<std::type_identity_t<T> const> x, view<T> y, int top, int left) {
  static_assert(Device::template supports<T>, "the cpu takes float and double; cuda and emulated float, bf16, fp16");
  check(x.n == y.n && x.c == y.c && x.h > 0 && x.w > 0, "copy_reflected: a window of ", to_string(detail::extents(x)),
        " cannot fill one of ", to_string(detail::extents(y)));
  if (y.size() == 0) return;
  if constexpr (std::is_same_v<Device, cpu>) {
    detail::for_each_row(dev, y.n, y.h, std::int64_t(y.w) * y.c, [&](int image, int row) {
      for (int column = 0; column < y.w; ++column) {
        T const* const from = x.pixel(image, reflect(row - top, x.h), reflect(column - left, x.w));
        std::copy_n(from, y.c, y.pixel(image, row, column));
      }
    });
  } else {
    launch(dev, detail::elementwise_grid<kernels::copy_reflected<T>>("copy_reflected", y),
           kernels::copy_reflected<T>{x, y, top, left, detail::all_aligned(x, y)});
  }
}

}  // namespace unetdn
