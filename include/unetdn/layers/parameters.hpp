// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <unetdn/core/error.hpp>
#include <unetdn/core/half.hpp>
#include <unetdn/core/kernel.hpp>
#include <unetdn/core/update_state.hpp>
#include <unetdn/ops/conv2d.hpp>
#include <unetdn/ops/conv_transpose2d.hpp>

// Conventions that all layers share:
//  - A layer owns no memory. Its parameters are a slice of one flat array, so that one pass updates a whole network and
//    one array each holds weights, gradients, moments and averages.
//  - Gradients of parameters accumulate (+=) where the caller says so, which layers with common parameters need;
//    gradients of activations overwrite.
//  - The `dy` of a layer with a fused ReLU is the gradient before that ReLU: whoever wrote it has applied its
//    mask, y > 0, already (the `mask` argument of the next layer's backward), which saves a pass.

namespace unetdn {

/// A vector with one element an output channel.
struct bias_shape {
  int out;
};

/// Where the parameters of one layer lie in a flat array, padding included.
struct parameter_slice {
  std::int64_t begin, end;
  bool padded;  ///< whether some of its elements belong to no parameter
};

/// One named tensor of a network. Its canonical form, in files, is PyTorch's: conv2d (out, in, k, k), transposed
/// convolution (in, out, 2, 2), bias (out). On a device it occupies `size` elements from `offset` on, in the layout
/// that the device's kernels like best.
struct parameter {
  std::string name;
  std::variant<conv2d_shape, conv_transpose2d_shape, bias_shape> kind;
  std::int64_t offset = 0;
  std::int64_t size = 0;

  /// Extents of the canonical form.
  std::vector<std::int64_t> dimensions() const {
    if (auto const* c = std::get_if<conv2d_shape>(&kind)) return {c->out, c->in, c->kernel, c->kernel};
    if (auto const* t = std::get_if<conv_transpose2d_shape>(&kind)) return {t->in, t->out, 2, 2};
    return {std::get<bias_shape>(kind).out};
  }
  /// Elements of the canonical form.
  std::int64_t canonical_size() const {
    std::int64_t product = 1;
    for (std::int64_t d : dimensions()) product *= d;
    return product;
  }
  /// How many inputs one output sums over; 0 for a bias.
  std::int64_t fan_in() const {
    if (auto const* c = std::get_if<conv2d_shape>(&kind)) return std::int64_t(c->in) * c->kernel * c->kernel;
    if (auto const* t = std::get_if<conv_transpose2d_shape>(&kind)) return t->in;  // one tap reaches each output
    return 0;
  }
  /// What the learning rate is multiplied by. Adam moves every weight by about the rate, so that an output moves by the
  /// rate times the number of its inputs; beyond some, a few steps would turn it off for good. A rate in proportion to
  /// 1 / fan_in holds that movement (Yang et al. 2022, "Tensor programs V", table 3); what deep layers are told is
  /// noisier as well, and the power 1.5 kept more of them at work. A bias moves its output on every pixel at once.
  double rate_factor() const {
    constexpr double few = 144;  // 3x3 pixels of 16 channels
    if (fan_in() == 0) return 0.1;
    return std::pow(few / std::max(few, static_cast<double>(fan_in())), 1.5);
  }
};

/// The list of a network's parameters and their places in one flat array on `Device`.
template <class Device> class parameter_list {
 public:
  /// Appends a parameter and returns its number.
  int add(std::string name, conv2d_shape s) { return append({std::move(name), s, 0, conv2d_weight_size<Device>(s)}); }
  int add(std::string name, conv_transpose2d_shape s) {
    return append({std::move(name), s, 0, conv_transpose2d_weight_size<Device>(s)});
  }
  int add(std::string name, bias_shape s) { return append({std::move(name), s, 0, s.out}); }

  parameter const& operator[](int index) const { return list_[static_cast<std::size_t>(index)]; }
  auto begin() const { return list_.begin(); }
  auto end() const { return list_.end(); }
  int count() const { return static_cast<int>(list_.size()); }

  /// Elements of the flat array.
  std::int64_t size() const { return size_; }
  /// parameter::rate_factor() of each rate_block elements of the flat array.
  template <class T> std::vector<T> rate_factors() const {
    std::vector<T> all;
    for (auto const& p : list_) {
      all.resize(static_cast<std::size_t>((p.offset + round_up(p.size, alignment)) / rate_block), T(p.rate_factor()));
    }
    return all;
  }
  /// What a layer occupies that has appended the parameters from number `first` on, the last ones so far.
  parameter_slice slice_from(int first) const {
    parameter_slice s{(*this)[first].offset, size_, false};
    std::int64_t elements = s.end - s.begin;
    for (int i = first; i < count(); ++i) elements -= (*this)[i].canonical_size();
    s.padded = elements > 0;
    return s;
  }
  /// Number of weights as everyone counts them: no padding.
  std::int64_t weight_count() const {
    std::int64_t sum = 0;
    for (auto const& p : list_) sum += p.canonical_size();
    return sum;
  }

 private:
  static constexpr std::int64_t alignment = rate_block;  // every parameter begins on a cache line, whatever its type
  int append(parameter p) {
    p.offset = size_;
    size_ += round_up(p.size, alignment);
    list_.push_back(std::move(p));
    return count() - 1;
  }
  std::vector<parameter> list_;
  std::int64_t size_ = 0;
};

namespace detail {
template <class T> void check_sizes(parameter const& p, std::size_t canonical, std::span<T> slice) {
  check(static_cast<std::int64_t>(canonical) == p.canonical_size(), "parameter ", p.name, " has ", p.canonical_size(),
        " elements, not ", canonical);
  check(static_cast<std::int64_t>(slice.size()) == p.size, "parameter ", p.name, " occupies ", p.size,
        " elements, not ", slice.size());
}
}  // namespace detail

/// Converts a parameter's canonical form into the device's layout, both on the host; `slice` has p.size elements.
template <class Device, class T, class U>
void pack(parameter const& p, std::span<U const> canonical, std::span<T> slice) {
  detail::check_sizes(p, canonical.size(), slice);
  if (auto const* c = std::get_if<conv2d_shape>(&p.kind)) {
    conv2d_pack_weights<Device>(*c, canonical, slice);
  } else if (auto const* t = std::get_if<conv_transpose2d_shape>(&p.kind)) {
    conv_transpose2d_pack_weights<Device>(*t, canonical, slice);
  } else {
    for (std::size_t i = 0; i < slice.size(); ++i) slice[i] = convert<T>(canonical[i]);
  }
}

/// Converts a parameter from the device's layout into its canonical form, both on the host; `slice` has p.size
/// elements.
template <class Device, class T, class U>
void unpack(parameter const& p, std::span<T const> slice, std::span<U> canonical) {
  detail::check_sizes(p, canonical.size(), slice);
  if (auto const* c = std::get_if<conv2d_shape>(&p.kind)) {
    conv2d_unpack_weights<Device>(*c, slice, canonical);
  } else if (auto const* t = std::get_if<conv_transpose2d_shape>(&p.kind)) {
    conv_transpose2d_unpack_weights<Device>(*t, slice, canonical);
  } else {
    for (std::size_t i = 0; i < slice.size(); ++i) canonical[i] = convert<U>(slice[i]);
  }
}

/// Puts a parameter, in canonical form, into its place in a flat array on the device.
template <class Device, class T, class U>
void upload(Device& dev, parameter const& p, std::span<U const> canonical, T* flat) {
  std::vector<T> slice(static_cast<std::size_t>(p.size));
  pack<Device>(p, canonical, std::span<T>(slice));
  dev.upload(flat + p.offset, slice.data(), slice.size() * sizeof(T));
}

/// A parameter, in canonical form, from its place in a flat array on the device.
template <class U, class Device, class T> std::vector<U> download(Device& dev, parameter const& p, T const* flat) {
  std::vector<T> slice(static_cast<std::size_t>(p.size));
  dev.download(slice.data(), flat + p.offset, slice.size() * sizeof(T));
  std::vector<U> canonical(static_cast<std::size_t>(p.canonical_size()));
  unpack<Device>(p, std::span<T const>(slice), std::span<U>(canonical));
  return canonical;
}

}  // namespace unetdn
