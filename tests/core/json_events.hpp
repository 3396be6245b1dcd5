// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a JSON reader says of a document, as text: ours, and that of nlohmann/json as its peer.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <unetdn/core/error.hpp>
#include <unetdn/core/json.hpp>

namespace json_events {

using unetdn::text;

struct refusal {
  std::size_t offset;
};

/// Writes events down, one a word, strings with their lengths.
struct recorder {
  std::string events;

  void null() { events += "null "; }
  void boolean(bool value) { events += value ? "true " : "false "; }
  void number_unsigned(std::uint64_t value) { events += text("u", value, " "); }
  void number_integer(std::int64_t value) { events += text("i", value, " "); }
  void number_float(std::string_view digits) { events += text("f", digits, " "); }
  void string(std::string const& value) { events += text("s", value.size(), ":", value, " "); }
  void key(std::string const& value) { events += text("k", value.size(), ":", value, " "); }
  void start_object() { events += "{ "; }
  void end_object() { events += "} "; }
  void start_array() { events += "[ "; }
  void end_array() { events += "] "; }
  [[noreturn]] void parse_error(std::size_t offset) { throw refusal{offset}; }
};

/// The same from the peer's events.
struct peer_recorder {
  recorder to;

  bool null() { return to.null(), true; }
  bool boolean(bool value) { return to.boolean(value), true; }
  bool number_unsigned(std::uint64_t value) { return to.number_unsigned(value), true; }
  bool number_integer(std::int64_t value) { return to.number_integer(value), true; }
  bool number_float(double, std::string const& digits) { return to.number_float(digits), true; }
  bool string(std::string& value) { return to.string(value), true; }
  bool binary(nlohmann::json::binary_t&) { return false; }
  bool key(std::string& value) { return to.key(value), true; }
  bool start_object(std::size_t) { return to.start_object(), true; }
  bool end_object() { return to.end_object(), true; }
  bool start_array(std::size_t) { return to.start_array(), true; }
  bool end_array() { return to.end_array(), true; }
  bool parse_error(std::size_t, std::string const&, nlohmann::json::exception const&) { return false; }
};

/// The peer refuses numbers beyond double's range, which the grammar allows; so does this one for the comparison.
struct finite_recorder : recorder {
  void number_float(std::string_view digits) {
    if (!std::isfinite(std::strtod(std::string(digits).c_str(), nullptr))) parse_error(0);
    recorder::number_float(digits);
  }
};

/// The events of a document; nothing where it is refused.
template <class Recorder = recorder> std::optional<std::string> events(std::string_view json) {
  // On the heap and without a zero at its end, so that AddressSanitizer sees every byte too far.
  std::vector<char> const exact(json.begin(), json.end());
  Recorder to;
  try {
    unetdn::read_json(std::string_view(exact.data(), exact.size()), to);
  } catch (refusal const&) {
    return std::nullopt;
  }
  return to.events;
}

inline std::optional<std::string> peer_events(std::string const& json) {
  peer_recorder peer;
  if (!nlohmann::json::sax_parse(json, &peer)) return std::nullopt;
  return peer.to.events;
}

/// Documents that are valid.
inline std::vector<std::string> const& documents() {
  static std::vector<std::string> const all = {
      R"({"__metadata__":{"by":"unetdn"},"a.weight":{"dtype":"F32","shape":[1,3],"data_offsets":[16,28]}})",
      R"([0,-0,1,-1,10,0.5,-0.25e1,1E+2,3e-4,9223372036854775807,-9223372036854775808,18446744073709551615])",
      R"([18446744073709551616,-9223372036854775809,1e308,1e-400,123456789012345678901234567890])",
      R"({"":"","\u0000":"\"\\\/\b\f\n\r\t","\u00e4\u20AC\ud83d\ude00":"\uD800\uDC00\uDBFF\uDFFF"})",
      "[\"\xc3\xa4\",\"\xe2\x82\xac\",\"\xf0\x9f\x98\x80\",\"\xee\x80\x80\",\"\xf4\x8f\xbf\xbf\",\"\x7f\"]",
      " \t\r\n{ \"a\" : [ true , false , null , { } , [ ] ] , \"b\" : { \"c\" : [ [ [ 1 ] ] ] } } \n",
      "\"text\"",
      "null",
      "-12.5e-3",
  };
  return all;
}

}  // namespace json_events
