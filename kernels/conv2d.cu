// SPDX-License-Identifier: Apache-2.0
#include <unetdn/devices/cuda_launch.cuh>
#include <unetdn/kernels/conv2d.hpp>

namespace unetdn {
template void launch(cuda&, extent3, kernels::conv2d_halo<bf16, 64, false> const&);
template void launch(cuda&, extent3, kernels::conv2d_halo<bf16, 32, false> const&);
template void launch(cuda&, extent3, kernels::conv2d_halo<fp16, 64, false> const&);
template void launch(cuda&, extent3, kernels::conv2d_halo<fp16, 32, false> const&);
template void launch(cuda&, extent3, kernels::conv2d_halo<tf32, 64, false> const&);
template void launch(cuda&, extent3, kernels::conv2d_halo<tf32, 32, false> const&);
template void launch(cuda&, extent3, kernels::conv2d_halo<float, 64, false> const&);
template void launch(cuda&, extent3, kernels::conv2d_halo<float, 32, false> const&);
template void launch(cuda&, extent3, kernels::conv2d_halo<bf16, 64, true> const&);
template void launch(cuda&, extent3, kernels::conv2d_halo<bf16, 32, true> const&);
template void launch(cuda&, extent3, kernels::conv2d_halo<fp16, 64, true> const&);
template void launch(cuda&, extent3, kernels::conv2d_halo<fp16, 32, true> const&);
template void launch(cuda&, extent3, kernels::conv2d_halo<tf32, 64, true> const&);
template void launch(cuda&, extent3, kernels::conv2d_halo<tf32, 32, true> const&);
template void launch(cuda&, extent3, kernels::conv2d_halo<float, 64, true> const&);
template void launch(cuda&, extent3, kernels::conv2d_halo<float, 32, true> const&);
}  // namespace unetdn
