// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <unetdn/core/error.hpp>
#include <unetdn/core/tensor.hpp>
#include <unetdn/core/view.hpp>
#include <unetdn/devices/cpu.hpp>

#include "catch.hpp"
#include "thrown.hpp"

using namespace unetdn;

namespace {

/// Element (n, h, w, c) of a dense picture holds its own place, counted from 0.
template <class T> std::vector<T> counted(shape s) {
  std::vector<T> v(static_cast<std::size_t>(s.size()));
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = static_cast<T>(i);
  return v;
}

}  // namespace

TEMPLATE_TEST_CASE("a tensor is zeroed, dense, aligned, and keeps what is uploaded", "", float, double) {
  using T = TestType;
  cpu dev{1};
  shape const s{2, 3, 5, 7};
  tensor<T, cpu> x(dev, s);
  CHECK(x.shape() == s);
  CHECK(x.size() == 210);
  CHECK(std::all_of(x.data(), x.data() + 210, [](T v) { return v == 0; }));
  CHECK(reinterpret_cast<std::uintptr_t>(x.data()) % cpu::alignment == 0);
  x.upload(dev, counted<T>(s));
  CHECK(x.view().dense());
  CHECK(x.view().pixel(1, 2, 4)[6] == 209);
  CHECK(x.view().pixel(1, 0, 3)[2] == ((1 * 3 + 0) * 5 + 3) * 7 + 2);
  std::vector<T> back(210);
  x.download(dev, back);
  CHECK(back == counted<T>(s));
}

TEST_CASE("a tensor refuses extents and transfers that do not fit") {
  cpu dev{1};
  using floats = tensor<float, cpu>;
  CHECK_THROWS_AS(floats(dev, {1, -1, 2, 3}), argument_error);
  CHECK_THROWS_AS(floats(dev, {1, -1, -2, 3}), argument_error);
  CHECK(contains(thrown([&] { floats(dev, {1, -1, 2, 3}); }), "1 x -1 x 2 x 3"));
  floats x(dev, {1, 2, 2, 1});
  std::vector<float> five(5);
  CHECK_THROWS_AS(x.upload(dev, five), argument_error);
  CHECK_THROWS_AS(x.download(dev, five), argument_error);
  floats empty(dev, {0, 4, 4, 1});
  CHECK(empty.size() == 0);
  CHECK_NOTHROW(empty.upload(dev, {}));
}

TEST_CASE("sizes that no memory holds are out_of_memory") {
  cpu dev{1};
  using floats = tensor<float, cpu>;
  int const most = std::numeric_limits<int>::max();
  CHECK_THROWS_AS(floats(dev, {1, 1 << 20, 1 << 20, 1 << 20}), out_of_memory);
  CHECK_THROWS_AS(floats(dev, {1, most, most, 1}), out_of_memory);
  // The number of elements fits into 64 bits, that of bytes does not.
  CHECK_THROWS_AS(floats(dev, {1, 1 << 30, 1 << 30, 4}), out_of_memory);
  // Nor does the number of elements.
  CHECK_THROWS_AS(floats(dev, {most, most, most, most}), out_of_memory);
}

TEST_CASE("tensors move; what was moved from agrees with itself") {
  static_assert(!std::is_copy_constructible_v<tensor<float, cpu>>);
  static_assert(std::is_nothrow_move_constructible_v<tensor<float, cpu>>);
  cpu dev{1};
  tensor<float, cpu> a(dev, {1, 2, 3, 4});
  float* const data = a.data();
  tensor<float, cpu> b(std::move(a));
  CHECK(b.data() == data);
  CHECK(b.size() == 24);
  CHECK(a.data() == nullptr);
  CHECK(a.size() == 0);
  CHECK_FALSE(a.view());

  tensor<float, cpu> c(dev, {1, 1, 1, 2});
  float* const other = c.data();
  c = std::move(b);
  CHECK(c.data() == data);
  CHECK(c.shape() == shape{1, 2, 3, 4});
  // Either empty or c's former contents, with the extents of what it holds.
  CHECK((b.data() == nullptr ? b.size() == 0 : b.data() == other && b.size() == 2));

  tensor<float, cpu> const none;
  CHECK(none.size() == 0);
  CHECK_FALSE(none.view());
}

TEST_CASE("views select pictures, channels, crops and phases") {
  shape const s{2, 5, 6, 4};
  std::vector<int> memory = counted<int>(s);
  view<int> const x{memory.data(), s.n, s.h, s.w, s.c};
  auto const place = [&](int n, int h, int w, int c) { return ((n * 5 + h) * 6 + w) * 4 + c; };
  CHECK(x.size() == 240);
  CHECK(x.pixels() == 60);
  CHECK(x.dense());

  auto const sliced = x.images(1, 1).crop(1, 2, 3, 4).channels(1, 2);
  CHECK(sliced.n == 1);
  CHECK(sliced.h == 3);
  CHECK(sliced.w == 4);
  CHECK(sliced.c == 2);
  CHECK_FALSE(sliced.dense());
  CHECK(sliced.pixel(0, 2, 3)[1] == place(1, 3, 5, 2));

  // Phases of an odd and an even extent: 5 rows are 3 + 2, 6 columns are 3 + 3.
  auto const even = x.phase(0, 0, 2);
  auto const odd = x.phase(1, 1, 2);
  CHECK(even.h == 3);
  CHECK(even.w == 3);
  CHECK(odd.h == 2);
  CHECK(odd.w == 3);
  CHECK(even.pixel(1, 2, 2)[3] == place(1, 4, 4, 3));
  CHECK(odd.pixel(0, 1, 2)[0] == place(0, 3, 5, 0));

  view<int const> const constant = x;
  CHECK(constant.pixel(1, 1, 1) == x.pixel(1, 1, 1));
  CHECK(same_shape(x, constant));
  CHECK_FALSE(same_shape(x, x.images(0, 1)));
  CHECK_FALSE(same_shape(x, x.crop(0, 0, 4, 6)));
  CHECK_FALSE(same_shape(x, x.crop(0, 0, 5, 5)));
  CHECK_FALSE(same_shape(x, x.channels(0, 3)));
  CHECK_FALSE(view<int>{});
}

TEST_CASE("text() writes strings and numbers, check() throws them") {
  CHECK(text("a", 1, ' ', -2, " ", 0.1, " ", 0.1f, " ", true, std::string("b")) == "a1 -2 0.1 0.1 trueb");
  CHECK(text(std::uint8_t(65)) == "65");
  CHECK(text(std::numeric_limits<std::int64_t>::min()) == "-9223372036854775808");
  CHECK(text(std::numeric_limits<double>::denorm_min()) == "5e-324");
  CHECK(text(-std::numeric_limits<double>::max()) == "-1.7976931348623157e+308");
  CHECK_NOTHROW(check(true, "never"));
  CHECK_THROWS_WITH(check(false, "x is ", 3), "x is 3");
  CHECK(std::string(file_error("dir/a.png", "is cut off").what()) == "dir/a.png: is cut off");
  CHECK(std::string(file_error("two\nlines\x1b[31m.png", "is cut off").what()) == "two?lines?[31m.png: is cut off");
}
