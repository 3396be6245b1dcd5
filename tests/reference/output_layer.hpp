// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cmath>
#include <cstddef>
#include <vector>

namespace unetdn::reference {

/// y = f(w x + b) in each of `pixels` pixels, x [pixel][in], w [out][in], y [pixel][out].
struct output_layer {
  std::size_t pixels, in, out;

  /// w x + b; an empty bias is zero.
  std::vector<double> sums(std::vector<double> const& x, std::vector<double> const& w,
                           std::vector<double> const& b) const {
    std::vector<double> y;
    for (std::size_t p = 0; p < pixels; ++p) {
      for (std::size_t k = 0; k < out; ++k) {
        double sum = b.empty() ? 0 : b[k];
        for (std::size_t c = 0; c < in; ++c) sum += w[k * in + c] * x[p * in + c];
        y.push_back(sum);
      }
    }
    return y;
  }

  /// Zero where `mask` and x is not above zero.
  std::vector<double> backward_data(std::vector<double> const& g, std::vector<double> const& w,
                                    std::vector<double> const& x, bool mask) const {
    std::vector<double> dx(pixels * in);
    for (std::size_t p = 0; p < pixels; ++p) {
      for (std::size_t c = 0; c < in; ++c) {
        if (mask && !(x[p * in + c] > 0)) continue;
        for (std::size_t k = 0; k < out; ++k) dx[p * in + c] += w[k * in + c] * g[p * out + k];
      }
    }
    return dx;
  }
  std::vector<double> backward_weights(std::vector<double> const& g, std::vector<double> const& x) const {
    std::vector<double> dw(out * in);
    for (std::size_t p = 0; p < pixels; ++p)
      for (std::size_t k = 0; k < out; ++k)
        for (std::size_t c = 0; c < in; ++c) dw[k * in + c] += g[p * out + k] * x[p * in + c];
    return dw;
  }
  std::vector<double> backward_bias(std::vector<double> const& g) const {
    std::vector<double> db(out);
    for (std::size_t i = 0; i < g.size(); ++i) db[i % out] += g[i];
    return db;
  }
};

}  // namespace unetdn::reference
