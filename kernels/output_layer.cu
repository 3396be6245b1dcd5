// SPDX-License-Identifier: Apache-2.0
#include <unetdn/devices/cuda_launch.cuh>
#include <unetdn/kernels/output_layer.hpp>

namespace unetdn {
template void launch(cuda&, extent3, kernels::output_layer_forward<float, 1> const&);
template void launch(cuda&, extent3, kernels::output_layer_forward<float, 3> const&);
template void launch(cuda&, extent3, kernels::output_layer_forward<bf16, 1> const&);
template void launch(cuda&, extent3, kernels::output_layer_forward<bf16, 3> const&);
template void launch(cuda&, extent3, kernels::output_layer_forward<fp16, 1> const&);
template void launch(cuda&, extent3, kernels::output_layer_forward<fp16, 3> const&);
template void launch(cuda&, extent3, kernels::output_layer_backward<float, 1> const&);
template void launch(cuda&, extent3, kernels::output_layer_backward<float, 3> const&);
template void launch(cuda&, extent3, kernels::output_layer_backward<bf16, 1> const&);
template void launch(cuda&, extent3, kernels::output_layer_backward<bf16, 3> const&);
template void launch(cuda&, extent3, kernels::output_layer_backward<fp16, 1> const&);
template void launch(cuda&, extent3, kernels::output_layer_backward<fp16, 3> const&);
}  // namespace unetdn
