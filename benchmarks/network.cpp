// SPDX-License-Identifier: Apache-2.0
// Times a whole U-Net: one forward pass, or one training step, beside the multiply-add peak of the same minute; and
// sets the memory that was used beside the memory that was planned.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include <unetdn/loss.hpp>
#include <unetdn/ops/adamw.hpp>
#include <unetdn/unet.hpp>

#include "peak.hpp"

namespace {

struct settings {
  unetdn::unet_config network;
  int size = 256, batch = 1, threads = 0, repetitions = 9;
  bool training = false, json = false, profile = false;
};

struct measurement {
  double seconds, peak_gflops;
};

double median(std::vector<double>& v) {
  std::nth_element(v.begin(), v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2), v.end());
  return v[v.size() / 2];
}

/// Medians of `repetitions` runs and of the peaks measured between them: the machine may be shared.
measurement measure(unetdn::cpu& device, int repetitions, std::function<void()> const& work) {
  std::vector<double> seconds, peaks;
  work();  // touches all memory
  for (int i = 0; i < repetitions; ++i) {
    peaks.push_back(benchmarks::multiply_add_peak<float>(device, unetdn::cpu_bodies::active_isa()));
    auto const begin = std::chrono::steady_clock::now();
    work();
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return {median(seconds), median(peaks) / 1e9};
}

/// The time of each layer and pass, in the order in which they first ran; the median over the runs.
class layer_times {
 public:
  explicit layer_times(unetdn::unet_session<float, unetdn::cpu>& session) : session_{session} {
    session_.observe([this](unetdn::layer_event const& e) { add(e.layer, e.pass, e.flops); });
  }
  ~layer_times() { session_.observe({}); }
  layer_times(layer_times const&) = delete;
  layer_times& operator=(layer_times const&) = delete;

  /// From here on the next event's time counts.
  void restart() { last_ = clock::now(); }
  void add(std::string const& layer, std::string const& pass, double flops) {
    double const seconds = std::chrono::duration<double>(clock::now() - last_).count();
    auto const it =
        std::find_if(rows_.begin(), rows_.end(), [&](row const& r) { return r.layer == layer && r.pass == pass; });
    row& r = it == rows_.end() ? rows_.emplace_back(row{layer, pass, flops, {}}) : *it;
    r.seconds.push_back(seconds);
    restart();
  }

  void print(double peak_gflops) {
    double all = 0;
    for (row& r : rows_) all += median(r.seconds);
    std::printf("%-20s %-16s %9s %7s %9s %6s\n", "layer", "pass", "ms", "time", "GFLOP/s", "peak");
    for (row& r : rows_) {
      double const seconds = median(r.seconds);
      std::printf("%-20s %-16s %9.3f %6.1f%%", r.layer.c_str(), r.pass.c_str(), seconds * 1e3, seconds / all * 100);
      if (r.flops > 0) std::printf(" %9.1f %6.2f", r.flops / seconds / 1e9, r.flops / seconds / 1e9 / peak_gflops);
      std::printf("\n");
    }
    std::printf("%-20s %-16s %9.3f\n", "sum of medians", "", all * 1e3);
  }

 private:
  using clock = std::chrono::steady_clock;
  struct row {
    std::string layer, pass;
    double flops;
    std::vector<double> seconds;
  };
  unetdn::unet_session<float, unetdn::cpu>& session_;
  std::vector<row> rows_;
  clock::time_point last_;
};

/// Most memory that this process ever had, in MiB; 0 where the system does not tell.
double peak_resident_mib() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    double kib = 0;
    if (word == "VmHWM:" && status >> kib) return kib / 1024;
  }
  return 0;
}

void fill(unetdn::view<float> x) {
  unetdn::random_sequence random({1, 0, unetdn::random_stream::other});
  for (int n = 0; n < x.n; ++n) {
    for (int row = 0; row < x.h; ++row) {
      for (int column = 0; column < x.w; ++column) {
        for (int c = 0; c < x.c; ++c) x.pixel(n, row, column)[c] = random.uniform();
      }
    }
  }
}

int run(settings const& s) {
  using unetdn::cpu;
  using mode = unetdn::session_mode;
  cpu device(s.threads);
  unetdn::unet<float, cpu> net(device, s.network);
  net.initialise(device, 1);
  unetdn::unet_session<float, cpu> session(device, s.network, s.batch, s.size, s.size,
                                           s.training ? mode::training : mode::inference);
  auto const parameters = static_cast<std::size_t>(net.parameters().size());
  unetdn::buffer<float, cpu> gradients, first_moment, second_moment;
  unetdn::tensor<float, cpu> target;
  std::size_t state = parameters * sizeof(float);
  if (s.training) {
    for (auto* array : {&gradients, &first_moment, &second_moment})
      *array = unetdn::buffer<float, cpu>(device, parameters);
    target = unetdn::tensor<float, cpu>(device, {s.batch, s.size, s.size, s.network.out_channels});
    fill(target.view());
    state *= 4;
  }
  unetdn::tensor<float, cpu> input(device, session.shape());
  fill(input.view());
  std::int64_t step = 0;
  std::optional<layer_times> times;
  if (s.profile) times.emplace(session);
  auto const done = [&](char const* what) {
    if (times) times->add(what, "", 0);
  };
  measurement const m = measure(device, s.repetitions, [&] {
    if (times) times->restart();
    unetdn::copy<float>(device, input.view(), session.input());
    done("copy of the input");
    session.forward(net);
    if (!s.training) return;
    unetdn::loss_and_gradient<float>(device, unetdn::loss_kind::mse, session.output(), target.view(),
                                     session.output_gradient());
    done("loss");
    session.backward(net, gradients.data());
    unetdn::adamw_arrays<float> const arrays{net.weights(),        gradients.data(), first_moment.data(),
                                             second_moment.data(), nullptr,          net.parameters().size()};
    unetdn::adamw_step(device, {}, arrays, ++step, 1e-5, 1, 0);
    done("AdamW");
  });
  double const gflops = unetdn::unet_flops(s.network, s.batch, s.size, s.size) * (s.training ? 3 : 1) / m.seconds / 1e9;
  double const planned = static_cast<double>(state + session.plan().total() + session.scratch_bytes()) / (1 << 20);
  if (s.json) {
    std::cout << unetdn::text("{\"base\": ", s.network.base, ", \"levels\": ", s.network.levels, ", \"size\": ", s.size,
                              ", \"batch\": ", s.batch, ", \"threads\": ", device.threads(),
                              ", \"training\": ", s.training, ", \"seconds\": ", m.seconds, ", \"gflops\": ", gflops,
                              ", \"peak_gflops\": ", m.peak_gflops, ", \"planned_mib\": ", planned,
                              ", \"peak_resident_mib\": ", peak_resident_mib(), "}\n");
    return 0;
  }
  std::printf("base %d, %d levels, %d x %d, batch %d, %d threads, %s: %.4f s, %.1f GFLOP/s, %.2f of the peak of %.1f\n",
              s.network.base, s.network.levels, s.size, s.size, s.batch, device.threads(),
              s.training ? "training step" : "inference", m.seconds, gflops, gflops / m.peak_gflops, m.peak_gflops);
  if (times) times->print(m.peak_gflops);
  std::printf("memory: %.0f MiB planned, %.0f MiB resident at most\n", planned, peak_resident_mib());
  std::fflush(stdout);
  session.print_memory(std::cout, state);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Times a whole U-Net: inference, or a training step (forward, loss, backward, AdamW).", "network");
  settings s;
  app.add_option("--base", s.network.base, "channels of the first level")->capture_default_str();
  app.add_option("--levels", s.network.levels, "number of poolings")->capture_default_str();
  app.add_option("--size", s.size, "height and width")->capture_default_str();
  app.add_option("--batch", s.batch, "pictures")->capture_default_str();
  app.add_option("--threads", s.threads, "0: one a core")->capture_default_str();
  app.add_option("--repetitions", s.repetitions, "the median is reported")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_flag("--training", s.training, "a training step instead of inference");
  auto* const json = app.add_flag("--json", s.json, "one line of JSON");
  app.add_flag("--profile", s.profile, "the time of each layer as well")->excludes(json);
  CLI11_PARSE(app, argc, argv);
  try {
    return run(s);
  } catch (unetdn::error const& e) {
    std::cerr << "network: " << e.what() << '\n';
    return 1;
  }
}
