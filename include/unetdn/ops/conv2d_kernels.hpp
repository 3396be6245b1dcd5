// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include <unetdn/core/collapse.hpp>
#include <unetdn/core/error.hpp>
#include <unetdn/kernels/conv2d.hpp>
#include <unetdn/kernels/conv2d_im2col.hpp>
#include <unetdn/kernels/conv2d_warpgroup.hpp>
#include <unetdn/kernels/conv2d_weight_gradient.hpp>
#include <unetdn/ops/checks.hpp>

// Convolutions on cuda and emulated: which kernel computes which, on which windows. Arguments were checked by the
// operations. Which kernel runs depends on channels, kernel and stride, and where the GPU has warpgroups, on whether
// the windows' pixels lie as those read them.

namespace unetdn::detail {

/// Calls f with the operand that convolutions of T multiply on this device: see core/mma.hpp.
template <class T, class Device, class F> void with_operand(Device const& dev, F f) {
  if constexpr (std::is_same_v<T, float>) {
    if (dev.tf32()) return f(std::type_identity<tf32>{});
  }
  f(std::type_identity<T>{});
}

/// Calls f with the width of the tiles of so many channels.
template <class F> void with_tile(int channels, F f) {
  if (channels > 32)
    f(std::integral_constant<int, 64>{});
  else
    f(std::integral_constant<int, 32>{});
}

template <class T> void check_weights_aligned(char const* op, T const* w) {
  check(reinterpret_cast<std::uintptr_t>(w) % 16 == 0, op, ": weights must be aligned to 16 bytes");
}
/// Kernels count pixels, and the places of weights within a tap, in 32 bits.
template <class T> void check_kernel_extents(char const* op, view<T> const& v) {
  check(v.pixels() < std::numeric_limits<int>::max() && v.n < 65536, op, ": a window of ", to_string(extents(v)),
        " is too large for one launch; use smaller pictures or a smaller batch");
}

template <class T> kernels::conv2d_finish<T> finish_of(T const* bias, bool relu, view<T const> mask, view<T> const& y) {
  return {bias, relu, mask, aligned_pixels(y) && (!mask || aligned_pixels(mask))};
}

/// Whether warpgroups multiply, on windows that they can read. Fewer channels would leave most of a product idle.
template <class T, class Device>
bool takes_warpgroups(Device const& dev, int in, int out, view<T const> const& x, int least = 32) {
  return dev.has_warpgroups() && in >= least && out >= least && kernels::warpgroups_can_read(x, aligned_pixels(x));
}

/// y = finish(x * w) by conv2d_warpgroup_resident, and y's 2x2 maxima where `pooled` is given.
template <bool Flipped, class T, class Device>
void launch_resident(Device& dev, kernels::conv_weights layout, view<T const> const& x, T const* w, view<T> const& y,
                     kernels::conv2d_finish<T> const& finish, view<T> const& pooled) {
  auto const with = [](int channels, auto f) {
    if (channels <= 16) return f(std::integral_constant<int, 16>{});
    with_tile(channels, f);
  };
  with(y.c, [&](auto tile) {
    with(x.c, [&](auto depth) {
      constexpr int least = std::max(tile.value, depth.value) / 2;  // 16 and 64 do not meet in a U-Net
      using kernel =
          kernels::conv2d_warpgroup_resident<T, std::max(tile.value, least), std::max(depth.value, least), Flipped>;
      launch(dev, kernel::grid(y, Device::multiprocessors),
             kernel{x, w, layout, y, finish, pooled, aligned_pixels(pooled)});
    });
  });
}

/// y = finish(x * w) by conv2d_halo or by warpgroups, and y's 2x2 maxima where `pooled` is given.
template <bool Flipped, class T, class Device>
void launch_halo(Device& dev, kernels::conv_weights layout, view<T const> const& x, T const* w, view<T> const& y,
                 kernels::conv2d_finish<T> const& finish, view<T> const& pooled) {
  if constexpr (is_16_bit<T>) {
    if (x.c <= shared_row && takes_warpgroups(dev, x.c, y.c, x, 16))
      return launch_resident<Flipped>(dev, layout, x, w, y, finish, pooled);
    if (x.c > shared_row && takes_warpgroups(dev, x.c, y.c, x)) {
      auto const run = [&](auto tile) {
        using kernel = kernels::conv2d_warpgroup<T, tile.value, Flipped>;
        launch(dev, kernel::grid(y), kernel{x, w, layout, y, finish, pooled, aligned_pixels(pooled)});
      };
      // The widest tiles are alone on their multiprocessor: for few channels, narrow ones hide each other's begin and
      // end.
      return y.c > 64 && x.c > 128 ? run(std::integral_constant<int, 128>{}) : run(std::integral_constant<int, 64>{});
    }
  }
  with_operand<T>(dev, [&](auto operand) {
    with_tile(y.c, [&](auto tile) {
      using kernel = kernels::conv2d_halo<typename decltype(operand)::type, tile.value, Flipped>;
      launch(dev, kernel::grid(y), kernel{x, aligned_pixels(x), w, layout, y, finish, pooled, aligned_pixels(pooled)});
    });
  });
}

/// The same by conv2d_im2col.
template <class T, class Device>
void launch_im2col(Device& dev, kernels::conv_weights layout, view<T const> const& x, T const* w, view<T> const& y,
                   kernels::conv2d_finish<T> const& finish, view<T> const& pooled) {
  with_operand<T>(dev, [&](auto operand) {
    using kernel = kernels::conv2d_im2col<typename decltype(operand)::type>;
    launch(dev, kernel::grid(y, Device::multiprocessors),
           kernel{x, w, layout, y, finish, pooled, aligned_pixels(pooled)});
  });
}

/// y = finish(x * w) by conv2d_gather, whose weights are read transposed for data gradients.
template <bool Transposed, class T, class Device>
void launch_gather(Device& dev, kernels::conv_weights layout, kernels::tap_grid const& taps, view<T const> const& x,
                   T const* w, view<T> const& y, kernels::conv2d_finish<T> const& finish) {
  if (y.size() == 0) return;
  with_operand<T>(dev, [&](auto operand) {
    with_tile(y.c, [&](auto tile) {
      using kernel = kernels::conv2d_gather<typename decltype(operand)::type, tile.value, Transposed>;
      launch(dev, kernel::grid(y), kernel{x, aligned_pixels(x), w, layout, taps, y, finish});
    });
  });
}

/// Whether conv2d_halo and conv2d_weight_gradient_halo compute it, or what takes their place for few channels.
inline bool takes_halo(int kernel, int stride) { return kernel == 3 && stride == 1; }
/// Whether conv2d_im2col and conv2d_weight_gradient_im2col do. The data gradient sums over outputs, which are not few.
inline bool takes_im2col(kernels::conv_weights layout, int kernel, int stride) {
  return takes_halo(kernel, stride) && layout.channels <= kernels::im2col_channels;
}
inline int conv2d_padding(int kernel) { return (kernel - 1) / 2; }

/// `pooled` is left to others where takes_halo is false.
template <class T, class Device>
void launch_conv2d_forward(Device& dev, kernels::conv_weights layout, int kernel, int stride, view<T const> const& x,
                           T const* w, T const* bias, bool relu, view<T> const& y, view<T> const& pooled) {
  if (y.size() == 0) return;
  check_kernel_extents("conv2d_forward", y);
  check_weights_aligned("conv2d_forward", w);
  auto const finish = finish_of<T>(bias, relu, {}, y);
  if (takes_im2col(layout, kernel, stride)) return launch_im2col(dev, layout, x, w, y, finish, pooled);
  if (takes_halo(kernel, stride)) return launch_halo<false>(dev, layout, x, w, y, finish, pooled);
  int const padding = conv2d_padding(kernel);
  launch_gather<false>(dev, layout, {kernel, kernel, 0, kernel, 1, stride, -padding, -padding, 1}, x, w, y, finish);
}

/// A strided gradient is a convolution for each phase of dx's pixels: those that are congruent modulo the stride meet
/// the same taps.
template <class T, class Device>
void launch_conv2d_backward_data(Device& dev, kernels::conv_weights layout, int kernel, int stride,
                                 view<T const> const& dy, T const* w, view<T> const& dx, view<T const> const& mask) {
  if (dx.size() == 0) return;
  check_kernel_extents("conv2d_backward_data", dx);
  check_weights_aligned("conv2d_backward_data", w);
  if (takes_halo(kernel, stride))
    return launch_halo<true>(dev, layout, dy, w, dx, finish_of<T>(nullptr, false, mask, dx), {});
  int const padding = conv2d_padding(kernel);
  for (int row = 0; row < std::min(stride, dx.h); ++row) {
    for (int column = 0; column < std::min(stride, dx.w); ++column) {
      // Pixel row + stride p of dx meets tap r where row + stride p + padding - r is stride times a row of dy.
      int const r = (row + padding) % stride;
      int const s = (column + padding) % stride;
      kernels::tap_grid const taps{r < kernel ? ceil_div(kernel - r, stride) : 0,
                                   s < kernel ? ceil_div(kernel - s, stride) : 0,
                                   r * kernel + s,
                                   stride * kernel,
                                   stride,
                                   1,
                                   (row + padding - r) / stride,
                                   (column + padding - s) / stride,
                                   -1};
      view<T> const phase = dx.phase(row, column, stride);
      view<T const> const phase_mask = mask ? mask.phase(row, column, stride) : mask;
      launch_gather<true>(dev, layout, taps, dy, w, phase, finish_of<T>(nullptr, false, phase_mask, phase));
    }
  }
}

/// How many parts a weight gradient's `tiles` of pixels are split into, each part being so many blocks: as many as
/// keep the multiprocessors of a large GPU, which has 132, busy for the shortest time, where each holds `resident`
/// blocks at once and a block takes as long for its sums as for two tiles. A function of kernel and shapes alone, and
/// so are the bits.
inline int gradient_part_count(int blocks, int tiles, int resident = 2) {
  constexpr int multiprocessors = 132;
  constexpr int least_tiles = 4;
  constexpr std::int64_t for_sums = 2;
  int const at_once = resident * multiprocessors;
  int const most = std::clamp(2 * ceil_div(at_once, blocks), 1, std::max(1, tiles / least_tiles));
  auto const time = [&](int parts) { return ceil_div(blocks * parts, at_once) * (ceil_div(tiles, parts) + for_sums); };
  int best = 1;
  std::int64_t shortest = time(1);
  for (int parts = 2; parts <= most; ++parts) {
    if (std::int64_t const taken = time(parts); taken < shortest) {
      best = parts;
      shortest = taken;
    }
  }
  return best;
}

/// Calls f with the kernel, but for its memory, that computes a weight gradient from x and dy.
template <class Operand, class T, class Device, class F>
void with_weight_gradient(Device const& dev, kernels::conv_weights layout, int kernel, int stride,
                          view<T const> const& x, view<T const> const& dy, bool with_bias, F f) {
  bool const x_aligned = aligned_pixels(x);
  bool const dy_aligned = aligned_pixels(dy);
  auto const parts = [&](int blocks, int tiles, int resident = 2) -> kernels::gradient_parts {
    return {layout, gradient_part_count(blocks, tiles, resident)};
  };
  auto const halo = [&](auto tile_k, auto tile_c) {
    using type = kernels::conv2d_weight_gradient_halo<Operand, tile_k.value, tile_c.value>;
    f(type{x, dy, x_aligned, dy_aligned, with_bias,
           parts(type::blocks(layout), type::tiles(dy), type::blocks_resident)});
  };
  if (takes_im2col(layout, kernel, stride)) {
    using im2col = kernels::conv2d_weight_gradient_im2col<Operand>;
    f(im2col{x, dy, dy_aligned, with_bias,
             parts(im2col::blocks(layout), im2col::tiles_of(dy), im2col::blocks_resident)});
  } else if (takes_halo(kernel, stride)) {
    if constexpr (is_16_bit<T>) {
      if (takes_warpgroups(dev, layout.channels, layout.outputs, x) &&
          takes_warpgroups(dev, layout.channels, layout.outputs, dy)) {
        return with_tile(layout.channels, [&](auto tile) {
          using type = kernels::conv2d_weight_gradient_warpgroup<T, tile.value>;
          f(type{x, dy, with_bias, parts(type::blocks(layout), type::tiles(dy), 1)});
        });
      }
    }
    using wide = std::integral_constant<int, 32>;
    using narrow = std::integral_constant<int, 16>;
    if (layout.outputs > 32) return halo(std::integral_constant<int, 64>{}, wide{});
    if (layout.channels > 16) return halo(narrow{}, wide{});
    halo(narrow{}, narrow{});
  } else {
    using gather = kernels::conv2d_weight_gradient_gather<Operand>;
    f(gather{x, dy, x_aligned, dy_aligned, with_bias, kernel, stride, conv2d_padding(kernel),
             parts(gather::blocks(layout), gather::tiles(dy))});
  }
}

/// Scratch for the parts of a weight gradient but the first, which lies where the gradient does.
inline std::size_t gradient_bytes(kernels::gradient_parts const& parts) {
  return static_cast<std::size_t>(parts.parts - 1) * static_cast<std::size_t>(parts.stride()) * sizeof(float);
}

/// Runs the kernel of a weight gradient, which lacks where that goes, and adds its parts.
template <class Device, class Kernel>
void launch_weight_gradient(Device& dev, Kernel kernel, float* dw, float* db, bool accumulate) {
  kernels::gradient_parts& to = kernel.to;
  to.dw = dw;
  to.db = db;
  to.accumulate = accumulate;
  to.partial = static_cast<float*>(dev.scratch(gradient_bytes(to)));
  launch(dev, {kernel.blocks(to.layout), to.parts}, kernel);
  if (to.parts > 1) launch(dev, kernels::add_parts::grid(to), kernels::add_parts{to});
}

/// The weight gradient of no pixels.
template <class Device>
void add_no_gradient(Device& dev, kernels::conv_weights layout, float* dw, float* db, bool accumulate) {
  if (accumulate) return;
  dev.fill_zero(dw, static_cast<std::size_t>(layout.size()) * sizeof(float));
  if (db) dev.fill_zero(db, static_cast<std::size_t>(layout.outputs) * sizeof(float));
}

template <class T, class Device>
void launch_conv2d_backward_weights(Device& dev, kernels::conv_weights layout, int kernel, int stride,
                                    view<T const> const& x, view<T const> const& dy, float* dw, float* db,
                                    bool accumulate) {
  check_kernel_extents("conv2d_backward_weights", dy);
  check_weights_aligned("conv2d_backward_weights", dw);
  if (dy.size() == 0) return add_no_gradient(dev, layout, dw, db, accumulate);
  with_operand<T>(dev, [&](auto operand) {
    using type = typename decltype(operand)::type;
    with_weight_gradient<type, T>(dev, layout, kernel, stride, x, dy, db != nullptr, [&](auto const& gradient) {
      launch_weight_gradient(dev, gradient, dw, db, accumulate);
    });
  });
}

/// Calls f(window) for each kind of windows that a kernel may be chosen for; window(extents) gives one, for planning:
/// dense ones and halves of wider ones, and unless all are `aligned` those that warpgroups cannot read.
template <class T, class F> void each_kind_of_window(bool aligned, F f) {
  auto const kind = [&](std::size_t address, int width) {
    f([=](unetdn::shape s) -> view<T const> {
      std::int64_t const pixel = std::int64_t(width) * s.c;
      return {reinterpret_cast<T const*>(address), s.n, s.h, s.w, s.c, s.h * s.w * pixel, s.w * pixel, pixel};
    });
  };
  kind(0, 1);
  kind(0, 2);
  if (!aligned) kind(sizeof(T), 1);
}

/// Scratch of launch_conv2d_backward_weights, for windows of any alignment or, `aligned`, for windows whose pixels
/// begin at multiples of 16 bytes where their channels allow it; the other passes need none.
template <class T, class Device>
std::size_t conv2d_gradient_bytes(Device const& dev, kernels::conv_weights layout, int kernel, int stride,
                                  unetdn::shape x, unetdn::shape dy, bool aligned) {
  std::size_t bytes = 0;
  each_kind_of_window<T>(aligned, [&](auto const& window) {
    with_operand<T>(dev, [&](auto operand) {
      using type = typename decltype(operand)::type;
      with_weight_gradient<type, T>(
          dev, layout, kernel, stride, window(x), window(dy), true,
          [&](auto const& gradient) { bytes = std::max(bytes, gradient_bytes(gradient.to)); });
    });
  });
  return bytes;
}

}  // namespace unetdn::detail
