// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cmath>
#include <cstddef>
#include <vector>

namespace unetdn::reference {

inline double l1(std::vector<double> const& y, std::vector<double> const& target) {
  double sum = 0;
  for (std::size_t i = 0; i < y.size(); ++i) sum += std::fabs(y[i] - target[i]);
  return sum / static_cast<double>(y.size());
}

inline double mse(std::vector<double> const& y, std::vector<double> const& target) {
  double sum = 0;
  for (std::size_t i = 0; i < y.size(); ++i) sum += std::pow(y[i] - target[i], 2);
  return sum / static_cast<double>(y.size());
}

/// SSIM of element (image, y, x, channel) of two batches [n][h][w][c]: sums over the 121 pixels of one window, which
/// begins there.
inline double ssim_at(std::vector<double> const& a, std::vector<double> const& b, std::size_t first, std::size_t width,
                      std::size_t channels) {
  double weights = 0, ma = 0, mb = 0, aa = 0, bb = 0, ab = 0;
  for (std::size_t i = 0; i < 121; ++i) {
    double const dy = static_cast<double>(i / 11) - 5, dx = static_cast<double>(i % 11) - 5;
    double const weight = std::exp(-(dy * dy + dx * dx) / (2 * 1.5 * 1.5));
    std::size_t const at = first + ((i / 11) * width + i % 11) * channels;
    weights += weight;
    ma += weight * a[at];
    mb += weight * b[at];
    aa += weight * a[at] * a[at];
    bb += weight * b[at] * b[at];
    ab += weight * a[at] * b[at];
  }
  ma /= weights;
  mb /= weights;
  double const va = aa / weights - ma * ma, vb = bb / weights - mb * mb, covariance = ab / weights - ma * mb;
  return (2 * ma * mb + 1e-4) * (2 * covariance + 9e-4) / ((ma * ma + mb * mb + 1e-4) * (va + vb + 9e-4));
}

inline double l1_ssim(std::vector<double> const& y, std::vector<double> const& target, std::size_t n, std::size_t h,
                      std::size_t w, std::size_t c) {
  double sum = 0;
  for (std::size_t image = 0; image < n; ++image)
    for (std::size_t row = 0; row + 11 <= h; ++row)
      for (std::size_t column = 0; column + 11 <= w; ++column)
        for (std::size_t channel = 0; channel < c; ++channel)
          sum += ssim_at(y, target, ((image * h + row) * w + column) * c + channel, w, c);
  return l1(y, target) + 0.1 * (1 - sum / static_cast<double>(n * (h - 10) * (w - 10) * c));
}

}  // namespace unetdn::reference
