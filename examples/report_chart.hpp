// SPDX-License-Identifier: Apache-2.0
#pragma once
// Line charts as SVG, for the report. Colours and letters are the page's: classes name what is drawn.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <unetdn/metrics.hpp>

namespace programs {

/// A point of a chart in the units of its axes.
struct chart_point {
  double x, y;
};

/// At most `most` points, each the mean of as many neighbours.
inline std::vector<chart_point> decimated(std::span<chart_point const> points, std::size_t most) {
  std::vector<chart_point> means;
  std::size_t const count = std::min(points.size(), most);
  for (std::size_t i = 0; i < count; ++i) {
    std::size_t const begin = i * points.size() / count, end = (i + 1) * points.size() / count;
    chart_point sum{0, 0};
    for (std::size_t j = begin; j < end; ++j) {
      sum.x += points[j].x;
      sum.y += points[j].y;
    }
    means.push_back({sum.x / double(end - begin), sum.y / double(end - begin)});
  }
  return means;
}

/// Values from low to high, and where the axis is labelled.
class chart_axis {
 public:
  /// `low` to `high`, widened to whole ticks where `round`.
  static chart_axis linear(double low, double high, bool round) {
    if (!(high > low)) high = low + 1;
    chart_axis a{low, high, false};
    double const step = tick_step(low, high);
    if (round) {
      a.low_ = std::floor(low / step) * step;
      a.high_ = std::ceil(high / step) * step;
    }
    a.add_ticks(step);
    return a;
  }

  /// Positive values on a logarithmic scale.
  static chart_axis logarithmic(double low, double high) {
    chart_axis a{low / 1.1, high * 1.1, true};
    if (high / low < 8) {
      a.add_ticks(tick_step(a.low_, a.high_));
      return a;
    }
    bool const decades_only = high / low > 1000;
    for (double decade = std::pow(10, std::floor(std::log10(a.low_))); decade <= a.high_; decade *= 10) {
      for (double const factor : {1.0, 2.0, 5.0}) {
        double const tick = decade * factor;
        if (tick >= a.low_ && tick <= a.high_ && (factor == 1 || !decades_only)) a.ticks_.push_back(tick);
      }
    }
    return a;
  }

  std::vector<double> const& ticks() const { return ticks_; }

  /// 0 at the axis' low end, 1 at its high one.
  double at(double value) const {
    return logarithmic_ ? std::log(value / low_) / std::log(high_ / low_) : (value - low_) / (high_ - low_);
  }

  /// A tick's label: as many decimals as ticks need to differ, thousands as "k".
  std::string label(double tick) const {
    double const apart = logarithmic_ && step_ == 0 ? tick : step_;
    if (std::abs(tick) >= 1000 && std::fmod(apart, 100) == 0) return unetdn::text(tick / 1000, 'k');
    int const digits = std::max(0, -static_cast<int>(std::floor(std::log10(apart) + 1e-9)));
    return unetdn::metric_text(tick, digits);
  }

 private:
  chart_axis(double low, double high, bool logarithmic) : low_{low}, high_{high}, logarithmic_{logarithmic} {}

  /// 1, 2 or 5 times a power of ten, such that there are about five ticks.
  static double tick_step(double low, double high) {
    double const rough = (high - low) / 5;
    double const power = std::pow(10, std::floor(std::log10(rough)));
    for (double const factor : {1.0, 2.0, 5.0}) {
      if (factor * power >= rough * 0.999) return factor * power;
    }
    return 10 * power;
  }

  void add_ticks(double step) {
    step_ = step;
    double const slack = 1e-6 * step;
    for (double k = std::ceil((low_ - slack) / step) + 0.0; k * step <= high_ + slack; ++k) ticks_.push_back(k * step);
  }

  double low_, high_;
  bool logarithmic_;
  double step_ = 0;
  std::vector<double> ticks_;
};

/// One SVG picture with axes and the lines drawn into it.
class line_chart {
 public:
  /// `what` says to those who do not see the picture what it shows; it and the labels are HTML already.
  line_chart(chart_axis x, chart_axis y, std::string_view what, std::string_view x_label, std::string_view y_label)
      : x_{std::move(x)}, y_{std::move(y)} {
    svg_ = unetdn::text("<svg viewBox='0 0 ", width, ' ', height, "' role='img' aria-label='", what, "'>");
    for (double const tick : y_.ticks()) {
      std::string const at = number(down(tick));
      svg_ += unetdn::text("<path class='grid' d='M", left, ' ', at, 'H', width - right, "'/><text x='", left - 8,
                           "' y='", at, "' dy='.35em' text-anchor='end'>", y_.label(tick), "</text>");
    }
    for (double const tick : x_.ticks()) {
      std::string const at = number(across(tick));
      svg_ += unetdn::text("<path class='tick' d='M", at, ' ', height - bottom, "v5'/><text x='", at, "' y='",
                           height - bottom + 22, "' text-anchor='middle'>", x_.label(tick), "</text>");
    }
    svg_ +=
        unetdn::text("<path class='axis' d='M", left, ' ', height - bottom, 'H', width - right,
                     "'/><text class='label' x='", width - right, "' y='", height - 4, "' text-anchor='end'>", x_label,
                     "</text><text class='label' x='", left - 8, "' y='16' text-anchor='end'>", y_label, "</text>");
  }

  void line(std::span<chart_point const> points, std::string_view css_class) {
    std::string path;
    for (chart_point const& p : points) path += (path.empty() ? 'M' : 'L') + position(p);
    svg_ += unetdn::text("<path class='", css_class, "' d='", path, "'/>");
  }

  /// A dot with a note above it.
  void mark(chart_point p, std::string_view note) {
    bool const at_right = across(p.x) > width * 0.7;
    svg_ +=
        unetdn::text("<circle cx='", number(across(p.x)), "' cy='", number(down(p.y)), "' r='4'/><text class='note'",
                     " x='", number(across(p.x)), "' y='", number(std::max(down(p.y) - 10, 14.0)), "' text-anchor='",
                     at_right ? "end" : "start", "'>", note, "</text>");
  }

  std::string svg() const { return svg_ + "</svg>"; }

 private:
  static constexpr int width = 520, height = 300, left = 70, right = 12, top = 30, bottom = 52;

  static std::string number(double v) { return unetdn::metric_text(v, 1); }
  double across(double x) const { return left + x_.at(x) * (width - left - right); }
  double down(double y) const { return height - bottom - y_.at(y) * (height - top - bottom); }
  std::string position(chart_point p) const { return number(across(p.x)) + ' ' + number(down(p.y)); }

  chart_axis x_, y_;
  std::string svg_;
};

}  // namespace programs
