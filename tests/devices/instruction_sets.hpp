// SPDX-License-Identifier: Apache-2.0
// The instruction sets of the cpu device's bodies, for tests that run all of them.
#pragma once
#include <vector>

#include <unetdn/cpu/isa.hpp>

namespace unetdn::test {

/// Those that can be tested here.
inline std::vector<cpu_bodies::isa> instruction_sets() {
  using cpu_bodies::isa;
  std::vector<isa> all;
  for (isa const which : {isa::portable, isa::avx2, isa::avx512})
    if (cpu_bodies::supported(which)) all.push_back(which);
  return all;
}

/// Runs on `which` until the end of the scope.
class use_isa {
 public:
  explicit use_isa(cpu_bodies::isa which) { cpu_bodies::use(which); }
  ~use_isa() { cpu_bodies::use(before_); }
  use_isa(use_isa const&) = delete;
  use_isa& operator=(use_isa const&) = delete;

 private:
  cpu_bodies::isa before_ = cpu_bodies::active_isa();
};

}  // namespace unetdn::test
