// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <concepts>
#include <cstddef>

#include <unetdn/core/error.hpp>

namespace unetdn {

/// A device could not give the memory that was asked for. what() says how much was planned and what is free.
class out_of_memory : public error {
 public:
  using error::error;
};

/// What every device offers. A device object is one in-order queue of work with memory of its own: it may be used by
/// one thread at a time, and work of two device objects may run at the same time.
///   supports<T>     whether operations exist for elements of type T
///   is_host         whether device memory can be read directly by the host
///   alignment       bytes; every allocation, and every buffer that a plan places, is aligned to it
///   allocate        device memory, uninitialised; throws out_of_memory
///   release         gives it back; null is ignored
///   upload, download, copy, fill_zero   bytes, in order with the device's other work; upload and download return when
///                   the host's buffer may be reused or read
///   scratch         memory that is valid until the next call of scratch: what an operation needs beside its arguments.
///                   It grows when more is asked for, so whoever must not see it grow (a captured graph, a memory
///                   budget) asks for the maximum first
///   scratch_bytes   its present size
///   synchronize     returns when all work is done
template <class D>
concept device = requires(D& d, void* p, void const* q, std::size_t bytes) {
  { D::is_host } -> std::convertible_to<bool>;
  { D::alignment } -> std::convertible_to<std::size_t>;
  { D::name() } -> std::convertible_to<char const*>;
  { D::template supports<float> } -> std::convertible_to<bool>;
  { d.allocate(bytes) } -> std::same_as<void*>;
  { D::release(p) }
  noexcept;
  d.upload(p, q, bytes);
  d.download(p, q, bytes);
  d.copy(p, q, bytes);
  d.fill_zero(p, bytes);
  { d.scratch(bytes) } -> std::same_as<void*>;
  { d.scratch_bytes() } -> std::convertible_to<std::size_t>;
  d.synchronize();
};

}  // namespace unetdn
