// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <unetdn/core/error.hpp>
#include <unetdn/core/kernel.hpp>
#include <unetdn/ops/conv2d.hpp>
#include <unetdn/ops/conv_transpose2d.hpp>

// Conventions that all layers share:
//  - A layer owns no memory. Its parameters are a slice of one flat array, so that one pass updates a whole network and
//    one array each holds weights, gradients, moments and averages.
//  - Gradients of parameters accumulate (+=) where the caller says so; gradients of activations overwrite.
//  - The `dy` of a layer with a fused ReLU is the gradient before that ReLU: whoever wrote it has applied the mask y >
//  0
//    already (the `mask` argument of the next layer's backward), which saves a pass.

namespace unetdn {

/// A vector with one element an output channel.
struct bias_shape {
  int out;
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
  /// Number of weights as everyone counts them: no padding.
  std::int64_t weight_count() const {
    std::int64_t sum = 0;
    for (auto const& p : list_) sum += p.canonical_size();
    return sum;
  }

 private:
  static constexpr std::int64_t alignment = 64;  // elements: every parameter begins on a cache line, whatever its type
  int append(parameter p) {
    p.offset = size_;
    size_ += round_up(p.size, alignment);
    list_.push_back(std::move(p));
    return count() - 1;
  }
  std::vector<parameter> list_;
  std::int64_t size_ = 0;
};

/// Writes a parameter's canonical form into its place in a flat array on the host.
template <class Device, class T, class U>
void pack(parameter const& p, std::span<U const> canonical, std::span<T> flat) {
  check(static_cast<std::int64_t>(canonical.size()) == p.canonical_size(), "parameter ", p.name, " has ",
        p.canonical_size(), " elements, not ", canonical.size());
  std::span<T> const to = flat.subspan(static_cast<std::size_t>(p.offset), static_cast<std::size_t>(p.size));
  if (auto const* c = std::get_if<conv2d_shape>(&p.kind)) {
    conv2d_pack_weights<Device>(*c, canonical, to);
  } else if (auto const* t = std::get_if<conv_transpose2d_shape>(&p.kind)) {
    conv_transpose2d_pack_weights<Device>(*t, canonical, to);
  } else {
    for (std::size_t i = 0; i < to.size(); ++i) to[i] = T(canonical[i]);
  }
}

/// Reads a parameter's canonical form from its place in a flat array on the host.
template <class Device, class T, class U>
void unpack(parameter const& p, std::span<T const> flat, std::span<U> canonical) {
  check(static_cast<std::int64_t>(canonical.size()) == p.canonical_size(), "parameter ", p.name, " has ",
        p.canonical_size(), " elements, not ", canonical.size());
  std::span<T const> const from = flat.subspan(static_cast<std::size_t>(p.offset), static_cast<std::size_t>(p.size));
  if (auto const* c = std::get_if<conv2d_shape>(&p.kind)) {
    conv2d_unpack_weights<Device>(*c, from, canonical);
  } else if (auto const* t = std::get_if<conv_transpose2d_shape>(&p.kind)) {
    conv_transpose2d_unpack_weights<Device>(*t, from, canonical);
  } else {
    for (std::size_t i = 0; i < from.size(); ++i) canonical[i] = U(from[i]);
  }
}

}  // namespace unetdn
