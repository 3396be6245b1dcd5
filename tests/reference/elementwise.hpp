// SPDX-License-Identifier: Apache-2.0
// Element-wise operations by their definition, in double, on dense NHWC pictures.
#pragma once
#include <cstddef>
#include <vector>

namespace unetdn::reference {

inline std::vector<double> add(std::vector<double> const& x, std::vector<double> y) {
  for (std::size_t i = 0; i < y.size(); ++i) y[i] += x[i];
  return y;
}

/// Walks from 0 to `position` and turns round at each border.
inline int reflect(int position, int n) {
  if (n == 1) return 0;
  int at = 0;
  int direction = 1;
  for (int steps = position < 0 ? -position : position; steps > 0; --steps) {
    if (at + direction < 0 || at + direction >= n) direction = -direction;
    at += direction;
  }
  return at;  // the walk to -position passes the mirror images of the walk to position: the same places
}

/// y[n][i][j] = x[n][reflect(i - top)][reflect(j - left)] for x[n,h,w,c], y[n,p,q,c].
inline std::vector<double> copy_reflected(std::vector<double> const& x, int n, int h, int w, int c, int p, int q,
                                          int top, int left) {
  std::vector<double> y;
  for (int image = 0; image < n; ++image)
    for (int i = 0; i < p; ++i)
      for (int j = 0; j < q; ++j)
        for (int k = 0; k < c; ++k) {
          int const row = reflect(i - top, h);
          int const column = reflect(j - left, w);
          y.push_back(x[static_cast<std::size_t>(((image * h + row) * w + column) * c + k)]);
        }
  return y;
}

}  // namespace unetdn::reference
