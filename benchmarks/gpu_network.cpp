// SPDX-License-Identifier: Apache-2.0
// Times a whole U-Net on a GPU: forward passes, or training steps, each as one CUDA graph; sets the memory that was
// taken beside the memory that was planned, and the time beside the least that it could be. `network` is the same for
// the cpu.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <iostream>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <unetdn/ops/adamw.hpp>
#include <unetdn/train/forward_with_loss.hpp>
#include <unetdn/unet.hpp>

#include "command_line.hpp"
#include "devices.hpp"
#include "statistics.hpp"

namespace {

using benchmarks::median;

struct settings {
  unetdn::unet_config network;
  std::string device = "cuda", precision = "bf16";
  int size = 256, batch = 1, repetitions = 9, times = 20;
  double gemm_tflops = 0, copy_gbs = 0, seconds = 0;
  bool training = false, json = false, profile = false;
};

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// Median over the repetitions of the seconds that one piece of work takes, of several of them one behind the other: a
/// GPU's queue does not run dry, as it does not in use. Work that is slow for the settings' seconds is done fewer
/// times, and repeated less often.
template <class Device> double measure(Device& device, settings const& s, std::function<void()> const& work) {
  int times = 1, repetitions = 1;
  auto const once = [&] {
    device.synchronize();
    auto const begin = std::chrono::steady_clock::now();
    for (int k = 0; k < times; ++k) work();
    device.synchronize();
    return seconds_since(begin) / times;
  };
  for (int i = 0; i < 3; ++i) work();  // the first loads kernels, the others capture and launch a graph
  double const all = s.seconds > 0 ? s.seconds / once() : std::numeric_limits<double>::infinity();
  times = static_cast<int>(std::clamp<double>(all / s.repetitions, 1, s.times));
  repetitions = static_cast<int>(std::clamp<double>(all / times, std::min(3, s.repetitions), s.repetitions));
  std::vector<double> seconds;
  for (int i = 0; i < repetitions; ++i) seconds.push_back(once());
  return median(seconds);
}

/// The time of each layer and pass, in the order in which they first ran; the median over the runs.
template <class T, class Device> class layer_times {
 public:
  explicit layer_times(unetdn::unet_session<T, Device>& session) : session_{session} {
    session_.observe([this](unetdn::layer_event const& e) { add(e.layer, e.pass, e.flops); });
  }
  ~layer_times() { session_.observe({}); }
  layer_times(layer_times const&) = delete;
  layer_times& operator=(layer_times const&) = delete;

  /// From here on the next event's time counts.
  void restart() { last_ = clock::now(); }
  void add(std::string const& layer, std::string const& pass, double flops) {
    session_.device().synchronize();
    double const seconds = seconds_since(last_);
    auto const it =
        std::find_if(rows_.begin(), rows_.end(), [&](row const& r) { return r.layer == layer && r.pass == pass; });
    row& r = it == rows_.end() ? rows_.emplace_back(row{layer, pass, flops, {}}) : *it;
    r.seconds.push_back(seconds);
    restart();
  }

  void print() {
    double all = 0;
    for (row& r : rows_) all += median(r.seconds);
    std::printf("%-20s %-16s %9s %7s %9s\n", "layer", "pass", "ms", "time", "GFLOP/s");
    for (row& r : rows_) {
      double const seconds = median(r.seconds);
      std::printf("%-20s %-16s %9.3f %6.1f%%", r.layer.c_str(), r.pass.c_str(), seconds * 1e3, seconds / all * 100);
      if (r.flops > 0) std::printf(" %9.1f", r.flops / seconds / 1e9);
      std::printf("\n");
    }
    std::printf("%-20s %-16s %9.3f\n", "sum of medians", "", all * 1e3);
  }

  /// An array of JSON.
  std::string json() {
    std::string all;
    for (row& r : rows_) {
      all += unetdn::text(all.empty() ? "[" : ", ", "{\"layer\": \"", r.layer, "\", \"pass\": \"", r.pass,
                          "\", \"flops\": ", r.flops, ", \"seconds\": ", median(r.seconds), "}");
    }
    return all + "]";
  }

 private:
  using clock = std::chrono::steady_clock;
  struct row {
    std::string layer, pass;
    double flops;
    std::vector<double> seconds;
  };
  unetdn::unet_session<T, Device>& session_;
  std::vector<row> rows_;
  clock::time_point last_;
};

std::vector<float> random_pictures(std::int64_t elements) {
  unetdn::random_sequence random({1, 0, unetdn::random_stream::other});
  std::vector<float> values(static_cast<std::size_t>(elements));
  for (float& v : values) v = random.uniform();
  return values;
}

/// What a step of training has beside the network and its session; as in unetdn::trainer, without pictures and
/// averages.
template <class T, class Device> class training {
 public:
  using real = unetdn::accumulator_t<T>;

  training(Device& device, unetdn::unet<T, Device>& net, unetdn::unet_session<T, Device>& session)
      : device_{device}, net_{net}, session_{session}, state_{device, 1}, target_{device, target_shape(session)} {
    auto const parameters = static_cast<std::size_t>(net.parameters().size());
    for (auto* array : {&first_moment_, &second_moment_}) *array = {device, parameters};
    target_.upload(device, random_pictures(target_.size()));
    if constexpr (unetdn::is_16_bit<T>) {
      trained_ = {device, parameters};
      unetdn::draw_parameters(device, net.config(), net.parameters(), 1, trained_.data());
    }
    unetdn::update_state const first;
    device.upload(state_.data(), &first, sizeof first);
  }

  static std::size_t state_bytes(std::size_t parameters) {
    return parameters * (3 * sizeof(real) + (unetdn::is_16_bit<T> ? sizeof(T) : 0));
  }

  /// All that a step does behind the copy of its input. `done` is told of what no observer hears.
  template <class F> void step(F&& done) {
    auto* const state = state_.data();
    unetdn::forward_with_loss<T>(session_, net_, unetdn::loss_kind::mse, target_.view(), &state->loss,
                                 &state->loss_scale);
    session_.backward(net_, unetdn::gradient_of::sums);
    unetdn::squared_norm(device_, session_.gradients(), net_.parameters().size(), &state->squared_norm);
    unetdn::adamw_step<T>(device_, {}, {}, arrays(), state);
    done("AdamW");
  }

  void begin() { unetdn::begin_update(device_, state_.data(), 1e-5, 0); }

 private:
  static unetdn::shape target_shape(unetdn::unet_session<T, Device> const& session) {
    unetdn::shape s = session.shape();
    s.c = session.config().out_channels;
    return s;
  }
  unetdn::adamw_arrays<T> arrays() {
    unetdn::adamw_arrays<T> all{nullptr, session_.gradients(),    first_moment_.data(), second_moment_.data(),
                                nullptr, net_.parameters().size()};
    if constexpr (unetdn::is_16_bit<T>) {
      all.weights = trained_.data();
      all.network_weights = net_.weights();
    } else {
      all.weights = net_.weights();
    }
    return all;
  }

  Device& device_;
  unetdn::unet<T, Device>& net_;
  unetdn::unet_session<T, Device>& session_;
  unetdn::buffer<real, Device> first_moment_, second_moment_, trained_;
  unetdn::buffer<unetdn::update_state, Device> state_;
  unetdn::tensor<real, Device> target_;
};

/// The least time that the layers can take one after the other, each bound by the rate of matrix products or by the
/// bandwidth of a copy, as the options give them; 0 where they do not. Losses, update and copies are left out.
template <class T, class Device, class Work>
double floor_seconds(settings const& s, unetdn::unet_session<T, Device>& session, Work&& work) {
  if (s.gemm_tflops <= 0 || s.copy_gbs <= 0) return 0;
  double seconds = 0;
  session.observe([&](unetdn::layer_event const& e) {
    if (std::string_view(e.pass) == "forward again") return;  // it need not be
    seconds += std::max(e.flops / (s.gemm_tflops * 1e12), e.bytes / (s.copy_gbs * 1e9));
  });
  work();
  session.observe({});
  return seconds;
}

template <class T, class Device> int run(settings const& s, Device device) {
  using mode = unetdn::session_mode;
  std::size_t const available = device.available_bytes();
  unetdn::unet<T, Device> net(device, s.network);
  net.initialise(device, 1);
  unetdn::unet_session<T, Device> session(device, s.network, s.batch, s.size, s.size,
                                          s.training ? mode::training : mode::inference);
  auto const parameters = static_cast<std::size_t>(net.parameters().size());
  std::size_t state = parameters * sizeof(T);
  std::optional<training<T, Device>> update;
  if (s.training) {
    update.emplace(device, net, session);
    state = training<T, Device>::state_bytes(parameters);
  }
  unetdn::buffer<float, Device> input(device, static_cast<std::size_t>(session.shape().size()));
  std::vector<float> const pictures = random_pictures(session.shape().size());
  device.upload(input.data(), pictures.data(), input.bytes());
  unetdn::view<float const> const pictures_there(input.data(), s.batch, s.size, s.size, s.network.in_channels);
  std::optional<layer_times<T, Device>> times;
  auto const done = [&](char const* what) {
    if (times) times->add(what, "", 0);
  };
  auto const work = [&] {
    unetdn::convert<T>(device, pictures_there, session.input());
    done("copy of the input");
    if (update)
      update->step(done);
    else
      session.forward(net);
  };
  double const floor = floor_seconds(s, session, [&] {
    if (update)
      update->step([](char const*) {});
    else
      session.forward(net);
  });
  typename Device::graph graph;
  double const seconds = measure(device, s, [&] {
    if (update) update->begin();
    device.repeat(graph, work);
  });
  if (s.profile) {  // each layer by itself, outside the graph
    times.emplace(session);
    for (int i = 0; i < s.times; ++i) {
      if (update) update->begin();
      device.synchronize();
      times->restart();
      work();
    }
  }
  double const gflops = unetdn::unet_flops(s.network, s.batch, s.size, s.size) * (s.training ? 3 : 1) / seconds / 1e9;
  double const planned = static_cast<double>(state + session.plan().total() + session.scratch_bytes()) / (1 << 20);
  double const taken = static_cast<double>(available - device.available_bytes()) / (1 << 20);
  if (s.json) {
    std::cout << unetdn::text("{\"device\": \"", Device::name(), "\", \"precision\": \"", s.precision,
                              "\", \"base\": ", s.network.base, ", \"levels\": ", s.network.levels,
                              ", \"size\": ", s.size, ", \"batch\": ", s.batch, ", \"training\": ", s.training,
                              ", \"seconds\": ", seconds, ", \"gflops\": ", gflops, ", \"planned_mib\": ", planned,
                              ", \"device_mib\": ", taken, ", \"floor_seconds\": ", floor,
                              times ? ", \"layers\": " + times->json() : "", "}\n");
    return 0;
  }
  std::printf("%s in %s, base %d, %d levels, %d x %d, batch %d, %s: %.4g s, %.1f GFLOP/s\n", Device::name(),
              s.precision.c_str(), s.network.base, s.network.levels, s.size, s.size, s.batch,
              s.training ? "training step" : "inference", seconds, gflops);
  if (floor > 0) std::printf("floor: %.4g s, %.2f of the time\n", floor, floor / seconds);
  if (times) times->print();
  std::printf("memory: %.0f MiB planned", planned);
  if (taken > 0) std::printf(", %.0f MiB taken from the GPU", taken);
  std::printf("\n");
  std::fflush(stdout);
  session.print_memory(std::cout, state);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  programs::command_line options(
      "gpu_network", "Times a whole U-Net on a GPU: inference, or a training step (forward, loss, backward, AdamW).");
  settings s;
  options.number("--base", s.network.base, 8, 1024, "channels of the first level");
  options.number("--levels", s.network.levels, 1, 8, "number of poolings");
  options.number("--size", s.size, 1, 32768, "height and width");
  options.number("--batch", s.batch, 1, 1024, "pictures");
  options.text("--device", s.device, "cuda, or emulated: its kernels on the processor, whose times mean nothing")
      .one_of({"cuda", "emulated"});
  options.text("--precision", s.precision, "float, tf32, bf16 or fp16").one_of({"float", "tf32", "bf16", "fp16"});
  options.number("--repetitions", s.repetitions, 1, 1000, "the median is reported");
  options.number("--times", s.times, 1, 10000, "how often the work is queued in a repetition");
  options.number("--seconds", s.seconds, 0, 1e6,
                 "about the longest to measure: work too slow for it is repeated less often; 0: no limit");
  options.number("--gemm-tflops", s.gemm_tflops, 0, 1e6, "rate of matrix products, for the floor; with --copy-gbs");
  options.number("--copy-gbs", s.copy_gbs, 0, 1e6, "bandwidth of a copy, read and written");
  options.flag("--training", s.training, "a training step instead of inference");
  options.flag("--json", s.json, "one line of JSON");
  options.flag("--profile", s.profile, "the time of each layer as well, which is waited for");
  return options.run(argc, argv, [&] {
    return benchmarks::on_gpu(
        s.device, s.precision, 0,
        [&]<class T, class Device>(std::type_identity<T>, Device device) { return run<T>(s, std::move(device)); });
  });
}
