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
}  // namespace unetdn
