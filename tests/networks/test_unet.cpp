// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <thread>
#include <unistd.h>
#include <vector>

#include <unetdn/loss.hpp>
#include <unetdn/ops/adamw.hpp>
#include <unetdn/unet.hpp>

#include "catch.hpp"
#include "golden/formula.hpp"

namespace {

using unetdn::cpu;
using unetdn::session_mode;

template <class T> void fill(unetdn::view<T> to, std::string_view name, float scale = 1) {
  std::uint32_t const stream = golden::stream_of(name);
  std::uint32_t i = 0;
  for (int n = 0; n < to.n; ++n) {
    for (int y = 0; y < to.h; ++y) {
      for (int x = 0; x < to.w; ++x) {
        for (int c = 0; c < to.c; ++c) to.pixel(n, y, x)[c] = T(scale * golden::unit(stream, i++));
      }
    }
  }
}

template <class T> std::vector<T> elements(unetdn::view<T> from) {
  std::vector<T> all;
  for (int n = 0; n < from.n; ++n) {
    for (int y = 0; y < from.h; ++y) {
      for (int x = 0; x < from.w; ++x) all.insert(all.end(), from.pixel(n, y, x), from.pixel(n, y, x) + from.c);
    }
  }
  return all;
}

/// The last convolution of a residual network begins at 0; here it has something to add.
template <class T> void draw_output(cpu& device, unetdn::unet<T, cpu>& net) {
  for (auto const& p : net.parameters()) {
    if (p.name != "output.weight") continue;
    std::vector<T> values(static_cast<std::size_t>(p.canonical_size()));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = T(golden::unit(7, std::uint32_t(i)) - 0.5);
    unetdn::upload(device, p, std::span<T const>(values), net.weights());
  }
}

/// A folder that is gone with the test.
struct temporary_folder {
  std::filesystem::path path = std::filesystem::temp_directory_path() / unetdn::text("unetdn_test_unet_", ::getpid());
  temporary_folder() { std::filesystem::create_directories(path); }
  ~temporary_folder() { std::filesystem::remove_all(path); }
};

unetdn::image noisy_picture(int width, int height, int channels) {
  unetdn::image picture(width, height, channels);
  fill(picture.as_view(), "picture");
  return picture;
}

}  // namespace

TEST_CASE("the classic U-Net has 31,031,875 weights at three channels") {
  unetdn::unet_layers<float, cpu> const classic{unetdn::unet_config{}};
  CHECK(classic.parameters.weight_count() == 31031875);
  unetdn::unet_layers<float, cpu> const grey{unetdn::unet_config{1, 1}};
  CHECK(grey.parameters.weight_count() == 31031875 - 2 * 9 * 64 - 2 * 65);
  CHECK(unetdn::unet_flops({}, 1, 256, 256) / 1e9 == Approx(96.35).margin(0.005));
}

TEST_CASE("a configuration that makes no network is refused") {
  auto const refused = [](unetdn::unet_config c) { CHECK_THROWS_AS(c.validate(), unetdn::argument_error); };
  refused({0, 3});
  refused({3, 0});
  refused({3, 3, 12});
  refused({3, 3, 0});
  refused({3, 3, 16, 0});
  refused({3, 3, 16, 9});
  unetdn::unet_config residual_sigmoid{3, 3, 16, 2};
  residual_sigmoid.residual = true;
  refused(residual_sigmoid);
  CHECK_NOTHROW(unetdn::unet_config{}.validate());
}

TEST_CASE("the U-Net's gradients are the slopes of its loss") {
  unetdn::unet_config config{2, 2, 8, 2};
  SECTION("sigmoid") {}
  SECTION("linear, no bias") {
    config.output = unetdn::unet_output::linear;
    config.bias = false;
  }
  SECTION("residual with a noise map") {
    config.output = unetdn::unet_output::linear;
    config.residual = true;
    config.noise_map = true;
  }
  cpu device(2);
  unetdn::unet<double, cpu> net(device, config);
  net.initialise(device, 3);
  draw_output(device, net);
  int const n = 2, h = 9, w = 13;  // padded to 12 x 16
  unetdn::unet_session<double, cpu> session(device, config, n, h, w, session_mode::training);
  unetdn::tensor<double, cpu> target(device, {n, h, w, 2});
  fill(target.view(), "target");
  auto const loss = [&] {
    fill(session.input(), "input");
    if (config.noise_map) fill(session.noise_map(), "sigma");
    session.forward(net);
    return unetdn::loss_and_gradient<double>(device, unetdn::loss_kind::mse, session.output(), target.view(),
                                             session.output_gradient());
  };
  loss();
  session.backward(net);
  std::vector<double> const gradients(session.gradients(), session.gradients() + net.parameters().size());
  for (auto const& p : net.parameters()) {
    CAPTURE(p.name);
    // A step along a direction of this parameter alone; padding lanes stay zero, as in training.
    std::vector<double> canonical(static_cast<std::size_t>(p.canonical_size()));
    std::uint32_t const stream = golden::stream_of(p.name);
    for (std::size_t i = 0; i < canonical.size(); ++i) canonical[i] = golden::unit(stream, std::uint32_t(i)) - 0.5;
    std::vector<double> direction(gradients.size());
    unetdn::upload(device, p, std::span<double const>(canonical), direction.data());
    double slope = 0;
    for (std::size_t i = 0; i < direction.size(); ++i) slope += direction[i] * gradients[i];
    double const step = 1e-6;
    auto const shifted = [&](double by) {
      for (std::size_t i = 0; i < direction.size(); ++i) net.weights()[i] += by * direction[i];
      double const value = loss();
      for (std::size_t i = 0; i < direction.size(); ++i) net.weights()[i] -= by * direction[i];
      return value;
    };
    double const measured = (shifted(step) - shifted(-step)) / (2 * step);
    CHECK(slope == Approx(measured).epsilon(1e-5).margin(1e-9));
  }
}

TEST_CASE("a residual network begins as the identity, another one does not") {
  cpu device(1);
  for (bool const residual : {true, false}) {
    unetdn::unet_config config{3, 3, 8, 1};
    config.output = unetdn::unet_output::linear;
    config.residual = residual;
    unetdn::unet<float, cpu> net(device, config);
    net.initialise(device, 1);
    unetdn::unet_session<float, cpu> session(device, config, 1, 6, 10, session_mode::inference);
    fill(session.input(), "input");
    session.forward(net);
    CHECK((elements<float>(session.output()) == elements<float>(session.input())) == residual);
  }
}

TEST_CASE("an observer hears of every layer and pass, with all operations of the network") {
  cpu device(1);
  unetdn::unet_config const config{3, 3, 8, 2};
  unetdn::unet<float, cpu> net(device, config);
  net.initialise(device, 1);
  int const n = 2, h = 9, w = 13;
  unetdn::unet_session<float, cpu> session(device, config, n, h, w, session_mode::training);
  std::map<std::string, double> flops;
  std::set<std::pair<std::string, std::string>> heard;
  int events = 0;
  session.observe([&](unetdn::layer_event const& e) {
    flops[e.pass] += e.flops;
    heard.emplace(e.layer, e.pass);
    ++events;
  });
  fill(session.input(), "input");
  session.forward(net);
  fill(session.output_gradient(), "gradient");
  session.backward(net);
  double const all = unetdn::unet_flops(config, n, h, w);
  double const first = unetdn::conv2d_cost({3, 8, 3}, {n, 12, 16, 3}).flops;  // the picture itself has no gradient
  CHECK(flops["forward"] == Approx(all));
  CHECK(flops["forward again"] == Approx(first));
  double const last = unetdn::conv2d_cost({8, 3, 1}, {n, 12, 16, 8}).flops;  // its gradients are one pass
  CHECK(flops["weight gradient"] == Approx(all - last));
  CHECK(flops["data gradient"] == Approx(all - first - last));
  CHECK(flops["both gradients"] == Approx(2 * last));
  // 13 convolutions, the first one again; backward has 2 poolings, with their codes, and the output's function beside
  // them. Gradients of the first layer's input are not computed.
  CHECK(heard.size() == 13 + 1 + 12 + 11 + 1 + 2 + 2 + 1);
  CHECK(events == static_cast<int>(heard.size()));
  CHECK(heard.contains({"decoder.1.up", "weight gradient"}));
  session.observe({});
  session.forward(net);
  CHECK(events == static_cast<int>(heard.size()));
}

TEST_CASE("gradients lie where activations were, and each pass finds its own") {
  unetdn::unet_config const config{3, 3, 8, 2};
  cpu device(1);
  unetdn::unet<double, cpu> net(device, config);
  net.initialise(device, 1);
  unetdn::unet_session<double, cpu> session(device, config, 4, 32, 32, session_mode::training);
  auto const pass = [&] {
    fill(session.input(), "input");
    session.forward(net);
    fill(session.output_gradient(), "gradient");
    session.backward(net);
    return std::vector<double>(session.gradients(), session.gradients() + net.parameters().size());
  };
  std::vector<double> const first = pass();
  CHECK(pass() == first);
  auto const& items = session.plan().items();
  auto const gradients = std::find_if(items.begin(), items.end(), [](auto const& it) { return it.parts.size() > 1; });
  REQUIRE(gradients != items.end());
  CHECK(gradients->bytes == first.size() * sizeof(double));
  // Padding, where activations left numbers, is zero, or updates would carry it into the weights.
  std::vector<double> without_padding(first.size());
  for (auto const& p : net.parameters()) {
    std::vector<double> const canonical = unetdn::download<double>(device, p, session.gradients());
    unetdn::upload(device, p, std::span<double const>(canonical), without_padding.data());
  }
  CHECK(first == without_padding);
  unetdn::unet_session<double, cpu> const inference(device, config, 1, 8, 8, session_mode::inference);
  CHECK_THROWS_AS(inference.gradients(), unetdn::argument_error);
}

TEST_CASE("the U-Net learns one patch by heart") {
  unetdn::unet_config const config{3, 3, 8, 2};
  cpu device(2);
  unetdn::unet<float, cpu> net(device, config);
  net.initialise(device, 1);
  unetdn::unet_session<float, cpu> session(device, config, 1, 16, 16, session_mode::training);
  unetdn::tensor<float, cpu> target(device, {1, 16, 16, 3});
  for (int y = 0; y < 16; ++y) {
    for (int x = 0; x < 16; ++x) {
      for (int c = 0; c < 3; ++c) target.view().pixel(0, y, x)[c] = float(x * (c + 1) + y) / 63;
    }
  }
  std::int64_t const size = net.parameters().size();
  std::vector<float> m(static_cast<std::size_t>(size)), v(m.size());
  double first = 0, last = 0;
  for (int step = 1; step <= 400; ++step) {
    fill(session.input(), "input");
    session.forward(net);
    last = unetdn::loss_and_gradient<float>(device, unetdn::loss_kind::mse, session.output(), target.view(),
                                            session.output_gradient());
    if (step == 1) first = last;
    session.backward(net);
    unetdn::adamw_step<float>(device, {}, {net.weights(), session.gradients(), m.data(), v.data(), nullptr, size}, step,
                              3e-3, 1, 0);
  }
  CAPTURE(first, last);
  CHECK(last < first / 20);
}

TEST_CASE("results have equal bits for any number of threads") {
  unetdn::unet_config const config{3, 3, 16, 2};
  auto const results = [&](int threads) {
    cpu device(threads);
    unetdn::unet<float, cpu> net(device, config);
    net.initialise(device, 5);
    unetdn::unet_session<float, cpu> session(device, config, 2, 37, 22, session_mode::training);
    fill(session.input(), "input");
    session.forward(net);
    std::vector<float> all = elements(session.output());
    fill(session.output_gradient(), "gradient");
    session.backward(net);
    all.insert(all.end(), session.gradients(), session.gradients() + net.parameters().size());
    return all;
  };
  std::vector<float> const one = results(1);
  CHECK(one == results(2));
  CHECK(one == results(3));
}

TEST_CASE("a session's memory is planned: buffers that live at the same time share nothing") {
  cpu device(1);
  for (session_mode mode : {session_mode::inference, session_mode::training}) {
    unetdn::unet_session<float, cpu> const session(device, unetdn::unet_config{3, 3, 16, 3}, 1, 40, 40, mode);
    auto const& items = session.plan().items();
    for (std::size_t a = 0; a < items.size(); ++a) {
      for (std::size_t b = a + 1; b < items.size(); ++b) {
        for (auto const& p : items[a].parts) {
          for (auto const& q : items[b].parts) {
            bool const apart_in_time = p.last < q.first || q.last < p.first;
            bool const apart_in_space = items[a].offset + p.end <= items[b].offset + q.begin ||
                                        items[b].offset + q.end <= items[a].offset + p.begin;
            REQUIRE((apart_in_time || apart_in_space));
          }
        }
      }
    }
    CHECK(session.plan().total() < session.plan().sum(unetdn::memory_kind::activations));
    CHECK(device.scratch_bytes() >= session.scratch_bytes());
  }
}

TEST_CASE("a session reads nothing that its plan does not hold alive") {
  unetdn::unet_config config{3, 3, 8, 3};
  SECTION("sigmoid") {}
  SECTION("one level, residual with a noise map") {
    config.levels = 1;
    config.output = unetdn::unet_output::linear;
    config.residual = config.noise_map = true;
  }
  cpu device(2);
  unetdn::unet<float, cpu> net(device, config);
  net.initialise(device, 3);
  auto const run = [&](bool spoil) {
    unetdn::unet_session<float, cpu> session(device, config, 2, 21, 18, session_mode::training);
    auto const& items = session.plan().items();
    auto const gradients = std::find_if(items.begin(), items.end(), [](auto const& it) { return it.parts.size() > 1; });
    auto* const arena = reinterpret_cast<unsigned char*>(session.gradients()) - gradients->offset;
    // Behind each step, bytes that are not alive on both sides of its end become NaN.
    int step = -1;
    auto const end_step = [&] {
      std::vector<unsigned char> kept(session.plan().total(), 0xff);
      for (auto const& it : items) {
        for (auto const& p : it.parts) {
          if (p.first <= step && step < p.last)
            std::copy(arena + it.offset + p.begin, arena + it.offset + p.end, kept.data() + it.offset + p.begin);
        }
      }
      if (spoil) std::copy(kept.begin(), kept.end(), arena);
      ++step;
    };
    session.observe([&](unetdn::layer_event const& e) {
      std::string const pass = e.pass;
      bool const beside = e.layer.ends_with(".pool") || e.layer == "output.function";
      if (pass == "forward" || pass == "both gradients" || (pass == "data gradient" && !beside)) end_step();
    });
    end_step();
    fill(session.input(), "input");
    if (config.noise_map) fill(session.noise_map(), "sigma");
    session.forward(net);
    std::vector<float> all = elements(session.output());
    fill(session.output_gradient(), "gradient");
    session.backward(net);
    end_step();
    CHECK(step == gradients->last);
    if (spoil) fill(session.input(), "the next input");
    if (spoil) fill(session.output_gradient(), "the next gradient");
    all.insert(all.end(), session.gradients(), session.gradients() + net.parameters().size());
    return all;
  };
  CHECK(run(true) == run(false));
}

TEST_CASE("a training step needs little more than what must be alive when forward ends") {
  cpu device(1);
  for (int const base : {16, 32, 64}) {
    unetdn::unet_config const config{3, 3, base};
    // Of each level: both halves of a skip connection, the decoder's two outputs, and of all but the first the
    // encoder's first one. No gradients of parameters, which the classic network has 118 MiB of.
    double elements = 0;
    for (int l = 0; l < config.levels; ++l)
      elements += 16.0 * (256 >> l) * (256 >> l) * config.width(l) * (l > 0 ? 5 : 4);
    elements += 2 * 16.0 * 16 * 16 * config.width(config.levels);  // the bottleneck's two
    elements += 16.0 * 256 * 256 * 9;                              // pictures in, out, and the gradient of those
    auto const need = unetdn::unet_session<float, cpu>::need(device, config, 16, 256, 256, session_mode::training);
    CHECK(double(need.activations) >= elements * sizeof(float));
    CHECK(double(need.activations) <= elements * sizeof(float) * 1.02);
  }
}

TEST_CASE("inference gives the bits of training's forward pass, though its buffers share their places") {
  unetdn::unet_config config{3, 3, 8, 3};
  SECTION("sigmoid") {}
  SECTION("residual, which needs the input to the end") {
    config.output = unetdn::unet_output::linear;
    config.residual = true;
  }
  cpu device(2);
  unetdn::unet<float, cpu> net(device, config);
  net.initialise(device, 2);
  draw_output(device, net);
  auto const output = [&](session_mode mode) {
    unetdn::unet_session<float, cpu> session(device, config, 1, 19, 33, mode);
    // What the memory held before is nobody's: here, NaN.
    auto const& input = session.plan().items().front();
    REQUIRE(input.name == "input");
    std::memset(reinterpret_cast<unsigned char*>(session.input().data) - input.offset, 0xff, session.plan().total());
    fill(session.input(), "input");
    session.forward(net);
    return elements(session.output());
  };
  CHECK(output(session_mode::inference) == output(session_mode::training));
}

TEST_CASE("several threads denoise with one network") {
  cpu device(1);
  auto net = std::make_shared<unetdn::unet<float, cpu>>(device, unetdn::unet_config{3, 3, 8, 2});
  net->initialise(device, 2);
  unetdn::image const picture = noisy_picture(31, 22, 3);
  unetdn::image const expected = unetdn::denoiser<>(net, cpu(1))(picture);
  std::vector<unetdn::image> results(3);
  std::vector<std::thread> threads;
  for (auto& result : results) {
    threads.emplace_back([&] { result = unetdn::denoiser<>(net, cpu(2))(picture); });
  }
  for (auto& thread : threads) thread.join();
  for (auto const& result : results) CHECK(result.pixels == expected.pixels);
}

TEST_CASE("a denoiser takes pictures of any size and kind") {
  cpu device(1);
  auto color = std::make_shared<unetdn::unet<float, cpu>>(device, unetdn::unet_config{3, 3, 8, 3});
  color->initialise(device, 2);
  auto grey = std::make_shared<unetdn::unet<float, cpu>>(device, unetdn::unet_config{1, 1, 8, 3});
  grey->initialise(device, 2);
  for (auto const& net : {color, grey}) {
    unetdn::denoiser<> denoise(net);
    for (int channels = 1; channels <= 4; ++channels) {
      for (auto [width, height] : {std::pair{1, 1}, {1, 9}, {7, 2}, {17, 8}}) {
        unetdn::image const picture = noisy_picture(width, height, channels);
        unetdn::image const result = denoise(picture);
        REQUIRE(result.width == width);
        REQUIRE(result.height == height);
        REQUIRE(result.channels == channels);
        for (float v : result.pixels) REQUIRE(std::isfinite(v));
        if (!picture.has_alpha()) continue;
        for (int y = 0; y < height; ++y) {
          for (int x = 0; x < width; ++x) {
            int const alpha = channels - 1;
            REQUIRE(result.as_view().pixel(0, y, x)[alpha] == picture.as_view().pixel(0, y, x)[alpha]);
          }
        }
      }
    }
    CHECK_THROWS_AS(denoise(noisy_picture(4, 4, 3), 25.f), unetdn::argument_error);  // takes no noise level
  }
}

TEST_CASE("tiles give the whole picture: to the bit by direct convolution, up to rounding by Winograd's") {
  using unetdn::cpu_bodies::convolution_algorithm;
  int const levels = GENERATE(1, 2, 3);
  bool const direct = GENERATE(true, false);
  CAPTURE(levels, direct);
  cpu device(2);
  auto net = std::make_shared<unetdn::unet<float, cpu>>(device, unetdn::unet_config{1, 1, 8, levels});
  net->initialise(device, 4);
  unetdn::denoiser<> tiled(net);
  int const side = 4 * tiled.reach();
  unetdn::image const picture = noisy_picture(side + side / 3 + 3, side + 1, 1);
  auto const before = unetdn::cpu_bodies::active_algorithm();
  unetdn::cpu_bodies::use(direct ? convolution_algorithm::direct : convolution_algorithm::automatic);
  unetdn::image const whole = unetdn::denoiser<>(net)(picture);
  tiled.limit_tile_side(side);
  unetdn::image const from_tiles = tiled(picture);
  unetdn::cpu_bodies::use(before);
  float largest = 0;
  for (std::size_t i = 0; i < whole.pixels.size(); ++i) {
    largest = std::max(largest, std::abs(from_tiles.pixels[i] - whole.pixels[i]));
  }
  CHECK(largest <= (direct ? 0.f : 1e-5f));
}

TEST_CASE("weights survive a file to the bit") {
  temporary_folder const folder;
  cpu device(1);
  unetdn::unet_config config{3, 3, 8, 2};
  config.output = unetdn::unet_output::linear;
  unetdn::unet<float, cpu> net(device, config);
  net.initialise(device, 6);
  auto const path = folder.path / "weights.safetensors";
  net.save(device, path, {{"note", "from a test"}});
  auto const again = unetdn::unet<float, cpu>::load(device, path);
  CHECK(again.config() == config);
  CHECK(std::equal(net.weights(), net.weights() + net.parameters().size(), again.weights()));
  CHECK(unetdn::safetensors_file(path).metadata("note") == "from a test");
}

TEST_CASE("weight files that do not fit are refused by name") {
  temporary_folder const folder;
  cpu device(1);
  auto const path = folder.path / "weights.safetensors";
  auto const refused = [&](std::string const& part) {
    try {
      unetdn::unet<float, cpu>::load(device, path);
      FAIL("was accepted");
    } catch (unetdn::file_error const& e) {
      CAPTURE(e.what());
      CHECK(std::string(e.what()).find(path.string()) == 0);
      CHECK(std::string(e.what()).find(part) != std::string::npos);
    }
  };
  unetdn::unet_config const config{1, 1, 8, 1};
  unetdn::unet<float, cpu> const net(device, config);
  auto const write = [&](std::map<std::string, std::string> const& changes, bool drop_last, bool extra,
                         bool misshapen) {
    unetdn::safetensors_writer file;
    auto metadata = config.to_metadata();
    for (auto const& [key, value] : changes) metadata[key] = value;
    for (auto const& [key, value] : metadata) file.metadata(key, value);
    int number = 0;
    for (auto const& p : net.parameters()) {
      if (++number == net.parameters().count() && drop_last) continue;
      std::vector<float> const values(static_cast<std::size_t>(p.canonical_size()));
      auto dimensions = p.dimensions();
      if (misshapen && number == 1) dimensions = {static_cast<std::int64_t>(values.size())};
      file.add(p.name, dimensions, std::span<float const>(values));
    }
    std::vector<float> const one(1);
    if (extra) file.add("something.else", {1}, std::span<float const>(one));
    file.write(path);
  };
  refused("");  // no such file
  write({{"unetdn.network", "dncnn"}}, false, false, false);
  refused("dncnn");
  write({{"unetdn.base", "9999999999"}}, false, false, false);
  refused("unetdn.base");
  write({{"unetdn.base", "12"}}, false, false, false);
  refused("multiple of 8");
  write({{"unetdn.base", "16"}}, false, false, false);
  refused("encoder.0.conv1.weight");
  write({{"unetdn.base", "1024"}, {"unetdn.levels", "6"}}, false, false, false);
  refused("tensors");  // and not for want of 400 GB
  write({{"unetdn.output", "tanh"}}, false, false, false);
  refused("tanh");
  write({}, true, false, false);
  refused("tensors");
  write({}, false, true, false);
  refused("tensors");
  write({}, false, false, true);
  refused("encoder.0.conv1.weight");
  write({}, false, false, false);
  CHECK_NOTHROW(unetdn::unet<float, cpu>::load(device, path));
  for (float const bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    unetdn::unet<float, cpu> broken(device, config);
    broken.weights()[0] = bad;
    broken.save(device, path);
    refused("no finite number");
  }
}
