// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>

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
///   red_zone        bytes that a plan leaves behind each buffer, for accesses out of bounds to be found in; 0 in use
///   allocate        device memory, uninitialised; throws out_of_memory
///   release         gives it back; null is ignored
///   available_bytes how many bytes allocate could still give; the largest number where the device does not know
///   upload, download, copy, fill_zero   bytes, in order with the device's other work; upload and download return when
///                   the host's buffer may be reused or read
///   upload_async, download_async        return at once: the host's buffer is the device's until a mark behind them in
///                   the queue has been waited for. A host_buffer (core/tensor.hpp) makes them overlap with other work
///   mark, set(mark) a place in the queue, put behind what is in it now
///   wait(mark)      returns when the work before the mark is done; at once where it was never set
///   scratch         memory that is valid until the next call of scratch: what an operation needs beside its arguments.
///                   It grows when more is asked for, so whoever must not see it grow (a captured graph, a memory
///                   budget) asks for the maximum first
///   scratch_bytes   its present size
///   synchronize     returns when all work is done
///   repeat(graph, work)   calls `work`, which must put the same operations with the same arguments into the queue each
///                   time, and must neither wait nor allocate. A GPU does so twice, then repeats what it captured as
///                   one piece (a CUDA graph), which costs the host one call
///   sibling()       a device object on the same hardware, with a queue of its own
///   begin_range(name), end_range()      name what the host puts into the queue in between, for profilers; they nest
template <class D>
concept device = requires(D& d, void* p, void const* q, std::size_t bytes, typename D::mark& mark,
                          typename D::graph& graph, void (*work)()) {
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
  { D::red_zone } -> std::convertible_to<std::size_t>;
  { d.available_bytes() } -> std::same_as<std::size_t>;
  { D::allocate_host(bytes) } -> std::same_as<void*>;
  { D::release_host(p) }
  noexcept;
  d.upload_async(p, q, bytes);
  d.download_async(p, q, bytes);
  d.set(mark);
  d.wait(mark);
  d.repeat(graph, work);
  { d.sibling() } -> std::same_as<D>;
  D::begin_range("");
  D::end_range();
  d.synchronize();
};

/// Names the work that the host puts into a device's queue during a scope.
template <class Device> class profile_range {
 public:
  explicit profile_range(std::string const& name) { Device::begin_range(name.c_str()); }
  ~profile_range() { Device::end_range(); }
  profile_range(profile_range const&) = delete;
  profile_range& operator=(profile_range const&) = delete;
};

/// What a piece of work takes of a device's memory.
struct memory_need {
  std::size_t state = 0, activations = 0, scratch = 0;

  std::size_t total() const { return state + activations + scratch; }
};

/// Throws out_of_memory, which says what is planned and what is free, where `dev` cannot give `need`: before any work,
/// and before anything of it is allocated. `what` begins the sentence.
template <class Device> void require_memory(Device& dev, std::string_view what, memory_need need) {
  std::size_t const held = dev.scratch_bytes() < need.scratch ? dev.scratch_bytes() : need.scratch;
  std::size_t const available = dev.available_bytes();
  if (need.total() - held <= available) return;
  auto const mib = [](std::size_t bytes) { return (bytes + (std::size_t(1) << 20) - 1) >> 20; };
  throw out_of_memory(text(what, " needs ", mib(need.total()), " MiB on the device ", Device::name(), " (state ",
                           mib(need.state), ", activations ", mib(need.activations), ", scratch ", mib(need.scratch),
                           "), but ", available >> 20, " MiB are free; use smaller pictures or a smaller batch"));
}

}  // namespace unetdn
