// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <unetdn/metrics.hpp>

#include "catch.hpp"
#include "golden/formula.hpp"
#include "golden/metrics.hpp"

using unetdn::mse;
using unetdn::psnr;
using unetdn::ssim;
using unetdn::ssim_options;
using unetdn::ssim_window;
using unetdn::view;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// A dense batch and the memory it lies in.
struct batch {
  std::vector<float> values;
  int n, h, w, c;
  view<float const> x() const { return {values.data(), n, h, w, c}; }
};

/// The batch of metrics.py and the same with a quarter of noise mixed in.
std::pair<batch, batch> noisy_pair(int n, int h, int w, int c) {
  batch a{golden::picture("picture", n, h, w, c), n, h, w, c};
  batch b{golden::batch("noise", n, h, w, c), n, h, w, c};
  for (std::size_t i = 0; i < a.values.size(); ++i) b.values[i] = (3 * a.values[i] + b.values[i]) / 4;
  return {a, b};
}

batch constant(int h, int w, int c, float value) {
  return {std::vector<float>(static_cast<std::size_t>(h) * w * c, value), 1, h, w, c};
}

std::string message_of(view<float const> a, view<float const> b, ssim_options options = {}) {
  try {
    ssim(a, b, options);
  } catch (unetdn::argument_error const& e) {
    return e.what();
  }
  return "nothing thrown";
}

ssim_options const gaussian{ssim_window::gaussian_11, 1};
ssim_options const uniform{ssim_window::uniform_7_sample, 1};

}  // namespace

TEST_CASE("metrics: scikit-image's values") {
  for (auto const& expected : golden::metrics) {
    INFO(expected.h << " x " << expected.w << " x " << expected.c);
    auto const [a, b] = noisy_pair(1, expected.h, expected.w, expected.c);
    CHECK(std::abs(mse(a.x(), b.x()) - expected.mse) < 1e-12);
    CHECK(std::abs(psnr(a.x(), b.x()) - expected.psnr) < 1e-9);
    CHECK(std::abs(ssim(a.x(), b.x(), gaussian) - expected.ssim_gaussian) < 1e-9);
    CHECK(std::abs(ssim(a.x(), b.x(), uniform) - expected.ssim_uniform) < 1e-9);
    CHECK(ssim(a.x(), b.x()) == ssim(a.x(), b.x(), gaussian));
  }
}

TEST_CASE("metrics: identical pictures") {
  auto const a = noisy_pair(1, 20, 30, 3).first;
  CHECK(mse(a.x(), a.x()) == 0);
  CHECK(psnr(a.x(), a.x()) == infinity);
  CHECK(ssim(a.x(), a.x(), gaussian) == Approx(1).epsilon(1e-13));
  CHECK(ssim(a.x(), a.x(), uniform) == Approx(1).epsilon(1e-13));
}

TEST_CASE("metrics: constant pictures have a closed form") {
  double const c1 = 0.01 * 0.01;
  for (auto const& options : {gaussian, uniform}) {
    for (auto const& [a, b] : {std::pair{0.25F, 0.75F}, {0.0F, 1.0F}, {0.5F, 0.5F}}) {
      double const expected = (2.0 * a * b + c1) / (double(a) * a + double(b) * b + c1);
      CHECK(ssim(constant(12, 17, 2, a).x(), constant(12, 17, 2, b).x(), options) == Approx(expected).epsilon(1e-10));
    }
  }
  CHECK(psnr(constant(3, 4, 1, 0.0F).x(), constant(3, 4, 1, 0.1F).x()) == Approx(20).epsilon(1e-6));
  CHECK(psnr(constant(1, 1, 1, 0).x(), constant(1, 1, 1, 255).x(), 255) == 0);
}

TEST_CASE("metrics: bytes and [0, 1] agree when the range is told") {
  auto [a, b] = noisy_pair(1, 24, 31, 3);
  double const in_unit_range[] = {psnr(a.x(), b.x()), ssim(a.x(), b.x(), gaussian), ssim(a.x(), b.x(), uniform)};
  for (float& value : a.values) value *= 256;
  for (float& value : b.values) value *= 256;
  CHECK(psnr(a.x(), b.x(), 256) == Approx(in_unit_range[0]).epsilon(1e-12));
  CHECK(ssim(a.x(), b.x(), {ssim_window::gaussian_11, 256}) == Approx(in_unit_range[1]).epsilon(1e-12));
  CHECK(ssim(a.x(), b.x(), {ssim_window::uniform_7_sample, 256}) == Approx(in_unit_range[2]).epsilon(1e-12));
}

TEST_CASE("metrics: a batch gives the mean over its pictures") {
  auto const [a, b] = noisy_pair(3, 13, 19, 2);
  double sums[3] = {};
  for (int i = 0; i < 3; ++i) {
    sums[0] += mse(a.x().images(i, 1), b.x().images(i, 1));
    sums[1] += psnr(a.x().images(i, 1), b.x().images(i, 1));
    sums[2] += ssim(a.x().images(i, 1), b.x().images(i, 1));
  }
  CHECK(mse(a.x(), b.x()) == Approx(sums[0] / 3).epsilon(1e-13));
  CHECK(psnr(a.x(), b.x()) == Approx(sums[1] / 3).epsilon(1e-13));
  CHECK(ssim(a.x(), b.x()) == Approx(sums[2] / 3).epsilon(1e-13));
}

TEST_CASE("metrics: any strides give the same bits as a dense copy") {
  auto const [a, b] = noisy_pair(2, 40, 50, 5);
  auto const window = [](batch const& from) { return from.x().channels(1, 3).crop(3, 5, 33, 41).phase(1, 0, 2); };
  auto const copy = [](view<float const> x) {
    batch dense{{}, x.n, x.h, x.w, x.c};
    for (int in = 0; in < x.n; ++in) {
      for (int iy = 0; iy < x.h; ++iy) {
        for (int ix = 0; ix < x.w; ++ix) {
          dense.values.insert(dense.values.end(), x.pixel(in, iy, ix), x.pixel(in, iy, ix) + x.c);
        }
      }
    }
    return dense;
  };
  auto const dense_a = copy(window(a));
  auto const dense_b = copy(window(b));
  REQUIRE(!window(a).dense());
  CHECK(mse(window(a), window(b)) == mse(dense_a.x(), dense_b.x()));
  CHECK(psnr(window(a), dense_b.x()) == psnr(dense_a.x(), dense_b.x()));
  CHECK(ssim(window(a), dense_b.x()) == ssim(dense_a.x(), dense_b.x()));
}

TEST_CASE("metrics: what cannot be compared is refused") {
  auto const a = constant(10, 30, 1, 0.5F);
  auto const b = constant(30, 10, 1, 0.5F);
  CHECK_THROWS_AS(mse(a.x(), b.x()), unetdn::argument_error);
  CHECK_THROWS_AS(psnr(a.x(), b.x()), unetdn::argument_error);
  CHECK_THROWS_AS(psnr(a.x(), a.x(), 0), unetdn::argument_error);
  CHECK_THROWS_AS(mse({}, {}), unetdn::argument_error);
  CHECK(message_of(a.x(), b.x()).find("SSIM compares pictures of one shape, not 1 x 10 x 30 x 1 with 1 x 30") == 0);
  CHECK(message_of(a.x(), a.x()).find("SSIM's window is 11 x 11 pixels and the picture only 10 x 30") == 0);
  CHECK(message_of(b.x(), b.x()).find("SSIM's window is 11 x 11 pixels and the picture only 30 x 10") == 0);
  CHECK(message_of(a.x(), a.x(), uniform) == "nothing thrown");
  CHECK(message_of(constant(6, 7, 1, 0).x(), constant(6, 7, 1, 0).x(), uniform).find("SSIM's window is 7 x 7") == 0);
  CHECK(message_of(a.x(), a.x(), {ssim_window::uniform_7_sample, 0}).find("data_range") != std::string::npos);
}

TEST_CASE("metrics: means leave out infinite values and count them") {
  unetdn::mean_of_metrics mean;
  CHECK(std::isnan(mean.mean()));
  mean.add(infinity);
  CHECK(mean.mean() == infinity);
  mean.add(30);
  mean.add(31);
  CHECK(mean.mean() == 30.5);
  CHECK(mean.count() == 3);
  CHECK(mean.infinite() == 1);
  mean.add(std::nan(""));
  CHECK(std::isnan(mean.mean()));
}

TEST_CASE("metrics: text and JSON") {
  CHECK(unetdn::metric_text(30.126, 2) == "30.13");
  CHECK(unetdn::metric_text(infinity, 2) == "inf");
  CHECK(unetdn::metric_text(std::nan(""), 2) == "nan");
  CHECK(unetdn::metric_text(1e308, 2).size() == 312);
  CHECK(unetdn::metric_json(30.125) == "30.125");
  CHECK(unetdn::metric_json(infinity) == "null");
  CHECK(unetdn::metric_json(std::nan("")) == "null");
}

TEST_CASE("golden: the formula's first numbers are those of formula.py") {
  static_assert(golden::stream_of("") == 0x811C9DC5U);
  static_assert(golden::stream_of("a") == 0xE40C292CU);  // FNV-1a's published test value
  CHECK(golden::word(golden::stream_of("input"), 0) == 0xCC8D6F84U);
  CHECK(golden::word(golden::stream_of("input"), 767) == 0x605AD5BEU);
  CHECK(golden::weights("encoder.0.conv1.weight", {8, 3, 3, 3})[200] == 0.33380126953125F);
  CHECK(golden::weights("decoder.0.up.weight", {16, 8, 2, 2})[100] == 0.22442626953125F);
  CHECK(golden::weights("output.bias", {3})[2] == -0.111328125F);
}
