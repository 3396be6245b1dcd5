// SPDX-License-Identifier: Apache-2.0
// What devices/cuda.hpp declares, by the CUDA runtime.
#include <unetdn/devices/cuda_launch.cuh>

namespace unetdn {

namespace {

void select(int gpu) { detail::check_cuda(cudaSetDevice(gpu), "choosing the GPU"); }

/// Empty where the GPU with this number can be used.
std::string problem_of(int gpu) {
  constexpr char const* remedy = "; use the cpu device, or a machine with an NVIDIA GPU and its driver";
  int count = 0;
  if (cudaError_t const e = cudaGetDeviceCount(&count); e != cudaSuccess) {
    cudaGetLastError();  // so that no later call reports it again
    return text("no usable GPU: ", cudaGetErrorString(e), remedy);
  }
  if (count == 0) return text("no usable GPU: none found", remedy);
  if (gpu < 0 || gpu >= count) return text("no usable GPU: there is no number ", gpu, " among ", count, remedy);
  int major = 0;
  detail::check_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, gpu), "asking the GPU's kind");
  if (major < 8) return text("no usable GPU: compute capability ", major, " is older than 8.0", remedy);
  return {};
}

}  // namespace

bool cuda_available() noexcept {
  try {
    return problem_of(0).empty();
  } catch (...) {
    return false;
  }
}

std::string cuda_problem() { return problem_of(0); }

namespace detail {

CUstream_st* cuda_stream_create(int gpu) {
  if (std::string const problem = problem_of(gpu); !problem.empty()) throw error(problem);
  select(gpu);
  cudaStream_t stream = nullptr;
  check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "creating a stream");
  return stream;
}

void cuda_stream_destroy(int gpu, CUstream_st* stream) noexcept {
  cudaSetDevice(gpu);
  cudaStreamSynchronize(stream);
  cudaStreamDestroy(stream);
}

void* cuda_allocate(int gpu, std::size_t bytes) {
  select(gpu);
  void* p = nullptr;
  cudaError_t const e = cudaMalloc(&p, bytes > 0 ? bytes : 1);
  if (e == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    std::size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    throw out_of_memory(text("the GPU cannot give ", bytes >> 20, " MiB: ", free >> 20, " of ", total >> 20,
                             " MiB are free; use smaller pictures or a smaller batch"));
  }
  check_cuda(e, "allocating memory on the GPU");
  return p;
}

void cuda_release(void* p) noexcept {
  if (p) cudaFree(p);
}

void cuda_upload(int gpu, CUstream_st* stream, void* to, void const* from, std::size_t bytes) {
  select(gpu);
  check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream), "copying to the GPU");
  check_cuda(cudaStreamSynchronize(stream), "copying to the GPU");
}

void cuda_download(int gpu, CUstream_st* stream, void* to, void const* from, std::size_t bytes) {
  select(gpu);
  check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream), "copying from the GPU");
  check_cuda(cudaStreamSynchronize(stream), "copying from the GPU, or work before it");
}

void cuda_copy(int gpu, CUstream_st* stream, void* to, void const* from, std::size_t bytes) {
  select(gpu);
  check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream), "copying on the GPU");
}

void cuda_fill_zero(int gpu, CUstream_st* stream, void* p, std::size_t bytes) {
  select(gpu);
  check_cuda(cudaMemsetAsync(p, 0, bytes, stream), "filling memory on the GPU");
}

void cuda_synchronize(int gpu, CUstream_st* stream) {
  select(gpu);
  check_cuda(cudaStreamSynchronize(stream), "work on the GPU");
}

}  // namespace detail
}  // namespace unetdn
