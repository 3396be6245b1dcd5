// SPDX-License-Identifier: Apache-2.0
#include <unetdn/devices/cuda_launch.cuh>
#include <unetdn/kernels/elementwise.hpp>

namespace unetdn {
template void launch(cuda&, extent3, kernels::convert<float, float> const&);
template void launch(cuda&, extent3, kernels::convert<bf16, bf16> const&);
template void launch(cuda&, extent3, kernels::convert<fp16, fp16> const&);
template void launch(cuda&, extent3, kernels::convert<float, bf16> const&);
template void launch(cuda&, extent3, kernels::convert<bf16, float> const&);
template void launch(cuda&, extent3, kernels::convert<float, fp16> const&);
template void launch(cuda&, extent3, kernels::convert<fp16, float> const&);
template void launch(cuda&, extent3, kernels::add<float> const&);
template void launch(cuda&, extent3, kernels::add<bf16> const&);
template void launch(cuda&, extent3, kernels::add<fp16> const&);
template void launch(cuda&, extent3, kernels::fill<float> const&);
template void launch(cuda&, extent3, kernels::fill<bf16> const&);
template void launch(cuda&, extent3, kernels::fill<fp16> const&);
template void launch(cuda&, extent3, kernels::copy_reflected<float> const&);
template void launch(cuda&, extent3, kernels::copy_reflected<bf16> const&);
template void launch(cuda&, extent3, kernels::copy_reflected<fp16> const&);
}  // namespace unetdn
