// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include <unetdn/ops/reduce.hpp>

#include "catch.hpp"
#include "devices/on_devices.hpp"
#include "reference/reduce.hpp"

using namespace unetdn;
using namespace unetdn::test;

namespace {

/// Numbers whose sums round, in double as in float; in 16-bit types they are rounded first, by window::write.
std::vector<double> rough_numbers(std::int64_t count) {
  std::vector<double> v = some_numbers(count, 5);
  for (std::size_t i = 0; i < v.size(); ++i) v[i] *= 1 + 0.37 / double(i % 1009 + 1);
  return v;
}

/// |computed - exact| <= eps * terms * sum |x|, where eps is half a unit in the last place of the type that adds, and
/// terms the longest chain of additions: a kernel's thread, its block and the host's doubles, or a row and the rows.
template <class Device> double tolerance(shape const& s, std::vector<double> const& x) {
  double const magnitudes = reference::sum_of_magnitudes(x);
  if (std::is_same_v<Device, cpu>) return 0x1p-53 * double(s.size()) * magnitudes;
  double const a_thread = std::ceil(double(s.size()) / (1024 * 256)) * 8 + 8;
  return 0x1p-24 * (a_thread + 5 + 8) * magnitudes;
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("sum agrees with the reference on windows of every kind", "", rows) {
  using T = typename TestType::element;
  using device = typename TestType::device;
  on_device<TestType>([](device& dev) {
    for (shape const& s : awkward_shapes) {
      for (placement const& where : placements) {
        INFO(to_string(s) << ", " << where.name);
        window<T, device> x{dev, s, where, rough_numbers(s.size())};
        auto const stored = x.read();
        CHECK(std::abs(sum(dev, x.view()) - reference::sum(stored)) <= tolerance<device>(s, stored));
      }
    }
    view<T const> const empty{nullptr, 0, 3, 5, 9};
    CHECK(sum(dev, empty) == 0);
  });
}

TEMPLATE_LIST_TEST_CASE("a large sum has equal bits in every way of running it", "", rows) {
  using T = typename TestType::element;
  using device = typename TestType::device;
#if defined(UNETDN_TSAN)
  shape const s{1, 20, 110, 1};  // every access is slow here
#else
  shape const s{1, 520, 610, 1};  // more pieces than threads, so that threads go round
#endif
  for (placement const& where : {placements[0], placements[2]}) {
    std::vector<double> results;
    auto const run = [&](auto& dev) {
      window<T, std::remove_reference_t<decltype(dev)>> x{dev, s, where, rough_numbers(s.size())};
      results.push_back(sum(dev, x.view()));
      auto const stored = x.read();
      CHECK(std::abs(results.back() - reference::sum(stored)) <= tolerance<device>(s, stored));
    };
    on_device<TestType>(run);
    // A GPU must agree with the emulated device to the last bit: only additions, all in a fixed order.
    if (!device::is_host && !results.empty()) {
      if constexpr (emulated::supports<T>) on_device<row<emulated, T>>(run);
    }
    CHECK(std::count(results.begin(), results.end(), results.empty() ? 0 : results[0]) ==
          std::ptrdiff_t(results.size()));
  }
}
