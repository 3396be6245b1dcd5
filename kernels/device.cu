// SPDX-License-Identifier: Apache-2.0
// What devices/cuda.hpp declares, by the CUDA runtime.
#if __has_include(<nvtx3/nvToolsExt.h>)  // part of the toolkit, but a package of its own in some distributions
  #include <nvtx3/nvToolsExt.h>
  #define UNETDN_HAVE_NVTX 1
#endif

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

std::string cuda_description(int gpu) {
  if (std::string const problem = problem_of(gpu); !problem.empty()) throw error(problem);
  cudaDeviceProp properties{};
  detail::check_cuda(cudaGetDeviceProperties(&properties, gpu), "asking the GPU's name");
  return text(properties.name, ", ", properties.totalGlobalMem >> 30, " GiB");
}

namespace detail {

CUstream_st* cuda_stream_create(int gpu) {
  if (std::string const problem = problem_of(gpu); !problem.empty()) throw error(problem);
  select(gpu);
  cudaStream_t stream = nullptr;
  check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "creating a stream");
  return stream;
}

bool cuda_has_warpgroups(int gpu) {
  int major = 0;
  check_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, gpu), "asking the GPU's kind");
  return major == 9;  // newer ones do it differently
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

std::size_t cuda_available_bytes(int gpu) {
  select(gpu);
  std::size_t free = 0, total = 0;
  check_cuda(cudaMemGetInfo(&free, &total), "asking the GPU's free memory");
  // The driver takes some later, as it loads kernels and builds graphs.
  constexpr std::size_t margin = std::size_t(256) << 20;
  return free > margin ? free - margin : 0;
}

void* cuda_allocate_host(std::size_t bytes) {
  void* p = nullptr;
  cudaError_t const e = cudaMallocHost(&p, bytes > 0 ? bytes : 1);
  if (e == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    throw out_of_memory(text("cannot lock ", bytes >> 20, " MiB of memory for the GPU's copies; use a smaller batch"));
  }
  check_cuda(e, "allocating memory for the GPU's copies");
  return p;
}

void cuda_release_host(void* p) noexcept {
  if (p) cudaFreeHost(p);
}

void cuda_upload_async(int gpu, CUstream_st* stream, void* to, void const* from, std::size_t bytes) {
  select(gpu);
  check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream), "copying to the GPU");
}

void cuda_download_async(int gpu, CUstream_st* stream, void* to, void const* from, std::size_t bytes) {
  select(gpu);
  check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream), "copying from the GPU");
}

CUevent_st* cuda_event_create(int gpu) {
  select(gpu);
  cudaEvent_t event = nullptr;
  check_cuda(cudaEventCreate(&event), "creating an event");
  return event;
}

void cuda_event_destroy(CUevent_st* event) noexcept {
  if (event) cudaEventDestroy(event);
}

void cuda_event_record(int gpu, CUstream_st* stream, CUevent_st* event) {
  select(gpu);
  check_cuda(cudaEventRecord(event, stream), "recording an event");
}

void cuda_event_wait(CUevent_st* event) { check_cuda(cudaEventSynchronize(event), "work on the GPU"); }

float cuda_event_milliseconds(CUevent_st* begin, CUevent_st* end) {
  float milliseconds = 0;
  check_cuda(cudaEventElapsedTime(&milliseconds, begin, end), "the time between two events");
  return milliseconds;
}

// Thread-local: other threads of the program may allocate meanwhile.
void cuda_capture_begin(int gpu, CUstream_st* stream) {
  select(gpu);
  check_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capturing work for a graph");
}

CUgraphExec_st* cuda_capture_end(int gpu, CUstream_st* stream) {
  select(gpu);
  cudaGraph_t graph = nullptr;
  check_cuda(cudaStreamEndCapture(stream, &graph), "capturing work for a graph");
  cudaGraphExec_t executable = nullptr;
  cudaError_t const e = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  check_cuda(e, "making a graph of captured work");
  return executable;
}

void cuda_capture_abandon(int gpu, CUstream_st* stream) noexcept {
  cudaSetDevice(gpu);
  cudaGraph_t graph = nullptr;
  cudaStreamEndCapture(stream, &graph);
  if (graph) cudaGraphDestroy(graph);
  cudaGetLastError();  // the reason is reported by whoever gave up
}

void cuda_graph_launch(int gpu, CUstream_st* stream, CUgraphExec_st* graph) {
  select(gpu);
  check_cuda(cudaGraphLaunch(graph, stream), "launching a graph");
}

void cuda_graph_destroy(CUgraphExec_st* graph) noexcept {
  if (graph) cudaGraphExecDestroy(graph);
}

void cuda_range_begin([[maybe_unused]] char const* name) noexcept {
#if defined(UNETDN_HAVE_NVTX)
  nvtxRangePushA(name);
#endif
}

void cuda_range_end() noexcept {
#if defined(UNETDN_HAVE_NVTX)
  nvtxRangePop();
#endif
}

}  // namespace detail
}  // namespace unetdn
