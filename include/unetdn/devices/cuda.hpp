// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>

#include <unetdn/core/device.hpp>
#include <unetdn/core/half.hpp>
#include <unetdn/core/kernel.hpp>

// Any C++20 compiler reads this file, without a CUDA header. A program that uses it links the library unetdn::cuda,
// which nvcc has built from kernels/*.cu.

struct CUstream_st;

namespace unetdn {

/// Whether this machine has a GPU that `cuda` can use: compute capability 8.0 or newer, with a driver that is new
/// enough.
bool cuda_available() noexcept;

/// Empty where cuda_available(), otherwise what is missing and the remedy, in one line.
std::string cuda_problem();

namespace detail {
// All of these throw unetdn::error with the CUDA runtime's text, except the two that are noexcept.
CUstream_st* cuda_stream_create(int gpu);
void cuda_stream_destroy(int gpu, CUstream_st* stream) noexcept;
void* cuda_allocate(int gpu, std::size_t bytes);
void cuda_release(void* p) noexcept;
void cuda_upload(int gpu, CUstream_st* stream, void* to, void const* from, std::size_t bytes);
void cuda_download(int gpu, CUstream_st* stream, void* to, void const* from, std::size_t bytes);
void cuda_copy(int gpu, CUstream_st* stream, void* to, void const* from, std::size_t bytes);
void cuda_fill_zero(int gpu, CUstream_st* stream, void* p, std::size_t bytes);
void cuda_synchronize(int gpu, CUstream_st* stream);
}  // namespace detail

/// One NVIDIA GPU's memory and a stream on it: float, bf16 and fp16.
class cuda {
 public:
  static constexpr bool is_host = false;
  static constexpr std::size_t alignment = 256;
  template <class T>
  static constexpr bool supports = std::is_same_v<T, float> || std::is_same_v<T, bf16> || std::is_same_v<T, fp16>;
  static constexpr char const* name() { return "cuda"; }

  /// `gpu` counts from 0, as nvidia-smi does. Throws error with cuda_problem() where there is none to use.
  explicit cuda(int gpu = 0) : gpu_{gpu}, stream_{detail::cuda_stream_create(gpu)} {}
  ~cuda() {
    release(scratch_);
    if (stream_) detail::cuda_stream_destroy(gpu_, stream_);
  }
  cuda(cuda&& other) noexcept
      : gpu_{other.gpu_},
        stream_{std::exchange(other.stream_, nullptr)},
        scratch_{std::exchange(other.scratch_, nullptr)},
        scratch_bytes_{std::exchange(other.scratch_bytes_, 0)},
        tf32_{other.tf32_} {}
  cuda& operator=(cuda&& other) noexcept {
    std::swap(gpu_, other.gpu_);
    std::swap(stream_, other.stream_);
    std::swap(scratch_, other.scratch_);
    std::swap(scratch_bytes_, other.scratch_bytes_);
    std::swap(tf32_, other.tf32_);
    return *this;
  }

  int gpu() const { return gpu_; }
  CUstream_st* stream() const { return stream_; }

  void* allocate(std::size_t bytes) { return detail::cuda_allocate(gpu_, bytes); }
  static void release(void* p) noexcept { detail::cuda_release(p); }
  void upload(void* to, void const* from, std::size_t bytes) { detail::cuda_upload(gpu_, stream_, to, from, bytes); }
  void download(void* to, void const* from, std::size_t bytes) {
    detail::cuda_download(gpu_, stream_, to, from, bytes);
  }
  void copy(void* to, void const* from, std::size_t bytes) { detail::cuda_copy(gpu_, stream_, to, from, bytes); }
  void fill_zero(void* p, std::size_t bytes) { detail::cuda_fill_zero(gpu_, stream_, p, bytes); }
  void synchronize() { detail::cuda_synchronize(gpu_, stream_); }

  void* scratch(std::size_t bytes) {
    if (bytes > scratch_bytes_) {
      release(std::exchange(scratch_, nullptr));  // waits for the work that uses it
      scratch_bytes_ = 0;
      scratch_ = allocate(bytes);
      scratch_bytes_ = bytes;
    }
    return scratch_;
  }
  std::size_t scratch_bytes() const { return scratch_bytes_; }

  /// Whether float convolutions may round their operands to tf32, whose products are exact in float and many times
  /// faster: 11 significant bits instead of 24. Off at first.
  bool tf32() const { return tf32_; }
  void allow_tf32(bool allow) { tf32_ = allow; }

 private:
  int gpu_;
  CUstream_st* stream_;
  void* scratch_ = nullptr;
  std::size_t scratch_bytes_ = 0;
  bool tf32_ = false;
};
static_assert(device<cuda>);

/// Puts `blocks` blocks of a kernel into the device's stream. Defined in devices/cuda_launch.cuh, which nvcc alone
/// compiles; kernels/*.cu instantiate it for every kernel. Unconstrained, because compilers mangle constraints
/// differently.
template <class K> void launch(cuda& dev, extent3 blocks, K const& k);

}  // namespace unetdn
