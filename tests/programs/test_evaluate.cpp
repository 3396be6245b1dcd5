// SPDX-License-Identifier: Apache-2.0
// The program evaluate, run as a user does.
#include <algorithm>
#include <map>
#include <utility>

#include <unetdn/core/json.hpp>
#include <unetdn/literature.hpp>
#include <unetdn/metrics.hpp>

#include "weights.hpp"

using namespace inputs;

namespace {

/// All numbers and names of evaluate's JSON by their place: "mean.psnr", "pictures.0.name".
struct flattened {
  std::map<std::string, std::string> values;
  std::vector<std::string> path;
  std::vector<int> index;  // of open arrays; -1: an object

  void value(std::string text) {
    std::string place;
    for (auto const& part : path) place += (place.empty() ? "" : ".") + part;
    if (!values.emplace(place, std::move(text)).second) throw unetdn::error(place + " comes twice");
    next();
  }
  void next() {
    if (path.empty()) return;
    if (index.back() < 0) {
      path.pop_back();
    } else {
      path.back() = std::to_string(++index.back());
    }
  }
  void null() { value("null"); }
  void boolean(bool b) { value(b ? "true" : "false"); }
  void number_unsigned(std::uint64_t n) { value(std::to_string(n)); }
  void number_integer(std::int64_t n) { value(std::to_string(n)); }
  void number_float(std::string_view n) { value(std::string(n)); }
  void string(std::string const& s) { value(s); }
  void start_object() { index.push_back(-1); }
  void key(std::string const& k) { path.push_back(k); }
  void end_object() { end(); }
  void start_array() {
    index.push_back(0);
    path.emplace_back("0");
  }
  void end_array() {
    path.pop_back();
    end();
  }
  void end() {
    index.pop_back();
    next();
  }
  void parse_error(std::size_t at) { throw unetdn::error(unetdn::text("no JSON from byte ", at)); }
};

std::map<std::string, std::string> parsed(std::string const& json) {
  flattened f;
  unetdn::read_json(json, f);
  return f.values;
}

}  // namespace

TEST_CASE("evaluate refuses what it cannot do in one line") {
  check_help("evaluate");
  scratch_folder const scratch;
  std::string const weights = scratch.path / "net.safetensors", data = scratch.path / "data";
  fs::create_directory(data);
  arguments const some{"--weights", weights, "--data", data};
  write_weights(weights);
  refuses(some, {data, "holds no pictures"}, 1);
  refuses({"--weights", weights, "--data", data + "/missing"}, {data + "/missing", "check the spelling"}, 1);
  for (auto const& [name, says] : write_broken_pictures(data)) {
    refuses(some, {data + "/" + name, says}, 1);
    refuses(with(some, {"--any-size"}), {data + "/" + name, name == "huge.png" ? "damaged or truncated" : says}, 1);
    fs::remove(data + "/" + name);
  }
  write_picture(data + "/a.png", 16, 16, 3);
  refuses_values(some, "--sigma", no_numbers);
  refuses_values(some, "--sigma", {"1001"});
  refuses_values(some, "--seed", no_whole_numbers);
  refuses(with(some, {"--seed", "4294967296", "--protocol", "literature"}), {"--seed"}, 2);
  refuses(with(some, {"--protocol", "other"}), {"--protocol"}, 2);
  refuses(with(some, {"--format", "xml"}), {"--format"}, 2);
  refuses(with(some, {"--nonsense"}), {"--nonsense", "--help"}, 2);
  refuses(with(some, {"--report", data + "/a.png", "--force"}), {"a.png", "input itself"}, 2);
  refuses(with(some, {"--report", weights, "--force"}), {weights, "input itself"}, 2);
  refuses({"--weights", weights, "--noisy", data, "--clean", data, "--seed", "1"}, {"--seed", "--noisy"}, 2);
  refuses({"--weights", weights, "--noisy", data, "--clean", data, "--protocol", "literature"}, {"--protocol"}, 2);
  refuses(with(some, {"--report", data + "/none/r.html"}), {"r.html", "there is no folder"}, 1);
  refuses(with(some, {"--noisy", data, "--clean", data}), {"--data", "--noisy"}, 2);
  refuses({"--weights", weights, "--noisy", data}, {"--clean"}, 2);
  refuses({"--weights", weights}, {"--data"}, 2);
  {
    forbidden const file(data + "/a.png");
    refuses_without_permission(some, data + "/a.png");
  }
  {
    forbidden const folder(data);
    refuses_without_permission(some, data);
  }
  refuses(some, {"standard output cannot be written"}, 1, {.standard_out = "/dev/full"});
  fs::path const out = scratch.path / "out";
  fs::create_directory(out);
  for (std::string const fault : {"full:1", "full:2", "full:3", "fail:1", "fail:2", "fail:3"}) {
    refuses(with(some, {"--report", out / "r.html"}), {out / "r.html", "cannot be written"}, 1,
            {.variables = with_fault(UNETDN_TEST_FAULTS, fault, out)});
    CHECK(names_in(out).empty());
  }
  refuse_bad_weights(scratch.path, [&](std::string const& file) {
    return arguments{"--weights", file, "--data", data};
  });
}

TEST_CASE("evaluate's JSON has the table's numbers") {
  scratch_folder const scratch;
  fs::path const weights = scratch.path / "net.safetensors", data = scratch.path / "data";
  fs::create_directory(data);
  write_weights(weights);
  write_picture(data / "a \"b\".png", 20, 16, 3);
  write_picture(data / "grey.png", 12, 12, 1);
  arguments const some{"--weights", weights, "--data", data, "--sigma", "25", "--quiet"};
  auto const json = parsed(succeeds(with(some, {"--format", "json", "--threads", "2"})));
  std::string const table = succeeds(with(some, {"--threads", "1"}));
  CHECK(json.size() == 4 + 2 * 5);
  CHECK(json.at("pictures.0.name") == "a \"b\".png");
  CHECK(json.at("pictures.1.name") == "grey.png");
  for (std::string const metric : {"psnr", "ssim", "noisy_psnr", "noisy_ssim"}) {
    double sum = 0;
    for (std::string const place : {"pictures.0.", "pictures.1.", "mean."}) {
      double const value = std::stod(json.at(place + metric));
      if (place != "mean.") sum += value;
      CHECK(contains(table, ' ' + unetdn::metric_text(value, contains(metric, "psnr") ? 2 : 4) + ' ') !=
            contains(table, ' ' + unetdn::metric_text(value, contains(metric, "psnr") ? 2 : 4) + '\n'));
    }
    CHECK(std::stod(json.at("mean." + metric)) == Approx(sum / 2));
  }
  CHECK(contains(succeeds(with(some, {"--format", "csv"})), "\n\"a \"\"b\"\".png\","));

  write_picture(data / "small.png", 1, 1, 3);
  auto const with_small = parsed(succeeds(with(some, {"--format", "json", "--protocol", "literature"})));
  CHECK(with_small.at("pictures.2.ssim") == "null");
  CHECK(with_small.at("mean.ssim") != "null");
}

TEST_CASE("evaluate --protocol literature adds the literature's noise, unclipped for PSNR and rounded for SSIM") {
  scratch_folder const scratch;
  fs::path const weights = scratch.path / "net.safetensors", data = scratch.path / "data";
  fs::create_directory(data);
  write_weights(weights);
  unetdn::image white(20, 14, 3);
  std::fill(white.pixels.begin(), white.pixels.end(), 1.F);
  for (char const* name : {"a.png", "b.png"}) unetdn::write_image(data / name, white);
  auto const scores = [&](arguments const& more) {
    return parsed(succeeds(with({"--weights", weights, "--data", data, "--sigma", "50", "--format", "json"}, more)));
  };
  for (std::uint32_t const seed : {0U, 7U}) {
    unetdn::image noisy = white;
    unetdn::add_literature_noise(std::as_const(white).as_view(), noisy.as_view(), 50, seed);
    auto const json = scores({"--protocol", "literature", "--seed", std::to_string(seed)});
    double const unclipped = unetdn::psnr(std::as_const(white).as_view(), std::as_const(noisy).as_view());
    unetdn::round_to_8_bits(noisy.as_view());
    CHECK(unetdn::psnr(std::as_const(white).as_view(), std::as_const(noisy).as_view()) > unclipped + 1);
    for (std::string const picture : {"pictures.0.", "pictures.1."}) {  // both get the same noise
      CHECK(std::stod(json.at(picture + "noisy_psnr")) == Approx(unclipped).epsilon(1e-12));
      CHECK(std::stod(json.at(picture + "noisy_ssim")) ==
            Approx(unetdn::ssim(std::as_const(white).as_view(), std::as_const(noisy).as_view())).epsilon(1e-12));
    }
  }
  auto const own = scores({});
  CHECK(own.at("pictures.0.noisy_psnr") != own.at("pictures.1.noisy_psnr"));
}

TEST_CASE("evaluate measures pairs, found by name") {
  scratch_folder const scratch;
  fs::path const weights = scratch.path / "net.safetensors", noisy = scratch.path / "noisy";
  fs::path const clean = scratch.path / "clean";
  fs::create_directory(noisy);
  fs::create_directory(clean);
  write_weights(weights);
  unetdn::image const first = write_picture(noisy / "scene_1_real.png", 16, 16, 3, 8, 1);
  write_picture(noisy / "scene_2_real.png", 16, 16, 3, 8, 2);
  unetdn::image const truth = write_picture(clean / "scene_1_mean.ppm", 16, 16, 3, 8, 3);
  write_picture(clean / "scene_2_mean.ppm", 16, 16, 3, 8, 4);
  arguments const some{"--weights", weights, "--noisy", noisy, "--clean", clean, "--format", "json"};
  std::string const printed = succeeds(some);
  auto const json = parsed(printed);
  CHECK(json.at("pictures.0.name") == "scene_1");
  CHECK(std::stod(json.at("pictures.0.noisy_psnr")) == Approx(unetdn::psnr(truth.as_view(), first.as_view())));
  std::string const page = scratch.path / "report.html";
  CHECK(succeeds(with(some, {"--report", page})) == printed);
  CHECK(contains(file_contents(page), "scene_2"));

  refuses(with(some, {"--sigma", "25"}), {weights, "leave out sigma"}, 2);
  write_picture(clean / "scene_2_mean.ppm", 16, 17, 3);
  refuses(some, {noisy / "scene_2_real.png", clean / "scene_2_mean.ppm", "16 x 17"}, 2);
  fs::remove(clean / "scene_2_mean.ppm");
  refuses(some, {noisy / "scene_2_real.png", "no partner"}, 2);

  // One folder with both.
  fs::rename(clean / "scene_1_mean.ppm", noisy / "scene_1_mean.ppm");
  fs::remove(noisy / "scene_2_real.png");
  arguments const both{"--weights", weights, "--noisy", noisy, "--clean", noisy, "--format", "json"};
  CHECK(parsed(succeeds(both)).at("mean.noisy_psnr") == json.at("pictures.0.noisy_psnr"));
}

TEST_CASE("evaluate leaves pictures that come back exactly out of the mean, and counts them") {
  scratch_folder const scratch;
  fs::path const weights = scratch.path / "net.safetensors", noisy = scratch.path / "noisy";
  fs::path const clean = scratch.path / "clean";
  fs::create_directory(noisy);
  fs::create_directory(clean);
  unetdn::unet_config identity = small_network();
  identity.output = unetdn::unet_output::linear;
  identity.residual = true;  // begins with a noise of zero
  write_weights(weights, identity);
  unetdn::image const equal = write_picture(clean / "equal.png", 16, 16, 3, 8, 1);
  unetdn::write_image(noisy / "equal.png", equal);
  write_picture(clean / "other.png", 16, 16, 3, 8, 2);
  write_picture(noisy / "other.png", 16, 16, 3, 8, 3);
  arguments const pairs{"--weights", weights, "--noisy", noisy, "--clean", clean};
  auto const json = parsed(succeeds(with(pairs, {"--format", "json"})));
  CHECK(json.at("pictures.0.psnr") == "null");
  CHECK(json.at("pictures.0.noisy_psnr") == "null");
  CHECK(json.at("pictures.0.ssim") == "1");
  CHECK(json.at("mean.psnr") == json.at("pictures.1.psnr"));
  CHECK(json.at("mean.noisy_psnr") == json.at("pictures.1.noisy_psnr"));
  CHECK(std::stod(json.at("mean.ssim")) == Approx((1 + std::stod(json.at("pictures.1.ssim"))) / 2));
  std::string const table = succeeds(pairs);
  CHECK(contains(table, " inf dB"));
  CHECK(contains(table, "\n1 pictures came back exactly"));
  auto const exact = parsed(succeeds({"--weights", weights, "--data", clean, "--sigma", "0", "--format", "json"}));
  CHECK(exact.at("mean.psnr") == "null");
  CHECK(exact.at("mean.ssim") == "1");
}
