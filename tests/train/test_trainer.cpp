// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <thread>
#include <unistd.h>
#include <vector>

#include <unetdn/generated.hpp>
#include <unetdn/train.hpp>
#include <unetdn/unet.hpp>

#include "catch.hpp"

namespace {

using unetdn::cpu;
using trainer = unetdn::trainer<float, cpu>;
using training_run = unetdn::training_run<float, cpu>;

unetdn::unet_config const network{3, 3, 8, 2};

unetdn::training_options small_options() {
  unetdn::training_options options;
  options.noise = unetdn::parse_noise("gaussian:10..40");
  options.patch = 32;
  options.batch = 3;
  options.seed = 7;
  options.rate.warmup = 5;
  options.rate.decay_begins = 5;
  return options;
}

unetdn::training_set small_set(int generated = 4) {
  unetdn::training_set pictures(3);
  for (std::uint64_t i = 0; i < 3; ++i) pictures.add(unetdn::generate_picture(1, i, 48, 40));
  pictures.generate([](std::uint64_t i) { return unetdn::generate_picture(2, i, 40, 33); }, generated);
  return pictures;
}

std::vector<float> weights(trainer const& t) {
  auto const count = static_cast<std::size_t>(t.network().parameters().size());
  std::vector<float> all(t.network().weights(), t.network().weights() + count);
  all.insert(all.end(), t.average()->weights(), t.average()->weights() + count);
  return all;
}

struct temporary_folder {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / unetdn::text("unetdn_test_trainer_", ::getpid());
  temporary_folder() { std::filesystem::remove_all(path); }
  ~temporary_folder() { std::filesystem::remove_all(path); }
};

/// A checkpoint, in the folder, of small_options' first step.
std::filesystem::path first_checkpoint(std::filesystem::path const& folder) {
  std::filesystem::create_directories(folder);
  cpu device(1);
  unetdn::training_set pictures = small_set();
  trainer t(device, network, small_options(), pictures);
  t.step();
  t.save_checkpoint(folder / "checkpoint.safetensors");
  return folder / "checkpoint.safetensors";
}

/// Weights and averages after training with this many threads.
std::vector<float> trained(int threads, unetdn::training_options const& options, int steps) {
  cpu device(threads);
  unetdn::training_set pictures = small_set();
  trainer t(device, network, options, pictures);
  t.plan(steps, options.rate.warmup);
  for (int i = 0; i < steps; ++i) t.step();
  return weights(t);
}

}  // namespace

TEST_CASE("training gives equal bits for any number of threads, and for two runs with one seed") {
  auto const options = small_options();
  auto const one = trained(1, options, 12);
  CHECK(one == trained(1, options, 12));
  CHECK(one == trained(2, options, 12));
  CHECK(one == trained(3, options, 12));
  auto other = options;
  other.seed = 8;
  CHECK(one != trained(1, other, 12));
}

TEST_CASE("training by Winograd's algorithm and by direct convolution draw one curve", "[long]") {
  struct restored {
    unetdn::cpu_bodies::convolution_algorithm algorithm = unetdn::cpu_bodies::active_algorithm();
    ~restored() { unetdn::cpu_bodies::use(algorithm); }
  } const before;
  auto const losses = [](unetdn::cpu_bodies::convolution_algorithm algorithm) {
    unetdn::cpu_bodies::use(algorithm);
    cpu device(2);
    unetdn::training_set pictures = small_set();
    auto const options = small_options();
    trainer t(device, network, options, pictures);
    t.plan(100, options.rate.warmup);
    std::vector<double> curve;
    for (int i = 0; i < 40; ++i) curve.push_back(t.step().loss);
    return curve;
  };
  auto const winograd = losses(unetdn::cpu_bodies::convolution_algorithm::automatic);
  auto const direct = losses(unetdn::cpu_bodies::convolution_algorithm::direct);
  CHECK(winograd != direct);
  auto const largest_until = [&](std::size_t steps) {
    double largest = 0;
    for (std::size_t i = 0; i < steps; ++i) largest = std::max(largest, std::abs(winograd[i] / direct[i] - 1));
    return largest;
  };
  CAPTURE(winograd.front(), winograd.back(), direct.back());
  CHECK(direct.back() < 0.7 * direct.front());
  CHECK(largest_until(10) < 1e-6);  // rounding; seen: 4e-9
  // Then Adam, which gives the smallest of gradients a whole step, makes rounding grow; seen: 0.004.
  CHECK(largest_until(40) < 0.02);
}

TEST_CASE("the more inputs an output sums over, the smaller are its weights' steps, and a bias's are small") {
  cpu device(2);
  unetdn::training_set pictures = small_set();
  auto const options = small_options();
  unetdn::unet_config const wide{3, 3, 16, 2};
  trainer t(device, wide, options, pictures);
  auto const& parameters = t.network().parameters();
  std::vector<float> const before(t.network().weights(), t.network().weights() + parameters.size());
  double const rate = t.step().rate;
  int slowed = 0;
  for (unetdn::parameter const& p : parameters) {
    double largest = 0;
    for (std::int64_t i = p.offset; i < p.offset + p.size; ++i)
      largest = std::max(largest, std::abs(double(t.network().weights()[i]) - before[static_cast<std::size_t>(i)]));
    INFO(p.name);
    // Adam's first step moves each weight by the rate.
    double const few = 144.0 / static_cast<double>(p.fan_in());
    double const factor = p.fan_in() == 0 ? 0.1 : few < 1 ? few * std::sqrt(few) : 1.0;
    CHECK(largest == Approx(rate * factor).epsilon(1e-2));
    slowed += p.fan_in() > 144 ? 1 : 0;
  }
  CHECK(slowed == 6);
}

TEST_CASE("training removes noise", "[long]") {
  cpu device(2);
  unetdn::training_set pictures = small_set(12);
  auto options = small_options();
  options.noise = unetdn::parse_noise("gaussian:50");
  options.averaging = 0.9;
  trainer t(device, network, options, pictures);
  t.plan(150, 5);
  for (int i = 0; i < 150; ++i) t.step();
  unetdn::denoiser<> denoise(t.average(), cpu(2));
  unetdn::image const clean = unetdn::generate_picture(99, 0, 64, 64);
  unetdn::image noisy = clean;
  float const sigma = 50;
  unetdn::add_gaussian_noise<cpu, float>(device, clean.as_view(), noisy.as_view(), std::span(&sigma, 1),
                                         {5, 0, unetdn::random_stream::noise});
  double const before = unetdn::psnr(clean.as_view(), noisy.as_view());
  double const after = unetdn::psnr(clean.as_view(), denoise(noisy).as_view());
  CAPTURE(before, after);
  CHECK(after > before + 3);
}

TEST_CASE("a resumed run ends with the bits of an uninterrupted one", "[long]") {
  temporary_folder const folder;
  std::filesystem::create_directories(folder.path);
  auto const path = folder.path / "checkpoint.safetensors";
  auto options = small_options();
  SECTION("with averages") {}
  SECTION("without") { options.averaging = 0; }
  auto const whole = trained(2, options, 14);
  {
    cpu device(2);
    unetdn::training_set pictures = small_set();
    trainer first(device, network, options, pictures);
    first.plan(14, options.rate.warmup);
    for (int i = 0; i < 9; ++i) first.step();
    first.save_checkpoint(path);
  }
  cpu device(1);
  unetdn::training_set pictures = small_set();
  trainer second(device, network, options, pictures);
  second.load_checkpoint(path);
  CHECK(second.steps_done() == 9);
  CHECK(second.options().rate.steps == 14);
  for (int i = 0; i < 5; ++i) second.step();
  CHECK(weights(second) == whole);
}

TEST_CASE("a checkpoint of another run is refused, and changes nothing") {
  temporary_folder const folder;
  auto const path = first_checkpoint(folder.path);
  cpu device(1);
  unetdn::training_set pictures = small_set();
  auto const refused = [&](unetdn::unet_config const& config, unetdn::training_options const& options,
                           std::string const& part) {
    trainer second(device, config, options, pictures);
    auto const before = weights(second);
    try {
      second.load_checkpoint(path);
      FAIL("was accepted");
    } catch (unetdn::file_error const& e) {
      CAPTURE(e.what());
      CHECK(std::string(e.what()).find(path.string()) == 0);
      CHECK(std::string(e.what()).find(part) != std::string::npos);
    }
    CHECK(weights(second) == before);
    CHECK(second.steps_done() == 0);
  };
  auto seed = small_options();
  seed.seed = 1;
  refused(network, seed, "unetdn.seed");
  auto rate = small_options();
  rate.rate.peak = 1e-3;
  refused(network, rate, "unetdn.rate");
  auto averaging = small_options();
  averaging.averaging = 0;
  refused(network, averaging, "unetdn.averaging");
  refused({3, 3, 16, 2}, small_options(), "another network");
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  refused(network, small_options(), "");
}

TEST_CASE("a damaged checkpoint is refused before anything is changed") {
  temporary_folder const folder;
  auto const path = first_checkpoint(folder.path);
  cpu device(1);
  unetdn::training_set pictures = small_set();
  unetdn::safetensors_file const good(path);
  unetdn::safetensors_writer file;
  for (auto const& [key, value] : good.metadata()) file.metadata(key, value);
  std::vector<std::vector<float>> values;  // which the writer refers to
  for (auto const& name : good.names()) {
    values.push_back(good.floats(name));
    if (name == "average/output.bias") values.back()[0] = std::numeric_limits<float>::quiet_NaN();
  }
  std::size_t i = 0;
  for (auto const& name : good.names()) file.add(name, good.info(name).shape, std::span<float const>(values[i++]));
  file.write(path);
  trainer second(device, network, small_options(), pictures);
  auto const before = weights(second);
  CHECK_THROWS_WITH(second.load_checkpoint(path), Catch::Contains("average/output.bias"));
  CHECK(weights(second) == before);
}

TEST_CASE("a validation picture that comes out exactly right is left out") {
  temporary_folder const folder;
  cpu device(1);
  auto options = small_options();
  options.rate.peak = 1e-300;  // 0 in float: the network stays one that adds nothing
  options.batch = 1;
  unetdn::unet_config residual = network;
  residual.output = unetdn::unet_output::linear;
  residual.residual = true;
  unetdn::image const black(16, 16, 3, 8);
  unetdn::image const a = unetdn::generate_picture(9, 0, 16, 16), b = unetdn::generate_picture(9, 1, 16, 16);
  auto const measured = [&](std::vector<unetdn::image_pair> validation) {
    unetdn::training_set pictures(3);
    pictures.add(unetdn::image_pair{a, b});
    trainer t(device, residual, options, pictures);
    unetdn::run_options how;
    how.folder = folder.path;
    how.steps = 1;
    how.start_over = true;
    training_run run(t, how, std::move(validation));
    std::optional<double> psnr;
    run.run([&](unetdn::run_progress const& p) {
      psnr = p.psnr;
      return true;
    });
    CHECK(std::filesystem::exists(run.best_path()));
    return psnr;
  };
  double const expected = unetdn::psnr(a.as_view(), b.as_view());
  CHECK(measured({{black, black}, {a, b}}) == std::optional(expected));
  CHECK(!measured({{black, black}}));
}

TEST_CASE("validation pictures are converted as those that are learnt from") {
  temporary_folder const folder;
  cpu device(1);
  unetdn::training_set pictures = small_set();
  trainer t(device, network, small_options(), pictures);
  unetdn::run_options how;
  how.folder = folder.path;
  how.steps = 1;
  unetdn::image with_alpha(16, 16, 4, 8), grey(16, 16, 1, 8);
  training_run run(t, how, {{with_alpha}, {grey, with_alpha}});
  for (auto const& p : run.validation()) {
    CHECK(p.clean.channels == 3);
    CHECK((!p.noisy || p.noisy->channels == 3));
  }
  CHECK(run.run([](unetdn::run_progress const&) { return true; }).last.step == 1);
}

TEST_CASE("a run validates, keeps the best weights, and can be stopped and resumed", "[long]") {
  temporary_folder const folder;
  auto const options = small_options();
  std::vector<unetdn::image_pair> const validation{{unetdn::generate_picture(9, 0, 40, 32)},
                                                   {unetdn::generate_picture(9, 1, 32, 32)}};
  auto const run_with = [&](std::filesystem::path const& to, bool resume, std::int64_t stop_at, int* validations) {
    cpu device(2);
    unetdn::training_set pictures = small_set();
    trainer t(device, network, options, pictures);
    unetdn::run_options how;
    how.folder = to;
    how.steps = 20;
    how.validations = 4;
    how.resume = resume;
    training_run run(t, how, validation);
    double best = -std::numeric_limits<double>::infinity();
    run.run([&](unetdn::run_progress const& p) {
      if (p.psnr) {
        ++*validations;
        best = std::max(best, *p.psnr);
      }
      CHECK(p.steps == 20);
      return p.last.step != stop_at;
    });
    CHECK(t.steps_done() == (stop_at ? stop_at : 20));
    return std::pair{weights(t), best};
  };
  int whole_validations = 0, halves_validations = 0;
  auto const [whole, best] = run_with(folder.path / "whole", false, 0, &whole_validations);
  CHECK(whole_validations == 4);
  run_with(folder.path / "halves", false, 11, &halves_validations);
  CHECK(std::filesystem::exists(folder.path / "halves" / "checkpoint.safetensors"));
  auto const [halves, best_of_rest] = run_with(folder.path / "halves", true, 0, &halves_validations);
  CHECK(halves_validations == 4);
  CHECK(halves == whole);
  CHECK(std::filesystem::exists(folder.path / "halves" / "checkpoint.previous.safetensors"));
  unetdn::safetensors_file const a(folder.path / "whole" / "best.safetensors");
  unetdn::safetensors_file const b(folder.path / "halves" / "best.safetensors");
  CHECK(a.metadata("unetdn.validation_psnr") == unetdn::text(best));
  CHECK(a.metadata() == b.metadata());
  for (auto const& name : a.names()) CHECK(a.floats(name) == b.floats(name));
  CHECK(unetdn::denoiser<>(folder.path / "whole" / "best.safetensors")(validation[0].clean).width == 40);
}

TEST_CASE("checkpoints come every minute unless told otherwise, and the first before the first step") {
  CHECK(unetdn::run_options{}.checkpoint_seconds == 60);
  temporary_folder const folder;
  cpu device(1);
  unetdn::training_set pictures = small_set();
  trainer t(device, network, small_options(), pictures);
  unetdn::run_options how;
  how.folder = folder.path;
  how.steps = 6;
  std::vector<std::int64_t> checkpoints;
  training_run run(t, how, {});
  CHECK(!run.checkpoint_step());
  run.run([&](unetdn::run_progress const&) {
    checkpoints.push_back(*run.checkpoint_step());
    return true;
  });
  CHECK(checkpoints == std::vector<std::int64_t>(6, 0));
  CHECK(run.checkpoint_step() == 6);
}

TEST_CASE("minutes become a number of steps that a resumed run keeps") {
  temporary_folder const folder;
  auto const options = small_options();
  unetdn::run_options how;
  how.folder = folder.path;
  how.minutes = 0.01;
  how.validations = 2;
  std::int64_t planned = 0;
  {
    cpu device(1);
    unetdn::training_set pictures = small_set();
    trainer t(device, network, options, pictures);
    training_run run(t, how, {});
    run.run([&](unetdn::run_progress const& p) {
      planned = p.steps;
      return planned == 0;  // stop as soon as the number is known
    });
    REQUIRE(planned > t.steps_done() - 1);
  }
  how.resume = true;
  {
    cpu device(1);
    unetdn::training_set pictures = small_set();
    trainer t(device, network, options, pictures);
    unetdn::run_options with_steps = how;
    with_steps.minutes = 0;
    with_steps.steps = planned;
    training_run run(t, with_steps, {});
    CHECK(t.options().rate.steps == planned);
    CHECK(t.options().rate.decay_begins == std::max(t.steps_done(), options.rate.warmup));  // as it was planned
  }
  cpu device(1);
  unetdn::training_set pictures = small_set();
  trainer t(device, network, options, pictures);
  training_run run(t, how, {});
  run.run([](unetdn::run_progress const&) { return true; });
  CHECK(t.steps_done() == planned);
}

TEST_CASE("minutes are planned for the pictures that they reach, not for all that a folder has") {
  temporary_folder const folder;
  cpu device(1);
  unetdn::training_set pictures(3);
  std::vector<unetdn::training_source> sources(
      5000, {[] {
               std::this_thread::sleep_for(std::chrono::milliseconds(4));  // 20 s for all of them
               return unetdn::image_pair{unetdn::image(40, 40, 3, 8)};
             },
             1});
  pictures.read_later(sources, {});
  trainer t(device, network, small_options(), pictures);
  unetdn::run_options how;
  how.folder = folder.path;
  how.minutes = 0.05;  // 3 s
  training_run run(t, how, {});
  std::int64_t planned = 0;
  run.run([&](unetdn::run_progress const& p) {
    planned = p.steps;
    return planned == 0;
  });
  CHECK(planned > t.steps_done() + 2);
}

TEST_CASE("a resumed run measures as rarely as it was planned") {
  temporary_folder const folder;
  cpu device(1);
  unetdn::training_set pictures = small_set();
  std::vector<unetdn::image_pair> const validation{{unetdn::generate_picture(9, 0, 16, 16)}};
  unetdn::run_options how;
  how.folder = folder.path;
  how.steps = 8;
  how.validations = 2;
  {
    trainer t(device, network, small_options(), pictures);
    training_run(t, how, validation).run([](unetdn::run_progress const& p) { return p.last.step < 3; });
  }
  trainer t(device, network, small_options(), pictures);
  how.resume = true;
  how.validations = 8;
  int measured = 0;
  training_run run(t, how, validation);
  run.run([&](unetdn::run_progress const& p) {
    measured += p.psnr ? 1 : 0;
    return true;
  });
  CHECK(measured == 2);
}

TEST_CASE("minutes that measuring alone would take are refused", "[long]") {
  temporary_folder const folder;
  cpu device(1);
  unetdn::training_set pictures = small_set();
  trainer t(device, network, small_options(), pictures);
  unetdn::run_options how;
  how.folder = folder.path;
  how.minutes = 1e-4;  // 6 ms
  training_run run(t, how, std::vector<unetdn::image_pair>(16, {unetdn::generate_picture(9, 0, 128, 128)}));
  CHECK_THROWS_WITH(run.run([](unetdn::run_progress const&) { return true; }),
                    Catch::Contains("16 validation pictures"));
  CHECK(run.checkpoint_step() == 0);  // of the beginning: --resume with more time goes on
}

TEST_CASE("a run that cannot be is refused") {
  temporary_folder const folder;
  cpu device(1);
  unetdn::training_set pictures = small_set();
  trainer t(device, network, small_options(), pictures);
  unetdn::run_options how;
  how.folder = folder.path;
  CHECK_THROWS_AS(training_run(t, how, {}), unetdn::argument_error);  // neither steps nor minutes
  how.steps = 5;
  how.minutes = 1;
  CHECK_THROWS_AS(training_run(t, how, {}), unetdn::argument_error);  // both
  how.minutes = 0;
  how.resume = true;
  CHECK_THROWS_AS(training_run(t, how, {}), unetdn::file_error);  // nothing to resume from
  CHECK(!std::filesystem::exists(folder.path));
  how.start_over = true;
  CHECK_THROWS_AS(training_run(t, how, {}), unetdn::argument_error);  // both of resume and start over
  how.resume = how.start_over = false;
  how.provenance["unetdn.init"] = "w\xff";  // which a file could not hold, and the old run would be gone by then
  CHECK_THROWS_WITH(training_run(t, how, {}), Catch::Contains("unetdn.init"));
  how.provenance.clear();
  unetdn::unet_config with_map = network;
  with_map.noise_map = true;
  trainer told(device, with_map, small_options(), pictures);
  unetdn::image const picture(16, 16, 3, 8);
  CHECK_THROWS_WITH(training_run(told, how, {{picture, picture}}), Catch::Contains("noise map"));
  how.checkpoint_seconds = -1;
  CHECK_THROWS_AS(training_run(t, how, {}), unetdn::argument_error);
  how.checkpoint_seconds = 60;
  {
    training_run first(t, how, {});
    CHECK_THROWS_WITH(training_run(t, how, {}), contains("in use by another training run"));
  }
  CHECK_NOTHROW(training_run(t, how, {}));  // the first is gone, and it left nothing
  std::ofstream(folder.path / "file") << "x";
  how.folder = folder.path / "file";
  CHECK_THROWS_AS(training_run(t, how, {}), unetdn::file_error);  // not a folder

  unetdn::training_set none(3);
  trainer empty(device, network, small_options(), none);
  CHECK_THROWS_AS(empty.step(), unetdn::argument_error);
}

TEST_CASE("training that diverges stops before it ruins the weights") {
  temporary_folder const folder;
  std::filesystem::create_directories(folder.path);
  auto const path = folder.path / "checkpoint.safetensors";
  cpu device(1);
  unetdn::training_set pictures = small_set();
  unetdn::unet_config linear{3, 3, 8, 2};
  linear.output = unetdn::unet_output::linear;
  trainer t(device, linear, small_options(), pictures);
  t.save_checkpoint(path);
  {  // the same checkpoint with weights so large that the first forward pass overflows
    unetdn::safetensors_file const from(path);
    unetdn::safetensors_writer to;
    for (auto const& [key, value] : from.metadata()) to.metadata(key, value);
    for (auto const& name : from.names()) {
      std::vector<float> values = from.floats(name);
      for (float& v : values) v *= 1e12f;
      to.add(name, from.info(name).shape, std::span<float const>(values));
    }
    to.write(path);
  }
  t.load_checkpoint(path);
  auto const before = weights(t);
  CHECK_THROWS_WITH(t.step(), contains("diverged at step 1"));
  CHECK(t.steps_done() == 0);
  CHECK(weights(t) == before);
}

TEST_CASE("options that make no sense are refused") {
  auto const refused = [](auto change) {
    auto options = small_options();
    change(options);
    CHECK_THROWS_AS(options.validate(), unetdn::argument_error);
  };
  refused([](auto& o) { o.patch = 0; });
  refused([](auto& o) { o.batch = 0; });
  refused([](auto& o) { o.rate.peak = 0; });
  refused([](auto& o) { o.rate.peak = std::numeric_limits<double>::quiet_NaN(); });
  refused([](auto& o) { o.clip = -1; });
  refused([](auto& o) { o.averaging = 1; });
}

namespace {

/// Weights after training on pairs that are read later; `from` checkpoint where there is one.
std::vector<float> trained_on_pairs(int threads, int steps, std::filesystem::path const& from,
                                    std::filesystem::path const& to) {
  cpu device(threads);
  unetdn::training_set pictures(3);
  std::vector<unetdn::training_source> sources;
  for (std::uint64_t i = 0; i < 6; ++i) {
    auto const read = [i] {
      unetdn::image_pair pair{unetdn::generate_picture(3, i, 48, 40)};
      pair.noisy = pair.clean;
      for (float& v : pair.noisy->pixels) v *= 0.9f;
      return pair;
    };
    sources.push_back({read, std::uint64_t(10) << 20});
  }
  unetdn::reading_options how;
  how.patch = 32;
  how.paired = true;
  pictures.read_later(sources, how);
  trainer t(device, network, small_options(), pictures);
  t.plan(36, 5);
  CHECK(t.settings().at("unetdn.noise") == "pairs");
  if (!from.empty()) t.load_checkpoint(from);
  while (t.steps_done() < steps) t.step();
  if (!to.empty()) t.save_checkpoint(to);
  return weights(t);
}

}  // namespace

TEST_CASE("training on pairs gives equal bits for any number of threads, and across a resume") {
  temporary_folder const folder;
  std::filesystem::create_directories(folder.path);
  auto const path = folder.path / "checkpoint.safetensors";
  auto const whole = trained_on_pairs(1, 36, {}, {});
  CHECK(trained_on_pairs(2, 36, {}, {}) == whole);
  trained_on_pairs(3, 20, {}, path);
  CHECK(trained_on_pairs(2, 36, path, {}) == whole);

  cpu device(1);
  unetdn::training_set synthetic = small_set();
  trainer other(device, network, small_options(), synthetic);
  CHECK_THROWS_WITH(other.load_checkpoint(path), contains("unetdn.noise = pairs"));
  unetdn::training_set pairs(3);
  pairs.add({unetdn::generate_picture(1, 0, 48, 40), unetdn::generate_picture(1, 0, 48, 40)});
  unetdn::unet_config with_map = network;
  with_map.noise_map = true;
  CHECK_THROWS_WITH(trainer(device, with_map, small_options(), pairs), contains("noise map"));
  trainer t(device, network, small_options(), pairs);
  unetdn::run_options how;
  how.folder = folder.path / "run";
  how.steps = 1;
  CHECK_THROWS_WITH(training_run(t, how, {{unetdn::generate_picture(1, 0, 48, 40)}}), contains("no noisy twin"));
}

TEST_CASE("a network that learnt from pairs whose noisy pictures are its clean ones darkened, brightens", "[long]") {
  cpu device(2);
  unetdn::training_set pictures(3);
  unetdn::image_pair pair{unetdn::generate_picture(4, 0, 64, 64)};
  pair.noisy = pair.clean;
  for (float& v : pair.noisy->pixels) v *= 0.3f;
  pictures.add(pair);
  auto options = small_options();
  options.averaging = 0.9;
  unetdn::unet_config residual = network;
  residual.output = unetdn::unet_output::linear;
  residual.residual = true;
  trainer t(device, residual, options, pictures);
  t.plan(120, 5);
  for (int i = 0; i < 120; ++i) t.step();
  unetdn::image const result = unetdn::denoiser<>(t.average(), cpu(1))(*pair.noisy);
  CHECK(unetdn::psnr(pair.clean.as_view(), result.as_view()) >
        unetdn::psnr(pair.clean.as_view(), pair.noisy->as_view()) + 3);
}

TEST_CASE("training can begin with the weights of another network") {
  cpu device(1);
  unetdn::training_set pictures = small_set();
  auto options = small_options();
  trainer first(device, network, options, pictures);
  first.step();
  options.seed = 99;
  trainer second(device, network, options, pictures);
  second.start_from(device, first.network());
  auto const count = static_cast<std::size_t>(first.network().parameters().size());
  auto const all = weights(second);
  CHECK(std::equal(all.begin(), all.begin() + std::ptrdiff_t(count), first.network().weights()));
  CHECK(std::equal(all.begin() + std::ptrdiff_t(count), all.end(), first.network().weights()));
  second.step();
  CHECK_THROWS_AS(second.start_from(device, first.network()), unetdn::argument_error);
  unetdn::unet_config wide = network;
  wide.base = 16;
  trainer other(device, wide, options, pictures);
  CHECK_THROWS_AS(other.start_from(device, first.network()), unetdn::argument_error);
}

TEST_CASE("what a run was told of its beginning stays with it") {
  temporary_folder const folder;
  cpu device(1);
  unetdn::training_set pictures = small_set();
  unetdn::run_options how;
  how.folder = folder.path;
  how.steps = 4;
  how.provenance = {{"unetdn.init", "some.safetensors"}, {"unetdn.photographs", "3"}};
  {
    trainer t(device, network, small_options(), pictures);
    training_run run(t, how, {});
    run.run([](unetdn::run_progress const& p) { return p.last.step < 2; });
  }
  CHECK(unetdn::network_of_run(folder.path) == network);
  CHECK(!unetdn::network_of_run(folder.path / "none"));
  how.resume = true;
  how.provenance = {{"unetdn.photographs", "4"}};
  trainer t(device, network, small_options(), pictures);
  training_run run(t, how, {});
  run.run([](unetdn::run_progress const&) { return true; });
  unetdn::safetensors_file const best(folder.path / "best.safetensors");
  CHECK(best.metadata("unetdn.init") == "some.safetensors");
  CHECK(best.metadata("unetdn.photographs") == "4");
  CHECK(best.metadata("unetdn.patch") == "32");
  CHECK(best.metadata("unetdn.steps") == "4");
}

TEST_CASE("denoising a picture for a preview changes no bit") {
  temporary_folder const folder;
  auto const run_with = [&](std::string const& name, bool preview) {
    cpu device(2);
    unetdn::training_set pictures = small_set();
    trainer t(device, network, small_options(), pictures);
    unetdn::run_options how;
    how.folder = folder.path / name;
    how.steps = 6;
    training_run run(t, how, {{unetdn::generate_picture(9, 0, 24, 24)}});
    run.run([&](unetdn::run_progress const&) {
      if (preview) CHECK(run.denoised({unetdn::generate_picture(9, 1, 30, 20)}).denoised.width == 30);
      return true;
    });
    CHECK(run.denoised(run.validation()[0]).noisy.pixels != run.validation()[0].clean.pixels);
    return weights(t);
  };
  CHECK(run_with("with", true) == run_with("without", false));
}
