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

struct CUevent_st;
struct CUgraphExec_st;
struct CUstream_st;

namespace unetdn {

/// Whether this machine has a GPU that `cuda` can use: compute capability 8.0 or newer, with a driver that is new
/// enough.
bool cuda_available() noexcept;

/// Empty where cuda_available(), otherwise what is missing and the remedy, in one line.
std::string cuda_problem();

/// What the GPU is called, and its memory: "NVIDIA H200, 140 GiB". Throws error where there is none of that number.
std::string cuda_description(int gpu = 0);

namespace detail {
// All of these throw unetdn::error with the CUDA runtime's text, except those that are noexcept.
CUstream_st* cuda_stream_create(int gpu);
bool cuda_has_warpgroups(int gpu);
void cuda_stream_destroy(int gpu, CUstream_st* stream) noexcept;
void* cuda_allocate(int gpu, std::size_t bytes);
void cuda_release(void* p) noexcept;
void cuda_upload(int gpu, CUstream_st* stream, void* to, void const* from, std::size_t bytes);
void cuda_download(int gpu, CUstream_st* stream, void* to, void const* from, std::size_t bytes);
void cuda_copy(int gpu, CUstream_st* stream, void* to, void const* from, std::size_t bytes);
void cuda_fill_zero(int gpu, CUstream_st* stream, void* p, std::size_t bytes);
void cuda_synchronize(int gpu, CUstream_st* stream);
std::size_t cuda_available_bytes(int gpu);
// Page-locked host memory, and copies that return before they are done.
void* cuda_allocate_host(std::size_t bytes);
void cuda_release_host(void* p) noexcept;
void cuda_upload_async(int gpu, CUstream_st* stream, void* to, void const* from, std::size_t bytes);
void cuda_download_async(int gpu, CUstream_st* stream, void* to, void const* from, std::size_t bytes);
CUevent_st* cuda_event_create(int gpu);
void cuda_event_destroy(CUevent_st* event) noexcept;
void cuda_event_record(int gpu, CUstream_st* stream, CUevent_st* event);
void cuda_event_wait(CUevent_st* event);
/// Milliseconds between two events that have been waited for.
float cuda_event_milliseconds(CUevent_st* begin, CUevent_st* end);
void cuda_capture_begin(int gpu, CUstream_st* stream);
CUgraphExec_st* cuda_capture_end(int gpu, CUstream_st* stream);
void cuda_capture_abandon(int gpu, CUstream_st* stream) noexcept;
void cuda_graph_launch(int gpu, CUstream_st* stream, CUgraphExec_st* graph);
void cuda_graph_destroy(CUgraphExec_st* graph) noexcept;
// NVTX ranges: shown by profilers, and costing next to nothing without one.
void cuda_range_begin(char const* name) noexcept;
void cuda_range_end() noexcept;
}  // namespace detail

/// One NVIDIA GPU's memory and a stream on it: float, bf16 and fp16.
class cuda {
 public:
  static constexpr bool is_host = false;
  static constexpr std::size_t alignment = 256;
  static constexpr std::size_t red_zone = 0;
  /// Of a large GPU: kernels whose blocks take tiles one after the other have as many blocks as such a one holds.
  static constexpr int multiprocessors = 132;
  template <class T>
  static constexpr bool supports = std::is_same_v<T, float> || std::is_same_v<T, bf16> || std::is_same_v<T, fp16>;
  static constexpr char const* name() { return "cuda"; }

  /// `gpu` counts from 0, as nvidia-smi does. Throws error with cuda_problem() where there is none to use.
  explicit cuda(int gpu = 0)
      : gpu_{gpu}, stream_{detail::cuda_stream_create(gpu)}, warpgroups_{detail::cuda_has_warpgroups(gpu)} {}
  ~cuda() {
    release(scratch_);
    if (stream_) detail::cuda_stream_destroy(gpu_, stream_);
  }
  cuda(cuda&& other) noexcept
      : gpu_{other.gpu_},
        stream_{std::exchange(other.stream_, nullptr)},
        scratch_{std::exchange(other.scratch_, nullptr)},
        scratch_bytes_{std::exchange(other.scratch_bytes_, 0)},
        tf32_{other.tf32_},
        warpgroups_{other.warpgroups_} {}
  cuda& operator=(cuda&& other) noexcept {
    std::swap(gpu_, other.gpu_);
    std::swap(stream_, other.stream_);
    std::swap(scratch_, other.scratch_);
    std::swap(scratch_bytes_, other.scratch_bytes_);
    std::swap(tf32_, other.tf32_);
    std::swap(warpgroups_, other.warpgroups_);
    return *this;
  }

  int gpu() const { return gpu_; }
  cuda sibling() const {
    cuda other(gpu_);
    other.tf32_ = tf32_;
    return other;
  }
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
  std::size_t available_bytes() const { return detail::cuda_available_bytes(gpu_); }

  /// A place in the stream: an event.
  class mark {
   public:
    mark() = default;
    ~mark() { detail::cuda_event_destroy(event_); }
    mark(mark&& other) noexcept : event_{std::exchange(other.event_, nullptr)} {}
    mark& operator=(mark&& other) noexcept {
      std::swap(event_, other.event_);
      return *this;
    }
    /// Milliseconds of the GPU's time from an earlier mark to this one; both have been waited for.
    float milliseconds_since(mark const& begin) const { return detail::cuda_event_milliseconds(begin.event_, event_); }

   private:
    friend class cuda;
    CUevent_st* event_ = nullptr;
  };
  void set(mark& m) {
    if (!m.event_) m.event_ = detail::cuda_event_create(gpu_);
    detail::cuda_event_record(gpu_, stream_, m.event_);
  }
  static void wait(mark& m) {
    if (m.event_) detail::cuda_event_wait(m.event_);
  }

  /// A captured piece of work.
  class graph {
   public:
    graph() = default;
    ~graph() { detail::cuda_graph_destroy(captured_); }
    graph(graph&& other) noexcept
        : captured_{std::exchange(other.captured_, nullptr)}, scratch_{other.scratch_}, tried_{other.tried_} {}
    graph& operator=(graph&& other) noexcept {
      std::swap(captured_, other.captured_);
      std::swap(scratch_, other.scratch_);
      std::swap(tried_, other.tried_);
      return *this;
    }

   private:
    friend class cuda;
    CUgraphExec_st* captured_ = nullptr;
    void* scratch_ = nullptr;  // that its kernels use
    bool tried_ = false;
  };
  /// The first call does the work itself, so that scratch memory has grown and kernels are loaded: a capture allows
  /// neither. The second captures. Where scratch has moved since, the work is captured anew.
  template <class F> void repeat(graph& g, F&& work) {
    if (!std::exchange(g.tried_, true)) return work();
    if (g.captured_ && g.scratch_ != scratch_) detail::cuda_graph_destroy(std::exchange(g.captured_, nullptr));
    if (!g.captured_) {
      detail::cuda_capture_begin(gpu_, stream_);
      try {
        work();
      } catch (...) {
        detail::cuda_capture_abandon(gpu_, stream_);
        throw;
      }
      g.captured_ = detail::cuda_capture_end(gpu_, stream_);
      g.scratch_ = scratch_;
    }
    detail::cuda_graph_launch(gpu_, stream_, g.captured_);
  }

  static void* allocate_host(std::size_t bytes) { return detail::cuda_allocate_host(bytes); }
  static void release_host(void* p) noexcept { detail::cuda_release_host(p); }
  void upload_async(void* to, void const* from, std::size_t bytes) {
    detail::cuda_upload_async(gpu_, stream_, to, from, bytes);
  }
  void download_async(void* to, void const* from, std::size_t bytes) {
    detail::cuda_download_async(gpu_, stream_, to, from, bytes);
  }
  static void begin_range(char const* name) { detail::cuda_range_begin(name); }
  static void end_range() { detail::cuda_range_end(); }

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

  /// Whether this GPU multiplies matrices by warpgroups (Hopper, compute capability 9.0: see core/mma.hpp).
  bool has_warpgroups() const { return warpgroups_; }

 private:
  int gpu_;
  CUstream_st* stream_;
  void* scratch_ = nullptr;
  std::size_t scratch_bytes_ = 0;
  bool tf32_ = false;
  bool warpgroups_;
};
static_assert(device<cuda>);

/// Puts `blocks` blocks of a kernel into the device's stream. Defined in devices/cuda_launch.cuh, which nvcc alone
/// compiles; kernels/*.cu instantiate it for every kernel. Unconstrained, because compilers mangle constraints
/// differently.
template <class K> void launch(cuda& dev, extent3 blocks, K const& k);

}  // namespace unetdn
