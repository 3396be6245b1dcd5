// SPDX-License-Identifier: Apache-2.0
// 2x2 max-pooling, forward and backward. Included by bodies/all.inl.

/// The larger; NaN where either is.
template <class T> inline vec<T> larger(vec<T> a, vec<T> b) {
  auto const takes_b = (b > a) | (b != b);
  return takes_b ? b : a;
}

/// Of a window's pixels.
template <class T> inline vec<T> largest(vec<T> const (&x)[4]) {
  return larger<T>(larger<T>(x[0], x[1]), larger<T>(x[2], x[3]));
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
      vec<T> const window[4] = {load_part(top + c, count), load_part(top + right + c, count),
                                load_part(bottom + c, count), load_part(bottom + right + c, count)};
      store_part(to + c, largest<T>(window), count);
    }
  }
}

/// A window of a picture of h x w; the rim may cut pixels of it off.
struct window_place {
  int image, row, col;
  bool inside[4];

  window_place(int h, int w, int image_, int row_, int col_)
      : image{image_}, row{row_}, col{col_}, inside{true, 2 * col + 1 < w, 2 * row + 1 < h, false} {
    inside[3] = inside[1] && inside[2];
  }
  bool whole() const { return inside[3]; }
  /// Pixel i, in row-major order.
  template <class T> T* pixel(view<T> const& x, int i) const {
    return x.pixel(image, 2 * row + i / 2, 2 * col + i % 2);
  }
};

/// Calls f(window, whether it is whole) for a row of windows of x, those that the rim cuts included; the latter is a
/// constant, so that loops over whole windows do not ask for each pixel.
template <class T, class F> inline void each_window(view<T> const& x, int unit, F f) {
  int const rows = ceil_div(x.h, 2);
  for (int col = 0; col < ceil_div(x.w, 2); ++col) {
    window_place const at{x.h, x.w, unit / rows, unit % rows, col};
    if (at.whole())
      f(at, std::true_type{});
    else
      f(at, std::false_type{});
  }
}

/// `count` channels of a window's pixels from c on; zeros where there is none.
template <class T, class Whole>
inline void load_window(view<T const> const& x, window_place const& at, Whole whole, int c, int count, vec<T> (&r)[4]) {
  UNETDN_UNROLL_TILE
  for (int i = 0; i < 4; ++i) r[i] = whole || at.inside[i] ? load_part(at.pixel(x, i) + c, count) : vec<T>{};
}

/// Calls f(i, whether pixel i holds each lane's first maximum).
template <class T, class F> inline void each_pixel_of_maximum(vec<T> const (&x)[4], F f) {
  vec<T> const maximum = largest<T>(x);
  auto found = maximum < maximum;  // no lane has found its pixel yet
  UNETDN_UNROLL_TILE
  for (int i = 0; i < 4; ++i) {
    auto const here = ((x[i] == maximum) | (x[i] != x[i])) & ~found;
    found |= here;
    f(i, here);
  }
}

/// Unit: two rows of dx, or the odd last one.
template <class T> void pool_backward_row(pool_backward<T> const& job, int unit) {
  each_window(job.x, unit, [&](window_place const& at, auto whole) UNETDN_INLINE_LAMBDA {
    T const* const dy = whole ? job.dy.pixel(at.image, at.row, at.col) : nullptr;
    each_vector<T>(job.x.c, [&](int c, int count) UNETDN_INLINE_LAMBDA {
      vec<T> x[4];
      load_window(job.x, at, whole, c, count, x);
      vec<T> const gradient = whole ? load_part(dy + c, count) : vec<T>{};
      each_pixel_of_maximum<T>(x, [&](int i, auto here) UNETDN_INLINE_LAMBDA {
        if (whole || at.inside[i]) store_part(at.pixel(job.dx, i) + c, here ? gradient : vec<T>{}, count);
      });
    });
  });
}

/// A byte a lane.
template <class T> struct bytes_of { typedef window_code type __attribute__((vector_size(lanes<T>))); };

/// Unit: one row of windows.
template <class T> void pool_encode_row(pool_encode<T> const& job, int unit) {
  each_window(job.x, unit, [&](window_place const& at, auto whole) UNETDN_INLINE_LAMBDA {
    window_code* const to = job.codes.pixel(at.image, at.row, at.col);
    T* const y = whole && job.y ? job.y.pixel(at.image, at.row, at.col) : nullptr;
    each_vector<T>(job.x.c, [&](int c, int count) UNETDN_INLINE_LAMBDA {
      vec<T> x[4];
      load_window(job.x, at, whole, c, count, x);
      bits<T> code{};
      each_pixel_of_maximum<T>(x, [&](int i, auto here) UNETDN_INLINE_LAMBDA {
        code |= here ? bits<T>{} + (i << window_code_place) : bits<T>{};
        code |= x[i] > T(0) ? bits<T>{} + (1 << i) : bits<T>{};
      });
      auto const bytes = __builtin_convertvector(code, typename bytes_of<T>::type);
      std::memcpy(to + c, &bytes, static_cast<std::size_t>(count));
      if (y) store_part(y + c, largest<T>(x), count);
    });
  });
}

/// Unit: one row of windows.
template <class T> void pool_backward_into_skip_row(pool_backward_into_skip<T> const& job, int unit) {
  each_window(job.dx, unit, [&](window_place const& at, auto whole) UNETDN_INLINE_LAMBDA {
    window_code const* const from = job.codes.pixel(at.image, at.row, at.col);
    T const* const dy = whole ? job.dy.pixel(at.image, at.row, at.col) : nullptr;
    each_vector<T>(job.dx.c, [&](int c, int count) UNETDN_INLINE_LAMBDA {
      typename bytes_of<T>::type bytes{};
      std::memcpy(&bytes, from + c, static_cast<std::size_t>(count));
      bits<T> const code = __builtin_convertvector(bytes, bits<T>);
      vec<T> const gradient = whole ? load_part(dy + c, count) : vec<T>{};
      UNETDN_UNROLL_TILE
      for (int i = 0; i < 4; ++i) {
        if (!whole && !at.inside[i]) continue;
        T* const to = at.pixel(job.dx, i) + c;
        vec<T> const scattered = code >> window_code_place == i ? gradient : vec<T>{};
        store_part(to, (code & 1 << i) != 0 ? load_part(to, count) + scattered : vec<T>{}, count);
      }
    });
  });
}
