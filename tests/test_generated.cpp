// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include <unetdn/devices/cpu.hpp>
#include <unetdn/generated.hpp>

#include "catch.hpp"

using namespace unetdn;
namespace leaves = unetdn::detail::leaves;

namespace {

/// FNV-1a/64 of the bits of samples.
[[maybe_unused]] std::uint64_t hash_of(std::vector<float> const& samples) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (float sample : samples) {
    std::uint32_t bits;
    std::memcpy(&bits, &sample, sizeof bits);
    for (int shift = 0; shift < 32; shift += 8) hash = (hash ^ ((bits >> shift) & 255)) * 0x100000001b3u;
  }
  return hash;
}

struct statistics {
  double mean = 0, deviation = 0;
};

statistics statistics_of(image const& picture) {
  double sum = 0, squares = 0, count = double(picture.pixels.size());
  for (float v : picture.pixels) {
    sum += double(v);
    squares += double(v) * double(v);
  }
  return {sum / count, std::sqrt(std::max(0.0, squares / count - sum / count * (sum / count)))};
}

bool in_range(image const& picture) {
  return std::all_of(picture.pixels.begin(), picture.pixels.end(), [](float v) { return v >= 0 && v <= 1; });
}

/// Mean power of the rows at one frequency (cycles a row), by the definition.
double row_power(float const* values, int rows, int columns, int frequency) {
  double const turn = 8 * std::atan(1.0);
  double power = 0;
  for (int y = 0; y < rows; ++y) {
    double re = 0, im = 0;
    for (int x = 0; x < columns; ++x) {
      double const angle = turn * (frequency * x % columns) / columns;
      re += double(values[y * columns + x]) * std::cos(angle);
      im += double(values[y * columns + x]) * std::sin(angle);
    }
    power += (re * re + im * im) / rows;
  }
  return power;
}

/// Share of horizontal neighbours that are equal.
double flat_share(image const& picture) {
  double equal = 0;
  for (int y = 0; y < picture.height; ++y) {
    for (int x = 1; x < picture.width; ++x) {
      float const* const p = picture.pixels.data() + (y * picture.width + x) * picture.channels;
      equal += std::equal(p, p + picture.channels, p - picture.channels) ? 1 : 0;
    }
  }
  return equal / (picture.height * (picture.width - 1));
}

std::vector<leaves::point> placed(std::vector<leaves::point> contour, float x, float y, float radius) {
  for (leaves::point& p : contour) p = {x + radius * p.x, y + radius * p.y};
  return contour;
}

std::int64_t painted(leaves::canvas& layer, leaves::outline const& edges) {
  std::int64_t const before = layer.free();
  layer.paint(edges, leaves::texture{});
  return before - layer.free();
}

}  // namespace

TEST_CASE("a generated picture is a pure function of its arguments") {
  image const picture = generate_picture(1, 2, 64, 48);
  CHECK(picture.width == 64);
  CHECK(picture.height == 48);
  CHECK(picture.channels == 3);
  CHECK(generate_picture(1, 2, 64, 48).pixels == picture.pixels);
  CHECK(generate_picture(2, 2, 64, 48).pixels != picture.pixels);
  CHECK(generate_picture(1, 3, 64, 48).pixels != picture.pixels);
  CHECK(generate_picture(1, 2 + (std::uint64_t(1) << 32), 64, 48).pixels != picture.pixels);
}

TEST_CASE("generated pictures do not depend on threads") {
  std::vector<std::vector<float>> alone(6), together(6);
  for (std::size_t i = 0; i < alone.size(); ++i) alone[i] = generate_picture(5, i, 40, 40).pixels;
  cpu dev{3};
  dev.parallel(6, [&](int i, int) {
    together[std::size_t(i)] = generate_picture(5, static_cast<std::uint64_t>(i), 40, 40).pixels;
  });
  CHECK(alone == together);
}

// Elsewhere the compiler may contract products and sums, which moves edges by rounding.
#if defined(__x86_64__) && !defined(__FMA__)
TEST_CASE("generated pictures have the stored bits") {
  std::uint64_t hash = 0;
  for (std::uint64_t i = 0; i < 8; ++i) hash = hash * 31 + hash_of(generate_picture(7, i, 96, 64).pixels);
  CHECK(hash == 0xfdd937e96794c62du);
}
#endif

TEST_CASE("generated pictures are pictures") {
  double mean = 0, deviation = 0;
  int const pictures = 24;
  for (int i = 0; i < pictures; ++i) {
    image const picture = generate_picture(3, static_cast<std::uint64_t>(i), 96, 80);
    statistics const s = statistics_of(picture);
    CHECK(in_range(picture));
    CHECK(s.deviation > 0.01);
    CHECK(s.deviation < 0.45);
    mean += s.mean / pictures;
    deviation += s.deviation / pictures;
  }
  CHECK(mean > 0.3);
  CHECK(mean < 0.6);
  CHECK(deviation > 0.1);
  CHECK(deviation < 0.3);
}

TEST_CASE("generated pictures have about the spectrum of photographs") {
  // Power 1 / f^a in the plane is about 1 / f^(a - 1) along rows; photographs have a near 2, from 1.5 to 3.
  int const size = 128;
  double low = 0, high = 0;
  generated_options options;
  options.channels = 1;
  for (std::uint64_t i = 0; i < 16; ++i) {
    image const picture = generate_picture(4, i, size, size, options);
    for (int f = 2; f < 4; ++f) low += row_power(picture.pixels.data(), size, size, f) / 2;
    for (int f = 16; f < 32; ++f) high += row_power(picture.pixels.data(), size, size, f) / 16;
  }
  double const slope = std::log2(low / high) / 3;  // three octaves
  CHECK(slope > 0.6);
  CHECK(slope < 2.2);
}

TEST_CASE("texture and shape classes can be chosen") {
  generated_options options;
  options.blur = false;
  options.supersampling = 1;
  options.smallest_radius = 6;
  auto const share = [&](generated_texture texture) {
    options.texture = texture;
    double sum = 0;
    for (std::uint64_t i = 0; i < 4; ++i) sum += flat_share(generate_picture(6, i, 96, 96, options)) / 4;
    return sum;
  };
  CHECK(share(generated_texture::flat) > 0.7);
  CHECK(share(generated_texture::gradient) < 0.3);
  CHECK(share(generated_texture::sinusoid) < 0.3);
  CHECK(share(generated_texture::noise) < 0.3);
  CHECK(share(generated_texture::mix) < 0.3);
  options.texture = generated_texture::any;
  std::vector<std::vector<float>> seen;
  for (auto shape :
       {generated_shape::any, generated_shape::disk, generated_shape::rectangle, generated_shape::polygon}) {
    options.shape = shape;
    std::vector<float> const pixels = generate_picture(6, 0, 64, 64, options).pixels;
    CHECK(std::find(seen.begin(), seen.end(), pixels) == seen.end());
    seen.push_back(pixels);
  }
  options.channels = 1;
  image const grey = generate_picture(6, 0, 20, 10, options);
  CHECK(grey.channels == 1);
  CHECK(grey.pixels.size() == 200);
}

TEST_CASE("any size works, down to one pixel") {
  for (int width : {1, 2, 31, 300}) {
    image const picture = generate_picture(8, 1, width, 3);
    CHECK(picture.width == width);
    CHECK(in_range(picture));
  }
}

TEST_CASE("leaves cover the whole canvas") {
  for (std::uint32_t i = 0; i < 6; ++i) {
    random_sequence draw{{9}, i};
    leaves::scene const scene = leaves::draw_scene(draw, 50, 37, {});
    leaves::canvas layer{50, 37, 3};
    leaves::paint_leaves(draw, layer, scene, 0);
    CHECK(layer.free() == 0);
    for (std::size_t pixel = 0; pixel < 50 * 37; ++pixel) REQUIRE(layer.alpha(pixel) == 1);
  }
}

TEST_CASE("outlines cover their area, and only where nothing is yet") {
  double const pi = 4 * std::atan(1.0);
  leaves::canvas layer{100, 100, 2};
  leaves::outline disk;
  leaves::add_contour(disk, placed(leaves::unit_disk(40), 60.3f, 70.7f, 40));
  CHECK(double(painted(layer, disk)) == Approx(pi * 1600).epsilon(0.01));
  CHECK(painted(layer, disk) == 0);
  CHECK(layer.any_free({60, 70}, 60));
  CHECK_FALSE(layer.any_free({62, 70}, 1));

  leaves::canvas other{100, 100, 2};
  std::vector<leaves::point> const square = {{-1, -1}, {1, -1}, {1, 1}, {-1, 1}};
  leaves::outline frame;
  leaves::add_contour(frame, placed(square, 100, 100, 30));
  leaves::add_contour(frame, placed(square, 100, 100, 10));
  CHECK(painted(other, frame) == 60 * 60 - 20 * 20);
  leaves::outline outside;
  leaves::add_contour(outside, placed(square, -50, 400, 30));
  CHECK(painted(other, outside) == 0);
  leaves::outline corner;
  leaves::add_contour(corner, placed(square, 0, 200, 30));
  CHECK(painted(other, corner) == 30 * 30);
}

TEST_CASE("radii follow their law") {
  double const width = 300, height = 200, smallest = 4, largest = 256;
  leaves::radius_law const law{4, 6, 300, 200};
  random_sequence draw{{10}};
  std::vector<double> radii(200000);
  for (double& r : radii) r = double(law.draw(draw));
  std::sort(radii.begin(), radii.end());
  CHECK(radii.front() >= smallest * (1 - 1e-6));
  CHECK(radii.back() <= largest * (1 + 1e-5));
  // The integral of (W H + 2 (W + H) r + 4 r^2) / r^3.
  auto const integral = [&](double r) {
    return -width * height / (2 * r * r) - 2 * (width + height) / r + 4 * std::log(r);
  };
  double distance = 0;
  for (std::size_t i = 0; i < radii.size(); ++i) {
    double const p = (integral(radii[i]) - integral(smallest)) / (integral(largest) - integral(smallest));
    distance = std::max(distance, std::abs(p - double(i) / double(radii.size())));
  }
  CHECK(distance < 2.69 / std::sqrt(double(radii.size())));
}

TEST_CASE("noise tiles have amplitude 1 / f^s") {
  double const slopes[leaves::tile_count / 2] = {0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.5};
  int const side = leaves::tile_side;
  for (int i = 0; i < leaves::tile_count; ++i) {
    std::vector<float> const& values = leaves::noise_tiles()[std::size_t(i)].values;
    REQUIRE(values.size() == std::size_t(side) * std::size_t(side));
    double expected[2] = {}, found[2] = {};
    for (int band = 0; band < 2; ++band) {
      int const first = band == 0 ? 6 : 48;
      for (int f = first; f < first + 8; ++f) {
        found[band] += row_power(values.data(), side, side, f);
        for (int other = -side / 2; other < side / 2; ++other)
          expected[band] += std::pow(double(f) * f + double(other) * other, -slopes[i / 2]);
      }
    }
    INFO("s = " << slopes[i / 2]);
    CHECK(std::log2(found[0] / found[1]) == Approx(std::log2(expected[0] / expected[1])).margin(0.6));
  }
}

TEST_CASE("options that make no picture are refused") {
  auto const refused = [](int width, int height, generated_options const& options) {
    CHECK_THROWS_AS(generate_picture(1, 1, width, height, options), argument_error);
  };
  refused(0, 5, {});
  refused(5, -1, {});
  refused(1 << 15, 5, {});
  generated_options options;
  options.channels = 2;
  refused(5, 5, options);
  options = {};
  options.supersampling = 0;
  refused(5, 5, options);
  options = {};
  options.smallest_radius = -1;
  refused(5, 5, options);
  options = {};
  options.smallest_radius = 20;
  options.largest_radius = 10;
  refused(5, 5, options);
}
