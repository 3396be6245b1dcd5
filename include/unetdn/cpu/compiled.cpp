// SPDX-License-Identifier: Apache-2.0
// The library is header-only; what takes the compiler longest may also be compiled once, here (target
// unetdn::compiled).
#include <unetdn/cpu/bodies.hpp>

namespace unetdn::cpu_bodies {

template forward_bodies<float> const& bodies();
template forward_bodies<double> const& bodies();
template activation_bodies<float> const& bodies();
template activation_bodies<double> const& bodies();
template noise_bodies const& bodies();
template loss_bodies<float> const& bodies();
template loss_bodies<double> const& bodies();
template gradient_bodies<float> const& bodies();
template gradient_bodies<double> const& bodies();
template winograd_bodies<float> const& bodies();
template winograd_gradient_bodies<float> const& bodies();

}  // namespace unetdn::cpu_bodies
