// SPDX-License-Identifier: Apache-2.0
#include <unetdn/devices/cuda_launch.cuh>
#include <unetdn/kernels/loss.hpp>

namespace unetdn {
template void launch(cuda&, extent3, kernels::loss_gradient<float> const&);
template void launch(cuda&, extent3, kernels::loss_gradient<bf16> const&);
template void launch(cuda&, extent3, kernels::loss_gradient<fp16> const&);
template void launch(cuda&, extent3, kernels::ssim_gradient<float> const&);
template void launch(cuda&, extent3, kernels::ssim_gradient<bf16> const&);
template void launch(cuda&, extent3, kernels::ssim_gradient<fp16> const&);
}  // namespace unetdn
