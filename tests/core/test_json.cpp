// SPDX-License-Identifier: Apache-2.0
// The reader against the grammar by hand, and against nlohmann/json on documents that were damaged at random.
#include <cstddef>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <unetdn/core/error.hpp>
#include <unetdn/core/json.hpp>

#include "catch.hpp"
#include "json_events.hpp"

using namespace std::string_literals;
using namespace std::string_view_literals;
using unetdn::json_quoted;
using namespace json_events;

namespace {

/// Where reading stops; -1 where all is well.
long refused_at(std::string_view json) {
  recorder to;
  try {
    unetdn::read_json(json, to);
  } catch (refusal const& r) {
    return static_cast<long>(r.offset);
  }
  return -1;
}

/// A document with one to three bytes, words or slices of it changed.
std::string damaged(std::mt19937& random) {
  std::vector<std::string> const words = {"{",
                                          "}",
                                          "[",
                                          "]",
                                          ",",
                                          ":",
                                          "\"",
                                          "\\",
                                          "\\u",
                                          "\\ud800",
                                          "\\udc00",
                                          "\\u12",
                                          "\\x",
                                          "0",
                                          "00",
                                          "-",
                                          "+",
                                          ".",
                                          "e",
                                          "E5",
                                          "1.5",
                                          "1e400",
                                          "true",
                                          "null",
                                          "nul",
                                          "NaN",
                                          "//",
                                          "\t",
                                          "\n",
                                          " ",
                                          "\x1f",
                                          "\x80",
                                          "\xc0\x80",
                                          "\xc3\xa4",
                                          "\xed\xa0\x80",
                                          "\xe0\x80\x80",
                                          "\xf4\x90\x80\x80",
                                          "\xf0\x80\x80\x80",
                                          "\xff",
                                          "\xe2\x82",
                                          "\"a\":",
                                          "[1,]",
                                          "{\"k\":2}",
                                          "\v",
                                          "\xc2\xa0"};
  auto const below = [&](std::size_t n) { return static_cast<std::size_t>(random()) % n; };
  std::string s = documents()[below(documents().size())];
  for (std::size_t times = 1 + below(3); times > 0; --times) {
    std::size_t const at = below(s.size() + 1);
    std::string const& word = words[below(words.size())];
    switch (below(6)) {
      case 0:
        s.erase(at, 1 + below(3));
        break;
      case 1:
        s.insert(at, word);
        break;
      case 2:
        s.replace(at, 1, word);
        break;
      case 3:
        s.replace(at, 1, 1, static_cast<char>(1 + below(255)));
        break;
      case 4:
        s.insert(at, s.substr(below(s.size() + 1), 1 + below(12)));
        break;
      default:
        s.insert(at, documents()[below(documents().size())]);
        break;
    }
  }
  return s;
}

}  // namespace

TEST_CASE("json: events") {
  CHECK(events("null") == "null ");
  CHECK(events(" true\n") == "true ");
  CHECK(events("[]") == "[ ] ");
  CHECK(events(" { } ") == "{ } ");
  CHECK(events(R"({"a":[1,{"b":false}],"c":"d"})") == "{ k1:a [ u1 { k1:b false } ] k1:c s1:d } ");
  CHECK(events("[[],[[]],{}]") == "[ [ ] [ [ ] ] { } ] ");
  CHECK(events(R"({"a":1,"a":2})") == "{ k1:a u1 k1:a u2 } ");
}

TEST_CASE("json: numbers") {
  CHECK(events("0") == "u0 ");
  CHECK(events("-0") == "i0 ");
  CHECK(events("-17") == "i-17 ");
  CHECK(events("18446744073709551615") == "u18446744073709551615 ");
  CHECK(events("18446744073709551616") == "f18446744073709551616 ");
  CHECK(events("-9223372036854775808") == "i-9223372036854775808 ");
  CHECK(events("-9223372036854775809") == "f-9223372036854775809 ");
  CHECK(events("4.0") == "f4.0 ");
  CHECK(events("1e5") == "f1e5 ");
  CHECK(events("-1.5E-05") == "f-1.5E-05 ");
  CHECK(events("1e999") == "f1e999 ");
  for (auto const bad : {"01", "-01", "00", "+1", "-", "--1", ".5", "1.", "1.e2", "1e", "1e+", "1e1.5", "0x10", "1_0",
                         "NaN", "Infinity", "-Infinity", "1 2", "1,"}) {
    INFO(bad);
    CHECK_FALSE(events(bad));
  }
}

TEST_CASE("json: strings") {
  CHECK(events(R"("\"\\\/\b\f\n\r\t")") == "s8:\"\\/\b\f\n\r\t ");
  CHECK(events(R"("\u0041\u00e4\u20AC\uD83D\uDE00")") == "s10:A\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80 ");
  CHECK(events(R"("\uD800\uDC00\uDBFF\uDFFF")") == "s8:\xf0\x90\x80\x80\xf4\x8f\xbf\xbf ");
  CHECK(events(R"("\u007f\u0080\u07ff\u0800\ud7ff\ue000\uffff")") ==
        "s17:\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf ");
  CHECK(events(R"("a\u0000b")") == "s3:a\0b "s);
  for (auto const bad : {R"(")", R"("a)", R"("\")", R"("\a")", R"("\u12")", R"("\u12g4")", R"("\U0041")", R"("\ud800")",
                         R"("\ud800x")", R"("\ud800\n")", R"("\ud800\u0041")", R"("\ud800\ud800")", R"("\udc00")",
                         R"('a')", R"("\ud800\u)", "\"a\nb\"", "\"a\tb\"", "\"\x1f\"", "\"\\\n\""}) {
    INFO(bad);
    CHECK_FALSE(events(bad));
  }
  CHECK_FALSE(events("\"a\0b\""sv));
}

TEST_CASE("json: UTF-8") {
  for (auto const good : {"\x01", "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
                          "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    CHECK(unetdn::detail::utf8_end(good) == std::string_view(good).size());
  }
  for (auto const bad : {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2\x7f", "\xc2\xc0", "\xe0\x9f\xbf",
                         "\xe1\x80", "\xed\xa0\x80", "\xed\xbf\xbf", "\xef\xbf\x7f", "\xf0\x8f\xbf\xbf", "\xf1\x80\x80",
                         "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff"}) {
    CHECK(unetdn::detail::utf8_end(bad) == 0);
    CHECK_FALSE(events(text("\"", bad, "\"")));
    CHECK_FALSE(events(text("\"", bad)));
    CHECK_FALSE(events(text("{\"", bad, "\":1}")));
  }
}

TEST_CASE("json: what is no value is refused") {
  for (auto const bad : {"",
                         " ",
                         "{",
                         "[",
                         "}",
                         "]",
                         "{]",
                         "[}",
                         "[1",
                         "[1,",
                         "[1,]",
                         "[,1]",
                         "[1 2]",
                         "[,]",
                         "{\"a\"}",
                         "{\"a\":}",
                         "{\"a\":1,}",
                         "{,}",
                         "{\"a\" 1}",
                         "{a:1}",
                         "{1:1}",
                         "{\"a\":1 \"b\":2}",
                         "{\"a\":1,,\"b\":2}",
                         "[]]",
                         "{}}",
                         "{} {}",
                         "nul",
                         "nulll",
                         "True",
                         "tru",
                         "falsy",
                         "/**/1",
                         "1//",
                         "\xef\xbb\xbf{}",
                         "\v1",
                         "\xc2\xa0"
                         "1"}) {
    INFO(bad);
    CHECK_FALSE(events(bad));
  }
  CHECK_FALSE(events("{}\0"sv));
  CHECK_FALSE(events("\0{}"sv));
}

TEST_CASE("json: a refusal says where") {
  CHECK(refused_at("[1,2]") == -1);
  CHECK(refused_at("") == 0);
  CHECK(refused_at("[1,]") == 3);
  CHECK(refused_at("[1,2") == 4);
  CHECK(refused_at("{\"a\" 1}") == 5);
  CHECK(refused_at("nulx") == 3);
  CHECK(refused_at("\"ab\xff\"") == 3);
  CHECK(refused_at("{} x") == 3);
  CHECK(refused_at("01") == 1);

  struct silent : recorder {
    void parse_error(std::size_t) {}
  } handler;
  CHECK_THROWS_AS(unetdn::read_json("[1,]", handler), unetdn::error);
}

TEST_CASE("json: deep nesting needs no stack") {
  std::size_t const depth = 1'000'000;
  CHECK(events(std::string(depth, '[') + std::string(depth, ']')));
  CHECK_FALSE(events(std::string(depth, '[') + std::string(depth - 1, ']')));
  CHECK_FALSE(events(std::string(depth, '[') + std::string(depth - 1, ']') + "}"));
}

TEST_CASE("json: quoted") {
  CHECK(json_quoted("") == R"("")");
  CHECK(json_quoted("a \"b\" \\ /") == R"("a \"b\" \\ /")");
  CHECK(json_quoted("\b\f\n\r\t\x01\x1f\x7f"sv) == "\"\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\"");
  CHECK(json_quoted("\0"sv) == R"("\u0000")");
  CHECK(json_quoted("\xc3\xa4\xf0\x9f\x98\x80") == "\"\xc3\xa4\xf0\x9f\x98\x80\"");
  CHECK_THROWS_AS(json_quoted("a\xff"), unetdn::argument_error);
  CHECK_THROWS_AS(json_quoted("\xe2\x82"), unetdn::argument_error);
}

TEST_CASE("json: as nlohmann/json reads it") {
  for (auto const& document : documents()) {
    INFO(document);
    CHECK(events(document));
    CHECK(events<finite_recorder>(document) == peer_events(document));
  }
  std::mt19937 random(20240229);
  int const rounds = 20'000;
  int accepted = 0;
  for (int round = 0; round < rounds; ++round) {
    std::string const json = damaged(random);
    if (json.substr(0, 3) == "\xef\xbb\xbf") continue;  // a byte order mark, which the peer skips
    auto const ours = events<finite_recorder>(json);
    auto const peers = peer_events(json);
    accepted += ours.has_value();
    if (ours != peers) {
      CAPTURE(json, ours.value_or("refused"), peers.value_or("refused"));
      FAIL("events differ");
    }
  }
  CHECK(accepted > rounds / 20);
  CHECK(accepted < rounds * 19 / 20);
}

TEST_CASE("json: as nlohmann/json quotes it") {
  std::mt19937 random(7);
  std::vector<std::string> const pieces = {
      "a",   "\"",   "\\",   "/",    "\n",   "\x7f",         "\x01",    "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80",
      "\0"s, "\x1f", "\xff", "\xe2", "\x82", "\xed\xa0\x80", "\xc0\x80"};
  for (int round = 0; round < 3000; ++round) {
    std::string s;
    for (std::size_t n = random() % 6; n > 0; --n) s += pieces[random() % pieces.size()];
    std::optional<std::string> ours, peers;
    try {
      ours = json_quoted(s);
    } catch (unetdn::argument_error const&) {
    }
    try {
      peers = nlohmann::json(s).dump();
    } catch (nlohmann::json::type_error const&) {
    }
    REQUIRE(ours == peers);
    if (ours) REQUIRE(events(*ours) == text("s", s.size(), ":", s, " "));
  }
}
