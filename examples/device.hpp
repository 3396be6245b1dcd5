// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <iostream>
#include <string>
#include <type_traits>
#include <utility>

#include <unetdn/core/error.hpp>
#include <unetdn/core/half.hpp>
#include <unetdn/devices/cpu.hpp>
#if defined(UNETDN_HAVE_CUDA)
  #include <unetdn/devices/cuda.hpp>
#endif

#include "device_settings.hpp"

namespace programs {

namespace detail {

/// Empty where a GPU can be used, otherwise why not and the remedy.
inline std::string gpu_problem() {
#if defined(UNETDN_HAVE_CUDA)
  return unetdn::cuda_problem();
#else
  return "this program was built without CUDA; build it where nvcc is, with -DUNETDN_CUDA=ON, or use the cpu device";
#endif
}

}  // namespace detail

/// Whether the settings mean a GPU. Throws error where they demand one that there is not, argument_error where they
/// demand of the cpu what it does not have.
inline bool wants_gpu(device_settings const& s) {
  std::string const problem = s.device == "cpu" ? "" : detail::gpu_problem();
  if (s.device == "cuda" && !problem.empty()) throw unetdn::error("--device cuda: " + problem);
  bool const gpu = s.device != "cpu" && problem.empty();
  unetdn::check(gpu || s.precision == "float", "--precision ", s.precision, " needs a GPU, and ",
                s.device == "cpu" ? "--device cpu was given" : problem, "; without it the cpu computes in float");
  return gpu;
}

/// Calls work(std::type_identity<T>, device) with the element type and the device that the settings mean, and returns
/// what it returns. Says on standard error which GPU is used, unless `quiet`. `threads` are the cpu device's.
template <class Work>
auto on_device(std::string const& program, device_settings const& s, int threads, bool quiet, Work&& work) {
  if (!wants_gpu(s)) return work(std::type_identity<float>{}, unetdn::cpu(threads));
#if defined(UNETDN_HAVE_CUDA)
  unetdn::cuda device;
  device.allow_tf32(s.precision == "tf32");
  if (!quiet) {
    std::cerr << program << ": computing in " << s.precision << " on " << unetdn::cuda_description(device.gpu())
              << (s.device == "auto" ? "; --device cpu would not" : "") << std::endl;
  }
  if (s.precision == "bf16") return work(std::type_identity<unetdn::bf16>{}, std::move(device));
  if (s.precision == "fp16") return work(std::type_identity<unetdn::fp16>{}, std::move(device));
  return work(std::type_identity<float>{}, std::move(device));
#else
  static_cast<void>(program);
  static_cast<void>(quiet);
  throw unetdn::error("there is no GPU");  // wants_gpu has thrown
#endif
}

}  // namespace programs
