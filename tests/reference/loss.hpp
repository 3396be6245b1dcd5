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

/// SSIM's part of l1_ssim beside L1's 1.
inline constexpr double ssim_part = 0.3;

inline double l1_ssim(std::vector<double> const& y, std::vector<double> const& target, std::size_t n, std::size_t h,
                      std::size_t w, std::size_t c) {
  double sum = 0;
  for (std::size_t image = 0; image < n; ++image)
    for (std::size_t row = 0; row + 11 <= h; ++row)
      for (std::size_t column = 0; column + 11 <= w; ++column)
        for (std::size_t channel = 0; channel < c; ++channel)
          sum += ssim_at(y, target, ((image * h + row) * w + column) * c + channel, w, c);
  return l1(y, target) + ssim_part * (1 - sum / static_cast<double>(n * (h - 10) * (w - 10) * c));
}

/// d l1 / dy.
inline std::vector<double> l1_gradient(std::vector<double> const& y, std::vector<double> const& target) {
  std::vector<double> dy;
  for (std::size_t i = 0; i < y.size(); ++i)
    dy.push_back((y[i] > target[i] ? 1.0 : y[i] < target[i] ? -1.0 : 0.0) / static_cast<double>(y.size()));
  return dy;
}

/// d mse / dy.
inline std::vector<double> mse_gradient(std::vector<double> const& y, std::vector<double> const& target) {
  std::vector<double> dy;
  for (std::size_t i = 0; i < y.size(); ++i) dy.push_back(2 * (y[i] - target[i]) / static_cast<double>(y.size()));
  return dy;
}

/// Adds factor times the derivative of ssim_at to the gradient of a, pixel by pixel of the window, from
///   d mean = w,  d variance = 2 w (a - mean a),  d covariance = w (b - mean b).
inline void add_ssim_derivative(std::vector<double> const& a, std::vector<double> const& b, std::size_t first,
                                std::size_t width, std::size_t channels, double factor, std::vector<double>& gradient) {
  double weight[121], ma = 0, mb = 0, va = 0, vb = 0, covariance = 0, weights = 0;
  auto const at = [&](std::size_t i) { return first + ((i / 11) * width + i % 11) * channels; };
  for (std::size_t i = 0; i < 121; ++i) {
    double const y = static_cast<double>(i / 11) - 5, x = static_cast<double>(i % 11) - 5;
    weight[i] = std::exp(-(y * y + x * x) / 4.5);
    weights += weight[i];
  }
  for (std::size_t i = 0; i < 121; ++i) {
    weight[i] /= weights;
    ma += weight[i] * a[at(i)];
    mb += weight[i] * b[at(i)];
  }
  for (std::size_t i = 0; i < 121; ++i) {
    va += weight[i] * (a[at(i)] - ma) * (a[at(i)] - ma);
    vb += weight[i] * (b[at(i)] - mb) * (b[at(i)] - mb);
    covariance += weight[i] * (a[at(i)] - ma) * (b[at(i)] - mb);
  }
  double const means = 2 * ma * mb + 1e-4, structure = 2 * covariance + 9e-4;
  double const of_means = ma * ma + mb * mb + 1e-4, of_variances = va + vb + 9e-4;
  double const denominator = of_means * of_variances, similarity = means * structure / denominator;
  for (std::size_t i = 0; i < 121; ++i) {
    double const above = 2 * mb * structure + means * 2 * (b[at(i)] - mb);
    double const below = 2 * ma * of_variances + of_means * 2 * (a[at(i)] - ma);
    gradient[at(i)] += factor * weight[i] * (above - similarity * below) / denominator;
  }
}

/// d l1_ssim / dy.
inline std::vector<double> l1_ssim_gradient(std::vector<double> const& y, std::vector<double> const& target,
                                            std::size_t n, std::size_t h, std::size_t w, std::size_t c) {
  std::vector<double> gradient = l1_gradient(y, target);
  double const factor = -ssim_part / static_cast<double>(n * (h - 10) * (w - 10) * c);
  for (std::size_t image = 0; image < n; ++image)
    for (std::size_t row = 0; row + 11 <= h; ++row)
      for (std::size_t column = 0; column + 11 <= w; ++column)
        for (std::size_t channel = 0; channel < c; ++channel)
          add_ssim_derivative(y, target, ((image * h + row) * w + column) * c + channel, w, c, factor, gradient);
  return gradient;
}

}  // namespace unetdn::reference
