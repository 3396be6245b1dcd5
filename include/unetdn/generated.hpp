// SPDX-License-Identifier: Apache-2.0
#pragma once
// Training pictures without photographs: dead leaves. Opaque leaves of all sizes hide each other, as things in the
// world do, which gives photographs' statistics: edges, occlusion, a 1/f^2 power spectrum.
//
// No function of the mathematics library is called, so pictures are equal wherever the compiler does not contract
// a * b + c into one rounding (x86-64 without -march, or -ffp-contract=off), and differ by rounding elsewhere.
#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <vector>

#include <unetdn/core/error.hpp>
#include <unetdn/core/random.hpp>
#include <unetdn/image.hpp>

namespace unetdn {

/// What is on the leaves.
enum class generated_texture {
  any,       ///< each leaf has one of the following
  flat,      ///< one colour
  gradient,  ///< a linear or a ball-like change of colour
  sinusoid,  ///< stripes or a weave, from soft to hard
  noise,     ///< Gaussian noise with amplitude 1 / f^s, s in [.5, 2.5], some of it made into blotches
  mix        ///< gradient, wavy stripes and noise
};

/// The outline of the leaves.
enum class generated_shape { any, disk, rectangle, polygon };

/// What generate_picture paints.
struct generated_options {
  int channels = 3;  ///< 1 or 3
  generated_texture texture = generated_texture::any;
  generated_shape shape = generated_shape::any;
  float smallest_radius = 0;  ///< in pixels; 0: each picture draws its own, from 1.5 to 16
  float largest_radius = 0;   ///< in pixels; 0: each picture draws its own, from .4 to 1.6 of its smaller side
  bool blur = true;           ///< some pictures have a foreground or background out of focus, some a soft lens
  int supersampling = 3;      ///< samples a pixel, in each direction
};

namespace detail::leaves {

struct point {
  float x, y;
};

struct color {
  float r, g, b;
  friend color operator+(color p, color q) { return {p.r + q.r, p.g + q.g, p.b + q.b}; }
  friend color operator-(color p, color q) { return {p.r - q.r, p.g - q.g, p.b - q.b}; }
  friend color operator*(float s, color p) { return {s * p.r, s * p.g, s * p.b}; }
};

inline float luminance(color c) { return 0.299f * c.r + 0.587f * c.g + 0.114f * c.b; }

/// 2^x for |x| < 100; relative error below 1e-8 before rounding.
inline float power_of_two(float x) {
  int whole = static_cast<int>(x);
  if (x < static_cast<float>(whole)) --whole;
  double const t = double(x) - whole;
  double const fraction =
      1 + t * (0.69314693 +
               t * (0.24023045 + t * (0.0554806302 + t * (0.00968418631 + t * (0.00123913318 + t * 0.000218657848)))));
  return static_cast<float>(fraction * std::bit_cast<double>(std::uint64_t(1023 + whole) << 52));
}

/// sin(2 pi u) within .001, for |u| < 2^30: two parabolas, then their square mixed in.
inline float sine_of_turns(float u) {
  int whole = static_cast<int>(u);
  if (u < static_cast<float>(whole)) --whole;
  float const t = u - static_cast<float>(whole) - 0.5f;  // [-1/2, 1/2), half a turn off
  float const magnitude = t < 0 ? -t : t;
  float const y = t * (16 * magnitude - 8);
  return y + 0.225f * (y * (y < 0 ? -y : y) - y);
}

/// The unit vector whose angle is word / 2^32 of a turn.
inline point direction(std::uint32_t word) {
  fixed_angle const angle = sine_cosine(word);
  return {static_cast<float>(angle.cosine) * 0x1p-30f, static_cast<float>(angle.sine) * 0x1p-30f};
}

/// Between low and high, its logarithm uniform. `octaves` is log2(high / low).
inline float log_uniform(random_sequence& draw, float low, float octaves) {
  return low * power_of_two(draw.uniform() * octaves);
}

/// In [0, 1), the product of two uniforms. Drawn one after the other: the order within an expression is the compiler's.
inline float mostly_small(random_sequence& draw) {
  float const first = draw.uniform();
  return first * draw.uniform();
}

// ---- Noise tiles ---------------------------------------------------------------------------------------------------

inline constexpr int tile_side = 256;
inline constexpr int tile_count = 16;

/// Periodic Gaussian noise with mean 0, variance 1 and amplitude spectrum 1 / f^s.
struct noise_tile {
  std::vector<float> values;

  /// Bilinear, wrapped around; x and y in texels above -2^30.
  float at(float x, float y) const {
    int ix = static_cast<int>(x), iy = static_cast<int>(y);
    if (x < static_cast<float>(ix)) --ix;
    if (y < static_cast<float>(iy)) --iy;
    float const tx = x - static_cast<float>(ix), ty = y - static_cast<float>(iy);
    unsigned const mask = tile_side - 1;
    unsigned const x0 = unsigned(ix) & mask, x1 = unsigned(ix + 1) & mask;
    float const* const row0 = values.data() + (unsigned(iy) & mask) * tile_side;
    float const* const row1 = values.data() + (unsigned(iy + 1) & mask) * tile_side;
    float const above = row0[x0] + tx * (row0[x1] - row0[x0]);
    float const below = row1[x0] + tx * (row1[x1] - row1[x0]);
    return above + ty * (below - above);
  }
};

struct complex {
  float re, im;
};

/// In-place Fourier transform of tile_side values `stride` apart: bit reversal, then log2(tile_side) butterfly passes.
inline void fourier(complex* v, int stride) {
  for (int i = 1, j = 0; i < tile_side; ++i) {
    int bit = tile_side >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) std::swap(v[i * stride], v[j * stride]);
  }
  for (int length = 2; length <= tile_side; length *= 2) {
    for (int k = 0; k < length / 2; ++k) {
      point const w = direction(static_cast<std::uint32_t>((std::uint64_t(k) << 32) / unsigned(length)));
      for (int i = k; i < tile_side; i += length) {
        complex& a = v[i * stride];
        complex& b = v[(i + length / 2) * stride];
        complex const t = {b.re * w.x - b.im * w.y, b.re * w.y + b.im * w.x};
        b = {a.re - t.re, a.im - t.im};
        a = {a.re + t.re, a.im + t.im};
      }
    }
  }
}

/// f^(-quarters / 4) for the squared frequency f2.
inline float inverse_power(float f2, int quarters) {
  float const fourth_root = square_root(square_root(square_root(f2)));
  float product = 1;
  for (int i = 0; i < quarters; ++i) product *= fourth_root;
  return 1 / product;
}

inline void normalize(std::vector<float>& values) {
  double sum = 0, squares = 0;
  for (float v : values) {
    sum += double(v);
    squares += double(v) * double(v);
  }
  double const count = double(values.size());
  float const mean = static_cast<float>(sum / count);
  float const scale = 1 / square_root(static_cast<float>(squares / count - sum / count * (sum / count)));
  for (float& v : values) v = std::clamp((v - mean) * scale, -3.5f, 3.5f);
}

/// Two tiles at once: the real and the imaginary part of the transform of a Gaussian spectrum are independent.
inline void make_tiles(int pair, noise_tile& first, noise_tile& second) {
  int const slopes[tile_count / 2] = {2, 3, 4, 5, 6, 7, 8, 10};  // s in quarters
  random_sequence draw{{0x6c65617665730000u, 0, random_stream::generated}, static_cast<std::uint32_t>(pair)};
  std::vector<complex> field(std::size_t(tile_side) * tile_side);
  for (int y = 0; y < tile_side; ++y) {
    for (int x = 0; x < tile_side; ++x) {
      float const fx = static_cast<float>(x < tile_side / 2 ? x : x - tile_side);
      float const fy = static_cast<float>(y < tile_side / 2 ? y : y - tile_side);
      float const f2 = fx * fx + fy * fy;
      float const amplitude = f2 > 0 ? inverse_power(f2, slopes[pair]) : 0;
      float const re = draw.gaussian(), im = draw.gaussian();
      field[std::size_t(y * tile_side + x)] = {amplitude * re, amplitude * im};
    }
  }
  for (int y = 0; y < tile_side; ++y) fourier(field.data() + y * tile_side, 1);
  for (int x = 0; x < tile_side; ++x) fourier(field.data() + x, tile_side);
  for (complex const& v : field) {
    first.values.push_back(v.re);
    second.values.push_back(v.im);
  }
  normalize(first.values);
  normalize(second.values);
}

/// The same tiles for all pictures (a leaf places, turns and stretches its own), made on first use.
inline std::array<noise_tile, tile_count> const& noise_tiles() {
  static std::array<noise_tile, tile_count> const tiles = [] {
    std::array<noise_tile, tile_count> made;
    for (int pair = 0; pair < tile_count / 2; ++pair)
      make_tiles(pair, made[std::size_t(2 * pair)], made[std::size_t(2 * pair + 1)]);
    return made;
  }();
  return tiles;
}

// ---- Colours -------------------------------------------------------------------------------------------------------

/// A colour of the given luminance; `strength` 0 is grey.
inline color tinted(float light, std::uint32_t hue, float strength) {
  std::uint32_t const third = 0x55555555u;
  color const wheel = {direction(hue).x, direction(hue - third).x, direction(hue - 2 * third).x};
  float const shift = luminance(wheel);
  float const room = 4 * light * (1 - light);  // strong colours are neither black nor white
  return color{light, light, light} + (strength * room) * (wheel - color{shift, shift, shift});
}

/// Hues as in the world: browns, greens and blues more often than others.
inline std::uint32_t draw_hue(random_sequence& draw) {
  float const turns[3] = {0.08f, 0.28f, 0.59f};
  std::uint32_t const pick = draw.index(4);
  if (pick == 3) return draw.word();
  float const hue = turns[pick] + 0.04f * draw.gaussian() + 1;
  return static_cast<std::uint32_t>(static_cast<std::uint64_t>(hue * 0x1p32f));
}

/// The colours that a picture's leaves vary on.
inline std::vector<color> draw_palette(random_sequence& draw) {
  std::uint32_t const hues[2] = {draw_hue(draw), draw_hue(draw)};
  float const saturation = draw.chance(0.1f) ? 0 : draw.uniform(0.05f, 0.38f);
  float const middle = draw.uniform(0.25f, 0.6f);
  float const spread = draw.uniform(0.08f, 0.24f);
  std::vector<color> palette(4 + draw.index(9));
  for (color& c : palette) {
    float const light = std::clamp(middle + spread * draw.gaussian(), 0.02f, 0.97f);
    std::uint32_t const pick = draw.index(5);
    std::uint32_t const hue = pick == 4 ? draw_hue(draw) : hues[pick & 1];
    std::uint32_t const jitter = static_cast<std::uint32_t>(static_cast<std::int64_t>(draw.gaussian() * 0x1p27f));
    c = tinted(light, hue + jitter, saturation * mostly_small(draw));
  }
  return palette;
}

/// A colour near one of the palette's.
inline color draw_color(random_sequence& draw, std::vector<color> const& palette) {
  color const base = palette[draw.index(static_cast<std::uint32_t>(palette.size()))];
  float const light = 0.06f * draw.gaussian();
  float const warmth = 0.02f * draw.gaussian();
  return base + color{light + warmth, light, light - warmth};
}

/// A direction in which the colour of a material changes: mostly its own brightness (a colour line through black), and
/// a little towards another colour.
inline color draw_color_line(random_sequence& draw, color base, std::vector<color> const& palette) {
  float const light = std::max(luminance(base), 0.15f);
  color line = (1 / light) * base + color{0.05f, 0.05f, 0.05f};
  float const towards = 0.6f * draw.uniform();
  line = line + towards * (draw_color(draw, palette) - base);
  float const size = std::max(0.3f, std::max({line.r, line.g, line.b}));
  float const strength = std::clamp(2 * luminance(base), 0.35f, 1.0f);  // dark things have dark patterns
  return (strength / size) * line;
}

// ---- Textures ------------------------------------------------------------------------------------------------------

/// color(x, y) = base + along * (gradient + ball + waves) + across * noise, at sample (x, y).
struct texture {
  float center_x = 0, center_y = 0;
  color base{}, along{}, across{};
  bool has_gradient = false, has_waves = false, has_noise = false;
  float gradient_x = 0, gradient_y = 0, ball = 0;  ///< per sample, and per squared sample
  float tilt_x = 0, tilt_y = 0;                    ///< foreshortening of waves and noise, per sample
  float wave_x = 0, wave_y = 0;                    ///< turns per sample
  float cross_x = 0, cross_y = 0;                  ///< of the waves that cross them; 0 for stripes
  float phase = 0, wave_amplitude = 0, wave_hardness = 0, wave_warp = 0;
  noise_tile const* tile = nullptr;
  float xx = 1, xy = 0, yx = 0, yy = 1;  ///< texels per sample
  float offset_x = 0, offset_y = 0, noise_amplitude = 0, noise_hardness = 0;
};

/// v for hardness 0; towards a step function as it grows.
inline float harden(float v, float hardness) {
  if (hardness == 0) return v;
  return v * (1 + hardness) / square_root(1 + hardness * (2 + hardness) * v * v);
}

inline color evaluate(texture const& t, float x, float y) {
  float const dx = x - t.center_x, dy = y - t.center_y;
  color result = t.base;
  float along = 0;
  if (t.has_gradient) along = t.gradient_x * dx + t.gradient_y * dy + t.ball * (dx * dx + dy * dy);
  if (t.has_noise || t.has_waves) {
    float const depth = 1 / std::max(0.3f, 1 + t.tilt_x * dx + t.tilt_y * dy);
    float const u = dx * depth, v = dy * depth;
    float noise = 0;
    if (t.has_noise) {
      noise = t.tile->at(t.xx * u + t.xy * v + t.offset_x, t.yx * u + t.yy * v + t.offset_y);
      result = result + (t.noise_amplitude * harden(noise, t.noise_hardness)) * t.across;
    }
    if (t.has_waves) {
      float const turns = t.wave_x * u + t.wave_y * v + t.phase + t.wave_warp * noise;
      float wave = sine_of_turns(turns);
      if (t.cross_x != 0 || t.cross_y != 0) wave *= sine_of_turns(t.cross_x * u + t.cross_y * v);
      along += t.wave_amplitude * harden(wave, t.wave_hardness);
    }
  }
  result = result + along * t.along;
  return {std::clamp(result.r, 0.0f, 1.0f), std::clamp(result.g, 0.0f, 1.0f), std::clamp(result.b, 0.0f, 1.0f)};
}

inline generated_texture draw_texture_class(random_sequence& draw, float radius_in_pixels) {
  float const u = draw.uniform();
  if (radius_in_pixels < 4) return u < 0.5f ? generated_texture::flat : generated_texture::gradient;
  if (u < 0.06f) return generated_texture::flat;
  if (u < 0.22f) return generated_texture::gradient;
  if (u < 0.32f) return generated_texture::sinusoid;
  if (u < 0.68f) return generated_texture::noise;
  return generated_texture::mix;
}

inline void add_gradient(random_sequence& draw, texture& t, float radius) {
  t.has_gradient = true;
  float const change = draw.uniform(0.05f, 0.35f) / radius;
  if (draw.chance(0.3f)) {
    // A ball lit from the side.
    t.ball = -draw.uniform(0.1f, 0.4f) / (radius * radius);
  }
  point const d = direction(draw.word());
  t.gradient_x = change * d.x;
  t.gradient_y = change * d.y;
}

/// `scale` is samples per pixel.
inline void add_waves(random_sequence& draw, texture& t, float radius, float scale) {
  t.has_waves = true;
  float const shortest = 3 * scale;
  float const longest = std::max(1.2f * shortest, 0.7f * radius);
  float const length = shortest + (longest - shortest) * mostly_small(draw);
  point const d = direction(draw.word());
  t.wave_x = d.x / length;
  t.wave_y = d.y / length;
  if (draw.chance(0.3f)) {
    float const ratio = draw.uniform(0.4f, 1.5f);
    t.cross_x = -ratio * t.wave_y;
    t.cross_y = ratio * t.wave_x;
  }
  t.phase = draw.uniform();
  t.wave_amplitude = log_uniform(draw, 0.03f, 3);
  t.wave_hardness = draw.chance(0.4f) ? draw.uniform(1, 8) : 0;
}

inline void add_noise(random_sequence& draw, texture& t, float scale) {
  t.has_noise = true;
  t.tile = &noise_tiles()[draw.index(tile_count)];
  // Texels per sample along two axes: equal, or stretched as wood and fur are.
  float const size = 1 / (scale * log_uniform(draw, 0.4f, 2.3f));
  float const stretch = draw.chance(0.35f) ? log_uniform(draw, 0.08f, 3) : 1;
  point const d = direction(draw.word());
  t.xx = size * d.x;
  t.xy = size * d.y;
  t.yx = -size * stretch * d.y;
  t.yy = size * stretch * d.x;
  t.offset_x = draw.uniform(0, tile_side);
  t.offset_y = draw.uniform(0, tile_side);
  t.noise_amplitude = log_uniform(draw, 0.03f, 2.8f);
  t.noise_hardness = draw.chance(0.25f) ? draw.uniform(1, 10) : 0;
}

inline texture draw_texture(random_sequence& draw, generated_texture wanted, std::vector<color> const& palette,
                            point center, float radius, float scale) {
  if (wanted == generated_texture::any) wanted = draw_texture_class(draw, radius / scale);
  texture t;
  t.center_x = center.x;
  t.center_y = center.y;
  t.base = draw_color(draw, palette);
  if (wanted == generated_texture::flat) return t;
  t.along = draw_color_line(draw, t.base, palette);
  if (wanted == generated_texture::gradient || wanted == generated_texture::mix) add_gradient(draw, t, radius);
  if (wanted == generated_texture::gradient) return t;
  t.across = draw_color_line(draw, t.base, palette);
  if (draw.chance(0.4f)) {
    t.tilt_x = draw.uniform(-0.6f, 0.6f) / radius;
    t.tilt_y = draw.uniform(-0.6f, 0.6f) / radius;
  }
  bool const mixed = wanted == generated_texture::mix;
  if (wanted == generated_texture::sinusoid || (mixed && draw.chance(0.4f))) add_waves(draw, t, radius, scale);
  if (wanted == generated_texture::noise || mixed) add_noise(draw, t, scale);
  if (mixed && t.has_waves) t.wave_warp = 0.25f * draw.uniform();
  return t;
}

// ---- Outlines ------------------------------------------------------------------------------------------------------

struct edge {
  point from, to;
};

/// Closed contours; inside is where an odd number of edges lies to the left.
using outline = std::vector<edge>;

inline void add_contour(outline& edges, std::vector<point> const& corners) {
  for (std::size_t i = 0; i < corners.size(); ++i) edges.push_back({corners[i], corners[(i + 1) % corners.size()]});
}

inline std::vector<point> unit_disk(float radius) {
  // Chords stay within a seventh of a sample of the circle.
  int const corners = std::clamp(static_cast<int>(6 * square_root(radius)), 8, 160);
  std::vector<point> contour;
  for (int i = 0; i < corners; ++i)
    contour.push_back(direction(static_cast<std::uint32_t>((std::uint64_t(i) << 32) / unsigned(corners))));
  return contour;
}

/// Cuts every corner at a quarter and three quarters of its sides; repeated, a quadratic spline (Chaikin 1974).
inline std::vector<point> cut_corners(std::vector<point> const& corners) {
  std::vector<point> cut;
  for (std::size_t i = 0; i < corners.size(); ++i) {
    point const a = corners[i], b = corners[(i + 1) % corners.size()];
    cut.push_back({0.75f * a.x + 0.25f * b.x, 0.75f * a.y + 0.25f * b.y});
    cut.push_back({0.25f * a.x + 0.75f * b.x, 0.25f * a.y + 0.75f * b.y});
  }
  return cut;
}

inline std::vector<point> unit_polygon(random_sequence& draw, float radius) {
  std::uint32_t const corners = 3 + draw.index(radius < 12 ? 4 : 9);
  std::uint32_t const step = 0xffffffffu / corners;
  float const dent = draw.uniform(0, 0.7f);  // 0: nearly convex
  std::vector<point> contour;
  for (std::uint32_t i = 0; i < corners; ++i) {
    point const d = direction(i * step + index_from(draw.word(), step / 4 * 3));
    float const reach = 1.1f - dent * draw.uniform();
    contour.push_back({reach * d.x, reach * d.y});
  }
  std::uint32_t const cuts = draw.index(radius < 12 ? 2 : 5);  // 0: sharp corners
  for (std::uint32_t i = 0; i < cuts; ++i) contour = cut_corners(contour);
  return contour;
}

inline generated_shape draw_shape_class(random_sequence& draw) {
  float const u = draw.uniform();
  if (u < 0.3f) return generated_shape::disk;
  if (u < 0.5f) return generated_shape::rectangle;
  return generated_shape::polygon;
}

/// The contour of a leaf, turned, squeezed and put in place; large ones may have a hole.
inline outline draw_outline(random_sequence& draw, generated_shape wanted, point center, float radius) {
  if (wanted == generated_shape::any) wanted = draw_shape_class(draw);
  std::vector<point> contour;
  float squeeze = draw.chance(0.5f) ? 1 : draw.uniform(0.3f, 1);
  if (wanted == generated_shape::disk) {
    contour = unit_disk(radius);
  } else if (wanted == generated_shape::rectangle) {
    contour = {{-0.9f, -0.9f}, {0.9f, -0.9f}, {0.9f, 0.9f}, {-0.9f, 0.9f}};
    squeeze = draw.uniform(0.12f, 1);
  } else {
    contour = unit_polygon(draw, radius);
  }
  point const turn = direction(draw.word());
  for (point& p : contour) {
    float const x = radius * p.x, y = radius * squeeze * p.y;
    p = {center.x + turn.x * x - turn.y * y, center.y + turn.y * x + turn.x * y};
  }
  outline edges;
  add_contour(edges, contour);
  if (radius > 30 && draw.chance(0.12f)) {
    float const inner = draw.uniform(0.3f, 0.8f);
    for (point& p : contour) p = {center.x + inner * (p.x - center.x), center.y + inner * (p.y - center.y)};
    add_contour(edges, contour);
  }
  return edges;
}

// ---- Canvas --------------------------------------------------------------------------------------------------------

/// A layer of leaves, painted front to back: a sample keeps the first colour that it gets. Samples are summed into
/// their pixel at once, so only which ones are covered is stored at the fine resolution.
class canvas {
 public:
  canvas(int width, int height, int supersampling)
      : width_{width},
        scale_{supersampling},
        fine_width_{width * supersampling},
        fine_height_{height * supersampling},
        blocks_across_{ceil_div(fine_width_, block)},
        covered_(std::size_t(fine_width_) * std::size_t(fine_height_), 0),
        free_in_block_(std::size_t(blocks_across_) * std::size_t(ceil_div(fine_height_, block)), 0),
        free_{std::int64_t(fine_width_) * fine_height_},
        sums_(std::size_t(width) * std::size_t(height), color{0, 0, 0}),
        counts_(sums_.size(), 0),
        pixel_of_(std::size_t(fine_width_)) {
    for (int x = 0; x < fine_width_; ++x) pixel_of_[std::size_t(x)] = x / supersampling;
    for (int y = 0; y < fine_height_; ++y)
      for (int x = 0; x < fine_width_; ++x) ++free_in_block_[block_of(x, y)];
  }

  int fine_width() const { return fine_width_; }
  int fine_height() const { return fine_height_; }
  std::int64_t free() const { return free_; }

  /// Whether a leaf of this radius could still show.
  bool any_free(point center, float radius) const {
    int const x0 = clip(center.x - radius, fine_width_), x1 = clip(center.x + radius, fine_width_);
    int const y0 = clip(center.y - radius, fine_height_), y1 = clip(center.y + radius, fine_height_);
    for (int by = y0 / block; by <= y1 / block; ++by)
      for (int bx = x0 / block; bx <= x1 / block; ++bx)
        if (free_in_block_[std::size_t(by * blocks_across_ + bx)] != 0) return true;
    return false;
  }

  /// Paints the free samples inside the outline.
  void paint(outline const& edges, texture const& t) {
    float top = edges[0].from.y, bottom = top;
    for (edge const& e : edges) {
      top = std::min(top, e.from.y);
      bottom = std::max(bottom, e.from.y);
    }
    int const last = clip(bottom, fine_height_);
    for (int y = clip(top, fine_height_); y <= last; ++y) {
      crossings_.clear();
      float const at = static_cast<float>(y) + 0.5f;
      for (edge const& e : edges) {
        if ((e.from.y <= at) == (e.to.y <= at)) continue;
        crossings_.push_back(e.from.x + (at - e.from.y) * ((e.to.x - e.from.x) / (e.to.y - e.from.y)));
      }
      std::sort(crossings_.begin(), crossings_.end());
      for (std::size_t i = 0; i + 1 < crossings_.size(); i += 2) paint_span(y, crossings_[i], crossings_[i + 1], t);
    }
  }

  /// Paints whatever is left.
  void paint_rest(texture const& t) {
    for (int y = 0; y < fine_height_; ++y) paint_span(y, 0, static_cast<float>(fine_width_), t);
  }

  /// The mean colour of a pixel's samples, where those not covered count as black.
  color at(std::size_t pixel) const { return (1 / samples()) * sums_[pixel]; }
  /// The share of a pixel's samples that are covered.
  float alpha(std::size_t pixel) const { return static_cast<float>(counts_[pixel]) / samples(); }

 private:
  static constexpr int block = 32;

  static int clip(float v, int size) { return static_cast<int>(std::clamp(v, 0.0f, static_cast<float>(size - 1))); }
  std::size_t block_of(int x, int y) const { return std::size_t(y / block * blocks_across_ + x / block); }
  float samples() const { return static_cast<float>(scale_ * scale_); }

  void paint_span(int y, float from, float to, texture const& t) {
    // Samples whose centre lies in [from, to).
    float const limit = static_cast<float>(fine_width_);
    int const first = static_cast<int>(std::clamp(from + 0.5f, 0.0f, limit));
    int const last = static_cast<int>(std::clamp(to + 0.5f, 0.0f, limit));
    unsigned char* const covered = covered_.data() + std::size_t(y) * std::size_t(fine_width_);
    std::size_t const row = std::size_t(y / scale_) * std::size_t(width_);
    for (int x = first; x < last; ++x) {
      if (covered[x]) continue;
      covered[x] = 1;
      --free_in_block_[block_of(x, y)];
      --free_;
      std::size_t const pixel = row + std::size_t(pixel_of_[std::size_t(x)]);
      sums_[pixel] = sums_[pixel] + evaluate(t, static_cast<float>(x), static_cast<float>(y));
      ++counts_[pixel];
    }
  }

  int width_, scale_, fine_width_, fine_height_, blocks_across_;
  std::vector<unsigned char> covered_;
  std::vector<int> free_in_block_;
  std::int64_t free_;
  std::vector<color> sums_;
  std::vector<int> counts_;
  std::vector<int> pixel_of_;
  std::vector<float> crossings_;
};

// ---- Layers --------------------------------------------------------------------------------------------------------

/// Radii with density r^-3 between two bounds, for leaves that touch a canvas.
///
/// A leaf's centre is uniform on the canvas grown by the radius on all sides: a domain of W H + 2 (W + H) r + 4 r^2. So
/// the radii of leaves that may show have density r^-3 times that: a mixture of r^-3, r^-2 and r^-1, each with an
/// inverse in closed form.
class radius_law {
 public:
  /// The bounds are `smallest` and smallest * 2^octaves, in samples.
  radius_law(float smallest, float octaves, float width, float height)
      : smallest_{smallest}, octaves_{octaves}, shrink_{power_of_two(-octaves)} {
    mass_[0] = width * height * (1 - shrink_ * shrink_) / (2 * smallest * smallest);
    mass_[1] = 2 * (width + height) * (1 - shrink_) / smallest;
    mass_[2] = 4 * 0.693147181f * octaves;
  }

  float draw(random_sequence& draw) const {
    float const pick = draw.uniform() * (mass_[0] + mass_[1] + mass_[2]);
    float const u = draw.uniform();
    if (pick < mass_[0]) return smallest_ / square_root(1 - u * (1 - shrink_ * shrink_));
    if (pick < mass_[0] + mass_[1]) return smallest_ / (1 - u * (1 - shrink_));
    return log_uniform_of(u);
  }

 private:
  float log_uniform_of(float u) const { return smallest_ * power_of_two(u * octaves_); }

  float smallest_, octaves_, shrink_;
  float mass_[3];
};

struct scene {
  radius_law radii;
  std::vector<color> palette;
  generated_options options;
};

/// Paints leaves until at most `free_share` of the samples are free, or, where the share is 0, all.
inline void paint_leaves(random_sequence& draw, canvas& layer, scene const& s, double free_share) {
  float const scale = static_cast<float>(s.options.supersampling);
  float const width = static_cast<float>(layer.fine_width()), height = static_cast<float>(layer.fine_height());
  std::int64_t const total = std::int64_t(layer.fine_width()) * layer.fine_height();
  std::int64_t const enough = static_cast<std::int64_t>(free_share * double(total));
  // The last gaps would take ever more leaves that do not show: one leaf behind all closes them.
  std::int64_t const gaps = std::max(enough, total / 2000);
  while (layer.free() > gaps) {
    float const radius = s.radii.draw(draw);
    point const center = {draw.uniform() * (width + 2 * radius) - radius,
                          draw.uniform() * (height + 2 * radius) - radius};
    if (!layer.any_free(center, radius)) continue;
    outline const edges = draw_outline(draw, s.options.shape, center, radius);
    layer.paint(edges, draw_texture(draw, s.options.texture, s.palette, center, radius, scale));
  }
  if (enough > 0) return;
  point const middle = {width / 2, height / 2};
  layer.paint_rest(draw_texture(draw, s.options.texture, s.palette, middle, width / 2, scale));
}

inline std::vector<float> gaussian_weights(float sigma) {
  int const reach = static_cast<int>(2.5f * sigma + 1);
  std::vector<float> weights;
  float sum = 0;
  for (int i = -reach; i <= reach; ++i) {
    float const t = static_cast<float>(i) / sigma;
    weights.push_back(power_of_two(-0.72134752f * t * t));
    sum += weights.back();
  }
  for (float& w : weights) w /= sum;
  return weights;
}

/// Blurs along columns and exchanges rows with columns; twice, it blurs and restores the order. Edges are repeated.
inline std::vector<float> blur_transposed(std::vector<float> const& in, int width, int height, int channels,
                                          std::vector<float> const& weights) {
  int const reach = static_cast<int>(weights.size()) / 2;
  std::size_t const row_size = std::size_t(width) * std::size_t(channels);
  std::vector<float> out(in.size()), sum(row_size);
  for (int y = 0; y < height; ++y) {
    std::fill(sum.begin(), sum.end(), 0.0f);
    for (int k = -reach; k <= reach; ++k) {
      float const w = weights[std::size_t(k + reach)];
      float const* const from = in.data() + std::size_t(std::clamp(y + k, 0, height - 1)) * row_size;
      for (std::size_t i = 0; i < row_size; ++i) sum[i] += w * from[i];
    }
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < channels; ++c)
        out[(std::size_t(x) * std::size_t(height) + std::size_t(y)) * std::size_t(channels) + std::size_t(c)] =
            sum[std::size_t(x * channels + c)];
  }
  return out;
}

inline void blur(std::vector<float>& pixels, int width, int height, int channels, float sigma) {
  if (sigma < 0.2f) return;
  std::vector<float> const weights = gaussian_weights(sigma);
  pixels = blur_transposed(pixels, width, height, channels, weights);
  pixels = blur_transposed(pixels, height, width, channels, weights);
}

/// Red, green, blue (sums with black where nothing is) and coverage of a layer.
inline std::vector<float> layer_pixels(canvas const& layer, int width, int height) {
  std::vector<float> out;
  std::size_t const pixels = std::size_t(width) * std::size_t(height);
  out.reserve(4 * pixels);
  for (std::size_t i = 0; i < pixels; ++i) {
    color const c = layer.at(i);
    out.insert(out.end(), {c.r, c.g, c.b, layer.alpha(i)});
  }
  return out;
}

/// Puts `front` over `back`, which is opaque: back + front - back * coverage.
inline void compose(std::vector<float>& back, std::vector<float> const& front) {
  for (std::size_t i = 0; i < back.size(); i += 4)
    for (std::size_t c = 0; c < 3; ++c) back[i + c] = front[i + c] + back[i + c] * (1 - front[i + 3]);
}

/// The largest whole or half number k, at least 1, with smallest * 2^k <= largest, roughly: the radii's octaves.
inline float octaves_between(float smallest, float largest) {
  float octaves = 0.5f;
  while (octaves < 14 && smallest * power_of_two(octaves + 0.25f) <= largest) octaves += 0.25f;
  return octaves;
}

inline scene draw_scene(random_sequence& draw, int width, int height, generated_options const& options) {
  float const scale = static_cast<float>(options.supersampling);
  float const side = static_cast<float>(std::min(width, height));
  float smallest = log_uniform(draw, 1.5f, 3.4f);
  float largest = side * log_uniform(draw, 0.4f, 2);
  if (options.smallest_radius > 0) smallest = options.smallest_radius;
  if (options.largest_radius > 0) largest = options.largest_radius;
  float const octaves = octaves_between(smallest, std::max(largest, 1.5f * smallest));
  radius_law const radii{smallest * scale, octaves, scale * static_cast<float>(width),
                         scale * static_cast<float>(height)};
  return {radii, draw_palette(draw), options};
}

/// Two layers, one of them out of focus.
inline std::vector<float> paint_with_depth(random_sequence& draw, scene const& s, int width, int height) {
  canvas front{width, height, s.options.supersampling}, back{width, height, s.options.supersampling};
  paint_leaves(draw, front, s, double(draw.uniform(0.3f, 0.8f)));
  paint_leaves(draw, back, s, 0);
  std::vector<float> front_pixels = layer_pixels(front, width, height);
  std::vector<float> pixels = layer_pixels(back, width, height);
  float const sigma = log_uniform(draw, 0.5f, 2.6f);
  blur(draw.chance(0.7f) ? pixels : front_pixels, width, height, 4, sigma);
  compose(pixels, front_pixels);
  return pixels;
}

inline void check_options(int width, int height, generated_options const& options) {
  check(width >= 1 && height >= 1 && width <= 1 << 14 && height <= 1 << 14, "generated picture of ", width, " x ",
        height, ": sides are 1 to 16384");
  check(options.channels == 1 || options.channels == 3, "generated picture with ", options.channels,
        " channels; choose 1 or 3");
  check(options.supersampling >= 1 && options.supersampling <= 8, "generated picture with supersampling ",
        options.supersampling, "; choose 1 to 8");
  for (float radius : {options.smallest_radius, options.largest_radius})
    check(radius == 0 || (radius >= 0.5f && radius <= 16384), "generated picture with radius ", radius,
          "; choose 0 (drawn by chance), or 0.5 to 16384 pixels");
  check(options.smallest_radius == 0 || options.largest_radius == 0 || options.smallest_radius < options.largest_radius,
        "generated picture: the smallest radius is not below the largest");
}

}  // namespace detail::leaves

/// Paints picture number `index` of the family `seed`: leaves of the shapes and textures above in colours of one
/// procedural palette, radii with density r^-3, hiding each other, front to back until nothing is bare; anti-aliased by
/// averaging supersampling^2 samples a pixel; in some pictures a layer is out of focus.
///
/// A pure function of its arguments: any thread may paint any picture. Samples are in [0, 1]. Throws argument_error for
/// options that make no picture.
///
/// Lee, Mumford, Huang: Occlusion models for natural images (IJCV 2001); Achddou, Gousseau, Ladjal: Synthetic images as
/// a regularity prior for image restoration neural networks (SSVM 2021).
inline image generate_picture(std::uint64_t seed, std::uint64_t index, int width, int height,
                              generated_options const& options = {}) {
  namespace leaves = detail::leaves;
  leaves::check_options(width, height, options);
  random_key const key{seed, static_cast<std::uint32_t>(index >> 32), random_stream::generated};
  random_sequence draw{key, static_cast<std::uint32_t>(index)};
  leaves::scene const scene = leaves::draw_scene(draw, width, height, options);
  std::vector<float> pixels;
  if (options.blur && draw.chance(0.35f)) {
    pixels = leaves::paint_with_depth(draw, scene, width, height);
  } else {
    leaves::canvas layer{width, height, options.supersampling};
    leaves::paint_leaves(draw, layer, scene, 0);
    pixels = leaves::layer_pixels(layer, width, height);
  }
  if (options.blur && draw.chance(0.5f)) leaves::blur(pixels, width, height, 4, draw.uniform(0.2f, 0.8f));
  image picture{width, height, 3};
  for (std::size_t i = 0; i < pixels.size() / 4; ++i)
    for (std::size_t c = 0; c < 3; ++c) picture.pixels[3 * i + c] = std::clamp(pixels[4 * i + c], 0.0f, 1.0f);
  return options.channels == 1 ? to_grey(std::move(picture)) : picture;
}

}  // namespace unetdn
