// SPDX-License-Identifier: Apache-2.0
// The program before_after, the scene that it draws, and pictures in a terminal.
#include <algorithm>
#include <string>
#include <vector>

#include <unetdn/image.hpp>
#include <unetdn/metrics.hpp>

#include "../catch.hpp"
#include "run_program.hpp"
#include "scene.hpp"
#include "terminal.hpp"

namespace {

program_result before_after(std::vector<std::string> const& arguments) {
  return run_program(UNETDN_TEST_PROGRAM, arguments);
}

std::size_t count(std::string const& in, std::string const& what) {
  std::size_t n = 0;
  for (std::size_t at = in.find(what); at != std::string::npos; at = in.find(what, at + 1)) ++n;
  return n;
}

}  // namespace

TEST_CASE("The shipped network takes most of the noise off the drawn scene") {
  scratch_folder const scratch;
  program_result const result = before_after({"--out", scratch.path.string(), "--threads", "2"});
  REQUIRE(result.error.empty());
  REQUIRE(result.code == 0);
  CHECK(result.out.find('\x1b') == std::string::npos);  // no terminal: no colours
  unetdn::image const clean = unetdn::read_image(scratch.path / "clean.png");
  unetdn::image const noisy = unetdn::read_image(scratch.path / "noisy.png");
  unetdn::image const denoised = unetdn::read_image(scratch.path / "denoised.png");
  CHECK(unetdn::psnr(clean.as_view(), denoised.as_view()) > unetdn::psnr(clean.as_view(), noisy.as_view()) + 5);
  std::string const report = file_contents(scratch.path / "report.html");
  CHECK(report.find("a drawn scene") != std::string::npos);

  program_result const again = before_after({"--out", scratch.path.string()});
  CHECK(again.code == 2);
  CHECK(one_line(again.error));
  CHECK(again.error.find("--force") != std::string::npos);
}

TEST_CASE("before_after takes pictures of any size, scales large ones, and refuses what it cannot use") {
  scratch_folder const scratch;
  unetdn::write_image(scratch.path / "wide.png", unetdn::image(90, 30, 1));
  unetdn::write_image(scratch.path / "dot.png", unetdn::image(1, 1, 4));
  std::string const out = (scratch.path / "out").string();
  REQUIRE(before_after({"--out", out, "--longest", "45", (scratch.path / "wide.png").string()}).code == 0);
  unetdn::image const noisy = unetdn::read_image(scratch.path / "out" / "noisy.png");
  CHECK(noisy.width == 45);
  CHECK(noisy.height == 15);
  CHECK(before_after({"--out", out, "--force", "--quiet", (scratch.path / "dot.png").string()}).code == 0);

  auto const refused = [&](std::vector<std::string> arguments, int code, std::string const& named) {
    arguments.insert(arguments.end(), {"--out", (scratch.path / "none").string()});
    program_result const result = before_after(arguments);
    CHECK(result.code == code);
    CHECK(one_line(result.error));
    CHECK(result.error.find(named) != std::string::npos);
    CHECK_FALSE(std::filesystem::exists(scratch.path / "none"));
  };
  for (std::string const& value : no_numbers) refused({"--sigma", value}, 2, "--sigma");
  for (char const* option : {"--seed", "--longest", "--threads"}) {
    for (std::string const& value : no_whole_numbers) refused({option, value}, 2, option);
  }
  refused({"--weights", "missing.safetensors"}, 1, "missing.safetensors");
  refused({"missing.png"}, 1, "missing.png");
}

TEST_CASE("The scene is the same whenever it is drawn") {
  unetdn::image const scene = programs::draw_scene(32);
  CHECK(scene.width == 32);
  CHECK(scene.height == 32);
  CHECK(scene.pixels == programs::draw_scene(32).pixels);
  // It has dark and bright places, and all of it is in range.
  auto const [darkest, brightest] = std::minmax_element(scene.pixels.begin(), scene.pixels.end());
  CHECK(*darkest >= 0);
  CHECK(*darkest < 0.1f);
  CHECK(*brightest > 0.9f);
  CHECK(*brightest <= 1);
  CHECK_THROWS_AS(programs::draw_scene(0), unetdn::argument_error);
}

TEST_CASE("A terminal shows two pictures beside each other, two pixels a character") {
  unetdn::image left(40, 20, 3), right(40, 20, 1);
  std::fill(right.pixels.begin(), right.pixels.end(), 1.f);
  programs::terminal t{programs::terminal_colors::all, 23, 100};
  std::string const all = programs::side_by_side(t, left, "noisy", right, "denoised");
  CHECK(count(all, "\n") == 1 + 2);  // 10 x 4 pixels each, two rows a line
  CHECK(count(all, "\u2580") == 2 * 2 * 10);
  CHECK(count(all, "38;2;0;0;0;48;2;0;0;0m") == 2 * 10);
  CHECK(count(all, "38;2;255;255;255;48;2;255;255;255m") == 2 * 10);
  t.colors = programs::terminal_colors::palette;
  CHECK(count(programs::side_by_side(t, left, "", right, ""), "38;5;231;48;5;231m") == 2 * 10);
  t.colors = programs::terminal_colors::none;
  CHECK(programs::side_by_side(t, left, "", right, "").empty());
}
