// SPDX-License-Identifier: Apache-2.0
#include <unetdn/devices/cuda_launch.cuh>
#include <unetdn/kernels/max_pool2d.hpp>

namespace unetdn {
template void launch(cuda&, extent3, kernels::max_pool2d_forward<float> const&);
template void launch(cuda&, extent3, kernels::max_pool2d_forward<bf16> const&);
template void launch(cuda&, extent3, kernels::max_pool2d_forward<fp16> const&);
template void launch(cuda&, extent3, kernels::max_pool2d_backward<float> const&);
template void launch(cuda&, extent3, kernels::max_pool2d_backward<bf16> const&);
template void launch(cuda&, extent3, kernels::max_pool2d_backward<fp16> const&);
template void launch(cuda&, extent3, kernels::max_pool2d_encode<float> const&);
template void launch(cuda&, extent3, kernels::max_pool2d_encode<bf16> const&);
template void launch(cuda&, extent3, kernels::max_pool2d_encode<fp16> const&);
template void launch(cuda&, extent3, kernels::max_pool2d_backward_into_skip<float> const&);
template void launch(cuda&, extent3, kernels::max_pool2d_backward_into_skip<bf16> const&);
template void launch(cuda&, extent3, kernels::max_pool2d_backward_into_skip<fp16> const&);
}  // namespace unetdn
