// SPDX-License-Identifier: Apache-2.0
// All bodies for one instruction set. bodies.hpp includes this file once for each, inside a namespace and under a
// target pragma of its own, with UNETDN_VECTOR_BYTES and UNETDN_TILE_PIXELS set. So nothing here may include a header:
// its functions would be compiled for that instruction set, and the linker might then pick them for everyone.
#include <unetdn/cpu/bodies/vector.inl>
//
#include <unetdn/cpu/bodies/pack.inl>
//
#include <unetdn/cpu/bodies/activations.inl>
#include <unetdn/cpu/bodies/correlate.inl>
#include <unetdn/cpu/bodies/loss.inl>
#include <unetdn/cpu/bodies/noise.inl>
#include <unetdn/cpu/bodies/pool.inl>
#include <unetdn/cpu/bodies/update.inl>
#include <unetdn/cpu/bodies/weight_gradient.inl>
//
#include <unetdn/cpu/bodies/winograd_transforms.inl>
//
#include <unetdn/cpu/bodies/winograd.inl>
#include <unetdn/cpu/bodies/winograd_weight_gradient.inl>

template <class Table> inline constexpr Table table{};

template <class T> inline constexpr forward_bodies<T> table<forward_bodies<T>>{correlate<T>, pool_forward_row<T>};

template <class T> inline constexpr activation_bodies<T> table<activation_bodies<T>>{relu_of_run<T>, sigmoid_of_run<T>};

template <> inline constexpr noise_bodies table<noise_bodies>{gaussian_blocks};

template <class T>
inline constexpr loss_bodies<T> table<loss_bodies<T>>{filter_rows<T>, multiply_rows<T>, differentiate_ssim<T>,
                                                      collect_ssim<T>, compare_rows<T>};

template <class T>
inline constexpr gradient_bodies<T> table<gradient_bodies<T>>{sum_weight_gradient<T>,  sum_parts<T>,
                                                              transpose_weights<T>,    pool_backward_row<T>,
                                                              pool_encode_row<T>,      pool_backward_into_skip_row<T>,
                                                              update_weights<T>,       squared_norm<T>,
                                                              relu_gradient_of_run<T>, sigmoid_gradient_of_run<T>};

template <class T>
inline constexpr winograd_bodies<T> table<winograd_bodies<T>>{share_weights<T>, correlate_tiles<T>, share_input<T>,
                                                              correlate_outputs_of_panel<T>};

template <class T>
inline constexpr winograd_gradient_bodies<T> table<winograd_gradient_bodies<T>>{sum_chunk<T>, transform_round<T>,
                                                                                add_round<T>};
