// SPDX-License-Identifier: Apache-2.0
// The library is header-only; what takes the compiler longest may also be compiled once, here (target
// unetdn::compiled).
#include <unetdn/cpu/bodies.hpp>

namespace unetdn::cpu_bodies {

template body_table<float> const& bodies<float>();
template body_table<double> const& bodies<double>();
template winograd_table<float> const& winograd_bodies<float>();

}  // namespace unetdn::cpu_bodies
