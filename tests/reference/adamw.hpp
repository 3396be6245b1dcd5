// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cmath>
#include <cstddef>
#include <vector>

namespace unetdn::reference {

/// Algorithm 2 of Loshchilov and Hutter 2019, line by line, in double, with a moving average of the weights, and a
/// factor of each weight's rate.
struct adamw {
  double beta1, beta2, epsilon, weight_decay;
  std::vector<double> weights, average;
  std::vector<double> factors = std::vector<double>(weights.size(), 1);
  std::vector<double> m = std::vector<double>(weights.size());
  std::vector<double> v = std::vector<double>(weights.size());
  int t = 0;

  void step(std::vector<double> const& gradient, double rate, double gradient_scale, double average_decay) {
    ++t;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      double const g = gradient[i] * gradient_scale;
      m[i] = beta1 * m[i] + (1 - beta1) * g;
      v[i] = beta2 * v[i] + (1 - beta2) * g * g;
      double const m_hat = m[i] / (1 - std::pow(beta1, t));
      double const v_hat = v[i] / (1 - std::pow(beta2, t));
      double const own_rate = rate * factors[i];
      double const decay = own_rate * weight_decay * weights[i];
      weights[i] -= own_rate * m_hat / (std::sqrt(v_hat) + epsilon) + decay;
      average[i] = average_decay * average[i] + (1 - average_decay) * weights[i];
    }
  }
};

}  // namespace unetdn::reference
