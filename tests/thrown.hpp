// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>

#include <unetdn/core/error.hpp>

/// The message of the unetdn::error that f() throws; empty where it throws none.
template <class F> std::string thrown(F f) {
  try {
    f();
  } catch (unetdn::error const& e) {
    return e.what();
  }
  return {};
}

inline bool contains(std::string const& whole, std::string const& part) {
  return whole.find(part) != std::string::npos;
}
