// SPDX-License-Identifier: Apache-2.0
#pragma once
// JSON (RFC 8259) as far as safetensors headers and printed results need it: a strict reader by events, and quoting.
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>

#include <unetdn/core/error.hpp>

namespace unetdn {
namespace detail {

/// Bytes of the well-formed UTF-8 sequence that `s` begins with (RFC 3629, section 4), or 0 where it begins with none.
inline std::size_t utf8_length(std::string_view s) {
  // Past the end stands 0, which continues no sequence.
  auto const byte = [s](std::size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0U; };
  auto const continues = [&](std::size_t i) { return (byte(i) & 0xC0U) == 0x80; };
  unsigned const first = byte(0);
  unsigned const second = byte(1);
  if (first < 0x80) return s.empty() ? 0 : 1;
  if (first >= 0xC2 && first <= 0xDF) return continues(1) ? 2 : 0;
  // Some lead bytes narrow the second one: no longer form than needed, no surrogates, nothing beyond U+10FFFF.
  if (first >= 0xE0 && first <= 0xEF) {
    bool const fits = (first != 0xE0 || second >= 0xA0) && (first != 0xED || second <= 0x9F);
    return fits && continues(1) && continues(2) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    bool const fits = (first != 0xF0 || second >= 0x90) && (first != 0xF4 || second <= 0x8F);
    return fits && continues(1) && continues(2) && continues(3) ? 4 : 0;
  }
  return 0;
}

/// The offset of the first byte of `s` that is not UTF-8; the size of `s` where all is.
inline std::size_t utf8_end(std::string_view s) {
  std::size_t at = 0;
  while (std::size_t const length = utf8_length(s.substr(at))) at += length;
  return at;
}

/// Appends a code point, which is no surrogate, as UTF-8.
inline void append_utf8(std::string& to, std::uint32_t code) {
  auto const continuation = [&](int shift) { to += static_cast<char>(0x80U | ((code >> shift) & 0x3FU)); };
  if (code < 0x80) {
    to += static_cast<char>(code);
  } else if (code < 0x800) {
    to += static_cast<char>(0xC0U | (code >> 6));
    continuation(0);
  } else if (code < 0x10000) {
    to += static_cast<char>(0xE0U | (code >> 12));
    continuation(6);
    continuation(0);
  } else {
    to += static_cast<char>(0xF0U | (code >> 18));
    continuation(12);
    continuation(6);
    continuation(0);
  }
}

/// The reader behind read_json. Without recursion: what is open stands in a string of closing brackets.
template <class Handler> class json_reader {
 public:
  json_reader(std::string_view text, Handler& handler) : text_{text}, handler_{handler} {}

  void read() {
    bool more = true;
    while (more) {
      skip_space();
      more = begin_value() || end_values();
    }
    if (at_ != text_.size()) fail();
  }

 private:
  /// The next byte; past the end 0, which stands nowhere in valid JSON.
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  [[noreturn]] void fail() {
    handler_.parse_error(at_);
    throw error(text("not valid JSON, from byte ", at_, " on"));
  }

  void expect(char c) {
    if (peek() != c) fail();
    ++at_;
  }

  void expect(std::string_view word) {
    for (char c : word) expect(c);
  }

  void skip_space() {
    while (peek() == ' ' || peek() == '\t' || peek() == '\n' || peek() == '\r') ++at_;
  }

  /// Reads a value, or of an object or array that is not empty only what comes before its first value; true then.
  bool begin_value() {
    switch (peek()) {
      case '{':
        return begin_object();
      case '[':
        return begin_array();
      case '"':
        read_string();
        handler_.string(string_);
        return false;
      case 't':
        expect("true");
        handler_.boolean(true);
        return false;
      case 'f':
        expect("false");
        handler_.boolean(false);
        return false;
      case 'n':
        expect("null");
        handler_.null();
        return false;
      default:
        read_number();
        return false;
    }
  }

  bool begin_object() {
    expect('{');
    handler_.start_object();
    skip_space();
    if (peek() == '}') {
      ++at_;
      handler_.end_object();
      return false;
    }
    open_ += '}';
    read_key();
    return true;
  }

  bool begin_array() {
    expect('[');
    handler_.start_array();
    skip_space();
    if (peek() == ']') {
      ++at_;
      handler_.end_array();
      return false;
    }
    open_ += ']';
    return true;
  }

  /// After a value: closes what ends here; true when another value must follow.
  bool end_values() {
    skip_space();
    while (!open_.empty()) {
      char const closing = open_.back();
      if (peek() == ',') {
        ++at_;
        skip_space();
        if (closing == '}') read_key();
        return true;
      }
      expect(closing);
      open_.pop_back();
      if (closing == '}')
        handler_.end_object();
      else
        handler_.end_array();
      skip_space();
    }
    return false;
  }

  void read_key() {
    read_string();
    handler_.key(string_);
    skip_space();
    expect(':');
  }

  void read_string() {
    expect('"');
    string_.clear();
    while (peek() != '"') {
      if (peek() == '\\') {
        read_escape();
        continue;
      }
      std::size_t const length = utf8_length(text_.substr(at_));
      if (length == 0 || static_cast<unsigned char>(peek()) < 0x20) fail();
      string_ += text_.substr(at_, length);
      at_ += length;
    }
    ++at_;
  }

  void read_escape() {
    constexpr std::string_view letters = "\"\\/bfnrt";
    constexpr std::string_view meanings = "\"\\/\b\f\n\r\t";
    expect('\\');
    if (peek() == 'u') {
      ++at_;
      append_utf8(string_, read_code_point());
      return;
    }
    std::size_t const letter = letters.find(peek());
    if (letter == std::string_view::npos) fail();
    string_ += meanings[letter];
    ++at_;
  }

  /// The code point of one \u escape, or of two that are a surrogate pair; the first \u has been read.
  std::uint32_t read_code_point() {
    std::uint32_t const first = read_hex();
    if (first < 0xD800 || first > 0xDFFF) return first;
    if (first > 0xDBFF) fail();
    expect("\\u");
    std::uint32_t const second = read_hex();
    if (second < 0xDC00 || second > 0xDFFF) fail();
    return 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
  }

  std::uint32_t read_hex() {
    std::uint32_t value = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      char const c = peek();
      if (c >= '0' && c <= '9')
        value = value * 16 + static_cast<std::uint32_t>(c - '0');
      else if (c >= 'a' && c <= 'f')
        value = value * 16 + static_cast<std::uint32_t>(c - 'a' + 10);
      else if (c >= 'A' && c <= 'F')
        value = value * 16 + static_cast<std::uint32_t>(c - 'A' + 10);
      else
        fail();
    }
    return value;
  }

  void read_number() {
    std::size_t const begin = at_;
    bool const negative = peek() == '-';
    if (negative) ++at_;
    if (peek() == '0')
      ++at_;
    else
      read_digits();
    bool whole = true;
    if (peek() == '.') {
      whole = false;
      ++at_;
      read_digits();
    }
    if (peek() == 'e' || peek() == 'E') {
      whole = false;
      ++at_;
      if (peek() == '+' || peek() == '-') ++at_;
      read_digits();
    }
    tell_number(text_.substr(begin, at_ - begin), negative, whole);
  }

  void read_digits() {
    if (peek() < '0' || peek() > '9') fail();
    while (peek() >= '0' && peek() <= '9') ++at_;
  }

  void tell_number(std::string_view digits, bool negative, bool whole) {
    std::uint64_t value = 0;
    std::int64_t negative_value = 0;
    if (whole && !negative && fits(digits, value)) {
      handler_.number_unsigned(value);
    } else if (whole && negative && fits(digits, negative_value)) {
      handler_.number_integer(negative_value);
    } else {
      handler_.number_float(digits);
    }
  }

  template <class Integer> static bool fits(std::string_view digits, Integer& value) {
    return std::from_chars(digits.data(), digits.data() + digits.size(), value).ec == std::errc();
  }

  std::string_view text_;
  Handler& handler_;
  std::size_t at_ = 0;
  std::string open_, string_;
};

}  // namespace detail

/// Reads one JSON value (RFC 8259, strictly: valid UTF-8, no byte order mark, nothing but space after the value) and
/// calls, in the text's order, the handler's null(), boolean(bool), number_unsigned(std::uint64_t),
/// number_integer(std::int64_t) where there is a minus sign, number_float(std::string_view) with the text of every
/// other number, string(std::string const&), start_object(), key(std::string const&), end_object(), start_array() and
/// end_array().
///
/// Where the text is no JSON it calls parse_error(std::size_t) with the offset of the byte that it could not go on
/// with, which should throw; where it returns, read_json throws error. Nesting takes memory, not stack; a handler that
/// minds it may throw. Names given twice are the handler's to see.
template <class Handler> void read_json(std::string_view text, Handler& handler) {
  detail::json_reader<Handler>(text, handler).read();
}

/// A text as a JSON string, quotes included: `"`, `\` and control characters escaped, all else as it is. Throws
/// argument_error when it is not UTF-8.
inline std::string json_quoted(std::string_view s) {
  constexpr std::string_view letters = "\"\\bfnrt";
  constexpr std::string_view meanings = "\"\\\b\f\n\r\t";
  constexpr std::string_view hex = "0123456789abcdef";
  std::size_t const end = detail::utf8_end(s);
  check(end == s.size(), "a text of ", s.size(), " bytes cannot be written as JSON: its byte ", end, " is not UTF-8");
  std::string out = "\"";
  for (char c : s) {
    std::size_t const letter = meanings.find(c);
    if (letter != std::string_view::npos) {
      out += '\\';
      out += letters[letter];
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += "\\u00";
      out += hex[static_cast<unsigned char>(c) >> 4];
      out += hex[static_cast<unsigned char>(c) & 15U];
    } else {
      out += c;
    }
  }
  return out + '"';
}

}  // namespace unetdn
