// SPDX-License-Identifier: Apache-2.0
// The definition of 2x2 max-pooling with stride 2, in double, on dense NHWC pictures.
#pragma once
#include <cstddef>
#include <vector>

namespace unetdn::reference {

struct max_pool2d {
  int n, h, w, c;

  std::size_t x_at(int i, int y, int x, int k) const { return ((std::size_t(i) * h + y) * w + x) * c + k; }
  std::size_t y_at(int i, int y, int x, int k) const { return ((std::size_t(i) * (h / 2) + y) * (w / 2) + x) * c + k; }
  std::size_t x_size() const { return std::size_t(n) * h * w * c; }
  std::size_t y_size() const { return std::size_t(n) * (h / 2) * (w / 2) * c; }

  /// Calls f(index of y, index of the first maximum in x) for every window.
  template <class F> void each_window(std::vector<double> const& x, F f) const {
    for (int i = 0; i < n; ++i)
      for (int oy = 0; oy < h / 2; ++oy)
        for (int ox = 0; ox < w / 2; ++ox)
          for (int k = 0; k < c; ++k) {
            std::size_t best = x_at(i, 2 * oy, 2 * ox, k);
            for (int r = 0; r < 2; ++r)
              for (int q = 0; q < 2; ++q) {
                std::size_t const here = x_at(i, 2 * oy + r, 2 * ox + q, k);
                if (x[here] > x[best]) best = here;
              }
            f(y_at(i, oy, ox, k), best);
          }
  }

  std::vector<double> forward(std::vector<double> const& x) const {
    std::vector<double> y(y_size());
    each_window(x, [&](std::size_t iy, std::size_t ix) { y[iy] = x[ix]; });
    return y;
  }
  std::vector<double> backward(std::vector<double> const& x, std::vector<double> const& dy) const {
    std::vector<double> dx(x_size());
    each_window(x, [&](std::size_t iy, std::size_t ix) { dx[ix] += dy[iy]; });
    return dx;
  }
  /// dx is what was there before: the gradient of a skip connection from x = relu(...).
  std::vector<double> backward_into_skip(std::vector<double> const& x, std::vector<double> const& dy,
                                         std::vector<double> dx) const {
    each_window(x, [&](std::size_t iy, std::size_t ix) { dx[ix] += dy[iy]; });
    for (std::size_t i = 0; i < dx.size(); ++i)
      if (!(x[i] > 0)) dx[i] = 0;
    return dx;
  }

  /// What window_code says, as numbers; a window that the rim cuts has its maximum at place 0.
  std::vector<double> codes(std::vector<double> const& x) const {
    int const rows = (h + 1) / 2, columns = (w + 1) / 2;
    std::vector<double> all(std::size_t(n) * rows * columns * c);
    auto const of = [&](int i, int y, int column, int k) -> double& {
      return all[((std::size_t(i) * rows + y / 2) * columns + column / 2) * c + k];
    };
    for (int i = 0; i < n; ++i)
      for (int y = 0; y < h; ++y)
        for (int column = 0; column < w; ++column)
          for (int k = 0; k < c; ++k)
            if (x[x_at(i, y, column, k)] > 0) of(i, y, column, k) += 1 << (y % 2 * 2 + column % 2);
    each_window(x, [&](std::size_t, std::size_t ix) {
      int const k = int(ix % c), column = int(ix / c % w), y = int(ix / c / w % h), i = int(ix / c / w / h);
      of(i, y, column, k) += 16 * (y % 2 * 2 + column % 2);
    });
    return all;
  }
};

}  // namespace unetdn::reference
