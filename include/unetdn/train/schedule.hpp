// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace unetdn {

/// The learning rate over a training run: it rises linearly to `peak` over `warmup` steps, stays there until the number
/// of steps is known, then falls along half a cosine to `last`. Tensors of many inputs learn at a part of it: see
/// parameter::rate_factor().
///
/// Source: Loshchilov and Hutter 2017, "SGDR: stochastic gradient descent with warm restarts", equation 5, without
/// restarts; warm-up: Goyal et al. 2017, section 2.2.
struct learning_rate {
  double peak = 4e-3;
  double last = 0;
  std::int64_t warmup = 500;
  std::int64_t decay_begins = 500;  ///< first step of the cosine; at least `warmup`
  std::int64_t steps = 0;           ///< planned steps; 0: not known yet

  /// The rate of step `step`, counted from 1.
  double at(std::int64_t step) const {
    if (step <= warmup) return peak * static_cast<double>(step) / static_cast<double>(warmup);
    if (steps == 0 || step <= decay_begins) return peak;
    double const done = static_cast<double>(step - decay_begins);
    double const all = static_cast<double>(std::max<std::int64_t>(1, steps - decay_begins));
    double const part = std::min(1.0, done / all);
    return last + (peak - last) * 0.5 * (1 + std::cos(std::numbers::pi * part));
  }
};

/// Decay of the weights' moving average at a step: it grows to `limit`, so that the first, bad weights are soon
/// forgotten. decay = min(limit, (1 + step) / (10 + step))
inline double average_decay(double limit, std::int64_t step) {
  double const n = static_cast<double>(step);
  return std::min(limit, (1 + n) / (10 + n));
}

}  // namespace unetdn
