// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <charconv>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

namespace unetdn {

/// Base of everything this library throws on purpose. what() is one line: it names the thing that is wrong and the
/// remedy.
class error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// An argument, shape, type or option does not fit.
class argument_error : public error {
 public:
  using error::error;
};

/// A file cannot be read, written or trusted. what() begins with the path.
class file_error : public error {
 public:
  file_error(std::string_view path, std::string_view what) : error(std::string(path) + ": " + std::string(what)) {}
};

namespace detail {
inline void append(std::string& to, std::string_view part) { to += part; }
inline void append(std::string& to, char part) { to += part; }
/// Floating-point numbers as the shortest decimal text that reads back as the same number.
template <class Number>
requires std::is_arithmetic_v<Number>
void append(std::string& to, Number part) {
  if constexpr (std::is_same_v<Number, bool>) {
    to += part ? "true" : "false";
  } else {
    char digits[40];
    to.append(digits, std::to_chars(digits, digits + sizeof digits, part).ptr);
  }
}
}  // namespace detail

/// Concatenates strings and numbers; the library's only string formatting (std::format is newer than the oldest
/// compiler).
template <class... Parts> std::string text(Parts const&... parts) {
  std::string s;
  (detail::append(s, parts), ...);
  return s;
}

/// Throws argument_error with the concatenated parts unless `ok`. The text is built only on failure.
template <class... Parts> void check(bool ok, Parts const&... parts) {
  if (!ok) throw argument_error(text(parts...));
}

}  // namespace unetdn
