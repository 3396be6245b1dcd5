// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include <unetdn/core/error.hpp>
#include <unetdn/core/kernel.hpp>
#include <unetdn/cpu/bodies.hpp>
#include <unetdn/devices/cpu.hpp>
#include <unetdn/ops/cost.hpp>

namespace unetdn {

/// Constants of AdamW that do not change during training.
struct adamw_options {
  double beta1 = 0.9;       ///< decay of the first moment
  double beta2 = 0.999;     ///< decay of the second moment
  double epsilon = 1e-8;    ///< added to the root of the second moment
  double weight_decay = 0;  ///< 0 is Adam
};

/// One array of parameters with all that an update touches, each of equal length.
template <class T> struct adamw_arrays {
  T* weights;
  T const* gradient;
  T* first_moment;
  T* second_moment;
  T* average;  ///< exponential moving average of the weights; null: none is kept
  std::int64_t size;
};

/// Seven arrays' worth of traffic a step, nine with an average; a root and a quotient counted as one operation each.
inline op_cost adamw_cost(std::int64_t size, bool average, std::size_t element_bytes = sizeof(float)) {
  return {(average ? 18.0 : 15.0) * double(size), (average ? 9.0 : 7.0) * double(size) * double(element_bytes)};
}

/// One step of AdamW, in one pass over memory, with the weights' moving average:
///   g <- gradient_scale g;  m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g^2
///   w <- w - rate (m / (1 - beta1^step)) / (sqrt(v / (1 - beta2^step)) + epsilon) - rate weight_decay w
///   average <- average_decay average + (1 - average_decay) w
/// `step` counts from 1. Moves 9 (with an average) or 7 sizeof(T) bytes a parameter, which bounds its speed.
/// Source: Loshchilov and Hutter 2019, "Decoupled weight decay regularization", algorithm 2.
template <class T, class Device>
void adamw_step(Device& dev, adamw_options const& options, adamw_arrays<T> a, std::int64_t step, double rate,
                double gradient_scale, double average_decay) {
  static_assert(std::is_same_v<Device, cpu>, "adamw_step runs on the cpu device only");
  check(step >= 1, "adamw_step: steps count from 1, not from ", step);
  double const n = static_cast<double>(step);
  T const beta1 = T(options.beta1), beta2 = T(options.beta2);
  cpu_bodies::adamw_update<T> job{};
  job.weights = a.weights;
  job.gradient = a.gradient;
  job.first_moment = a.first_moment;
  job.second_moment = a.second_moment;
  job.average = a.average;
  job.beta1 = beta1;
  job.beta2 = beta2;
  job.gradient_scale = T(gradient_scale);
  // From the decays as T holds them, or 0.999 in float would cost the first steps 2e-5 of their length.
  job.step_size = T(rate / (1 - std::pow(double(beta1), n)));
  job.root_scale = T(1 / std::sqrt(1 - std::pow(double(beta2), n)));
  job.epsilon = T(options.epsilon);
  job.keep = T(1 - rate * options.weight_decay);
  job.average_decay = T(average_decay);
  auto const update = cpu_bodies::bodies<cpu_bodies::gradient_bodies<T>>().update_weights;
  constexpr std::int64_t block = 1 << 14;
  dev.parallel(static_cast<int>(ceil_div(a.size, block)),
               [&](int chunk, int) { update(job, chunk * block, std::min(a.size, (chunk + 1) * block)); });
}

/// Each element read once.
inline op_cost squared_norm_cost(std::int64_t size, std::size_t element_bytes = sizeof(float)) {
  return {2.0 * double(size), double(size) * double(element_bytes)};
}

/// Sum of squares of n elements, taken in double in fixed chunks, so equal bits for any number of threads.
template <class T, class Device> double squared_norm(Device& dev, T const* x, std::int64_t n) {
  static_assert(std::is_same_v<Device, cpu>, "squared_norm runs on the cpu device only");
  auto const body = cpu_bodies::bodies<cpu_bodies::gradient_bodies<T>>().squared_norm;
  constexpr std::int64_t block = 1 << 14;
  std::vector<double> partial(static_cast<std::size_t>(ceil_div(n, block)));
  dev.parallel(static_cast<int>(partial.size()), [&](int chunk, int) {
    std::int64_t const begin = chunk * block;
    partial[static_cast<std::size_t>(chunk)] = body(x + begin, std::min(block, n - begin));
  });
  double sum = 0;
  for (double p : partial) sum += p;
  return sum;
}

}  // namespace unetdn
