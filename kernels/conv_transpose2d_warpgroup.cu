// SPDX-License-Identifier: Apache-2.0
#include <unetdn/devices/cuda_launch.cuh>
#include <unetdn/kernels/conv_transpose2d_warpgroup.hpp>

namespace unetdn {
template void launch(cuda&, extent3, kernels::conv_transpose2d_warpgroup<bf16, false> const&);
template void launch(cuda&, extent3, kernels::conv_transpose2d_warpgroup<fp16, false> const&);
template void launch(cuda&, extent3, kernels::conv_transpose2d_warpgroup<bf16, true> const&);
template void launch(cuda&, extent3, kernels::conv_transpose2d_warpgroup<fp16, true> const&);
template void launch(cuda&, extent3, kernels::conv_transpose2d_weight_gradient_warpgroup<bf16> const&);
template void launch(cuda&, extent3, kernels::conv_transpose2d_weight_gradient_warpgroup<fp16> const&);
}  // namespace unetdn
