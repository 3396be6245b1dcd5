// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cmath>
#include <string_view>
#include <vector>

#include <unetdn/ops/elementwise.hpp>

namespace unetdn {

/// What training minimises.
enum class loss_kind { l1, mse };

/// "l1" or "mse".
inline std::string_view to_string(loss_kind kind) { return kind == loss_kind::l1 ? "l1" : "mse"; }

/// The loss of that name. Throws argument_error for any other.
inline loss_kind parse_loss(std::string_view name) {
  check(name == "l1" || name == "mse", "unknown loss '", name, "'; use l1 or mse");
  return name == "l1" ? loss_kind::l1 : loss_kind::mse;
}

/// y and target read, dy written.
inline op_cost loss_cost(unetdn::shape y, std::size_t element_bytes = sizeof(float)) {
  return {4.0 * double(y.size()), 3.0 * double(y.size()) * double(element_bytes)};
}

/// The mean over all elements of |y - target| (l1) or (y - target)^2 (mse), and its gradient with respect to y:
///   dy = sign(y - target) / size  or  2 (y - target) / size.
/// y, target, dy [N,H,W,C]; dy may be y. The sum is taken in double over fixed chunks of rows: equal bits for any
/// number of threads. The gradient of l1 where y equals the target is 0. Throws argument_error where the shapes differ.
template <class T, class Device>
double loss_and_gradient(Device& dev, loss_kind kind, view<std::type_identity_t<T> const> y,
                         view<std::type_identity_t<T> const> target, view<T> dy) {
  static_assert(std::is_same_v<Device, cpu>, "loss_and_gradient runs on the cpu device only");
  detail::check_same_shape("loss", y, target);
  detail::check_same_shape("loss", y, dy);
  check(y.size() > 0, "loss: there is nothing to compare in windows of ", to_string(detail::extents(y)));
  double const elements = static_cast<double>(y.size());
  std::vector<double> rows(static_cast<std::size_t>(y.n) * static_cast<std::size_t>(y.h));
  detail::for_each_row(dev, y.n, y.h, std::int64_t(y.w) * y.c, [&](int image, int row) {
    double sum = 0;
    for (int column = 0; column < y.w; ++column) {
      T const* const a = y.pixel(image, row, column);
      T const* const b = target.pixel(image, row, column);
      T* const d = dy.pixel(image, row, column);
      for (int channel = 0; channel < y.c; ++channel) {
        T const difference = a[channel] - b[channel];
        if (kind == loss_kind::l1) {
          sum += std::abs(double(difference));
          d[channel] = T(double((difference > 0) - (difference < 0)) / elements);
        } else {
          sum += double(difference) * double(difference);
          d[channel] = T(2 * double(difference) / elements);
        }
      }
    }
    rows[static_cast<std::size_t>(image) * static_cast<std::size_t>(y.h) + static_cast<std::size_t>(row)] = sum;
  });
  double sum = 0;
  for (double row : rows) sum += row;
  return sum / elements;
}

}  // namespace unetdn
