// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <numbers>
#include <utility>
#include <vector>

#include <unetdn/core/random.hpp>
#include <unetdn/image.hpp>

// A picture that no network has seen: a cat behind a wooden sign. It has what denoisers find easy, gradients, and what
// they find hard: fur, whiskers, a fine pattern, lettering.

namespace programs {
namespace drawing {

inline constexpr int extent = 256;  ///< coordinates go from 0 to 256, whatever the picture's size
inline constexpr int samples = 4;   ///< in a row and in a column of each pixel

struct point {
  float x = 0, y = 0;
  friend point operator+(point p, point q) { return {p.x + q.x, p.y + q.y}; }
  friend point operator-(point p, point q) { return {p.x - q.x, p.y - q.y}; }
  friend point operator*(float s, point p) { return {s * p.x, s * p.y}; }
};

struct color {
  float r = 0, g = 0, b = 0;
  friend color operator+(color p, color q) { return {p.r + q.r, p.g + q.g, p.b + q.b}; }
  friend color operator*(float s, color p) { return {s * p.r, s * p.g, s * p.b}; }
};

/// A colour, and how much of what lies below it covers.
struct paint {
  color c;
  float alpha = 1;
};

inline float length(point p) { return std::sqrt(p.x * p.x + p.y * p.y); }
inline point unit(point p) { return 1 / std::max(length(p), 1e-6f) * p; }
inline point turned(point p, float angle) {
  float const c = std::cos(angle), s = std::sin(angle);
  return {c * p.x - s * p.y, s * p.x + c * p.y};
}
inline point mirrored(point p) { return {extent - p.x, p.y}; }
inline color mix(color a, color b, float part) { return (1 - part) * a + part * b; }
/// 0 below `low`, 1 above `high`, smooth between.
inline float ramp(float low, float high, float v) {
  float const t = std::clamp((v - low) / (high - low), 0.f, 1.f);
  return t * t * (3 - 2 * t);
}

struct ellipse {
  point center;
  float rx, ry;
  /// 0 in the centre, 1 on the outline.
  float radius(point p) const { return length({(p.x - center.x) / rx, (p.y - center.y) / ry}); }
};

struct box {
  float left, top, right, bottom;
};
inline box around(ellipse const& e, float scale = 1) {
  return {e.center.x - scale * e.rx, e.center.y - scale * e.ry, e.center.x + scale * e.rx, e.center.y + scale * e.ry};
}

/// A picture of several samples a pixel.
class canvas {
 public:
  explicit canvas(int side)
      : side_{side}, picture_(samples * side, samples * side, 3), scale_{float(samples * side) / extent} {}

  /// Paints the samples of a box, each as `at(point)` says.
  template <class At> void fill(box const& b, At at) {
    for (int y = first(b.top); y < last(b.bottom); ++y) {
      for (int x = first(b.left); x < last(b.right); ++x) {
        paint const p = at(point{(float(x) + 0.5f) / scale_, (float(y) + 0.5f) / scale_});
        if (p.alpha > 0) blend(x, y, p);
      }
    }
  }

  /// A line of round ends whose width goes from `from` to `to`.
  void line(point a, point b, float from, float to, paint const& p) {
    float const w = std::max(from, to) / 2;
    point const d = b - a;
    float const square = std::max(d.x * d.x + d.y * d.y, 1e-9f);
    box const reach{std::min(a.x, b.x) - w, std::min(a.y, b.y) - w, std::max(a.x, b.x) + w, std::max(a.y, b.y) + w};
    fill(reach, [&](point q) {
      float const t = std::clamp(((q.x - a.x) * d.x + (q.y - a.y) * d.y) / square, 0.f, 1.f);
      return paint{p.c, 2 * length(q - (a + t * d)) <= from + t * (to - from) ? p.alpha : 0.f};
    });
  }

  /// A curve that begins at a, heads for b and ends at c (a quadratic Bezier curve).
  void stroke(point a, point b, point c, float from, float to, color const& ink, int pieces = 5) {
    point before = a;
    for (int i = 1; i <= pieces; ++i) {
      float const t = float(i) / float(pieces), u = t - 1 / float(pieces);
      point const now = (1 - t) * (1 - t) * a + 2 * t * (1 - t) * b + t * t * c;
      line(before, now, from + u * (to - from), from + t * (to - from), {ink});
      before = now;
    }
  }

  unetdn::image finished() const { return unetdn::resize(picture_, side_, side_, unetdn::resize_filter::area); }

 private:
  int first(float v) const { return std::clamp(int(std::floor(v * scale_)), 0, picture_.width); }
  int last(float v) const { return std::clamp(int(std::ceil(v * scale_)) + 1, 0, picture_.width); }
  void blend(int x, int y, paint const& p) {
    float* const to = picture_.pixels.data() + (std::int64_t(y) * picture_.width + x) * 3;
    float const over[3] = {p.c.r, p.c.g, p.c.b};
    for (int i = 0; i < 3; ++i) to[i] += p.alpha * (std::clamp(over[i], 0.f, 1.f) - to[i]);
  }

  int side_;
  unetdn::image picture_;
  float scale_;
};

// ---- The room ------------------------------------------------------------------------------------------------------

inline color wallpaper(point p) {
  color const wall = mix({0.40f, 0.60f, 0.62f}, {0.13f, 0.25f, 0.35f}, ramp(20, 330, length(p - point{30, 10})));
  float const column = std::floor(p.x / 16);
  float const row = std::floor(p.y / 20 + (int(column) % 4 == 1 ? 0.5f : 0.f));
  color c = int(column) % 2 == 0 ? 1.08f * wall : 0.94f * wall;
  if (int(column) % 2 == 0) return c;
  // A flower of five petals in every second stripe.
  point const center{16 * column + 8, 20 * (row + (int(column) % 4 == 1 ? 0.f : 0.5f))};
  point const d = p - center;
  float const r = length(d), petals = 3.1f + 1.5f * std::cos(5 * std::atan2(d.y, d.x) + row);
  if (r < petals) c = mix(c, {0.93f, 0.86f, 0.66f}, 0.75f);
  if (r < 1.3f) c = {0.80f, 0.42f, 0.25f};
  return c;
}

inline color wood(point p) {
  float const bend = 2.5f * std::sin(0.021f * p.x + 1) + std::sin(0.067f * p.x);
  float const knot = 9 * std::exp(-length({(p.x - 214) / 14, (p.y - 236) / 6}));
  float const grain = std::sin(1.1f * (p.y + bend) + knot) + 0.5f * std::sin(2.7f * (p.y + 1.3f * bend) + 0.05f * p.x);
  return mix({0.50f, 0.31f, 0.16f}, {0.68f, 0.46f, 0.26f}, 0.5f + 0.3f * grain);
}

// ---- Fur -----------------------------------------------------------------------------------------------------------

inline constexpr point nose{128, 141};
inline constexpr ellipse head{{128, 116}, 64, 55}, body{{128, 222}, 82, 70};
inline constexpr ellipse cheeks[] = {{{94, 138}, 37, 26}, {{162, 138}, 37, 26}};
inline constexpr ellipse puffs[] = {{{114.5f, 152}, 17, 13}, {{141.5f, 152}, 17, 13}, {{128, 163}, 13, 10}};
inline constexpr ellipse eyes[] = {{{99, 119}, 16.5f, 15}, {{157, 119}, 16.5f, 15}};
inline constexpr point ear_corners[] = {{66, 100}, {117, 68}, {64, 22}};  // outer, inner, tip of the left one

inline bool in_head(point p) { return head.radius(p) < 1 || cheeks[0].radius(p) < 1 || cheeks[1].radius(p) < 1; }

/// How white the fur is: around mouth and chin, and in a blaze up between the eyes.
inline float whiteness(point p) {
  float muzzle = 0;
  for (ellipse const& e : puffs) muzzle = std::max(muzzle, 1 - ramp(0.9f, 1.45f, e.radius(p)));
  float const blaze = (1 - ramp(2.5f, 9, std::abs(p.x - 128) + 0.10f * (141 - p.y))) * ramp(84, 112, p.y);
  return std::max(muzzle, p.y < nose.y ? blaze : 0.f);
}

/// How dark a tabby's stripes are: fans on the forehead, arcs on the cheeks.
inline float stripes(point p) {
  float const x = std::abs(p.x - 128);
  float const fan =
      std::cos(x / (5.2f + 0.045f * (110 - p.y)) * 2.1f) * (1 - ramp(94, 108, p.y)) * (1 - ramp(34, 44, x));
  float const bend = p.y - 0.25f * x + 4 * std::sin(0.1f * x);
  float const arcs = std::sin(0.42f * bend) * ramp(36, 48, x) * ramp(92, 112, p.y);
  return ramp(0.15f, 0.75f, std::max(fan, arcs));
}

inline color head_fur(point p) {
  float const light = 1.10f - 0.16f * ((p.x - 128) / 64 + (p.y - 116) / 55) - 0.20f * std::pow(head.radius(p), 3.f);
  color c = mix({0.93f, 0.62f, 0.29f}, {0.80f, 0.45f, 0.17f}, ramp(0.2f, 1.0f, head.radius(p)));
  c = mix(c, {0.60f, 0.28f, 0.09f}, 0.85f * stripes(p));
  c = mix(c, {0.98f, 0.82f, 0.58f}, 0.7f * (1 - ramp(1.0f, 1.5f, std::min(eyes[0].radius(p), eyes[1].radius(p)))));
  c = mix(c, {1.00f, 0.97f, 0.92f}, whiteness(p));
  return light * c;
}

inline color body_fur(point p) {
  float const x = std::abs(p.x - 128);
  float const stripe = ramp(0.1f, 0.8f, std::sin(0.34f * (p.y + 0.5f * x))) * ramp(34, 44, x);
  color c = mix({0.84f, 0.50f, 0.21f}, {0.56f, 0.27f, 0.10f}, stripe);
  c = mix({0.97f, 0.93f, 0.86f}, c, ramp(24, 36, x));
  return (0.98f - 0.0022f * (p.x - 60)) * c;
}

/// Hairs with roots where `grows(point)`, the farthest from `center` first, so that those nearer lie over them.
/// `way(point)` is a hair's direction and length, `coat(point)` its colour.
template <class Grows, class Way, class Coat>
void grow_fur(canvas& to, unetdn::random_sequence& random, box const& b, int count, point center, Grows grows, Way way,
              Coat coat) {
  to.fill(b, [&](point p) { return paint{0.8f * coat(p), grows(p) ? 1.f : 0.f}; });  // no gap shows what is behind
  std::vector<point> roots;
  for (int i = 0; i < count; ++i) {
    point const p{random.uniform(b.left, b.right), random.uniform(b.top, b.bottom)};
    if (grows(p)) roots.push_back(p);
  }
  std::sort(roots.begin(), roots.end(), [&](point p, point q) { return length(p - center) > length(q - center); });
  for (point const root : roots) {
    point const d = random.uniform(0.7f, 1.3f) * turned(way(root), random.uniform(-0.28f, 0.28f));
    point const tip = root + turned(d, random.uniform(-0.3f, 0.3f));
    color const c = random.uniform(0.80f, 1.16f) * coat(root);
    to.stroke(root, root + 0.5f * d, tip, random.uniform(0.9f, 1.5f), 0.25f, c, 3);
  }
}

inline void draw_body(canvas& to, unetdn::random_sequence& random) {
  grow_fur(
      to, random, around(body), 11000, {128, 120}, [](point p) { return body.radius(p) < 1; },
      [](point p) {
        return 9.f * unit(point{p.x - 128, 70 + 0.3f * (p.y - 150)});
      },
      body_fur);
  // The shadow of the head.
  to.fill({60, 150, 196, 200}, [](point p) {
    return paint{{0.12f, 0.06f, 0.05f}, 0.55f * (1 - ramp(0.55f, 1.2f, ellipse{{130, 160}, 66, 34}.radius(p)))};
  });
  ellipse const neck{{128, 146}, 56, 40};
  to.fill({70, 160, 186, 196}, [&](point p) {
    float const r = neck.radius(p);
    float const round = (r - 1.03f) / 0.09f;
    return paint{(1 - 0.45f * round * round) * color{0.80f, 0.12f, 0.14f},
                 std::abs(round) < 1 && p.y > 160 ? 1.f : 0.f};
  });
  ellipse const bell{{128, 192}, 7, 7};
  to.fill(around(bell), [&](point p) {
    float const light = ramp(9, 0, length(p - point{125.5f, 189}));
    color c = mix({0.62f, 0.40f, 0.06f}, {1.00f, 0.93f, 0.55f}, light);
    if (std::abs(p.y - 193.5f) < 0.8f || (p.y > 194 && std::abs(p.x - 128) < 0.9f)) c = {0.25f, 0.14f, 0.02f};
    return paint{c, bell.radius(p) < 1 ? 1.f : 0.f};
  });
}

inline void draw_ear(canvas& to, unetdn::random_sequence& random, bool right) {
  point outer = ear_corners[0], inner = ear_corners[1], tip = ear_corners[2];
  if (right) outer = mirrored(outer), inner = mirrored(inner), tip = mirrored(tip);
  // How far p lies inside the ear, in parts: 0 at an edge, 1/3 in the middle.
  auto const depth = [&](point p) {
    auto const side = [](point a, point b, point q) { return (b.x - a.x) * (q.y - a.y) - (b.y - a.y) * (q.x - a.x); };
    float const whole = side(outer, inner, tip);
    return std::min({side(outer, inner, p) / whole, side(inner, tip, p) / whole, side(tip, outer, p) / whole});
  };
  box const b{std::min(outer.x, inner.x) - 6, tip.y, std::max(outer.x, inner.x) + 6, outer.y};
  point const base = 0.5f * (outer + inner);
  auto const way = [&](point) { return 8.f * unit(tip - base); };
  float const light = right ? 0.84f : 1.f;
  grow_fur(
      to, random, b, 2600, base, [&](point p) { return depth(p) > 0.015f; }, way,
      [&](point p) {
        return light * mix({0.66f, 0.34f, 0.13f}, {0.90f, 0.58f, 0.27f}, ramp(0, 0.12f, depth(p)));
      });
  point const heart = base + 0.30f * (tip - base);
  to.fill(b, [&](point p) {
    float const edge = depth(p);
    color const pink = mix({0.62f, 0.30f, 0.28f}, {0.93f, 0.66f, 0.60f}, ramp(0, 34, length(p - heart)));
    return paint{light * pink, ramp(0.07f, 0.12f, edge)};
  });
  for (int i = 0; i < 46; ++i) {  // long hairs that grow from the inner edge
    point const root = inner + random.uniform(-0.05f, 0.62f) * (outer - inner) + point{0, random.uniform(-6, 4)};
    point const d =
        random.uniform(16, 34) * turned(unit(tip - base), random.uniform(-0.5f, 0.25f) * (right ? -1.f : 1.f));
    to.stroke(root, root + 0.6f * d, root + turned(d, right ? 0.15f : -0.15f), 1.1f, 0.25f,
              random.uniform(0.82f, 1.0f) * light * color{1.00f, 0.90f, 0.76f});
  }
}

inline void draw_head(canvas& to, unetdn::random_sequence& random) {
  auto const way = [](point p) {
    point const d = unit(p - nose + point{0, p.y > 130 ? 8.f : 0.f});
    return (3.5f + 0.085f * length(p - nose)) * d;
  };
  grow_fur(to, random, {50, 58, 206, 176}, 26000, nose, in_head, way, head_fur);
  grow_fur(
      to, random, {94, 136, 162, 176}, 2600, nose,
      [](point p) { return puffs[0].radius(p) < 1 || puffs[1].radius(p) < 1 || puffs[2].radius(p) < 1; },
      [](point p) {
        return 3.6f * unit(p - point{128, 140});
      },
      head_fur);
}

// ---- The face ------------------------------------------------------------------------------------------------------

inline void draw_eye(canvas& to, unetdn::random_sequence& random, ellipse const& e, float tilt) {
  auto const local = [&](point p) { return turned(p - e.center, -tilt); };
  // An almond: where two circles meet.
  auto const almond = [&](point q, float grow) {
    float const w = e.rx + grow, h = e.ry + grow;
    return std::abs(q.y) / h + (q.x * q.x) / (w * w) * (0.55f + 0.45f * std::abs(q.x) / w);
  };
  std::vector<float> fibres(96);
  for (float& f : fibres) f = random.uniform(0.82f, 1.14f);
  to.fill(around(e, 1.5f), [&](point p) {
    return paint{{0.16f, 0.08f, 0.05f}, 1 - ramp(0.95f, 1.05f, almond(local(p), 2.6f))};
  });
  to.fill(around(e), [&](point p) {
    point const q = local(p);
    float const inside = 1 - ramp(0.97f, 1.01f, almond(q, 0));
    float const r = length(q - point{0, 0.5f});
    float const angle = std::atan2(q.y, q.x) / (2 * std::numbers::pi_v<float>)+0.5f;
    color c = mix({0.88f, 0.82f, 0.36f}, {0.42f, 0.66f, 0.30f}, ramp(4, 9.5f, r));
    c = fibres[std::min<std::size_t>(95, std::size_t(96 * angle))] * mix(c, {0.12f, 0.26f, 0.13f}, ramp(10, 14.5f, r));
    c = (0.72f + 0.42f * ramp(-12, 11, q.y)) * c;  // the lid's shadow
    c = mix({0.02f, 0.02f, 0.03f}, c, ramp(0.92f, 1.04f, ellipse{{0, 0.5f}, 6.6f, 10.8f}.radius(q)));
    c = mix({1, 1, 1}, c, ramp(0.85f, 1.05f, ellipse{{-4.5f, -4.8f}, 4.2f, 3.6f}.radius(p - e.center)));
    c = mix({0.85f, 0.95f, 1}, c,
            0.3f + 0.7f * ramp(0.7f, 1.1f, ellipse{{4.6f, 6.2f}, 2.2f, 1.7f}.radius(p - e.center)));
    return paint{c, inside};
  });
}

inline void draw_face(canvas& to, unetdn::random_sequence& random) {
  draw_eye(to, random, eyes[0], 0.13f);
  draw_eye(to, random, eyes[1], -0.13f);
  color const dark{0.34f, 0.15f, 0.12f};
  for (float const side : {-1.f, 1.f}) {  // mouth
    to.stroke({128, 148}, {128 + side * 1, 157}, {128 + side * 11, 155.5f}, 1.5f, 0.7f, dark, 10);
  }
  to.line({128, 144}, {128, 149}, 1.4f, 1.4f, {dark});
  to.fill({116, 134, 140, 150}, [](point p) {
    float const x = std::abs(p.x - 128) / 8.6f, y = (p.y - 136.4f) / 9.6f;
    float const out = std::max(x + 0.75f * y * y + 0.25f * y, -4 * y + 0.3f * x * x);
    color const c = mix({0.96f, 0.64f, 0.60f}, {0.72f, 0.33f, 0.33f}, ramp(0, 1, y));
    float const shine = 1 - ramp(0.4f, 1.1f, ellipse{{125.5f, 138.6f}, 2.6f, 1.3f}.radius(p));
    return paint{mix(c, {1, 0.95f, 0.93f}, 0.8f * shine), y < 0 ? 0.f : 1 - ramp(0.92f, 1.05f, out)};
  });
  for (float const side : {-1.f, 1.f}) {
    for (int i = 0; i < 9; ++i) {  // whiskers grow from dots in rows
      point const dot{128 + side * (9 + 4.6f * float(i % 3)),
                      149.f + 3.6f * float(i / 3) + random.uniform(-0.6f, 0.6f)};
      to.line(dot, dot, 1.1f, 1.1f, {{0.45f, 0.28f, 0.22f}});
      if (i % 3 == 0 && i > 3) continue;
      float const reach = random.uniform(52, 74), rise = -14.f + 3.2f * float(i) + random.uniform(-3, 3);
      point const tip = dot + point{side * reach, rise + 7};
      to.stroke(dot, dot + point{side * 0.55f * reach, rise - 3}, tip, 1.05f, 0.3f, {0.99f, 0.98f, 0.96f}, 24);
    }
    for (int i = 0; i < 3; ++i) {  // and above the eyes
      point const root{128 + side * (27 + 2.f * float(i)), 101};
      point const tip = root + point{side * (9 + 9.f * float(i)), -30 + 4.f * float(i)};
      to.stroke(root, root + point{side * 3, -18}, tip, 0.9f, 0.3f, {0.99f, 0.97f, 0.94f}, 16);
    }
  }
}

// ---- The sign ------------------------------------------------------------------------------------------------------

/// Writes one letter of x-height `size` whose baseline begins at `at`. Letters are lines and arcs; y grows downwards.
inline void draw_letter(canvas& to, char letter, point at, float size, float width, paint const& ink) {
  auto const place = [&](float x, float y) { return at + size * point{x, y - 1}; };
  auto const line = [&](float x0, float y0, float x1, float y1) {
    to.line(place(x0, y0), place(x1, y1), width, width, ink);
  };
  // An arc around (x, y), from one angle to another in degrees; 0 is right, 90 is down.
  auto const arc = [&](float x, float y, float rx, float ry, float from, float until) {
    int const pieces = 24;
    auto const on = [&](int i) {
      float const a = (from + (until - from) * float(i) / float(pieces)) * std::numbers::pi_v<float> / 180;
      return place(x + rx * std::cos(a), y + ry * std::sin(a));
    };
    for (int i = 0; i < pieces; ++i) to.line(on(i), on(i + 1), width, width, ink);
  };
  switch (letter) {
    case 'd':
      arc(0.35f, 0.5f, 0.35f, 0.5f, 0, 360);
      return line(0.7f, -0.55f, 0.7f, 1);
    case 'e':
      arc(0.35f, 0.5f, 0.35f, 0.5f, -2, -320);
      return line(0.02f, 0.48f, 0.7f, 0.48f);
    case 'n':
      line(0, 0, 0, 1);
      arc(0.35f, 0.36f, 0.35f, 0.36f, 180, 360);
      return line(0.7f, 0.36f, 0.7f, 1);
    case 't':
      line(0.24f, -0.4f, 0.24f, 0.76f);
      arc(0.48f, 0.76f, 0.24f, 0.24f, 180, 80);
      return line(0, 0, 0.56f, 0);
    case 'u':
      line(0, 0, 0, 0.64f);
      arc(0.35f, 0.64f, 0.35f, 0.36f, 180, 0);
      return line(0.7f, 0, 0.7f, 1);
    default:
      return;
  }
}

inline void draw_sign(canvas& to) {
  to.fill({0, 170, extent, extent}, [](point p) { return paint{{0.05f, 0.03f, 0.03f}, 0.7f * ramp(175, 256, p.y)}; });
  to.fill({14, 204, 242, 254}, [](point p) {
    point const corner{std::max(std::abs(p.x - 128) - 108, 0.f), std::max(std::abs(p.y - 229) - 19, 0.f)};
    float const r = length(corner);
    color c = wood(p);
    if (p.y < 207) c = mix({0.90f, 0.70f, 0.46f}, c, 0.35f);
    if (r > 4) c = 0.62f * c;
    return paint{c, r < 6 ? 1.f : 0.f};
  });
  for (point const nail : {point{23, 229}, point{233, 229}}) {
    to.line(nail, nail, 5, 5, {{0.22f, 0.20f, 0.20f}});
    to.line(nail - point{0.7f, 0.8f}, nail - point{0.7f, 0.8f}, 1.6f, 1.6f, {{0.90f, 0.90f, 0.92f}});
  }
  float left = 66;
  for (char const letter : {'u', 'n', 'e', 't', 'd', 'n'}) {
    draw_letter(to, letter, point{left, 245} + point{0.9f, 1.1f}, 19, 4.4f, {{0.20f, 0.10f, 0.05f}});
    draw_letter(to, letter, point{left, 245}, 19, 4.0f, {{0.99f, 0.95f, 0.84f}});
    left += letter == 't' ? 18.f : 21.5f;
  }
}

inline void draw_paw(canvas& to, unetdn::random_sequence& random, point center) {
  ellipse const paw{center, 18, 12.5f};
  to.fill(around(paw, 1.3f), [&](point p) {
    return paint{{0.08f, 0.04f, 0.02f}, 0.5f * (1 - ramp(0.8f, 1.25f, paw.radius(p - point{1, 3})))};
  });
  grow_fur(
      to, random, around(paw), 1500, center - point{0, 14}, [&](point p) { return paw.radius(p) < 1; },
      [&](point p) {
        return 3.2f * unit(p - center + point{0, 10});
      },
      [&](point p) {
        return (1.04f - 0.24f * ramp(0.2f, 1, paw.radius(p + point{2, 3}))) * color{1, 0.96f, 0.90f};
      });
  for (float const x : {-5.5f, 5.5f}) {
    to.stroke(center + point{x, 2}, center + point{x * 1.1f, 7}, center + point{x * 0.95f, 11}, 1.1f, 0.7f,
              {0.50f, 0.34f, 0.27f});
  }
}

}  // namespace drawing

/// Draws a cat behind a sign: side x side pixels, 8 bits, three channels; always the same picture of one size.
/// Throws argument_error where side is not from 16 to 4096.
inline unetdn::image draw_scene(int side = drawing::extent) {
  using namespace drawing;
  unetdn::check(side >= 16 && side <= 4096, "the scene has a side of 16 to 4096 pixels, not ", side);
  unetdn::random_sequence random({0, 0, unetdn::random_stream::generated});
  canvas to(side);
  to.fill({0, 0, extent, extent}, [](point p) { return paint{wallpaper(p)}; });
  draw_body(to, random);
  draw_ear(to, random, false);
  draw_ear(to, random, true);
  draw_head(to, random);
  draw_sign(to);
  draw_paw(to, random, {62, 206});
  draw_paw(to, random, {194, 206});
  draw_face(to, random);
  return to.finished();
}

}  // namespace programs
