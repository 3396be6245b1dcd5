// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <type_traits>

namespace unetdn {

/// Neighbours in an array of parameters, from a multiple on, that share a factor of the learning rate.
inline constexpr std::int64_t rate_block = 64;

/// A step's scalars as the update's kernel reads them; see adamw_step.
struct update_factors {
  float gradient_scale = 1, step_size = 0, root_scale = 1, decay = 0, average_decay = 0;
  std::int32_t apply = 0;  ///< 0: this step changes nothing
};

/// The numbers of a training that live in a GPU's memory, so that steps follow each other without the host. The host
/// uploads one before the first step, and downloads it to log or to write a checkpoint.
struct update_state {
  // Of the step just made.
  double loss = 0;           ///< mean over the batch, not scaled
  double squared_norm = 0;   ///< of the gradient as it was stored: loss_scale^2 times too large
  double gradient_norm = 0;  ///< not scaled, before clipping
  double rate = 0, average_decay = 0;

  // Of all steps so far: a checkpoint keeps these four.
  std::int64_t updates = 0;       ///< steps that changed the weights: Adam's t
  std::int64_t skipped = 0;       ///< steps that did not, because the loss or the gradient's norm was not finite
  float loss_scale = 1;           ///< the loss multiplies its gradient by this
  std::int32_t since_change = 0;  ///< updates since loss_scale changed

  update_factors factors;
};
static_assert(std::is_trivially_copyable_v<update_state>);

/// Where fp16's loss_scale begins.
inline constexpr float initial_loss_scale = 65536;
/// Where it stops growing, though a network's gradients may stay far below fp16's range for ever.
inline constexpr float largest_loss_scale = 16777216;
/// Updates after which it doubles.
inline constexpr int loss_scale_growth_interval = 2000;

}  // namespace unetdn
