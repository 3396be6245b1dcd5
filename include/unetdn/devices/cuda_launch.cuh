// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <atomic>
#include <cstdint>
#include <cuda_runtime.h>
#include <type_traits>

#include <unetdn/core/half.hpp>
#include <unetdn/core/kernel.hpp>
#include <unetdn/core/mma.hpp>
#include <unetdn/devices/cuda.hpp>

namespace unetdn {

namespace detail {
/// Throws error with the CUDA runtime's text.
inline void check_cuda(cudaError_t e, char const* what) {
  if (e != cudaSuccess) throw error(text(what, ": ", cudaGetErrorString(e)));
}
}  // namespace detail

/// The vocabulary of kernels in PTX. The words are described at emulated::block.
class cuda_block {
 public:
  __device__ int thread() const { return int(threadIdx.x); }
  __device__ int lane() const { return int(threadIdx.x % warp_size); }
  __device__ int warp() const { return int(threadIdx.x / warp_size); }
  __device__ extent3 index() const { return {int(blockIdx.x), int(blockIdx.y), int(blockIdx.z)}; }
  __device__ extent3 blocks() const { return {int(gridDim.x), int(gridDim.y), int(gridDim.z)}; }

  __device__ void sync() const { __syncthreads(); }
  __device__ void sync_warp() const { __syncwarp(); }
  template <class T> __device__ T shuffle_xor(T v, int mask) const { return __shfl_xor_sync(0xffffffffu, v, mask); }
  template <class T> __device__ T atomic_add(T* to, T v) const {
    static_assert(std::is_integral_v<T>, "atomic_add takes integers: a sum of floats would depend on the order");
    if constexpr (sizeof(T) == 8) {
      return T(atomicAdd(reinterpret_cast<unsigned long long*>(to), (unsigned long long)(v)));
    } else {
      return atomicAdd(to, v);
    }
  }

  // The "memory" clobbers keep the compiler from moving plain shared-memory accesses across copies and matrix loads.
  template <class T> __device__ void copy_async(T* s_to, T const* from, bool valid = true) const {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(shared_address(s_to)), "l"(__cvta_generic_to_global(from)), "r"(valid ? 16 : 0)
                 : "memory");
  }
  __device__ void copy_commit() const { asm volatile("cp.async.commit_group;" ::: "memory"); }
  template <int Pending = 0> __device__ void copy_wait() const {
    asm volatile("cp.async.wait_group %0;" : : "n"(Pending) : "memory");
  }

  template <class T> __device__ void load_matrix_x4(std::uint32_t (&r)[4], T const* s_row) const {
    static_assert(sizeof(T) == 2 || sizeof(T) == 4);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(s_row))
                 : "memory");
  }
  template <class T> __device__ void load_matrix_x4_transposed(std::uint32_t (&r)[4], T const* s_row) const {
    static_assert(sizeof(T) == 2);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(s_row))
                 : "memory");
  }

  __device__ void mma(fragment_c& c, fragment_a<bf16> const& a, fragment_b<bf16> const& b) const {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c.r[0]), "+f"(c.r[1]), "+f"(c.r[2]), "+f"(c.r[3])
        : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "r"(b.r[0]), "r"(b.r[1]));
  }
  __device__ void mma(fragment_c& c, fragment_a<fp16> const& a, fragment_b<fp16> const& b) const {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c.r[0]), "+f"(c.r[1]), "+f"(c.r[2]), "+f"(c.r[3])
        : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "r"(b.r[0]), "r"(b.r[1]));
  }
  __device__ void mma(fragment_c& c, fragment_a<tf32> const& a, fragment_b<tf32> const& b) const {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c.r[0]), "+f"(c.r[1]), "+f"(c.r[2]), "+f"(c.r[3])
        : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "r"(b.r[0]), "r"(b.r[1]));
  }

 private:
  __device__ static unsigned shared_address(void const* p) { return unsigned(__cvta_generic_to_shared(p)); }
};

namespace detail {

// Shared memory is always the dynamic kind: one path, and no limit of 48 KiB. (ptxas -v therefore reports 0 bytes of
// it.)
extern __shared__ __align__(128) unsigned char dynamic_shared[];

/// A kernel may say how many blocks it wants resident on a multiprocessor (`min_blocks`); the compiler then limits its
/// registers. Without it say 0, unspecified, and not 1: 1 lets the compiler spend registers up to one block.
template <class K> constexpr int min_blocks() {
  if constexpr (requires { K::min_blocks; }) {
    return K::min_blocks;
  } else {
    return 0;
  }
}

template <class K> __global__ void __launch_bounds__(K::threads, min_blocks<K>()) run_kernel(K const k) {
  cuda_block block;
  k(block, *reinterpret_cast<typename K::shared*>(dynamic_shared));
}

/// More than 48 KiB of shared memory must be asked for, once per kernel and GPU.
template <class K> void allow_shared_bytes(int gpu, std::size_t bytes) {
  static std::atomic<std::uint64_t> allowed{0};  // one bit a GPU
  std::uint64_t const bit = std::uint64_t(1) << gpu % 64;
  if (allowed.load() & bit) return;
  check_cuda(cudaFuncSetAttribute(run_kernel<K>, cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes)),
             "shared memory of a kernel");
  if (gpu < 64) allowed |= bit;
}

}  // namespace detail

template <class K> void launch(cuda& dev, extent3 blocks, K const& k) {
  using shared = typename K::shared;
  static_assert(kernel<K>, "a kernel is a trivially copyable struct with `threads` and `shared`: see core/kernel.hpp");
  static_assert(alignof(shared) <= 128);
  constexpr std::size_t bytes = std::is_empty_v<shared> ? 0 : sizeof(shared);
  detail::check_cuda(cudaSetDevice(dev.gpu()), "choosing the GPU");
  if constexpr (bytes > 48 * 1024) detail::allow_shared_bytes<K>(dev.gpu(), bytes);
  dim3 const grid(unsigned(blocks.x), unsigned(blocks.y), unsigned(blocks.z));
  detail::run_kernel<K><<<grid, K::threads, bytes, dev.stream()>>>(k);
  detail::check_cuda(cudaGetLastError(), "launching a kernel");
}

}  // namespace unetdn
