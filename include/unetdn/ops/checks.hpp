// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <type_traits>

#include <unetdn/core/shape.hpp>
#include <unetdn/core/view.hpp>
#include <unetdn/devices/cpu.hpp>

// What all operations share: their choice of a device's bodies, and checks of shapes.

namespace unetdn::detail {

/// Whether an operation runs the cpu's bodies; otherwise it launches kernels.
template <class Device> inline constexpr bool is_cpu = std::is_same_v<Device, cpu>;

/// Extents of a window.
template <class T> unetdn::shape extents(view<T> const& x) { return {x.n, x.h, x.w, x.c}; }

/// Throws argument_error unless the window has these extents.
template <class T> void check_extents(char const* op, char const* name, view<T> const& v, unetdn::shape expected) {
  check(extents(v) == expected, op, ": ", name, " is ", to_string(extents(v)), "; it must be ", to_string(expected));
}

/// Throws argument_error unless the two windows have equal extents.
template <class A, class B> void check_same_shape(char const* op, view<A> const& a, view<B> const& b) {
  check(same_shape(a, b), op, ": windows of ", to_string(extents(a)), " and ", to_string(extents(b)),
        " must have the same shape");
}

}  // namespace unetdn::detail
