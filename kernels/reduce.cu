// SPDX-License-Identifier: Apache-2.0
#include <unetdn/devices/cuda_launch.cuh>
#include <unetdn/kernels/reduce.hpp>

namespace unetdn {
template void launch(cuda&, extent3, kernels::sum_partials<float> const&);
template void launch(cuda&, extent3, kernels::sum_partials<bf16> const&);
template void launch(cuda&, extent3, kernels::sum_partials<fp16> const&);
template void launch(cuda&, extent3, kernels::add_partials const&);
}  // namespace unetdn
