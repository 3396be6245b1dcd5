// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include <unetdn/core/tensor.hpp>
#include <unetdn/loss.hpp>
#include <unetdn/ops/output_layer.hpp>

#include "catch.hpp"
#include "devices/on_devices.hpp"
#include "reference/loss.hpp"
#include "reference/output_layer.hpp"
#include "reference/sigmoid.hpp"

using namespace unetdn;
using namespace unetdn::test;

namespace {

constexpr placement dense = placements[0], slice = placements[1], odd_slice = placements[2], crop = placements[3],
                    slice_of_a_crop = placements[4];

struct layer_case {
  shape x;
  int out;
  placement x_at, y_at;
};

/// One pixel; one, two and three outputs, and four; channels that are one, off every piece of 16 bytes, and more than
/// one block of the backward kernel owns; pixels for several parts of a gradient; with and without 16-byte alignment.
/// The last two are not fused.
std::vector<layer_case> const cases {
  {{2, 5, 7, 20}, 3, slice_of_a_crop, odd_slice},
#if !defined(UNETDN_TSAN)  // every access is slow there
      {{1, 1, 1, 1}, 1, dense, dense}, {{2, 3, 5, 3}, 3, odd_slice, dense}, {{1, 9, 7, 64}, 3, dense, dense},
      {{1, 3, 4, 64}, 1, slice, crop}, {{3, 17, 23, 24}, 3, dense, dense}, {{2, 27, 21, 33}, 2, crop, slice},
      {{1, 1, 300, 12}, 3, slice, odd_slice}, {{1, 6, 5, 264}, 3, dense, slice_of_a_crop},
      {{1, 11, 3, 16}, 4, slice, slice}, {{1, 2, 3, 1032}, 2, dense, dense},
#endif
};

/// These operands make sums exact in float, so that their order does not matter.
template <class T, class Device> struct problem {
  using gradient = accumulator_t<T>;
  Device& dev;
  output_layer_shape s;
  shape x_shape, y_shape, w_shape, b_shape;
  window<T, Device> x, g, w, bias, residual;
  window<gradient, Device> dw, db;
  std::vector<double> x_values, g_values, w_values, b_values, r_values;
  reference::output_layer ref;

  problem(Device& dev_, layer_case const& c)
      : dev{dev_},
        s{c.x.c, c.out},
        x_shape{c.x},
        y_shape{c.x.n, c.x.h, c.x.w, c.out},
        w_shape{1, 1, 1, static_cast<int>(conv2d_weight_size<Device>(s.conv()))},
        b_shape{1, 1, 1, c.out},
        x{dev, x_shape, c.x_at},
        g{dev, y_shape, c.y_at},
        w{dev, w_shape, dense},
        bias{dev, b_shape, dense},
        residual{dev, y_shape, c.x_at},
        dw{dev, w_shape, dense},
        db{dev, b_shape, dense},
        x_values{some_numbers(x_shape.size(), 1)},
        g_values{some_numbers(y_shape.size(), 2)},
        w_values{some_numbers(std::int64_t(s.in) * s.out, 3)},
        b_values{some_numbers(s.out, 4)},
        r_values{some_numbers(y_shape.size(), 5)},
        ref{std::size_t(c.x.n) * std::size_t(c.x.h) * std::size_t(c.x.w), std::size_t(s.in), std::size_t(s.out)} {
    x.write(x_values);
    g.write(g_values);
    w.write(packed(w_values));
    bias.write(b_values);
    residual.write(r_values);
  }

  std::vector<double> packed(std::vector<double> const& canonical) const {
    std::vector<double> to(static_cast<std::size_t>(w_shape.size()), 7);
    conv2d_pack_weights<Device, double>(s.conv(), std::span<double const>{canonical}, to);
    return to;
  }
  T const* weights() const { return w.view().data; }
  T const* b(bool with_bias) const { return with_bias ? bias.view().data : nullptr; }
  std::vector<double> sums(bool with_bias) const {
    return ref.sums(x_values, w_values, with_bias ? b_values : std::vector<double>{});
  }
  std::vector<double> forward(placement at, bool with_bias, output_function<T> f) {
    window<T, Device> y{dev, y_shape, at};
    output_layer_forward<T>(dev, s, x.view(), weights(), b(with_bias), y.view(), f);
    return y.read();
  }
  bool fused() const { return output_layer_is_fused<Device>(s); }
};

std::string label(layer_case const& c) {
  return text(to_string(c.x), " -> ", c.out, ", ", c.x_at.name, " to ", c.y_at.name);
}

template <class T> std::vector<double> rounded(std::vector<double> v) {
  for (double& e : v) e = convert<double>(convert<T>(e));
  return v;
}
double largest(std::vector<double> const& v) {
  double most = 0;
  for (double const e : v) most = std::max(most, std::abs(e));
  return most;
}
double distance(std::vector<double> const& a, std::vector<double> const& b) {
  REQUIRE(a.size() == b.size());
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    double const d = std::abs(a[i] - b[i]);
    if (!(d <= most)) most = std::isnan(d) ? std::numeric_limits<double>::infinity() : d;
  }
  return most;
}
double dot(std::vector<double> const& a, std::vector<double> const& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}
std::vector<double> plus(std::vector<double> a, std::vector<double> const& b, double factor = 1) {
  for (std::size_t i = 0; i < a.size(); ++i) a[i] += factor * b[i];
  return a;
}

/// A loss and a scale of its gradient in device memory.
template <class Device> struct device_loss {
  Device& dev;
  buffer<double, Device> memory;

  device_loss(Device& dev_, float scale) : dev{dev_}, memory{dev_, 2} {
    dev.upload(memory.data() + 1, &scale, sizeof scale);
  }
  double* loss() { return memory.data(); }
  float const* scale() { return reinterpret_cast<float const*>(memory.data() + 1); }
  double read() {
    double value = 0;
    dev.download(&value, memory.data(), sizeof value);
    return value;
  }
};

}  // namespace

TEMPLATE_LIST_TEST_CASE("the output layer's forward pass is its definition on windows of every kind", "", rows) {
  using T = typename TestType::element;
  using device = typename TestType::device;
  for (layer_case const& c : cases) {
    equal_runs runs;
    on_device<TestType>([&](device& dev) {
      INFO(label(c));
      problem<T, device> p{dev, c};
      CHECK(p.forward(c.y_at, true, {}) == rounded<T>(p.sums(true)));
      CHECK(p.forward(dense, false, {}) == rounded<T>(p.sums(false)));

      // Where the layer is not fused, its sums are rounded as well.
      double const of_sums = p.fused() ? 0 : unit_roundoff<T>() * largest(p.sums(true));
      auto const with_residual = p.forward(c.y_at, true, {false, p.residual.view()});
      auto const expected = plus(p.sums(true), p.r_values);
      if (p.fused()) CHECK(with_residual == rounded<T>(expected));
      CHECK(distance(with_residual, expected) <= of_sums + unit_roundoff<T>() * largest(expected));
      auto y = p.forward(c.y_at, true, {true});
      double const tolerance = unit_roundoff<T>() + 8 * unit_roundoff<accumulator_t<T>>() + of_sums / 4;
      CHECK(distance(y, reference::sigmoid_forward(p.sums(true))) <= tolerance);
      CHECK(dev.scratch_bytes() <= output_layer_scratch_bytes<T>(dev, p.s, p.x_shape, false));
      y.insert(y.end(), with_residual.begin(), with_residual.end());
      runs.add(y);
    });
    INFO(label(c));
    CHECK(runs);
  }
}

TEMPLATE_LIST_TEST_CASE("the output layer's gradients are their definitions on windows of every kind", "", rows) {
  using T = typename TestType::element;
  using device = typename TestType::device;
  using gradient = accumulator_t<T>;
  for (layer_case const& c : cases) {
    on_device<TestType>([&](device& dev) {
      INFO(label(c));
      problem<T, device> p{dev, c};
      auto const dw = p.packed(p.ref.backward_weights(p.g_values, p.x_values)), db = p.ref.backward_bias(p.g_values);
      auto const pass = [&](view<T> dx, bool mask, bool with_bias, bool accumulate) {
        output_layer_backward<T>(dev, p.s, p.x.view(), p.weights(), p.g.view(), dx, mask, p.dw.view().data,
                                 with_bias ? p.db.view().data : nullptr, accumulate);
      };
      window<T, device> dx{dev, p.x_shape, c.x_at}, elsewhere{dev, p.x_shape, c.y_at};
      pass(dx.view(), true, true, false);
      auto const masked = rounded<T>(p.ref.backward_data(p.g_values, p.w_values, p.x_values, true));
      CHECK(dx.read() == masked);
      CHECK(p.dw.read() == dw);
      CHECK(p.db.read() == db);
      CHECK(dev.scratch_bytes() <= output_layer_scratch_bytes<T>(dev, p.s, p.x_shape, true));

      // Without the mask, and with sums added to the ones before; the padding of dw stays zero.
      pass(elsewhere.view(), false, true, true);
      CHECK(elsewhere.read() == rounded<T>(p.ref.backward_data(p.g_values, p.w_values, p.x_values, false)));
      CHECK(p.dw.read() == rounded<gradient>(plus(dw, dw)));
      CHECK(p.db.read() == rounded<gradient>(plus(db, db)));

      // The gradient overwrites the picture.
      pass(p.x.view(), true, false, false);
      CHECK(p.x.read() == masked);
      CHECK(p.dw.read() == dw);
      CHECK(p.db.read() == rounded<gradient>(plus(db, db)));
      CHECK(p.g.read() == p.g_values);
    });
  }
}

TEMPLATE_LIST_TEST_CASE("the output layer computes a loss and its gradient in the same pass", "", gpu_rows) {
  using T = typename TestType::element;
  for (layer_case const& c : cases) {
    equal_runs runs;
    on_device<TestType>([&](auto& dev) {
      using device = std::remove_reference_t<decltype(dev)>;
      INFO(label(c));
      problem<T, device> p{dev, c};
      window<float, device> target{dev, p.y_shape, c.x_at, some_numbers(p.y_shape.size(), 6)};
      window<T, device> y{dev, p.y_shape, c.y_at}, gradient{dev, p.y_shape, c.x_at}, other{dev, p.y_shape, c.y_at};
      float const scale = 16;
      device_loss<device> out{dev, scale};
      auto const pass = [&](bool squared, output_function<T> f) {
        pointwise_loss<T> const loss{squared, target.view(), gradient.view(), out.loss(), out.scale()};
        output_layer_forward<T>(dev, p.s, p.x.view(), p.weights(), p.b(true), y.view(), f, loss);
      };
      if (!p.fused()) {
        CHECK_THROWS_AS(pass(true, {}), argument_error);
        return;
      }
      auto const wanted = target.read();
      std::vector<double> all;
      for (bool const squared : {false, true}) {
        for (output_function<T> const& f : {output_function<T>{}, {true}, {false, p.residual.view()}}) {
          pass(squared, f);
          auto const values = y.read();
          CHECK(values == p.forward(dense, true, f));
          double const loss = out.read();
          double const expected = squared ? reference::mse(values, wanted) : reference::l1(values, wanted);
          CHECK(std::abs(loss - expected) <= 20 * 0x1p-24 * expected);
          auto of_sums = squared ? reference::mse_gradient(values, wanted) : reference::l1_gradient(values, wanted);
          if (f.sigmoid) of_sums = reference::sigmoid_backward(values, of_sums);
          for (double& e : of_sums) e *= double(scale);
          // Rounded to T once, by half a subnormal step of fp16 at least.
          auto const got = gradient.read();
          double const tolerance = largest(of_sums) * (unit_roundoff<T>() + 8 * 0x1p-24) + 0x1p-25;
          CHECK(distance(got, of_sums) <= tolerance);
          // The loss by itself, with respect to the same, for which it reads what was written.
          loss_kind const kind = squared ? loss_kind::mse : loss_kind::l1;
          loss_and_gradient<T>(dev, kind, y.view(), target.view(), other.view(), out.loss(), out.scale(), f.sigmoid);
          CHECK(out.read() == Approx(loss).epsilon(1e-6));
          CHECK(distance(other.read(), of_sums) <= tolerance);
          all.insert(all.end(), got.begin(), got.end());
          all.push_back(loss);
        }
      }
      CHECK(dev.scratch_bytes() <= output_layer_scratch_bytes<T>(dev, p.s, p.x_shape, true));
      runs.add(all);

      // Without a scale it is 1; NaN shows in the loss.
      pointwise_loss<T> const unscaled{true, target.view(), other.view(), out.loss()};
      auto by_scale = gradient.read();
      for (double& e : by_scale) e /= double(scale);
      output_layer_forward<T>(dev, p.s, p.x.view(), p.weights(), p.b(true), y.view(), {false, p.residual.view()},
                              unscaled);
      CHECK(distance(other.read(), by_scale) <= 0x1p-24);
      auto spoilt = p.x_values;
      spoilt.back() = std::numeric_limits<double>::quiet_NaN();
      p.x.write(spoilt);
      pass(true, {true});
      CHECK(std::isnan(out.read()));
    });
    INFO(label(c));
    CHECK(runs);
  }
}

#if !defined(UNETDN_TSAN)
TEMPLATE_LIST_TEST_CASE("the output layer takes more pixels than a launch has threads", "", gpu_rows) {
  using T = typename TestType::element;
  on_one_device<TestType>(thread_order::forward, [](auto& dev) {
    using device = std::remove_reference_t<decltype(dev)>;
    problem<T, device> p{dev, {{1, 1, detail::reduction_blocks * 256 + 77, 1}, 1, dense, dense}};
    CHECK(p.forward(dense, true, {}) == rounded<T>(p.sums(true)));
  });
}
#endif

TEST_CASE("the output layer's gradients are the limits of its differences") {
  cpu dev{1};
  layer_case const c{{2, 3, 4, 5}, 3, dense, dense};
  problem<double, cpu> p{dev, c};
  auto const target = some_numbers(p.y_shape.size(), 6);
  auto const x_direction = some_numbers(p.x_shape.size(), 7), b_direction = some_numbers(3, 9);
  auto const w_direction = p.packed(some_numbers(15, 8));
  // The loss along a line in x, w and b.
  auto const f = [&](double t) {
    window<double, cpu> x{dev, p.x_shape, dense}, w{dev, p.w_shape, dense}, b{dev, p.b_shape, dense};
    window<double, cpu> y{dev, p.y_shape, dense};
    auto const put = [&](view<double> to, std::vector<double> const& at, std::vector<double> const& direction) {
      auto const moved = plus(at, direction, t);
      std::copy(moved.begin(), moved.end(), to.data);
    };
    put(x.view(), p.x_values, x_direction);
    put(w.view(), p.packed(p.w_values), w_direction);
    put(b.view(), p.b_values, b_direction);
    output_layer_forward<double>(dev, p.s, x.view(), w.view().data, b.view().data, y.view(), {true});
    return reference::mse(y.read(), target);
  };
  auto const y = p.forward(dense, true, {true});
  auto const g = reference::sigmoid_backward(y, reference::mse_gradient(y, target));
  std::copy(g.begin(), g.end(), p.g.view().data);
  window<double, cpu> dx{dev, p.x_shape, dense};
  output_layer_backward<double>(dev, p.s, p.x.view(), p.weights(), p.g.view(), dx.view(), false, p.dw.view().data,
                                p.db.view().data, false);
  double const slope = dot(dx.read(), x_direction) + dot(p.dw.read(), w_direction) + dot(p.db.read(), b_direction);
  double const h = 1e-5;
  CHECK(slope == Approx((f(h) - f(-h)) / (2 * h)).epsilon(1e-7));
}

TEMPLATE_LIST_TEST_CASE("the output layer takes empty windows and refuses what does not fit", "", rows) {
  using T = typename TestType::element;
  using device = typename TestType::device;
  on_device<TestType>([](device& dev) {
    problem<T, device> p{dev, {{2, 2, 2, 3}, 2, dense, dense}};
    view<T> const x = p.x.view(), g = p.g.view();
    auto const forward = [&](view<T> from, T const* w, view<T> to, output_function<T> f = {}) {
      output_layer_forward<T>(dev, p.s, from, w, nullptr, to, f);
    };
    auto const backward = [&](view<T> from, view<T> dy, view<T> dx, T const* w) {
      output_layer_backward<T>(dev, p.s, from, w, dy, dx, true, p.dw.view().data, p.db.view().data, false);
    };
    forward(x.images(0, 0), p.weights(), g.images(0, 0));
    backward(x.images(0, 0), g.images(0, 0), x.images(0, 0), p.weights());
    CHECK(p.dw.read() == std::vector<double>(std::size_t(p.w_shape.size()), 0));
    CHECK(p.db.read() == std::vector<double>(2, 0));
    CHECK(p.x.read() == p.x_values);

    CHECK_THROWS_AS(forward(x.channels(0, 2), p.weights(), g), argument_error);
    CHECK_THROWS_AS(forward(x, p.weights(), g.crop(0, 0, 1, 2)), argument_error);
    CHECK_THROWS_AS(forward(x, p.weights(), g.channels(0, 1)), argument_error);
    CHECK_THROWS_AS(forward(x, p.weights(), g, {true, g}), argument_error);
    CHECK_THROWS_AS(forward(x, p.weights(), g, {false, x}), argument_error);
    CHECK_THROWS_AS(backward(x, g.images(0, 1), x, p.weights()), argument_error);
    CHECK_THROWS_AS(backward(x, g, x.crop(0, 0, 1, 2), p.weights()), argument_error);
    if constexpr (!std::is_same_v<device, cpu>) {
      CHECK_THROWS_AS(forward(x, p.weights() + 1, g), argument_error);
      CHECK_THROWS_AS(backward(x, g, x, p.weights() + 1), argument_error);
      device_loss<device> out{dev, 1};
      window<float, device> target{dev, p.y_shape, dense};
      auto const with_loss = [&](view<float> of, view<T> gradient) {
        pointwise_loss<T> const loss{true, of, gradient, out.loss()};
        output_layer_forward<T>(dev, p.s, x, p.weights(), nullptr, g, {}, loss);
      };
      CHECK_THROWS_AS(with_loss(target.view().images(0, 1), g), argument_error);
      CHECK_THROWS_AS(with_loss(target.view(), g.channels(0, 1)), argument_error);
    }
  });
}
