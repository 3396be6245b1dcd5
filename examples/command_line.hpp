// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <charconv>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <type_traits>
#include <vector>

#include <unetdn/core/error.hpp>

// A program's options, its exit codes, and one line for every error. CLI11, which does the work, takes longer to
// compile than most programs: command_line.cpp alone includes it.

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace programs {

inline constexpr int failed = 1;     ///< something went wrong; one line on standard error says what
inline constexpr int bad_usage = 2;  ///< the command line does not fit

namespace detail {

template <class T> struct number_of { using type = T; };
template <class T> struct number_of<std::optional<T>> { using type = T; };

/// A bound for people: 1000000, which would be shorter as 1e+06.
template <class T> std::string bound_text(T bound) {
  double const value = static_cast<double>(bound);
  bool const whole = !std::is_integral_v<T> && std::abs(value) < 1e15 && value == std::floor(value);
  return whole ? unetdn::text(static_cast<long long>(value)) : unetdn::text(bound);
}

/// Nothing where `said` is no number from `least` to `most`.
template <class T> std::optional<T> parse_number(std::string const& said, T least, T most) {
  T value{};
  char const* const end = said.data() + said.size();
  auto const [stop, failure] = std::from_chars(said.data(), end, value);
  // NaN is in no range.
  if (failure == std::errc{} && stop == end && value >= least && value <= most) return value;
  return {};
}

}  // namespace detail

/// One option, as command_line returns it. The functions return it too, so that they can be chained.
class option {
 public:
  explicit option(CLI::Option& of) : option_{&of} {}
  option required() const;
  /// Takes these words only.
  option one_of(std::vector<std::string> const& words) const;
  option excludes(option other) const;
  option needs(option other) const;

 private:
  CLI::Option* option_;
};

/// What a program takes. The values that options are declared with must live until run() returns. What they hold is the
/// default, and of texts and numbers --help shows it. `type` is what --help calls the value: FILE, DIR ...
class command_line {
 public:
  /// `more` stands at the end of --help.
  command_line(std::string const& program, std::string const& what_it_does, std::string const& more = "");
  ~command_line();

  option text(std::string const& name, std::string& value, std::string const& help);
  /// Without a default.
  option text(std::string const& name, std::optional<std::string>& value, std::string const& help);
  option path(std::string const& name, std::filesystem::path& value, std::string const& type, std::string const& help);
  option paths(std::string const& name, std::vector<std::filesystem::path>& values, std::string const& type,
               std::string const& help);
  option flag(std::string const& name, bool& value, std::string const& help);

  /// A number, or an optional one, from `least` to `most`. CLI11 by itself takes -1 for a large number, what is too
  /// large for the largest, and NaN for a number in any range.
  template <class T, class Number = typename detail::number_of<T>::type>
  option number(std::string const& name, T& value, std::type_identity_t<Number> least,
                std::type_identity_t<Number> most, std::string const& help) {
    auto const read = [&value, least, most](std::string const& said) {
      std::optional<Number> const number = detail::parse_number<Number>(said, least, most);
      if (number) value = *number;
      return number.has_value();
    };
    std::string shown;
    if constexpr (std::is_same_v<T, Number>) {
      if (value >= least && value <= most) shown = unetdn::text(value);
    }
    std::string const range = unetdn::text("number from ", detail::bound_text(least), " to ", detail::bound_text(most));
    return std::is_integral_v<Number> ? parsed(name, read, "whole " + range, "INT", shown, help)
                                      : parsed(name, read, range, "NUMBER", shown, help);
  }
  option seed(std::uint64_t& value, std::string const& help) {
    return number("--seed", value, 0, std::numeric_limits<std::uint64_t>::max(), help);
  }
  option threads(int& value) {
    return number("--threads", value, 0, 1024, "0: one a core; the result does not depend on it");
  }

  /// Parses the command line, runs `work`, and turns every error into one line and an exit code.
  int run(int argc, char** argv, std::function<int()> const& work);

 private:
  /// `read` says whether the value is such as it must be: `wanted`.
  option parsed(std::string const& name, std::function<bool(std::string const&)> read, std::string const& wanted,
                char const* type, std::string const& shown, std::string const& help);

  std::unique_ptr<CLI::App> app_;
};

}  // namespace programs
