// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cmath>
#include <cstddef>
#include <vector>

#include "catch.hpp"

namespace unetdn::test {

/// |got - expected| / |expected|, Euclidean, in double.
template <class T, class U> double relative_error(std::vector<T> const& got, std::vector<U> const& expected) {
  REQUIRE(got.size() == expected.size());
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    difference += std::pow(double(got[i]) - double(expected[i]), 2);
    norm += std::pow(double(expected[i]), 2);
  }
  return std::sqrt(difference / norm);
}

}  // namespace unetdn::test
