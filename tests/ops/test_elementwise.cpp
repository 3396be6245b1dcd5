// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include <unetdn/ops/elementwise.hpp>

#include "catch.hpp"
#include "devices/on_devices.hpp"
#include "reference/elementwise.hpp"
#include "thrown.hpp"

using namespace unetdn;
using namespace unetdn::test;

namespace {

/// The last one is split into several chunks on the cpu: of elements, or of rows where it is not dense.
std::vector<shape> cases() {
  std::vector<shape> all(std::begin(awkward_shapes), std::end(awkward_shapes));
  all.push_back({2, 65, 31, 9});
  return all;
}

/// Calls f(shape, from, to) for windows of every kind.
template <class F> void for_each_case(F f) {
  for (shape const& s : cases()) {
    for (placement const& from : placements) {
      for (placement const& to : {placements[0], placements[1], placements[4]}) {
        INFO(to_string(s) << ", " << from.name << " to " << to.name);
        f(s, from, to);
      }
    }
  }
}

}  // namespace

// Copying does not round, and the sums of these numbers are exact in each type: comparisons are exact.

TEST_CASE("elements of dense windows and of slices are spread over the threads") {
  std::vector<float> memory(256 * 256 * 2);
  view<float> const dense{memory.data(), 1, 256, 256, 2};
  for (view<float> const& v : {dense, dense.channels(0, 1)}) {
    cpu dev{2};
    std::mutex mutex;
    std::condition_variable arrival;
    std::set<std::thread::id> threads;
    bool waited = false;
    auto const meet = [&](float*, std::int64_t) {  // the first one waits for the other
      std::unique_lock lock{mutex};
      threads.insert(std::this_thread::get_id());
      arrival.notify_all();
      if (!std::exchange(waited, true))
        arrival.wait_for(lock, std::chrono::seconds(20), [&] { return threads.size() == 2; });
    };
    detail::for_each_run(dev, meet, v);
    INFO(v.c << " of 2 channels");
    CHECK(threads.size() == 2);
  }
}

TEMPLATE_LIST_TEST_CASE("copy, add and fill are their definitions", "", rows) {
  using T = typename TestType::element;
  using device = typename TestType::device;
  on_device<TestType>([](device& dev) {
    for_each_case([&](shape const& s, placement const& from, placement const& to) {
      auto const values = some_numbers(s.size(), 1);
      auto const before = some_numbers(s.size(), 2);
      window<T, device> x{dev, s, from, values}, y{dev, s, to, before};
      add(dev, x.view(), y.view());
      CHECK(y.read() == reference::add(values, before));
      unetdn::copy(dev, x.view(), y.view());
      CHECK(y.read() == values);
      CHECK(x.read() == values);
      fill(dev, y.view(), -0.75f);
      CHECK(y.read() == std::vector<double>(values.size(), -0.75));
    });
  });
}

TEMPLATE_LIST_TEST_CASE("convert rounds to nearest, and back loses nothing", "", rows) {
  using T = typename TestType::element;
  using device = typename TestType::device;
  on_device<TestType>([](device& dev) {
    for_each_case([&](shape const& s, placement const& from, placement const& to) {
      auto values = some_numbers(s.size(), 1);
      for (std::size_t i = 0; i < values.size(); ++i) values[i] *= 1 + 0.37 / double(i % 1009 + 1);
      window<float, device> x{dev, s, from, values}, z{dev, s, from};
      window<T, device> y{dev, s, to}, rounded{dev, s, placements[0], x.read()};
      convert<T>(dev, x.view(), y.view());
      CHECK(y.read() == rounded.read());
      convert<float>(dev, y.view(), z.view());
      CHECK(z.read() == rounded.read());
    });
  });
}

TEMPLATE_LIST_TEST_CASE("copy and add take one window twice, and empty ones", "", rows) {
  using T = typename TestType::element;
  using device = typename TestType::device;
  on_device<TestType>([](device& dev) {
    shape const s{2, 3, 4, 5};
    auto const values = some_numbers(s.size(), 3);
    window<T, device> x{dev, s, placements[4], values};
    unetdn::copy(dev, x.view(), x.view());
    CHECK(x.read() == values);
    add(dev, x.view(), x.view());
    CHECK(x.read() == reference::add(values, values));
    for (shape const& e : {shape{0, 4, 4, 3}, shape{1, 0, 4, 3}, shape{1, 4, 0, 3}, shape{1, 4, 4, 0}}) {
      view<T> const empty{x.view().data, e.n, e.h, e.w, e.c};
      CHECK_NOTHROW(unetdn::copy(dev, empty, empty));
      CHECK_NOTHROW(convert<float>(dev, empty, view<float>{nullptr, e.n, e.h, e.w, e.c}));
      CHECK_NOTHROW(add(dev, empty, empty));
      CHECK_NOTHROW(fill(dev, empty, 1));
    }
  });
}

TEMPLATE_LIST_TEST_CASE("element-wise operations refuse windows of different shapes", "", rows) {
  using T = typename TestType::element;
  using device = typename TestType::device;
  on_device<TestType>([](device& dev) {
    window<T, device> a{dev, {1, 4, 4, 3}, placements[0]};
    window<float, device> f{dev, {1, 4, 4, 2}, placements[0]};
    view<T> const x = a.view();
    for (auto const& y : {x.images(0, 0), x.crop(0, 0, 3, 4), x.crop(0, 0, 4, 3), x.channels(0, 2)}) {
      CHECK_THROWS_AS(unetdn::copy(dev, x, y), argument_error);
      CHECK_THROWS_AS(add(dev, x, y), argument_error);
      CHECK_THROWS_AS(unetdn::copy(dev, y, x), argument_error);
    }
    CHECK_THROWS_AS(convert<float>(dev, x, f.view()), argument_error);
    CHECK(contains(thrown([&] { add(dev, x, x.channels(0, 2)); }), "add: windows of 1 x 4 x 4 x 3 and 1 x 4 x 4 x 2"));
  });
}

TEST_CASE("positions beyond a border are reflected as often as needed") {
  for (int n = 1; n <= 9; ++n)
    for (int position = -40; position <= 40; ++position) {
      INFO("position " << position << " of " << n);
      CHECK(reflect(position, n) == reference::reflect(position, n));
    }
  CHECK(reflect(-1, 5) == 1);
  CHECK(reflect(5, 5) == 3);
  CHECK(reflect(4, 5) == 4);
}

TEMPLATE_LIST_TEST_CASE("copy_reflected is its definition", "", rows) {
  using T = typename TestType::element;
  using device = typename TestType::device;
  struct frame {
    int h, w, top, left;
  };
  on_device<TestType>([](device& dev) {
    for (shape const& s : {shape{1, 1, 1, 1}, shape{2, 1, 4, 3}, shape{2, 5, 2, 1}, shape{1, 6, 7, 8}}) {
      for (frame const& f : {frame{s.h, s.w, 0, 0}, frame{s.h + 3, s.w + 5, 1, 2}, frame{4 * s.h + 9, 3, 17, -1},
                             frame{2, 2, -3, -9}, frame{30, 50, 0, 40}}) {
        for (placement const& where : {placements[0], placements[4]}) {
          INFO(to_string(s) << " to " << f.h << " x " << f.w << " from " << f.top << ", " << f.left);
          auto const values = some_numbers(s.size(), 4);
          window<T, device> x{dev, s, where, values}, y{dev, {s.n, f.h, f.w, s.c}, where};
          copy_reflected(dev, x.view(), y.view(), f.top, f.left);
          CHECK(y.read() == reference::copy_reflected(values, s.n, s.h, s.w, s.c, f.h, f.w, f.top, f.left));
        }
      }
    }
  });
}

TEMPLATE_LIST_TEST_CASE("copy_reflected refuses windows that do not fit", "", rows) {
  using T = typename TestType::element;
  using device = typename TestType::device;
  on_device<TestType>([](device& dev) {
    window<T, device> a{dev, {2, 4, 4, 3}, placements[0]}, b{dev, {2, 8, 8, 3}, placements[0]};
    CHECK_NOTHROW(copy_reflected(dev, a.view(), b.view(), 2, 2));
    CHECK_THROWS_AS(copy_reflected(dev, a.view().images(0, 1), b.view(), 2, 2), argument_error);
    CHECK_THROWS_AS(copy_reflected(dev, a.view().channels(0, 1), b.view(), 2, 2), argument_error);
    CHECK_THROWS_AS(copy_reflected(dev, a.view().crop(0, 0, 0, 4), b.view(), 2, 2), argument_error);
    CHECK_THROWS_AS(copy_reflected(dev, a.view().crop(0, 0, 4, 0), b.view(), 2, 2), argument_error);
    CHECK_NOTHROW(copy_reflected(dev, a.view(), b.view().crop(0, 0, 0, 8), 2, 2));
  });
}
