// SPDX-License-Identifier: Apache-2.0
#include <unetdn/devices/cuda_launch.cuh>
#include <unetdn/kernels/conv_transpose2d.hpp>

namespace unetdn {
template void launch(cuda&, extent3, kernels::conv_transpose2d_forward<float> const&);
template void launch(cuda&, extent3, kernels::conv_transpose2d_forward<tf32> const&);
template void launch(cuda&, extent3, kernels::conv_transpose2d_forward<bf16> const&);
template void launch(cuda&, extent3, kernels::conv_transpose2d_forward<fp16> const&);
template void launch(cuda&, extent3, kernels::conv_transpose2d_backward_data<float> const&);
template void launch(cuda&, extent3, kernels::conv_transpose2d_backward_data<tf32> const&);
template void launch(cuda&, extent3, kernels::conv_transpose2d_backward_data<bf16> const&);
template void launch(cuda&, extent3, kernels::conv_transpose2d_backward_data<fp16> const&);
template void launch(cuda&, extent3, kernels::conv_transpose2d_weight_gradient<float> const&);
template void launch(cuda&, extent3, kernels::conv_transpose2d_weight_gradient<tf32> const&);
template void launch(cuda&, extent3, kernels::conv_transpose2d_weight_gradient<bf16> const&);
template void launch(cuda&, extent3, kernels::conv_transpose2d_weight_gradient<fp16> const&);
}  // namespace unetdn
