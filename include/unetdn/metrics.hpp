// SPDX-License-Identifier: Apache-2.0
#pragma once
// How alike two pictures are: MSE, PSNR, SSIM. Everything is computed in double on the calling thread.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include <unetdn/core/error.hpp>
#include <unetdn/core/shape.hpp>
#include <unetdn/core/view.hpp>

namespace unetdn {

/// Which window SSIM's local means, variances and covariance are taken in.
enum class ssim_window {
  gaussian_11,       ///< 11 x 11 Gaussian of sigma 1.5, population variance: Wang et al. 2004, what papers report
  uniform_7_sample,  ///< 7 x 7 uniform, sample variance (N / (N - 1)): scikit-image's default
};

struct ssim_options {
  ssim_window window = ssim_window::gaussian_11;
  double data_range = 1;  ///< white minus black: 1 for pictures in [0, 1], 255 for bytes
};

namespace detail {

inline void check_pair(char const* metric, view<float const> const& a, view<float const> const& b) {
  shape const sa{a.n, a.h, a.w, a.c};
  shape const sb{b.n, b.h, b.w, b.c};
  check(sa == sb, metric, " compares pictures of one shape, not ", to_string(sa), " with ", to_string(sb),
        "; crop or resize one of them");
  check(a.size() > 0, metric, " needs at least one pixel; the pictures are ", to_string(sa));
}

// One sum a row, then the sum of rows: rounding stays negligible for any size.
inline double sum_of_squared_differences(view<float const> const& a, view<float const> const& b) {
  double sum = 0;
  for (int in = 0; in < a.n; ++in) {
    for (int iy = 0; iy < a.h; ++iy) {
      double row = 0;
      for (int ix = 0; ix < a.w; ++ix) {
        float const* const pa = a.pixel(in, iy, ix);
        float const* const pb = b.pixel(in, iy, ix);
        for (int ic = 0; ic < a.c; ++ic) {
          double const difference = double(pa[ic]) - double(pb[ic]);
          row += difference * difference;
        }
      }
      sum += row;
    }
  }
  return sum;
}

/// The one-dimensional factor of an SSIM window; its weights sum to 1.
inline std::vector<double> ssim_taps(ssim_window window) {
  if (window == ssim_window::uniform_7_sample) return std::vector<double>(7, 1.0 / 7);
  std::vector<double> taps(11);
  double sum = 0;
  for (int i = 0; i < 11; ++i) {
    double const distance = (i - 5) / 1.5;
    taps[i] = std::exp(-0.5 * distance * distance);
    sum += taps[i];
  }
  for (double& tap : taps) tap /= sum;
  return taps;
}

/// Local means of a, b, a^2 + b^2 and a b: all that SSIM needs, for only the sum of both variances enters it.
using ssim_moments = std::array<double, 4>;

/// to[i] = sum over t of taps[t] rows[t][i], for i < count.
inline void ssim_filter(std::vector<double> const& taps, ssim_moments const* const* rows, int count, ssim_moments* to) {
  int const length = static_cast<int>(taps.size());
  for (int i = 0; i < count; ++i) {
    ssim_moments sum{};
    for (int t = 0; t < length; ++t) {
      double const tap = taps[t];
      ssim_moments const& from = rows[t][i];
      for (int k = 0; k < 4; ++k) sum[k] += tap * from[k];
    }
    to[i] = sum;
  }
}

/// The mean of SSIM over one channel of one picture, row by row: each input row is filtered horizontally once and kept
/// while the window's rows need it.
class ssim_of_plane {
 public:
  ssim_of_plane(int w, ssim_options const& options)
      : taps_{ssim_taps(options.window)},
        length_{static_cast<int>(taps_.size())},
        width_{w - length_ + 1},
        row_(w),
        filtered_(static_cast<std::size_t>(length_) * width_),
        result_(width_),
        window_(length_) {
    double const elements = double(length_) * length_;
    if (options.window == ssim_window::uniform_7_sample) unbias_ = elements / (elements - 1);
    c1_ = 0.01 * options.data_range * 0.01 * options.data_range;
    c2_ = 0.03 * options.data_range * 0.03 * options.data_range;
  }

  /// Formula: mean of (2 ma mb + C1)(2 cov + C2) / ((ma^2 + mb^2 + C1)(va + vb + C2)) where the window fits.
  double mean(view<float const> const& a, view<float const> const& b) {
    double sum = 0;
    for (int iy = 0; iy < a.h; ++iy) {
      filter_row(a, b, iy);
      if (iy >= length_ - 1) sum += sum_of_row(iy);
    }
    return sum / (double(width_) * (a.h - length_ + 1));
  }

 private:
  ssim_moments* kept_row(int iy) { return filtered_.data() + static_cast<std::size_t>(iy % length_) * width_; }

  void filter_row(view<float const> const& a, view<float const> const& b, int iy) {
    for (int ix = 0; ix < a.w; ++ix) {
      double const va = *a.pixel(0, iy, ix);
      double const vb = *b.pixel(0, iy, ix);
      row_[ix] = {va, vb, va * va + vb * vb, va * vb};
    }
    for (int t = 0; t < length_; ++t) window_[t] = row_.data() + t;
    ssim_filter(taps_, window_.data(), width_, kept_row(iy));
  }

  double sum_of_row(int last) {
    for (int t = 0; t < length_; ++t) window_[t] = kept_row(last - length_ + 1 + t);
    ssim_filter(taps_, window_.data(), width_, result_.data());
    double sum = 0;
    for (auto const& [ma, mb, squares, product] : result_) {
      double const means = ma * ma + mb * mb;
      double const variances = unbias_ * (squares - means);
      double const covariance = unbias_ * (product - ma * mb);
      sum += (2 * ma * mb + c1_) * (2 * covariance + c2_) / ((means + c1_) * (variances + c2_));
    }
    return sum;
  }

  std::vector<double> taps_;
  int length_, width_;
  std::vector<ssim_moments> row_, filtered_, result_;
  std::vector<ssim_moments const*> window_;
  double unbias_ = 1, c1_ = 0, c2_ = 0;
};

}  // namespace detail

/// Mean squared error of two batches a[N,H,W,C] and b[N,H,W,C]: mean of (a - b)^2 over all elements.
/// Throws argument_error when the shapes differ or are empty.
inline double mse(view<float const> a, view<float const> b) {
  detail::check_pair("MSE", a, b);
  return detail::sum_of_squared_differences(a, b) / double(a.size());
}

/// Peak signal-to-noise ratio in dB: 10 log10(peak^2 / MSE), over all pixels and channels of a picture, then the mean
/// over the pictures of the batch. Infinite when two pictures are identical.
/// Throws argument_error when the shapes differ or are empty or `peak` is not positive.
inline double psnr(view<float const> a, view<float const> b, double peak = 1) {
  detail::check_pair("PSNR", a, b);
  check(peak > 0, "PSNR needs a positive peak, not ", peak, "; it is 1 for pictures in [0, 1]");
  double sum = 0;
  for (int in = 0; in < a.n; ++in) sum += 10 * std::log10(peak * peak / mse(a.images(in, 1), b.images(in, 1)));
  return sum / a.n;
}

/// Structural similarity, 1 for identical pictures: per channel where the window fits, then the mean over channels and
/// pictures; K1 = .01, K2 = .03.
/// Throws argument_error when the shapes differ or the pictures are smaller than the window.
/// Source: Wang, Bovik, Sheikh, Simoncelli 2004, equation 13.
inline double ssim(view<float const> a, view<float const> b, ssim_options const& options = {}) {
  detail::check_pair("SSIM", a, b);
  check(options.data_range > 0, "SSIM needs a positive data_range, not ", options.data_range);
  int const window = options.window == ssim_window::gaussian_11 ? 11 : 7;
  check(a.h >= window && a.w >= window, "SSIM's window is ", window, " x ", window, " pixels and the picture only ",
        a.h, " x ", a.w, "; use a larger picture or another metric");
  detail::ssim_of_plane plane(a.w, options);
  double sum = 0;
  for (int in = 0; in < a.n; ++in) {
    for (int ic = 0; ic < a.c; ++ic) {
      sum += plane.mean(a.images(in, 1).channels(ic, 1), b.images(in, 1).channels(ic, 1));
    }
  }
  return sum / (double(a.n) * a.c);
}

/// The mean of a metric over pictures. The infinite PSNR of identical pictures is counted and left out.
class mean_of_metrics {
 public:
  void add(double value) {
    if (value == std::numeric_limits<double>::infinity()) {
      ++infinite_;
      return;
    }
    sum_ += value;
    ++finite_;
  }

  /// How many values were added, those left out included.
  std::size_t count() const { return finite_ + infinite_; }
  /// How many were infinite and left out.
  std::size_t infinite() const { return infinite_; }
  /// The mean of the others; infinite when there are only infinite ones, NaN when there are none at all.
  double mean() const {
    if (finite_ > 0) return sum_ / double(finite_);
    return infinite_ > 0 ? std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
  }

 private:
  double sum_ = 0;
  std::size_t finite_ = 0, infinite_ = 0;
};

/// A metric for people: `digits` decimals, "inf" for an infinite one. The same in every locale.
inline std::string metric_text(double value, int digits) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::array<char, 400> buffer;  // the largest double has 309 digits before the point
  auto const end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::fixed,
                                 std::min(digits, 40));
  return {buffer.data(), end.ptr};
}

/// A metric for JSON, which has no infinity: the shortest number that reads back the same, or null.
inline std::string metric_json(double value) {
  if (!std::isfinite(value)) return "null";
  std::array<char, 32> buffer;
  auto const end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  return {buffer.data(), end.ptr};
}

}  // namespace unetdn
