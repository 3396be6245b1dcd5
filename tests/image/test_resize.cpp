// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include <unetdn/image.hpp>

#include "catch.hpp"
#include "golden_resize.hpp"

using unetdn::image;
using unetdn::resize;
using unetdn::resize_filter;

namespace {

/// The picture of golden_resize.py.
image formula_picture(int width = 23, int height = 17, int channels = 3) {
  image out{width, height, channels};
  std::size_t i = 0;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < channels; ++c) out.pixels[i++] = float((x * 37 + y * 91 + x * y * 7 + c * 53) % 256) / 255.0F;
    }
  }
  return out;
}

double largest_difference(image const& a, image const& b) {
  REQUIRE(a.pixels.size() == b.pixels.size());
  double largest = 0;
  for (std::size_t i = 0; i < a.pixels.size(); ++i) {
    largest = std::max(largest, std::abs(double(a.pixels[i]) - double(b.pixels[i])));
  }
  return largest;
}

image constant_picture(int width, int height, std::vector<float> const& color) {
  image out{width, height, int(color.size())};
  for (std::size_t i = 0; i < out.pixels.size(); ++i) out.pixels[i] = color[i % color.size()];
  return out;
}

}  // namespace

TEST_CASE("resize gives Pillow's values") {
  image const in = formula_picture();
  double largest = 0;
  for (auto const& golden : golden_resizes) {
    image const out = resize(in, golden.width, golden.height, golden.filter);
    REQUIRE(out.width == golden.width);
    REQUIRE(out.height == golden.height);
    REQUIRE(out.channels == 3);
    std::size_t i = 0;
    for (float expected : golden.samples) {
      REQUIRE(i < out.pixels.size());
      double const difference = std::abs(double(out.pixels[i]) - double(expected));
      INFO(golden.width << " x " << golden.height << " filter " << int(golden.filter) << " sample " << i);
      CHECK(difference < 2e-6);
      largest = std::max(largest, difference);
      i += std::size_t(golden.step);
    }
    CHECK(i >= out.pixels.size());
  }
  INFO("largest difference " << largest);
  CHECK(largest > 0);  // something was compared
}

TEST_CASE("resize of a constant picture is constant") {
  for (auto filter : {resize_filter::area, resize_filter::lanczos3}) {
    for (auto [width, height] : {std::pair{3, 40}, {40, 3}, {1, 1}, {100, 100}}) {
      for (auto const& color : {std::vector<float>{0.3F}, {0.3F, 0.5F}, {0.1F, 0.2F, 0.9F}, {0.1F, 0.2F, 0.9F, 0.7F}}) {
        image const in = constant_picture(11, 13, color);
        CHECK(largest_difference(resize(in, width, height, filter), constant_picture(width, height, color)) < 1e-6);
      }
    }
  }
}

TEST_CASE("resize to the same size changes nothing, also under invisible pixels") {
  for (int channels = 1; channels <= 4; ++channels) {
    image const in = formula_picture(9, 8, channels);
    CHECK(resize(in, 9, 8).pixels == in.pixels);
  }
}

TEST_CASE("resize keeps depth and channels, and enlarging by area repeats pixels") {
  image in = formula_picture(4, 3, 2);
  in.bit_depth = 16;
  for (std::size_t i = 1; i < in.pixels.size(); i += 2) in.pixels[i] = 1;
  image const out = resize(in, 8, 9, resize_filter::area);
  CHECK(out.bit_depth == 16);
  CHECK(out.channels == 2);
  for (int y = 0; y < 9; ++y) {
    for (int x = 0; x < 8; ++x) CHECK(*out.as_view().pixel(0, y, x) == *in.as_view().pixel(0, y / 3, x / 2));
  }
}

TEST_CASE("resize: the colour of invisible pixels doesn't shine through") {
  // Columns in turn: opaque blue, transparent red.
  image in{16, 16, 4};
  for (int y = 0; y < 16; ++y) {
    for (int x = 0; x < 16; ++x) {
      float* const p = in.as_view().pixel(0, y, x);
      p[x % 2 == 0 ? 2 : 0] = 1;
      p[3] = x % 2 == 0 ? 1.0F : 0.0F;
    }
  }
  for (auto filter : {resize_filter::area, resize_filter::lanczos3}) {
    image const out = resize(in, 4, 4, filter);
    for (std::size_t i = 0; i < out.pixels.size(); i += 4) {
      CHECK(out.pixels[i] == 0);
      CHECK(out.pixels[i + 2] == Approx(1));
      CHECK(out.pixels[i + 3] == Approx(0.5).margin(0.1));
    }
  }
}

TEST_CASE("resize refuses what makes no sense") {
  image const in = formula_picture(4, 4, 1);
  CHECK_THROWS_AS(resize(in, 0, 4), unetdn::argument_error);
  CHECK_THROWS_AS(resize(in, 4, -1), unetdn::argument_error);
  CHECK_THROWS_AS(resize(image{}, 4, 4), unetdn::argument_error);
  image short_of_pixels = in;
  short_of_pixels.pixels.pop_back();
  CHECK_THROWS_AS(resize(short_of_pixels, 2, 2), unetdn::argument_error);
}

TEST_CASE("grey, colour and alpha") {
  image in{1, 1, 4};
  in.pixels = {0.25F, 0.5F, 0.75F, 0.125F};
  double const luma = 0.299 * 0.25 + 0.587 * 0.5 + 0.114 * 0.75;
  image const grey = to_grey(in);
  REQUIRE(grey.channels == 2);
  CHECK(grey.pixels[0] == Approx(luma).epsilon(1e-6));
  CHECK(grey.pixels[1] == 0.125F);
  CHECK(to_grey(without_alpha(in)).channels == 1);
  CHECK(without_alpha(in).pixels == std::vector<float>{0.25F, 0.5F, 0.75F});
  CHECK(to_rgb(grey).pixels == std::vector<float>{grey.pixels[0], grey.pixels[0], grey.pixels[0], 0.125F});
  CHECK(in.color_channels() == 3);
  CHECK(in.has_alpha());
  CHECK(without_alpha(grey).color_channels() == 1);
  for (int v = 0; v < 256; ++v) {
    image one = constant_picture(1, 1, {float(v) / 255.0F});
    CHECK(to_grey(to_rgb(one)).pixels == one.pixels);
  }
}
