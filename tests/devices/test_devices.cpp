// SPDX-License-Identifier: Apache-2.0
// What every device offers beside kernels: memory, copies that do not wait, marks, repeated work.
#include <cmath>
#include <string>
#include <vector>

#include <unetdn/core/tensor.hpp>
#include <unetdn/ops/elementwise.hpp>

#include "catch.hpp"
#include "devices/on_devices.hpp"
#include "thrown.hpp"

using namespace unetdn;

namespace {

#if defined(UNETDN_HAVE_CUDA)
using devices = std::tuple<test::row<cpu, float>, test::row<emulated, float>, test::row<cuda, float>>;
#else
using devices = std::tuple<test::row<cpu, float>, test::row<emulated, float>>;
#endif

}  // namespace

TEMPLATE_LIST_TEST_CASE("copies that return at once arrive by the mark behind them", "", devices) {
  test::on_device<TestType>([](auto& dev) {
    using device = std::remove_reference_t<decltype(dev)>;
    constexpr std::size_t count = 1000;
    host_buffer<float, device> there(count), back(count);
    for (std::size_t i = 0; i < count; ++i) there.data()[i] = static_cast<float>(i);
    buffer<float, device> x(dev, count), y(dev, count);
    typename device::mark sent, received;
    dev.wait(sent);  // never set
    dev.upload_async(x.data(), there.data(), x.bytes());
    dev.set(sent);
    dev.copy(y.data(), x.data(), x.bytes());
    dev.download_async(back.data(), y.data(), y.bytes());
    dev.set(received);
    dev.wait(sent);
    for (std::size_t i = 0; i < count; ++i) there.data()[i] = -1;
    dev.wait(received);
    for (std::size_t i = 0; i < count; ++i) REQUIRE(back.data()[i] == static_cast<float>(i));
    dev.upload_async(x.data(), there.data(), x.bytes());
    dev.download_async(back.data(), x.data(), x.bytes());
    dev.synchronize();
    CHECK(back.data()[count - 1] == -1);
  });
}

TEMPLATE_LIST_TEST_CASE("repeated work is done each time", "", devices) {
  test::on_device<TestType>([](auto& dev) {
    using device = std::remove_reference_t<decltype(dev)>;
    host_buffer<float, device> value(1), result(1);
    buffer<float, device> x(dev, 1), y(dev, 1);
    typename device::graph graph;
    for (int i = 0; i < 4; ++i) {
      value.data()[0] = static_cast<float>(i);
      dev.upload_async(x.data(), value.data(), sizeof(float));
      dev.repeat(graph, [&] {
        profile_range<device> const range("a copy");
        dev.copy(y.data(), x.data(), sizeof(float));
      });
      if (i == 2) dev.scratch(2 * dev.scratch_bytes() + 1);  // moves what a captured graph could use
      dev.download_async(result.data(), y.data(), sizeof(float));
      dev.synchronize();
      CHECK(result.data()[0] == static_cast<float>(i));
    }
  });
}

TEST_CASE("the emulated device shows a host that does not wait for a copy") {
  emulated dev;
  host_buffer<float, emulated> host(4);
  buffer<float, emulated> x(dev, 4);
  SECTION("a result read early is no number") {
    emulated::mark mark;
    dev.download_async(host.data(), x.data(), x.bytes());
    dev.set(mark);
    CHECK(std::isnan(host.data()[0]));
    dev.wait(mark);
    CHECK(host.data()[0] == 0);
  }
  SECTION("a buffer changed early is refused") {
    dev.upload_async(x.data(), host.data(), x.bytes());
    host.data()[3] = 1;
    CHECK_THROWS_AS(dev.synchronize(), kernel_fault);
    dev.upload_async(x.data(), host.data(), x.bytes());
    CHECK_NOTHROW(dev.synchronize());
  }
}

TEST_CASE("what a device cannot give is refused before any work, with what is planned and what is free") {
  emulated dev;
  memory_need const need{std::size_t(3) << 20, std::size_t(5) << 20, std::size_t(2) << 20};
  CHECK_NOTHROW(require_memory(dev, "training", need));
  dev.limit_memory(std::size_t(10) << 20);
  CHECK_NOTHROW(require_memory(dev, "training", need));
  dev.limit_memory((std::size_t(10) << 20) - 1);
  CHECK(thrown([&] { require_memory(dev, "training", need); }) ==
        "training needs 10 MiB on the device emulated (state 3, activations 5, scratch 2), but 9 MiB are free; use "
        "smaller pictures or a smaller batch");
  dev.scratch(1);  // is there already
  CHECK_NOTHROW(require_memory(dev, "training", need));
  cpu host{1};
  CHECK_NOTHROW(require_memory(host, "training", {std::size_t(1) << 50, 0, 0}));
}

TEST_CASE("a device that moves takes its queue along") {
  emulated first;
  host_buffer<float, emulated> host(1);
  buffer<float, emulated> x(first, 1);
  first.download_async(host.data(), x.data(), x.bytes());
  emulated second(std::move(first));
  second.synchronize();
  CHECK(host.data()[0] == 0);
}

TEST_CASE("the emulated device refuses to repeat what a GPU could not capture") {
  emulated dev;
  tensor<float, emulated> x(dev, {1, 1, 1, 4});
  float value = 0;
  emulated::graph waiting, growing, changing;
  auto const download = [&] { dev.download(&value, x.data(), sizeof value); };
  CHECK_NOTHROW(dev.repeat(waiting, download));
  CHECK_THROWS_AS(dev.repeat(waiting, download), kernel_fault);
  CHECK_NOTHROW(download());  // that was all
  auto const grow = [&] { dev.scratch(dev.scratch_bytes() + 1); };
  CHECK_NOTHROW(dev.repeat(growing, grow));
  CHECK_THROWS_AS(dev.repeat(growing, grow), kernel_fault);
  int launches = 1;
  auto const work = [&] {
    for (int i = 0; i < launches; ++i) fill(dev, x.view(), 1.f);
  };
  for (int i = 0; i < 3; ++i) CHECK_NOTHROW(dev.repeat(changing, work));
  launches = 2;
  CHECK_THROWS_AS(dev.repeat(changing, work), kernel_fault);
}
