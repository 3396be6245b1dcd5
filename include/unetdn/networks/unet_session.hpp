// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <functional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include <unetdn/networks/unet.hpp>
#include <unetdn/ops/elementwise.hpp>

namespace unetdn {

/// Whether a session keeps what backward needs.
enum class session_mode { inference, training };

/// What the gradient that backward begins with is with respect to: the output, or the last convolution's sums, before
/// the function that makes the output of them. A loss that knows the function spares a pass by the latter.
enum class gradient_of { output, sums };

/// A piece of work that a session has just done, for profiles.
struct layer_event {
  std::string layer;  ///< "encoder.0.conv1", "encoder.0.pool" ...
  char const* pass;   ///< "forward", "forward again", "data gradient", "weight gradient", "both gradients", "codes"
  double flops;       ///< 2 a multiply-add, as the definition has them; 0 where there are none to speak of
  double bytes;       ///< what must be read and written at least
};

/// The memory and the order of work of a U-Net for pictures of one size: everything a computation needs beside the
/// weights. Sessions on different device objects may run at the same time, also on one network.
///
/// Skip connections cost no copy: joined[l] holds the encoder's channels first and the upsampled ones behind them, and
/// each producer writes its half. Gradients overwrite the activations that they belong to as soon as those are no
/// longer needed; what max-pooling's gradient needs of the encoder's is put into codes before. What costs little is not
/// kept for backward but computed again: the first layer's output, as large as any, and what pooling made, in the pass
/// that writes the codes. The gradients of the parameters take the place of activations that backward has done with,
/// layer by layer. All buffers lie in one arena that is planned before anything is allocated.
template <class T, class Device> class unet_session {
 public:
  /// Plans and allocates for n pictures of h x w pixels, each at least 1; sizes that are no multiple of 2^levels are
  /// padded by reflection at the bottom and right, and cropped back. Throws argument_error, out_of_memory.
  /// The device object must outlive the session.
  unet_session(Device& dev, unet_config const& config, int n, int h, int w, session_mode mode)
      : unet_session(only_plan{}, dev, config, n, h, w, mode) {
    require_memory(dev, mode == session_mode::training ? "a training step" : "denoising", need());
    arena_ = arena<Device>(dev, plan_);
    dev.scratch(scratch_bytes_);
  }

  /// What such a session takes of the device's memory; nothing is allocated.
  static memory_need need(Device& dev, unet_config const& config, int n, int h, int w, session_mode mode) {
    return unet_session(only_plan{}, dev, config, n, h, w, mode).need();
  }

  /// Where the caller puts the pictures: [n,h,w,in_channels], values around 0 to 1.
  view<T> input() const { return picture(at(input_)).channels(0, config_.in_channels); }
  /// The noise map of a network that takes one: [n,h,w,1], sigma / 255 a pixel.
  view<T> noise_map() const {
    check(config_.noise_map, "this network takes no noise map");
    return picture(at(input_)).channels(config_.in_channels, 1);
  }
  /// What forward computed: [n,h,w,out_channels]; valid until the next forward or backward.
  view<T> output() const { return picture(at(output_)); }
  /// Where the caller puts the gradient of the loss, after forward and before backward, which is told of what.
  /// [n,h,w,out_channels]
  view<T> output_gradient() const {
    check(mode_ == session_mode::training, "an inference session has no gradients; make one for training");
    return picture(at(output_gradient_));
  }

  /// Has `f` called after each layer of forward and backward; an empty one ends that.
  void observe(std::function<void(layer_event const&)> f) { observer_ = std::move(f); }

  /// Runs the network on input(). Throws argument_error where `net` has another configuration.
  void forward(unet<T, Device> const& net) { forward(net, {}); }
  /// The same, and in the last pass the loss of output() and its gradient, gradient_of::sums, where computes_loss().
  void forward(unet<T, Device> const& net, pointwise_loss<T> const& loss) {
    check(net.config() == config_, "this session was made for a network of another configuration");
    check(!loss.loss || computes_loss(), "this session computes no loss; use loss_and_gradient");
    auto const& layers = net.layers();
    T const* const weights = net.weights();
    Device& dev = *device_;
    auto const through = [&](auto const& layer, view<T> x, auto... y) {
      run(layer.name(), "forward", layer.cost(detail::extents(x)), [&] { layer.forward(dev, weights, x, y...); });
    };
    pad_input();
    view<T> x = at(input_);
    for (int l = 0; l < config_.levels; ++l) {
      auto const& block = layers.encoder[index(l)];
      through(block.conv1, x, at(encoded1_[index(l)]));
      through(block.conv2, at(encoded1_[index(l)]), skip(l), at(pooled_[index(l)]));
      x = at(pooled_[index(l)]);
    }
    through(layers.bottleneck->conv1, x, at(bottleneck1_));
    through(layers.bottleneck->conv2, at(bottleneck1_), at(bottleneck2_));
    x = at(bottleneck2_);
    for (int l = config_.levels - 1; l >= 0; --l) {
      auto const& block = layers.decoder[index(l)];
      through(block.up, x, upsampled(l));
      through(block.conv1, at(joined_[index(l)]), at(decoded1_[index(l)]));
      through(block.conv2, at(decoded1_[index(l)]), at(decoded2_[index(l)]));
      x = at(decoded2_[index(l)]);
    }
    view<T> const residual = config_.residual ? at(input_).channels(0, config_.out_channels) : view<T>{};
    run(layers.output->name(), "forward", layers.output->cost(detail::extents(x), false), [&] {
      if constexpr (!Device::is_host) {
        if (loss.loss) return layers.output->forward(dev, weights, picture(x), output(), picture(residual), loss);
      }
      layers.output->forward(dev, weights, x, at(output_), residual);
    });
  }

  /// The gradients of the parameters that backward computed: a flat array on the device like the network's weights,
  /// parameters().size() elements, padding zero; valid until the next forward. Throws argument_error in an inference
  /// session.
  accumulator_t<T>* gradients() const {
    check(mode_ == session_mode::training, "an inference session has no gradients; make one for training");
    return arena_.template at<accumulator_t<T>>(plan_.at(gradients_));
  }

  /// Computes gradients() from output_gradient(). Needs the forward pass just before it, its input and weights
  /// unchanged; leaves its activations overwritten. Throws argument_error in an inference session.
  void backward(unet<T, Device> const& net, gradient_of what = gradient_of::output) {
    auto* const gradients = this->gradients();
    auto const& layers = net.layers();
    T const* const weights = net.weights();
    Device& dev = *device_;
    // Where activations were, padding is whatever they left there.
    auto const clear_padding_of = [&](auto const& layer) {
      parameter_slice const s = layer.slice();
      if (s.padded) dev.fill_zero(gradients + s.begin, static_cast<std::size_t>(s.end - s.begin) * sizeof *gradients);
    };
    view<T> const of_sums = at(output_gradient_);
    clear_padding(of_sums);
    if (what == gradient_of::output) {
      run(output_function, "data gradient", traffic_of(of_sums, 3),
          [&] { layers.output->backward_function(dev, at(output_), of_sums); });
    }
    view<T> const last = at(decoded2_[0]);
    run(layers.output->name(), "both gradients", layers.output->cost(detail::extents(last), true), [&] {
      clear_padding_of(*layers.output);
      layers.output->backward(dev, weights, last, of_sums, last, true, gradients, false);
    });
    auto const to_parameters = [&](auto const& layer, view<T> x, view<T> gradient) {
      run(layer.name(), "weight gradient", layer.cost(detail::extents(x)), [&] {
        clear_padding_of(layer);
        layer.backward_parameters(dev, x, gradient, gradients, false);
      });
    };
    auto const to_data = [&](auto const& layer, view<T> gradient, view<T> dx, view<T const> mask) {
      run(layer.name(), "data gradient", layer.cost(detail::extents(dx)),
          [&] { layer.backward_data(dev, weights, gradient, dx, mask); });
    };
    // Each buffer that dx overwrites is also the layer's input and the mask of the ReLU that made it.
    auto const through = [&](auto const& layer, view<T> x, view<T> gradient) {
      to_parameters(layer, x, gradient);
      to_data(layer, gradient, x, x);
    };
    for (int l = 0; l < config_.levels; ++l) {
      auto const& block = layers.decoder[index(l)];
      view<T> const joined = at(joined_[index(l)]);
      through(block.conv2, at(decoded1_[index(l)]), at(decoded2_[index(l)]));
      to_parameters(block.conv1, joined, at(decoded1_[index(l)]));
      run(pool_name(l), "codes", traffic_of(skip(l), 1 + 0.25 / sizeof(T)),  // not y, which forward has made before
          [&] { pool_.encode(dev, skip(l), codes(l), at(pooled_again_[index(l)])); });
      to_data(block.conv1, at(decoded1_[index(l)]), joined, {});
      view<T> const below = l + 1 < config_.levels ? at(decoded2_[index(l + 1)]) : at(bottleneck2_);
      through(block.up, below, upsampled(l));
    }
    view<T> const deepest = at(pooled_again_[index(config_.levels - 1)]);
    through(layers.bottleneck->conv2, at(bottleneck1_), at(bottleneck2_));
    to_parameters(layers.bottleneck->conv1, deepest, at(bottleneck1_));
    to_data(layers.bottleneck->conv1, at(bottleneck1_), deepest, {});
    for (int l = config_.levels - 1; l >= 0; --l) {
      auto const& block = layers.encoder[index(l)];
      run(pool_name(l), "data gradient", traffic_of(skip(l), 2.25 + 0.25 / sizeof(T)),
          [&] { pool_.backward_into_skip(dev, codes(l), at(pooled_again_[index(l)]), skip(l)); });
      view<T> const x = l ? at(pooled_again_[index(l - 1)]) : at(input_);
      view<T> const encoded = l ? at(encoded1_[index(l)]) : at(encoded_again_);
      if (!l) {
        run(block.conv1.name(), "forward again", block.conv1.cost(detail::extents(x)),
            [&] { block.conv1.forward(dev, weights, x, encoded); });
      }
      through(block.conv2, encoded, skip(l));
      to_parameters(block.conv1, x, encoded);
      if (l) to_data(block.conv1, encoded, x, {});
    }
  }

  /// Whether forward takes a loss: in training, on a GPU, for few output channels.
  bool computes_loss() const {
    return mode_ == session_mode::training && output_layer_is_fused<Device>({config_.base, config_.out_channels});
  }
  unet_config const& config() const { return config_; }
  unetdn::shape shape() const { return {n_, h_, w_, config_.in_channels}; }
  Device& device() const { return *device_; }
  memory_plan const& plan() const { return plan_; }
  /// Bytes of the device's scratch memory that this session's layers need.
  std::size_t scratch_bytes() const { return scratch_bytes_; }
  /// Prints the memory in use: `state_bytes` (weights, moments: the caller's), activations, scratch.
  void print_memory(std::ostream& out, std::size_t state_bytes, bool every_item = false) const {
    print_plan(out, plan_, state_bytes, scratch_bytes_, every_item);
  }

 private:
  struct only_plan {};
  unet_session(only_plan, Device& dev, unet_config const& config, int n, int h, int w, session_mode mode)
      : device_{&dev}, config_{config}, mode_{mode}, n_{n}, h_{h}, w_{w} {
    config.validate();
    check(n >= 1 && h >= 1 && w >= 1, "a session needs at least one picture of one pixel, not ", n, " of ", h, " x ",
          w);
    check(std::int64_t(n) * h * w <= (std::int64_t(1) << 30), "a session of ", n, " pictures of ", h, " x ", w,
          " is too large; use tiles");
    plan_buffers();
    plan_scratch();
  }
  memory_need need() const { return {0, plan_.total(), scratch_bytes_}; }

  /// Does one layer's work in one direction: named for profilers, then told to the observer.
  template <class F> void run(std::string const& layer, char const* pass, op_cost cost, F&& work) const {
    {
      profile_range<Device> const range(layer);
      work();
    }
    if (observer_) observer_({layer, pass, cost.flops, cost.bytes});
  }
  /// So many elements read and written for each one of x, and no operations to speak of.
  static op_cost traffic_of(view<T> x, double elements) { return {0, elements * double(x.size()) * sizeof(T)}; }
  static std::string pool_name(int l) { return text("encoder.", l, ".pool"); }
  static inline std::string const output_function = "output.function";

  struct activation {
    int item = -1;
    unetdn::shape shape;
  };
  static std::size_t index(int l) { return static_cast<std::size_t>(l); }
  view<T> at(activation const& a) const {
    return {arena_.template at<T>(plan_.at(a.item)), a.shape.n, a.shape.h, a.shape.w, a.shape.c};
  }
  /// Without the padding.
  view<T> picture(view<T> padded) const { return padded.crop(0, 0, h_, w_); }
  view<T> skip(int l) const { return at(joined_[index(l)]).channels(0, config_.width(l)); }
  view<window_code> codes(int l) const {
    activation const& a = codes_[index(l)];
    return {arena_.template at<window_code>(plan_.at(a.item)), a.shape.n, a.shape.h, a.shape.w, a.shape.c};
  }
  view<T> upsampled(int l) const { return at(joined_[index(l)]).channels(config_.width(l), config_.width(l)); }

  // Steps are numbered in the order of forward; the backward pass of step s is step 2 last + 1 - s.
  void plan_buffers() {
    int const levels = config_.levels;
    int const output = 5 * levels + 2;
    auto const encode = [](int l) { return 2 * l; };  // conv1, conv2 with pooling; the bottleneck is level `levels`
    auto const decode = [&](int l) { return 2 * levels + 2 + 3 * (levels - 1 - l); };  // up, conv1, conv2
    auto const back = [&](int step) { return 2 * output + 1 - step; };
    bool const training = mode_ == session_mode::training;
    auto const alive = [&](std::string const& name, int l, int c, int first, int last) {
      int const rows = round_up(h_, config_.multiple()) >> l;
      int const columns = round_up(w_, config_.multiple()) >> l;
      unetdn::shape const s{n_, rows, columns, c};
      std::size_t const bytes = static_cast<std::size_t>(s.size()) * sizeof(T);
      return activation{plan_.add(name, memory_kind::activations, bytes, first, last), s};
    };
    // From its producer to its last reader in forward, and in training until its producer's backward is done.
    auto const live = [&](std::string const& name, int l, int c, int first, int last_forward) {
      return alive(name, l, c, first, training ? back(first) : last_forward);
    };
    input_ = live("input", 0, config_.input_width(), 0, config_.residual ? output : 0);
    for (int l = 0; l < levels; ++l) {
      std::string const level = text('.', l);
      int const c = config_.width(l);
      encoded1_.push_back(l ? live("encoded1" + level, l, c, encode(l), encode(l) + 1)
                            : alive("encoded1" + level, l, c, encode(l), encode(l) + 1));
      joined_.push_back(live("joined" + level, l, 2 * c, encode(l) + 1, decode(l) + 1));
      pooled_.push_back(alive("pooled" + level, l + 1, c, encode(l) + 1, encode(l + 1)));
      decoded1_.push_back(live("decoded1" + level, l, c, decode(l) + 1, decode(l) + 2));
      decoded2_.push_back(live("decoded2" + level, l, c, decode(l) + 2, decode(l) + 3));
      if (training) {
        activation codes{-1, max_pool2d_code_shape(encoded1_.back().shape)};
        codes.item = plan_.add("codes" + level, memory_kind::activations, static_cast<std::size_t>(codes.shape.size()),
                               back(decode(l) + 1), back(encode(l) + 1));
        codes_.push_back(codes);
        pooled_again_.push_back(alive("pooled" + level + " again", l + 1, c, back(decode(l) + 1), back(encode(l) + 1)));
      }
    }
    bottleneck1_ = live("bottleneck1", levels, config_.width(levels), encode(levels), encode(levels) + 1);
    bottleneck2_ = live("bottleneck2", levels, config_.width(levels), encode(levels) + 1, encode(levels) + 2);
    output_ = live("output", 0, config_.out_channels, output, output);
    if (training) encoded_again_ = alive("encoded1.0 again", 0, config_.base, back(encode(0) + 1), back(encode(0)));
    if (training) {
      output_gradient_ = alive("output_gradient", 0, config_.out_channels, output, back(-1));
      // They are alive until the update, which follows the last backward step.
      std::vector<memory_plan::part> parts;
      auto const written = [&](auto const& layer, int step) {
        parameter_slice const s = layer.slice();
        auto const place = [](std::int64_t element) {
          return static_cast<std::size_t>(element) * sizeof(accumulator_t<T>);
        };
        parts.push_back({place(s.begin), place(s.end), back(step), back(-1)});
      };
      unet_layers<T, Device> const layers(config_);
      for (int l = 0; l <= levels; ++l) {
        auto const& block = l < levels ? layers.encoder[index(l)] : *layers.bottleneck;
        written(block.conv1, encode(l));
        written(block.conv2, encode(l) + 1);
      }
      for (int l = 0; l < levels; ++l) {
        auto const& block = layers.decoder[index(l)];
        written(block.up, decode(l));
        written(block.conv1, decode(l) + 1);
        written(block.conv2, decode(l) + 2);
      }
      written(*layers.output, output);
      gradients_ = plan_.add("gradients of parameters", memory_kind::activations, std::move(parts));
    }
    plan_.place(Device::alignment, Device::red_zone);
  }

  void plan_scratch() {
    bool const training = mode_ == session_mode::training;
    auto const conv = [&](int in, int out, int kernel, activation const& x) {
      unetdn::shape s = x.shape;
      s.c = in;
      // The arena's buffers and their halves are aligned: a base is a multiple of 8.
      scratch_bytes_ =
          std::max(scratch_bytes_, conv2d_scratch_bytes<T>(*device_, conv2d_shape{in, out, kernel}, s, training, true));
    };
    int const levels = config_.levels;
    for (int l = 0; l <= levels; ++l) {
      int const c = config_.width(l);
      activation const& inside = l < levels ? encoded1_[index(l)] : bottleneck1_;
      conv(l ? config_.width(l - 1) : config_.input_width(), c, 3, inside);
      conv(c, c, 3, inside);
      if (l == levels) continue;
      conv(2 * c, c, 3, inside);
      unetdn::shape below = inside.shape;
      below.h /= 2, below.w /= 2, below.c = 2 * c;
      scratch_bytes_ = std::max(scratch_bytes_, conv_transpose2d_scratch_bytes<T>(
                                                    *device_, conv_transpose2d_shape{2 * c, c}, below, training, true));
    }
    unetdn::shape const last{n_, output_.shape.h, output_.shape.w, config_.base};
    output_layer_shape const s{config_.base, config_.out_channels};
    scratch_bytes_ = std::max(scratch_bytes_, output_layer_scratch_bytes<T>(*device_, s, last, training));
  }

  /// Fills what padding added to the picture with its reflection.
  void pad_input() {
    view<T> const padded = at(input_);
    int const rows = padded.h - h_;
    int const columns = padded.w - w_;
    if (columns) copy_reflected<T>(*device_, picture(padded), padded.crop(0, w_, h_, columns), 0, -w_);
    if (rows) copy_reflected<T>(*device_, picture(padded), padded.crop(h_, 0, rows, padded.w), -h_, 0);
  }

  /// No gradient comes from what is cropped away.
  void clear_padding(view<T> dy) {
    if (dy.w > w_) fill(*device_, dy.crop(0, w_, h_, dy.w - w_), 0);
    if (dy.h > h_) fill(*device_, dy.crop(h_, 0, dy.h - h_, dy.w), 0);
  }

  Device* device_;
  unet_config config_;
  session_mode mode_;
  int n_, h_, w_;
  memory_plan plan_;
  arena<Device> arena_;
  std::size_t scratch_bytes_ = 0;
  activation input_, encoded_again_, bottleneck1_, bottleneck2_, output_, output_gradient_;
  std::vector<activation> encoded1_, joined_, pooled_, pooled_again_, decoded1_, decoded2_, codes_;
  int gradients_ = -1;  // their number in the plan
  std::function<void(layer_event const&)> observer_;
  max_pool2d<T, Device> pool_;
};

}  // namespace unetdn
