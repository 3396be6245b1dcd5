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
// The gradients use their transposes. Each function maps one line of vectors; in two dimensions columns come first. No
// result is a bare product: what it is added to next would decide whether it is rounded.

template <class T> inline constexpr T root2 = T(1.41421356237309504880);

/// B^T d: six inputs.
template <class T> struct winograd_bt {
  UNETDN_ALWAYS_INLINE void operator()(vec<T> const (&d)[6], vec<T> (&o)[6]) const {
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
};

/// A^T m: four outputs.
template <class T> struct winograd_at {
  UNETDN_ALWAYS_INLINE void operator()(vec<T> const (&m)[6], vec<T> (&o)[4]) const {
    vec<T> const sum1 = m[1] + m[2], difference1 = m[1] - m[2];
    vec<T> const sum2 = m[3] + m[4], difference2 = m[3] - m[4];
    o[0] = m[0] + sum1 + sum2;
    o[1] = rounded<T>(root2<T> * (T(0.5) * difference1 + difference2));
    o[2] = T(0.5) * sum1 + T(2) * sum2;
    o[3] = root2<T> * (T(0.25) * difference1 + T(2) * difference2) + m[5];
  }
};

/// A y: four gradients of outputs.
template <class T> struct winograd_a {
  UNETDN_ALWAYS_INLINE void operator()(vec<T> const (&y)[4], vec<T> (&o)[6]) const {
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
};

/// G w: three weights.
template <class T> struct winograd_g {
  UNETDN_ALWAYS_INLINE void operator()(vec<T> const (&w)[3], vec<T> (&o)[6]) const {
    vec<T> const third = rounded<T>(T(1.0 / 3) * w[2]);
    vec<T> const even1 = T(-2.0 / 3) * w[0] - third;
    vec<T> const even2 = T(1.0 / 6) * w[0] + third;
    o[0] = w[0];
    o[1] = even1 - root2<T> / 3 * w[1];
    o[2] = even1 + root2<T> / 3 * w[1];
    o[3] = even2 + root2<T> / 6 * w[1];
    o[4] = even2 - root2<T> / 6 * w[1];
    o[5] = w[2];
  }
};

/// G^T u: three gradients of weights.
template <class T> struct winograd_gt {
  UNETDN_ALWAYS_INLINE void operator()(vec<T> const (&u)[6], vec<T> (&o)[3]) const {
    vec<T> const sum1 = u[1] + u[2], difference1 = u[1] - u[2];
    vec<T> const sum2 = u[3] + u[4], difference2 = u[3] - u[4];
    o[0] = u[0] - T(2.0 / 3) * sum1 + T(1.0 / 6) * sum2;
    o[1] = rounded<T>(root2<T> / 6 * (difference2 - T(2) * difference1));
    o[2] = T(1.0 / 3) * (sum2 - sum1) + u[5];
  }
};

/// Maps an In x In square of groups of channels to an Out x Out one: columns, then rows. get(row, col, vector) gives,
/// put(row, col, vector, v) takes. Between them the square lies in memory: 16 registers would not hold it, and loops
/// that stay rolled keep addresses in registers (`kernels --benchmark_filter=conv2d`).
template <class T, int In, int Out, class Line, class Get, class Put>
UNETDN_ALWAYS_INLINE void winograd_square(Line line, Get const& get, Put const& put) {
  UNETDN_SQUARE_LOOP
  for (int v = 0; v < group_vectors<T>; ++v) {
    vec<T> half[In][Out];
    UNETDN_SQUARE_LOOP
    for (int c = 0; c < In; ++c) {
      vec<T> from[In];
      UNETDN_UNROLL_TILE
      for (int r = 0; r < In; ++r) from[r] = get(r, c, v);
      line(from, half[c]);
    }
    UNETDN_SQUARE_LOOP
    for (int r = 0; r < Out; ++r) {
      vec<T> from[In], to[Out];
      UNETDN_UNROLL_TILE
      for (int c = 0; c < In; ++c) from[c] = half[c][r];
      line(from, to);
      UNETDN_UNROLL_TILE
      for (int c = 0; c < Out; ++c) put(r, c, v, to[c]);
    }
  }
}

/// A group of channels of Side x Side pixels from (row, col) on; there are zeros where the picture has no pixel or no
/// channel.
template <class T, int Side> struct window {
  T const* first;
  std::ptrdiff_t row_stride, pixel_stride;
  int channels;         // that exist
  unsigned rows, cols;  // bit i: whether the picture has row or column i

  window(view<T const> const& x, int image, int row, int col, int c)
      : first{x.pixel(image, row, col) + c},
        row_stride{x.row_stride},
        pixel_stride{x.pixel_stride},
        channels{std::min(group_channels, x.c - c)},
        rows{inside(row, x.h)},
        cols{inside(col, x.w)} {}

  bool whole() const { return rows == all && cols == all && channels == group_channels; }
  T const* at(int r, int c, int v) const { return first + r * row_stride + c * pixel_stride + v * lanes<T>; }
  vec<T> part(int r, int c, int v) const {
    unsigned const rows_here = cols >> c & 1 ? rows : 0;
    if (!(rows_here & 1u << r)) return vec<T>{};
    return channels == group_channels ? load(at(r, c, v)) : load_part(at(r, c, v), channels - v * lanes<T>);
  }

 private:
  static constexpr unsigned all = (1u << Side) - 1;
  static unsigned inside(int begin, int extent) {
    unsigned const from = begin < 0 ? all << -begin : all;
    return begin + Side > extent ? from & all >> (begin + Side - extent) : from & all;
  }
};

/// How far ahead a tile's pixels are fetched while others are transformed: its rows lie too far apart for the
/// processor's own guesses.
inline constexpr int tiles_ahead = 4;

/// Brings four columns of a group of channels, from (row, col) on, to the second-level cache.
template <class T>
UNETDN_ALWAYS_INLINE void fetch_columns(view<T const> const& x, int image, int row, int col, int rows, int group) {
  T const* const first = x.pixel(image, row, col) + group * group_channels;
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < winograd_output; ++c)
      fetch_far_ahead(first + r * x.row_stride + c * x.pixel_stride, group_channels);
}
/// What transform_input() will read, but for the two columns that belong to the tile before as well.
template <class T>
UNETDN_ALWAYS_INLINE void fetch_input(view<T const> const& x, winograd_tiles::place tile, int group) {
  fetch_columns(x, tile.image, tile.row - 1, tile.col + 1, winograd_window, group);
}
/// What transform_gradient() will read.
template <class T>
UNETDN_ALWAYS_INLINE void fetch_gradient(view<T const> const& g, winograd_tiles::place tile, int group) {
  fetch_columns(g, tile.image, tile.row, tile.col, winograd_output, group);
}

/// v[point][16] = B^T x B for one tile's window and one group of channels.
template <class T>
inline void transform_input(view<T const> const& x, winograd_tiles::place tile, int group, T* v, std::ptrdiff_t point) {
  window<T, winograd_window> const in{x, tile.image, tile.row - 1, tile.col - 1, group * group_channels};
  auto const put = [&](int r, int c, int i, vec<T> value) { store(v + (r * 6 + c) * point + i * lanes<T>, value); };
  if (in.whole())
    winograd_square<T, 6, 6>(
        winograd_bt<T>{}, [&](int r, int c, int i) { return load(in.at(r, c, i)); }, put);
  else
    winograd_square<T, 6, 6>(
        winograd_bt<T>{}, [&](int r, int c, int i) { return in.part(r, c, i); }, put);
}

/// v[point][16] = A g A^T for one tile and one group of outputs; adds the tile's pixels to sum.
template <class T>
inline void transform_gradient(view<T const> const& g, winograd_tiles::place tile, int group, T* v,
                               std::ptrdiff_t point, vec<T> (&sum)[group_vectors<T>]) {
  window<T, winograd_output> const in{g, tile.image, tile.row, tile.col, group * group_channels};
  bool const whole = in.whole();
  winograd_square<T, 4, 6>(
      winograd_a<T>{},
      [&](int r, int c, int i) {
        vec<T> const value = whole ? load(in.at(r, c, i)) : in.part(r, c, i);
        sum[i] += value;
        return value;
      },
      [&](int r, int c, int i, vec<T> value) { store(v + (r * 6 + c) * point + i * lanes<T>, value); });
}

/// u(row, col, vector) = G w G^T for a group of outputs; get(row, col, vector) gives w, put takes u.
template <class T, class Get, class Put> UNETDN_ALWAYS_INLINE void transform_kernel(Get const& get, Put const& put) {
  winograd_square<T, 3, 6>(winograd_g<T>{}, get, put);
}

/// y(row, col, vector) = A^T m A for a group of outputs; get gives m, put takes y.
template <class T, class Get, class Put> UNETDN_ALWAYS_INLINE void transform_output(Get const& get, Put const& put) {
  winograd_square<T, 6, 4>(winograd_at<T>{}, get, put);
}

/// w(row, col, vector) = G^T u G for a group of outputs; get gives u, put takes w.
template <class T, class Get, class Put> UNETDN_ALWAYS_INLINE void transform_sums(Get const& get, Put const& put) {
  winograd_square<T, 6, 3>(winograd_gt<T>{}, get, put);
}
