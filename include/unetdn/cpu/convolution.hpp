// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include <unetdn/core/view.hpp>
#include <unetdn/cpu/bodies.hpp>
#include <unetdn/cpu/jobs.hpp>
#include <unetdn/cpu/packed_weights.hpp>
#include <unetdn/devices/cpu.hpp>

// Convolutions on the cpu device: each function describes its work as a job and runs it. Arguments were checked by the
// operations. These are the direct bodies; others for some kernels stand beside them.
namespace unetdn::cpu_bodies {

/// A square kernel with zero padding (kernel - 1) / 2, that is none for even kernels.
struct kernel_geometry {
  int kernel, stride;

  int taps() const { return kernel * kernel; }
  int padding() const { return (kernel - 1) / 2; }
  /// What tap t adds to stride times the output's position.
  offset2 displacement(int t) const { return {t / kernel - padding(), t % kernel - padding()}; }
};

/// Copies weights between the canonical order, index(k, c, t), and the packed one.
template <class To, class From, class Index>
void pack_weights(packed_weights layout, From const* canonical, To* packed, Index index) {
  std::fill_n(packed, layout.size(), To(0));
  for (int k = 0; k < layout.outputs; ++k)
    for (int c = 0; c < layout.channels; ++c)
      for (int t = 0; t < layout.taps; ++t) packed[layout.index(c, t, k)] = static_cast<To>(canonical[index(k, c, t)]);
}
template <class To, class From, class Index>
void unpack_weights(packed_weights layout, From const* packed, To* canonical, Index index) {
  for (int k = 0; k < layout.outputs; ++k)
    for (int c = 0; c < layout.channels; ++c)
      for (int t = 0; t < layout.taps; ++t) canonical[index(k, c, t)] = static_cast<To>(packed[layout.index(c, t, k)]);
}

/// Scratch is the shared part, then one part for each worker, each aligned for itself.
template <class T> struct scratch_plan {
  std::size_t shared, worker;
  int workers;

  scratch_plan(std::size_t shared_elements, std::size_t worker_elements, int workers_)
      : shared{padded(shared_elements)}, worker{padded(worker_elements)}, workers{workers_} {}
  std::size_t bytes() const { return (shared + worker * static_cast<std::size_t>(workers)) * sizeof(T); }
  T* of_worker(T* base, int w) const { return base + shared + worker * static_cast<std::size_t>(w); }

 private:
  static std::size_t padded(std::size_t elements) { return round_up(elements, cpu::alignment / sizeof(T)); }
};

// Jobs of the first kind are cut for a number of workers, which changes no result; sums are cut alike for any number.
// ---- jobs -----------------------------------------------------------------------------------------------------------

/// y = epilogue(x * w).
template <class T>
correlation<T> forward_job(int workers, kernel_geometry geometry, packed_weights weights, view<T const> x, T const* w,
                           T const* bias, bool relu, view<T> y) {
  correlation<T> job;
  job.x = x;
  job.stride = geometry.stride;
  job.w = w;
  job.weights = weights;
  job.bias = bias;
  job.relu = relu;
  job.begin_phase(y, {});
  for (int t = 0; t < geometry.taps(); ++t) job.add_tap(geometry.displacement(t), t);
  job.plan(workers);
  return job;
}

/// dx with stride s has s x s phases of positions. Position i of phase a is row s i + a; output row o and tap row r
/// meet it where s o + r - padding = s i + a. `w` are the transposed weights.
template <class T>
correlation<T> backward_data_job(int workers, kernel_geometry geometry, packed_weights transposed, view<T const> dy,
                                 T const* w, view<T> dx, view<T const> mask) {
  correlation<T> job;
  job.x = dy;
  job.w = w;
  job.weights = transposed;
  int const s = geometry.stride;
  for (int a = 0; a < std::min(s, dx.h); ++a)
    for (int b = 0; b < std::min(s, dx.w); ++b) {
      job.begin_phase(dx.phase(a, b, s), mask ? mask.phase(a, b, s) : mask);
      for (int t = 0; t < geometry.taps(); ++t) {
        offset2 const d = geometry.displacement(t);
        if ((a - d.y) % s == 0 && (b - d.x) % s == 0) job.add_tap({(a - d.y) / s, (b - d.x) / s}, t);
      }
    }
  job.plan(workers);
  return job;
}

/// A 2x2 transposed convolution with stride 2 is four phases of one tap.
template <class T>
correlation<T> transpose_forward_job(int workers, packed_weights weights, view<T const> x, T const* w, T const* bias,
                                     view<T> y) {
  correlation<T> job;
  job.x = x;
  job.w = w;
  job.weights = weights;
  job.bias = bias;
  for (int t = 0; t < 4; ++t) {
    job.begin_phase(y.phase(t / 2, t % 2, 2), {});
    job.add_tap({0, 0}, t);
  }
  job.plan(workers);
  return job;
}

/// Its data gradient is a convolution with stride 2. `w` are the transposed weights.
template <class T>
correlation<T> transpose_backward_data_job(int workers, packed_weights transposed, view<T const> dy, T const* w,
                                           view<T> dx, view<T const> mask) {
  correlation<T> job;
  job.x = dy;
  job.stride = 2;
  job.w = w;
  job.weights = transposed;
  job.begin_phase(dx, mask);
  for (int t = 0; t < 4; ++t) job.add_tap({t / 2, t % 2}, t);
  job.plan(workers);
  return job;
}

template <class T>
weight_gradient<T> backward_weights_job(kernel_geometry geometry, packed_weights weights, view<T const> x,
                                        view<T const> dy, T* dw, T* db, bool accumulate) {
  weight_gradient<T> job;
  job.x = x;
  job.g = dy;
  job.x_stride = geometry.stride;
  job.n = dy.n;
  job.h = dy.h;
  job.w = dy.w;
  job.weights = weights;
  job.dw = dw;
  job.db = db;
  job.accumulate = accumulate;
  job.taps = geometry.taps();
  for (int t = 0; t < job.taps; ++t) job.tap_list[t] = {geometry.displacement(t), {0, 0}};
  job.plan();
  return job;
}

template <class T>
weight_gradient<T> transpose_backward_weights_job(packed_weights weights, view<T const> x, view<T const> dy, T* dw,
                                                  T* db, bool accumulate) {
  weight_gradient<T> job;
  job.x = x;
  job.g = dy;
  job.g_stride = 2;
  job.n = x.n;
  job.h = x.h;
  job.w = x.w;
  job.weights = weights;
  job.dw = dw;
  job.db = db;
  job.accumulate = accumulate;
  job.taps = 4;
  for (int t = 0; t < 4; ++t) job.tap_list[t] = {{0, 0}, {t / 2, t % 2}};
  job.plan();
  return job;
}

// ---- scratch and running --------------------------------------------------------------------------------------------

template <class T> scratch_plan<T> plan_of(correlation<T> const& job, int workers, std::size_t shared = 0) {
  return {shared, job.worker_elements(), workers};
}
template <class T> scratch_plan<T> plan_of(weight_gradient<T> const& job, int workers) {
  return {job.shared_elements(), job.worker_elements(), workers};
}
inline std::size_t transposed_elements(packed_weights transposed) {
  return static_cast<std::size_t>(transposed.size());
}

template <class T> void run(cpu& dev, correlation<T> const& job, scratch_plan<T> const& plan, T* scratch) {
  auto const body = bodies<forward_bodies<T>>().correlate;
  dev.parallel(job.units(), [&](int unit, int worker) { body(job, unit, plan.of_worker(scratch, worker)); });
}

template <class T> void run_forward(cpu& dev, correlation<T> const& job) {
  auto const plan = plan_of(job, dev.threads());
  run(dev, job, plan, static_cast<T*>(dev.scratch(plan.bytes())));
}

/// Transposes the weights into shared scratch first.
template <class T> void run_backward_data(cpu& dev, correlation<T> job, packed_weights weights) {
  auto const plan = plan_of(job, dev.threads(), transposed_elements(job.weights));
  T* const scratch = static_cast<T*>(dev.scratch(plan.bytes()));
  weight_transpose<T> const transpose{job.w, scratch, weights};
  auto const body = bodies<gradient_bodies<T>>().transpose_weights;
  dev.parallel(job.weights.panels(), [&](int panel, int) { body(transpose, panel); });
  job.w = scratch;
  run(dev, job, plan, scratch);
}

/// dw and db from the sums of chunks, [chunk][db, then dw], in order. One chunk's dw lie where they belong already.
template <class T>
void add_chunks(cpu& dev, T const* partials, std::int64_t bias_elements, std::int64_t partial_elements, int chunks,
                packed_weights weights, T* dw, T* db, bool accumulate) {
  auto const sum_parts = bodies<gradient_bodies<T>>().sum_parts;
  if (chunks > 1) {
    constexpr std::int64_t segment = 1 << 14;
    std::int64_t const size = weights.size();
    dev.parallel(static_cast<int>(ceil_div(size, segment)), [&](int s, int) {
      std::int64_t const begin = s * segment;
      sum_parts(partials + bias_elements + begin, chunks, partial_elements, dw + begin, std::min(segment, size - begin),
                accumulate);
    });
  }
  if (db) sum_parts(partials, chunks, partial_elements, db, weights.outputs, accumulate);
}

template <class T> void run_backward_weights(cpu& dev, weight_gradient<T> job) {
  if (job.blocks.count() == 0) {  // no positions: the sums are zero
    if (!job.accumulate) std::fill_n(job.dw, job.weights.size(), T(0));
    if (!job.accumulate && job.db) std::fill_n(job.db, job.weights.outputs, T(0));
    return;
  }
  auto const plan = plan_of(job, dev.threads());
  job.partials = static_cast<T*>(dev.scratch(plan.bytes()));
  auto const& table = bodies<gradient_bodies<T>>();
  dev.parallel(job.units(), [&](int unit, int worker) {
    table.sum_weight_gradient(job, unit, plan.of_worker(job.partials, worker));
  });
  add_chunks(dev, job.partials, job.bias_elements(), job.partial_elements(), job.chunks, job.weights, job.dw, job.db,
             job.accumulate);
}

}  // namespace unetdn::cpu_bodies
