// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include <unetdn/core/error.hpp>
#include <unetdn/core/half.hpp>
#include <unetdn/core/kernel.hpp>
#include <unetdn/core/update_state.hpp>
#include <unetdn/cpu/bodies.hpp>
#include <unetdn/kernels/adamw.hpp>
#include <unetdn/kernels/reduce.hpp>
#include <unetdn/ops/checks.hpp>
#include <unetdn/ops/cost.hpp>
#include <unetdn/ops/elementwise.hpp>

namespace unetdn {

/// Constants of AdamW that do not change during training.
struct adamw_options {
  double beta1 = 0.9;       ///< decay of the first moment
  double beta2 = 0.99;      ///< decay of the second moment; 0.999 is usual, but lets rare gradients turn ReLUs off
  double epsilon = 1e-8;    ///< added to the root of the second moment
  double weight_decay = 0;  ///< 0 is Adam
};

/// What becomes of a step's gradient before the update.
struct update_options {
  double clip = 0;          ///< gradients of a larger norm are scaled down to it; 0: never
  int growth_interval = 0;  ///< updates after which the loss scale doubles; 0: it stays what it is
};

/// One array of parameters of a network of T with all that an update touches, each of equal length. A 16-bit network
/// has its weights twice: those that are trained, in float, and those that it reads.
template <class T> struct adamw_arrays {
  accumulator_t<T>* weights;
  accumulator_t<T> const* gradient;
  accumulator_t<T>* first_moment;
  accumulator_t<T>* second_moment;
  accumulator_t<T>* average;  ///< exponential moving average of the weights; null: none is kept
  std::int64_t size;
  T* network_weights = nullptr;  ///< the weights rounded to 16 bits; null where the network reads `weights` itself
  /// Multiplies the learning rate: one number for each rate_block elements; null: 1.
  accumulator_t<T> const* rate_factors = nullptr;
};

namespace detail {

/// Whether all of these addresses are multiples of so many bytes; null is.
template <class... T> bool aligned_to(std::size_t bytes, T const*... p) {
  return (... && (reinterpret_cast<std::uintptr_t>(p) % bytes == 0));
}

/// The launch of a kernel in which each thread takes `update_width` elements of a flat array.
template <class K> extent3 flat_grid(char const* op, std::int64_t size) {
  std::int64_t const blocks = ceil_div(size, std::int64_t(K::threads) * kernels::update_width);
  check(blocks <= std::numeric_limits<int>::max(), op, ": an array of ", size, " elements is too long for one launch");
  return {static_cast<int>(blocks)};
}

}  // namespace detail

/// Seven arrays' worth of traffic a step, nine with an average, and the 16-bit copy's; a root and a quotient counted as
/// one operation each.
inline op_cost adamw_cost(std::int64_t size, bool average, std::size_t element_bytes = sizeof(float),
                          std::size_t copy_bytes = 0) {
  return {(average ? 18.0 : 15.0) * double(size),
          double(size) * ((average ? 9.0 : 7.0) * double(element_bytes) + double(copy_bytes))};
}

/// One step of AdamW on the cpu device, in one pass over memory, with the weights' moving average:
///   g <- gradient_scale g;  m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g^2
///   w <- w - rate (m / (1 - beta1^step)) / (sqrt(v / (1 - beta2^step)) + epsilon) - rate weight_decay w
///   average <- average_decay average + (1 - average_decay) w
/// where rate is the argument times the element's own factor.
/// `step` counts from 1. Moves 9 (with an average) or 7 sizeof(T) bytes a parameter, which bounds its speed.
/// Source: Loshchilov and Hutter 2019, "Decoupled weight decay regularization", algorithm 2.
template <class T, class Device>
void adamw_step(Device& dev, adamw_options const& options, adamw_arrays<T> a, std::int64_t step, double rate,
                double gradient_scale, double average_decay) {
  static_assert(detail::is_cpu<Device>, "on a GPU a step's scalars are in device memory: pass an update_state");
  check(step >= 1, "adamw_step: steps count from 1, not from ", step);
  double const n = static_cast<double>(step);
  T const beta1 = T(options.beta1), beta2 = T(options.beta2);
  cpu_bodies::adamw_update<T> job{};
  job.weights = a.weights;
  job.gradient = a.gradient;
  job.first_moment = a.first_moment;
  job.second_moment = a.second_moment;
  job.average = a.average;
  job.rate_factors = a.rate_factors;
  job.beta1 = beta1;
  job.beta2 = beta2;
  job.gradient_scale = T(gradient_scale);
  // From the decays as T holds them, or 0.999 in float would cost the first steps 2e-5 of their length.
  job.step_size = T(rate / (1 - std::pow(double(beta1), n)));
  job.root_scale = T(1 / std::sqrt(1 - std::pow(double(beta2), n)));
  job.epsilon = T(options.epsilon);
  job.decay = T(rate * options.weight_decay);
  job.average_decay = T(average_decay);
  auto const update = cpu_bodies::bodies<cpu_bodies::gradient_bodies<T>>().update_weights;
  constexpr std::int64_t block = 1 << 14;
  dev.parallel(static_cast<int>(ceil_div(a.size, block)),
               [&](int chunk, int) { update(job, chunk * block, std::min(a.size, (chunk + 1) * block)); });
}

/// Gives a step its own numbers, in device memory: the learning rate, and the decay of the weights' moving average.
/// They travel as a kernel's arguments, so nothing waits. A captured graph of the step comes after it.
template <class Device> void begin_update(Device& dev, update_state* state, double rate, double average_decay) {
  static_assert(!Device::is_host, "the cpu's adamw_step takes these numbers as arguments");
  launch(dev, {1}, kernels::begin_update{state, rate, average_decay});
}

/// One step of AdamW on a GPU, by the numbers in `state`, which is in device memory and has been given begin_update's,
/// loss_and_gradient's and squared_norm's. First, on one thread:
///   norm = sqrt(squared_norm) / loss_scale;  gradient_scale = min(1, clip / norm) / loss_scale;  step = ++updates
/// Then the cpu's formula in float, in one pass over memory, which also writes the weights rounded to T for a 16-bit
/// network. Where the loss or the norm is not finite, no array changes and `skipped` counts the step; with a
/// growth_interval, loss_scale is then halved, down to 1, and doubled after that many updates without. All of it is
/// decided in this step on the device: the host reads `state` when it likes.
/// Moves 28 bytes a parameter, 8 more with an average and 2 more with a copy, which bounds its speed.
/// Source: see the cpu's; the loss scale: Micikevicius et al. 2018, "Mixed precision training", section 3.2.
template <class T, class Device>
void adamw_step(Device& dev, adamw_options const& options, update_options const& update, adamw_arrays<T> const& a,
                update_state* state) {
  static_assert(!Device::is_host && Device::template supports<T>,
                "an update_state is for cuda and emulated, with float, bf16 and fp16");
  check(std::is_same_v<T, float> == !a.network_weights,
        "adamw_step: a 16-bit network has a copy of its weights, and a network of float has none");
  float const beta1 = float(options.beta1), beta2 = float(options.beta2);
  launch(dev, {1},
         kernels::decide_update{state, double(beta1), double(beta2), options.weight_decay, update.clip,
                                update.growth_interval});
  if (a.size == 0) return;
  bool const aligned = detail::aligned_to(16, a.weights, a.gradient, a.first_moment, a.second_moment, a.average) &&
                       detail::aligned_to(8, a.network_weights);
  kernels::adamw_update<T> const kernel{a.weights,
                                        a.gradient,
                                        a.first_moment,
                                        a.second_moment,
                                        a.average,
                                        a.network_weights,
                                        a.rate_factors,
                                        a.size,
                                        beta1,
                                        beta2,
                                        float(options.epsilon),
                                        &state->factors,
                                        aligned};
  launch(dev, detail::flat_grid<kernels::adamw_update<T>>("adamw_step", a.size), kernel);
}

/// to[i] = from[i] for i < size, rounded to a 16-bit type: what a network reads of weights that are kept in float.
template <class T, class Device> void recast(Device& dev, float const* from, T* to, std::int64_t size) {
  static_assert(!Device::is_host && is_16_bit<T>, "recast is for bf16 and fp16, on cuda and emulated");
  check(size <= std::numeric_limits<int>::max(), "recast: an array of ", size, " elements is too long for one launch");
  int const n = static_cast<int>(size);
  convert<T>(dev, view<float const>{from, 1, 1, 1, n}, view<T>{to, 1, 1, 1, n});
}

/// Each element read once.
inline op_cost squared_norm_cost(std::int64_t size, std::size_t element_bytes = sizeof(float)) {
  return {2.0 * double(size), double(size) * double(element_bytes)};
}

namespace detail {
/// Blocks of squared_norm_partials: a function of the length alone, so that the bits are the same on every GPU.
inline int squared_norm_blocks(std::int64_t n) {
  constexpr std::int64_t most = 1024;  // enough to fill a large GPU several times over
  using kernel = kernels::squared_norm_partials;
  return static_cast<int>(std::min(most, ceil_div(n, std::int64_t(kernel::threads) * kernels::update_width)));
}
}  // namespace detail

/// Scratch memory that squared_norm takes on a GPU, for arrays of any length.
constexpr std::size_t squared_norm_scratch_bytes() { return 1024 * sizeof(float) + sizeof(double); }

/// Sum of squares of n floats into device memory on a GPU, without a wait: in float within a block, in double over the
/// blocks, in a fixed order. Infinite where a sum leaves float's range. Takes squared_norm_scratch_bytes() of scratch.
template <class Device> void squared_norm(Device& dev, float const* x, std::int64_t n, double* result) {
  static_assert(!Device::is_host, "the cpu's squared_norm returns its result");
  int const blocks = detail::squared_norm_blocks(n);
  auto* const partial = static_cast<float*>(dev.scratch(squared_norm_scratch_bytes()));
  if (blocks > 0) launch(dev, {blocks}, kernels::squared_norm_partials{x, n, partial, detail::aligned_to(16, x)});
  launch(dev, {1}, kernels::add_partials{partial, blocks, 1, nullptr, 0, 0, 0, result});
}

/// Sum of squares of n elements, on the host. The cpu takes it in double in fixed chunks, so equal bits for any number
/// of threads; a GPU as above, and this waits for it.
template <class T, class Device> double squared_norm(Device& dev, T const* x, std::int64_t n) {
  if constexpr (detail::is_cpu<Device>) {
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
  } else {
    auto* const scratch = static_cast<unsigned char*>(dev.scratch(squared_norm_scratch_bytes()));
    auto* const result = reinterpret_cast<double*>(scratch + squared_norm_scratch_bytes() - sizeof(double));
    squared_norm(dev, x, n, result);
    double sum = 0;
    dev.download(&sum, result, sizeof sum);
    return sum;
  }
}

}  // namespace unetdn
