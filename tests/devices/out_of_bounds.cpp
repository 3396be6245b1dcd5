// SPDX-License-Identifier: Apache-2.0
// out_of_bounds global|arena|shared|none
// Each of the first three makes a kernel read beyond what it owns; built with AddressSanitizer, the program must die
// with a report that names read_one. `none` must succeed.
#include <cstdio>
#include <cstring>

#include <unetdn/core/arena.hpp>
#include <unetdn/devices/emulated.hpp>

namespace {

struct read_one {
  static constexpr int threads = 32;
  struct shared {
    float x[4];
  };
  float const* x;
  float* y;
  int at;
  bool from_shared;

  template <class Block> UNETDN_DEVICE void operator()(Block& block, shared& s) const {
    if (block.thread() != 0) return;
    float const* const from = from_shared ? s.x : x;
    *y = from[at];
  }
};

}  // namespace

int main(int argc, char** argv) {
  char const* const where = argc > 1 ? argv[1] : "";
  unetdn::emulated dev;
  float y;
  constexpr int count = 10;
  auto* const x = static_cast<float*>(dev.allocate(count * sizeof(float)));
  if (std::strcmp(where, "none") == 0) {
    unetdn::launch(dev, {1}, read_one{x, &y, count - 1, false});
  } else if (std::strcmp(where, "global") == 0) {
    unetdn::launch(dev, {1}, read_one{x, &y, count, false});
  } else if (std::strcmp(where, "shared") == 0) {
    unetdn::launch(dev, {1}, read_one{x, &y, 4, true});
  } else if (std::strcmp(where, "arena") == 0) {
    unetdn::memory_plan plan;  // the two buffers never live together, and yet share no place
    int const first = plan.add("first", unetdn::memory_kind::activations, count * sizeof(float), 0, 1);
    plan.add("second", unetdn::memory_kind::activations, 4096, 2, 3);
    plan.place(unetdn::emulated::alignment, unetdn::emulated::red_zone);
    unetdn::arena<unetdn::emulated> const memory(dev, plan);
    unetdn::launch(dev, {1}, read_one{memory.at<float>(plan.at(first)), &y, count, false});
  } else {
    std::fputs("usage: out_of_bounds global|arena|shared|none\n", stderr);
    return 2;
  }
  unetdn::emulated::release(x);
  std::puts("no access out of bounds was found");
}
