// SPDX-License-Identifier: Apache-2.0
// The definition of a convolution, in double, one loop an index. Pictures are dense NHWC, weights (out, in, k, k).
#pragma once
#include <cstddef>
#include <vector>

namespace unetdn::reference {

struct conv2d {
  int n, h, w, in, out, kernel, stride;

  int padding() const { return kernel == 2 ? 0 : (kernel - 1) / 2; }
  int oh() const { return kernel == 2 ? h / 2 : (h + stride - 1) / stride; }
  int ow() const { return kernel == 2 ? w / 2 : (w + stride - 1) / stride; }
  std::size_t x_at(int i, int y, int x, int c) const { return ((std::size_t(i) * h + y) * w + x) * in + c; }
  std::size_t y_at(int i, int y, int x, int k) const { return ((std::size_t(i) * oh() + y) * ow() + x) * out + k; }
  std::size_t w_at(int k, int c, int r, int q) const { return ((std::size_t(k) * in + c) * kernel + r) * kernel + q; }
  std::size_t x_size() const { return std::size_t(n) * h * w * in; }
  std::size_t y_size() const { return std::size_t(n) * oh() * ow() * out; }
  std::size_t w_size() const { return std::size_t(out) * in * kernel * kernel; }

  /// Calls f(index of x, index of y, index of w) for every product of the convolution.
  template <class F> void each_product(F f) const {
    for (int i = 0; i < n; ++i)
      for (int oy = 0; oy < oh(); ++oy)
        for (int ox = 0; ox < ow(); ++ox)
          for (int r = 0; r < kernel; ++r)
            for (int q = 0; q < kernel; ++q) {
              int const y = oy * stride + r - padding();
              int const x = ox * stride + q - padding();
              if (y < 0 || y >= h || x < 0 || x >= w) continue;
              for (int k = 0; k < out; ++k)
                for (int c = 0; c < in; ++c) f(x_at(i, y, x, c), y_at(i, oy, ox, k), w_at(k, c, r, q));
            }
  }

  std::vector<double> forward(std::vector<double> const& x, std::vector<double> const& weights,
                              std::vector<double> const& bias) const {
    std::vector<double> y(y_size());
    for (std::size_t i = 0; i < y.size(); ++i) y[i] = bias.empty() ? 0 : bias[i % out];
    each_product([&](std::size_t ix, std::size_t iy, std::size_t iw) { y[iy] += x[ix] * weights[iw]; });
    return y;
  }
  std::vector<double> backward_data(std::vector<double> const& dy, std::vector<double> const& weights) const {
    std::vector<double> dx(x_size());
    each_product([&](std::size_t ix, std::size_t iy, std::size_t iw) { dx[ix] += dy[iy] * weights[iw]; });
    return dx;
  }
  std::vector<double> backward_weights(std::vector<double> const& x, std::vector<double> const& dy) const {
    std::vector<double> dw(w_size());
    each_product([&](std::size_t ix, std::size_t iy, std::size_t iw) { dw[iw] += x[ix] * dy[iy]; });
    return dw;
  }
  std::vector<double> backward_bias(std::vector<double> const& dy) const {
    std::vector<double> db(out);
    for (std::size_t i = 0; i < dy.size(); ++i) db[i % out] += dy[i];
    return db;
  }
};

}  // namespace unetdn::reference
