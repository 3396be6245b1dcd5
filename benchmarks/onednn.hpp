// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <string>
#include <vector>

#ifdef UNETDN_HAVE_ONEDNN
  #include <dnnl.hpp>
#endif
#if defined(UNETDN_HAVE_ONEDNN) && DNNL_VERSION_MAJOR == 2
  #define UNETDN_ONEDNN_PEERS 1
  #include <algorithm>
  #include <memory>
  #include <omp.h>
  #include <unordered_map>
#else
  #define UNETDN_ONEDNN_PEERS 0
#endif

// Peers of ours: oneDNN's 3x3 convolutions in the memory layouts that it chooses itself. In float, and forward in types
// of fewer bits too: they tell whether a body of ours in such a type could pay. Its interface of version 2, which is
// Debian 12's.
namespace benchmarks {

struct onednn_convolution {
  std::string name;  // algorithm/pass
  std::function<void()> pass;
};

#if UNETDN_ONEDNN_PEERS

inline std::string onednn_version() {
  dnnl_version_t const* const version = dnnl_version();
  return std::to_string(version->major) + '.' + std::to_string(version->minor) + '.' + std::to_string(version->patch);
}

namespace detail {

/// Runs a primitive on memory of its own.
template <class Primitive>
std::function<void()> runner(dnnl::engine const& engine, typename Primitive::primitive_desc const& what,
                             std::unordered_map<int, dnnl::memory::desc> const& layouts) {
  std::unordered_map<int, dnnl::memory> arguments;
  for (auto const& [argument, layout] : layouts) {
    dnnl::memory memory(layout, engine);
    if (layout.data_type() == dnnl::memory::data_type::f32)
      std::fill_n(static_cast<float*>(memory.get_data_handle()), layout.get_size() / sizeof(float), 0.5f);
    else  // some number in any type, and none that slows arithmetic down
      std::fill_n(static_cast<unsigned char*>(memory.get_data_handle()), layout.get_size(),
                  static_cast<unsigned char>(1));
    arguments.emplace(argument, memory);
  }
  return [primitive = Primitive(what), stream = dnnl::stream(engine), arguments]() mutable {
    primitive.execute(stream, arguments);
    stream.wait();
  };
}

}  // namespace detail

/// Those of oneDNN's direct and Winograd convolutions from c to k channels that it has for this processor: forward with
/// bias and ReLU, and both gradients; forward alone, directly, in bfloat16 and in 8-bit integers.
inline std::vector<onednn_convolution> onednn_convolutions(int threads, int n, int h, int w, int c, int k) {
  using namespace dnnl;
  using dims = memory::dims;
  omp_set_num_threads(threads);
  engine const cpu(engine::kind::cpu, 0);
  auto const any = [](dims const& extents) {
    return memory::desc(extents, memory::data_type::f32, memory::format_tag::any);
  };
  memory::desc const x = any({n, c, h, w}), weights = any({k, c, 3, 3}), bias = any({k}), y = any({n, k, h, w});
  dims const one{1, 1};
  primitive_attr with_relu;
  post_ops relu;
  relu.append_eltwise(1, algorithm::eltwise_relu, 0, 0);
  with_relu.set_post_ops(relu);

  std::vector<onednn_convolution> all;
  for (bool const winograd : {false, true}) {
    auto const how = winograd ? algorithm::convolution_winograd : algorithm::convolution_direct;
    std::string const name = winograd ? "winograd" : "direct";
    convolution_forward::primitive_desc const forward(
        {prop_kind::forward_training, how, x, weights, bias, y, one, one, one}, with_relu, cpu, true);
    if (!forward) continue;
    all.push_back({name + "/forward", detail::runner<convolution_forward>(cpu, forward,
                                                                          {{DNNL_ARG_SRC, forward.src_desc()},
                                                                           {DNNL_ARG_WEIGHTS, forward.weights_desc()},
                                                                           {DNNL_ARG_BIAS, forward.bias_desc()},
                                                                           {DNNL_ARG_DST, forward.dst_desc()}})});
    convolution_forward::primitive_desc const hint(
        {prop_kind::forward_training, how, x, weights, bias, y, one, one, one}, cpu);
    convolution_backward_data::primitive_desc const data({how, x, weights, y, one, one, one}, cpu, hint, true);
    if (data)
      all.push_back({name + "/backward_data",
                     detail::runner<convolution_backward_data>(cpu, data,
                                                               {{DNNL_ARG_DIFF_SRC, data.diff_src_desc()},
                                                                {DNNL_ARG_WEIGHTS, data.weights_desc()},
                                                                {DNNL_ARG_DIFF_DST, data.diff_dst_desc()}})});
    convolution_backward_weights::primitive_desc const gradient({how, x, weights, bias, y, one, one, one}, cpu, hint,
                                                                true);
    if (gradient)
      all.push_back({name + "/backward_weights", detail::runner<convolution_backward_weights>(
                                                     cpu, gradient,
                                                     {{DNNL_ARG_SRC, gradient.src_desc()},
                                                      {DNNL_ARG_DIFF_WEIGHTS, gradient.diff_weights_desc()},
                                                      {DNNL_ARG_DIFF_BIAS, gradient.diff_bias_desc()},
                                                      {DNNL_ARG_DIFF_DST, gradient.diff_dst_desc()}})});
  }

  struct narrow_types {
    char const* name;
    memory::data_type x, weights, y;
  };
  using type = memory::data_type;
  for (narrow_types const& types :
       {narrow_types{"bf16", type::bf16, type::bf16, type::bf16}, {"int8", type::u8, type::s8, type::u8}}) {
    auto const in = [](memory::desc const& like, type t) {
      return memory::desc(like.dims(), t, memory::format_tag::any);
    };
    convolution_forward::primitive_desc const forward(
        {prop_kind::forward_inference, algorithm::convolution_direct, in(x, types.x), in(weights, types.weights), bias,
         in(y, types.y), one, one, one},
        with_relu, cpu, true);
    if (!forward) continue;
    all.push_back({std::string(types.name) + "/forward",
                   detail::runner<convolution_forward>(cpu, forward,
                                                       {{DNNL_ARG_SRC, forward.src_desc()},
                                                        {DNNL_ARG_WEIGHTS, forward.weights_desc()},
                                                        {DNNL_ARG_BIAS, forward.bias_desc()},
                                                        {DNNL_ARG_DST, forward.dst_desc()}})});
  }
  return all;
}

#else

inline std::string onednn_version() { return "no version 2 found: no rows of it"; }
/// None.
inline std::vector<onednn_convolution> onednn_convolutions(int, int, int, int, int, int) { return {}; }

#endif

}  // namespace benchmarks
