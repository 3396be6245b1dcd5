// SPDX-License-Identifier: Apache-2.0
// The program resize, run as a user does.
#include "inputs.hpp"

using namespace inputs;

TEST_CASE("resize refuses what it cannot do in one line") {
  check_help("resize");
  refuse_bad_files([](std::string const& in, std::string const& out) {
    return arguments{"--data", in, "--out", out, "--size", "8", "--quiet"};
  });
  scratch_folder const scratch;
  write_picture(scratch.path / "a.png", 4, 4, 3);
  arguments const some{"--data", scratch.path / "a.png", "--out", scratch.path / "out"};
  refuses_values(some, "--size", no_whole_numbers);
  refuses_values(some, "--size", {"0"});
  refuses(with(some, {"--shape", "round"}), {"--shape"}, 2);
  refuses(with(some, {"--filter", "sharp"}), {"--filter"}, 2);
}

TEST_CASE("resize makes what the library's resize makes") {
  scratch_folder const scratch;
  fs::path const in = scratch.path / "in", out = scratch.path / "out";
  fs::create_directory(in);
  unetdn::image const wide = write_picture(in / "wide.png", 40, 20, 3);
  write_picture(in / "deep.png", 10, 30, 1, 16);
  write_picture(in / "dot.png", 1, 1, 4);
  std::string const printed =
      succeeds({"--data", in, "--out", out, "--size", "16", "--shape", "fit", "--threads", "2"});
  CHECK(printed == unetdn::text((in / "deep.png").string(), " -> ", (out / "deep.png").string(), "\n",
                                (in / "dot.png").string(), " -> ", (out / "dot.png").string(), "\n",
                                (in / "wide.png").string(), " -> ", (out / "wide.png").string(), "\n"));
  unetdn::image const fit = unetdn::read_image(out / "wide.png");
  CHECK(fit.width == 16);
  CHECK(fit.height == 8);
  unetdn::write_image(scratch.path / "expected.png", unetdn::resize(wide, 16, 8));
  CHECK(fit.pixels == unetdn::read_image(scratch.path / "expected.png").pixels);
  CHECK(unetdn::read_image(out / "deep.png").bit_depth == 16);
  CHECK(unetdn::read_image(out / "deep.png").width == 5);
  CHECK(unetdn::read_image(out / "dot.png").channels == 4);

  // The middle of a crop that is not scaled is the picture's own.
  succeeds({"--data", in / "wide.png", "--out", scratch.path / "crop.png", "--size", "20", "--quiet"});
  CHECK(contains(succeeds({"--data", in / "wide.png", "--out", scratch.path / "c.png", "--size", "5", "--json"}),
                 "\", \"width\": 5, \"height\": 5}\n"));
  unetdn::image const crop = unetdn::read_image(scratch.path / "crop.png");
  CHECK(crop.pixels[0] == wide.pixels[10 * 3]);
  CHECK(crop.pixels.back() == wide.pixels[(19 * 40 + 29) * 3 + 2]);
}
