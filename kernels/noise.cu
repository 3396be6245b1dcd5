// SPDX-License-Identifier: Apache-2.0
#include <unetdn/devices/cuda_launch.cuh>
#include <unetdn/kernels/noise.hpp>

namespace unetdn {
template void launch(cuda&, extent3, kernels::add_noise<float> const&);
template void launch(cuda&, extent3, kernels::add_noise<bf16> const&);
template void launch(cuda&, extent3, kernels::add_noise<fp16> const&);
template void launch(cuda&, extent3, kernels::noisy_batch<float> const&);
template void launch(cuda&, extent3, kernels::noisy_batch<bf16> const&);
template void launch(cuda&, extent3, kernels::noisy_batch<fp16> const&);
}  // namespace unetdn
