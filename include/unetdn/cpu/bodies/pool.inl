// SPDX-License-Identifier: Apache-2.0
// 2x2 max-pooling, forward and backward. Included by bodies/all.inl.

/// The larger; NaN where either is.
template <class T> inline vec<T> larger(vec<T> a, vec<T> b) {
  auto const takes_b = (b > a) | (b != b);
  return takes_b ? b : a;
}

template <class T> void pool_forward_row(pool_forward<T> const& job, int unit) {
  view<T> const& y = job.y;
  int const image = unit / y.h, row = unit % y.h;
  for (int col = 0; col < y.w; ++col) {
    T const* const top = job.x.pixel(image, 2 * row, 2 * col);
    T const* const bottom = top + job.x.row_stride;
    std::int64_t const right = job.x.pixel_stride;
    T* const to = y.pixel(image, row, col);
    for (int c = 0; c < y.c; c += lanes<T>) {
      int const count = std::min(lanes<T>, y.c - c);
      vec<T> const upper = larger<T>(load_part(top + c, count), load_part(top + right + c, count));
      vec<T> const lower = larger<T>(load_part(bottom + c, count), load_part(bottom + right + c, count));
      store_part(to + c, larger<T>(upper, lower), count);
    }
  }
}

/// One pixel's gradient: what was there (where it accumulates) plus what came, masked by the activation.
template <class T>
inline void finish_gradient(pool_backward<T> const& job, vec<T> x, vec<T> scattered, T* dx, int count) {
  vec<T> d = job.accumulate ? load_part(dx, count) + scattered : scattered;
  if (job.relu_mask) d = x > T(0) ? d : vec<T>{};
  store_part(dx, d, count);
}

template <class T> inline void unpool_window(pool_backward<T> const& job, int image, int row, int col) {
  std::ptrdiff_t const right = job.x.pixel_stride, down = job.x.row_stride;
  std::ptrdiff_t const dx_right = job.dx.pixel_stride, dx_down = job.dx.row_stride;
  T const* const from = job.x.pixel(image, 2 * row, 2 * col);
  T const* const dy = job.dy.pixel(image, row, col);
  T* const dx = job.dx.pixel(image, 2 * row, 2 * col);
  each_vector<T>(job.x.c, [&](int c, int count) UNETDN_INLINE_LAMBDA {
    vec<T> x[4];
    UNETDN_UNROLL_TILE
    for (int i = 0; i < 4; ++i) x[i] = load_part(from + i / 2 * down + i % 2 * right + c, count);
    vec<T> const maximum = larger<T>(larger<T>(x[0], x[1]), larger<T>(x[2], x[3]));
    vec<T> const gradient = load_part(dy + c, count);
    auto found = maximum < maximum;  // no lane has found its pixel yet
    UNETDN_UNROLL_TILE
    for (int i = 0; i < 4; ++i) {
      auto const here = ((x[i] == maximum) | (x[i] != x[i])) & ~found;
      found |= here;
      finish_gradient(job, x[i], here ? gradient : vec<T>{}, dx + i / 2 * dx_down + i % 2 * dx_right + c, count);
    }
  });
}

/// A pixel that no window covers.
template <class T> inline void unpool_nothing(pool_backward<T> const& job, int image, int row, int col) {
  for (int c = 0; c < job.x.c; c += lanes<T>) {
    int const count = std::min(lanes<T>, job.x.c - c);
    finish_gradient(job, load_part(job.x.pixel(image, row, col) + c, count), vec<T>{},
                    job.dx.pixel(image, row, col) + c, count);
  }
}

/// Unit: two rows of dx, or the odd last one.
template <class T> void pool_backward_row(pool_backward<T> const& job, int unit) {
  int const units = ceil_div(job.x.h, 2);
  int const image = unit / units, row = unit % units;
  if (row == job.dy.h) {
    for (int col = 0; col < job.x.w; ++col) unpool_nothing(job, image, 2 * row, col);
    return;
  }
  for (int col = 0; col < job.dy.w; ++col) unpool_window(job, image, row, col);
  if (job.x.w % 2) {
    unpool_nothing(job, image, 2 * row, job.x.w - 1);
    unpool_nothing(job, image, 2 * row + 1, job.x.w - 1);
  }
}
