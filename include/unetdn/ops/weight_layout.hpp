// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <type_traits>

#include <unetdn/core/half.hpp>
#include <unetdn/cpu/packed_weights.hpp>
#include <unetdn/kernels/conv_weights.hpp>
#include <unetdn/ops/checks.hpp>

// Weights of a convolution on a device, and their way from and to the canonical order of files.

namespace unetdn::detail {

/// Where the weights of a convolution from `channels` to `outputs` with `taps` lie in the device's memory.
template <class Device>
using weight_layout = std::conditional_t<is_cpu<Device>, cpu_bodies::packed_weights, kernels::conv_weights>;

/// Copies weights from the canonical order, index(output, channel, tap), to the layout, padding zeroed.
template <class Layout, class To, class From, class Index>
void pack_weights(Layout layout, From const* canonical, To* packed, Index index) {
  std::fill_n(packed, layout.size(), convert<To>(0.0f));
  for (int k = 0; k < layout.outputs; ++k)
    for (int c = 0; c < layout.channels; ++c)
      for (int t = 0; t < layout.taps; ++t) packed[layout.index(c, t, k)] = convert<To>(canonical[index(k, c, t)]);
}
template <class Layout, class To, class From, class Index>
void unpack_weights(Layout layout, From const* packed, To* canonical, Index index) {
  for (int k = 0; k < layout.outputs; ++k)
    for (int c = 0; c < layout.channels; ++c)
      for (int t = 0; t < layout.taps; ++t) canonical[index(k, c, t)] = convert<To>(packed[layout.index(c, t, k)]);
}

}  // namespace unetdn::detail
