// SPDX-License-Identifier: Apache-2.0
#include <unetdn/devices/cuda_launch.cuh>
#include <unetdn/kernels/conv2d_weight_gradient.hpp>

namespace unetdn {
template void launch(cuda&, extent3, kernels::conv2d_weight_gradient_halo<bf16, 64, 32> const&);
template void launch(cuda&, extent3, kernels::conv2d_weight_gradient_halo<bf16, 16, 32> const&);
template void launch(cuda&, extent3, kernels::conv2d_weight_gradient_halo<bf16, 16, 16> const&);
template void launch(cuda&, extent3, kernels::conv2d_weight_gradient_halo<fp16, 64, 32> const&);
template void launch(cuda&, extent3, kernels::conv2d_weight_gradient_halo<fp16, 16, 32> const&);
template void launch(cuda&, extent3, kernels::conv2d_weight_gradient_halo<fp16, 16, 16> const&);
template void launch(cuda&, extent3, kernels::conv2d_weight_gradient_halo<tf32, 64, 32> const&);
template void launch(cuda&, extent3, kernels::conv2d_weight_gradient_halo<tf32, 16, 32> const&);
template void launch(cuda&, extent3, kernels::conv2d_weight_gradient_halo<tf32, 16, 16> const&);
template void launch(cuda&, extent3, kernels::conv2d_weight_gradient_halo<float, 64, 32> const&);
template void launch(cuda&, extent3, kernels::conv2d_weight_gradient_halo<float, 16, 32> const&);
template void launch(cuda&, extent3, kernels::conv2d_weight_gradient_halo<float, 16, 16> const&);
template void launch(cuda&, extent3, kernels::conv2d_weight_gradient_gather<bf16> const&);
template void launch(cuda&, extent3, kernels::conv2d_weight_gradient_gather<fp16> const&);
template void launch(cuda&, extent3, kernels::conv2d_weight_gradient_gather<tf32> const&);
template void launch(cuda&, extent3, kernels::conv2d_weight_gradient_gather<float> const&);
template void launch(cuda&, extent3, kernels::add_parts const&);
}  // namespace unetdn
