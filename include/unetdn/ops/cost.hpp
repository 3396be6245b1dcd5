// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace unetdn {

/// What one run of an operation must at least do: floating-point operations (2 a multiply-add), and bytes read and
/// written where every operand moves once.
struct op_cost {
  double flops = 0, bytes = 0;
};

}  // namespace unetdn
