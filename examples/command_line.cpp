// SPDX-License-Identifier: Apache-2.0
#include "command_line.hpp"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <iostream>
#include <new>
#include <utility>

#include <unetdn/core/file.hpp>

namespace programs {

namespace {

/// Throws argument_error where an option was given an empty value, as a script with an unset variable does: for a path,
/// that is no name at all.
void check_no_value_is_empty(CLI::App const& app) {
  for (CLI::Option const* given : app.get_options()) {
    for (std::string const& value : given->results()) {
      unetdn::check(!value.empty(), given->get_name(), ": the value is empty; give one, or leave the option out");
    }
  }
}

}  // namespace

option option::required() const {
  option_->required();
  return *this;
}

option option::one_of(std::vector<std::string> const& words) const {
  option_->check(CLI::IsMember(words));
  return *this;
}

option option::excludes(option other) const {
  option_->excludes(other.option_);
  return *this;
}

option option::needs(option other) const {
  option_->needs(other.option_);
  return *this;
}

command_line::command_line(std::string const& program, std::string const& what_it_does, std::string const& more)
    : app_{std::make_unique<CLI::App>(what_it_does, program)} {
  app_->footer(more);
}

command_line::~command_line() = default;

option command_line::text(std::string const& name, std::string& value, std::string const& help) {
  return option(*app_->add_option(name, value, help)->capture_default_str());
}

option command_line::text(std::string const& name, std::optional<std::string>& value, std::string const& help) {
  return option(*app_->add_option_function<std::string>(
      name, [&value](std::string const& said) { value = said; }, help));
}

option command_line::path(std::string const& name, std::filesystem::path& value, std::string const& type,
                          std::string const& help) {
  return option(*app_->add_option(name, value, help)->type_name(type));
}

option command_line::paths(std::string const& name, std::vector<std::filesystem::path>& values, std::string const& type,
                           std::string const& help) {
  return option(*app_->add_option(name, values, help)->type_name(type));
}

option command_line::flag(std::string const& name, bool& value, std::string const& help) {
  return option(*app_->add_flag(name, value, help));
}

option command_line::parsed(std::string const& name, std::function<bool(std::string const&)> read,
                            std::string const& wanted, char const* type, std::string const& shown,
                            std::string const& help) {
  auto const read_or_throw = [name, read = std::move(read), wanted](std::string const& said) {
    if (!read(said)) throw CLI::ValidationError(name, unetdn::text("'", said, "' is no ", wanted));
  };
  return option(
      *app_->add_option_function<std::string>(name, read_or_throw, help)->type_name(type)->default_str(shown));
}

int command_line::run(int argc, char** argv, std::function<int()> const& work) {
  auto const complain = [&](std::string const& what, int code) {
    std::cerr << app_->get_name() << ": " << what << '\n';
    return code;
  };
  int code = 0;
  try {
    app_->parse(argc, argv);
    check_no_value_is_empty(*app_);
    code = work();
  } catch (CLI::ParseError const& e) {
    if (e.get_exit_code() != 0) return complain(unetdn::text(e.what(), "; see --help"), bad_usage);
    app_->exit(e);  // --help
  } catch (unetdn::argument_error const& e) {
    return complain(e.what(), bad_usage);
  } catch (std::filesystem::filesystem_error const& e) {
    return complain(unetdn::text(e.path1().string(), ": ", unetdn::detail::system_text(e.code().value())), failed);
  } catch (std::bad_alloc const&) {
    return complain("not enough memory; use smaller pictures or a smaller batch", failed);
  } catch (std::exception const& e) {
    return complain(e.what(), failed);
  }
  std::cout.flush();
  if (!std::cout || std::fflush(stdout) != 0 || std::ferror(stdout)) {
    return complain("standard output cannot be written; free some space or print elsewhere", failed);
  }
  return code;
}

}  // namespace programs
