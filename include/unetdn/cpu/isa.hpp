// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <atomic>
#include <cstdlib>
#include <string_view>

#include <unetdn/core/error.hpp>

// The bodies for x86 need a compiler that takes a target for a region of a file.
#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
  #define UNETDN_X86_BODIES 1
#else
  #define UNETDN_X86_BODIES 0
#endif

namespace unetdn::cpu_bodies {

/// The instruction sets for which the cpu device has bodies, weakest first.
enum class isa { portable, avx2, avx512 };

inline char const* name(isa which) {
  switch (which) {
    case isa::avx512:
      return "avx512";
    case isa::avx2:
      return "avx2";
    default:
      return "portable";
  }
}

/// Whether this processor and its operating system can run the bodies of `which`.
inline bool supported(isa which) {
  if (which == isa::portable) return true;
#if UNETDN_X86_BODIES
  bool const avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (which == isa::avx2) return avx2;
  return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
#else
  return false;
#endif
}

/// The strongest instruction set that this processor has.
inline isa best_isa() {
  if (supported(isa::avx512)) return isa::avx512;
  return supported(isa::avx2) ? isa::avx2 : isa::portable;
}

/// The instruction set that `text` names; the strongest one where it is null or empty. Throws argument_error where it
/// names none, or one that this processor lacks.
inline isa isa_from_text(char const* text) {
  if (!text || !*text) return best_isa();
  for (isa const which : {isa::portable, isa::avx2, isa::avx512}) {
    if (std::string_view{text} != name(which)) continue;
    check(supported(which), "UNETDN_ISA is '", text, "', which this processor lacks; its best is '", name(best_isa()),
          "'");
    return which;
  }
  throw argument_error(unetdn::text("UNETDN_ISA is '", text, "'; it must be portable, avx2 or avx512"));
}

inline std::atomic<isa>& active_isa_setting() {
  static std::atomic<isa> which{isa_from_text(std::getenv("UNETDN_ISA"))};
  return which;
}

/// The instruction set whose bodies run: the strongest one, or what the environment variable UNETDN_ISA names. Throws
/// argument_error like isa_from_text.
inline isa active_isa() { return active_isa_setting().load(std::memory_order_relaxed); }

/// Lets the bodies of `which` run from now on; for tests and measurements. Results differ between instruction sets by
/// rounding. Throws argument_error where the processor lacks it.
inline void use(isa which) {
  check(supported(which), "this processor lacks ", name(which), "; its best is ", name(best_isa()));
  active_isa_setting().store(which, std::memory_order_relaxed);
}

}  // namespace unetdn::cpu_bodies
