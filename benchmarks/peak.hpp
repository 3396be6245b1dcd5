// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <vector>

#include <unetdn/cpu/isa.hpp>
#include <unetdn/devices/cpu.hpp>

// What the multiply-add units of this machine deliver when nothing else is asked of them: the peak that the kernels'
// results are shares of. Twelve independent chains, each in a variable of its own, hide the units' latency; in an array
// they would be spilled to memory by some compilers, and the meter would read a third of the truth.
namespace benchmarks {

/// `steps` rounds of twelve chains v = v x + y; start holds their twelve first values, x and y. They must differ, and
/// must not be known to the compiler, which would otherwise leave chains out.
using peak_function = void (*)(int steps, void const* start, void* result);

// One body for each instruction set, under a target pragma; see unetdn/cpu/bodies.hpp.
#define UNETDN_PEAK_BODY(BYTES)                                                                 \
  template <class T> void peak_body(int steps, void const* start, void* result) {               \
    typedef T vec __attribute__((vector_size(BYTES)));                                          \
    T const* const from = static_cast<T const*>(start);                                         \
    vec const zero{}, x = from[12] - zero, y = from[13] - zero;                                 \
    vec a = from[0] - zero, b = from[1] - zero, c = from[2] - zero, d = from[3] - zero;         \
    vec e = from[4] - zero, f = from[5] - zero, g = from[6] - zero, h = from[7] - zero;         \
    vec i = from[8] - zero, j = from[9] - zero, k = from[10] - zero, l = from[11] - zero;       \
    for (int s = 0; s < steps; ++s) {                                                           \
      a = a * x + y, b = b * x + y, c = c * x + y, d = d * x + y, e = e * x + y, f = f * x + y; \
      g = g * x + y, h = h * x + y, i = i * x + y, j = j * x + y, k = k * x + y, l = l * x + y; \
    }                                                                                           \
    vec const sum = (a + b) + (c + d) + ((e + f) + (g + h)) + ((i + j) + (k + l));              \
    *static_cast<T*>(result) = sum[0];                                                          \
  }

namespace portable {
UNETDN_PEAK_BODY(16)
}
#if UNETDN_X86_BODIES
  #if defined(__clang__)
    #pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
  #else
    #pragma GCC push_options
    #pragma GCC target("avx2,fma")
  #endif
namespace avx2 {
UNETDN_PEAK_BODY(32)
}
  #if defined(__clang__)
    #pragma clang attribute pop
    #pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx2,fma"))), apply_to = function)
  #else
    #pragma GCC pop_options
    #pragma GCC push_options
    #pragma GCC target("avx512f,avx512vl,avx2,fma")
  #endif
namespace avx512 {
UNETDN_PEAK_BODY(64)
}
  #if defined(__clang__)
    #pragma clang attribute pop
  #else
    #pragma GCC pop_options
  #endif
#endif
#undef UNETDN_PEAK_BODY

/// Bytes of the vectors that the bodies of `which` use.
inline int vector_bytes(unetdn::cpu_bodies::isa which) {
  using unetdn::cpu_bodies::isa;
  return which == isa::avx512 ? 64 : which == isa::avx2 ? 32 : 16;
}

template <class T> peak_function peak_of(unetdn::cpu_bodies::isa which) {
  switch (which) {
#if UNETDN_X86_BODIES
    case unetdn::cpu_bodies::isa::avx512:
      return avx512::peak_body<T>;
    case unetdn::cpu_bodies::isa::avx2:
      return avx2::peak_body<T>;
#endif
    default:
      return portable::peak_body<T>;
  }
}

/// Multiply-add peak in operations a second (2 a multiply-add) on all of the device's threads: the best of five.
template <class T> double multiply_add_peak(unetdn::cpu& dev, unetdn::cpu_bodies::isa which) {
  constexpr int steps = 400'000, chains = 12;
  T start[chains + 2] = {};
  for (int i = 0; i < chains; ++i) start[i] = T(i);
  start[chains] = T(0.5);  // the chains converge to 2: no denormal, no overflow
  start[chains + 1] = T(1);
  struct alignas(64) slot {
    T value;
  };
  std::vector<slot> results(static_cast<std::size_t>(dev.threads()));
  peak_function const body = peak_of<T>(which);
  int const parts = 4 * dev.threads();
  double best = 0;
  for (int repeat = 0; repeat < 5; ++repeat) {
    auto const begin = std::chrono::steady_clock::now();
    dev.parallel(parts, [&](int, int worker) { body(steps, start, &results[static_cast<std::size_t>(worker)]); });
    double const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    double const lanes = double(vector_bytes(which)) / double(sizeof(T));
    best = std::max(best, 2.0 * steps * chains * lanes * parts / seconds);
  }
  return best;
}

/// Bytes a second that copying moves, read and written, on all of the device's threads, in arrays too large for any
/// cache: the best of three.
inline double copy_bandwidth(unetdn::cpu& dev) {
  constexpr std::size_t part = std::size_t(1) << 20, parts = 96;
  static std::vector<char> const from(part * parts, 1);
  static std::vector<char> to(part * parts);
  double best = 0;
  for (int repeat = 0; repeat < 3; ++repeat) {
    auto const begin = std::chrono::steady_clock::now();
    dev.parallel(static_cast<int>(parts), [&](int i, int) {
      std::size_t const at = part * static_cast<std::size_t>(i);
      std::memcpy(to.data() + at, from.data() + at, part);
    });
    double const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    best = std::max(best, 2.0 * double(part * parts) / seconds);
  }
  return best;
}

}  // namespace benchmarks
