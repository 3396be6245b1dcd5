// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>

#include <unetdn/layers/parameters.hpp>

namespace unetdn {

/// Convolution with bias and ReLU, either of them optional: y = relu(conv(x, w) + b), and perhaps y's 2x2 maxima.
/// Backward needs x and the gradient dy before the ReLU (see layers/parameters.hpp).
template <class T, class Device> class conv2d {
 public:
  /// Appends `name`.weight and, with `bias`, `name`.bias to the list.
  conv2d(parameter_list<Device>& list, std::string const& name, conv2d_shape s, bool bias, bool relu)
      : name_{name},
        shape_{s},
        relu_{relu},
        weight_{list.add(name + ".weight", s)},
        bias_{bias ? list.add(name + ".bias", bias_shape{s.out}) : -1} {
    weight_offset_ = list[weight_].offset;
    if (bias) bias_offset_ = list[bias_].offset;
    slice_ = list.slice_from(weight_);
  }

  /// x[N,H,W,in] -> y[N,P,Q,out], P = ceil(H / stride) for odd kernels, floor(H / 2) for 2x2. `weights` is the
  /// network's flat array. `pooled`[N,P/2,Q/2,out], where it is given, takes what max_pool2d makes of y. Throws
  /// argument_error where a shape does not fit.
  void forward(Device& dev, T const* weights, view<T const> x, view<T> y, view<T> pooled = {}) const {
    conv2d_forward<T>(dev, shape_, x, weights + weight_offset_, at(weights), y, {relu_, pooled});
  }

  /// Gradients of the parameters, into the flat array `gradients`: overwritten, or added to where `accumulate`.
  void backward_parameters(Device& dev, view<T const> x, view<T const> dy, accumulator_t<T>* gradients,
                           bool accumulate) const {
    conv2d_backward_weights<T>(dev, shape_, x, dy, gradients + weight_offset_, at(gradients), accumulate);
  }

  /// dx = conv^T(dy, w), times (mask > 0) where a mask is given, which may be the very window dx. Call it after
  /// backward_parameters where dx overwrites x.
  void backward_data(Device& dev, T const* weights, view<T const> dy, view<T> dx, view<T const> mask = {}) const {
    conv2d_backward_data<T>(dev, shape_, dy, weights + weight_offset_, dx, mask);
  }

  std::string const& name() const { return name_; }
  conv2d_shape shape() const { return shape_; }
  parameter_slice slice() const { return slice_; }
  /// Of forward on x; each of the two backward passes has as many operations.
  op_cost cost(unetdn::shape x) const { return conv2d_cost(shape_, x, sizeof(T)); }

 private:
  template <class U> U* at(U* flat) const { return bias_ < 0 ? nullptr : flat + bias_offset_; }
  std::string name_;
  conv2d_shape shape_;
  bool relu_;
  int weight_, bias_;
  std::int64_t weight_offset_ = 0, bias_offset_ = 0;
  parameter_slice slice_{};
};

}  // namespace unetdn
