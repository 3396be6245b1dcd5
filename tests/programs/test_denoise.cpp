// SPDX-License-Identifier: Apache-2.0
// The program denoise, run as a user does, and what it needs of the denoiser.
#include <cmath>
#include <limits>

#include <unetdn/networks/denoiser.hpp>

#include "weights.hpp"

using namespace inputs;

TEST_CASE("denoise refuses what it cannot do in one line") {
  check_help("denoise");
  scratch_folder const scratch;
  std::string const weights = scratch.path / "net.safetensors", one = scratch.path / "a.png";
  std::string const out = scratch.path / "out";
  write_weights(weights);
  refuse_bad_files([&](std::string const& in, std::string const& to) {
    return arguments{"--weights", weights, in, "--out", to, "--quiet"};
  });

  write_picture(one, 4, 4, 3);
  arguments const some{"--weights", weights, one, "--out", out};
  refuses_values(some, "--strength", no_numbers);
  refuses_values(some, "--strength", {"-0.1", "1.1"});
  refuses(with(some, {"--sigma", "25"}), {weights, "--sigma"}, 2);
  refuses(with(some, {"--report", one, "--force"}), {one, "input itself"}, 2);
  refuses(with(some, {"--report", weights, "--force"}), {weights, "input itself"}, 2);
  refuses({one, "--out", out}, {"--weights"}, 2);
  fs::path const shown = scratch.path / "shown";
  fs::create_directory(shown);
  for (std::string const fault : {"full:1", "full:2", "full:3", "fail:1", "fail:2", "fail:3"}) {
    refuses(with(some, {"--report", shown / "r.html", "--force", "--quiet"}), {shown / "r.html", "cannot be written"},
            1, {.variables = with_fault(UNETDN_TEST_FAULTS, fault, shown)});
    CHECK(names_in(shown).empty());
  }
  fs::remove_all(out);
  {
    forbidden const closed(shown);
    refuses_without_permission(with(some, {"--report", shown / "r.html"}), shown / "r.html");
    CHECK(!fs::exists(out));  // it is found before any work
  }
  refuse_bad_weights(scratch.path, [&](std::string const& file) {
    return arguments{"--weights", file, one, "--out", out};
  });

  unetdn::unet_config told = small_network();
  told.noise_map = true;
  write_weights(weights, told);
  refuses(some, {weights, "needs the noise level"}, 2);
  refuses_values(some, "--sigma", no_numbers);
  refuses_values(some, "--sigma", {"1001"});
  unetdn::unet_config five = small_network();
  five.in_channels = five.out_channels = 5;
  write_weights(weights, five);
  refuses(some, {weights, "5 channels"}, 2);
  CHECK(!fs::exists(out));

  told.noise_map = false;
  write_weights(weights, told);
  rewrite_weights(weights, weights, [](auto& to, auto const& name, auto shape, std::vector<float> values) {
    values[0] = std::numeric_limits<float>::quiet_NaN();
    to.add(name, shape, std::span<float const>(values));
  });
  refuses(some, {weights, "no finite number"}, 1);
  CHECK(!fs::exists(out));
}

TEST_CASE("denoise keeps names, depth, channels and alpha") {
  scratch_folder const scratch;
  fs::path const in = scratch.path / "in", out = scratch.path / "out", weights = scratch.path / "net.safetensors";
  fs::create_directory(in);
  write_weights(weights);
  write_picture(in / "dot.png", 1, 1, 3);
  unetdn::image const deep = write_picture(in / "deep.png", 9, 7, 2, 16);
  write_picture(in / "grey.pgm", 8, 5, 1);
  write_picture(in / "colour.jpg", 16, 16, 3);
  std::string const one = in / "dot.png";
  std::string const printed = succeeds({"--weights", weights, in, one, "--out", out, "--quiet", "--json"});
  CHECK(std::count(printed.begin(), printed.end(), '\n') == 4);  // the picture named twice is one
  CHECK(contains(printed, unetdn::text("\"output\": \"", (out / "deep.png").string(), "\", \"seconds\": ")));
  CHECK(contains(printed, "\"width\": 9, \"height\": 7}"));
  CHECK(names_in(out) == arguments{"colour.jpg", "deep.png", "dot.png", "grey.pgm"});
  unetdn::image const result = unetdn::read_image(out / "deep.png");
  REQUIRE(result.channels == 2);
  CHECK(result.bit_depth == 16);
  for (std::size_t i = 1; i < deep.pixels.size(); i += 2) CHECK(result.pixels[i] == deep.pixels[i]);
  CHECK(unetdn::read_image(out / "dot.png").width == 1);
  CHECK(unetdn::read_image(out / "grey.pgm").channels == 1);

  std::string const page = scratch.path / "report.html";
  CHECK(succeeds({"--weights", weights, in, "--out", out, "--quiet", "--force", "--report", page}).empty());
  CHECK(contains(file_contents(page), "deep.png"));
}

TEST_CASE("denoise --strength blends") {
  scratch_folder const scratch;
  fs::path const weights = scratch.path / "net.safetensors", noisy = scratch.path / "noisy.png";
  write_weights(weights);
  unetdn::image const before = write_picture(noisy, 13, 11, 3);
  auto const denoised = [&](std::string const& strength) {
    fs::path const to = scratch.path / (strength + ".png");
    succeeds({"--weights", weights, noisy, "--out", to, "--quiet", "--strength", strength});
    return unetdn::read_image(to);
  };
  CHECK(denoised("0").pixels == before.pixels);
  unetdn::image const half = denoised("0.5"), whole = denoised("1");
  CHECK(whole.pixels != before.pixels);
  float worst = 0;
  for (std::size_t i = 0; i < before.pixels.size(); ++i) {
    worst = std::max(worst, std::abs(half.pixels[i] - (before.pixels[i] + whole.pixels[i]) / 2));
  }
  CHECK(worst < 0.76F / 255);  // half rounds by 1/2, whole by 1/2 of which half counts
}

TEST_CASE("the denoiser refuses samples that are no finite numbers, and blends") {
  scratch_folder const scratch;
  write_weights(scratch.path / "net.safetensors");
  unetdn::denoiser<> denoise(scratch.path / "net.safetensors", unetdn::cpu(1));
  double reached = 0;
  denoise.on_progress([&](double fraction) { reached = fraction; });
  unetdn::image picture = made_files::noise_picture(6, 5, 3, 8);
  unetdn::image const result = denoise(picture);
  CHECK(reached == 1);
  CHECK(unetdn::blend(picture, result, 0).pixels == picture.pixels);
  CHECK(unetdn::blend(picture, result, 1).pixels == result.pixels);
  for (float strength : {-0.1F, 1.1F, std::numeric_limits<float>::quiet_NaN()}) {
    CHECK(contains(thrown([&] { unetdn::blend(picture, result, strength); }), "strength"));
  }
  CHECK(contains(thrown([&] { unetdn::blend(picture, unetdn::image(5, 6, 3), 1); }), "differ"));
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    picture.pixels[(2 * 6 + 4) * 3 + 1] = bad;
    CHECK(contains(thrown([&] { denoise(picture); }), "row 2, column 4, channel 1"));
  }
  picture.pixels.resize(7);
  CHECK(contains(thrown([&] { denoise(picture); }), "holds 7 samples"));
}
