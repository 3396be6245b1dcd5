// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <sys/ioctl.h>
#include <unistd.h>

#include <unetdn/core/error.hpp>
#include <unetdn/image.hpp>

// Pictures in a terminal: a character U+2580, the upper half block, shows two pixels, one in its own colour and one in
// its background's.

namespace programs {

/// Which colours a terminal shows.
enum class terminal_colors {
  none,
  palette,  ///< the 6 x 6 x 6 colours of the 256-colour palette
  all       ///< 24 bits
};

struct terminal {
  terminal_colors colors = terminal_colors::none;
  int columns = 80, rows = 24;
};

/// What standard output can show: nothing where it is no terminal, where NO_COLOR is set, or where TERM says so.
inline terminal find_terminal() {
  auto const variable = [](char const* name) {
    char const* const value = std::getenv(name);
    return std::string_view(value ? value : "");
  };
  terminal t;
  std::string_view const kind = variable("TERM"), colors = variable("COLORTERM");
  if (!::isatty(STDOUT_FILENO) || !variable("NO_COLOR").empty() || kind.empty() || kind == "dumb") return t;
  if (colors == "truecolor" || colors == "24bit") {
    t.colors = terminal_colors::all;
  } else if (kind.find("256color") != std::string_view::npos) {
    t.colors = terminal_colors::palette;
  }
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
    t.columns = size.ws_col;
    t.rows = size.ws_row;
  }
  return t;
}

namespace detail {

/// A pixel's colour as the numbers of an escape sequence that ends in 38 (the character) or 48 (its background).
inline std::string color_code(terminal_colors colors, int layer, unetdn::image const& picture, int y, int x) {
  float const* const p = picture.pixels.data() + (std::int64_t(y) * picture.width + x) * picture.channels;
  std::array<int, 3> level{};
  for (int c = 0; c < 3; ++c) {
    float const v = p[picture.color_channels() == 3 ? c : 0];
    level[std::size_t(c)] = static_cast<int>(std::lround(255 * std::min(std::max(0.f, v), 1.f)));  // NaN becomes 0
  }
  if (colors == terminal_colors::all) return unetdn::text(layer, ";2;", level[0], ';', level[1], ';', level[2]);
  // The palette's levels are 0, 95, 135, 175, 215 and 255.
  auto const nearest = [](int v) { return v < 48 ? 0 : v < 115 ? 1 : (v - 35) / 40; };
  return unetdn::text(layer, ";5;", 16 + 36 * nearest(level[0]) + 6 * nearest(level[1]) + nearest(level[2]));
}

}  // namespace detail

/// Two pictures of one size beside each other, each under its title, as large as the terminal allows; empty for one
/// without colours. Each dot is one of the picture's pixels: their mean would hide the noise.
inline std::string side_by_side(terminal const& t, unetdn::image const& left, std::string const& left_title,
                                unetdn::image const& right, std::string const& right_title) {
  if (t.colors == terminal_colors::none) return {};
  unetdn::check(left.width == right.width && left.height == right.height, "the pictures differ in size");
  constexpr int gap = 2, lines_around = 6;  // what is printed before and after is to be seen too
  double scale = 1;                         // characters a pixel; shrinks only
  scale = std::min(scale, double((t.columns - gap - 1) / 2) / left.width);
  scale = std::min(scale, double(2 * std::max(1, t.rows - lines_around)) / left.height);
  int const width = std::max(1, int(left.width * scale)), height = std::max(2, int(left.height * scale) / 2 * 2);
  auto const title = [&](std::string text) {
    text.resize(static_cast<std::size_t>(width), ' ');
    return text;
  };
  std::string out = title(left_title) + std::string(gap, ' ') + title(right_title) + '\n';
  for (int y = 0; y < height; y += 2) {
    for (unetdn::image const* picture : {&left, &right}) {
      auto const row = [&](int i) { return int((i + 0.5) * picture->height / height); };
      for (int x = 0; x < width; ++x) {
        int const column = int((x + 0.5) * picture->width / width);
        out += "\x1b[" + detail::color_code(t.colors, 38, *picture, row(y), column) + ';' +
               detail::color_code(t.colors, 48, *picture, row(y + 1), column) + "m\u2580";
      }
      out += "\x1b[0m";
      if (picture == &left) out += std::string(gap, ' ');
    }
    out += '\n';
  }
  return out;
}

}  // namespace programs
