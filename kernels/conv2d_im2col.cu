// SPDX-License-Identifier: Apache-2.0
#include <unetdn/devices/cuda_launch.cuh>
#include <unetdn/kernels/conv2d_im2col.hpp>

namespace unetdn {
template void launch(cuda&, extent3, kernels::conv2d_im2col<bf16> const&);
template void launch(cuda&, extent3, kernels::conv2d_im2col<fp16> const&);
template void launch(cuda&, extent3, kernels::conv2d_im2col<tf32> const&);
template void launch(cuda&, extent3, kernels::conv2d_im2col<float> const&);
template void launch(cuda&, extent3, kernels::conv2d_weight_gradient_im2col<bf16> const&);
template void launch(cuda&, extent3, kernels::conv2d_weight_gradient_im2col<fp16> const&);
template void launch(cuda&, extent3, kernels::conv2d_weight_gradient_im2col<tf32> const&);
template void launch(cuda&, extent3, kernels::conv2d_weight_gradient_im2col<float> const&);
}  // namespace unetdn
