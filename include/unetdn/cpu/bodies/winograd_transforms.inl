// SPDX-License-Identifier: Apache-2.0
// The linear maps of Winograd's F(4x4,3x3). Included by bodies/all.inl.
//
// The points are 0, +-1/sqrt(2), +-sqrt(2) and infinity: rounding errors grow less than with 0, +-1, +-2. In one
// dimension, y = A^T [(G w) * (B^T x)] with (s = sqrt(2))
//         1  0   -5/2  0    1  0                1     0     0
//         0 -s   -2    s/2  1  0              -2/3  -s/3  -1/3            1  1    1    1   1   0
//   B^T = 0  s   -2   -s/2  1  0        G =   -2/3   s/3  -1/3      A^T = 0  s/2 -s/2  s  -s   0
//         0 -s/2 -1/2  s    1  0               1/6   s/6   1/3            0  1/2  1/2  2   2   0
//         0  s/2 -1/2 -s    1  0               1/6  -s/6   1/3            0  s/4 -s/4  2s -2s  1
//         0  1    0   -5/2  0  1                0     0     1
// The gradients use their transposes. Each function maps one line of vectors; in two dimensions columns come first.

template <class T> inline constexpr T root2 = T(1.41421356237309504880);

/// B^T d: six inputs.
template <class T> inline void winograd_bt(vec<T> const (&d)[6], vec<T> (&o)[6]) {
  vec<T> const even1 = d[4] - T(2) * d[2];
  vec<T> const odd1 = T(0.5) * d[3] - d[1];
  vec<T> const even2 = d[4] - T(0.5) * d[2];
  vec<T> const odd2 = d[3] - T(0.5) * d[1];
  o[0] = d[0] - T(2.5) * d[2] + d[4];
  o[1] = even1 + root2<T> * odd1;
  o[2] = even1 - root2<T> * odd1;
  o[3] = even2 + root2<T> * odd2;
  o[4] = even2 - root2<T> * odd2;
  o[5] = d[1] - T(2.5) * d[3] + d[5];
}

/// A^T m: four outputs.
template <class T> inline void winograd_at(vec<T> const (&m)[6], vec<T> (&o)[4]) {
  vec<T> const sum1 = m[1] + m[2], difference1 = m[1] - m[2];
  vec<T> const sum2 = m[3] + m[4], difference2 = m[3] - m[4];
  o[0] = m[0] + sum1 + sum2;
  o[1] = root2<T> * (T(0.5) * difference1 + difference2);
  o[2] = T(0.5) * sum1 + T(2) * sum2;
  o[3] = root2<T> * (T(0.25) * difference1 + T(2) * difference2) + m[5];
}

/// A y: four gradients of outputs.
template <class T> inline void winograd_a(vec<T> const (&y)[4], vec<T> (&o)[6]) {
  vec<T> const even1 = y[0] + T(0.5) * y[2];
  vec<T> const odd1 = y[1] + T(0.5) * y[3];
  vec<T> const even2 = y[0] + T(2) * y[2];
  vec<T> const odd2 = y[1] + T(2) * y[3];
  o[0] = y[0];
  o[1] = even1 + root2<T> / 2 * odd1;
  o[2] = even1 - root2<T> / 2 * odd1;
  o[3] = even2 + root2<T> * odd2;
  o[4] = even2 - root2<T> * odd2;
  o[5] = y[3];
}

/// G w: three weights.
template <class T> inline void winograd_g(vec<T> const (&w)[3], vec<T> (&o)[6]) {
  vec<T> const even1 = T(-2.0 / 3) * w[0] - T(1.0 / 3) * w[2];
  vec<T> const even2 = T(1.0 / 6) * w[0] + T(1.0 / 3) * w[2];
  o[0] = w[0];
  o[1] = even1 - root2<T> / 3 * w[1];
  o[2] = even1 + root2<T> / 3 * w[1];
  o[3] = even2 + root2<T> / 6 * w[1];
  o[4] = even2 - root2<T> / 6 * w[1];
  o[5] = w[2];
}

/// G^T u: three gradients of weights.
template <class T> inline void winograd_gt(vec<T> const (&u)[6], vec<T> (&o)[3]) {
  vec<T> const sum1 = u[1] + u[2], difference1 = u[1] - u[2];
  vec<T> const sum2 = u[3] + u[4], difference2 = u[3] - u[4];
  o[0] = u[0] - T(2.0 / 3) * sum1 + T(1.0 / 6) * sum2;
  o[1] = root2<T> / 6 * (difference2 - T(2) * difference1);
  o[2] = T(1.0 / 3) * (sum2 - sum1) + u[5];
}

/// Maps an In x In square of vectors to an Out x Out one: columns, then rows. get(row, col) gives, put(row, col, v)
/// takes.
template <class T, int In, int Out, class Line, class Get, class Put>
inline void winograd_square(Line line, Get get, Put put) {
  vec<T> half[Out][In], from[In], to[Out];
  UNETDN_UNROLL_TILE
  for (int c = 0; c < In; ++c) {
    UNETDN_UNROLL_TILE
    for (int r = 0; r < In; ++r) from[r] = get(r, c);
    line(from, to);
    UNETDN_UNROLL_TILE
    for (int r = 0; r < Out; ++r) half[r][c] = to[r];
  }
  UNETDN_UNROLL_TILE
  for (int r = 0; r < Out; ++r) {
    line(half[r], to);
    UNETDN_UNROLL_TILE
    for (int c = 0; c < Out; ++c) put(r, c, to[c]);
  }
}

/// Where one vector of channels of a square of pixels lies.
template <class T> struct window_pixels {
  T const* first;
  std::ptrdiff_t row, pixel;

  vec<T> at(int r, int c) const { return load(first + r * row + c * pixel); }
};

/// The Side x Side pixels from (row, col) on, channels c, c + 1, ...: in the picture itself, or where pixels or
/// channels are missing, in `copy`, with zeros in their place.
template <class T, int Side>
inline window_pixels<T> window_at(view<T const> const& x, int image, int row, int col, int c,
                                  vec<T> (&copy)[Side * Side]) {
  int const count = std::min(lanes<T>, x.c - c);
  if (row >= 0 && col >= 0 && row + Side <= x.h && col + Side <= x.w && count == lanes<T>)
    return {x.pixel(image, row, col) + c, std::ptrdiff_t(x.row_stride), std::ptrdiff_t(x.pixel_stride)};
  for (int r = 0; r < Side; ++r)
    for (int s = 0; s < Side; ++s) {
      bool const inside = row + r >= 0 && row + r < x.h && col + s >= 0 && col + s < x.w && count > 0;
      copy[r * Side + s] = inside ? load_part(x.pixel(image, row + r, col + s) + c, count) : vec<T>{};
    }
  return {reinterpret_cast<T const*>(copy), Side * lanes<T>, lanes<T>};
}

/// v[point][16] = B^T x B for one tile's window and one group of channels.
template <class T>
inline void transform_input(view<T const> const& x, winograd_tiles::place tile, int group, T* v, std::ptrdiff_t point) {
  vec<T> copy[winograd_points];
  for (int i = 0; i < group_channels; i += lanes<T>) {
    auto const window =
        window_at<T, winograd_window>(x, tile.image, tile.row - 1, tile.col - 1, group * group_channels + i, copy);
    winograd_square<T, 6, 6>(
        winograd_bt<T>, [&](int r, int c) { return window.at(r, c); },
        [&](int r, int c, vec<T> value) { store(v + (r * 6 + c) * point + i, value); });
  }
}

/// v[point][16] = A g A^T for one tile and one group of outputs; adds the tile's pixels to sum.
template <class T>
inline void transform_gradient(view<T const> const& g, winograd_tiles::place tile, int group, T* v,
                               std::ptrdiff_t point, vec<T> (&sum)[group_channels / lanes<T>]) {
  vec<T> copy[winograd_output * winograd_output];
  for (int i = 0; i < group_channels; i += lanes<T>) {
    auto const window =
        window_at<T, winograd_output>(g, tile.image, tile.row, tile.col, group * group_channels + i, copy);
    vec<T> total{};
    winograd_square<T, 4, 6>(
        winograd_a<T>,
        [&](int r, int c) {
          vec<T> const value = window.at(r, c);
          total += value;
          return value;
        },
        [&](int r, int c, vec<T> value) { store(v + (r * 6 + c) * point + i, value); });
    sum[i / lanes<T>] += total;
  }
}

/// u[point] = G w G^T for one vector of outputs.
template <class T> inline void transform_kernel(vec<T> const (&w)[9], T* u, std::ptrdiff_t point) {
  winograd_square<T, 3, 6>(
      winograd_g<T>, [&](int r, int c) { return w[r * 3 + c]; },
      [&](int r, int c, vec<T> value) { store(u + (r * 6 + c) * point, value); });
}

/// out[pixel][16] = A^T m A for one vector of outputs.
template <class T> inline void transform_output(T const* m, std::ptrdiff_t point, T* out) {
  winograd_square<T, 6, 4>(
      winograd_at<T>, [&](int r, int c) { return load(m + (r * 6 + c) * point); },
      [&](int r, int c, vec<T> value) { store(out + (r * 4 + c) * group_channels, value); });
}

/// w[tap] = G^T u G for one vector of outputs.
template <class T> inline void transform_sums(T const* u, std::ptrdiff_t point, vec<T> (&w)[9]) {
  winograd_square<T, 6, 3>(
      winograd_gt<T>, [&](int r, int c) { return load(u + (r * 6 + c) * point); },
      [&](int r, int c, vec<T> value) { w[r * 3 + c] = value; });
}
