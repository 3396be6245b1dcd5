// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <mutex>
#include <optional>
#include <set>
#include <stdexcept>
#include <tuple>
#include <utility>
#include <vector>

#include <unetdn/core/tensor.hpp>
#include <unetdn/train/dataset.hpp>
#include <unetdn/train/schedule.hpp>

#include "catch.hpp"
#include "thrown.hpp"

using namespace unetdn;

namespace {

/// A picture whose sample (y, x, c) is level (16 y + x + 100 c) % 256 of 255.
int level_at(int y, int x, int c) { return (16 * y + x + 100 * c) % 256; }
image ramp(int height, int width, int channels) {
  image p(width, height, channels);
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < channels; ++c) p.as_view().pixel(0, y, x)[c] = static_cast<float>(level_at(y, x, c)) / 255.f;
  return p;
}

image flat(float level, int side = 8) {
  image p(side, side, 1);
  std::fill(p.pixels.begin(), p.pixels.end(), level);
  return p;
}

std::vector<int> levels(view<float const> patch) {
  std::vector<int> all;
  for (int y = 0; y < patch.h; ++y)
    for (int x = 0; x < patch.w; ++x)
      for (int c = 0; c < patch.c; ++c) all.push_back(static_cast<int>(std::lround(patch.pixel(0, y, x)[c] * 255)));
  return all;
}

/// The picture rotated by a quarter turn, `times` times.
std::vector<std::vector<int>> rotated(std::vector<std::vector<int>> a, int times) {
  for (; times > 0; --times) {
    std::size_t const n = a.size();
    auto turned = a;
    for (std::size_t y = 0; y < n; ++y)
      for (std::size_t x = 0; x < n; ++x) turned[x][n - 1 - y] = a[y][x];
    a = turned;
  }
  return a;
}

/// The eight symmetries of a square picture: four rotations of it and of its mirror image.
std::set<std::vector<int>> symmetries(std::vector<std::vector<int>> const& a) {
  auto mirrored = a;
  for (auto& row : mirrored) std::reverse(row.begin(), row.end());
  std::set<std::vector<int>> all;
  for (int times = 0; times < 4; ++times) {
    for (auto const& b : {rotated(a, times), rotated(mirrored, times)}) {
      std::vector<int> joined;
      for (auto const& row : b) joined.insert(joined.end(), row.begin(), row.end());
      all.insert(joined);
    }
  }
  return all;
}

std::vector<std::uint8_t> bytes_of(std::vector<float> const& samples) {
  image p(static_cast<int>(samples.size()), 1, 1);
  p.pixels = samples;
  return training_picture(p, 1).pixels;
}

}  // namespace

TEST_CASE("training pictures are rounded to 8 bits, half to even, clamped, NaN is 0") {
  float const nan = std::numeric_limits<float>::quiet_NaN();
  float const infinity = std::numeric_limits<float>::infinity();
  CHECK(bytes_of({0.5f / 255, 1.5f / 255, 2.5f / 255}) == std::vector<std::uint8_t>{0, 2, 2});
  CHECK(bytes_of({-1, -infinity, 2, infinity, 1, 0}) == std::vector<std::uint8_t>{0, 0, 255, 255, 255, 0});
  CHECK(bytes_of({nan, -nan}) == std::vector<std::uint8_t>{0, 0});
  std::vector<float> all(256);
  for (std::size_t i = 0; i < 256; ++i) all[i] = static_cast<float>(i) / 255.f;
  auto const kept = bytes_of(all);
  for (std::size_t i = 0; i < 256; ++i) CHECK(kept[i] == i);
}

TEST_CASE("training pictures have the channels that were asked for") {
  image colour(1, 1, 4);
  colour.pixels = {1, 0, 0, 0.25f};
  CHECK(training_picture(colour, 3).pixels == std::vector<std::uint8_t>{255, 0, 0});
  CHECK(training_picture(colour, 1).pixels == std::vector<std::uint8_t>{76});  // 0.299 of 255
  image grey(1, 1, 2);
  grey.pixels = {0.2f, 0.9f};
  CHECK(training_picture(grey, 1).pixels == std::vector<std::uint8_t>{51});
  CHECK(training_picture(grey, 3).pixels == std::vector<std::uint8_t>{51, 51, 51});
  training_picture const p(ramp(3, 5, 3), 3);
  CHECK(p.height == 3);
  CHECK(p.width == 5);
  CHECK(p.pixel(2, 4)[1] == level_at(2, 4, 1));
  CHECK_THROWS_AS(training_picture(grey, 2), argument_error);
  CHECK_THROWS_AS(training_picture(grey, 0), argument_error);
}

TEST_CASE("a picture that is empty or inconsistent is refused") {
  CHECK_THROWS_AS(training_picture(image{}, 1), argument_error);
  image torn(4, 4, 1);
  torn.pixels.resize(15);
  CHECK_THROWS_AS(training_picture(torn, 1), argument_error);
  CHECK_THROWS_AS(training_picture(torn, 3), argument_error);
}

TEST_CASE("the choices are the eight symmetries of the square") {
  int const side = 3;
  training_picture const picture(ramp(8, 8, 1), 1);
  std::vector<std::vector<int>> square(3, std::vector<int>(3));
  for (int y = 0; y < side; ++y)
    for (int x = 0; x < side; ++x)
      square[static_cast<std::size_t>(y)][static_cast<std::size_t>(x)] = level_at(2 + y, 4 + x, 0);
  auto const expected = symmetries(square);
  REQUIRE(expected.size() == 8);
  cpu dev{1};
  std::set<std::vector<int>> seen;
  for (int symmetry = 0; symmetry < 8; ++symmetry) {
    tensor<float, cpu> patch(dev, {1, side, side, 1});
    crop_choice const c{0, 2, 4, (symmetry & 1) != 0, (symmetry & 2) != 0, (symmetry & 4) != 0};
    copy_crop(picture, c, patch.view());
    seen.insert(levels(patch.view()));
  }
  CHECK((seen == expected));

  // The plain crop keeps its orientation and channels.
  training_picture const colour(ramp(8, 8, 3), 3);
  tensor<float, cpu> patch(dev, {1, 2, 2, 3});
  copy_crop(colour, crop_choice{0, 5, 6, false, false, false}, patch.view());
  for (int y = 0; y < 2; ++y)
    for (int x = 0; x < 2; ++x)
      for (int c = 0; c < 3; ++c)
        CHECK(patch.view().pixel(0, y, x)[c] == static_cast<float>(level_at(5 + y, 6 + x, c)) / 255.f);
}

TEST_CASE("crops of pictures that are too small are reflected at the borders") {
  cpu dev{1};
  training_picture const picture(ramp(2, 3, 1), 1);
  tensor<float, cpu> patch(dev, {1, 5, 5, 1});
  copy_crop(picture, crop_choice{}, patch.view());
  int const rows[] = {0, 1, 0, 1, 0};
  int const columns[] = {0, 1, 2, 1, 0};
  for (int y = 0; y < 5; ++y)
    for (int x = 0; x < 5; ++x)
      CHECK(patch.view().pixel(0, y, x)[0] == static_cast<float>(level_at(rows[y], columns[x], 0)) / 255.f);

  training_picture const dot(flat(1, 1), 1);
  copy_crop(dot, crop_choice{0, 0, 0, true, true, false}, patch.view());
  for (int level : levels(patch.view())) CHECK(level == 255);
}

TEST_CASE("choices are uniform over pictures, places and symmetries") {
  random_key key;
  key.seed = 7;
  auto const sizes = [](std::uint32_t picture) {
    return picture == 0 ? std::pair{6, 5} : picture == 1 ? std::pair{4, 4} : std::pair{2, 9};
  };
  int const draws = 24000;
  std::array<int, 3> pictures{};
  std::array<int, 8> orientations{};
  std::array<int, 6> places{};
  for (std::uint32_t step = 0; step < 24; ++step) {
    key.step = step;
    for (std::uint32_t sample = 0; sample < draws / 24; ++sample) {
      crop_choice const c = choose_crop(key, sample, 3, 4, sizes);
      REQUIRE(c.picture < 3);
      auto const [height, width] = sizes(c.picture);
      REQUIRE(c.top >= 0);
      REQUIRE(c.left >= 0);
      REQUIRE(c.top <= std::max(0, height - 4));
      REQUIRE(c.left <= std::max(0, width - 4));
      ++pictures[c.picture];
      ++orientations[static_cast<std::size_t>(c.transpose + 2 * c.flip_rows + 4 * c.flip_columns)];
      if (c.picture == 0) ++places[static_cast<std::size_t>(2 * c.top + c.left)];
    }
  }
  // Five standard deviations of a count.
  auto const near = [](int count, double expected) { return std::abs(count - expected) < 5 * std::sqrt(expected); };
  for (int count : pictures) CHECK(near(count, draws / 3.0));
  for (int count : orientations) CHECK(near(count, draws / 8.0));
  for (int count : places) CHECK(near(count, pictures[0] / 6.0));
}

TEST_CASE("a choice depends on seed, step and sample, not on the stream that the key names") {
  auto const sizes = [](std::uint32_t) { return std::pair{1000, 1000}; };
  auto const chosen = [&](std::uint64_t seed, std::uint32_t step, random_stream stream, std::uint32_t sample) {
    crop_choice const c = choose_crop(random_key{seed, step, stream}, sample, 1000, 8, sizes);
    return std::tuple{c.picture, c.top, c.left};
  };
  auto const here = chosen(1, 2, random_stream::noise, 3);
  CHECK(chosen(1, 2, random_stream::noise, 3) == here);
  CHECK(chosen(1, 2, random_stream::crop, 3) == here);
  CHECK(chosen(2, 2, random_stream::noise, 3) != here);
  CHECK(chosen(1, 3, random_stream::noise, 3) != here);
  CHECK(chosen(1, 2, random_stream::noise, 4) != here);
}

TEST_CASE("a batch is the same for any number of threads and in a set built anew") {
  random_key const key{5, 17, random_stream::noise};
  auto const batch = [&](int threads, int from_step) {
    cpu dev(threads);
    training_set set(3);
    set.add(ramp(20, 30, 3));
    set.add(ramp(5, 40, 1));
    set.generate([](std::uint64_t i) { return ramp(16, 8 + static_cast<int>(i), 3); }, 100);
    for (int step = from_step; step <= 17; ++step) set.prepare(dev, step);
    tensor<float, cpu> patches(dev, {9, 12, 12, 3});
    set.draw(dev, key, 17, patches.view());
    return std::vector<float>(patches.data(), patches.data() + patches.size());
  };
  auto const one = batch(1, 17);
  CHECK(batch(2, 17) == one);
  CHECK(batch(3, 1) == one);
  // Every crop is one of a picture of the set: multiples of 1/255, and not all alike.
  std::set<float> values(one.begin(), one.end());
  CHECK(values.size() > 20);
  for (float v : values) CHECK(v == std::nearbyint(v * 255.f) / 255.f);
}

TEST_CASE("every picture takes part, photographs and generated ones") {
  cpu dev{2};
  training_set set(1);
  CHECK(set.empty());
  for (int i = 0; i < 3; ++i) set.add(flat(static_cast<float>(i) / 255.f));
  set.generate([](std::uint64_t i) { return flat(static_cast<float>(100 + i) / 255.f); }, 4);
  CHECK_FALSE(set.empty());
  CHECK(set.photographs() == 3);
  CHECK(set.channels() == 1);
  set.prepare(dev, 1);
  tensor<float, cpu> patches(dev, {400, 4, 4, 1});
  set.draw(dev, random_key{3, 1, random_stream::crop}, 1, patches.view());
  std::set<int> seen;
  for (int i = 0; i < 400; ++i) seen.insert(levels(std::as_const(patches).view().images(i, 1))[0]);
  CHECK(seen == std::set<int>{0, 1, 2, 100, 101, 102, 103});
}

TEST_CASE("generated pictures come in as training goes on, each made once") {
  cpu dev{2};
  training_set set(1);
  std::vector<int> made(64, 0);
  set.generate(
      [&](std::uint64_t i) {
        ++made.at(i);
        return flat(static_cast<float>(i) / 255.f);
      },
      64);
  CHECK(set.generated_at(0) == 8);
  CHECK(set.generated_at(3) == 8);
  CHECK(set.generated_at(4) == 9);
  CHECK(set.generated_at(223) == 63);
  CHECK(set.generated_at(224) == 64);
  CHECK(set.generated_at(std::int64_t(1) << 60) == 64);
  set.prepare(dev, 1);
  CHECK(std::count(made.begin(), made.end(), 1) == 8);
  set.prepare(dev, 1);
  set.prepare(dev, 40);
  set.prepare(dev, 2);
  CHECK(std::count(made.begin(), made.begin() + 18, 1) == 18);
  CHECK(std::count(made.begin() + 18, made.end(), 0) == 46);

  // A step sees those of its own time, even where later ones exist already.
  tensor<float, cpu> patches(dev, {300, 2, 2, 1});
  set.draw(dev, random_key{1, 1, random_stream::crop}, 1, patches.view());
  int highest = 0;
  for (int i = 0; i < 300; ++i) highest = std::max(highest, levels(std::as_const(patches).view().images(i, 1))[0]);
  CHECK(highest == 7);
}

TEST_CASE("a generator that fails leaves the set as it was") {
  cpu dev{2};
  training_set set(1);
  bool failing = true;
  set.generate(
      [&](std::uint64_t i) {
        if (failing && i == 5) throw std::runtime_error("no picture");
        return flat(1);
      },
      8);
  CHECK_THROWS_AS(set.prepare(dev, 1), std::runtime_error);
  tensor<float, cpu> patches(dev, {20, 4, 4, 1});
  random_key const key{1, 1, random_stream::crop};
  CHECK_THROWS_AS(set.prepare(dev, 1), std::runtime_error);
  failing = false;
  set.draw(dev, key, 1, patches.view());
  CHECK(std::all_of(patches.data(), patches.data() + patches.size(), [](float v) { return v == 1; }));
}

TEST_CASE("a set refuses what does not fit") {
  cpu dev{1};
  random_key const key{};
  training_set set(1);
  tensor<float, cpu> grey(dev, {2, 4, 4, 1}), colour(dev, {2, 4, 4, 3});
  CHECK(contains(thrown([&] { set.draw(dev, key, 1, grey.view()); }), "no pictures"));
  set.add(flat(1));
  CHECK_NOTHROW(set.draw(dev, key, 1, grey.view()));
  CHECK_THROWS_AS(set.draw(dev, key, 1, colour.view()), argument_error);
  CHECK_THROWS_AS(set.draw(dev, key, 1, grey.view().crop(0, 0, 4, 3)), argument_error);
  CHECK_THROWS_AS(set.generate([](std::uint64_t) { return flat(0); }, -1), argument_error);
  CHECK_THROWS_AS(training_set(2).add(flat(1)), argument_error);
}

TEST_CASE("the learning rate rises, stays and falls along half a cosine") {
  learning_rate rate{1e-3, 1e-5, 100, 300, 0};
  CHECK(rate.at(1) == Approx(1e-5));
  CHECK(rate.at(50) == Approx(5e-4));
  CHECK(rate.at(100) == 1e-3);
  CHECK(rate.at(101) == 1e-3);
  // As long as the number of steps is not known.
  CHECK(rate.at(1000000) == 1e-3);
  rate.steps = 700;
  CHECK(rate.at(100) == 1e-3);
  CHECK(rate.at(300) == 1e-3);
  CHECK(rate.at(301) < 1e-3);
  CHECK(rate.at(301) > 0.9999e-3);
  CHECK(rate.at(400) == Approx(1e-5 + 99e-5 * (0.5 + std::sqrt(2.0) / 4)));
  CHECK(rate.at(500) == Approx((1e-3 + 1e-5) / 2));
  CHECK(rate.at(700) == Approx(1e-5).epsilon(1e-12));
  CHECK(rate.at(701) == Approx(1e-5).epsilon(1e-12));
  double before = rate.at(300);
  for (int step = 301; step <= 700; ++step) {
    CHECK(rate.at(step) < before);
    before = rate.at(step);
  }
  // Nothing left to fall along.
  rate.steps = 300;
  CHECK(rate.at(300) == 1e-3);
  CHECK(rate.at(301) == Approx(1e-5).epsilon(1e-12));
}

TEST_CASE("the average forgets quickly at first") {
  CHECK(average_decay(0.999, 0) == Approx(0.1));
  CHECK(average_decay(0.999, 8) == Approx(0.5));
  CHECK(average_decay(0.999, 1000000) == 0.999);
  CHECK(average_decay(0, 5) == 0);
}

namespace {

/// The crops of steps `from` to 70 and their noisy twins, of pictures that are read as steps draw them.
std::vector<float> crops_read_later(int threads, int from, bool paired, std::set<int>* read = nullptr) {
  cpu dev(threads);
  training_set set(1);
  std::vector<training_source> sources;
  std::vector<int> times(12, 0);
  for (int i = 0; i < 12; ++i) {
    auto const picture = [&times, i, paired] {
      ++times[static_cast<std::size_t>(i)];
      image_pair pair{flat(static_cast<float>(i) / 255.f, 20 + i)};
      if (paired) pair.noisy = flat(static_cast<float>(100 + i) / 255.f, 20 + i);
      return pair;
    };
    sources.push_back({picture, std::uint64_t(6) << 20});
  }
  reading_options how;
  how.seed = 9;
  how.patch = 8;
  how.paired = paired;
  set.read_later(sources, how);
  std::vector<float> last;
  for (int step = from; step <= 70; ++step) {
    tensor<float, cpu> clean(dev, {5, 8, 8, 1}), noisy(dev, {5, 8, 8, 1});
    random_key const key{4, static_cast<std::uint32_t>(step), random_stream::noise};
    set.draw(dev, key, step, clean.view(), paired ? std::optional(noisy.view()) : std::nullopt);
    last.assign(clean.data(), clean.data() + clean.size());
    if (paired) last.insert(last.end(), noisy.data(), noisy.data() + noisy.size());
  }
  for (int i = 0; i < 12; ++i) {
    CHECK(times[static_cast<std::size_t>(i)] <= 1);
    if (read && times[static_cast<std::size_t>(i)]) read->insert(i);
  }
  return last;
}

}  // namespace

TEST_CASE("pictures read later give the same crops for any number of threads and from any step on") {
  bool const paired = GENERATE(false, true);
  auto const one = crops_read_later(1, 1, paired);
  CHECK(crops_read_later(2, 1, paired) == one);
  CHECK(crops_read_later(3, 1, paired) == one);
  std::set<int> read;
  CHECK(crops_read_later(2, 70, paired, &read) == one);
  CHECK(read.size() <= 5);  // those that the step drew
  if (!paired) return;
  for (std::size_t i = 0; i < one.size() / 2; ++i) {  // the twin of the same picture
    CHECK(std::lround((one[i + one.size() / 2] - one[i]) * 255) == 100);
  }
}

TEST_CASE("pictures read later come in by the size of their files, in an order that the seed decides") {
  cpu dev{2};
  auto const first_three = [&](std::uint64_t seed) {
    training_set set(1);
    set.add(flat(1));
    std::set<int> read;
    std::vector<training_source> sources;
    for (int i = 0; i < 40; ++i) {
      sources.push_back({[&read, i] {
                           read.insert(i);
                           return image_pair{flat(0)};
                         },
                         std::uint64_t(5) << 20});
    }
    reading_options how;
    how.seed = seed;
    set.read_later(sources, how);
    CHECK(set.photographs() == 41);
    CHECK(set.photographs_at(1) == 4);
    CHECK(set.photographs_at(31) == 4);
    CHECK(set.photographs_at(32) == 17);
    CHECK(set.photographs_at(std::int64_t(1) << 60) == 41);
    cpu one{1};
    set.prepare(one, 1);
    CHECK(set.reading_seconds() > 0);
    CHECK(set.reading_seconds_left(1 << 30) == Approx(set.reading_seconds() * 37 / 3));
    CHECK(set.reading_seconds_left(1) < set.reading_seconds() / 3);  // one more at most
    return read;
  };
  auto const chosen = first_three(1);
  CHECK(chosen.size() == 3);
  CHECK((first_three(1) == chosen));
  CHECK((first_three(2) != chosen));

  training_set large(1);
  large.read_later({{[] { return image_pair{flat(0)}; }, std::uint64_t(1) << 40}}, {});
  CHECK(large.photographs_at(1) == 1);
}

TEST_CASE("the crops of a pair are of one place and one orientation") {
  cpu dev{2};
  training_set set(1);
  image_pair pair{ramp(15, 16, 1), ramp(15, 16, 1)};
  for (float& v : pair.noisy->pixels) v = 1 - v;
  set.add(pair);
  CHECK(set.paired());
  tensor<float, cpu> clean(dev, {40, 6, 6, 1}), noisy(dev, {40, 6, 6, 1});
  set.draw(dev, {1, 1, random_stream::noise}, 1, clean.view(), noisy.view());
  for (std::int64_t i = 0; i < clean.size(); ++i) {
    CHECK(std::lround(255 * clean.data()[i]) + std::lround(255 * noisy.data()[i]) == 255);
  }
  CHECK_THROWS_AS(set.draw(dev, {}, 1, clean.view()), argument_error);
  CHECK_THROWS_AS(set.add(flat(0)), argument_error);
  CHECK_THROWS_AS(set.generate([](std::uint64_t) { return flat(0); }, 1), argument_error);
  pair.noisy = flat(0, 15);
  CHECK(contains(thrown([&] { set.add(pair); }), "15 x 15 pixels has a clean twin of 16 x 15"));
  training_set clean_only(1);
  clean_only.add(flat(0));
  CHECK_THROWS_AS(clean_only.add(image_pair{flat(0), flat(1)}), argument_error);
  CHECK_THROWS_AS(clean_only.draw(dev, {}, 1, clean.view(), noisy.view()), argument_error);
}

TEST_CASE("large pictures are scaled down by whole numbers, and pairs are cut only") {
  // 2^20 pixels are a megapixel: 2050 x 2050 pixels make four of them, and are halved.
  image large(2050, 2050, 1);
  for (int y = 0; y < 2050; ++y)
    for (int x = 0; x < 2050; ++x) large.as_view().pixel(0, y, x)[0] = static_cast<float>(level_at(y, x, 0)) / 255.f;
  image const half = reduced(large, {});
  REQUIRE(half.width == 1025);
  REQUIRE(half.height == 1025);
  auto const mean = [&](int y, int x) {
    int const sum = level_at(2 * y, 2 * x, 0) + level_at(2 * y, 2 * x + 1, 0) + level_at(2 * y + 1, 2 * x, 0) +
                    level_at(2 * y + 1, 2 * x + 1, 0);
    return static_cast<double>(sum) / 4 / 255;
  };
  for (int y : {0, 63, 64, 65, 1024})
    for (int x : {0, 1, 500, 1024}) CHECK(half.as_view().pixel(0, y, x)[0] == Approx(mean(y, x)).epsilon(1e-5));

  picture_limits limits;
  limits.pixels = 1000;
  limits.least = 40;
  limits.down = 0.999f;
  limits.right = 0;
  limits.scale = false;
  image const picture = ramp(100, 200, 3);
  image const window = reduced(picture, limits);
  CHECK(window.height == 40);  // the sides are not cut below this
  CHECK(window.width == 44);
  CHECK(window.as_view().pixel(0, 0, 0)[1] == picture.as_view().pixel(0, 60, 0)[1]);
  CHECK(window.as_view().pixel(0, 39, 43)[2] == picture.as_view().pixel(0, 99, 43)[2]);

  image_pair const pair = reduced(image_pair{large, large}, picture_limits{});
  CHECK(pair.clean.width == 2048);  // 4 megapixels, not scaled
  CHECK(pair.clean.pixels == pair.noisy->pixels);
  CHECK(reduced(ramp(3, 1, 1), limits).pixels == ramp(3, 1, 1).pixels);
}

TEST_CASE("pictures beyond what memory may take are dropped, and read again to the same crops") {
  constexpr int side = 32, count = 12;
  auto const crops = [](std::uint64_t memory, bool generated, int* times) {
    cpu dev{2};
    training_set set(1);
    std::mutex counting;
    auto const picture = [&, times](std::uint64_t i) {
      std::lock_guard const lock(counting);
      ++*times;
      image p = ramp(side, side, 1);
      for (float& v : p.pixels) v = (v + static_cast<float>(i)) / (count + 1);
      return p;
    };
    if (generated) {
      set.generate(picture, count);
    }
    reading_options how;
    how.patch = side;  // windows are no smaller than pictures
    how.memory = memory;
    std::vector<training_source> sources;
    for (std::uint64_t i = 0; i < count; ++i) sources.push_back({[=] { return image_pair{picture(i)}; }, 1});
    set.read_later(sources, how);
    std::vector<float> all;
    tensor<float, cpu> batch(dev, {2, side, side, 1});
    for (std::int64_t step = 1; step <= 30; ++step) {
      set.draw(dev, {3, static_cast<std::uint32_t>(step), random_stream::noise}, step, batch.view());
      all.insert(all.end(), batch.data(), batch.data() + batch.size());
      CHECK(set.bytes_kept() <= std::max<std::uint64_t>(memory, 2 * side * side));
    }
    return all;
  };
  for (bool const generated : {false, true}) {
    int once = 0, again = 0, hardly = 0;
    auto const all = crops(1 << 20, generated, &once);
    CHECK(once <= (generated ? 2 : 1) * count);
    CHECK(crops(4 * side * side, generated, &again) == all);
    CHECK(again > 2 * count);
    CHECK(crops(1, generated, &hardly) == all);
    CHECK(hardly > again);
  }
}

TEST_CASE("generated pictures can be replaced, and what they took is given back") {
  cpu dev{1};
  tensor<float, cpu> patch(dev, {2, 8, 8, 1});
  for (bool const scarce : {false, true}) {
    training_set set(1);
    reading_options how;
    how.patch = 8;
    how.memory = scarce ? 2 * 16 * 16 : 1 << 20;
    set.read_later({{[] { return image_pair{ramp(8, 8, 1)}; }, 1}}, how);
    for (int side : {8, 32, 16}) {
      set.generate([side](std::uint64_t) { return ramp(side, side, 1); }, side == 16 ? 2 : 4);
      for (std::int64_t step = 1; step <= 40; ++step) {
        set.draw(dev, {1, static_cast<std::uint32_t>(step), random_stream::noise}, step, patch.view());
        CHECK(set.bytes_kept() <= std::max<std::uint64_t>(how.memory, 2 * 32 * 32));
      }
      if (!scarce) CHECK(set.bytes_kept() == std::uint64_t(8 * 8 + (side == 16 ? 2 : 4) * side * side));
    }
  }
}

TEST_CASE("with many pictures windows become smaller, so that all fit into memory") {
  cpu dev{1};
  training_set set(1);
  std::vector<training_source> sources;
  for (int i = 0; i < 4; ++i) sources.push_back({[] { return image_pair{ramp(64, 64, 1)}; }, 1});
  reading_options how;
  how.patch = 8;
  how.memory = 4 * 16 * 16;
  set.read_later(sources, how);
  tensor<float, cpu> patch(dev, {1, 64, 64, 1});
  set.draw(dev, {1, 1, random_stream::noise}, 1, patch.view());
  // A patch wider than the window repeats it, reflected: period 30.
  auto const v = std::as_const(patch).view();
  for (int y = 0; y < 34; ++y)
    for (int x = 0; x < 34; ++x) {
      CHECK(v.pixel(0, y + 30, x)[0] == v.pixel(0, y, x)[0]);
      CHECK(v.pixel(0, y, x + 30)[0] == v.pixel(0, y, x)[0]);
    }
}
