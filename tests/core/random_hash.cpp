// SPDX-License-Identifier: Apache-2.0
// Prints the FNV-1a/64 hash of 2^20 deviates and compares it with the stored one. Built with several compilers and
// option sets, all of which must agree. With an argument, also the speed.
#include "random_hash.hpp"

#include <chrono>
#include <cstdio>
#include <vector>

int main(int argc, char**) {
  std::uint64_t const hash = random_hash();
  std::printf("%016llx %s\n", static_cast<unsigned long long>(hash),
              hash == expected_random_hash ? "as stored" : "DIFFERS");
  if (argc > 1) {
    std::vector<float> out(1 << 16);
    auto const begin = std::chrono::steady_clock::now();
    int const rounds = 400;
    float sum = 0;
    for (int i = 0; i < rounds; ++i) {
      unetdn::gaussian_fill({1, static_cast<std::uint32_t>(i)}, 0, 0, 1 << 16, out.data());
      sum += out[7];
    }
    std::chrono::duration<double> const seconds = std::chrono::steady_clock::now() - begin;
    std::printf("%.1f million deviates a second (%g)\n", rounds * 65536e-6 / seconds.count(), double(sum));
  }
  return hash == expected_random_hash ? 0 : 1;
}
