// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <type_traits>

#include <unetdn/core/error.hpp>

// UNETDN_HD marks helpers that host and device code share.
// UNETDN_DEVICE marks kernel bodies and what only they call. Under nvcc those are __device__ alone, so that the block's
// words need no host branch and nvcc never compiles their PTX for the host. Any other compiler sees plain functions.
// UNETDN_UNROLL stands before every loop whose index selects a register array's element: one loop left rolled puts the
// whole array in local memory (ptxas -v then shows a stack frame, without spills).
#if defined(__CUDACC__)
  #define UNETDN_HD __host__ __device__
  #define UNETDN_DEVICE __device__
  #define UNETDN_UNROLL _Pragma("unroll")
#else
  #define UNETDN_HD
  #define UNETDN_DEVICE
  #define UNETDN_UNROLL
#endif

namespace unetdn {

/// Smallest q with q * b >= a, for a >= 0 and b > 0.
template <class Integer> UNETDN_HD constexpr Integer ceil_div(Integer a, std::type_identity_t<Integer> b) {
  return (a + b - 1) / b;
}

/// Smallest multiple of b that is at least a, for a >= 0 and b > 0.
template <class Integer> UNETDN_HD constexpr Integer round_up(Integer a, std::type_identity_t<Integer> b) {
  return ceil_div(a, b) * b;
}

/// Number of blocks of a launch, or the index of one of them.
struct extent3 {
  int x = 1, y = 1, z = 1;
};

/// Threads that execute together: the unit of shuffles, matrix loads and matrix products.
inline constexpr int warp_size = 32;

/// Four warps, the first of them a multiple of four: the unit of Hopper's matrix products.
inline constexpr int warpgroup_size = 4 * warp_size;

/// Most bytes of shared memory that a block may have on every GPU from compute capability 8.0 on (8.6 has the least).
inline constexpr int max_shared_bytes = 99 * 1024;
/// The same on Hopper (9.0).
inline constexpr int max_shared_bytes_hopper = 227 * 1024;

/// Whether a kernel is for GPUs that multiply by warpgroups, and for no others: it says so by a member `by_warpgroups`.
template <class K> inline constexpr bool by_warpgroups = requires { K::by_warpgroups; };

/// A kernel is a trivially copyable struct. Its members are the arguments; `operator()(Block&, shared&)` is the body
/// that every thread runs; `threads` is the block size; `shared` is the block's shared memory: a struct, a union of
/// stages, or empty. The words that a body may use are those of `emulated::block`, where they are described.
template <class K>
concept kernel = std::is_trivially_copyable_v<K> && std::is_trivially_default_constructible_v<typename K::shared> &&
                 (K::threads > 0) &&
                 (K::threads <= 1024) && (K::threads % warp_size == 0) &&
                 (sizeof(typename K::shared) <=
                  std::size_t(by_warpgroups<K> ? max_shared_bytes_hopper : max_shared_bytes)) &&
                 (!by_warpgroups<K> || K::threads % warpgroup_size == 0);

/// A kernel did what no kernel may do. Only the emulated device finds out.
class kernel_fault : public error {
 public:
  using error::error;
};

/// One load and one store of 4, 8 or 16 bytes, both addresses aligned to that many (the emulated device throws
/// kernel_fault when they are not). It says what a reinterpret_cast may not: writing an array of 16-bit structs as
/// uint32_t breaks strict aliasing.
template <int Bytes> UNETDN_DEVICE inline void copy_aligned(void* to, void const* from) {
  static_assert(Bytes == 4 || Bytes == 8 || Bytes == 16);
#if defined(__CUDACC__)
  if constexpr (Bytes == 4) *static_cast<unsigned*>(to) = *static_cast<unsigned const*>(from);
  if constexpr (Bytes == 8) *static_cast<uint2*>(to) = *static_cast<uint2 const*>(from);
  if constexpr (Bytes == 16) *static_cast<uint4*>(to) = *static_cast<uint4 const*>(from);
#else
  auto const misaligned = [](void const* p) { return reinterpret_cast<std::uintptr_t>(p) % Bytes != 0; };
  if (misaligned(to) || misaligned(from)) throw kernel_fault(text("misaligned ", Bytes, "-byte access"));
  if constexpr (Bytes == 16) {
    // In halves: g++ expands a 16-byte memcpy after its ThreadSanitizer pass, which then would not see it.
    __builtin_memcpy(to, from, 8);
    __builtin_memcpy(static_cast<char*>(to) + 8, static_cast<char const*>(from) + 8, 8);
  } else {
    __builtin_memcpy(to, from, Bytes);
  }
#endif
}

/// Sum over the 32 lanes of the calling warp, by a butterfly: always the same additions. Every lane gets the total.
template <class Block, class T> UNETDN_DEVICE T warp_sum(Block& block, T v) {
  UNETDN_UNROLL
  for (int mask = warp_size / 2; mask > 0; mask /= 2) v += block.shuffle_xor(v, mask);
  return v;
}

/// Sum over all threads of the block: first each warp's butterfly, then the warps in order. Every thread gets the
/// total. `s_warps` is shared memory that nothing else uses between the barriers before and after the call.
template <class Block, class T, int Warps> UNETDN_DEVICE T block_sum(Block& block, T (&s_warps)[Warps], T v) {
  v = warp_sum(block, v);
  if (block.lane() == 0) s_warps[block.warp()] = v;
  block.sync();  // completes s_warps
  T total = s_warps[0];
  UNETDN_UNROLL
  for (int warp = 1; warp < Warps; ++warp) total += s_warps[warp];
  return total;
}

}  // namespace unetdn
