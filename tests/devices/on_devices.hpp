// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <array>
#include <map>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <unetdn/core/sanitizer.hpp>
#include <unetdn/devices/cpu.hpp>

#include "catch.hpp"
#include "devices/cuda_rows.hpp"
#include "devices/instruction_sets.hpp"
#include "devices/window.hpp"
#include "emulated_kernels.hpp"

// One typed test of an operation covers every device and element type:
//
//   TEMPLATE_LIST_TEST_CASE("relu", "", rows) {
//     using T = typename TestType::element;
//     on_device<TestType>([](auto& dev) { window<T, decltype(dev)> x{dev, ...}; ... });
//   }

namespace unetdn::test {

template <class Device, class T> struct row {
  using device = Device;
  using element = T;
};

// Every access is slow under a sanitizer, and fp16 runs bf16's code. Double, whose bodies differ in the width of their
// vectors, is left out only where it cannot race otherwise than float does.
#if defined(UNETDN_TSAN)
using rows = std::tuple<row<cpu, float>, row<emulated, float>, row<emulated, bf16>>;
#elif defined(UNETDN_ASAN)
using rows = std::tuple<row<cpu, float>, row<cpu, double>, row<emulated, float>, row<emulated, bf16>>;
#elif defined(UNETDN_HAVE_CUDA)
using rows = std::tuple<row<cpu, float>, row<cpu, double>, row<emulated, float>, row<emulated, bf16>,
                        row<emulated, fp16>, row<cuda, float>, row<cuda, bf16>, row<cuda, fp16>>;
#else
using rows =
    std::tuple<row<cpu, float>, row<cpu, double>, row<emulated, float>, row<emulated, bf16>, row<emulated, fp16>>;
#endif

/// Those whose device runs kernels.
#if defined(UNETDN_TSAN) || defined(UNETDN_ASAN)
using gpu_rows = std::tuple<row<emulated, float>, row<emulated, bf16>>;
#elif defined(UNETDN_HAVE_CUDA)
using gpu_rows = std::tuple<row<emulated, float>, row<emulated, bf16>, row<emulated, fp16>, row<cuda, float>,
                            row<cuda, bf16>, row<cuda, fp16>>;
#else
using gpu_rows = std::tuple<row<emulated, float>, row<emulated, bf16>, row<emulated, fp16>>;
#endif

TEST_CASE("whether the cuda rows of this program run") {
  if (cuda_rows_run()) SUCCEED();
}

#if defined(UNETDN_TSAN) || defined(UNETDN_ASAN)
template <int, int Several> inline constexpr std::array thread_counts{Several};
#else
template <int One, int Several> inline constexpr std::array thread_counts{One, Several};
#endif

/// What runs of on_device gave, which must be equal bits; on the cpu for each instruction set, since some have fused
/// multiply-adds.
class equal_runs {
 public:
  void add(std::vector<double> run) {
    auto const [first, is_first] = first_.try_emplace(cpu_bodies::active_isa(), std::move(run));
    equal_ = equal_ && (is_first || first->second == run);
  }
  explicit operator bool() const { return equal_; }

 private:
  std::map<cpu_bodies::isa, std::vector<double>> first_;
  bool equal_ = true;
};

/// Calls f(device) on the row's device in each way that must not change results: on the cpu each instruction set, with
/// one thread and three; the emulated device in both orders and with two workers; and the GPU if there is one. A
/// sanitizer sees the same accesses with any number of threads, and races only where there are several: it gets one.
template <class Row, class F> void on_device(F f) {
  using device = typename Row::device;
  if constexpr (std::is_same_v<device, cpu>) {
    for (auto const which : instruction_sets()) {
      use_isa const scope{which};
      for (int threads : thread_counts<1, 3>) {
        cpu dev{threads};
        f(dev);
      }
    }
  } else if constexpr (std::is_same_v<device, emulated>) {
    for (int workers : thread_counts<1, 2>) {
      emulated dev{workers == 1 ? thread_order::forward : thread_order::reverse, workers};
      f(dev);
    }
  } else {
#if defined(UNETDN_HAVE_CUDA)
    if (!cuda_rows_run()) return;
    device dev;
    f(dev);
#endif
  }
}

/// Calls f(device) once, for what takes long: the emulated device in one order with two workers, or the GPU if there is
/// one. The row is one of gpu_rows.
template <class Row, class F> void on_one_device(thread_order order, F f) {
  using device = typename Row::device;
  if constexpr (std::is_same_v<device, emulated>) {
    emulated dev{order, 2};
    f(dev);
  } else {
#if defined(UNETDN_HAVE_CUDA)
    if (!cuda_rows_run()) return;
    device dev;
    f(dev);
#endif
  }
}

}  // namespace unetdn::test
