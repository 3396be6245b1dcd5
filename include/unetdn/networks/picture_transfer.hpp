// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <cstddef>

#include <unetdn/core/tensor.hpp>
#include <unetdn/ops/elementwise.hpp>

namespace unetdn {

/// y = x on the host, without a device: x[N,H,W,C], y[N,H,W,C]. Throws argument_error where the shapes differ.
inline void copy_on_host(view<float const> x, view<float> y) {
  detail::check_same_shape("copy_on_host", x, y);
  bool const whole_rows = x.pixel_stride == x.c && y.pixel_stride == y.c;
  for (int n = 0; n < x.n; ++n) {
    for (int row = 0; row < x.h; ++row) {
      if (whole_rows) {
        std::copy_n(x.pixel(n, row, 0), std::ptrdiff_t(x.w) * x.c, y.pixel(n, row, 0));
        continue;
      }
      for (int column = 0; column < x.w; ++column) std::copy_n(x.pixel(n, row, column), x.c, y.pixel(n, row, column));
    }
  }
}

/// Moves pictures between the host, where they are floats, and windows of T on a device; there they are converted.
/// Keeps the memory that it needs in between. A GPU gets 4 bytes an element over the bus, whatever T is.
template <class T, class Device> class picture_transfer {
 public:
  /// from[N,H,W,C] on the host, to[N,H,W,C] on the device. Returns when `from` may be changed.
  void upload(Device& dev, view<float const> from, view<T> to) {
    if constexpr (Device::is_host) {
      convert<T>(dev, from, to);
    } else {
      reserve(dev, from);
      copy_on_host(from, dense(host_, from));
      dev.upload(device_.data(), host_.data(), bytes(from));
      convert<T>(dev, view<float const>(dense(device_, from)), to);
    }
  }
  /// from[N,H,W,C] on the device, to[N,H,W,C] on the host. Returns when `to` holds it.
  void download(Device& dev, view<T const> from, view<float> to) {
    if constexpr (Device::is_host) {
      convert<float>(dev, from, to);
    } else {
      reserve(dev, to);
      convert<float>(dev, from, dense(device_, to));
      dev.download(host_.data(), device_.data(), bytes(to));
      copy_on_host(dense(host_, to), to);
    }
  }

 private:
  template <class V> static std::size_t bytes(view<V> const& x) {
    return static_cast<std::size_t>(x.size()) * sizeof(float);
  }
  template <class Buffer, class V> static view<float> dense(Buffer& memory, view<V> const& like) {
    return {memory.data(), like.n, like.h, like.w, like.c};
  }
  template <class V> void reserve(Device& dev, view<V> const& x) {
    auto const elements = static_cast<std::size_t>(x.size());
    if (device_.size() >= elements) return;
    device_ = {};  // frees its memory before the larger one takes its own
    device_ = buffer<float, Device>(dev, elements);
    host_ = host_buffer<float, Device>(elements);
  }
  buffer<float, Device> device_;
  host_buffer<float, Device> host_;
};

}  // namespace unetdn
