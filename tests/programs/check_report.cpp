// SPDX-License-Identifier: Apache-2.0
// Opens reports in a headless Chromium and uses them as a reader does: moves the divider with mouse and keyboard, makes
// choices, lets a live page load itself again. Nothing may be said on the console, and nothing may be wider than the
// window. Exits with 77 where there is no Chromium.
//
// The browser is driven over pipes by its DevTools protocol: JSON objects that end with a zero byte.
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <poll.h>
#include <spawn.h>
#include <sstream>
#include <string>
#include <string_view>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include <unetdn/core/error.hpp>
#include <unetdn/core/json.hpp>
#include <unetdn/generated.hpp>

#include "report.hpp"
#include "run_program.hpp"

extern char** environ;

namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(std::string const& what) { throw unetdn::error(what); }

fs::path find_chromium() {
  std::istringstream folders(std::getenv("PATH") ? std::getenv("PATH") : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    for (char const* name : {"chromium", "chromium-browser", "google-chrome"}) {
      if (::access((fs::path(folder) / name).c_str(), X_OK) == 0) return fs::path(folder) / name;
    }
  }
  return {};
}

/// The string or number after `"key":`, without escapes; empty where there is none.
std::string value_of(std::string_view json, std::string const& key) {
  std::string const before = '"' + key + "\":";
  auto const at = json.find(before);
  if (at == std::string_view::npos) return {};
  json.remove_prefix(at + before.size());
  if (json.starts_with('"')) return std::string(json.substr(1, json.find('"', 1) - 1));
  return std::string(json.substr(0, json.find_first_of(",}]")));
}

/// A running browser with one page.
class browser {
 public:
  browser(fs::path const& program, fs::path const& profile) {
    std::array<int, 2> to{}, from{};
    unetdn::check(::pipe2(to.data(), O_CLOEXEC) == 0 && ::pipe2(from.data(), O_CLOEXEC) == 0, "no pipes");
    to_ = to[1];
    from_ = from[0];
    start(program, profile, to[0], from[1]);
    ::close(to[0]);
    ::close(from[1]);
    std::string const target = value_of(call("Target.createTarget", R"({"url":"about:blank"})"), "targetId");
    session_ = value_of(call("Target.attachToTarget", unetdn::text("{\"targetId\":\"", target, "\",\"flatten\":true}")),
                        "sessionId");
    for (char const* domain : {"Page.enable", "Runtime.enable", "Log.enable"}) call(domain);
  }
  browser(browser const&) = delete;
  browser& operator=(browser const&) = delete;
  ~browser() {
    ::kill(id_, SIGTERM);
    ::close(to_);
    ::close(from_);
    ::waitpid(id_, nullptr, 0);
  }

  void open(fs::path const& page, int width, int height) {
    call("Emulation.setDeviceMetricsOverride", unetdn::text("{\"width\":", width, ",\"height\":", height,
                                                            ",\"deviceScaleFactor\":1,\"mobile\":", width < 600, '}'));
    loads_ = 0;
    call("Page.navigate", unetdn::text("{\"url\":", unetdn::json_quoted("file://" + page.string()), '}'));
    wait_for_load();
  }

  /// Until the page has loaded, or, a live one, has loaded again.
  void wait_for_load() {
    for (int const before = loads_; loads_ == before;) receive();
  }

  /// What a JavaScript expression is, as a string.
  std::string evaluate(std::string const& expression) {
    std::string const answer =
        call("Runtime.evaluate", unetdn::text("{\"returnByValue\":true,\"expression\":",
                                              unetdn::json_quoted("String(" + expression + ")"), '}'));
    if (answer.find("exceptionDetails") != std::string::npos) fail(expression + ": " + answer);
    return value_of(answer, "value");
  }

  void expect(std::string const& expression, std::string const& expected) {
    std::string const found = evaluate(expression);
    if (found != expected) fail(unetdn::text(expression, " is ", found, ", not ", expected));
  }

  void mouse(std::string_view type, double x, double y) {
    call("Input.dispatchMouseEvent",
         unetdn::text("{\"type\":\"", type, "\",\"x\":", x, ",\"y\":", y,
                      ",\"button\":\"left\",\"buttons\":", type == "mouseReleased" ? 0 : 1, ",\"clickCount\":1}"));
  }

  void key(std::string_view name, int code) {
    for (std::string_view const type : {"rawKeyDown", "keyUp"}) {
      call("Input.dispatchKeyEvent", unetdn::text("{\"type\":\"", type, "\",\"key\":\"", name, "\",\"code\":\"", name,
                                                  "\",\"windowsVirtualKeyCode\":", code, '}'));
    }
  }

  /// What pages have said on the console since the last call, exceptions included.
  std::vector<std::string> said() { return std::exchange(said_, {}); }

 private:
  void start(fs::path const& program, fs::path const& profile, int its_input, int its_output) {
    // Above the numbers 3 and 4 that the browser has them under, so that neither overwrites the other.
    int const input = ::fcntl(its_input, F_DUPFD_CLOEXEC, 10), output = ::fcntl(its_output, F_DUPFD_CLOEXEC, 10);
    posix_spawn_file_actions_t files;
    ::posix_spawn_file_actions_init(&files);
    ::posix_spawn_file_actions_adddup2(&files, input, 3);
    ::posix_spawn_file_actions_adddup2(&files, output, 4);
    ::posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    std::vector<std::string> arguments{program.string(),
                                       "--headless=new",
                                       "--no-sandbox",
                                       "--disable-gpu",
                                       "--remote-debugging-pipe",
                                       "--no-first-run",
                                       "--disable-dev-shm-usage",
                                       "--user-data-dir=" + profile.string()};
    std::vector<char*> argv;
    for (auto& a : arguments) argv.push_back(a.data());
    argv.push_back(nullptr);
    int const failure = ::posix_spawn(&id_, program.c_str(), &files, nullptr, argv.data(), environ);
    ::posix_spawn_file_actions_destroy(&files);
    ::close(input);
    ::close(output);
    if (failure) fail("Chromium cannot be started");
  }

  std::string call(std::string_view method, std::string_view parameters = "{}") {
    int const number = ++calls_;
    std::string message = unetdn::text("{\"id\":", number, ",\"method\":\"", method, "\",\"params\":", parameters);
    if (!session_.empty()) message += ",\"sessionId\":\"" + session_ + '"';
    message += "}";
    if (::write(to_, message.c_str(), message.size() + 1) != ssize_t(message.size() + 1)) fail("Chromium has ended");
    std::string const start = unetdn::text("{\"id\":", number, ',');
    while (true) {
      std::string const answer = receive();
      if (!answer.starts_with(start)) continue;
      if (answer.starts_with(start + "\"error\"")) fail(std::string(method) + ": " + answer);
      return answer;
    }
  }

  /// The next message; notes what happened in the page.
  std::string receive() {
    std::size_t end = 0;
    while ((end = received_.find('\0')) == std::string::npos) {
      pollfd ready{from_, POLLIN, 0};
      if (::poll(&ready, 1, 60'000) <= 0) fail("Chromium does not answer");
      std::array<char, 65536> part{};
      ssize_t const got = ::read(from_, part.data(), part.size());
      if (got <= 0) fail("Chromium has ended");
      received_.append(part.data(), std::size_t(got));
    }
    std::string const message = received_.substr(0, end);
    received_.erase(0, end + 1);
    std::string const method = value_of(message.substr(0, 60), "method");
    if (method == "Page.loadEventFired") ++loads_;
    if (method == "Runtime.exceptionThrown" || method == "Runtime.consoleAPICalled" || method == "Log.entryAdded") {
      said_.push_back(message.substr(0, 600));
    }
    return message;
  }

  pid_t id_ = 0;
  int to_ = -1, from_ = -1;
  int calls_ = 0, loads_ = 0;
  std::string session_, received_;
  std::vector<std::string> said_;
};

void expect_silence(browser& b, fs::path const& page) {
  for (std::string const& line : b.said()) fail(page.filename().string() + " says on the console: " + line);
}

void use_divider(browser& b) {
  std::string const box = "document.querySelector('.frame').getBoundingClientRect()";
  b.evaluate("document.querySelector('.frame').scrollIntoView({block: 'center'})");
  double const left = std::stod(b.evaluate(box + ".left")), width = std::stod(b.evaluate(box + ".width"));
  double const y = std::stod(b.evaluate(box + ".top")) + 20;
  std::string const value = "document.querySelector('.slider').value";
  b.mouse("mousePressed", left + width / 4, y);
  b.mouse("mouseReleased", left + width / 4, y);
  b.expect(value, "250");
  b.mouse("mousePressed", left + width / 4, y);
  b.mouse("mouseMoved", left + width / 2, y);
  b.mouse("mouseMoved", left + width * 3 / 4, y);
  b.mouse("mouseReleased", left + width * 3 / 4, y);
  b.expect(value, "750");
  b.evaluate("document.querySelector('.slider').focus()");
  b.key("ArrowRight", 39);
  b.expect(value, "760");
  b.expect(
      "Math.round(parseFloat(document.querySelector('.over').style.clipPath.split(' ')[3]) / " + box + ".width * 100)",
      "76");
}

void make_choices(browser& b) {
  auto const press = [&b](std::string const& id) { b.evaluate("document.getElementById('" + id + "').click()"); };
  std::string const shown =
      "[...document.querySelectorAll('#whole-1 img')].filter(i => getComputedStyle(i).visibility == 'visible')"
      ".map(i => i.dataset.layer)";
  b.expect(shown, "noisy,denoised");
  press("whole-1-view-1");
  b.expect(shown, "clean,denoised");
  press("whole-1-view-2");
  b.expect(shown, "residual");
  b.expect("document.querySelector('.slider').hidden", "true");
  press("whole-1-view-0");
  press("whole-1-zoom-8");
  b.expect("document.querySelector('.stage').clientWidth", "768");
}

void check_finished(browser& b, fs::path const& page, std::size_t comparisons) {
  for (int const width : {1280, 390}) {
    b.open(page, width, 800);
    b.expect("document.documentElement.dataset.ready", unetdn::text(comparisons));
    b.expect("document.documentElement.scrollWidth <= innerWidth", "true");
    b.expect("[...document.images].every(i => i.complete && i.naturalWidth > 0)", "true");
    b.expect("document.querySelectorAll('b, .live').length", "0");
    use_divider(b);
    make_choices(b);
    b.expect("document.documentElement.scrollWidth <= innerWidth", "true");
    expect_silence(b, page);
  }
}

void check_live(browser& b, fs::path const& page) {
  b.open(page, 390, 500);
  b.evaluate("document.querySelector('.slider').value = 300");
  b.evaluate("document.querySelector('.slider').dispatchEvent(new Event('input'))");
  b.evaluate("document.getElementById('whole-1-view-1').click()");
  b.evaluate("scrollTo(0, 123)");
  b.wait_for_load();
  b.expect("document.documentElement.dataset.ready", "1");
  b.expect("document.querySelector('.slider').value", "300");
  b.expect("document.getElementById('whole-1-view-1').checked", "true");
  b.expect("Math.round(scrollY)", "123");
  b.evaluate("document.getElementById('pause').click()");
  b.expect("document.querySelector('.live span').textContent.includes('no longer')", "true");
  expect_silence(b, page);
}

/// The check itself must be able to fail.
void check_planted_error(browser& b, fs::path const& page) {
  std::ofstream(page, std::ios::app) << "<script>nothing_of_this_name();</script>";
  b.open(page, 1280, 800);
  if (b.said().empty()) fail("an error that was planted went unseen");
}

programs::report_picture picture(std::string name, int width, int height, bool known) {
  unetdn::image const clean = unetdn::generate_picture(1, unsigned(width), width, height);
  unetdn::image noisy = clean;
  for (std::size_t i = 0; i < noisy.pixels.size(); ++i) noisy.pixels[i] += 0.1f * float(int(i * 7919 % 3) - 1);
  return {std::move(name), known ? std::optional(clean) : std::nullopt, noisy, clean};
}

void check_all(fs::path const& chromium) {
  scratch_folder const folder;
  programs::report r;
  r.title = "Report of <b>\"&'</b>";
  r.pictures.push_back(picture("<b>\"&'</b>", 96, 64, true));
  for (int i = 1; i <= 40; ++i) {
    r.curve.push_back({i, double(i), 1.0 / i, i % 10 ? std::nullopt : std::optional(20.0 + i)});
  }
  r.settings = {{"<b>name</b>", "<script>alert(1)</script>"}, {"long", std::string(300, 'x')}};
  r.provenance = r.settings;
  r.live = true;
  programs::write_report(folder.path / "live.html", r);
  r.live = false;
  r.pictures.push_back(picture(std::string(200, 'n'), 13, 200, false));
  r.pictures.push_back(picture("1", 1, 1, true));
  programs::write_report(folder.path / "finished.html", r);

  browser b(chromium, folder.path / "profile");
  check_finished(b, folder.path / "finished.html", r.pictures.size());
  check_live(b, folder.path / "live.html");
  check_planted_error(b, folder.path / "finished.html");
}

}  // namespace

int main() {
  fs::path const chromium = find_chromium();
  if (chromium.empty()) {
    std::cout << "skipped: there is no Chromium (cmake/install_dependencies.sh test)\n";
    return 77;
  }
  std::signal(SIGPIPE, SIG_IGN);
  try {
    check_all(chromium);
  } catch (std::exception const& e) {
    std::cout << "check_report: " << e.what() << '\n';
    return 1;
  }
  return 0;
}
