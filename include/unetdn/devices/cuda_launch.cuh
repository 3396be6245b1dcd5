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

// The sums of N / 8 fragments as operands of an asm statement, and their names in it.
#define UNETDN_SUMS_OF(c) "+f"((c).r[0]), "+f"((c).r[1]), "+f"((c).r[2]), "+f"((c).r[3])
#define UNETDN_SUMS_8(c) UNETDN_SUMS_OF((c)[0])
#define UNETDN_SUMS_16(c) UNETDN_SUMS_OF((c)[0]), UNETDN_SUMS_OF((c)[1])
#define UNETDN_SUMS_32(c) UNETDN_SUMS_16(c), UNETDN_SUMS_OF((c)[2]), UNETDN_SUMS_OF((c)[3])
#define UNETDN_SUMS_64(c)                                                                         \
  UNETDN_SUMS_OF((c)[0]), UNETDN_SUMS_OF((c)[1]), UNETDN_SUMS_OF((c)[2]), UNETDN_SUMS_OF((c)[3]), \
      UNETDN_SUMS_OF((c)[4]), UNETDN_SUMS_OF((c)[5]), UNETDN_SUMS_OF((c)[6]), UNETDN_SUMS_OF((c)[7])
#define UNETDN_SUMS_128(c) UNETDN_SUMS_64(c), UNETDN_SUMS_64((c) + 8)
#define UNETDN_NAMES_8 "%0,%1,%2,%3"
#define UNETDN_NAMES_16 "%0,%1,%2,%3,%4,%5,%6,%7"
#define UNETDN_NAMES_32 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
#define UNETDN_NAMES_64 \
  UNETDN_NAMES_32       \
  ","                   \
  "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define UNETDN_NAMES_128                                             \
  UNETDN_NAMES_64                                                    \
  ","                                                                \
  "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47," \
  "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
// wgmma with both operands in shared memory, or a in registers; `types` is both operands' type.
#define UNETDN_WGMMA(n, types, c, a, b, b_transposed, i0, i1, i2)                                                      \
  asm volatile("wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." types " {" UNETDN_NAMES_##n "}, %" #i0 ", %" #i1      \
                                                                                             ", 1, 1, 1, 0, %" #i2 ";" \
               : UNETDN_SUMS_##n(c)                                                                                    \
               : "l"(a), "l"(b), "n"(int(b_transposed))                                                                \
               : "memory")
#define UNETDN_WGMMA_REGISTERS(n, types, c, a, b, b_transposed, i0, i1, i2, i3, i4, i5)                     \
  asm volatile("wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." types " {" UNETDN_NAMES_##n                \
               "}, {%" #i0 ",%" #i1 ",%" #i2 ",%" #i3 "}, %" #i4 ", 1, 1, 1, %" #i5 ";"                     \
               : UNETDN_SUMS_##n(c)                                                                         \
               : "r"((a).r[0]), "r"((a).r[1]), "r"((a).r[2]), "r"((a).r[3]), "l"(b), "n"(int(b_transposed)) \
               : "memory")

/// The vocabulary of kernels in PTX. The words are described at emulated::block.
class cuda_block {
 public:
  __device__ int thread() const { return int(threadIdx.x); }
  __device__ int lane() const { return int(threadIdx.x % warp_size); }
  __device__ int warp() const { return int(threadIdx.x / warp_size); }
  /// Taken from the first lane, so that the compiler knows that the whole warp agrees.
  __device__ int warpgroup() const { return __shfl_sync(0xffffffffu, int(threadIdx.x) / warpgroup_size, 0); }
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

  __device__ void publish() const { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
  __device__ void multiply_begin() const { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
  __device__ void multiply_commit() const { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
  template <int Pending = 0> __device__ void multiply_wait() const {
    asm volatile("wgmma.wait_group.sync.aligned %0;" : : "n"(Pending) : "memory");
  }
  /// So that no arithmetic on the sums moves before the wait, of which it does not know.
  __device__ void settle(fragment_c& c) const { asm volatile("" : UNETDN_SUMS_OF(c) : : "memory"); }
  template <class Sums, int Size> __device__ void settle(Sums (&sums)[Size]) const {
    UNETDN_UNROLL
    for (int i = 0; i < Size; ++i) settle(sums[i]);
  }
  template <class T, bool TransposedB, int Fragments>
  __device__ void multiply_async(fragment_c (&c)[Fragments], shared_matrix<T, false> const& a,
                                 shared_matrix<T, TransposedB> const& b) const {
    static_assert(Fragments == 2 || Fragments == 4 || Fragments == 8 || Fragments == 16);
    std::uint64_t const of_a = descriptor(a), of_b = descriptor(b);
    if constexpr (std::is_same_v<T, bf16>) {
      if constexpr (Fragments == 2) UNETDN_WGMMA(16, "bf16.bf16", c, of_a, of_b, TransposedB, 8, 9, 10);
      if constexpr (Fragments == 4) UNETDN_WGMMA(32, "bf16.bf16", c, of_a, of_b, TransposedB, 16, 17, 18);
      if constexpr (Fragments == 8) UNETDN_WGMMA(64, "bf16.bf16", c, of_a, of_b, TransposedB, 32, 33, 34);
      if constexpr (Fragments == 16) UNETDN_WGMMA(128, "bf16.bf16", c, of_a, of_b, TransposedB, 64, 65, 66);
    } else {
      if constexpr (Fragments == 2) UNETDN_WGMMA(16, "f16.f16", c, of_a, of_b, TransposedB, 8, 9, 10);
      if constexpr (Fragments == 4) UNETDN_WGMMA(32, "f16.f16", c, of_a, of_b, TransposedB, 16, 17, 18);
      if constexpr (Fragments == 8) UNETDN_WGMMA(64, "f16.f16", c, of_a, of_b, TransposedB, 32, 33, 34);
      if constexpr (Fragments == 16) UNETDN_WGMMA(128, "f16.f16", c, of_a, of_b, TransposedB, 64, 65, 66);
    }
  }
  template <class T, bool TransposedB, int Fragments>
  __device__ void multiply_async(fragment_c (&c)[Fragments], fragment_a<T> const& a,
                                 shared_matrix<T, TransposedB> const& b) const {
    static_assert(Fragments == 1 || Fragments == 4 || Fragments == 8);
    std::uint64_t const of_b = descriptor(b);
    if constexpr (std::is_same_v<T, bf16>) {
      if constexpr (Fragments == 1) UNETDN_WGMMA_REGISTERS(8, "bf16.bf16", c, a, of_b, TransposedB, 4, 5, 6, 7, 8, 9);
      if constexpr (Fragments == 4)
        UNETDN_WGMMA_REGISTERS(32, "bf16.bf16", c, a, of_b, TransposedB, 16, 17, 18, 19, 20, 21);
      if constexpr (Fragments == 8)
        UNETDN_WGMMA_REGISTERS(64, "bf16.bf16", c, a, of_b, TransposedB, 32, 33, 34, 35, 36, 37);
    } else {
      if constexpr (Fragments == 1) UNETDN_WGMMA_REGISTERS(8, "f16.f16", c, a, of_b, TransposedB, 4, 5, 6, 7, 8, 9);
      if constexpr (Fragments == 4)
        UNETDN_WGMMA_REGISTERS(32, "f16.f16", c, a, of_b, TransposedB, 16, 17, 18, 19, 20, 21);
      if constexpr (Fragments == 8)
        UNETDN_WGMMA_REGISTERS(64, "f16.f16", c, a, of_b, TransposedB, 32, 33, 34, 35, 36, 37);
    }
  }

 private:
  __device__ static unsigned shared_address(void const* p) { return unsigned(__cvta_generic_to_shared(p)); }
  /// PTX ISA, "Matrix Descriptor Format": address and strides in units of 16 bytes, swizzling by 128 bytes.
  template <class T, bool Transposed>
  __device__ static std::uint64_t descriptor(shared_matrix<T, Transposed> const& m) {
    constexpr int unit = 16 / int(sizeof(T));
    constexpr unsigned by_128_bytes = 1u << 30;
    unsigned const low =
        (shared_address(m.s_first) >> 4 | unsigned(m.blocks_apart / unit) << 16) + unsigned(m.shift / unit);
    return std::uint64_t(unsigned(m.groups_apart / unit) | by_128_bytes) << 32 | low;
  }
};

namespace detail {

// Shared memory is always the dynamic kind: one path, and no limit of 48 KiB. (ptxas -v therefore reports 0 bytes of
// it.)
extern __shared__ __align__(1024) unsigned char dynamic_shared[];

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
  static_assert(alignof(shared) <= 1024);
  constexpr std::size_t bytes = std::is_empty_v<shared> ? 0 : sizeof(shared);
  detail::check_cuda(cudaSetDevice(dev.gpu()), "choosing the GPU");
  if constexpr (bytes > 48 * 1024) detail::allow_shared_bytes<K>(dev.gpu(), bytes);
  dim3 const grid(unsigned(blocks.x), unsigned(blocks.y), unsigned(blocks.z));
  detail::run_kernel<K><<<grid, K::threads, bytes, dev.stream()>>>(k);
  detail::check_cuda(cudaGetLastError(), "launching a kernel");
}

}  // namespace unetdn
