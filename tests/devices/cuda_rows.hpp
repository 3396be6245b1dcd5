// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdlib>
#include <string>
#if defined(UNETDN_HAVE_CUDA)
  #include <unetdn/devices/cuda.hpp>
#endif

#include "catch.hpp"

namespace unetdn::test {

/// Whether what needs a GPU can run here; warns where it cannot. With UNETDN_REQUIRE_CUDA in the environment that fails
/// the test: on a machine with a GPU, a driver that is too old would else look like success.
inline bool cuda_rows_run() {
#if defined(UNETDN_HAVE_CUDA)
  std::string const problem = cuda_problem();
#else
  std::string const problem = "built without unetdn::cuda";
#endif
  if (problem.empty()) return true;
  if (std::getenv("UNETDN_REQUIRE_CUDA")) FAIL("cuda rows cannot run: " << problem);
  WARN("cuda rows skipped: " << problem);
  return false;
}

}  // namespace unetdn::test
