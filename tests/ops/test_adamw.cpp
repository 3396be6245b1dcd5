// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>
#include <vector>

#include <unetdn/core/tensor.hpp>
#include <unetdn/ops/adamw.hpp>

#include "catch.hpp"
#include "devices/on_devices.hpp"
#include "ops/windows.hpp"
#include "reference/adamw.hpp"

using namespace unetdn;
using namespace windows;
using unetdn::test::gpu_rows;
using unetdn::test::on_device;

namespace {

/// The arrays that an update touches.
template <class T> struct state {
  std::vector<T> weights, gradient, m, v, average;

  explicit state(std::size_t size)
      : weights(random_values<T>(size, 1)), gradient(size), m(size), v(size), average(weights) {}
  adamw_arrays<T> arrays(bool averaged) {
    return {weights.data(),
            gradient.data(),
            m.data(),
            v.data(),
            averaged ? average.data() : nullptr,
            static_cast<std::int64_t>(weights.size())};
  }
};

/// Factors of the rate, different in each block.
template <class T> std::vector<T> rate_factors(std::size_t size) {
  std::vector<T> factors(ceil_div(size, std::size_t(rate_block)));
  for (std::size_t i = 0; i < factors.size(); ++i) factors[i] = T(1) / T(1 + i % 5);
  return factors;
}
/// The same for each element.
template <class T> std::vector<double> of_elements(std::vector<T> const& factors, std::size_t size) {
  std::vector<double> all(size);
  for (std::size_t i = 0; i < size; ++i) all[i] = double(factors[i / rate_block]);
  return all;
}

/// What a step is given, different each time.
struct settings {
  double rate, scale, averaging;
};
settings settings_of(int step) { return {1e-2 / step, step % 2 == 0 ? 1.0 : 0.25, step / (step + 3.0)}; }

/// Gradients of very different sizes; the first one is always zero.
template <class T> std::vector<T> gradients(std::size_t size, int step) {
  auto g = random_values<T>(size, static_cast<unsigned>(10 + step));
  for (std::size_t i = 0; i < size; ++i) g[i] *= i % 3 == 0 ? T(1) : i % 3 == 1 ? T(1e-3) : T(100);
  g[0] = 0;
  return g;
}

}  // namespace

TEMPLATE_TEST_CASE("adamw_step is Loshchilov and Hutter's algorithm", "", float, double) {
  using T = TestType;
  for (cpu_bodies::isa const which : instruction_sets()) {
    use_isa const restored{which};
    INFO(cpu_bodies::name(which));
    for (std::size_t const size : {1u, 7u, 20000u}) {
      for (double const weight_decay : {0.0, 0.1}) {
        INFO(size << " parameters, weight decay " << weight_decay);
        cpu dev{2};
        adamw_options const options{0.9, 0.99, 1e-6, weight_decay};
        state<T> s(size);
        // The constants as T holds them.
        reference::adamw expected{double(T(0.9)), double(T(0.99)),    1e-6,
                                  weight_decay,   widened(s.weights), widened(s.average)};
        auto const factors = rate_factors<T>(size);
        auto arrays = s.arrays(true);
        if (weight_decay > 0) {
          arrays.rate_factors = factors.data();
          expected.factors = of_elements(factors, size);
        }
        for (int step = 1; step <= 7; ++step) {
          auto const now = settings_of(step);
          s.gradient = gradients<T>(size, step);
          arrays.gradient = s.gradient.data();
          adamw_step(dev, options, arrays, step, now.rate, now.scale, now.averaging);
          expected.step(widened(s.gradient), now.rate, now.scale, now.averaging);
          // Weights stay below 2 in magnitude; a step rounds them and their average a few times.
          CHECK(distance(s.weights, expected.weights) <= step * tolerance<T>(0));
          CHECK(distance(s.average, expected.average) <= step * tolerance<T>(0));
          // Moments reach 25 and 600.
          CHECK(distance(s.m, expected.m) <= 30 * tolerance<T>(0));
          CHECK(distance(s.v, expected.v) <= 1000 * tolerance<T>(0));
        }
        CHECK(std::isfinite(double(s.weights[0])));
      }
    }
  }
}

TEMPLATE_TEST_CASE("the first step moves each weight by the rate against its gradient's sign", "", float, double) {
  using T = TestType;
  cpu dev{1};
  state<T> s(100);
  auto const before = s.weights;
  s.gradient = gradients<T>(100, 1);
  adamw_step(dev, adamw_options{}, s.arrays(false), 1, 1, 1, 0.5);
  for (std::size_t i = 1; i < 100; ++i) {
    double const g = double(s.gradient[i]);
    double const expected = double(before[i]) - g / (std::abs(g) + adamw_options{}.epsilon);
    CHECK(std::abs(expected - double(s.weights[i])) <= tolerance<T>(0));
  }
  CHECK(s.weights[0] == before[0]);
  // Without an average none is written.
  CHECK(s.average == before);
}

TEST_CASE("an update has equal bits for any number of threads") {
  auto const run = [](int threads) {
    cpu dev{threads};
    state<float> s(50001);
    for (int step = 1; step <= 3; ++step) {
      s.gradient = gradients<float>(50001, step);
      adamw_step(dev, adamw_options{}, s.arrays(true), step, 1e-3, 0.5, 0.9);
    }
    s.weights.insert(s.weights.end(), s.average.begin(), s.average.end());
    return s.weights;
  };
  auto const one = run(1);
  CHECK(run(2) == one);
  CHECK(run(3) == one);
}

TEST_CASE("adamw_step counts from 1 and takes no parameters at all") {
  cpu dev{1};
  state<float> s(3);
  CHECK_THROWS_AS(adamw_step(dev, adamw_options{}, s.arrays(true), 0, 1e-3, 1, 0.9), argument_error);
  CHECK_THROWS_AS(adamw_step(dev, adamw_options{}, s.arrays(true), -1, 1e-3, 1, 0.9), argument_error);
  state<float> none(0);
  CHECK_NOTHROW(adamw_step(dev, adamw_options{}, none.arrays(true), 1, 1e-3, 1, 0.9));
}

TEMPLATE_TEST_CASE("squared_norm sums in double, with equal bits for any number of threads", "", float, double) {
  using T = TestType;
  for (cpu_bodies::isa const which : instruction_sets())
    for (std::size_t const size : {0u, 1u, 3u, 5u, 16384u, 16385u, 100003u}) {
      use_isa const restored{which};
      INFO(size << " elements, " << cpu_bodies::name(which));
      auto const x = random_values<T>(size, 6);
      double expected = 0;
      for (T v : x) expected += double(v) * double(v);
      cpu one{1}, two{2}, three{3};
      auto const n = static_cast<std::int64_t>(size);
      double const got = squared_norm(one, x.data(), n);
      CHECK(std::abs(got - expected) <= tolerance<double>(double(size)) * expected);
      CHECK(squared_norm(two, x.data(), n) == got);
      CHECK(squared_norm(three, x.data(), n) == got);
    }
  cpu dev{2};
  std::vector<float> const large{3e38f, 1e38f};
  CHECK(squared_norm(dev, large.data(), 2) == Approx(9e76 + 1e76));
  std::vector<float> const bad{1, std::numeric_limits<float>::quiet_NaN()};
  CHECK(std::isnan(squared_norm(dev, bad.data(), 2)));
}

// On devices that run kernels.

namespace {

/// A flat array in device memory that begins `offset` elements after an aligned address. What follows it must not
/// change.
template <class T, class Device> class flat {
 public:
  flat(Device& dev, std::vector<T> const& values, std::size_t offset)
      : dev_{dev}, memory_{dev, offset + values.size() + guards}, offset_{offset}, size_{values.size()} {
    write(values);
  }
  T* data() { return memory_.data() + offset_; }
  void write(std::vector<T> values) {
    values.resize(size_ + guards, T(guard));
    dev_.upload(data(), values.data(), values.size() * sizeof(T));
  }
  std::vector<T> read() {
    std::vector<T> values(size_ + guards);
    dev_.download(values.data(), data(), values.size() * sizeof(T));
    for (; values.size() > size_; values.pop_back()) CHECK(float(values.back()) == guard);
    return values;
  }

 private:
  static constexpr std::size_t guards = 4;
  static constexpr float guard = 77;
  Device& dev_;
  buffer<T, Device> memory_;
  std::size_t offset_, size_;
};

template <class Device> class device_state {
 public:
  device_state(Device& dev, float loss_scale) : dev_{dev}, memory_{static_cast<update_state*>(dev.allocate(bytes))} {
    update_state s;
    s.loss_scale = loss_scale;
    write(s);
  }
  device_state(device_state const&) = delete;
  device_state& operator=(device_state const&) = delete;
  ~device_state() { Device::release(memory_); }

  update_state* get() { return memory_; }
  void write(update_state const& s) { dev_.upload(memory_, &s, bytes); }
  update_state read() {
    update_state s;
    dev_.download(&s, memory_, bytes);
    return s;
  }

 private:
  static constexpr std::size_t bytes = sizeof(update_state);
  Device& dev_;
  update_state* memory_;
};

/// All that a training of a network of T keeps in device memory, and its steps.
template <class T, class Device> struct training {
  static constexpr bool copied = is_16_bit<T>;
  Device& dev;
  flat<float, Device> weights, gradient, m, v, average;
  flat<T, Device> network_weights;
  device_state<Device> state;
  adamw_arrays<T> arrays;

  training(Device& dev_, std::vector<float> const& w, std::size_t offset, bool averaged, float loss_scale)
      : dev{dev_},
        weights{dev_, w, offset},
        gradient{dev_, w, offset},
        m{dev_, std::vector<float>(w.size()), offset},
        v{dev_, std::vector<float>(w.size()), offset},
        average{dev_, w, offset},
        network_weights{dev_, std::vector<T>(w.size(), T(0.f)), offset},
        state{dev_, loss_scale},
        arrays{weights.data(),
               gradient.data(),
               m.data(),
               v.data(),
               averaged ? average.data() : nullptr,
               static_cast<std::int64_t>(w.size()),
               copied ? network_weights.data() : nullptr} {}

  void step(std::vector<float> const& g, settings const& now, adamw_options const& options,
            update_options const& update) {
    gradient.write(g);
    begin_update(dev, state.get(), now.rate, now.averaging);
    squared_norm(dev, gradient.data(), arrays.size, &state.get()->squared_norm);
    adamw_step(dev, options, update, arrays, state.get());
  }
  /// The bits of everything that a skipped step must leave alone.
  std::vector<float> all() {
    std::vector<float> values;
    for (auto* const a : {&weights, &m, &v, &average}) {
      auto const more = a->read();
      values.insert(values.end(), more.begin(), more.end());
    }
    for (T const x : network_weights.read()) values.push_back(float(x));
    return values;
  }
};

template <class T> std::vector<float> rounded(std::vector<float> const& from) {
  std::vector<float> to;
  for (float const x : from) to.push_back(float(T(x)));
  return to;
}
template <class T> std::vector<float> widened_to_float(std::vector<T> const& from) {
  std::vector<float> to;
  for (T const x : from) to.push_back(float(x));
  return to;
}

std::vector<float> times(std::vector<float> v, float factor) {
  for (float& x : v) x *= factor;
  return v;
}
double norm_of(std::vector<float> const& v) {
  double sum = 0;
  for (float const x : v) sum += double(x) * double(x);
  return std::sqrt(sum);
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("adamw_step by numbers in device memory is the same algorithm", "", gpu_rows) {
  using T = typename TestType::element;
  on_device<TestType>([](auto& dev) {
    using device = std::remove_reference_t<decltype(dev)>;
    for (std::size_t const size : {1u, 7u, 2051u}) {
      for (bool const plain : {true, false}) {
        INFO(size << " parameters"
                  << (plain ? "" : ", unaligned, decaying, averaged, clipped, scaled, at different rates"));
        adamw_options const options{0.9, 0.99, 1e-6, plain ? 0 : 0.1};
        double const clip = plain ? 0 : 0.5 * std::sqrt(double(size));
        float const loss_scale = plain ? 1 : 1024;
        training<T, device> t{dev, random_values<float>(size, 1), plain ? 0u : 1u, !plain, loss_scale};
        reference::adamw expected{double(0.9f),
                                  double(0.99f),
                                  1e-6,
                                  options.weight_decay,
                                  widened(t.weights.read()),
                                  widened(t.average.read())};
        auto const factors = rate_factors<float>(size);
        flat<float, device> device_factors{dev, factors, 0};
        if (!plain) {
          t.arrays.rate_factors = device_factors.data();
          expected.factors = of_elements(factors, size);
        }
        for (int step = 1; step <= 7; ++step) {
          auto const now = settings_of(step);
          auto const g = gradients<float>(size, step);
          t.step(times(g, loss_scale), now, options, {clip});
          double const norm = norm_of(g);
          expected.step(widened(g), now.rate, clip > 0 && norm > clip ? clip / norm : 1, now.averaging);
          CHECK(distance(t.weights.read(), expected.weights) <= step * tolerance<float>(0));
          if (!plain) CHECK(distance(t.average.read(), expected.average) <= step * tolerance<float>(0));
          CHECK(distance(t.m.read(), expected.m) <= 60 * tolerance<float>(0));
          CHECK(distance(t.v.read(), expected.v) <= 2000 * tolerance<float>(0));
          auto const s = t.state.read();
          CHECK(s.gradient_norm == Approx(norm).epsilon(1e-6));
          CHECK(s.updates == step);
          if (t.copied) CHECK(widened_to_float(t.network_weights.read()) == rounded<T>(t.weights.read()));
        }
        if (plain) CHECK(t.average.read() == random_values<float>(size, 1));
      }
    }
  });
}

TEMPLATE_LIST_TEST_CASE("a step that is not finite changes nothing but the loss scale", "", gpu_rows) {
  using T = typename TestType::element;
  on_device<TestType>([](auto& dev) {
    using device = std::remove_reference_t<decltype(dev)>;
    std::size_t const size = 9;
    auto const w = random_values<float>(size, 1);
    float const nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
    training<T, device> t{dev, w, 0, true, 4}, undisturbed{dev, w, 0, true, 4};
    update_options const growing{1, 3};
    auto const good = [&](training<T, device>& which, int step) {
      float const scale = which.state.read().loss_scale;
      which.step(times(gradients<float>(size, step), scale), settings_of(step), {}, growing);
    };
    auto const bad = [&](float value) {
      auto const before = t.all();
      auto const state = t.state.read();
      auto g = gradients<float>(size, 1);
      g[size - 1] = value;
      t.step(g, settings_of(1), {}, growing);
      CHECK(t.all() == before);
      CHECK(t.state.read().updates == state.updates);
      CHECK(t.state.read().skipped == state.skipped + 1);
      CHECK(t.state.read().loss_scale == std::max(1.f, state.loss_scale / 2));
      CHECK(t.state.read().since_change == 0);
    };
    good(t, 1);
    good(t, 2);
    bad(nan);
    bad(-infinity);
    bad(3e38f);  // finite, but its square is not
    CHECK(t.state.read().loss_scale == 1);
    good(t, 3);
    good(t, 4);
    CHECK(t.state.read().loss_scale == 1);
    good(t, 5);
    CHECK(t.state.read().loss_scale == 2);
    // The loss may be NaN where the gradient of l1 is none.
    auto s = t.state.read();
    s.loss = double(nan);
    t.state.write(s);
    bad(1);
    // Scales are powers of two, so those who met nothing bad have the same weights to the bit.
    for (int step = 1; step <= 5; ++step) good(undisturbed, step);
    CHECK(t.all() == undisturbed.all());
    CHECK(undisturbed.state.read().loss_scale == 8);

    // Without a growth interval the scale stays.
    auto const before = t.all();
    float const scale = t.state.read().loss_scale;
    t.step(std::vector<float>(size, nan), settings_of(1), {}, {});
    CHECK(t.all() == before);
    CHECK(t.state.read().loss_scale == scale);
  });
}

TEST_CASE("a training that goes on from what a checkpoint keeps has the bits of one that never stopped") {
  emulated dev;
  std::size_t const size = 33;
  auto const w = random_values<float>(size, 1);
  training<fp16, emulated> whole{dev, w, 0, true, 8}, parts{dev, w, 0, true, 8};
  auto const step = [&](training<fp16, emulated>& t, int n) {
    t.step(gradients<float>(size, n), settings_of(n), {}, {1, 4});
  };
  for (int n = 1; n <= 9; ++n) step(whole, n);
  for (int n = 1; n <= 5; ++n) step(parts, n);
  update_state const stopped = parts.state.read();
  update_state kept;
  kept.updates = stopped.updates;
  kept.skipped = stopped.skipped;
  kept.loss_scale = stopped.loss_scale;
  kept.since_change = stopped.since_change;
  parts.state.write(kept);
  for (int n = 6; n <= 9; ++n) step(parts, n);
  CHECK(parts.all() == whole.all());
  CHECK(parts.state.read().loss_scale == whole.state.read().loss_scale);
}

TEST_CASE("only a 16-bit network has a copy of its weights; no parameters at all are fine") {
  emulated dev;
  training<bf16, emulated> half{dev, {1, 2}, 0, false, 1};
  training<float, emulated> single{dev, {1, 2}, 0, false, 1};
  half.arrays.network_weights = nullptr;
  CHECK_THROWS_AS(adamw_step(dev, {}, {}, half.arrays, half.state.get()), argument_error);
  adamw_arrays<float> none{};
  CHECK_NOTHROW(adamw_step(dev, {}, {}, none, single.state.get()));
  CHECK(single.state.read().updates == 1);
}

TEMPLATE_LIST_TEST_CASE("squared_norm adds in a fixed order on devices that run kernels", "", gpu_rows) {
  using T = typename TestType::element;
  if constexpr (std::is_same_v<T, float>) {
#if defined(UNETDN_TSAN)
    std::size_t const large = 20001;  // every access is slow here
#else
    std::size_t const large = 1200003;  // threads go round
#endif
    for (std::size_t const size : {std::size_t(0), std::size_t(1), std::size_t(5), std::size_t(1025), large}) {
      for (std::size_t const offset : {0u, 1u}) {
        INFO(size << " elements from " << offset);
        auto const x = random_values<float>(size, 6);
        double const expected = norm_of(x) * norm_of(x);
        std::vector<double> results;
        on_device<TestType>([&](auto& dev) {
          flat<float, std::remove_reference_t<decltype(dev)>> a{dev, x, offset};
          results.push_back(squared_norm(dev, a.data(), static_cast<std::int64_t>(size)));
          // Eight additions a thread, 5 + 7 a block, each off by half a unit of float; and a square.
          CHECK(std::abs(results.back() - expected) <= 21 * 0x1p-24 * expected);
          CHECK(results.back() == results.front());
        });
      }
    }
    on_device<TestType>([](auto& dev) {
      flat<float, std::remove_reference_t<decltype(dev)>> bad{dev, {1, std::numeric_limits<float>::quiet_NaN()}, 0};
      CHECK(std::isnan(squared_norm(dev, bad.data(), 2)));
    });
  }
}

TEMPLATE_LIST_TEST_CASE("recast rounds each element", "", gpu_rows) {
  using T = typename TestType::element;
  if constexpr (is_16_bit<T>) {
    on_device<TestType>([](auto& dev) {
      using device = std::remove_reference_t<decltype(dev)>;
      for (std::size_t const size : {0u, 1u, 4u, 1027u}) {
        for (std::size_t const offset : {0u, 1u}) {
          auto const x = random_values<float>(size, 6);
          flat<float, device> from{dev, x, offset};
          flat<T, device> to{dev, std::vector<T>(size, T(77.f)), offset};
          recast(dev, from.data(), to.data(), static_cast<std::int64_t>(size));
          CHECK(widened_to_float(to.read()) == rounded<T>(x));
        }
      }
    });
  }
}
