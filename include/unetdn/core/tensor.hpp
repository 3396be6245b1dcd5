// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include <unetdn/core/device.hpp>
#include <unetdn/core/shape.hpp>
#include <unetdn/core/view.hpp>

namespace unetdn {

namespace detail {

/// Owns `size` elements of trivially copyable T that Release gives back; moves, does not copy.
template <class T, auto Release> class owned_memory {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  owned_memory() = default;
  owned_memory(void* data, std::size_t size) : data_{static_cast<T*>(data)}, size_{size} {}
  ~owned_memory() { Release(data_); }
  owned_memory(owned_memory&& other) noexcept
      : data_{std::exchange(other.data_, nullptr)}, size_{std::exchange(other.size_, 0)} {}
  owned_memory& operator=(owned_memory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }

  T* data() { return data_; }
  T const* data() const { return data_; }
  std::size_t size() const { return size_; }
  std::size_t bytes() const { return size_ * sizeof(T); }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace detail

/// Owns `size` elements of device memory, of any trivially copyable type; moves, does not copy.
template <class T, class Device> class buffer : public detail::owned_memory<T, &Device::release> {
 public:
  buffer() = default;
  /// Zeroed. Throws out_of_memory.
  buffer(Device& dev, std::size_t size)
      : detail::owned_memory<T, &Device::release>{dev.allocate(size * sizeof(T)), size} {
    dev.fill_zero(this->data(), this->bytes());
  }
};

/// Owns `size` elements of host memory that a device copies from and to while the host goes on (upload_async,
/// download_async: see core/device.hpp); page-locked where the device is a GPU. Moves, does not copy.
template <class T, class Device> class host_buffer : public detail::owned_memory<T, &Device::release_host> {
 public:
  host_buffer() = default;
  /// Zeroed. Throws out_of_memory.
  explicit host_buffer(std::size_t size)
      : detail::owned_memory<T, &Device::release_host>{Device::allocate_host(size * sizeof(T)), size} {
    std::uninitialized_value_construct_n(this->data(), size);
  }
};

/// Owns a dense x[n,h,w,c] in device memory.
template <class T, class Device> class tensor {
  static_assert(Device::template supports<T>,
                "this device has no operations for this element type: the cpu takes float and double, cuda and "
                "emulated take float, bf16 and fp16");

 public:
  tensor() = default;
  /// Zeroed. Throws out_of_memory, and argument_error where an extent is negative.
  tensor(Device& dev, unetdn::shape s) : shape_{checked(s)}, memory_{dev, static_cast<std::size_t>(s.size())} {}
  tensor(tensor&& other) noexcept
      : shape_{std::exchange(other.shape_, {0, 0, 0, 0})}, memory_{std::move(other.memory_)} {}
  tensor& operator=(tensor&& other) noexcept {
    std::swap(shape_, other.shape_);
    memory_ = std::move(other.memory_);
    return *this;
  }

  unetdn::shape shape() const { return shape_; }
  std::int64_t size() const { return shape_.size(); }
  T* data() { return memory_.data(); }
  T const* data() const { return memory_.data(); }
  unetdn::view<T> view() { return {data(), shape_.n, shape_.h, shape_.w, shape_.c}; }
  unetdn::view<T const> view() const { return {data(), shape_.n, shape_.h, shape_.w, shape_.c}; }

  /// Copies size() elements from or to the host, in NHWC order.
  void upload(Device& dev, std::span<T const> from) {
    check(from.size() == memory_.size(), "upload of ", from.size(), " elements into a tensor of ", to_string(shape_));
    dev.upload(memory_.data(), from.data(), from.size_bytes());
  }
  void download(Device& dev, std::span<T> to) const {
    check(to.size() == memory_.size(), "download of ", to.size(), " elements from a tensor of ", to_string(shape_));
    dev.download(to.data(), memory_.data(), to.size_bytes());
  }

 private:
  static unetdn::shape checked(unetdn::shape s) {
    check(s.n >= 0 && s.h >= 0 && s.w >= 0 && s.c >= 0, "a tensor cannot have the shape ", to_string(s));
    // In floating point: the number of bytes may not fit an integer.
    if (double(s.n) * s.h * s.w * s.c * double(sizeof(T)) > 0x1p62) {
      throw out_of_memory(
          text("no memory holds a tensor of ", to_string(s), "; use smaller pictures or a smaller batch"));
    }
    return s;
  }
  unetdn::shape shape_{0, 0, 0, 0};
  buffer<T, Device> memory_;
};

}  // namespace unetdn
