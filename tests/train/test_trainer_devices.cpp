// SPDX-License-Identifier: Apache-2.0
// Training on the devices that run kernels, against the cpu in float.
#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <type_traits>
#include <unistd.h>
#include <vector>

#include <unetdn/generated.hpp>
#include <unetdn/train.hpp>
#include <unetdn/unet.hpp>

#include "catch.hpp"
#include "devices/on_devices.hpp"
#include "relative_error.hpp"
#include "thrown.hpp"

using namespace unetdn;

namespace {

using test::gpu_rows;
using test::on_one_device;
using test::relative_error;
#if defined(UNETDN_HAVE_CUDA)
using learning_rows =
    std::tuple<test::row<emulated, bf16>, test::row<cuda, float>, test::row<cuda, bf16>, test::row<cuda, fp16>>;
#else
using learning_rows = std::tuple<test::row<emulated, bf16>>;  // a step takes the emulated device long
#endif
/// One element type on every device that runs kernels.
#if defined(UNETDN_HAVE_CUDA)
template <class T> using rows_of = std::tuple<test::row<emulated, T>, test::row<cuda, T>>;
#else
template <class T> using rows_of = std::tuple<test::row<emulated, T>>;
#endif

unet_config const network{3, 3, 8, 1};

training_options small_options(loss_kind loss = loss_kind::mse) {
  training_options options;
  options.noise = parse_noise("gaussian:10..40");
  options.loss = loss;
  options.patch = 16;
  options.batch = 1;
  options.seed = 7;
  options.averaging = 0.9;
  options.rate.warmup = options.rate.decay_begins = 2;
  return options;
}

training_set small_set(bool paired = false) {
  training_set pictures(3);
  for (std::uint64_t i = 0; i < 2; ++i) {
    image_pair pair{generate_picture(1, i, 24, 20)};
    if (paired) pair.noisy = generate_picture(2, i, 24, 20);
    pictures.add(pair);
  }
  return pictures;
}

/// Weights and averages in canonical form, as a checkpoint has them.
template <class T, class Device> std::vector<float> weights(trainer<T, Device> const& t) {
  auto const path = std::filesystem::temp_directory_path() / text("unetdn_test_trainer_devices_", ::getpid());
  t.save_checkpoint(path);
  safetensors_file const file(path);
  std::vector<float> all;
  for (auto const& name : file.names()) {
    bool const wanted = name.starts_with("weights/") || name.starts_with("average/");
    if (!wanted) continue;
    auto const values = file.floats(name);
    all.insert(all.end(), values.begin(), values.end());
  }
  std::filesystem::remove(path);
  return all;
}

struct temporary_folder {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / text("unetdn_test_trainer_devices_folder_", ::getpid());
  temporary_folder() { std::filesystem::create_directories(path); }
  ~temporary_folder() { std::filesystem::remove_all(path); }
};

}  // namespace

TEMPLATE_LIST_TEST_CASE("a few steps of training are those of the cpu", "", gpu_rows) {
  on_one_device<TestType>(thread_order::forward, [](auto& dev) {
    using T = typename TestType::element;
    using device = std::remove_reference_t<decltype(dev)>;
    bool const paired = GENERATE(false, true);
    unet_config config = network;
    config.noise_map = !paired;
    auto const options = small_options(paired ? loss_kind::l1 : loss_kind::l1_ssim);
    cpu host(1);
    training_set pictures = small_set(paired), same_pictures = small_set(paired);
    trainer<float, cpu> expected(host, config, options, pictures);
    trainer<T, device> t(dev, config, options, same_pictures, 1);
    double const tolerance = std::is_same_v<T, float> ? 1e-4 : std::is_same_v<T, fp16> ? 4e-3 : 3e-2;
    for (int i = 0; i < 2; ++i) {
      training_step const want = expected.step(), got = t.step();
      CAPTURE(i);
      CHECK(got.step == want.step);
      CHECK(got.rate == want.rate);
      CHECK(got.loss == Approx(want.loss).epsilon(tolerance));
      CHECK(got.gradient_norm == Approx(want.gradient_norm).epsilon(10 * tolerance));
    }
    // Adam's first steps go by the gradient's sign alone, so what rounding turns round moves as far as all else.
    CHECK(relative_error(weights(t), weights(expected)) < (std::is_same_v<T, float> ? 1e-3 : 3e-2));
  });
}

TEMPLATE_LIST_TEST_CASE("the batch that kernels make has the bits of the cpu's", "", rows_of<float>) {
  on_one_device<TestType>(thread_order::forward, [](auto& dev) {
    using device = std::remove_reference_t<decltype(dev)>;
    cpu host(1);
    training_set pictures = small_set(), same_pictures = small_set();
    trainer<float, cpu> expected(host, network, small_options(), pictures);
    trainer<float, device> t(dev, network, small_options(), same_pictures, 1);
    expected.step();
    t.step();
    view<float> const x = expected.session().input(), there = t.session().input();
    std::vector<float> got(static_cast<std::size_t>(there.size()));
    picture_transfer<float, device>().download(dev, there, {got.data(), there.n, there.h, there.w, there.c});
    std::size_t i = 0;
    for (int n = 0; n < x.n; ++n) {
      for (int row = 0; row < x.h; ++row) {
        for (int column = 0; column < x.w; ++column) {
          for (int c = 0; c < x.c; ++c) REQUIRE(x.pixel(n, row, column)[c] == got[i++]);
        }
      }
    }
  });
}

TEMPLATE_LIST_TEST_CASE("a trainer learns one pair of patches by heart", "", learning_rows) {
  on_one_device<TestType>(thread_order::forward, [](auto& dev) {
    using T = typename TestType::element;
    using device = std::remove_reference_t<decltype(dev)>;
    training_set pictures(3);
    image const clean = generate_picture(3, 0, 16, 16);
    image noisy = clean;
    for (float& v : noisy.pixels) v = 1 - v;  // to be learnt: the negative
    pictures.add(image_pair{clean, noisy});
    training_options options = small_options();
    options.rate.peak = 1e-2;
    trainer<T, device> t(dev, network, options, pictures, 1);
    double const first = t.step().loss;
    double last = first;
    for (int i = 0; i < 20; ++i) last = t.step().loss;
    CAPTURE(first, last);
    CHECK(last < first / 2);
  });
}

TEMPLATE_LIST_TEST_CASE("a resumed training ends with the bits of an uninterrupted one", "", gpu_rows) {
  on_one_device<TestType>(thread_order::forward, [](auto& dev) {
    using T = typename TestType::element;
    using device = std::remove_reference_t<decltype(dev)>;
    temporary_folder const folder;
    auto const path = folder.path / "checkpoint.safetensors";
    auto const options = small_options();
    training_set pictures = small_set();
    trainer<T, device> first(dev, network, options, pictures, 1);
    for (int i = 0; i < 2; ++i) first.step();
    first.save_checkpoint(path);
    first.step();
    device other = dev.sibling();
    trainer<T, device> second(other, network, options, pictures, 1);
    second.load_checkpoint(path);
    CHECK(second.steps_done() == 2);
    second.step();
    CHECK(weights(second) == weights(first));
    if constexpr (!std::is_same_v<T, float>) {
      trainer<float, device> in_float(other, network, options, pictures, 1);
      CHECK(contains(thrown([&] { in_float.load_checkpoint(path); }), "unetdn.precision"));
    }
  });
}

TEST_CASE("a checkpoint moves between the cpu and the devices that run kernels") {
  temporary_folder const folder;
  auto const path = folder.path / "checkpoint.safetensors", back = folder.path / "back.safetensors";
  training_set pictures = small_set();
  cpu host(1);
  trainer<float, cpu> first(host, network, small_options(), pictures);
  first.step();
  first.save_checkpoint(path);
  emulated dev;
  trainer<float, emulated> second(dev, network, small_options(), pictures, 1);
  second.load_checkpoint(path);
  second.save_checkpoint(back);
  safetensors_file const a(path), b(back);
  CHECK(a.metadata() == b.metadata());
  for (auto const& name : a.names()) CHECK(a.floats(name) == b.floats(name));
}

TEMPLATE_LIST_TEST_CASE("a run that keeps the device's queue filled has the bits of single steps, and logs each", "",
                        rows_of<bf16>) {
  on_one_device<TestType>(thread_order::forward, [](auto& dev) {
    using device = std::remove_reference_t<decltype(dev)>;
    temporary_folder const folder;
    training_set pictures = small_set();
    auto const options = small_options();
    trainer<bf16, device> single(dev, network, options, pictures, 1);
    single.plan(6, options.rate.warmup);
    std::vector<double> losses;
    for (int i = 0; i < 6; ++i) losses.push_back(single.step().loss);

    trainer<bf16, device> t(dev, network, options, pictures, 1);
    run_options how;
    how.folder = folder.path / "run";
    how.steps = 6;
    how.validations = 2;
    training_run<bf16, device> run(t, how, {image_pair{generate_picture(9, 0, 16, 16)}});
    std::vector<double> seen;
    int validations = 0;
    bool overlapped = false;
    run.run([&](run_progress const& p) {
      seen.push_back(p.last.loss);
      CHECK(p.last.step == static_cast<std::int64_t>(seen.size()));
      validations += p.psnr ? 1 : 0;
      overlapped = overlapped || t.steps_under_way() > 0;
      return true;
    });
    CHECK(overlapped);
    CHECK(seen == losses);
    CHECK(validations == 2);
    CHECK(weights(t) == weights(single));
    std::ifstream log(how.folder / "log.csv");
    std::string line;
    int rows = -1;
    while (std::getline(log, line)) ++rows;
    CHECK(rows == 6);
    // What is kept is the average as it was trained, in float.
    CHECK_FALSE(safetensors_file(run.best_path()).floats("encoder.0.conv1.weight").empty());
    CHECK(safetensors_file(run.best_path()).metadata("unetdn.precision") == "bf16");

    // One that is stopped ends what is under way, and goes on from there.
    trainer<bf16, device> stopped(dev, network, options, pictures, 1);
    how.folder = folder.path / "stopped";
    {
      training_run<bf16, device> first(stopped, how, {});
      first.run([](run_progress const& p) { return p.last.step < 2; });
      CHECK(first.checkpoint_step() == stopped.steps_done());
      CHECK(stopped.steps_under_way() == 0);
    }
    how.resume = true;
    trainer<bf16, device> resumed(dev, network, options, pictures, 1);
    training_run<bf16, device> second(resumed, how, {});
    second.run([](run_progress const&) { return true; });
    CHECK(weights(resumed) == weights(single));
  });
}

TEMPLATE_LIST_TEST_CASE("a trainer may end with steps under way", "", rows_of<bf16>) {
  on_one_device<TestType>(thread_order::forward, [](auto& dev) {
    using device = std::remove_reference_t<decltype(dev)>;
    training_set pictures = small_set();
    {
      trainer<bf16, device> t(dev, network, small_options(), pictures, 1);
      t.begin_step();
      t.begin_step();
      if constexpr (std::is_same_v<device, emulated>) CHECK_FALSE(dev.idle());
    }
    if constexpr (std::is_same_v<device, emulated>) CHECK(dev.idle());
  });
}

TEMPLATE_LIST_TEST_CASE("training on a device stops where it diverges", "", rows_of<float>) {
  on_one_device<TestType>(thread_order::forward, [](auto& dev) {
    using device = std::remove_reference_t<decltype(dev)>;
    training_set pictures = small_set();
    unet_config linear = network;
    linear.output = unet_output::linear;
    trainer<float, device> t(dev, linear, small_options(), pictures, 1);
    cpu host(1);
    unet<float, cpu> huge(host, linear);
    huge.initialise(host, 1);
    for (std::int64_t i = 0; i < huge.parameters().size(); ++i) huge.weights()[i] *= 1e20f;
    t.start_from(host, huge);
    auto const before = weights(t);
    CHECK(contains(thrown([&] { t.step(); }), "diverged at step 1"));
    CHECK(t.steps_done() == 0);
    CHECK(weights(t) == before);
  });
}

TEST_CASE("training that does not fit is refused") {
  training_set pictures = small_set();
  emulated small;
  small.limit_memory(std::size_t(1) << 16);
  auto const refusal = thrown([&] { trainer<bf16, emulated>(small, network, small_options(), pictures, 1); });
  CHECK(contains(refusal, "training needs"));
  CHECK(contains(refusal, "smaller batch"));
  CHECK(small.scratch_bytes() == 0);
}

TEST_CASE("a run whose validation does not fit beside the trainer is refused before it begins") {
  temporary_folder const folder;
  training_set pictures = small_set();
  emulated dev;
  trainer<bf16, emulated> t(dev, network, small_options(), pictures, 1);
  run_options how;
  how.folder = folder.path / "run";
  how.steps = 1;
  auto const begin = [&](int side) {
    training_run<bf16, emulated>(t, how, {image_pair{generate_picture(9, 0, side, side)}});
  };
  dev.limit_memory(std::size_t(1) << 18);
  CHECK(contains(thrown([&] { begin(256); }), "validation needs"));
  CHECK_FALSE(std::filesystem::exists(how.folder));
  CHECK_NOTHROW(begin(16));
}

TEMPLATE_LIST_TEST_CASE("a step in tf32 is nearly that of float", "", rows_of<float>) {
  on_one_device<TestType>(thread_order::forward, [](auto& dev) {
    using device = std::remove_reference_t<decltype(dev)>;
    device exact = dev.sibling();
    dev.allow_tf32(true);
    training_set pictures = small_set(), same_pictures = small_set();
    trainer<float, device> t(dev, network, small_options(), pictures, 1);
    trainer<float, device> in_float(exact, network, small_options(), same_pictures, 1);
    training_step const got = t.step(), want = in_float.step();
    CHECK(got.loss == Approx(want.loss).epsilon(4e-3));
    CHECK(got.gradient_norm == Approx(want.gradient_norm).epsilon(4e-2));
    CHECK(got.gradient_norm != want.gradient_norm);
    CHECK(relative_error(weights(t), weights(in_float)) < 3e-2);
  });
}

TEMPLATE_LIST_TEST_CASE("a step whose gradients overflow fp16 halves the loss scale and changes no weight", "",
                        rows_of<fp16>) {
  on_one_device<TestType>(thread_order::forward, [](auto& dev) {
    using device = std::remove_reference_t<decltype(dev)>;
    temporary_folder const folder;
    auto const path = folder.path / "checkpoint.safetensors";
    training_set pictures = small_set();
    unet_config linear = network;
    linear.output = unet_output::linear;
    trainer<fp16, device> t(dev, linear, small_options(), pictures, 1);
    cpu host(1);
    unet<float, cpu> steep(host, linear);
    steep.initialise(host, 1);
    for (parameter const& p : steep.parameters()) {
      if (!p.name.starts_with("output.")) continue;
      for (std::int64_t i = p.offset; i < p.offset + p.size; ++i) steep.weights()[i] *= 200;
    }
    t.start_from(host, steep);
    auto const before = weights(t);
    auto const kept = [&](char const* key) {
      t.save_checkpoint(path);
      return safetensors_file(path).metadata(key);
    };
    CHECK(std::isfinite(t.step().loss));
    CHECK(kept("unetdn.skipped") == "1");
    CHECK(kept("unetdn.updates") == "0");
    CHECK(kept("unetdn.loss_scale") == "32768");
    CHECK((weights(t) == before));
    for (int i = 0; i < 15 && kept("unetdn.updates") == "0"; ++i) t.step();
    CHECK(kept("unetdn.updates") == "1");
    CHECK((weights(t) != before));
  });
}
