// SPDX-License-Identifier: Apache-2.0
#include <unetdn/devices/cuda_launch.cuh>
#include <unetdn/kernels/conv2d_warpgroup.hpp>

namespace unetdn {
template void launch(cuda&, extent3, kernels::conv2d_warpgroup<bf16, 128, false> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup<bf16, 64, false> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup<fp16, 128, false> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup<fp16, 64, false> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup<bf16, 128, true> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup<bf16, 64, true> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup<fp16, 128, true> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup<fp16, 64, true> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup_resident<bf16, 64, 64, false> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup_resident<bf16, 64, 32, false> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup_resident<bf16, 32, 64, false> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup_resident<bf16, 32, 32, false> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup_resident<bf16, 32, 16, false> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup_resident<bf16, 16, 32, false> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup_resident<bf16, 16, 16, false> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup_resident<fp16, 64, 64, false> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup_resident<fp16, 64, 32, false> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup_resident<fp16, 32, 64, false> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup_resident<fp16, 32, 32, false> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup_resident<fp16, 32, 16, false> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup_resident<fp16, 16, 32, false> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup_resident<fp16, 16, 16, false> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup_resident<bf16, 64, 64, true> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup_resident<bf16, 64, 32, true> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup_resident<bf16, 32, 64, true> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup_resident<bf16, 32, 32, true> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup_resident<bf16, 32, 16, true> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup_resident<bf16, 16, 32, true> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup_resident<bf16, 16, 16, true> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup_resident<fp16, 64, 64, true> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup_resident<fp16, 64, 32, true> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup_resident<fp16, 32, 64, true> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup_resident<fp16, 32, 32, true> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup_resident<fp16, 32, 16, true> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup_resident<fp16, 16, 32, true> const&);
template void launch(cuda&, extent3, kernels::conv2d_warpgroup_resident<fp16, 16, 16, true> const&);
template void launch(cuda&, extent3, kernels::conv2d_weight_gradient_warpgroup<bf16, 64> const&);
template void launch(cuda&, extent3, kernels::conv2d_weight_gradient_warpgroup<bf16, 32> const&);
template void launch(cuda&, extent3, kernels::conv2d_weight_gradient_warpgroup<fp16, 64> const&);
template void launch(cuda&, extent3, kernels::conv2d_weight_gradient_warpgroup<fp16, 32> const&);
}  // namespace unetdn
