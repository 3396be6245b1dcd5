// SPDX-License-Identifier: Apache-2.0
// The U-Net on the devices that run kernels, against the cpu in float: forward, backward, pictures of any size, tiles.
// And a step of training, for the sanitizers: test_trainer_devices compares many.
#include <cmath>
#include <filesystem>
#include <limits>
#include <memory>
#include <string>
#include <type_traits>
#include <unistd.h>
#include <vector>

#include <unetdn/generated.hpp>
#include <unetdn/train/forward_with_loss.hpp>
#include <unetdn/train/trainer.hpp>
#include <unetdn/unet.hpp>

#include "catch.hpp"
#include "devices/on_devices.hpp"
#include "golden/formula.hpp"
#include "relative_error.hpp"
#include "thrown.hpp"

using namespace unetdn;

namespace {

using test::gpu_rows;
using test::on_one_device;
using test::relative_error;

/// Half a unit in the last place of 1.
template <class T> double epsilon() {
  if constexpr (std::is_same_v<T, bf16>) return 0x1p-9;
  if constexpr (std::is_same_v<T, fp16>) return 0x1p-12;
  return 0x1p-24;
}

std::vector<float> numbers(std::int64_t count, std::string_view name, float scale = 1, float shift = 0) {
  std::vector<float> v(static_cast<std::size_t>(count));
  std::uint32_t const stream = golden::stream_of(name);
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = scale * golden::unit(stream, static_cast<std::uint32_t>(i)) + shift;
  return v;
}

/// Output, and the gradient of each parameter, of one forward and backward pass.
struct passes {
  std::vector<float> output;
  std::vector<std::vector<float>> gradients;
};

/// A network's weights, none of them zero, as both devices are given them.
template <class T, class Device> void set_weights(Device& dev, unet<T, Device>& net) {
  for (parameter const& p : net.parameters()) {
    std::vector<float> const values = golden::weights(p.name, p.dimensions());
    upload(dev, p, std::span<float const>(values), net.weights());
  }
}

template <class T, class Device> passes run(Device& dev, unet_config const& config, unetdn::shape s) {
  unet<T, Device> net(dev, config);
  set_weights(dev, net);
  unet_session<T, Device> session(dev, config, s.n, s.h, s.w, session_mode::training);
  std::size_t const planned_scratch = dev.scratch_bytes();
  picture_transfer<T, Device> transfer;
  auto const put = [&](view<T> to, std::string_view name) {
    std::vector<float> const values = numbers(to.size(), name);
    transfer.upload(dev, {values.data(), to.n, to.h, to.w, to.c}, to);
  };
  put(session.input(), "input");
  if (config.noise_map) put(session.noise_map(), "sigma");
  session.forward(net);
  passes result;
  result.output.resize(static_cast<std::size_t>(session.output().size()));
  view<T> const y = session.output();
  transfer.download(dev, y, {result.output.data(), y.n, y.h, y.w, y.c});
  put(session.output_gradient(), "gradient");
  session.backward(net);
  CHECK(dev.scratch_bytes() == planned_scratch);
  // Padding is zero, whatever lay there before.
  std::vector<accumulator_t<T>> flat(static_cast<std::size_t>(net.parameters().size())), expected(flat.size());
  dev.download(flat.data(), session.gradients(), flat.size() * sizeof flat[0]);
  for (parameter const& p : net.parameters()) {
    result.gradients.push_back(download<float>(dev, p, static_cast<accumulator_t<T> const*>(session.gradients())));
    pack<Device>(p, std::span<float const>(result.gradients.back()),
                 std::span(expected).subspan(std::size_t(p.offset), std::size_t(p.size)));
  }
  CHECK(flat == expected);
  return result;
}

template <class T, class Device> void check_against_cpu(Device& dev, unet_config const& config, unetdn::shape s) {
  cpu host(1);
  passes const expected = run<float>(host, config, s);
  passes const got = run<T>(dev, config, s);
  // Each layer rounds its output. Where that opens or shuts a ReLU, or makes another pixel the maximum, a gradient
  // takes another way: for a part of them in proportion to epsilon, so that their error is in proportion to its root.
  bool const in_float = std::is_same_v<T, float>;
  double const backward = in_float ? 1e-5 : std::sqrt(64 * epsilon<T>());
  CHECK(relative_error(got.output, expected.output) < 10 * epsilon<T>() + 1e-6);
  unet_layers<T, Device> const layers(config);
  for (int i = 0; i < layers.parameters.count(); ++i) {
    CAPTURE(layers.parameters[i].name);
    auto const index = static_cast<std::size_t>(i);
    CHECK(relative_error(got.gradients[index], expected.gradients[index]) < backward);
  }
}

/// Loss and gradients by forward_with_loss, against those of a loss that knows nothing of the network.
template <class T, class Device>
void check_loss(Device& dev, unet_config const& config, loss_kind kind, unetdn::shape s, bool fused) {
  unet<T, Device> net(dev, config);
  set_weights(dev, net);
  unet_session<T, Device> session(dev, config, s.n, s.h, s.w, session_mode::training);
  CHECK(session.computes_loss() == fused);
  picture_transfer<T, Device> transfer;
  unetdn::shape const ys{s.n, s.h, s.w, config.out_channels};
  tensor<float, Device> target(dev, ys);
  target.upload(dev, numbers(ys.size(), "target", 0.5f, 0.5f));
  buffer<double, Device> losses(dev, 2);
  std::vector<std::vector<float>> gradients[2];
  std::vector<float> outputs[2];
  for (std::size_t i = 0; i < 2; ++i) {
    std::vector<float> const values = numbers(session.input().size(), "input");
    transfer.upload(dev, {values.data(), s.n, s.h, s.w, s.c}, session.input());
    if (i == 0) {
      forward_with_loss<T>(session, net, kind, target.view(), losses.data(), nullptr);
    } else {
      session.forward(net);
      loss_and_gradient<T>(dev, kind, session.output(), target.view(), session.output_gradient(), losses.data() + 1);
    }
    outputs[i].resize(static_cast<std::size_t>(ys.size()));
    transfer.download(dev, session.output(), {outputs[i].data(), ys.n, ys.h, ys.w, ys.c});
    session.backward(net, i == 0 ? gradient_of::sums : gradient_of::output);
    for (parameter const& p : net.parameters())
      gradients[i].push_back(download<float>(dev, p, static_cast<accumulator_t<T> const*>(session.gradients())));
  }
  CHECK(outputs[0] == outputs[1]);
  double loss[2];
  dev.download(loss, losses.data(), sizeof loss);
  CHECK(loss[0] == Approx(loss[1]).epsilon(1e-6));
  // The gradient of the last sums is rounded once instead of twice, and what follows from it passes as many roundings.
  for (std::size_t i = 0; i < gradients[0].size(); ++i)
    CHECK(relative_error(gradients[0][i], gradients[1][i]) < 16 * epsilon<T>());
}

image picture_of(int width, int height, int channels) {
  image picture(width, height, channels);
  std::vector<float> const values = numbers(picture.as_view().size(), "picture");
  picture.pixels = values;
  return picture;
}

float largest_difference(image const& a, image const& b) {
  REQUIRE(a.pixels.size() == b.pixels.size());
  float largest = 0;
  for (std::size_t i = 0; i < a.pixels.size(); ++i) largest = std::max(largest, std::abs(a.pixels[i] - b.pixels[i]));
  return largest;
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("the U-Net's output and gradients are those of the cpu", "", gpu_rows) {
  on_one_device<TestType>(thread_order::reverse, [](auto& dev) {
    using T = typename TestType::element;
    SECTION("sigmoid") { check_against_cpu<T>(dev, {3, 3, 8, 3}, {2, 16, 16, 3}); }  // deep enough for warpgroups
    SECTION("residual with a noise map, no bias, odd sizes") {
      unet_config config{1, 1, 8, 2};
      config.output = unet_output::linear;
      config.residual = config.noise_map = true;
      config.bias = false;
      check_against_cpu<T>(dev, config, {1, 13, 9, 1});
    }
  });
}

TEMPLATE_LIST_TEST_CASE("a loss in the last pass is the loss of the output, and so are its gradients", "", gpu_rows) {
  on_one_device<TestType>(thread_order::reverse, [](auto& dev) {
    using T = typename TestType::element;
    unetdn::shape const padded{2, 13, 11, 3};
    for (loss_kind const kind : {loss_kind::l1, loss_kind::mse, loss_kind::l1_ssim})
      check_loss<T>(dev, {3, 3, 8, 2}, kind, padded, true);
    unet_config residual{5, 5, 8, 1};
    residual.output = unet_output::linear;
    residual.residual = true;
    check_loss<T>(dev, residual, loss_kind::mse, {1, 8, 7, 5}, false);
    residual.in_channels = residual.out_channels = 1;
    check_loss<T>(dev, residual, loss_kind::mse, {1, 8, 7, 1}, true);
    unet_config const wide{5, 5, 8, 1};
    check_loss<T>(dev, wide, loss_kind::mse, {1, 8, 7, 5}, false);
  });
}

TEMPLATE_LIST_TEST_CASE("a denoiser takes pictures of any size and kind", "", gpu_rows) {
  on_one_device<TestType>(thread_order::reverse, [](auto& dev) {
    using T = typename TestType::element;
    using device = std::remove_reference_t<decltype(dev)>;
    unet_config const config{3, 3, 8, 2};
    cpu host(1);
    auto const reference = std::make_shared<unet<float, cpu>>(host, config);
    reference->initialise(host, 2);
    auto const net = std::make_shared<unet<T, device>>(dev, config);
    net->initialise(dev, 2);
    denoiser<T, device> denoise(net, dev.sibling());
    denoiser<> expected(reference, cpu(1));
    for (auto [width, height, channels] : {std::array{17, 8, 3}, {1, 1, 1}, {7, 2, 4}}) {
      image const picture = picture_of(width, height, channels);
      image const result = denoise(picture);
      CHECK(result.channels == channels);
      CHECK(largest_difference(result, expected(picture)) < 20 * epsilon<T>());
    }
  });
}

TEMPLATE_LIST_TEST_CASE("tiles give the whole picture's bits", "", gpu_rows) {
  on_one_device<TestType>(thread_order::reverse, [](auto& dev) {
    using T = typename TestType::element;
    using device = std::remove_reference_t<decltype(dev)>;
    auto const net = std::make_shared<unet<T, device>>(dev, unet_config{1, 1, 8, 1});
    net->initialise(dev, 4);
    denoiser<T, device> whole(net, dev.sibling()), tiled(net, dev.sibling());
    int const side = 4 * tiled.reach();
    tiled.limit_tile_side(side);
    image const picture = picture_of(side + 5, side, 1);
    CHECK(largest_difference(tiled(picture), whole(picture)) == 0);
  });
}

TEST_CASE("a session's overruns would meet red zones, and its memory is refused before any work") {
  emulated dev;
  unet_config const config{3, 3, 8, 1};
  unet_session<bf16, emulated> const session(dev, config, 1, 8, 8, session_mode::inference);
  auto const& items = session.plan().items();
  if constexpr (emulated::red_zone > 0) {
    for (auto const& a : items) {
      for (auto const& b : items) {
        bool const apart = &a == &b || a.offset + a.bytes + emulated::red_zone <= b.offset ||
                           b.offset + b.bytes + emulated::red_zone <= a.offset;
        REQUIRE(apart);
      }
    }
  }
  emulated small;
  small.limit_memory(1000);
  std::string const refusal =
      thrown([&] { unet_session<bf16, emulated>(small, config, 1, 8, 8, session_mode::inference); });
  CHECK(contains(refusal, "denoising needs 1 MiB"));
  CHECK(contains(refusal, "0 MiB are free"));
  CHECK(small.scratch_bytes() == 0);
}

TEST_CASE("a step of training has the same bits in any order of threads") {
  training_options options;
  options.noise = parse_noise("gaussian:25");
  options.loss = loss_kind::l1_ssim;
  options.patch = 16;
  options.batch = 1;
  auto const step = [&](emulated dev) {
    training_set pictures(3);
    pictures.add(image_pair{generate_picture(1, 0, 17, 19)});
    trainer<bf16, emulated> t(dev, {3, 3, 8, 1}, options, pictures, 1);
    return t.step();
  };
  training_step const one = step(emulated{thread_order::forward, 1}), other = step(emulated{thread_order::reverse, 2});
  CHECK(std::isfinite(one.gradient_norm));
  CHECK(one.loss == other.loss);
  CHECK(one.gradient_norm == other.gradient_norm);
}

TEST_CASE("a 16-bit network reads a file's weights rounded, and writes what it has") {
  auto const path = std::filesystem::temp_directory_path() / text("unetdn_test_unet_devices_", ::getpid());
  unet_config const config{1, 1, 8, 1};
  cpu host(1);
  unet<float, cpu> net(host, config);
  net.initialise(host, 6);
  net.save(host, path);
  emulated dev;
  auto const loaded = unet<bf16, emulated>::load(dev, path);
  loaded.save(dev, path);
  auto const again = unet<float, cpu>::load(host, path);
  std::filesystem::remove(path);
  for (std::int64_t i = 0; i < net.parameters().size(); ++i) {
    REQUIRE(again.weights()[i] == float(bf16(net.weights()[i])));
  }
}
