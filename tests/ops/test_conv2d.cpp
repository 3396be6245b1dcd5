// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include <unetdn/ops/conv2d.hpp>

#include "catch.hpp"
#include "ops/windows.hpp"
#include "reference/conv2d.hpp"
#include "relative_error.hpp"

using namespace unetdn;
using namespace windows;
using unetdn::test::relative_error;

namespace {

struct conv_case {
  int n, h, w, in, out, kernel, stride;
};

std::vector<conv_case> const cases{
    {1, 1, 1, 1, 1, 1, 1},
    {1, 1, 1, 3, 5, 3, 1},
    {2, 5, 7, 3, 16, 3, 1},
    {1, 6, 13, 16, 33, 3, 1},
    {1, 9, 20, 17, 48, 3, 1},
    {1, 4, 5, 48, 17, 3, 1},
    {1, 3, 131, 5, 3, 3, 1},
    {2, 33, 9, 1, 16, 3, 1},
    {2, 19, 70, 3, 5, 3, 1},  // several blocks each way
    {1, 7, 6, 64, 3, 1, 1},
    {1, 5, 4, 33, 70, 1, 1},
    {1, 8, 9, 5, 7, 5, 1},
    {1, 3, 2, 3, 2, 7, 1},
    {1, 1, 30, 2, 1, 11, 1},
    {1, 8, 8, 16, 16, 3, 2},
    {2, 7, 9, 17, 33, 3, 2},
    {1, 1, 2, 3, 4, 3, 2},
    {1, 6, 5, 5, 18, 1, 2},
    {1, 9, 6, 3, 5, 5, 2},
    {1, 8, 10, 16, 32, 2, 2},
    {2, 7, 9, 17, 5, 2, 2},
    {1, 3, 3, 130, 40, 3, 1},
    {1, 2, 300, 3, 8, 3, 1},
    {3, 2, 2, 40, 130, 3, 1},
    {1, 40, 41, 4, 20, 3, 1},
    {1, 1, 1, 2, 3, 2, 2},
    // Winograd's algorithm: whole and partial tiles, channel tails, few and many tiles.
    {1, 9, 10, 8, 12, 3, 1},
    {1, 6, 7, 12, 8, 3, 1},
    {1, 1, 1, 16, 16, 3, 1},
    {1, 4, 4, 16, 32, 3, 1},
    {1, 8, 9, 17, 31, 3, 1},
    {2, 2, 3, 70, 16, 3, 1},
    {1, 5, 6, 33, 65, 3, 1},
    {1, 1, 9, 16, 100, 3, 1},
    {1, 49, 50, 20, 18, 3, 1},
};

/// One convolution with operands, in type T, and its reference on the very same values.
template <class T> struct problem {
  conv_case c;
  conv2d_shape s;
  reference::conv2d ref;
  shape x_shape, y_shape;
  std::vector<T> x, dy, w, bias;

  explicit problem(conv_case const& c_)
      : c{c_},
        s{c.in, c.out, c.kernel, c.stride},
        ref{c.n, c.h, c.w, c.in, c.out, c.kernel, c.stride},
        x_shape{c.n, c.h, c.w, c.in},
        y_shape{conv2d_output_shape(s, x_shape)},
        x{random_values<T>(ref.x_size(), 1)},
        dy{random_values<T>(ref.y_size(), 2)},
        w{random_values<T>(ref.w_size(), 3)},
        bias{random_values<T>(std::size_t(c.out), 4)} {}

  std::vector<T> packed() const {
    std::vector<T> p(std::size_t(conv2d_weight_size<cpu>(s)), T(7));
    conv2d_pack_weights<cpu, T>(s, std::span<T const>{w}, p);
    return p;
  }
  std::vector<T> unpacked(std::vector<T> const& p) const {
    std::vector<T> canonical(w.size());
    conv2d_unpack_weights<cpu, T>(s, p, std::span<T>{canonical});
    return canonical;
  }
  double forward_terms() const { return double(c.in) * c.kernel * c.kernel; }
  double data_terms() const { return double(c.out) * c.kernel * c.kernel; }
  /// Winograd's algorithm adds some roundings of its own, which few pixels do not drown.
  double weight_terms() const { return double(y_shape.pixels()) + (c.kernel == 3 && c.stride == 1 ? 16 : 0); }
  std::string label() const {
    return text(c.n, "x", c.h, "x", c.w, " ", c.in, "->", c.out, " kernel ", c.kernel, " stride ", c.stride, " ",
                cpu_bodies::name(cpu_bodies::active_isa()));
  }
};

/// Equal as memory: a NaN is then like itself.
template <class T> bool equal_bits(std::vector<T> const& a, std::vector<T> const& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

template <class F> void each_isa_and_case(F f) {
  for (auto const which : instruction_sets()) {
    use_isa const scope{which};
    for (auto const& c : cases) f(c);
  }
}

template <class T> std::vector<T> forward(cpu& dev, problem<T> const& p, std::vector<T> const& x, bool sliced) {
  window<T> const in{p.x_shape, sliced, x};
  window<T> out{p.y_shape, sliced};
  conv2d_forward(dev, p.s, in.view(), p.packed().data(), p.bias.data(), out.view());
  CHECK(out.rim_untouched());
  return out.values();
}
template <class T> std::vector<T> backward_data(cpu& dev, problem<T> const& p, bool sliced) {
  window<T> const dy{p.y_shape, sliced, p.dy};
  window<T> dx{p.x_shape, sliced};
  conv2d_backward_data(dev, p.s, dy.view(), p.packed().data(), dx.view());
  CHECK(dx.rim_untouched());
  return dx.values();
}
template <class T> struct weight_gradients {
  std::vector<T> dw, db;  // packed
};
template <class T> weight_gradients<T> backward_weights(cpu& dev, problem<T> const& p, bool sliced) {
  window<T> const x{p.x_shape, sliced, p.x};
  window<T> const dy{p.y_shape, sliced, p.dy};
  weight_gradients<T> g{std::vector<T>(p.packed().size(), T(9)), std::vector<T>(p.bias.size(), T(9))};
  conv2d_backward_weights<T>(dev, p.s, x.view(), dy.view(), g.dw.data(), g.db.data(), false);
  return g;
}

}  // namespace

TEMPLATE_TEST_CASE("conv2d agrees with its definition", "", float, double) {
  using T = TestType;
  cpu dev{2};
  each_isa_and_case([&](conv_case const& c) {
    problem<T> const p{c};
    INFO(p.label());
    auto const x = widened(p.x), dy = widened(p.dy), w = widened(p.w), bias = widened(p.bias);
    for (bool const sliced : {false, true}) {
      CHECK(distance(forward(dev, p, p.x, sliced), p.ref.forward(x, w, bias)) <= tolerance<T>(p.forward_terms()));
      CHECK(distance(backward_data(dev, p, sliced), p.ref.backward_data(dy, w)) <= tolerance<T>(p.data_terms()));
      auto const g = backward_weights(dev, p, sliced);
      CHECK(distance(p.unpacked(g.dw), p.ref.backward_weights(x, dy)) <= tolerance<T>(p.weight_terms()));
      CHECK(distance(g.db, p.ref.backward_bias(dy)) <= tolerance<T>(p.weight_terms()));
    }
  });
}

TEMPLATE_TEST_CASE("conv2d's pooled window has the bits of max_pool2d", "", float, double) {
  using T = TestType;
  cpu dev{2};
  auto const check = [&](conv_case const& c) {
    problem<T> p{c};
    INFO(p.label());
    p.x[p.x.size() / 2] = std::numeric_limits<T>::quiet_NaN();
    shape const pooled_shape = max_pool2d_output_shape(p.y_shape);
    for (bool const sliced : {false, true}) {
      for (bool const relu : {false, true}) {
        window<T> const x{p.x_shape, sliced, p.x};
        window<T> alone{p.y_shape, sliced}, y{p.y_shape, sliced};
        window<T> maxima{pooled_shape, sliced}, pooled{pooled_shape, sliced};
        auto const packed = p.packed();
        conv2d_forward(dev, p.s, x.view(), packed.data(), p.bias.data(), alone.view(), {relu});
        max_pool2d_forward<T>(dev, alone.view(), maxima.view());
        conv2d_forward(dev, p.s, x.view(), packed.data(), p.bias.data(), y.view(), {relu, pooled.view()});
        CHECK(equal_bits(y.values(), alone.values()));
        CHECK(equal_bits(pooled.values(), maxima.values()));
        CHECK(y.rim_untouched());
        CHECK(pooled.rim_untouched());
      }
    }
  };
  each_isa_and_case(check);
  check({1, 130, 259, 8, 64, 3, 1});  // so large that y is stored past the caches
  window<T> const x{{1, 4, 4, 8}, false};
  window<T> y{{1, 4, 4, 8}, false}, pooled{{1, 2, 3, 8}, false};
  std::vector<T> const w(std::size_t(conv2d_weight_size<cpu>({8, 8, 3})));
  CHECK_THROWS_WITH(conv2d_forward(dev, {8, 8, 3}, x.view(), w.data(), nullptr, y.view(), {false, pooled.view()}),
                    Catch::Contains("pooled"));
}

TEMPLATE_TEST_CASE("conv2d's gradients are its adjoints", "", float, double) {
  using T = TestType;
  cpu dev{2};
  each_isa_and_case([&](conv_case const& c) {
    problem<T> p{c};
    INFO(p.label());
    std::fill(p.bias.begin(), p.bias.end(), T(0));
    double const y_dy = dot(widened(forward(dev, p, p.x, false)), widened(p.dy));
    double const x_dx = dot(widened(p.x), widened(backward_data(dev, p, false)));
    double const w_dw = dot(widened(p.w), widened(p.unpacked(backward_weights(dev, p, false).dw)));
    double const bound = tolerance<T>(p.forward_terms() + p.data_terms() + p.weight_terms()) * double(p.y_shape.size());
    CHECK(std::abs(y_dy - x_dx) <= bound);
    CHECK(std::abs(y_dy - w_dw) <= bound);
  });
}

TEMPLATE_TEST_CASE("conv2d's padding lanes are zero in weights and gradients", "", float, double) {
  using T = TestType;
  cpu dev{2};
  each_isa_and_case([&](conv_case const& c) {
    problem<T> const p{c};
    INFO(p.label());
    // Whatever the canonical weights do not hold is padding.
    auto const padding_sum = [&](std::vector<T> const& packed, std::vector<T> const& canonical) {
      double sum = 0;
      for (T const v : packed) sum += std::abs(double(v));
      for (T const v : canonical) sum -= std::abs(double(v));
      return std::abs(sum);
    };
    CHECK(p.unpacked(p.packed()) == p.w);
    CHECK(padding_sum(p.packed(), p.w) <= 1e-9);
    auto const dw = backward_weights(dev, p, false).dw;
    CHECK(padding_sum(dw, p.unpacked(dw)) <= 1e-7);
  });
}

TEMPLATE_TEST_CASE("conv2d's ReLU, mask, missing bias and accumulation", "", float, double) {
  using T = TestType;
  cpu dev{2};
  each_isa_and_case([&](conv_case const& c) {
    problem<T> const p{c};
    INFO(p.label());
    auto const packed = p.packed();
    window<T> const x{p.x_shape, true, p.x}, dy{p.y_shape, true, p.dy};

    window<T> y{p.y_shape, true};
    conv2d_forward(dev, p.s, x.view(), packed.data(), p.bias.data(), y.view(), {true});
    auto plain = forward(dev, p, p.x, true);
    for (T& v : plain) v = std::max(v, T(0));
    CHECK(y.values() == plain);
    conv2d_forward(dev, p.s, x.view(), packed.data(), nullptr, y.view());
    CHECK(distance(y.values(), p.ref.forward(widened(p.x), widened(p.w), {})) <= tolerance<T>(p.forward_terms()));

    auto masked = backward_data(dev, p, true);
    for (std::size_t i = 0; i < masked.size(); ++i)
      if (!(p.x[i] > 0)) masked[i] = 0;
    window<T> dx{p.x_shape, true};
    conv2d_backward_data(dev, p.s, dy.view(), packed.data(), dx.view(), x.view());
    CHECK(dx.values() == masked);
    window<T> both{p.x_shape, true, p.x};  // the mask is overwritten by the gradient
    conv2d_backward_data(dev, p.s, dy.view(), packed.data(), both.view(), both.view());
    CHECK(both.values() == masked);

    auto const once = backward_weights(dev, p, true);
    auto twice = once;
    conv2d_backward_weights<T>(dev, p.s, x.view(), dy.view(), twice.dw.data(), twice.db.data(), true);
    auto expected = widened(once.dw), expected_b = widened(once.db);
    for (double& v : expected) v *= 2;
    for (double& v : expected_b) v *= 2;
    CHECK(distance(twice.dw, expected) <= 2 * tolerance<T>(p.weight_terms()));
    CHECK(distance(twice.db, expected_b) <= 2 * tolerance<T>(p.weight_terms()));
    auto without_bias = once;
    conv2d_backward_weights<T>(dev, p.s, x.view(), dy.view(), without_bias.dw.data(), nullptr, false);
    CHECK(without_bias.dw == once.dw);
  });
}

TEMPLATE_TEST_CASE("conv2d has equal bits for any number of threads", "", float, double) {
  using T = TestType;
  cpu one{1}, two{2}, three{3};
  each_isa_and_case([&](conv_case const& c) {
    problem<T> const p{c};
    INFO(p.label());
    auto const y = forward(one, p, p.x, false), dx = backward_data(one, p, false);
    auto const g = backward_weights(one, p, false);
    for (cpu* dev : {&two, &three}) {
      CHECK(forward(*dev, p, p.x, false) == y);
      CHECK(backward_data(*dev, p, false) == dx);
      auto const other = backward_weights(*dev, p, false);
      CHECK(other.dw == g.dw);
      CHECK(other.db == g.db);
    }
  });
}

TEMPLATE_TEST_CASE("a tile's outputs have the bits of the whole picture's", "", float, double) {
  using T = TestType;
  cpu dev{2};
  for (auto const which : instruction_sets()) {
    use_isa const scope{which};
    problem<T> const p{{2, 21, 37, 35, 50, 3, 1}};
    window<T> const x{p.x_shape, false, p.x};
    window<T> y{p.y_shape, false};
    auto const packed = p.packed();
    conv2d_forward(dev, p.s, x.view(), packed.data(), p.bias.data(), y.view());
    // Winograd's algorithm computes 4 x 4 outputs together: tiles begin there, and agree where all of those do.
    shape const tile{1, 12, 16, 50};
    window<T> part{tile, false};
    conv2d_forward(dev, p.s, x.view().images(1, 1).crop(4, 8, 12, 16), packed.data(), p.bias.data(), part.view());
    auto const inner = [](view<T> v) {  // without the rim, which saw zeros where the whole picture has neighbours
      std::vector<T> all;
      for (int i = 0; i < v.h; ++i)
        for (int j = 0; j < v.w; ++j) all.insert(all.end(), v.pixel(0, i, j), v.pixel(0, i, j) + v.c);
      return all;
    };
    CHECK(inner(part.view().crop(4, 4, 4, 8)) == inner(y.view().images(1, 1).crop(8, 12, 4, 8)));
  }
}

namespace {

/// Computes all convolutions directly until the end of the scope.
class use_direct {
 public:
  use_direct() { cpu_bodies::use(cpu_bodies::convolution_algorithm::direct); }
  ~use_direct() { cpu_bodies::use(before_); }
  use_direct(use_direct const&) = delete;
  use_direct& operator=(use_direct const&) = delete;

 private:
  cpu_bodies::convolution_algorithm before_ = cpu_bodies::active_algorithm();
};

}  // namespace

TEST_CASE("Winograd's algorithm has equal bits in all orders of its loops") {
  using namespace cpu_bodies;
  cpu dev{2};
  for (auto const which : instruction_sets()) {
    use_isa const scope{which};
    for (conv_case const& c : {conv_case{2, 11, 14, 35, 50, 3, 1}, {1, 8, 5, 130, 40, 3, 1}, {1, 1, 1, 16, 16, 3, 1}}) {
      problem<float> const p{c};
      INFO(p.label());
      auto const packed = p.packed();
      packed_weights const layout{c.in, c.out, 9};
      window<float> const x{p.x_shape, true, p.x}, dy{p.y_shape, true, p.dy};
      std::vector<std::vector<float>> y, dx;
      for (auto const& [share_weights, by_points] : {std::pair{false, false}, {true, false}, {true, true}}) {
        window<float> out{p.y_shape, true}, gradient{p.x_shape, true, p.x};
        auto forward_job =
            winograd_forward_job<float>(2, layout, x.view(), packed.data(), p.bias.data(), true, out.view());
        auto data_job =
            winograd_backward_data_job<float>(2, layout, dy.view(), packed.data(), gradient.view(), gradient.view());
        forward_job.cut(share_weights, by_points, 2);
        data_job.cut(share_weights, by_points, 2);
        run(dev, forward_job);
        run(dev, data_job);
        CHECK(out.rim_untouched());
        CHECK(gradient.rim_untouched());
        y.push_back(out.values());
        dx.push_back(gradient.values());
      }
      for (std::size_t order : {1, 2}) {
        CHECK(y[0] == y[order]);
        CHECK(dx[0] == dx[order]);
      }
      CHECK(std::count(y[0].begin(), y[0].end(), 0.0f) < std::ptrdiff_t(y[0].size()));
    }
  }
}

TEST_CASE("Winograd's few tiles are not cut up for many threads, each of which would read all weights") {
  using namespace cpu_bodies;
  problem<float> const p{{1, 8, 8, 128, 64, 3, 1}};  // 4 tiles, fewer panels than threads
  auto const packed = p.packed();
  window<float> const x{p.x_shape, false, p.x};
  window<float> y{p.y_shape, false};
  auto const shares_weights = [&](int workers) {
    auto const job = winograd_forward_job<float>(workers, {p.s.in, p.s.out, 9}, x.view(), packed.data(), p.bias.data(),
                                                 true, y.view());
    CHECK((workers == 1 || job.panels().panels() < workers));
    return job.shares_weights;
  };
  CHECK(!shares_weights(1));
  CHECK(!shares_weights(64));
}

TEST_CASE("a picture's size does not change the bits of Winograd's algorithm") {
  cpu dev{2};
  problem<float> const large{{1, 132, 260, 8, 64, 3, 1}};
  auto const packed = large.packed();
  int const rows = 16, columns = 22;
  for (auto const which : instruction_sets()) {
    use_isa const scope{which};
    window<float> const x{large.x_shape, false, large.x};
    window<float> whole{large.y_shape, false}, part{{1, rows, columns, 64}, false};
    auto const job = cpu_bodies::winograd_forward_job<float>(2, {large.s.in, large.s.out, 9}, x.view(), packed.data(),
                                                             large.bias.data(), true, whole.view());
    CHECK(job.past_caches);
    conv2d_forward(dev, large.s, x.view(), packed.data(), large.bias.data(), whole.view(), {true});
    conv2d_forward(dev, large.s, x.view().crop(0, 0, rows, columns), packed.data(), large.bias.data(), part.view(),
                   {true});
    // The part's last tiles see zeros where the picture goes on.
    std::int64_t different = 0;
    for (int r = 0; r < rows - 4; ++r)
      for (int c = 0; c < columns - 4; ++c)
        for (int k = 0; k < 64; ++k) different += whole.view().pixel(0, r, c)[k] != part.view().pixel(0, r, c)[k];
    INFO(cpu_bodies::name(which));
    CHECK(different == 0);
  }
}

TEST_CASE("Winograd's weight gradient is right by several chunks and by several rounds") {
  using namespace cpu_bodies;
  cpu dev{2};
  problem<float> const p{{2, 13, 21, 70, 40, 3, 1}};  // 48 tiles
  auto const x = widened(p.x), dy = widened(p.dy);
  auto const dw = p.ref.backward_weights(x, dy), db = p.ref.backward_bias(dy);
  window<float> const in{p.x_shape, true, p.x}, out{p.y_shape, true, p.dy};
  for (auto const which : instruction_sets()) {
    use_isa const scope{which};
    for (bool const by_chunks : {true, false}) {
      INFO(p.label() << (by_chunks ? " by chunks" : " by rounds"));
      weight_gradients<float> g{std::vector<float>(p.packed().size(), 9.f), std::vector<float>(p.bias.size(), 9.f)};
      auto job = winograd_backward_weights_job<float>({p.c.in, p.c.out, 9}, in.view(), out.view(), g.dw.data(),
                                                      g.db.data(), false);
      job.cut(by_chunks, 9);
      CHECK((by_chunks ? job.chunks : job.rounds.count) > 1);
      run(dev, job);
      CHECK(distance(p.unpacked(g.dw), dw) <= tolerance<float>(p.weight_terms()));
      CHECK(distance(g.db, db) <= tolerance<float>(p.weight_terms()));
    }
  }
}

TEST_CASE("Winograd's algorithm is as exact as float layers need") {
  cpu dev{2};
  for (conv_case const& c :
       {conv_case{1, 6, 5, 1024, 48, 3, 1}, {1, 6, 5, 48, 1024, 3, 1}, {2, 33, 30, 32, 32, 3, 1}}) {
    problem<float> const p{c};
    auto const x = widened(p.x), dy = widened(p.dy), w = widened(p.w), bias = widened(p.bias);
    auto const y = p.ref.forward(x, w, bias), dx = p.ref.backward_data(dy, w), dw = p.ref.backward_weights(x, dy);
    for (auto const which : instruction_sets()) {
      use_isa const scope{which};
      INFO(p.label());
      CHECK(relative_error(forward(dev, p, p.x, false), y) <= 5e-6);
      CHECK(relative_error(backward_data(dev, p, false), dx) <= 5e-6);
      CHECK(relative_error(p.unpacked(backward_weights(dev, p, false).dw), dw) <= 5e-6);
    }
  }
}

TEST_CASE("Winograd's algorithm can be switched off") {
  cpu dev{2};
  problem<float> const p{{1, 9, 9, 32, 32, 3, 1}};
  auto const y = p.ref.forward(widened(p.x), widened(p.w), widened(p.bias));
  auto const automatic = forward(dev, p, p.x, false);
  use_direct const scope;
  auto const direct = forward(dev, p, p.x, false);
  CHECK(direct != automatic);
  CHECK(relative_error(direct, y) <= 1e-6);
  using namespace cpu_bodies;
  CHECK(algorithm_from_text(nullptr) == convolution_algorithm::automatic);
  CHECK(algorithm_from_text("automatic") == convolution_algorithm::automatic);
  CHECK(algorithm_from_text("direct") == convolution_algorithm::direct);
  CHECK_THROWS_AS(algorithm_from_text("winograd"), argument_error);
}

TEST_CASE("conv2d's data gradient agrees with finite differences of ReLU(conv)") {
  cpu dev{2};
  problem<double> const p{{1, 5, 6, 3, 4, 3, 1}};
  auto const packed = p.packed();
  auto const loss = [&](std::vector<double> const& x) {
    window<double> const in{p.x_shape, false, x};
    window<double> y{p.y_shape, false};
    conv2d_forward(dev, p.s, in.view(), packed.data(), p.bias.data(), y.view(), {true});
    return dot(y.values(), p.dy);
  };
  window<double> const x{p.x_shape, false, p.x};
  window<double> y{p.y_shape, false}, dx{p.x_shape, false};
  conv2d_forward(dev, p.s, x.view(), packed.data(), p.bias.data(), y.view(), {true});
  auto dy = p.dy;
  auto const activation = y.values();
  for (std::size_t i = 0; i < dy.size(); ++i) dy[i] = activation[i] > 0 ? dy[i] : 0;
  window<double> const masked{p.y_shape, false, dy};
  conv2d_backward_data(dev, p.s, masked.view(), packed.data(), dx.view());

  auto const direction = random_values(p.x.size(), 8);
  double const step = 1e-6;
  auto ahead = p.x, behind = p.x;
  for (std::size_t i = 0; i < ahead.size(); ++i) {
    ahead[i] += step * direction[i];
    behind[i] -= step * direction[i];
  }
  CHECK((loss(ahead) - loss(behind)) / (2 * step) == Approx(dot(dx.values(), direction)).epsilon(1e-6));
}

TEST_CASE("conv2d's scratch is what was announced") {
  each_isa_and_case([&](conv_case const& c) {
    problem<float> const p{c};
    INFO(p.label());
    cpu inference{2}, training{2};
    forward(inference, p, p.x, false);
    CHECK(inference.scratch_bytes() <= conv2d_scratch_bytes<float>(inference, p.s, p.x_shape, false));
    forward(training, p, p.x, false);
    backward_data(training, p, false);
    backward_weights(training, p, false);
    CHECK(training.scratch_bytes() <= conv2d_scratch_bytes<float>(training, p.s, p.x_shape, true));
  });
}

TEST_CASE("conv2d takes pictures without pixels") {
  cpu dev{2};
  conv2d_shape const s{3, 4, 3};
  std::vector<float> w(std::size_t(conv2d_weight_size<cpu>(s)), 1.0f), dw(w.size(), 5.0f), db(4, 5.0f);
  view<float> const x{w.data(), 0, 5, 5, 3}, y{w.data(), 0, 5, 5, 4};
  conv2d_forward(dev, s, x, w.data(), nullptr, y);
  conv2d_backward_data(dev, s, y, w.data(), x);
  conv2d_backward_weights<float>(dev, s, x, y, dw.data(), db.data(), false);
  CHECK(std::count(dw.begin(), dw.end(), 0.0f) == std::ptrdiff_t(dw.size()));
  CHECK(std::count(db.begin(), db.end(), 0.0f) == 4);
}

TEST_CASE("conv2d refuses what does not fit") {
  cpu dev{1};
  std::vector<float> memory(1000);
  view<float> const x{memory.data(), 1, 4, 4, 3}, y{memory.data() + 100, 1, 4, 4, 5};
  float const* const w = memory.data();
  CHECK_THROWS_AS(conv2d_output_shape({3, 5, 4}, {1, 4, 4, 3}), argument_error);
  CHECK_THROWS_AS(conv2d_output_shape({3, 5, 13}, {1, 4, 4, 3}), argument_error);
  CHECK_THROWS_AS(conv2d_output_shape({3, 5, 2, 1}, {1, 4, 4, 3}), argument_error);
  CHECK_THROWS_AS(conv2d_output_shape({3, 5, 3, 3}, {1, 4, 4, 3}), argument_error);
  CHECK_THROWS_AS(conv2d_output_shape({0, 5, 3}, {1, 4, 4, 0}), argument_error);
  CHECK_THROWS_AS(conv2d_output_shape({3, 5, 3}, {1, 4, 4, 4}), argument_error);
  CHECK_THROWS_AS(conv2d_forward(dev, {3, 5, 3, 2}, x, w, nullptr, y), argument_error);
  CHECK_THROWS_AS(conv2d_forward(dev, {3, 5, 3}, x, w, nullptr, y.channels(0, 4)), argument_error);
  CHECK_THROWS_AS(conv2d_backward_data(dev, {3, 5, 3}, y, w, x.crop(0, 0, 3, 4)), argument_error);
  CHECK_THROWS_AS(conv2d_backward_data(dev, {3, 5, 3}, y, w, x, x.channels(0, 2)), argument_error);
  CHECK_THROWS_AS(conv2d_backward_weights<float>(dev, {3, 5, 3}, x, y.crop(0, 0, 4, 3), memory.data(), nullptr, false),
                  argument_error);
  std::vector<float> packed(std::size_t(conv2d_weight_size<cpu>({3, 5, 3})));
  CHECK_THROWS_AS((conv2d_pack_weights<cpu, float>({3, 5, 3}, std::span<float const>{memory}, packed)), argument_error);
}

TEST_CASE("UNETDN_ISA names an instruction set that the processor has") {
  using namespace cpu_bodies;
  CHECK(isa_from_text(nullptr) == best_isa());
  CHECK(isa_from_text("") == best_isa());
  CHECK(isa_from_text("portable") == isa::portable);
  CHECK_THROWS_AS(isa_from_text("sse9"), argument_error);
  for (isa const which : {isa::avx2, isa::avx512}) {
    if (supported(which))
      CHECK(isa_from_text(name(which)) == which);
    else
      CHECK_THROWS_AS(isa_from_text(name(which)), argument_error);
  }
}
