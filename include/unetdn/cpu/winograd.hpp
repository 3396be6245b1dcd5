// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <string_view>

#include <unetdn/core/error.hpp>
#include <unetdn/core/view.hpp>
#include <unetdn/cpu/bodies.hpp>
#include <unetdn/cpu/convolution.hpp>
#include <unetdn/cpu/winograd_jobs.hpp>
#include <unetdn/devices/cpu.hpp>

// 3x3 convolutions with stride 1 by Winograd's F(4x4,3x3), in float: describes the work as a job and runs it.
namespace unetdn::cpu_bodies {

/// `automatic` takes Winograd's algorithm where it is faster, `direct` never does.
enum class convolution_algorithm { automatic, direct };

/// The algorithm that `text` names; automatic where it is null or empty. Throws argument_error where it names none.
inline convolution_algorithm algorithm_from_text(char const* text) {
  if (!text || !*text) return convolution_algorithm::automatic;
  std::string_view const name{text};
  check(name == "automatic" || name == "direct", "UNETDN_CONV is '", text, "'; it must be automatic or direct");
  return name == "direct" ? convolution_algorithm::direct : convolution_algorithm::automatic;
}

inline std::atomic<convolution_algorithm>& active_algorithm_setting() {
  static std::atomic<convolution_algorithm> which{algorithm_from_text(std::getenv("UNETDN_CONV"))};
  return which;
}

/// How convolutions are computed: automatic, or what the environment variable UNETDN_CONV names. Throws argument_error
/// like algorithm_from_text.
inline convolution_algorithm active_algorithm() { return active_algorithm_setting().load(std::memory_order_relaxed); }

/// Lets convolutions be computed this way from now on; for tests and measurements. Results differ by rounding.
inline void use(convolution_algorithm which) { active_algorithm_setting().store(which, std::memory_order_relaxed); }

/// Whether Winograd's algorithm computes the convolution, forward and both gradients. Never a question of extents, so
/// that a network computes the same way for every picture. A NaN or infinity spreads over its 4x4 tile of outputs.
inline bool takes_winograd(kernel_geometry geometry, packed_weights weights) {
  constexpr int least_channels = 8;  // measured: half of a group may be padding, and it still is faster
  return geometry.kernel == 3 && geometry.stride == 1 &&
         std::min(weights.channels, weights.outputs) >= least_channels &&
         active_algorithm() == convolution_algorithm::automatic;
}

template <class T>
winograd_correlation<T> winograd_forward_job(int workers, packed_weights weights, view<T const> x, T const* w,
                                             T const* bias, bool relu, view<T> y) {
  winograd_correlation<T> job;
  job.x = x;
  job.y = y;
  job.w = w;
  job.weights = weights;
  job.bias = bias;
  job.relu = relu;
  job.plan(workers);
  return job;
}

template <class T>
winograd_correlation<T> winograd_backward_data_job(int workers, packed_weights weights, view<T const> dy, T const* w,
                                                   view<T> dx, view<T const> mask) {
  winograd_correlation<T> job;
  job.x = dy;
  job.y = dx;
  job.mask = mask;
  job.w = w;
  job.weights = weights;
  job.adjoint = true;
  job.plan(workers);
  return job;
}

template <class T>
winograd_weight_gradient<T> winograd_backward_weights_job(packed_weights weights, view<T const> x, view<T const> dy,
                                                          T* dw, T* db, bool accumulate) {
  winograd_weight_gradient<T> job;
  job.x = x;
  job.g = dy;
  job.weights = weights;
  job.dw = dw;
  job.db = db;
  job.accumulate = accumulate;
  job.plan();
  return job;
}

template <class T> scratch_plan<T> plan_of(winograd_correlation<T> const& job, int workers) {
  return {job.shared_elements(), job.worker_elements(), workers};
}
template <class T> scratch_plan<T> plan_of(winograd_weight_gradient<T> const& job, int workers) {
  return {job.shared_elements(), job.worker_elements(), workers};
}

template <class T> void run(cpu& dev, winograd_correlation<T> job) {
  if (job.tiles.count() == 0) return;
  auto const plan = plan_of(job, dev.threads());
  job.shared = static_cast<T*>(dev.scratch(plan.bytes()));
  auto const& table = bodies<winograd_bodies<T>>();
  int const panels = job.panels().panels();
  if (job.shares_weights) {
    dev.parallel(panels * job.groups(), [&](int unit, int) { table.share_weights(job, unit); });
    dev.parallel(job.blocks.count,
                 [&](int unit, int worker) { table.correlate_tiles(job, unit, plan.of_worker(job.shared, worker)); });
  } else {
    dev.parallel(job.tiles.count(), [&](int unit, int) { table.share_input(job, unit); });
    dev.parallel(panels,
                 [&](int unit, int worker) { table.correlate_panel(job, unit, plan.of_worker(job.shared, worker)); });
  }
}

template <class T> void run(cpu& dev, winograd_weight_gradient<T> job) {
  if (job.tiles.count() == 0) {  // the sums are zero
    if (!job.accumulate) std::fill_n(job.dw, job.weights.size(), T(0));
    if (!job.accumulate && job.db) std::fill_n(job.db, job.weights.outputs, T(0));
    return;
  }
  auto const plan = plan_of(job, dev.threads());
  job.shared = static_cast<T*>(dev.scratch(plan.bytes()));
  auto const& table = bodies<winograd_gradient_bodies<T>>();
  int const products = job.products();
  if (job.by_chunks) {
    dev.parallel(job.chunks * products,
                 [&](int unit, int worker) { table.sum_chunk(job, unit, plan.of_worker(job.shared, worker)); });
    add_chunks(dev, job.shared, job.bias_elements(), job.partial_elements(), job.chunks, job.weights, job.dw, job.db,
               job.accumulate);
    return;
  }
  int bias_parts = 0;
  for (job.round = 0; job.round < job.rounds.count; ++job.round) {
    int const parts = ceil_div(job.round_tiles(), job.part_tiles);
    bias_parts += parts;  // only the last round may have fewer
    dev.parallel(parts * job.bundles(), [&](int unit, int) { table.transform_round(job, unit); });
    dev.parallel(products,
                 [&](int unit, int worker) { table.add_round(job, unit, plan.of_worker(job.shared, worker)); });
  }
  if (job.db)
    bodies<gradient_bodies<T>>().sum_parts(job.bias_parts(), bias_parts, job.bias_elements(), job.db,
                                           job.weights.outputs, job.accumulate);
}

}  // namespace unetdn::cpu_bodies
