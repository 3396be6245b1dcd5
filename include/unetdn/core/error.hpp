// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <charconv>
#include <cstddef>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

namespace unetdn {

namespace detail {
/// The text with '?' in the place of control characters, which files and their names may bring: it stays one line, and
/// no terminal obeys it.
inline std::string printable(std::string_view s) {
  std::string out(s);
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = '?';
  }
  return out;
}
}  // namespace detail

/// Base of everything this library throws on purpose. what() is one line: it names the thing that is wrong and the
/// remedy.
class error : public std::runtime_error {
 public:
  explicit error(std::string_view what) : std::runtime_error(detail::printable(what)) {}
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
/// A string or a number on its way into text(). It keeps no copy of a string.
class text_part {
 public:
  text_part(std::string_view part) : string_{part} {}
  text_part(std::string const& part) : string_{part} {}
  text_part(char const* part) : string_{part} {}
  text_part(char part) : number_{part}, length_{1} {}
  text_part(bool part) : string_{part ? "true" : "false"} {}
  /// Floating-point numbers become the shortest decimal text that reads back as the same number.
  template <class Number>
  requires std::is_arithmetic_v<Number> text_part(Number part) {
    // Few types of numbers: std::to_chars for integers is a template, compiled for each.
    if constexpr (std::is_floating_point_v<Number>) {
      print(part);
    } else if constexpr (std::is_signed_v<Number>) {
      print(static_cast<long long>(part));
    } else {
      print(static_cast<unsigned long long>(part));
    }
  }

  std::string_view view() const { return length_ ? std::string_view{number_, length_} : string_; }

 private:
  template <class Number> void print(Number part) {
    length_ = static_cast<std::size_t>(std::to_chars(number_, number_ + sizeof number_, part).ptr - number_);
  }

  std::string_view string_;
  char number_[40];
  std::size_t length_ = 0;
};

inline std::string joined(std::initializer_list<text_part> parts) {
  std::string s;
  for (text_part const& part : parts) s += part.view();
  return s;
}

/// Apart from check(), which is everywhere, and marked as rare: compilers then spend little on it.
template <class... Parts> [[noreturn, gnu::cold, gnu::noinline]] void fail_check(Parts const&... parts) {
  throw argument_error(joined({text_part(parts)...}));
}
}  // namespace detail

/// Concatenates strings and numbers; the library's only string formatting (std::format is newer than the oldest
/// compiler).
template <class... Parts> std::string text(Parts const&... parts) {
  return detail::joined({detail::text_part(parts)...});
}

/// Throws argument_error with the concatenated parts unless `ok`. The text is built only on failure.
template <class... Parts> void check(bool ok, Parts const&... parts) {
  if (!ok) detail::fail_check(parts...);
}

}  // namespace unetdn
