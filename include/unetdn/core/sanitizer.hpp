// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>

// UNETDN_ASAN, UNETDN_TSAN: this translation unit is compiled with -fsanitize=address, =thread.
#if defined(__SANITIZE_ADDRESS__)  // g++
  #define UNETDN_ASAN 1
#elif defined(__SANITIZE_THREAD__)
  #define UNETDN_TSAN 1
#elif defined(__has_feature)  // clang++
  #if __has_feature(address_sanitizer)
    #define UNETDN_ASAN 1
  #elif __has_feature(thread_sanitizer)
    #define UNETDN_TSAN 1
  #endif
#endif
#if defined(UNETDN_ASAN)
  #include <sanitizer/asan_interface.h>
#endif

/// For a function that no sanitizer shall see into.
#if defined(UNETDN_ASAN) || defined(UNETDN_TSAN)
  #define UNETDN_UNCHECKED __attribute__((no_sanitize("address", "thread", "undefined")))
#else
  #define UNETDN_UNCHECKED
#endif

namespace unetdn {

/// Bytes that an arena leaves between two buffers for poison() when AddressSanitizer is on; none otherwise.
#if defined(UNETDN_ASAN)
inline constexpr std::size_t red_zone_bytes = 256;
#else
inline constexpr std::size_t red_zone_bytes = 0;
#endif

/// Makes AddressSanitizer report every access to these bytes until the allocation they are part of is freed. Without
/// AddressSanitizer: nothing.
inline void poison([[maybe_unused]] void const* p, [[maybe_unused]] std::size_t bytes) {
#if defined(UNETDN_ASAN)
  __asan_poison_memory_region(p, bytes);
#endif
}

/// Ends that.
inline void unpoison([[maybe_unused]] void const* p, [[maybe_unused]] std::size_t bytes) {
#if defined(UNETDN_ASAN)
  __asan_unpoison_memory_region(p, bytes);
#endif
}

}  // namespace unetdn
