// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <cstdint>

#include <unetdn/core/kernel.hpp>

namespace unetdn::cpu_bodies {

/// Output channels of a weight panel.
inline constexpr int panel_outputs = 32;
/// Channels that a packed pixel holds side by side; also the granularity of a panel's width.
inline constexpr int group_channels = 16;

/// Where weights lie in memory on the cpu: panels of 32 output channels, the last one as wide as the rest rounded up to
/// 16, each panel w[channels][taps][width]. So every body streams the weights of its outputs without gaps. The lanes
/// beyond the last output are zero.
struct packed_weights {
  int channels, outputs, taps;

  int panels() const { return ceil_div(outputs, panel_outputs); }
  int width(int panel) const {
    return std::min(panel_outputs, round_up(outputs - panel * panel_outputs, group_channels));
  }
  /// Index of the panel's first element.
  std::int64_t panel_begin(int panel) const { return std::int64_t(panel) * panel_outputs * taps * channels; }
  std::int64_t index(int channel, int tap, int output) const {
    int const panel = output / panel_outputs;
    return panel_begin(panel) + (std::int64_t(channel) * taps + tap) * width(panel) + output % panel_outputs;
  }
  /// Number of elements, padding lanes included.
  std::int64_t size() const { return std::int64_t(round_up(outputs, group_channels)) * taps * channels; }
};

}  // namespace unetdn::cpu_bodies
