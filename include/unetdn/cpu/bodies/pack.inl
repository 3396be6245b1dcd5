// SPDX-License-Identifier: Apache-2.0
// Copies a block of pixels into scratch (see block_layout). Included by bodies/all.inl.

/// One pixel's channels into the groups of one plane; beyond the last channel zeros.
template <class T> inline void pack_pixel(T const* from, int channels, std::ptrdiff_t group_elements, T* to) {
  int c = 0;
  for (; c + group_channels <= channels; c += group_channels, to += group_elements) copy_group(from + c, to);
  if (c == channels) return;
  zero(to, group_channels);
  for (int i = 0; c + i < channels; ++i) to[i] = from[c + i];
}

template <class T> inline void zero_pixels(T* to, int first, int last, int groups, std::ptrdiff_t group_elements) {
  if (first >= last) return;
  for (int g = 0; g < groups; ++g)
    zero(to + g * group_elements + first * group_channels, std::ptrdiff_t(last - first) * group_channels);
}

/// How far ahead pixels are fetched while others are packed: the pieces of rows are too short for the processor's own
/// guesses.
inline constexpr int pixels_ahead = 16;

/// Packs what the positions from (row, col) on touch of channels x.c of one picture.
template <class T>
inline void pack_block(view<T const> const& x, int image, int row, int col, block_layout const& layout, T* to) {
  int const stride = layout.stride;
  int const channels = x.c;
  int const groups = ceil_div(channels, group_channels);
  std::ptrdiff_t const step = stride * x.pixel_stride;
  std::ptrdiff_t const group_elements = layout.group_elements();
  for (int r = 0; r < layout.rows; ++r) {
    int const y = row * stride + layout.low.y + r;
    for (int plane = 0; plane < stride; ++plane) {
      T* line = to + r * layout.row_elements() + plane * layout.plane_elements();
      int const x0 = col * stride + layout.low.x + plane;  // column of the plane's first pixel
      bool const inside = y >= 0 && y < x.h;
      int const first = inside ? std::min(layout.pitch, x0 < 0 ? (-x0 + stride - 1) / stride : 0) : layout.pitch;
      int const last = inside && x0 < x.w ? std::min(layout.pitch, (x.w - x0 + stride - 1) / stride) : first;
      zero_pixels(line, 0, first, groups, group_elements);
      T const* from = first < last ? x.pixel(image, y, x0 + first * stride) : nullptr;
      for (int m = first; m < last; ++m, from += step) {
        fetch_far_ahead(from + pixels_ahead * step, channels);
        pack_pixel(from, channels, group_elements, line + m * group_channels);
      }
      zero_pixels(line, std::max(first, last), layout.pitch, groups, group_elements);
    }
  }
}

/// Fetches what pack_block() will read, a few pixels at each of `steps` calls: its lines are on their way while the
/// block packed before is multiplied.
template <class T> class early_block {
 public:
  early_block() = default;
  early_block(view<T const> const& x, int image, int row, int col, block_layout const& layout, int steps)
      : channels_{x.c}, pixel_stride_{x.pixel_stride}, row_stride_{x.row_stride} {
    int const y = row * layout.stride + layout.low.y, x0 = col * layout.stride + layout.low.x;
    int const first_row = std::max(0, y), first_col = std::max(0, x0);
    cols_ = std::min(x.w, x0 + layout.pitch * layout.stride) - first_col;
    rows_ = cols_ > 0 ? std::min(x.h, y + layout.rows) - first_row : 0;
    if (rows_ <= 0) return;
    row_ = pixel_ = x.pixel(image, first_row, first_col);
    pixels_a_step_ = ceil_div(rows_ * cols_, steps);
  }

  void advance() {
    for (int i = 0; i < pixels_a_step_ && rows_ > 0; ++i) {
      fetch_early(pixel_, channels_);
      pixel_ += pixel_stride_;
      if (++col_ < cols_) continue;
      col_ = 0;
      pixel_ = row_ += row_stride_;
      --rows_;
    }
  }

 private:
  T const *row_ = nullptr, *pixel_ = nullptr;
  int channels_ = 0, pixels_a_step_ = 0;
  std::ptrdiff_t pixel_stride_ = 0, row_stride_ = 0;
  int rows_ = 0, cols_ = 0, col_ = 0;  // rows left, columns, column of the next pixel
};
