// SPDX-License-Identifier: Apache-2.0
#include <unetdn/devices/cuda_launch.cuh>
#include <unetdn/kernels/adamw.hpp>

namespace unetdn {
template void launch(cuda&, extent3, kernels::begin_update const&);
template void launch(cuda&, extent3, kernels::decide_update const&);
template void launch(cuda&, extent3, kernels::squared_norm_partials const&);
template void launch(cuda&, extent3, kernels::adamw_update<float> const&);
template void launch(cuda&, extent3, kernels::adamw_update<bf16> const&);
template void launch(cuda&, extent3, kernels::adamw_update<fp16> const&);
}  // namespace unetdn
