// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <charconv>
#include <sstream>
#include <string>
#include <system_error>

#include <unetdn/core/error.hpp>

// The arguments that the benchmarks of single operations share; Google Benchmark takes its own before.

namespace benchmarks {

/// A convolution from c to k channels on n pictures of h x w; k = 0: only what needs no k.
struct layer {
  int n, h, w, c, k;
};

/// "n,h,w,c,k" as a layer. Throws argument_error where it is not.
inline layer parse_shape(std::string const& from) {
  layer l{};
  char comma[4] = {};
  std::istringstream in{from};
  in >> l.n >> comma[0] >> l.h >> comma[1] >> l.w >> comma[2] >> l.c >> comma[3] >> l.k;
  bool const separated = std::all_of(comma, comma + 4, [](char c) { return c == ','; });
  unetdn::check(in && in.eof() && separated && l.n > 0 && l.h > 1 && l.w > 1 && l.c > 0 && l.k >= 0, "--shape is '",
                from, "'; it must be n,h,w,c,k, like 1,256,256,64,64");
  return l;
}

/// A number of threads, 0 for one a core. Throws argument_error where it is not.
inline int parse_threads(std::string const& from) {
  int threads = 0;
  auto const [end, failure] = std::from_chars(from.data(), from.data() + from.size(), threads);
  unetdn::check(failure == std::errc() && end == from.data() + from.size() && threads >= 0, "--threads is '", from,
                "'; it must be a whole number from 0 on");
  return threads;
}

/// The value of option `name` at argv[i], as "--name value" or "--name=value"; moves i past it. Throws argument_error
/// where the value is missing.
inline bool option(int argc, char** argv, int& i, std::string const& name, std::string& value) {
  std::string const arg = argv[i];
  if (arg == name) {
    unetdn::check(i + 1 < argc, name, " needs a value");
    value = argv[++i];
    return true;
  }
  if (arg.rfind(name + "=", 0) != 0) return false;
  value = arg.substr(name.size() + 1);
  return true;
}

}  // namespace benchmarks
