// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

#include <unetdn/core/kernel.hpp>

namespace unetdn::kernels {

/// Where a convolution's weights, and their gradients, lie in a GPU's memory: w[outputs][taps][pitch], the channels of
/// a tap padded with zeros to a multiple of 8, so that they are pieces of 16 bytes in every element type. Both matrices
/// that kernels multiply with are read from it in place: w itself, whose rows are outputs (forward), and its transpose,
/// whose rows are channels (data gradient), which matrix loads transpose on the way.
struct conv_weights {
  int channels, outputs, taps;

  UNETDN_HD constexpr int pitch() const { return round_up(channels, 8); }
  UNETDN_HD constexpr std::int64_t index(int channel, int tap, int output) const {
    return (std::int64_t(output) * taps + tap) * pitch() + channel;
  }
  /// Number of elements, padding included.
  UNETDN_HD constexpr std::int64_t size() const { return std::int64_t(outputs) * taps * pitch(); }
};

}  // namespace unetdn::kernels
