// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <type_traits>
#include <vector>

#include <unetdn/core/collapse.hpp>
#include <unetdn/kernels/reduce.hpp>
#include <unetdn/ops/elementwise.hpp>

namespace unetdn {

namespace detail {

/// Most blocks of a reduction: enough to fill a large GPU several times over.
inline constexpr int reduction_blocks = 1024;

/// Blocks of a reduction over a window: a function of the window alone, never of the GPU, so that the bits are the same
/// on each.
template <class K, class T> extent3 reduction_grid(char const* op, view<T> const& x) {
  return {std::min(reduction_blocks, elementwise_grid<K>(op, x).x)};
}

inline double in_order(double const* v, std::size_t count) {
  double total = 0;
  for (std::size_t i = 0; i < count; ++i) total += v[i];
  return total;
}

}  // namespace detail

/// Each element read once.
inline op_cost sum_cost(unetdn::shape x, std::size_t element_bytes = sizeof(float)) {
  return {double(x.size()), double(x.size()) * double(element_bytes)};
}

/// Sum of all elements of x[N,H,W,C], on the host. The additions have a fixed order: equal bits for any number of
/// threads and any GPU. The cpu adds rows in double; kernels add in float within a block, and blocks in double. Reads x
/// once, waits for the result, and takes scratch memory: 8 bytes a row on the cpu, at most 4 KiB elsewhere.
template <class T, class Device> double sum(Device& dev, view<T> x) {
  using element = std::remove_const_t<T>;
  static_assert(Device::template supports<element>,
                "the cpu takes float and double; cuda and emulated float, bf16, fp16");
  if (x.size() == 0) return 0;
  if constexpr (std::is_same_v<Device, cpu>) {
    std::size_t const rows = static_cast<std::size_t>(x.n) * static_cast<std::size_t>(x.h);
    auto* const of_row = static_cast<double*>(dev.scratch(rows * sizeof(double)));
    detail::for_each_row(dev, x.n, x.h, std::int64_t(x.w) * x.c, [&](int image, int row) {
      double total = 0;
      for (int column = 0; column < x.w; ++column) {
        T const* const from = x.pixel(image, row, column);
        for (int channel = 0; channel < x.c; ++channel) total += double(from[channel]);
      }
      of_row[static_cast<std::size_t>(image) * static_cast<std::size_t>(x.h) + static_cast<std::size_t>(row)] = total;
    });
    return detail::in_order(of_row, rows);
  } else {
    view<element const> window = x;
    detail::collapse(window);
    extent3 const grid = detail::reduction_grid<kernels::sum_partials<element>>("sum", window);
    std::size_t const blocks = static_cast<std::size_t>(grid.x);
    auto* const partial = static_cast<float*>(dev.scratch(blocks * sizeof(float)));
    launch(dev, grid, kernels::sum_partials<element>{window, partial, detail::aligned_pixels(window)});
    std::vector<float> of_block(blocks);
    dev.download(of_block.data(), partial, blocks * sizeof(float));
    std::vector<double> const wide(of_block.begin(), of_block.end());
    return detail::in_order(wide.data(), blocks);
  }
}

}  // namespace unetdn
