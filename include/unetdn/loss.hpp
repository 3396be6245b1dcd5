// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <cmath>
#include <string_view>
#include <vector>

#include <unetdn/core/half.hpp>
#include <unetdn/cpu/bodies.hpp>
#include <unetdn/kernels/loss.hpp>
#include <unetdn/kernels/reduce.hpp>
#include <unetdn/metrics.hpp>
#include <unetdn/ops/elementwise.hpp>
#include <unetdn/ops/reduce.hpp>

namespace unetdn {

/// What training minimises.
enum class loss_kind {
  l1,       ///< mean |y - target|
  mse,      ///< mean (y - target)^2
  l1_ssim,  ///< mean |y - target| + 0.3 (1 - SSIM): close in value and in structure
};

/// "l1", "mse" or "l1_ssim".
inline std::string_view to_string(loss_kind kind) {
  switch (kind) {
    case loss_kind::l1:
      return "l1";
    case loss_kind::l1_ssim:
      return "l1_ssim";
    default:
      return "mse";
  }
}

/// The loss of that name. Throws argument_error for any other.
inline loss_kind parse_loss(std::string_view name) {
  for (loss_kind const kind : {loss_kind::l1, loss_kind::mse, loss_kind::l1_ssim}) {
    if (name == to_string(kind)) return kind;
  }
  throw argument_error(text("unknown loss '", name, "'; use mse, l1 or l1_ssim"));
}

/// Side of the smallest picture that a loss can compare, in pixels: SSIM's window must fit.
inline int smallest_side(loss_kind kind) { return kind == loss_kind::l1_ssim ? 11 : 1; }

/// y and target read, dy written; l1_ssim filters four maps, and three on the way back, by 11 taps in each direction.
/// The target of a 16-bit y is in float.
inline op_cost loss_cost(loss_kind kind, unetdn::shape y, std::size_t element_bytes = sizeof(float)) {
  double const flops = kind == loss_kind::l1_ssim ? 7 * 2 * 2 * 11 + 60 : 4;
  std::size_t const target_bytes = std::max(element_bytes, sizeof(float));
  return {flops * double(y.size()), double(y.size()) * double(2 * element_bytes + target_bytes)};
}

namespace detail {

/// SSIM's part of the loss l1_ssim.
inline constexpr double ssim_part = 0.3;

/// Throws argument_error where no window of SSIM fits a picture.
inline void check_windows(int h, int w) {
  int const side = smallest_side(loss_kind::l1_ssim);
  check(h >= side && w >= side, "the loss l1_ssim has windows of ", side, " x ", side, " pixels and the picture only ",
        h, " x ", w, "; use larger ones or another loss");
}

/// Rows of a picture with its pixels one behind the other: in place where they lie so, otherwise copied.
template <class T> class row_reader {
 public:
  row_reader(view<T const> v, int image) : picture_{v.images(image, 1)} {
    if (!in_place()) copy_.resize(static_cast<std::size_t>(v.w) * static_cast<std::size_t>(v.c));
  }
  /// Valid until the next call.
  T const* row(int y) {
    if (in_place()) return picture_.pixel(0, y, 0);
    T* to = copy_.data();
    for (int x = 0; x < picture_.w; ++x) to = std::copy_n(picture_.pixel(0, y, x), picture_.c, to);
    return copy_.data();
  }

 private:
  bool in_place() const { return picture_.pixel_stride == picture_.c; }
  view<T const> picture_;
  std::vector<T> copy_;
};

/// SSIM of two pictures and its derivative with respect to the first; the window is metrics.hpp's Gaussian, the range
/// of the data 1.
///
/// With E the mean in a window, S = A1 A2 / (B1 B2), where
///   A1 = 2 Ea Eb + C1,  A2 = 2 (Eab - Ea Eb) + C2,  B1 = Ea^2 + Eb^2 + C1,  B2 = E(a^2 + b^2) - Ea^2 - Eb^2 + C2,
/// depends on a through three means only, so that
///   dS/da = F(dS/dEa) + 2 a F(dS/dE(a^2 + b^2)) + b F(dS/dEab),
/// F being the adjoint of the windowed mean: the same symmetric filter over a map with zeros around it.
/// Source: Wang et al. 2004, equation 13; Zhao et al. 2017, "Loss functions for image restoration with neural
/// networks", section III.
///
/// Rows of the pictures come in and rows of the derivative go out, ten behind: what is kept in between are the last
/// eleven rows of each map.
template <class T> class ssim_derivative {
 public:
  ssim_derivative(int h, int w, int c) : h_{h}, w_{w}, c_{c} {
    for (double const tap : ssim_taps(ssim_window::gaussian_11)) taps_.push_back(static_cast<T>(tap));
    length_ = static_cast<int>(taps_.size());
    border_ = length_ - 1;
    fit_h_ = h - border_;
    fit_w_ = w - border_;
    check_windows(h, w);
    for (map& m : filtered_) m.resize(elements(length_, fit_w_));
    for (map& m : means_) m.resize(elements(1, fit_w_));
    for (map& m : derivatives_) m.resize(elements(1, fit_w_ + 2 * border_));
    for (map& m : adjoints_) m.resize(elements(length_, w_));
    for (map* m : {&products_[0], &products_[1], &results_[0], &results_[1], &results_[2], &gradient_})
      m->resize(elements(1, w_));
  }

  /// The mean of S over all windows and channels of a[1,H,W,C] and b[1,H,W,C]. Calls each_row(row, row of a, row of b,
  /// row of the derivative), all dense, from the top row down; that row of a is not read again.
  template <class F> double operator()(row_reader<T>& a, row_reader<T>& b, F&& each_row) {
    double sum = 0;
    for (int y = 0; y < h_; ++y) {
      filter_moments(a.row(y), b.row(y), y);
      if (y < border_) continue;
      sum += differentiate_row(y - border_);
      collect(a, b, y - border_, each_row);
    }
    for (int y = fit_h_; y < h_; ++y) collect(a, b, y, each_row);
    return sum / windows();
  }

 private:
  using map = std::vector<T>;  // rows of pixels of channels
  enum { mean_a, squares, product, mean_b, moments };
  static constexpr int differentiated = 3;  // S depends on mean_b as well, but that does not depend on a

  std::size_t elements(int rows, int columns) const {
    return static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns) * static_cast<std::size_t>(c_);
  }
  double windows() const { return double(fit_h_) * fit_w_ * c_; }
  static auto const& bodies() { return cpu_bodies::bodies<cpu_bodies::loss_bodies<T>>(); }
  /// Where row y of a map stands, of whose rows the last ones are kept.
  T* kept(map& m, int y, int columns) const { return m.data() + elements(y % length_, columns); }

  /// Filters along a row.
  void filter_columns(T const* from, T* to, std::size_t count) const {
    T const* shifted[most_taps];
    for (int t = 0; t < length_; ++t) shifted[t] = from + elements(1, t);
    bodies().filter_rows(taps_.data(), shifted, length_, to, static_cast<std::int64_t>(count));
  }
  /// Filters over those of rows first to first + 10 that are rows of windows, or of the picture.
  void filter_rows(map& m, int columns, int first, int last, T* to) const {
    T const* rows[most_taps];
    int const begin = std::max(first, 0), end = std::min(first + length_, last + 1);
    for (int y = begin; y < end; ++y) rows[y - begin] = kept(m, y, columns);
    bodies().filter_rows(taps_.data() + (begin - first), rows, end - begin, to,
                         static_cast<std::int64_t>(elements(1, columns)));
  }

  void filter_moments(T const* a, T const* b, int y) {
    auto const all = static_cast<std::int64_t>(elements(1, w_));
    bodies().multiply_rows(a, b, products_[0].data(), products_[1].data(), all);
    T const* const from[moments] = {a, products_[0].data(), products_[1].data(), b};
    for (int k = 0; k < moments; ++k) filter_columns(from[k], kept(filtered_[k], y, fit_w_), elements(1, fit_w_));
  }

  /// The sum of S over a row of windows; its derivatives, filtered along it, are kept.
  double differentiate_row(int y) {
    for (int k = 0; k < moments; ++k) filter_rows(filtered_[k], fit_w_, y, y + border_, means_[k].data());
    auto const middle = [this](int k) { return derivatives_[k].data() + elements(1, border_); };
    double const sum = bodies().differentiate_ssim(
        {means_[mean_a].data(), means_[mean_b].data(), means_[squares].data(), means_[product].data(), middle(mean_a),
         middle(squares), middle(product), static_cast<std::int64_t>(elements(1, fit_w_))});
    for (int k = 0; k < differentiated; ++k)
      filter_columns(derivatives_[k].data(), kept(adjoints_[k], y, w_), elements(1, w_));
    return sum;
  }

  /// A row of the derivative, from the rows of windows that see it.
  template <class F> void collect(row_reader<T>& a, row_reader<T>& b, int y, F&& each_row) {
    for (int k = 0; k < differentiated; ++k) filter_rows(adjoints_[k], w_, y - border_, fit_h_ - 1, results_[k].data());
    T const *const row_a = a.row(y), *const row_b = b.row(y);
    bodies().collect_ssim({results_[mean_a].data(), results_[squares].data(), results_[product].data(), row_a, row_b,
                           gradient_.data(), static_cast<T>(1 / windows()),
                           static_cast<std::int64_t>(elements(1, w_))});
    each_row(y, row_a, row_b, gradient_.data());
  }

  static constexpr int most_taps = 16;
  int h_, w_, c_, length_ = 0, border_ = 0, fit_h_ = 0, fit_w_ = 0;
  std::vector<T> taps_;
  map filtered_[moments];            // along rows, [11][fit_w C]
  map means_[moments];               // along both, one row
  map derivatives_[differentiated];  // one row, [fit_w + 2 border][C], zero around the middle
  map adjoints_[differentiated];     // filtered along rows, [11][W C]
  map products_[2], results_[differentiated], gradient_;
};

}  // namespace detail

/// The loss of y against target on the cpu device, a mean over all elements, and its gradient with respect to y:
///   l1       |y - target|                                 dy = sign(y - target) / size
///   mse      (y - target)^2                               dy = 2 (y - target) / size
///   l1_ssim  |y - target| + 0.3 (1 - SSIM)                the mean of SSIM is over windows that fit
/// y, target, dy [N,H,W,C]; dy may be y. Sums are taken in double over fixed chunks: equal bits for any number of
/// threads. The gradient of l1 where y equals the target is 0. l1_ssim computes a picture a thread. Throws
/// argument_error where the shapes differ, or SSIM's window of 11 x 11 does not fit. Source of l1_ssim: after Zhao et
/// al. 2017, "Loss functions for image restoration with neural networks", equation 12, with SSIM at one scale. Their
/// weights, .16 and .84, leave the gradient to SSIM almost alone, which costs PSNR; of 0.1, 0.3 and 1 for SSIM beside 1
/// for L1, 0.3 gave the highest PSNR and SSIM on photographs (docs/training.md).
template <class T, class Device>
double loss_and_gradient(Device& dev, loss_kind kind, view<std::type_identity_t<T> const> y,
                         view<std::type_identity_t<T> const> target, view<T> dy) {
  static_assert(detail::is_cpu<Device>, "a GPU writes the loss into device memory: pass its address");
  detail::check_same_shape("loss", y, target);
  detail::check_same_shape("loss", y, dy);
  check(y.size() > 0, "loss: there is nothing to compare in windows of ", to_string(detail::extents(y)));
  double const elements = static_cast<double>(y.size());

  bool const squared = kind == loss_kind::mse;
  auto const step = static_cast<T>((squared ? 2 : 1) / elements);
  auto const ssim_weight = static_cast<T>(detail::ssim_part / y.n);
  bool const in_place = dy.pixel_stride == dy.c;

  // One row: the elementwise part of the loss, and what SSIM adds to its gradient.
  auto const row_loss = [&](int image, int row, T const* a, T const* b, T const* ssim, std::vector<T>& buffer) {
    auto const count = std::int64_t(y.w) * y.c;
    if (!in_place) buffer.resize(static_cast<std::size_t>(count));
    T* const to = in_place ? dy.pixel(image, row, 0) : buffer.data();
    double const sum = cpu_bodies::bodies<cpu_bodies::loss_bodies<T>>().compare_rows(
        {a, b, ssim, to, squared, step, ssim_weight, count});
    for (int x = 0; !in_place && x < y.w; ++x)
      std::copy_n(buffer.data() + std::int64_t(x) * y.c, y.c, dy.pixel(image, row, x));
    return sum;
  };

  double loss = 0;
  if (kind == loss_kind::l1_ssim) {
    std::vector<double> images(static_cast<std::size_t>(y.n));
    dev.parallel(y.n, [&](int image, int) {
      detail::row_reader<T> a(y, image), b(target, image);
      std::vector<T> buffer;
      double sum = 0;
      detail::ssim_derivative<T> ssim(y.h, y.w, y.c);
      double const similarity = ssim(a, b, [&](int row, T const* row_a, T const* row_b, T const* derivative) {
        sum += row_loss(image, row, row_a, row_b, derivative, buffer);
      });
      images[static_cast<std::size_t>(image)] = sum / elements + detail::ssim_part * (1 - similarity) / y.n;
    });
    for (double const image : images) loss += image;
    return loss;
  }
  std::vector<double> rows(static_cast<std::size_t>(y.n) * static_cast<std::size_t>(y.h));
  detail::for_each_row(dev, y.n, y.h, std::int64_t(y.w) * y.c, [&](int image, int row) {
    detail::row_reader<T> a(y, image), b(target, image);
    std::vector<T> buffer;
    rows[static_cast<std::size_t>(image) * static_cast<std::size_t>(y.h) + static_cast<std::size_t>(row)] =
        row_loss(image, row, a.row(row), b.row(row), nullptr, buffer);
  });
  for (double const row : rows) loss += row;
  return loss / elements;
}

namespace detail {

/// Where the parts of a GPU's loss lie in scratch memory, in floats.
struct loss_scratch {
  std::size_t gradient = 0;      ///< SSIM's, dense; comes first
  std::size_t sums = 0;          ///< of blocks of loss_gradient
  std::size_t similarities = 0;  ///< of tiles

  loss_scratch(loss_kind kind, unetdn::shape const& s) : sums{reduction_blocks} {
    if (kind != loss_kind::l1_ssim) return;
    extent3 const tiles = ssim_tiles(s);
    gradient = round_up(static_cast<std::size_t>(s.size()), 4);  // what follows stays aligned
    similarities =
        static_cast<std::size_t>(tiles.x) * static_cast<std::size_t>(tiles.y) * static_cast<std::size_t>(tiles.z);
  }
  std::size_t bytes() const { return (gradient + sums + similarities) * sizeof(float); }

  static extent3 ssim_tiles(unetdn::shape const& s) {
    constexpr int tile = kernels::ssim_gradient<float>::tile;
    return {ceil_div(s.w, tile), ceil_div(s.h, tile), s.n * s.c};
  }
};

}  // namespace detail

/// Bytes of scratch memory that loss_and_gradient takes on a GPU: with SSIM 4 an element, a few KiB otherwise.
inline std::size_t loss_scratch_bytes(loss_kind kind, unetdn::shape y) { return detail::loss_scratch(kind, y).bytes(); }

/// The same loss and gradient on a GPU, without a wait: the loss goes to `loss` in device memory, and dy is multiplied
/// by `*loss_scale`, also in device memory, or by 1 where that is null. Where y is a sigmoid and `through_sigmoid`, dy
/// is the gradient with respect to its argument: multiplied by y (1 - y), and rounded once. y[N,H,W,C]; target[N,H,W,C]
/// in float; dy[N,H,W,C] may be y. Sums are taken in float within a block and in double over the blocks, in a fixed
/// order. Takes loss_scratch_bytes() of scratch. Throws argument_error as the cpu's does.
template <class T, class Device>
void loss_and_gradient(Device& dev, loss_kind kind, view<std::type_identity_t<T> const> y, view<float const> target,
                       view<T> dy, double* loss, float const* loss_scale = nullptr, bool through_sigmoid = false) {
  static_assert(!Device::is_host && Device::template supports<T>,
                "this form is for cuda and emulated, with float, bf16 and fp16");
  detail::check_same_shape("loss", y, target);
  detail::check_same_shape("loss", y, dy);
  unetdn::shape const s = detail::extents(y);
  check(s.size() > 0, "loss: there is nothing to compare in windows of ", to_string(s));
  detail::loss_scratch const parts(kind, s);
  auto* const scratch = static_cast<float*>(dev.scratch(parts.bytes()));
  auto* const sums = scratch + parts.gradient;
  auto* const similarities = sums + parts.sums;
  double const elements = static_cast<double>(s.size());

  view<float const> ssim{nullptr, s.n, s.h, s.w, s.c};
  double similarity_weight = 0;
  if (kind == loss_kind::l1_ssim) {
    using kernel = kernels::ssim_gradient<T>;
    detail::check_windows(s.h, s.w);
    extent3 const tiles = parts.ssim_tiles(s);
    check(tiles.y <= 65535 && tiles.z <= 65535, "loss: a batch of ", to_string(s),
          " is too large for one launch; use smaller pictures or a smaller batch");
    similarity_weight = -detail::ssim_part / (double(s.h - kernel::reach) * (s.w - kernel::reach) * s.n * s.c);
    kernel k{y, target, scratch, similarities, static_cast<float>(similarity_weight), {}};
    std::vector<double> const taps = detail::ssim_taps(ssim_window::gaussian_11);
    std::copy(taps.begin(), taps.end(), k.tap);
    launch(dev, tiles, k);
    ssim.data = scratch;
  }
  bool const squared = kind == loss_kind::mse;
  detail::collapse(y, target, dy, ssim);
  bool const aligned = detail::aligned_pixels(y) && detail::aligned_pixels(target) && detail::aligned_pixels(dy) &&
                       detail::aligned_pixels(ssim);
  extent3 const grid = detail::reduction_grid<kernels::loss_gradient<T>>("loss", y);
  launch(
      dev, grid,
      kernels::loss_gradient<T>{y, target, ssim, dy, loss_scale, sums, static_cast<float>((squared ? 2 : 1) / elements),
                                squared, through_sigmoid, aligned});
  launch(dev, {1},
         kernels::add_partials{sums, grid.x, 1 / elements, similarities, static_cast<int>(parts.similarities),
                               similarity_weight, ssim ? detail::ssim_part : 0, loss});
}

}  // namespace unetdn
