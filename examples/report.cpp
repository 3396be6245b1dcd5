// SPDX-License-Identifier: Apache-2.0
#include "report.hpp"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <string_view>

#include <unetdn/core/file.hpp>
#include <unetdn/core/json.hpp>
#include <unetdn/literature.hpp>
#include <unetdn/metrics.hpp>

#include "report_chart.hpp"
#include "report_page.hpp"
#include "work.hpp"

namespace programs {

namespace {

// Pages of more samples than this have JPEG in place of PNG, and smaller pictures where even that is not enough.
constexpr std::int64_t most_png_samples = 6'000'000, most_samples = 60'000'000;
constexpr int largest_side = 1600;
constexpr int detail_side = 640;  // of the crop that shows the middle of a scaled-down picture
constexpr std::size_t most_points = 500;

/// Text as HTML, also inside of quotes: bytes that are not UTF-8 and control characters become U+FFFD.
std::string escaped(std::string_view s) {
  std::string html;
  while (!s.empty()) {
    std::size_t const length = unetdn::detail::utf8_length(s);
    char const c = s.front();
    bool const control = (c >= 0 && c < ' ' && c != '\n' && c != '\t') || c == '\x7f';
    if (length == 0 || control) {
      unetdn::detail::append_utf8(html, 0xFFFD);
    } else if (c == '&') {
      html += "&amp;";
    } else if (c == '<') {
      html += "&lt;";
    } else if (c == '>') {
      html += "&gt;";
    } else if (c == '"') {
      html += "&quot;";
    } else if (c == '\'') {
      html += "&#39;";
    } else {
      html += s.substr(0, length);
    }
    s.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return html;
}

/// The picture as a page shows it: 8 bits, no alpha, no side longer than `side`.
unetdn::image shown(unetdn::image const& picture, int side) {
  unetdn::image p = unetdn::without_alpha(picture);
  p.bit_depth = 8;
  int const longest = std::max(p.width, p.height);
  if (longest <= side) return p;
  auto const scaled = [&](int extent) {
    return std::max(1, static_cast<int>(std::lround(double(extent) * side / longest)));
  };
  return unetdn::resize(p, scaled(p.width), scaled(p.height));
}

/// What was taken away: grey + factor (noisy - denoised). The factor is a power of two and makes three standard
/// deviations fit.
struct residual {
  unetdn::image picture;
  int factor = 1;

  residual(unetdn::image const& noisy, unetdn::image const& denoised) : picture{noisy} {
    double const deviation = std::sqrt(unetdn::mse(noisy.as_view(), denoised.as_view()));
    while (factor < 64 && 2 * factor * 3 * deviation <= 0.5) factor *= 2;
    for (std::size_t i = 0; i < picture.pixels.size(); ++i) {
      picture.pixels[i] = 0.5f + static_cast<float>(factor) * (noisy.pixels[i] - denoised.pixels[i]);
    }
  }
};

/// Writes the page into a string, section by section.
class report_writer {
 public:
  explicit report_writer(report const& r) : r_{r} {
    check_pictures();
    limit_size();
    for (report_picture const& p : r.pictures) {
      scores_.push_back(p.scores || !p.clean ? p.scores : std::optional(score(*p.clean, p.noisy, p.denoised)));
    }
  }

  std::string page() {
    begin();
    facts();
    if (r_.pictures.size() > 1) list_of_pictures();
    for (std::size_t i = 0; i < r_.pictures.size(); ++i) picture(i);
    curves();
    tables();
    explanations();
    add("<script>", report_script, "</script>\n</html>\n");
    return std::move(page_);
  }

 private:
  template <class... Parts> void add(Parts const&... parts) { page_ += unetdn::text(parts...); }

  void check_pictures() const {
    for (report_picture const& p : r_.pictures) {
      auto const same = [&](unetdn::image const& other) {
        other.check_valid();
        unetdn::check(other.width == p.noisy.width && other.height == p.noisy.height &&
                          other.color_channels() == p.noisy.color_channels(),
                      "report: the pictures of ", p.name, " differ in size or channels");
      };
      same(p.noisy);
      same(p.denoised);
      if (p.clean) same(*p.clean);
    }
  }

  /// Decides on PNG or JPEG, and on the longest side.
  void limit_size() {
    auto const samples = [this] {
      std::int64_t sum = 0;
      for (report_picture const& p : r_.pictures) {
        double const scale = std::min(1.0, double(side_) / std::max(p.noisy.width, p.noisy.height));
        sum += static_cast<std::int64_t>(4 * scale * scale * double(p.noisy.samples()));
      }
      return sum;
    };
    while (side_ > 100 && samples() > most_samples) side_ /= 2;
    jpeg_ = samples() > most_png_samples;
  }

  void begin() {
    std::string const title = escaped(r_.title);
    add("<!doctype html>\n<html lang='en'>\n<meta charset='utf-8'>\n"
        "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; img-src data:; "
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>\n"
        "<link rel='icon' href='data:,'>\n",
        r_.live ? "<noscript><meta http-equiv='refresh' content='5'></noscript>\n" : "", "<title>", title,
        "</title>\n<style>", report_style, "</style>\n<script>document.documentElement.classList.add('js')</script>\n",
        "<h1>", title, "</h1>\n");
    if (!r_.live) return;
    constexpr std::string_view running = "Work goes on. This page loads itself again every 5 seconds.";
    add("<div class='live' data-running='", running,
        "' data-paused='Work goes on, but this page no longer loads itself "
        "again.'><span>",
        running, "</span><button type='button' id='pause'>Pause</button></div>\n");
  }

  void fact(std::string_view name, std::string_view value, std::string_view css_class = "") {
    add("<div><dt>", name, "</dt><dd class='", css_class, "'>", value, "</dd></div>");
  }

  void facts() {
    unetdn::mean_of_metrics psnr, ssim, noisy_psnr, noisy_ssim;
    for (auto const& s : scores_) {
      if (!s) continue;
      psnr.add(s->psnr);
      noisy_psnr.add(s->noisy_psnr);
      if (std::isnan(s->ssim)) continue;  // a picture smaller than the window
      ssim.add(s->ssim);
      noisy_ssim.add(s->noisy_ssim);
    }
    mean_ = r_.mean.value_or(picture_scores{psnr.mean(), ssim.mean(), noisy_psnr.mean(), noisy_ssim.mean()});
    bool const many = psnr.count() > 1;
    if (psnr.count() == 0 && r_.curve.empty()) return;
    add("<dl class='facts'>");
    if (psnr.count() > 0) {
      fact(many ? "Mean gain" : "Gain", difference(mean_.psnr, mean_.noisy_psnr, 2, " dB"), "first");
      fact(many ? "Mean PSNR" : "PSNR", from_to(mean_.noisy_psnr, mean_.psnr, 2) + " <small>dB</small>");
      fact(many ? "Mean SSIM" : "SSIM", from_to(mean_.noisy_ssim, mean_.ssim, 3));
    }
    if (!r_.curve.empty()) {
      report_point const& last = r_.curve.back();
      std::string const since =
          r_.resumed_at > 0 ? unetdn::text(last.step - r_.resumed_at, " of them in ") : std::string("in ");
      fact("Steps", unetdn::text(last.step, " <small>", since, duration(last.seconds), "</small>"));
    }
    add("</dl>\n");
  }

  static std::string number(double value, int digits) {
    return std::isnan(value) ? "–" : unetdn::metric_text(value, digits);
  }
  static std::string from_to(double from, double to, int digits) {
    return unetdn::text(number(from, digits), " → ", number(to, digits));
  }
  static std::string difference(double to, double from, int digits, std::string_view unit = "") {
    if (std::isnan(to - from)) return "–";
    return unetdn::text(to < from ? "−" : "+", unetdn::metric_text(std::abs(to - from), digits), unit);
  }

  void scores_row(std::string_view head, picture_scores const& s) {
    add("<tr><th scope='row'>", head, "</th><td>", number(s.noisy_psnr, 2), "</td><td>", number(s.psnr, 2), "</td><td>",
        difference(s.psnr, s.noisy_psnr, 2), "</td><td>", from_to(s.noisy_ssim, s.ssim, 3), "</td></tr>\n");
  }

  void list_of_pictures() {
    bool const any_scores = std::any_of(scores_.begin(), scores_.end(), [](auto const& s) { return s.has_value(); });
    bool const more = r_.pictures_in_all > r_.pictures.size();
    std::string const which =
        more ? unetdn::text("The first ", r_.pictures.size(), " of ", r_.pictures_in_all, " pictures") : "Pictures";
    add("<section><h2>", which,
        "</h2><div class='scroll'><table class='pictures'><thead><tr><th scope='col'>Name</th>");
    if (any_scores) {
      add("<th scope='col'>Noisy, dB</th><th scope='col'>Denoised, dB</th><th scope='col'>Gain, dB</th>"
          "<th scope='col'>SSIM</th>");
    }
    add("</tr></thead><tbody>\n");
    for (std::size_t i = 0; i < r_.pictures.size(); ++i) {
      std::string const head = unetdn::text("<a href='#picture-", i + 1, "'>", escaped(r_.pictures[i].name), "</a>");
      if (scores_[i]) {
        scores_row(head, *scores_[i]);
      } else {
        add("<tr><th scope='row'>", head, "</th>", any_scores ? "<td colspan='4'>clean picture not known</td>" : "",
            "</tr>\n");
      }
    }
    add("</tbody>");
    if (any_scores) {
      add("<tfoot>");
      scores_row(more ? unetdn::text("Mean of all ", r_.pictures_in_all) : "Mean", mean_);
      add("</tfoot>");
    }
    add("</table></div></section>\n");
  }

  void picture(std::size_t i) {
    report_picture const& p = r_.pictures[i];
    bool const scaled = std::max(p.noisy.width, p.noisy.height) > side_;
    bool const part = p.whole_width > p.noisy.width || p.whole_height > p.noisy.height;
    auto const extents = [](int width, int height) { return unetdn::text(width, " × ", height); };
    std::string const shown_part = extents(p.noisy.width, p.noisy.height);
    add("<section id='picture-", i + 1, "'><h2>", escaped(p.name), "</h2>\n<p class='soft'>",
        part ? extents(p.whole_width, p.whole_height) : shown_part, " pixels, ",
        p.noisy.color_channels() == 1 ? "grey" : "colour",
        part ? unetdn::text("; its middle is shown, ", shown_part, p.scores ? ", and all of it measured" : "") : "",
        p.clean ? "" : "; the clean picture is not known, so nothing is measured", jpeg_ ? "; shown as JPEG" : "",
        "</p>\n");
    comparison(unetdn::text("whole-", i + 1), p, [this](unetdn::image const& x) { return shown(x, side_); });
    if (scaled) {
      add("<h3 class='part'>The middle at full size</h3><p class='soft'>Scaling down averages noise away: the picture "
          "above looks less noisy than it is.</p>\n");
      comparison(unetdn::text("middle-", i + 1), p, [](unetdn::image const& x) {
        return shown(unetdn::middle(x, detail_side, detail_side), detail_side);
      });
    }
    if (scores_[i]) scores_table(*scores_[i]);
    add("</section>\n");
  }

  template <class Show> void comparison(std::string const& id, report_picture const& p, Show show) {
    unetdn::image const noisy = show(p.noisy), denoised = show(p.denoised);
    residual const taken(noisy, denoised);
    add("<div class='comparison' id='", id, "'><div class='controls'>");
    choice(id, "view", "Compare",
           {{"0", "Noisy | denoised"}, {"1", p.clean ? "Clean | denoised" : ""}, {"2", "Residual"}});
    choice(id, "zoom", "Zoom", {{"fit", "Fit"}, {"1", "1×"}, {"2", "2×"}, {"4", "4×"}, {"8", "8×"}});
    add("</div>\n<div class='frame'><div class='viewport' role='group' aria-label='Picture'><div class='stage' "
        "data-width='",
        noisy.width, "' data-height='", noisy.height, "'>");
    if (p.clean) layer(p, "clean", "Clean", show(*p.clean));
    layer(p, "noisy", "Noisy", noisy);
    layer(p, "denoised", "Denoised", denoised);
    layer(p, "residual", unetdn::text("Noisy − denoised, ", taken.factor, "× amplified, grey is zero"), taken.picture);
    add("</div></div><span class='tag left'></span><span class='tag right'></span><input class='slider' type='range' "
        "id='",
        id, "-divider' min='0' max='1000' value='500' step='10'></div>\n");
    if (noisy.width < p.noisy.width && id.starts_with("whole")) {
      add("<p class='soft note'>Shown scaled down to ", noisy.width, " × ", noisy.height, " pixels.</p>");
    }
    add("</div>\n");
  }

  /// Radio buttons; one without a label is left out.
  void choice(std::string const& id, std::string_view name, std::string_view legend,
              std::initializer_list<std::pair<std::string_view, std::string_view>> options) {
    add("<fieldset><legend class='hidden'>", legend, "</legend>");
    bool first = true;
    for (auto const& [value, label] : options) {
      if (label.empty()) continue;
      add("<label><input type='radio' id='", id, '-', name, '-', value, "' name='", id, '-', name, "' data-choice='",
          name, "' value='", value, first ? "' checked" : "'", "><span>", label, "</span></label>");
      first = false;
    }
    add("</fieldset>");
  }

  void layer(report_picture const& p, std::string_view key, std::string_view label, unetdn::image const& picture) {
    auto const bytes = jpeg_ ? unetdn::encode_jpeg(picture, 92) : unetdn::encode_png(picture);
    add("<img data-layer='", key, "' data-label='", label, "' alt='", escaped(p.name), ": ", label, "' width='",
        picture.width, "' height='", picture.height, "' draggable='false' src='data:image/", jpeg_ ? "jpeg" : "png",
        ";base64,", base64(bytes), "'>\n");
  }

  void scores_table(picture_scores const& s) {
    add("<table class='scores'><thead><tr><td></td><th scope='col'>PSNR, dB</th><th scope='col'>SSIM</th></tr></thead>"
        "<tbody><tr><th scope='row'>Noisy</th><td>",
        number(s.noisy_psnr, 2), "</td><td>", number(s.noisy_ssim, 4),
        "</td></tr><tr><th scope='row'>Denoised</th><td>", number(s.psnr, 2), "</td><td>", number(s.ssim, 4),
        "</td></tr><tr class='gain'><th scope='row'>Gain</th><td>", difference(s.psnr, s.noisy_psnr, 2), "</td><td>",
        difference(s.ssim, s.noisy_ssim, 4), "</td></tr></tbody></table>\n");
  }

  void curves() {
    std::vector<chart_point> losses, psnrs;
    for (report_point const& p : r_.curve) {
      // A logarithmic scale has no place for 0, and none has one for infinity.
      if (std::isfinite(p.loss) && p.loss > 0) losses.push_back({double(p.step), p.loss});
      if (p.psnr && std::isfinite(*p.psnr)) psnrs.push_back({double(p.step), *p.psnr});
    }
    if (losses.empty() && psnrs.empty()) return;
    add("<section><h2>Training</h2><div class='charts'>\n");
    auto const steps = chart_axis::linear(0, double(r_.curve.back().step), false);
    if (!losses.empty()) loss_chart(steps, losses);
    if (!psnrs.empty()) psnr_chart(steps, psnrs);
    add("</div></section>\n");
  }

  static std::pair<double, double> range(std::vector<chart_point> const& points) {
    auto const [low, high] =
        std::minmax_element(points.begin(), points.end(), [](chart_point a, chart_point b) { return a.y < b.y; });
    return {low->y, high->y};
  }

  void loss_chart(chart_axis const& steps, std::vector<chart_point> const& losses) {
    auto const fine = decimated(losses, most_points), coarse = decimated(losses, 50);
    auto const [low, high] = range(fine);
    std::string const what =
        unetdn::text("Loss against steps: ", losses.front().y, " at first, ", coarse.back().y, " at last");
    line_chart chart(steps, chart_axis::logarithmic(low, high), what, "steps", "loss");
    if (fine.size() > coarse.size()) chart.line(fine, "faint");
    chart.line(coarse, "strong");
    add("<figure><figcaption>Loss, logarithmic</figcaption>", chart.svg(), "</figure>\n");
  }

  void psnr_chart(chart_axis const& steps, std::vector<chart_point> const& psnrs) {
    auto const [low, high] = range(psnrs);
    auto const best =
        *std::max_element(psnrs.begin(), psnrs.end(), [](chart_point a, chart_point b) { return a.y < b.y; });
    std::string const what = unetdn::text("PSNR of the validation pictures against steps: at most ",
                                          unetdn::metric_text(best.y, 2), " dB at step ", best.x);
    line_chart chart(steps, chart_axis::linear(low, high, true), what, "steps", "dB");
    chart.line(decimated(psnrs, most_points), "strong");
    chart.mark(best, unetdn::metric_text(best.y, 2) + " dB");
    add("<figure><figcaption>PSNR of the validation pictures</figcaption>", chart.svg(), "</figure>\n");
  }

  void table(std::string_view head, std::vector<std::pair<std::string, std::string>> const& rows) {
    if (rows.empty()) return;
    add("<div><h2>", head, "</h2><table class='settings'><tbody>\n");
    for (auto const& [name, value] : rows) {
      add("<tr><th scope='row'>", escaped(name), "</th><td>", escaped(value), "</td></tr>\n");
    }
    add("</tbody></table></div>\n");
  }

  void tables() {
    if (r_.settings.empty() && r_.provenance.empty()) return;
    add("<section class='tables'>");
    table("Settings", r_.settings);
    table("Provenance", r_.provenance);
    add("</section>\n");
  }

  void explanations() {
    if (r_.pictures.empty()) return;
    add("<details><summary>How to read this</summary><dl>"
        "<dt>The divider</dt><dd>Drag it, click where it should go, or move it with the arrow keys. A picture larger "
        "than its frame is moved by scrolling or dragging.</dd>"
        "<dt>Residual</dt><dd>What was taken away: noisy minus denoised, amplified around grey. It should look like "
        "noise; edges and textures in it are details of the picture that were lost.</dd>"
        "<dt>PSNR</dt><dd>How large the difference from the clean picture is, in decibels; higher is better, and 10 dB "
        "are a tenth of the squared error. The denoised picture is rounded to 8 bits before.</dd>"
        "<dt>SSIM</dt><dd>How alike the structures are; 1 is equal.</dd></dl></details>\n");
  }

  report const& r_;
  std::vector<std::optional<picture_scores>> scores_;
  picture_scores mean_{};
  int side_ = largest_side;
  bool jpeg_ = false;
  std::string page_;
};

}  // namespace

picture_scores score(unetdn::image const& clean, unetdn::image const& noisy, unetdn::image const& denoised) {
  unetdn::image const truth = unetdn::without_alpha(clean);
  unetdn::image before = unetdn::without_alpha(noisy), after = unetdn::without_alpha(denoised);
  auto const ssim = [&truth](unetdn::image const& picture) {
    if (truth.width < 11 || truth.height < 11) return std::numeric_limits<double>::quiet_NaN();
    return unetdn::ssim(truth.as_view(), picture.as_view());
  };
  unetdn::round_to_8_bits(after.as_view());
  picture_scores s{};
  s.noisy_psnr = unetdn::psnr(truth.as_view(), std::as_const(before).as_view());
  unetdn::round_to_8_bits(before.as_view());
  s.psnr = unetdn::psnr(truth.as_view(), std::as_const(after).as_view());
  s.noisy_ssim = ssim(before);
  s.ssim = ssim(after);
  return s;
}

void write_report(std::filesystem::path const& path, report const& r) {
  std::string const page = report_writer(r).page();
  unetdn::write_file_atomically(path, std::as_bytes(std::span(page)));
}

std::string base64(std::span<std::byte const> bytes) {
  constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string digits;
  digits.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::size_t const count = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t group = 0;
    for (std::size_t k = 0; k < 3; ++k) {
      group = group << 8 | (k < count ? std::to_integer<std::uint32_t>(bytes[i + k]) : 0);
    }
    for (std::size_t k = 0; k < 4; ++k) digits += k <= count ? alphabet[group >> (18 - 6 * k) & 63] : '=';
  }
  return digits;
}

}  // namespace programs
