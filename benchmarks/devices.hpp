// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <type_traits>
#include <utility>

#include <unetdn/core/error.hpp>
#include <unetdn/core/half.hpp>
#if defined(UNETDN_HAVE_CUDA)
  #include <unetdn/devices/cuda.hpp>
#endif

#include "emulated_kernels.hpp"

// Where a GPU benchmark computes: its options --device and --precision.

namespace benchmarks {

namespace detail {

/// Calls work with the element type of a GPU's precision, on `device`.
template <class Device, class Work> int in_precision(std::string const& precision, Device device, Work&& work) {
  device.allow_tf32(precision == "tf32");
  if (precision == "bf16") return work(std::type_identity<unetdn::bf16>{}, std::move(device));
  if (precision == "fp16") return work(std::type_identity<unetdn::fp16>{}, std::move(device));
  return work(std::type_identity<float>{}, std::move(device));
}

}  // namespace detail

/// Calls work(std::type_identity<T>, device), and returns what it returns, for a device that runs kernels: cuda, or
/// emulated in bf16, so that what a benchmark does can be tried without a GPU; its times mean nothing. Throws error
/// where the device is not to be had.
template <class Work> int on_gpu(std::string const& name, std::string const& precision, int threads, Work&& work) {
  if (name == "emulated") {
    unetdn::check(precision == "bf16", "--device emulated takes --precision bf16, not ", precision);
    return work(std::type_identity<unetdn::bf16>{}, unetdn::emulated(unetdn::thread_order::forward, threads));
  }
#if defined(UNETDN_HAVE_CUDA)
  return detail::in_precision(precision, unetdn::cuda(), work);
#else
  throw unetdn::error("--device cuda: built without CUDA; configure with -DUNETDN_CUDA=ON where nvcc is");
#endif
}

}  // namespace benchmarks
