// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include <unetdn/core/arena.hpp>
#include <unetdn/core/random.hpp>
#include <unetdn/core/tensor.hpp>
#include <unetdn/layers/conv2d.hpp>
#include <unetdn/layers/conv_transpose2d.hpp>
#include <unetdn/layers/max_pool2d.hpp>
#include <unetdn/layers/output_layer.hpp>
#include <unetdn/safetensors.hpp>

namespace unetdn {

/// What stands behind the last convolution.
enum class unet_output { sigmoid, linear };

/// The shape of a U-Net. The defaults are the classic one (Ronneberger et al. 2015, with 'same' padding).
struct unet_config {
  int in_channels = 3;   ///< of the picture, without the noise map
  int out_channels = 3;  ///< at most in_channels where `residual`
  int base = 64;         ///< channels of the first level, a multiple of 8; they double with each level
  int levels = 4;        ///< number of poolings, 1 to 8
  bool bias = true;      ///< without biases a network generalises better across noise levels (Mohan et al. 2020)
  unet_output output = unet_output::sigmoid;
  bool residual = false;   ///< the network's output is added to its input; needs a linear output
  bool noise_map = false;  ///< one more input channel holds sigma / 255

  friend bool operator==(unet_config const&, unet_config const&) = default;

  /// Throws argument_error where the settings do not make a network.
  void validate() const {
    check(in_channels >= 1 && in_channels <= 64, "a U-Net takes 1 to 64 input channels, not ", in_channels);
    check(out_channels >= 1 && out_channels <= 64, "a U-Net gives 1 to 64 output channels, not ", out_channels);
    check(base >= 8 && base <= 1024 && base % 8 == 0, "the base of a U-Net is a multiple of 8 up to 1024, not ", base);
    check(levels >= 1 && levels <= 8, "a U-Net has 1 to 8 levels, not ", levels);
    check(std::int64_t(base) << levels <= 65536, "a base of ", base, " with ", levels, " levels is too wide");
    check(!residual || output == unet_output::linear,
          "a residual U-Net needs a linear output: a sigmoid's cannot be negative");
    check(!residual || out_channels <= in_channels, "a residual U-Net cannot have more outputs than inputs");
  }
  /// Channels of level `l`, 0 being the picture's resolution.
  int width(int l) const { return base << l; }
  /// Channels that the first convolution sees.
  int input_width() const { return in_channels + (noise_map ? 1 : 0); }
  /// Heights and widths are padded to a multiple of this.
  int multiple() const { return 1 << levels; }

  /// The settings as a weight file's metadata.
  std::map<std::string, std::string> to_metadata() const {
    auto const yes_no = [](bool b) { return b ? "true" : "false"; };
    return {{"unetdn.network", "unet"},
            {"unetdn.in_channels", text(in_channels)},
            {"unetdn.out_channels", text(out_channels)},
            {"unetdn.base", text(base)},
            {"unetdn.levels", text(levels)},
            {"unetdn.bias", yes_no(bias)},
            {"unetdn.output", output == unet_output::sigmoid ? "sigmoid" : "linear"},
            {"unetdn.residual", yes_no(residual)},
            {"unetdn.noise_map", yes_no(noise_map)}};
  }
  /// Reads them back. Throws file_error, which names `path`, where one is missing or does not fit.
  static unet_config from_metadata(std::map<std::string, std::string> const& metadata, std::string const& path);
};

inline unet_config unet_config::from_metadata(std::map<std::string, std::string> const& metadata,
                                              std::string const& path) {
  auto const get = [&](std::string const& key) -> std::string const& {
    auto const it = metadata.find("unetdn." + key);
    if (it == metadata.end()) {
      detail::refuse_contents(path, "not a weight file of unetdn: its metadata has no unetdn." + key);
    }
    return it->second;
  };
  auto const number = [&](std::string const& key) {
    std::string const& s = get(key);
    bool const digits = !s.empty() && s.size() <= 6 && s.find_first_not_of("0123456789") == std::string::npos;
    if (!digits) {
      detail::refuse_contents(path, text("its metadata has unetdn.", key, " = ", detail::in_quotes(s),
                                         ", which is no whole number below 1000000"));
    }
    return std::stoi(s);
  };
  auto const one_of = [&](std::string const& key, char const* yes, char const* no) {
    std::string const& s = get(key);
    if (s != yes && s != no) {
      detail::refuse_contents(
          path, text("its metadata has unetdn.", key, " = ", detail::in_quotes(s), " instead of ", yes, " or ", no));
    }
    return s == yes;
  };
  if (get("network") != "unet")
    detail::refuse_contents(path, "holds a network " + detail::in_quotes(get("network")) + ", not a U-Net");
  unet_config c;
  c.in_channels = number("in_channels");
  c.out_channels = number("out_channels");
  c.base = number("base");
  c.levels = number("levels");
  c.bias = one_of("bias", "true", "false");
  c.output = one_of("output", "sigmoid", "linear") ? unet_output::sigmoid : unet_output::linear;
  c.residual = one_of("residual", "true", "false");
  c.noise_map = one_of("noise_map", "true", "false");
  try {
    c.validate();
  } catch (argument_error const& e) {
    detail::refuse_contents(path, e.what());
  }
  return c;
}

/// The layers of a U-Net and where their parameters lie. Holds no memory.
template <class T, class Device> class unet_layers {
 public:
  struct encoder_block {
    conv2d<T, Device> conv1, conv2;
  };
  struct decoder_block {
    conv_transpose2d<T, Device> up;
    conv2d<T, Device> conv1, conv2;
  };

  explicit unet_layers(unet_config const& c) {
    c.validate();
    for (int l = 0; l < c.levels; ++l) encoder.push_back(block(c, text("encoder.", l), l));
    bottleneck.emplace(block(c, "bottleneck", c.levels));
    for (int l = 0; l < c.levels; ++l) {
      std::string const name = text("decoder.", l);
      conv_transpose2d<T, Device> up{parameters, name + ".up", {c.width(l + 1), c.width(l)}, c.bias};
      conv2d<T, Device> conv1{parameters, name + ".conv1", {2 * c.width(l), c.width(l), 3}, c.bias, true};
      conv2d<T, Device> conv2{parameters, name + ".conv2", {c.width(l), c.width(l), 3}, c.bias, true};
      decoder.push_back({up, conv1, conv2});
    }
    output.emplace(parameters, "output", output_layer_shape{c.base, c.out_channels}, c.bias,
                   c.output == unet_output::sigmoid);
  }

  parameter_list<Device> parameters;
  std::vector<encoder_block> encoder;  ///< by level
  std::optional<encoder_block> bottleneck;
  std::vector<decoder_block> decoder;  ///< by the level whose resolution they make
  std::optional<output_layer<T, Device>> output;

 private:
  encoder_block block(unet_config const& c, std::string const& name, int l) {
    int const in = l ? c.width(l - 1) : c.input_width();
    conv2d<T, Device> conv1{parameters, name + ".conv1", {in, c.width(l), 3}, c.bias, true};
    conv2d<T, Device> conv2{parameters, name + ".conv2", {c.width(l), c.width(l), 3}, c.bias, true};
    return {conv1, conv2};
  }
};

/// Floating-point operations of one forward pass over n pictures of h x w pixels, 2 a multiply-add: 96.35e9 for the
/// classic network and one picture of 256 x 256. A training step takes three times as many.
inline double unet_flops(unet_config const& c, int n, int h, int w) {
  c.validate();
  unetdn::shape x{n, round_up(h, c.multiple()), round_up(w, c.multiple()), 0};
  double flops = 0;
  auto const conv = [&](int in, int out, int kernel, int l) {
    flops += conv2d_cost({in, out, kernel}, {x.n, x.h >> l, x.w >> l, in}).flops;
  };
  for (int l = 0; l <= c.levels; ++l) {
    conv(l ? c.width(l - 1) : c.input_width(), c.width(l), 3, l);
    conv(c.width(l), c.width(l), 3, l);
    if (l == c.levels) continue;
    conv(2 * c.width(l), c.width(l), 3, l);
    conv(c.width(l), c.width(l), 3, l);
    unetdn::shape const below{x.n, x.h >> (l + 1), x.w >> (l + 1), c.width(l + 1)};
    flops += conv_transpose2d_cost({c.width(l + 1), c.width(l)}, below).flops;
  }
  conv(c.base, c.out_channels, 1, 0);
  return flops;
}

/// Adds every parameter of a flat array on the device to a file, as a tensor `prefix` + name in canonical form.
template <class Device, class T>
void write_parameters(Device& dev, parameter_list<Device> const& parameters, T const* flat, safetensors_writer& file,
                      std::string const& prefix) {
  for (parameter const& p : parameters) {
    std::vector<float> const values = download<float>(dev, p, flat);
    file.add(prefix + p.name, p.dimensions(), std::span<float const>(values));
  }
}

/// Throws file_error unless the file has every parameter as a tensor `prefix` + name of the right shape.
template <class Device>
void check_parameters(parameter_list<Device> const& parameters, safetensors_file const& file,
                      std::string const& prefix) {
  for (parameter const& p : parameters) {
    if (file.info(prefix + p.name).shape != p.dimensions()) {
      detail::refuse_contents(file.path(),
                              text("the tensor ", prefix, p.name, " has another shape than this network's"));
    }
  }
}

/// A tensor's values. Throws file_error where it is missing or holds one that is no finite number.
inline std::vector<float> finite_values(safetensors_file const& file, std::string const& name) {
  std::vector<float> values = file.floats(name);
  if (!std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); }))
    detail::refuse_contents(file.path(), text("the tensor ", name, " holds a value that is no finite number"));
  return values;
}

/// Reads every parameter from tensors `prefix` + name into a flat array on the device. Throws file_error where one is
/// missing or misshapen, before anything is written, and where a value is no finite number.
template <class Device, class T>
void read_parameters(Device& dev, parameter_list<Device> const& parameters, safetensors_file const& file,
                     std::string const& prefix, T* flat) {
  check_parameters(parameters, file, prefix);
  for (parameter const& p : parameters) {
    std::vector<float> const values = finite_values(file, prefix + p.name);
    upload(dev, p, std::span<float const>(values), flat);
  }
}

/// Draws the weights of a U-Net into a flat array on the device: normal, mean 0, variance 2 / fan_in for convolutions
/// followed by a ReLU and 1 / fan_in for the others; biases 0. A residual network's last convolution begins at 0, so
/// that the network begins as the identity: otherwise the first steps mostly unlearn what it adds at random, and narrow
/// networks lose channels on the way. Depends on configuration and seed alone. Source: He et al. 2015, "Delving deep
/// into rectifiers", equation 10; the zeros: Goyal et al. 2017, "Accurate, large minibatch SGD", section 5.1.
template <class Device, class T>
void draw_parameters(Device& dev, unet_config const& config, parameter_list<Device> const& parameters,
                     std::uint64_t seed, T* flat) {
  random_key const key{seed, 0, random_stream::weights};
  std::uint32_t sample = 0;
  for (parameter const& p : parameters) {
    std::vector<float> values(static_cast<std::size_t>(p.canonical_size()));
    bool const adds_nothing = config.residual && p.name.starts_with("output.");
    if (std::int64_t const fan_in = p.fan_in(); fan_in > 0 && !adds_nothing) {
      auto const* conv = std::get_if<conv2d_shape>(&p.kind);
      double const gain = conv && conv->kernel == 3 ? 2 : 1;
      float const deviation = static_cast<float>(std::sqrt(gain / static_cast<double>(fan_in)));
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = deviation * gaussian(key, sample, i);
    }
    upload(dev, p, std::span<float const>(values), flat);
    ++sample;
  }
}

/// Writes a weight file from a flat array on the device; `metadata` (provenance) is added to the configuration's. What
/// stood at `path` is replaced only when the new file is complete. Throws file_error.
template <class Device, class T>
void write_weights(Device& dev, unet_config const& config, parameter_list<Device> const& parameters, T const* flat,
                   std::filesystem::path const& path, std::map<std::string, std::string> const& metadata = {}) {
  safetensors_writer file;
  for (auto const& [key, value] : config.to_metadata()) file.metadata(key, value);
  for (auto const& [key, value] : metadata) file.metadata(key, value);
  write_parameters(dev, parameters, flat, file, "");
  file.write(path);
}

/// A U-Net's weights. Const, it may be shared between threads: what a computation needs beside the weights belongs to a
/// unet_session.
template <class T, class Device> class unet {
 public:
  /// All weights zero. Throws argument_error where `config` makes no network, out_of_memory.
  unet(Device& dev, unet_config const& config)
      : config_{config}, layers_{config}, weights_{dev, static_cast<std::size_t>(layers_.parameters.size())} {}

  /// Draws the weights as draw_parameters says.
  void initialise(Device& dev, std::uint64_t seed) {
    draw_parameters(dev, config_, layers_.parameters, seed, weights());
  }

  /// Reads a weight file. Throws file_error where it is missing, damaged, or not a U-Net's; out_of_memory.
  static unet load(Device& dev, std::filesystem::path const& path) {
    safetensors_file const file(path);
    unet_config const config = unet_config::from_metadata(file.metadata(), path.string());
    // A few words of metadata can ask for any amount of memory: what the file has must fit before it is allocated.
    unet_layers<T, Device> const layers(config);
    if (static_cast<int>(file.names().size()) != layers.parameters.count()) {
      detail::refuse_contents(path.string(), text("has ", file.names().size(), " tensors, but its network has ",
                                                  layers.parameters.count()));
    }
    check_parameters(layers.parameters, file, "");
    unet net(dev, config);
    read_parameters(dev, layers.parameters, file, "", net.weights());
    return net;
  }

  /// Writes a weight file, as write_weights does.
  void save(Device& dev, std::filesystem::path const& path,
            std::map<std::string, std::string> const& metadata = {}) const {
    write_weights(dev, config_, layers_.parameters, weights(), path, metadata);
  }

  unet_config const& config() const { return config_; }
  unet_layers<T, Device> const& layers() const { return layers_; }
  parameter_list<Device> const& parameters() const { return layers_.parameters; }
  /// Number of weights, without padding: 31,031,875 for the classic network.
  std::int64_t weight_count() const { return layers_.parameters.weight_count(); }
  /// All parameters in one flat array, parameters().size() elements.
  T* weights() { return weights_.data(); }
  T const* weights() const { return weights_.data(); }

 private:
  unet_config config_;
  unet_layers<T, Device> layers_;
  buffer<T, Device> weights_;
};

}  // namespace unetdn
