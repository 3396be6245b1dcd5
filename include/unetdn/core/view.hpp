// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <type_traits>

#include <unetdn/core/kernel.hpp>

namespace unetdn {

/// A window x[n,h,w,c] on memory that something else owns. Channels are contiguous; pictures, rows and pixels lie
/// `image_stride`, `row_stride` and `pixel_stride` elements apart. So a crop, a tile, a pitched buffer, every second
/// pixel, or a channel slice of a wider buffer is a view too: a U-Net's skip connection costs no copy. No alignment is
/// promised. Trivially copyable: kernels take views by value.
template <class T> struct view {
  T* data = nullptr;
  int n = 0, h = 0, w = 0, c = 0;
  std::int64_t image_stride = 0, row_stride = 0, pixel_stride = 0;

  view() = default;
  /// A dense window: pixels follow each other without gaps.
  UNETDN_HD view(T* p, int n_, int h_, int w_, int c_)
      : data{p},
        n{n_},
        h{h_},
        w{w_},
        c{c_},
        image_stride{std::int64_t(h_) * w_ * c_},
        row_stride{std::int64_t(w_) * c_},
        pixel_stride{c_} {}
  UNETDN_HD view(T* p, int n_, int h_, int w_, int c_, std::int64_t image, std::int64_t row, std::int64_t pixel)
      : data{p}, n{n_}, h{h_}, w{w_}, c{c_}, image_stride{image}, row_stride{row}, pixel_stride{pixel} {}
  /// A view of T is a view of T const.
  UNETDN_HD operator view<T const>() const { return {data, n, h, w, c, image_stride, row_stride, pixel_stride}; }

  /// False for the empty view, which optional arguments default to.
  UNETDN_HD explicit operator bool() const { return data != nullptr; }
  /// Address of channel 0 of one pixel.
  UNETDN_HD T* pixel(int in, int iy, int ix) const {
    return data + (in * image_stride + iy * row_stride + ix * pixel_stride);
  }
  /// Number of elements seen through the window.
  UNETDN_HD std::int64_t size() const { return std::int64_t(n) * h * w * c; }
  /// Number of pixels, all pictures together.
  UNETDN_HD std::int64_t pixels() const { return std::int64_t(n) * h * w; }
  /// Whether the elements lie in memory without gaps.
  UNETDN_HD bool dense() const {
    return pixel_stride == c && row_stride == w * pixel_stride && image_stride == h * row_stride;
  }

  /// Channels first .. first + count - 1.
  UNETDN_HD view channels(int first, int count) const {
    return {from(first), n, h, w, count, image_stride, row_stride, pixel_stride};
  }
  /// Pictures first .. first + count - 1.
  UNETDN_HD view images(int first, int count) const {
    return {from(first * image_stride), count, h, w, c, image_stride, row_stride, pixel_stride};
  }
  /// The h_ x w_ pixels from (y, x) on.
  UNETDN_HD view crop(int y, int x, int h_, int w_) const {
    return {from(y * row_stride + x * pixel_stride), n, h_, w_, c, image_stride, row_stride, pixel_stride};
  }
  /// Every `step`-th row and column, starting at (y, x): one phase of a strided convolution.
  UNETDN_HD view phase(int y, int x, int step) const {
    return {from(y * row_stride + x * pixel_stride),
            n,
            (h - y + step - 1) / step,
            (w - x + step - 1) / step,
            c,
            image_stride,
            row_stride * step,
            pixel_stride * step};
  }

 private:
  /// The element so far on; a window without memory, made for planning, has none.
  UNETDN_HD T* from(std::int64_t offset) const { return data ? data + offset : nullptr; }
};

/// Whether two windows have the same extents.
template <class T, class U> UNETDN_HD bool same_shape(view<T> const& a, view<U> const& b) {
  return a.n == b.n && a.h == b.h && a.w == b.w && a.c == b.c;
}

/// Index in [0, n) of a position that may lie outside, reflected at the borders without repeating them
/// (... 2 1 | 0 1 2 ... n-1 | n-2 ...), as often as needed. n = 1 gives 0.
UNETDN_HD inline int reflect(int position, int n) {
  if (n == 1) return 0;
  int const period = 2 * (n - 1);
  int const p = ((position % period) + period) % period;
  return p < n ? p : period - p;
}

}  // namespace unetdn
