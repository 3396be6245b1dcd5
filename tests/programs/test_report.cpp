// SPDX-License-Identifier: Apache-2.0
// The report's page as text: what it shows is what it was given, and nothing in it reaches outside.
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <sys/mount.h>
#include <vector>

#include <unetdn/generated.hpp>
#include <unetdn/literature.hpp>
#include <unetdn/metrics.hpp>

#include "catch.hpp"
#include "report.hpp"
#include "report_chart.hpp"
#include "run_program.hpp"
#include "thrown.hpp"

namespace {

using programs::report;
using unetdn::image;

constexpr std::string_view hostile = "<b>\"&'\xff\x01";

/// A picture with noise that is `level` / 255 here and -`level` / 255 there.
image with_noise(image picture, float level) {
  std::uint32_t state = 1;
  for (float& v : picture.pixels) {
    state = state * 1664525 + 1013904223;
    v += (state >> 31 ? level : -level) / 255;
  }
  return picture;
}

report example(int width = 40, int height = 30) {
  report r;
  r.title = hostile;
  image const clean = unetdn::generate_picture(1, 2, width, height);
  r.pictures.push_back({std::string(hostile), clean, with_noise(clean, 25), with_noise(clean, 5)});
  r.settings = {{std::string(hostile), std::string(hostile)}};
  return r;
}

std::string page_of(report const& r) {
  scratch_folder const folder;
  programs::write_report(folder.path / "report.html", r);
  return file_contents(folder.path / "report.html");
}

std::size_t count(std::string_view whole, std::string_view part) {
  std::size_t found = 0;
  for (auto at = whole.find(part); at != std::string_view::npos; at = whole.find(part, at + 1)) ++found;
  return found;
}

std::vector<std::byte> from_base64(std::string_view digits) {
  std::vector<std::byte> bytes;
  unsigned group = 0, bits = 0;
  for (char const c : digits) {
    if (c == '=') break;
    std::string_view const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    group = group << 6 | static_cast<unsigned>(alphabet.find(c));
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    bytes.push_back(static_cast<std::byte>(group >> bits & 255));
  }
  return bytes;
}

/// The picture of the `number`th layer of this kind.
image layer(std::string const& page, std::string const& key, std::string const& type = "png") {
  auto const tag = page.find("data-layer='" + key);
  REQUIRE(tag != std::string::npos);
  std::string const before = "src='data:image/" + type + ";base64,";
  auto const begin = page.find(before, tag) + before.size();
  REQUIRE(begin > tag + before.size());
  auto const bytes = from_base64(std::string_view(page).substr(begin, page.find('\'', begin) - begin));
  return unetdn::decode_image(bytes, key);
}

image rounded(image picture) {
  unetdn::round_to_8_bits(picture.as_view());
  return picture;
}

}  // namespace

TEST_CASE("a page that shows parts tells of the whole") {
  report r = example(40, 30);
  r.pictures[0].whole_width = 1200;
  r.pictures[0].whole_height = 900;
  r.pictures[0].scores = programs::picture_scores{31.25, 0.875, 20.5, 0.5};
  r.pictures.push_back(r.pictures[0]);
  r.pictures_in_all = 57;
  r.mean = programs::picture_scores{30.125, 0.75, 20.25, 0.25};
  std::string const page = page_of(r);
  CHECK(count(page, "1200 × 900 pixels, colour; its middle is shown, 40 × 30, and all of it measured") == 2);
  CHECK(count(page, "31.25") >= 2);
  CHECK(count(page, "The first 2 of 57 pictures") == 1);
  CHECK(count(page, "Mean of all 57") == 1);
  CHECK(count(page, "+9.88 dB") == 1);  // 30.125 - 20.25, the gain that is told first
}

TEST_CASE("report: base64") {
  auto const encoded = [](std::string_view s) { return programs::base64(std::as_bytes(std::span(s))); };
  CHECK(encoded("").empty());
  CHECK(encoded("f") == "Zg==");  // RFC 4648, section 10
  CHECK(encoded("fo") == "Zm8=");
  CHECK(encoded("foo") == "Zm9v");
  CHECK(encoded("foobar") == "Zm9vYmFy");
  CHECK(encoded("\xff\xfe\xfd") == "//79");
}

TEST_CASE("report: what comes from outside is text") {
  std::string const page = page_of(example());
  CHECK(count(page, "<b>") == 0);
  CHECK(count(page, "\xff") == 0);
  CHECK(count(page, "\x01") == 0);
  std::string const safe = "&lt;b&gt;&quot;&amp;&#39;\xEF\xBF\xBD\xEF\xBF\xBD";
  CHECK(count(page, "<title>" + safe + "</title>") == 1);
  CHECK(count(page, "<h2>" + safe + "</h2>") == 1);
  CHECK(count(page, "alt='" + safe + ": ") == 4);
  CHECK(count(page, "<tr><th scope='row'>" + safe + "</th><td>" + safe + "</td></tr>") == 1);
}

TEST_CASE("report: nothing is loaded from elsewhere") {
  std::string const page = page_of(example());
  CHECK(count(page, "http") == 1);  // <meta http-equiv
  CHECK(count(page, "http-equiv='Content-Security-Policy' content=\"default-src 'none'; img-src data:;") == 1);
  CHECK(count(page, "url(") == 0);
  CHECK(count(page, "@import") == 0);
  CHECK(count(page, "src='") == count(page, "src='data:image/png;base64,"));
  CHECK(count(page, "<link ") == count(page, "<link rel='icon' href='data:,'>"));
}

TEST_CASE("report: pictures are exact, the residual is amplified around grey") {
  report const r = example();
  std::string const page = page_of(r);
  auto const& p = r.pictures[0];
  CHECK(layer(page, "clean").pixels == rounded(*p.clean).pixels);
  CHECK(layer(page, "noisy").pixels == rounded(p.noisy).pixels);
  CHECK(layer(page, "denoised").pixels == rounded(p.denoised).pixels);
  // The differences are +-20 / 255 everywhere, for both have the same signs; 3 * 2 * 20 / 255 <= 1/2 < 3 * 4 * 20 /
  // 255.
  CHECK(count(page, "Noisy − denoised, 2× amplified") > 0);
  image const residual = layer(page, "residual");
  for (std::size_t i = 0; i < residual.pixels.size(); ++i) {
    float const expected = p.noisy.pixels[i] > p.denoised.pixels[i] ? 167.5f / 255 : 87.5f / 255;
    REQUIRE(std::abs(residual.pixels[i] - expected) < 0.6f / 255);
  }
}

TEST_CASE("report: scores stand where the clean picture is known") {
  report r = example();
  auto const s = programs::score(*r.pictures[0].clean, r.pictures[0].noisy, r.pictures[0].denoised);
  CHECK(s.noisy_psnr == Approx(20 * std::log10(255 / 25.)));
  CHECK(s.psnr == Approx(20 * std::log10(255 / 5.)).margin(0.3));  // clamped and rounded before
  CHECK(s.ssim > s.noisy_ssim);
  CHECK(count(page_of(r), "<td>" + unetdn::metric_text(s.psnr, 2) + "</td>") == 1);

  r.pictures[0].clean.reset();
  std::string const page = page_of(r);
  CHECK(count(page, "PSNR, dB") == 0);
  CHECK(count(page, "data-layer='clean'") == 0);
  CHECK(count(page, "the clean picture is not known") == 1);
}

TEST_CASE("report: pictures smaller than SSIM's window, grey, with alpha, with 16 bits") {
  CHECK(count(page_of(example(1, 1)), "<td>–</td>") == 3);
  report both = example();
  both.pictures.push_back(example(1, 1).pictures[0]);
  CHECK(count(page_of(both), "<dd class=''>– → –</dd>") == 0);  // the mean is of the other picture
  for (int channels : {1, 2, 4}) {
    report r;
    image picture(16, 12, channels, 16);
    picture.pixels[0] = 1;
    r.pictures.push_back({"a", picture, picture, picture});
    image const seen = layer(page_of(r), "noisy");
    CHECK(seen.channels == picture.color_channels());
    CHECK(seen.bit_depth == 8);
    CHECK(seen.pixels[0] == 1);
  }
}

TEST_CASE("report: large pictures are scaled down, and their middle is not") {
  report r;
  image const picture(2000, 900, 3);
  r.pictures.push_back({"a", {}, picture, picture});
  std::string const page = page_of(r);
  CHECK(count(page, "1600 × 720 pixels") == 1);
  CHECK(count(page, "id='middle-1'") == 1);
  image const seen = layer(page, "noisy", "jpeg");  // a page of so many samples has no PNG
  CHECK(seen.width == 1600);
  CHECK(seen.height == 720);
}

TEST_CASE("report: curves") {
  report r;
  CHECK(count(page_of(r), "<svg") == 0);
  r.curve = {{1, 0.1, 0.5, {}}};
  CHECK(count(page_of(r), "<svg") == 1);
  for (int step = 2; step <= 3000; ++step) {
    r.curve.push_back({step, 0.1 * step, 1.0 / step, step % 100 ? std::nullopt : std::optional(20 + step / 1000.)});
  }
  r.curve.push_back({3001, 301, std::nan(""), INFINITY});
  r.curve.push_back({3002, 302, 0, {}});
  std::string const page = page_of(r);
  CHECK(count(page, "<svg") == 2);
  CHECK(count(page, "nan") == 0);
  CHECK(count(page, ">inf") == 0);
  CHECK(count(page, ">23.00 dB</text>") == 1);
  auto const begin = page.find("<path class='faint'");
  REQUIRE(begin != std::string::npos);
  CHECK(count(page.substr(begin, page.find('>', begin) - begin), "L") == 499);
}

TEST_CASE("report: axes have few ticks with different labels") {
  using programs::chart_axis;
  auto const [low, high] = GENERATE(std::pair(0.5, 0.5), std::pair(1e-7, 3e5), std::pair(0.011, 0.012),
                                    std::pair(20.0, 20.04), std::pair(1.0, 30000.0), std::pair(0.02, 0.5));
  for (auto const& axis : {chart_axis::linear(low, high, true), chart_axis::linear(low, high, false),
                           chart_axis::logarithmic(low, high)}) {
    auto const& ticks = axis.ticks();
    INFO(low << " to " << high << ": " << ticks.size());
    CHECK(ticks.size() >= 2);
    CHECK(ticks.size() <= 14);
    for (std::size_t i = 1; i < ticks.size(); ++i) {
      CHECK(axis.at(ticks[i - 1]) < axis.at(ticks[i]));
      CHECK(axis.label(ticks[i - 1]) != axis.label(ticks[i]));
    }
  }
}

TEST_CASE("report: only a live one loads itself again") {
  report r = example();
  CHECK(count(page_of(r), "<div class='live'") == 0);
  r.live = true;
  CHECK(count(page_of(r), "<div class='live'") == 1);
}

TEST_CASE("report: pictures that do not belong together are refused") {
  report r = example();
  r.pictures[0].denoised = image(39, 30, 3);
  scratch_folder const folder;
  CHECK_THROWS_AS(programs::write_report(folder.path / "a.html", r), unetdn::argument_error);
  CHECK(std::filesystem::is_empty(folder.path));
}

TEST_CASE("report: a failure leaves the old file") {
  scratch_folder const folder;
  auto const place = folder.path / "full";
  auto const path = place / "report.html";
  std::filesystem::create_directory(place);
  CHECK_THROWS_AS(programs::write_report(folder.path / "missing" / "report.html", example()), unetdn::file_error);
  CHECK_THROWS_AS(programs::write_report(place, example()), unetdn::file_error);
  // A full disk needs a disk of our own, which only root can mount.
  if (::mount("none", place.c_str(), "tmpfs", 0, "size=64k") != 0) return;
  programs::write_report(path, report{});
  std::string const old = file_contents(path);
  std::string const said = thrown([&] { programs::write_report(path, example(300, 300)); });
  CHECK_THAT(said, contains(path.string()));
  CHECK(file_contents(path) == old);
  CHECK(std::distance(std::filesystem::directory_iterator(place), {}) == 1);
  ::umount(place.c_str());
}
