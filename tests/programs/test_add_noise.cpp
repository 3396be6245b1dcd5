// SPDX-License-Identifier: Apache-2.0
// The program add_noise, run as a user does.
#include <cmath>

#include "inputs.hpp"

using namespace inputs;

TEST_CASE("add_noise refuses what it cannot do in one line") {
  check_help("add_noise");
  refuse_bad_files([](std::string const& in, std::string const& out) {
    return arguments{in, "--out", out, "--quiet"};
  });
  scratch_folder const scratch;
  std::string const one = scratch.path / "a.png", out = scratch.path / "out";
  write_picture(one, 4, 4, 3);
  arguments const some{one, "--out", out};
  for (char const* level : {"gaussian:-1", "gaussian:nan", "gaussian:1001", "gaussian:5..2", "gaussian", "poisson:3"}) {
    refuses(with(some, {"--noise", level}), {level}, 2);
  }
  refuses(with(some, {"--noise-map", out}), {"--noise-map", "would both become"}, 2);
  refuses(with(some, {"--preview", one, "--force"}), {one, "input itself"}, 2);
  refuses_values(some, "--seed", no_whole_numbers);
  refuses(with(some, {"--preview", scratch.path / "p.tif"}), {"--preview", ".tif cannot be written"}, 2);
  refuses(with(some, {"--preview", scratch.path / "p"}), {"--preview", "without extension cannot be written"}, 2);
  for (char const* option : {"--out", "--noise-map", "--preview"}) {
    arguments jpeg = option == std::string("--out") ? arguments{one} : some;
    refuses(with(jpeg, {option, scratch.path / "p.jpg", "--16-bit"}), {option, "--16-bit"}, 2);
  }
  std::string const both = scratch.path / "both.png";
  refuses(with(some, {"--noise-map", both, "--preview", both}), {"--preview", "would both become"}, 2);
  CHECK(!fs::exists(out));
  fs::create_directory(out);
  survives_full_disk({scratch.path, "--out", out + "/noisy", "--noise-map", out + "/maps", "--quiet"}, out);
}

TEST_CASE("add_noise writes noise of the level asked for, and the noise alone") {
  scratch_folder const scratch;
  fs::path const clean = scratch.path / "clean.png", noisy = scratch.path / "noisy.png", map = scratch.path / "map.png";
  unetdn::image grey(64, 64, 2);
  for (std::size_t i = 0; i < grey.pixels.size(); ++i) grey.pixels[i] = i % 2 ? 51 / 255.F : 0.5F;
  unetdn::write_image(clean, grey);
  std::string const printed = succeeds({clean, "--out", noisy, "--noise-map", map, "--preview", scratch.path / "p.png",
                                        "--16-bit", "--noise", "gaussian:10"});
  CHECK(printed == clean.string() + " -> " + noisy.string() + ", sigma 10\n");
  unetdn::image const with_noise = unetdn::read_image(noisy), alone = unetdn::read_image(map);
  CHECK(with_noise.bit_depth == 16);
  REQUIRE(with_noise.channels == 2);
  REQUIRE(alone.channels == 1);
  float const grey_level = unetdn::read_image(clean).pixels[0];
  double squares = 0;
  float worst = 0;
  for (std::size_t i = 0; i < alone.pixels.size(); ++i) {
    CHECK(with_noise.pixels[2 * i + 1] == Approx(51 / 255.));  // alpha stays
    float const noise = with_noise.pixels[2 * i] - grey_level;
    squares += double(noise) * noise;
    worst = std::max(worst, std::abs(noise - (alone.pixels[i] - 0.5F)));
  }
  CHECK(255 * std::sqrt(squares / 4096) == Approx(10).epsilon(0.05));
  CHECK(worst < 2.F / 65535);  // both files round
  unetdn::image const sheet = unetdn::read_image(scratch.path / "p.png");
  CHECK(sheet.width == 6 * 64 + 5 * 4);
  CHECK(sheet.height == 64);
}

TEST_CASE("add_noise --16-bit makes PNG of JPEG in a folder") {
  scratch_folder const scratch;
  fs::path const in = scratch.path / "in", out = scratch.path / "out";
  fs::create_directory(in);
  write_picture(in / "a.jpg", 8, 8, 3);
  write_picture(in / "b.ppm", 8, 8, 3);
  succeeds({in, "--out", out, "--quiet", "--16-bit"});
  CHECK(names_in(out) == arguments{"a.png", "b.ppm"});
  for (char const* name : {"a.png", "b.ppm"}) CHECK(unetdn::read_image(out / name).bit_depth == 16);
}

TEST_CASE("add_noise's files depend on the seed alone") {
  scratch_folder const scratch;
  fs::path const one = scratch.path / "one.png";
  write_picture(one, 1, 1, 3);
  auto const noisy = [&](std::string const& name, arguments const& more) {
    succeeds(with({one, "--out", scratch.path / name, "--quiet", "--16-bit"}, more));
    return file_contents(scratch.path / name);
  };
  std::string const first = noisy("a.png", {});
  CHECK(noisy("b.png", {"--threads", "2"}) == first);
  CHECK(noisy("c.png", {"--seed", "1"}) != first);
  CHECK(succeeds({one, "--out", scratch.path / "d.png", "--json", "--quiet", "--noise", "gaussian:2.5"}) ==
        "{\"input\": \"" + one.string() + "\", \"output\": \"" + (scratch.path / "d.png").string() +
            "\", \"sigma\": 2.5, \"width\": 1, \"height\": 1}\n");
}
