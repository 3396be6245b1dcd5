// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>

#include <unetdn/layers/parameters.hpp>
#include <unetdn/ops/output_layer.hpp>

namespace unetdn {

/// A network's last layer: y = f(w x + b), where w is a 1x1 convolution, and f the sigmoid, or adds a residual, or does
/// nothing. Backward needs x and the gradient with respect to w x + b.
template <class T, class Device> class output_layer {
 public:
  /// Appends `name`.weight and, with `bias`, `name`.bias to the list.
  output_layer(parameter_list<Device>& list, std::string const& name, output_layer_shape s, bool bias, bool sigmoid)
      : name_{name},
        shape_{s},
        sigmoid_{sigmoid},
        weight_{list[list.add(name + ".weight", s.conv())].offset},
        bias_{bias ? list[list.add(name + ".bias", bias_shape{s.out})].offset : -1},
        slice_{list.slice_from(list.count() - (bias ? 2 : 1))} {}

  /// x[N,H,W,in] -> y[N,H,W,out]. `weights` is the network's flat array; `residual`[N,H,W,out] may be empty. Throws
  /// argument_error where a shape does not fit.
  void forward(Device& dev, T const* weights, view<T const> x, view<T> y, view<T const> residual) const {
    output_layer_forward<T>(dev, shape_, x, weights + weight_, bias_of(weights), y, {sigmoid_, residual});
  }
  /// The same with the loss of y and its gradient: see output_layer_forward.
  void forward(Device& dev, T const* weights, view<T const> x, view<T> y, view<T const> residual,
               pointwise_loss<T> const& loss) const {
    output_layer_forward<T>(dev, shape_, x, weights + weight_, bias_of(weights), y, {sigmoid_, residual}, loss);
  }

  /// Makes of the gradient with respect to y, in place, the one with respect to w x + b.
  void backward_function(Device& dev, view<T const> y, view<T> gradient) const {
    if (sigmoid_) sigmoid_backward<T>(dev, y, gradient, gradient);
  }
  /// dx, times (x > 0) where relu_mask, and the gradients of the parameters, into the flat array `gradients`:
  /// overwritten, or added to where `accumulate`. dx may be x.
  void backward(Device& dev, T const* weights, view<T const> x, view<T const> g, view<T> dx, bool relu_mask,
                accumulator_t<T>* gradients, bool accumulate) const {
    output_layer_backward<T>(dev, shape_, x, weights + weight_, g, dx, relu_mask, gradients + weight_,
                             bias_of(gradients), accumulate);
  }

  std::string const& name() const { return name_; }
  parameter_slice slice() const { return slice_; }
  /// Of forward, or of backward, on x.
  op_cost cost(unetdn::shape x, bool backward) const { return output_layer_cost(shape_, x, backward, sizeof(T)); }

 private:
  template <class U> U* bias_of(U* flat) const { return bias_ < 0 ? nullptr : flat + bias_; }
  std::string name_;
  output_layer_shape shape_;
  bool sigmoid_;
  std::int64_t weight_, bias_;
  parameter_slice slice_;
};

}  // namespace unetdn
