// SPDX-License-Identifier: Apache-2.0
// Every layer's gradients against directional central differences of its own forward pass, in double. The operations
// beneath are compared with naive references elsewhere.
#include <cmath>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <unetdn/core/tensor.hpp>
#include <unetdn/layers/concat_skip.hpp>
#include <unetdn/layers/conv2d.hpp>
#include <unetdn/layers/conv_transpose2d.hpp>
#include <unetdn/layers/max_pool2d.hpp>
#include <unetdn/layers/relu.hpp>
#include <unetdn/layers/sigmoid.hpp>

#include "catch.hpp"
#include "devices/on_devices.hpp"
#include "ops/windows.hpp"
#include "thrown.hpp"

using namespace unetdn;
using windows::distance;
using windows::dot;
using windows::random_values;
using windows::window;

namespace {

using doubles = std::vector<double>;
using window_d = window<double>;

std::size_t elements(shape const& s) { return static_cast<std::size_t>(s.size()); }
doubles random_for(shape const& s, unsigned seed) { return random_values<double>(elements(s), seed); }

doubles plus(doubles a, double t, doubles const& b) {
  for (std::size_t i = 0; i < a.size(); ++i) a[i] += t * b[i];
  return a;
}
/// a where mask > 0, else 0.
doubles masked(doubles a, doubles const& mask) {
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!(mask[i] > 0)) a[i] = 0;
  return a;
}

/// Whether <gradient, direction> is the slope of f at x, for two directions.
bool is_gradient(doubles const& gradient, doubles const& x, std::function<double(doubles const&)> const& f) {
  for (unsigned const seed : {101u, 102u}) {
    doubles const direction = random_values<double>(x.size(), seed);
    double const h = 1e-6;
    double const slope = (f(plus(x, h, direction)) - f(plus(x, -h, direction))) / (2 * h);
    double const told = dot(gradient, direction);
    UNSCOPED_INFO("gradient " << told << ", differences " << slope);
    if (!(std::abs(slope - told) <= 1e-7 * (1 + std::abs(told)))) return false;
  }
  return true;
}

/// The flat array with the canonical values of all parameters, one after the other.
doubles packed(parameter_list<cpu> const& list, doubles const& canonical) {
  cpu dev{1};
  doubles flat(static_cast<std::size_t>(list.size()));
  std::size_t at = 0;
  for (parameter const& p : list) {
    auto const count = static_cast<std::size_t>(p.canonical_size());
    upload(dev, p, std::span<double const>(canonical).subspan(at, count), flat.data());
    at += count;
  }
  return flat;
}
doubles unpacked(parameter_list<cpu> const& list, doubles const& flat) {
  cpu dev{1};
  doubles canonical;
  for (parameter const& p : list) {
    doubles const one = download<double>(dev, p, flat.data());
    canonical.insert(canonical.end(), one.begin(), one.end());
  }
  return canonical;
}

/// Checks all that backward of a layer with parameters promises. With `relu`, the layer ends with one.
template <class Layer>
void check_layer(Layer const& layer, parameter_list<cpu> const& list, shape const& x_shape, shape const& y_shape,
                 bool relu, bool inside) {
  cpu dev{2};
  doubles const x = random_for(x_shape, 1);
  doubles const w = random_values<double>(static_cast<std::size_t>(list.weight_count()), 2);
  doubles const r = random_for(y_shape, 3);
  auto const output = [&](doubles const& in, doubles const& canonical) {
    window_d const from{x_shape, inside, in}, to{y_shape, inside};
    doubles const flat = packed(list, canonical);
    layer.forward(dev, flat.data(), from.view(), to.view());
    REQUIRE(to.rim_untouched());
    return to.values();
  };
  auto const f_of_x = [&](doubles const& in) { return dot(r, output(in, w)); };
  auto const f_of_w = [&](doubles const& canonical) { return dot(r, output(x, canonical)); };

  // The caller of backward has applied the mask of the layer's own ReLU to dy.
  window_d const from{x_shape, inside, x};
  window_d const dy{y_shape, inside, relu ? masked(r, output(x, w)) : r};

  // Parameters: overwritten, then accumulated; what belongs to no parameter stays.
  doubles gradients(static_cast<std::size_t>(list.size()) + 7, 5.0);
  layer.backward_parameters(dev, from.view(), dy.view(), gradients.data(), false);
  doubles const dw = unpacked(list, gradients);
  CHECK(is_gradient(dw, w, f_of_w));
  layer.backward_parameters(dev, from.view(), dy.view(), gradients.data(), true);
  CHECK(distance(unpacked(list, gradients), plus(dw, 1, dw)) <= 1e-11);
  std::vector<bool> owned(gradients.size(), false);
  for (parameter const& p : list)
    for (std::int64_t i = 0; i < p.size; ++i) owned[static_cast<std::size_t>(p.offset + i)] = true;
  int changed = 0;
  for (std::size_t i = 0; i < gradients.size(); ++i) changed += !owned[i] && gradients[i] != 5.0;
  CHECK(changed == 0);

  // Data: overwritten, whatever was there.
  doubles const flat = packed(list, w);
  window_d const dx{x_shape, inside, doubles(elements(x_shape), 9.0)};
  layer.backward_data(dev, flat.data(), dy.view(), dx.view());
  CHECK(is_gradient(dx.values(), x, f_of_x));
  CHECK(dx.rim_untouched());

  // The mask of the ReLU that made x; it may be the window that dx overwrites.
  doubles const plain = dx.values();
  window_d const also{x_shape, inside};
  layer.backward_data(dev, flat.data(), dy.view(), also.view(), from.view());
  CHECK(also.values() == masked(plain, x));
  window_d const over_x{x_shape, inside, x};
  layer.backward_data(dev, flat.data(), dy.view(), over_x.view(), over_x.view());
  CHECK(over_x.values() == masked(plain, x));
}

}  // namespace

TEST_CASE("conv2d: gradients of every kernel, stride and ending") {
  struct kind {
    conv2d_shape s;
    shape x;
  };
  for (kind const& k : {kind{{3, 5, 1}, {2, 4, 5, 3}}, kind{{3, 18, 3}, {2, 5, 7, 3}}, kind{{17, 4, 3}, {1, 1, 6, 17}},
                        kind{{4, 6, 3, 2}, {1, 7, 8, 4}}, kind{{5, 3, 2, 2}, {2, 6, 5, 5}},
                        kind{{2, 3, 5}, {1, 6, 4, 2}}, kind{{1, 1, 3}, {1, 1, 1, 1}}}) {
    for (bool const bias : {false, true})
      for (bool const relu : {false, true})
        for (bool const inside : {false, true}) {
          INFO("kernel " << k.s.kernel << ", stride " << k.s.stride << ", bias " << bias << ", relu " << relu);
          parameter_list<cpu> list;
          conv2d<double, cpu> const layer(list, "layer", k.s, bias, relu);
          CHECK(list.count() == (bias ? 2 : 1));
          check_layer(layer, list, k.x, conv2d_output_shape(k.s, k.x), relu, inside);
        }
  }
}

TEST_CASE("conv_transpose2d: gradients with and without bias") {
  struct kind {
    conv_transpose2d_shape s;
    shape x;
  };
  for (kind const& k : {kind{{1, 1}, {1, 1, 1, 1}}, kind{{3, 5}, {2, 3, 4, 3}}, kind{{18, 33}, {1, 2, 5, 18}}}) {
    for (bool const bias : {false, true})
      for (bool const inside : {false, true}) {
        INFO(k.s.in << " to " << k.s.out << " channels, bias " << bias);
        parameter_list<cpu> list;
        conv_transpose2d<double, cpu> const layer(list, "up", k.s, bias);
        check_layer(layer, list, k.x, conv_transpose2d_output_shape(k.s, k.x), false, inside);
      }
  }
}

TEST_CASE("layers of one list keep to their own parameters") {
  cpu dev{1};
  parameter_list<cpu> list;
  conv2d<double, cpu> const first(list, "first", {2, 3, 3}, true, true);
  conv_transpose2d<double, cpu> const second(list, "second", {3, 4}, true);
  conv2d<double, cpu> const third(list, "third", {4, 1, 1}, false, false);
  shape const xs{2, 4, 3, 2}, as{2, 4, 3, 3}, bs{2, 8, 6, 4}, ys{2, 8, 6, 1};
  doubles const x = random_for(xs, 1);
  doubles const w = random_values<double>(static_cast<std::size_t>(list.weight_count()), 2);
  doubles const r = random_for(ys, 3);

  window_d const a{as, false}, b{bs, false}, y{ys, false};
  auto const forward = [&](doubles const& in, doubles const& canonical) {
    doubles const flat = packed(list, canonical);
    window_d const from{xs, false, in};
    first.forward(dev, flat.data(), from.view(), a.view());
    second.forward(dev, flat.data(), a.view(), b.view());
    third.forward(dev, flat.data(), b.view(), y.view());
    return dot(r, y.values());
  };
  forward(x, w);

  // Gradients go down the same way; first's ReLU is applied by second's backward_data.
  doubles const flat = packed(list, w);
  doubles gradients(flat.size(), 0.0);
  window_d const dy{ys, false, r}, db{bs, false}, da{as, false}, dx{xs, false}, from{xs, false, x};
  third.backward_parameters(dev, b.view(), dy.view(), gradients.data(), true);
  third.backward_data(dev, flat.data(), dy.view(), db.view());
  second.backward_parameters(dev, a.view(), db.view(), gradients.data(), true);
  second.backward_data(dev, flat.data(), db.view(), da.view(), a.view());
  first.backward_parameters(dev, from.view(), da.view(), gradients.data(), true);
  first.backward_data(dev, flat.data(), da.view(), dx.view());
  CHECK(is_gradient(unpacked(list, gradients), w, [&](doubles const& v) { return forward(x, v); }));
  CHECK(is_gradient(dx.values(), x, [&](doubles const& v) { return forward(v, w); }));
}

TEST_CASE("max_pool2d: gradients alone, and into a skip connection through a ReLU") {
  cpu dev{2};
  max_pool2d<double, cpu> const pool;
  relu<double, cpu> const rectify;
  for (shape const& s : {shape{1, 2, 2, 1}, shape{2, 5, 7, 3}, shape{1, 4, 6, 33}, shape{1, 1, 3, 2}}) {
    for (bool const inside : {false, true}) {
      INFO(to_string(s));
      shape const half = max_pool2d_output_shape(s);
      doubles const z = random_for(s, 1), r = random_for(half, 2), q = random_for(s, 3);
      auto const pooled = [&](doubles const& in) {
        window_d const from{s, inside, in}, to{half, inside};
        pool.forward(dev, from.view(), to.view());
        return dot(r, to.values());
      };
      window_d const x{s, inside, z}, dy{half, inside, r}, dx{s, inside, doubles(elements(s), 9.0)};
      pool.backward(dev, x.view(), dy.view(), dx.view());
      CHECK(is_gradient(dx.values(), z, pooled));
      CHECK(dx.rim_untouched());

      // f(z) = <r, pool(relu(z))> + <q, relu(z)>
      auto const both = [&](doubles const& in) {
        window_d const rectified{s, inside, in};
        rectify.forward(dev, rectified.view(), rectified.view());
        return pooled(rectified.values()) + dot(q, rectified.values());
      };
      rectify.forward(dev, x.view(), x.view());
      window_d const joined{s, inside, q};
      window<window_code> codes{max_pool2d_code_shape(s), inside};
      window_d again{half, inside};
      pool.encode(dev, x.view(), codes.view(), again.view());
      CHECK(dot(r, again.values()) == pooled(x.values()));
      pool.backward_into_skip(dev, codes.view(), dy.view(), joined.view());
      CHECK(is_gradient(joined.values(), z, both));
    }
  }
}

TEST_CASE("relu and sigmoid: gradients from their outputs, in place too") {
  cpu dev{2};
  shape const s{2, 3, 5, 7};
  doubles const x = random_for(s, 1), r = random_for(s, 2);
  auto const check_activation = [&](auto const& layer) {
    auto const f = [&](doubles const& in) {
      window_d const from{s, true, in}, to{s, false};
      layer.forward(dev, from.view(), to.view());
      return dot(r, to.values());
    };
    window_d const y{s, true, x}, dy{s, false, r}, dx{s, true};
    layer.forward(dev, y.view(), y.view());
    layer.backward(dev, y.view(), dy.view(), dx.view());
    CHECK(is_gradient(dx.values(), x, f));
    CHECK(dx.rim_untouched());
    layer.backward(dev, y.view(), dy.view(), dy.view());
    CHECK(dy.values() == dx.values());
  };
  check_activation(relu<double, cpu>{});
  check_activation(sigmoid<double, cpu>{});
}

TEST_CASE("concat_skip joins channels, the skip first, and splits gradients") {
  cpu dev{2};
  concat_skip<double, cpu> const layer;
  shape const as{2, 3, 4, 2}, bs{2, 3, 4, 5}, ys{2, 3, 4, 7};
  for (bool const inside : {false, true}) {
    doubles const a = random_for(as, 1), b = random_for(bs, 2), r = random_for(ys, 3);
    window_d const skip{as, inside, a}, up{bs, inside, b}, y{ys, inside};
    layer.forward(dev, skip.view(), up.view(), y.view());
    doubles expected;
    for (std::size_t pixel = 0; pixel < 24; ++pixel) {
      for (std::size_t c = 0; c < 2; ++c) expected.push_back(a[2 * pixel + c]);
      for (std::size_t c = 0; c < 5; ++c) expected.push_back(b[5 * pixel + c]);
    }
    CHECK(y.values() == expected);
    CHECK(y.rim_untouched());

    window_d const dy{ys, inside, r}, dskip{as, inside}, dup{bs, inside};
    layer.backward(dev, dy.view(), dskip.view(), dup.view());
    window_d const joined{ys, false};
    layer.forward(dev, dskip.view(), dup.view(), joined.view());
    CHECK(joined.values() == r);
    CHECK(dskip.rim_untouched());
    CHECK(dup.rim_untouched());

    CHECK_THROWS_AS(layer.forward(dev, skip.view(), skip.view(), y.view()), argument_error);
    CHECK_THROWS_AS(layer.forward(dev, skip.view().crop(0, 0, 3, 3), up.view(), y.view()), argument_error);
    CHECK_THROWS_AS(layer.backward(dev, dy.view(), dup.view(), dup.view()), argument_error);
    CHECK_THROWS_AS(layer.backward(dev, dy.view(), dskip.view(), dup.view().images(0, 1)), argument_error);
  }
}

namespace {

/// What each layer makes of the same numbers, in NHWC order; parameters' gradients in canonical order.
struct layer_results {
  std::vector<doubles> exact, rounded_often;  // rounded_often: not only when it is stored
};

/// Runs both passes of each layer on a device. All numbers are multiples of 1/128 from -1 to 1, and sums of their
/// products are exact in float: see test_conv_transpose2d.
template <class T, class Device> layer_results run_layers(Device& dev) {
  using test::some_numbers;
  test::placement const dense{"dense"}, slice{"slice", 8, 16}, odd{"odd slice", 3, 2};
  layer_results r;
  parameter_list<Device> list;
  conv2d<T, Device> const conv(list, "conv", {5, 9, 3}, true, true);
  conv_transpose2d<T, Device> const up(list, "up", {9, 4}, true);
  buffer<T, Device> weights{dev, static_cast<std::size_t>(list.size())};
  buffer<accumulator_t<T>, Device> gradients{dev, static_cast<std::size_t>(list.size())};
  unsigned seed = 1;
  for (parameter const& p : list) {
    auto const numbers = some_numbers(p.canonical_size(), seed++);
    upload(dev, p, std::span<double const>(numbers), weights.data());
  }
  auto const check_parametric = [&](auto const& layer, shape const& xs, shape const& ys) {
    auto const x_numbers = some_numbers(xs.size(), 11), dy_numbers = some_numbers(ys.size(), 12);
    test::window<T, Device> x{dev, xs, dense, x_numbers}, y{dev, ys, slice}, dy{dev, ys, odd, dy_numbers};
    test::window<T, Device> dx{dev, xs, slice};
    layer.forward(dev, weights.data(), x.view(), y.view());
    r.exact.push_back(y.read());
    layer.backward_parameters(dev, x.view(), dy.view(), gradients.data(), false);
    layer.backward_parameters(dev, x.view(), dy.view(), gradients.data(), true);
    layer.backward_data(dev, weights.data(), dy.view(), dx.view(), x.view());
    r.exact.push_back(dx.read());
  };
  shape const xs{2, 4, 6, 5}, hs{2, 4, 6, 9}, ys{2, 8, 12, 4};
  check_parametric(conv, xs, hs);
  check_parametric(up, hs, ys);
  for (parameter const& p : list) r.exact.push_back(download<double>(dev, p, gradients.data()));

  shape const s{1, 5, 6, 9}, half = max_pool2d_output_shape(s);
  auto const numbers = some_numbers(s.size(), 13), more = some_numbers(s.size(), 14);
  test::window<T, Device> x{dev, s, odd, numbers}, y{dev, s, slice}, dy{dev, s, dense, more}, dx{dev, s, odd};
  test::window<T, Device> pooled{dev, half, slice}, dpooled{dev, half, dense, some_numbers(half.size(), 15)};
  relu<T, Device>{}.forward(dev, x.view(), y.view());
  relu<T, Device>{}.backward(dev, y.view(), dy.view(), dx.view());
  max_pool2d<T, Device>{}.forward(dev, y.view(), pooled.view());
  for (auto* w : {&y, &dx, &pooled}) r.exact.push_back(w->read());
  max_pool2d<T, Device>{}.backward(dev, y.view(), dpooled.view(), dx.view());
  test::window<window_code, Device> codes{dev, max_pool2d_code_shape(s), dense};
  max_pool2d<T, Device>{}.encode(dev, y.view(), codes.view());
  max_pool2d<T, Device>{}.backward_into_skip(dev, codes.view(), dpooled.view(), dy.view());
  for (auto* w : {&dx, &dy}) r.exact.push_back(w->read());

  shape const joined_shape{1, 5, 6, 18};
  test::window<T, Device> joined{dev, joined_shape, dense}, a{dev, s, odd}, b{dev, s, slice};
  concat_skip<T, Device>{}.forward(dev, x.view(), dy.view(), joined.view());
  concat_skip<T, Device>{}.backward(dev, joined.view(), a.view(), b.view());
  r.exact.push_back(joined.read());
  for (auto* w : {&a, &b}) r.exact.push_back(w->read());

  sigmoid<T, Device>{}.forward(dev, x.view(), y.view());
  r.rounded_often.push_back(y.read());
  sigmoid<T, Device>{}.backward(dev, x.view(), a.view(), dx.view());
  r.rounded_often.push_back(dx.read());
  return r;
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("layers compute on each device what they compute on the cpu in double", "", test::rows) {
  using T = typename TestType::element;
  using device = typename TestType::device;
  cpu reference{1};
  layer_results want = run_layers<double>(reference);
  std::size_t const parameters = 4;
  for (std::size_t i = 0; i < want.exact.size(); ++i) {
    // Gradients of parameters, behind two times y and dx, are kept in float.
    if (i >= 4 && i < 4 + parameters) continue;
    for (double& v : want.exact[i]) v = convert<double>(convert<T>(v));
  }
  test::on_device<TestType>([&](device& dev) {
    layer_results const got = run_layers<T>(dev);
    CHECK(got.exact == want.exact);
    for (std::size_t i = 0; i < want.rounded_often.size(); ++i)
      CHECK(distance(got.rounded_often[i], want.rounded_often[i]) <=  // of values up to 2
            2 * test::unit_roundoff<T>() + 8 * test::unit_roundoff<accumulator_t<T>>());
  });
}

TEST_CASE("layers refuse shapes that do not fit") {
  cpu dev{1};
  parameter_list<cpu> list;
  conv2d<float, cpu> const conv(list, "conv", {3, 4, 3}, true, false);
  conv_transpose2d<float, cpu> const up(list, "up", {3, 4}, true);
  std::vector<float> flat(static_cast<std::size_t>(list.size()));
  window<float> const x{{1, 4, 4, 3}, false}, y{{1, 4, 4, 4}, false}, z{{1, 8, 8, 4}, false};
  CHECK_NOTHROW(conv.forward(dev, flat.data(), x.view(), y.view()));
  CHECK_THROWS_AS(conv.forward(dev, flat.data(), y.view(), y.view()), argument_error);
  CHECK_THROWS_AS(conv.forward(dev, flat.data(), x.view(), z.view()), argument_error);
  CHECK_THROWS_AS(conv.backward_parameters(dev, x.view(), z.view(), flat.data(), false), argument_error);
  CHECK_THROWS_AS(conv.backward_data(dev, flat.data(), z.view(), x.view()), argument_error);
  CHECK_THROWS_AS(conv.backward_data(dev, flat.data(), y.view(), x.view(), y.view()), argument_error);
  CHECK_NOTHROW(up.forward(dev, flat.data(), x.view(), z.view()));
  CHECK_THROWS_AS(up.forward(dev, flat.data(), x.view(), y.view()), argument_error);
  CHECK_THROWS_AS(up.backward_parameters(dev, x.view(), y.view(), flat.data(), false), argument_error);
  CHECK_THROWS_AS(up.backward_data(dev, flat.data(), y.view(), x.view()), argument_error);
  using layer = conv2d<float, cpu>;
  CHECK_THROWS_AS(layer(list, "bad", {3, 4, 4}, true, false), argument_error);
  CHECK_THROWS_AS(layer(list, "bad", {0, 4, 3}, true, false), argument_error);
}

TEST_CASE("a parameter list places every tensor on its own cache lines") {
  parameter_list<cpu> list;
  CHECK(list.size() == 0);
  CHECK(list.add("a.weight", conv2d_shape{3, 18, 3}) == 0);
  CHECK(list.add("a.bias", bias_shape{18}) == 1);
  CHECK(list.add("b.weight", conv_transpose2d_shape{18, 7}) == 2);
  CHECK(list.add("b.bias", bias_shape{7}) == 3);
  CHECK(list.count() == 4);
  CHECK(list.weight_count() == 18 * 3 * 9 + 18 + 18 * 7 * 4 + 7);
  using extents = std::vector<std::int64_t>;
  CHECK(list[0].dimensions() == extents{18, 3, 3, 3});
  CHECK(list[1].dimensions() == extents{18});
  CHECK(list[2].dimensions() == extents{18, 7, 2, 2});
  CHECK(list[0].fan_in() == 27);
  CHECK(list[1].fan_in() == 0);
  CHECK(list[2].fan_in() == 18);
  std::int64_t end = 0;
  for (parameter const& p : list) {
    INFO(p.name);
    CHECK(p.offset >= end);
    CHECK(p.offset % 64 == 0);
    CHECK(p.size >= p.canonical_size());
    end = p.offset + p.size;
  }
  CHECK(list.size() >= end);
  CHECK(list.size() % 64 == 0);
}

TEMPLATE_TEST_CASE("packing and unpacking parameters is a round trip", "", float, double) {
  using T = TestType;
  cpu dev{1};
  parameter_list<cpu> list;
  list.add("a", conv2d_shape{3, 18, 3});
  list.add("b", bias_shape{18});
  list.add("c", conv2d_shape{5, 33, 2, 2});
  list.add("d", conv_transpose2d_shape{18, 7});
  list.add("e", conv2d_shape{40, 1, 1});
  std::vector<T> flat(static_cast<std::size_t>(list.size()), T(5));
  auto const floats = [](parameter const& p) {
    return random_values<float>(static_cast<std::size_t>(p.canonical_size()), static_cast<unsigned>(p.offset));
  };
  for (parameter const& p : list) {
    INFO(p.name);
    auto const narrow = floats(p);
    std::vector<double> const wide(narrow.begin(), narrow.end());
    std::vector<T> slice(static_cast<std::size_t>(p.size), T(7));
    std::span<T> const to(slice);
    std::span<T const> const from(slice);
    std::vector<float> narrow_back(narrow.size());
    std::vector<double> wide_back(wide.size());
    pack<cpu>(p, std::span<float const>(narrow), to);
    unpack<cpu>(p, from, std::span<double>(wide_back));
    CHECK(wide_back == wide);
    pack<cpu>(p, std::span<double const>(wide), to);
    unpack<cpu>(p, from, std::span<float>(narrow_back));
    CHECK(narrow_back == narrow);
    upload(dev, p, std::span<float const>(narrow), flat.data());

    auto const fewer = narrow.size() - 1;
    CHECK_THROWS_AS(pack<cpu>(p, std::span<float const>(narrow).first(fewer), to), argument_error);
    CHECK_THROWS_AS(unpack<cpu>(p, from, std::span<float>(narrow_back).first(fewer)), argument_error);
    CHECK_THROWS_AS(pack<cpu>(p, std::span<float const>(narrow), to.first(to.size() - 1)), argument_error);
    CHECK(
        contains(thrown([&] { unpack<cpu>(p, from.first(1), std::span<float>(narrow_back)); }), "parameter " + p.name));
  }
  // Nothing was overwritten by what came after, and nothing beyond a parameter's elements was touched.
  for (parameter const& p : list) {
    INFO(p.name);
    CHECK(download<float>(dev, p, flat.data()) == floats(p));
    for (std::int64_t i = p.offset + p.size; i < list.size() && i % 64 != 0; ++i)
      CHECK(flat[static_cast<std::size_t>(i)] == 5);
  }
}
