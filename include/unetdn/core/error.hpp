// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <stdexcept>
#include <string>
#include <string_view>

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
template <class Number>
requires std::is_arithmetic_v<Number>
void append(std::string& to, Number part) { to += std::to_string(part); }
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
