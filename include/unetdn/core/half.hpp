// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <type_traits>

#include <unetdn/core/kernel.hpp>

// 16-bit storage types. They only store: every sum and product is taken in float.
// Our own structs, not __nv_bfloat16 or _Float16: g++ 12 has no _Float16 in C++, clang 14 has it only with AVX-512, and
// <cuda_bf16.h> would drag the CUDA toolkit into every program. The bits are the same. The constructors are defaulted
// to keep the types trivial, which shared memory and unions need.

namespace unetdn {

namespace detail {
/// Whether bit `position` of u is set: the tie-breaker of round-half-to-even.
UNETDN_HD constexpr std::uint32_t bit(std::uint32_t u, int position) { return u >> position & 1u; }
}  // namespace detail

/// bfloat16: float's sign and exponent with 8 significant bits. Conversion rounds to nearest, ties to even.
struct bf16 {
  std::uint16_t bits;

  bf16() = default;
  UNETDN_HD explicit bf16(float v) {
#if defined(__CUDA_ARCH__)
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(v));
#else
    auto const u = __builtin_bit_cast(std::uint32_t, v);
    bool const is_nan = (u & 0x7fffffffu) > 0x7f800000u;
    bits = std::uint16_t(is_nan ? 0x7fffu : (u + 0x7fffu + detail::bit(u, 16)) >> 16);
#endif
  }
  UNETDN_HD explicit operator float() const { return __builtin_bit_cast(float, std::uint32_t(bits) << 16); }
};

/// IEEE half precision: 5 exponent bits, 11 significant bits. Conversion rounds to nearest, ties to even.
struct fp16 {
  std::uint16_t bits;

  fp16() = default;
  UNETDN_HD explicit fp16(float v) {
#if defined(__CUDA_ARCH__)
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(v));
#else
    bits = rounded(__builtin_bit_cast(std::uint32_t, v));
#endif
  }
  UNETDN_HD explicit operator float() const {
#if defined(__CUDA_ARCH__)
    float v;
    asm("cvt.f32.f16 %0, %1;" : "=f"(v) : "h"(bits));
    return v;
#else
    return widened(bits);
#endif
  }

 private:
  UNETDN_HD static std::uint16_t rounded(std::uint32_t u) {
    std::uint32_t const sign = u >> 16 & 0x8000u;
    std::uint32_t const magnitude = u & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return 0x7fffu;                         // NaN
    if (magnitude >= 0x477ff000u) return std::uint16_t(sign | 0x7c00u);  // 65520 and more round to infinity
    if (magnitude < 0x38800000u) {
      // Subnormal: 0.5 has fp16's smallest step, 2^-24, as its unit in the last place, so float's adder rounds for us.
      float const shifted = __builtin_bit_cast(float, magnitude) + 0.5f;
      return std::uint16_t(sign | (__builtin_bit_cast(std::uint32_t, shifted) - 0x3f000000u));
    }
    // Exponent bias from 127 to 15, and half a step to round, in one addition modulo 2^32.
    return std::uint16_t(sign | (magnitude + 0xc8000fffu + detail::bit(magnitude, 13)) >> 13);
  }
  UNETDN_HD static float widened(std::uint16_t half) {
    std::uint32_t const sign = std::uint32_t(half & 0x8000u) << 16;
    std::uint32_t const exponent = half >> 10 & 31u;
    std::uint32_t const mantissa = half & 0x3ffu;
    if (exponent == 0) {
      float const v = float(mantissa) * 0x1p-24f;
      return sign ? -v : v;
    }
    std::uint32_t const wide_exponent = exponent == 31 ? 0x7f800000u : (exponent + 112u) << 23;
    return __builtin_bit_cast(float, sign | wide_exponent | mantissa << 13);
  }
};

/// Names the format that tensor cores read of a float: its exponent with 11 significant bits. Nothing is stored in it.
struct tf32;

/// The bits of v rounded to tf32, to nearest, ties away from zero. The 13 lowest are to be ignored.
UNETDN_HD inline std::uint32_t round_to_tf32(float v) {
#if defined(__CUDA_ARCH__)
  std::uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(v));
  return bits;
#else
  auto const u = __builtin_bit_cast(std::uint32_t, v);
  bool const is_nan = (u & 0x7fffffffu) > 0x7f800000u;
  return is_nan ? 0x7fffe000u : (u + 0x1000u) & 0xffffe000u;
#endif
}

/// What sums over elements of T are taken and kept in; so parameters' gradients are of this type.
template <class T> using accumulator_t = std::conditional_t<std::is_same_v<T, double>, double, float>;

/// Whether T only stores: its values are computed with in float.
template <class T> inline constexpr bool is_16_bit = std::is_same_v<T, bf16> || std::is_same_v<T, fp16>;

/// v as a To, rounded once, except from double to a 16-bit type: that goes by way of float.
template <class To, class From> UNETDN_HD To convert(From v) {
  if constexpr (is_16_bit<From>) {
    return convert<To>(static_cast<float>(v));
  } else if constexpr (is_16_bit<To>) {
    return To(static_cast<float>(v));
  } else {
    return static_cast<To>(v);
  }
}

/// Two floats rounded to T in one 32-bit register, `low` in the low half (the lower address).
template <class T> UNETDN_HD std::uint32_t pack(float low, float high) {
  return std::uint32_t(T(low).bits) | std::uint32_t(T(high).bits) << 16;
}

}  // namespace unetdn
