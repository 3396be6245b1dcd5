// SPDX-License-Identifier: Apache-2.0
#include <unetdn/devices/cuda_launch.cuh>
#include <unetdn/kernels/sigmoid.hpp>

namespace unetdn {
template void launch(cuda&, extent3, kernels::sigmoid_forward<float> const&);
template void launch(cuda&, extent3, kernels::sigmoid_forward<bf16> const&);
template void launch(cuda&, extent3, kernels::sigmoid_forward<fp16> const&);
template void launch(cuda&, extent3, kernels::sigmoid_backward<float> const&);
template void launch(cuda&, extent3, kernels::sigmoid_backward<bf16> const&);
template void launch(cuda&, extent3, kernels::sigmoid_backward<fp16> const&);
}  // namespace unetdn
