// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include <unetdn/core/kernel.hpp>
#include <unetdn/core/random.hpp>
#include <unetdn/core/view.hpp>
#include <unetdn/cpu/isa.hpp>
#include <unetdn/cpu/jobs.hpp>
#include <unetdn/cpu/winograd_jobs.hpp>

// A header cannot choose its user's compiler flags, so the bodies choose their instruction sets themselves: the same
// source, included once per instruction set under a target pragma, each time in a namespace of its own, and picked
// while the program runs. Register loops say themselves that they are to be unrolled, because -O2 would not.
#if defined(__clang__)
  #define UNETDN_UNROLL_TILE _Pragma("clang loop unroll(full)")
  #define UNETDN_KEEP_ROLLED _Pragma("clang loop unroll(disable)")
#else
  #define UNETDN_UNROLL_TILE _Pragma("GCC unroll 16")
  #define UNETDN_KEEP_ROLLED _Pragma("GCC unroll 1")
#endif
#define UNETDN_ALWAYS_INLINE inline __attribute__((always_inline))
#define UNETDN_INLINE_LAMBDA __attribute__((always_inline))

// Registers: 16 of 16 bytes in the portable bodies, 16 of 32 bytes with AVX2, 32 of 64 bytes with AVX-512. A tile
// needs two for each pixel, two for weights, one for the pixel's value. Eight pixels already hide AVX-512's latency;
// more would cost every user's compiler more than it gains.
namespace unetdn::cpu_bodies::portable {
#define UNETDN_VECTOR_BYTES 16
#define UNETDN_TILE_PIXELS 4
#define UNETDN_SQUARE_LOOP UNETDN_KEEP_ROLLED
#include <unetdn/cpu/bodies/all.inl>
#undef UNETDN_VECTOR_BYTES
#undef UNETDN_TILE_PIXELS
#undef UNETDN_SQUARE_LOOP
}  // namespace unetdn::cpu_bodies::portable

#if UNETDN_X86_BODIES
  #if defined(__clang__)
    #pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
  #else
    #pragma GCC push_options
    #pragma GCC target("avx2,fma")
  #endif
namespace unetdn::cpu_bodies::avx2 {
  #define UNETDN_VECTOR_BYTES 32
  #define UNETDN_TILE_PIXELS 6
  #define UNETDN_SQUARE_LOOP UNETDN_KEEP_ROLLED
  #include <unetdn/cpu/bodies/all.inl>
  #undef UNETDN_VECTOR_BYTES
  #undef UNETDN_TILE_PIXELS
  #undef UNETDN_SQUARE_LOOP
}  // namespace unetdn::cpu_bodies::avx2
  #if defined(__clang__)
    #pragma clang attribute pop
    #pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma"))), \
                                 apply_to = function)
  #else
    #pragma GCC pop_options
    #pragma GCC push_options
    #pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")
  #endif
namespace unetdn::cpu_bodies::avx512 {
  #define UNETDN_VECTOR_BYTES 64
  #define UNETDN_TILE_PIXELS 8
  #define UNETDN_SQUARE_LOOP UNETDN_UNROLL_TILE
  #include <unetdn/cpu/bodies/all.inl>
  #undef UNETDN_VECTOR_BYTES
  #undef UNETDN_TILE_PIXELS
  #undef UNETDN_SQUARE_LOOP
}  // namespace unetdn::cpu_bodies::avx512
  #if defined(__clang__)
    #pragma clang attribute pop
  #else
    #pragma GCC pop_options
  #endif
#endif
#undef UNETDN_UNROLL_TILE
#undef UNETDN_KEEP_ROLLED
#undef UNETDN_ALWAYS_INLINE
#undef UNETDN_INLINE_LAMBDA

namespace unetdn::cpu_bodies {

/// The bodies that run (see active_isa()): `Table` is forward_bodies<T>, activation_bodies<T>, noise_bodies,
/// loss_bodies<T>, gradient_bodies<T>, winograd_bodies<T> or winograd_gradient_bodies<T>.
template <class Table> Table const& bodies() {
  switch (active_isa()) {
#if UNETDN_X86_BODIES
    case isa::avx512:
      return avx512::table<Table>;
    case isa::avx2:
      return avx2::table<Table>;
#endif
    default:
      return portable::table<Table>;
  }
}

#if defined(UNETDN_COMPILED)
// They are in the library unetdn::compiled.
extern template forward_bodies<float> const& bodies();
extern template forward_bodies<double> const& bodies();
extern template activation_bodies<float> const& bodies();
extern template activation_bodies<double> const& bodies();
extern template noise_bodies const& bodies();
extern template loss_bodies<float> const& bodies();
extern template loss_bodies<double> const& bodies();
extern template gradient_bodies<float> const& bodies();
extern template gradient_bodies<double> const& bodies();
extern template winograd_bodies<float> const& bodies();
extern template winograd_gradient_bodies<float> const& bodies();
#endif

}  // namespace unetdn::cpu_bodies
