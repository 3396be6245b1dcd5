// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

namespace unetdn {

/// What the gradient of max-pooling needs of a window of 2 x 2 pixels, a channel a byte. Bits 0 to 3: whether the
/// pixels, in row-major order, are above 0, which is also ReLU's mask. Bits 4 and 5: which of them is the first
/// maximum; they say nothing where the rim of the picture cuts the window.
using window_code = std::uint8_t;
/// The lowest bit of the maximum's place.
inline constexpr int window_code_place = 4;

}  // namespace unetdn
