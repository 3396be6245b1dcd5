// SPDX-License-Identifier: Apache-2.0
#include <unetdn/devices/cuda_launch.cuh>
#include <unetdn/kernels/relu.hpp>

namespace unetdn {
template void launch(cuda&, extent3, kernels::relu_forward<float> const&);
template void launch(cuda&, extent3, kernels::relu_forward<bf16> const&);
template void launch(cuda&, extent3, kernels::relu_forward<fp16> const&);
template void launch(cuda&, extent3, kernels::relu_backward<float> const&);
template void launch(cuda&, extent3, kernels::relu_backward<bf16> const&);
template void launch(cuda&, extent3, kernels::relu_backward<fp16> const&);
}  // namespace unetdn
