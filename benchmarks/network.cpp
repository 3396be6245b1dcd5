// SPDX-License-Identifier: Apache-2.0
// Times a whole U-Net: one forward pass, or one training step, beside the multiply-add peak of the same minute, layer
// by layer if asked, and with one thread beside several; and sets the memory that was used beside the memory that was
// planned.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include <unetdn/loss.hpp>
#include <unetdn/ops/adamw.hpp>
#include <unetdn/unet.hpp>

#include "command_line.hpp"
#include "peak.hpp"
#include "statistics.hpp"

namespace {

using benchmarks::median;

struct settings {
  unetdn::unet_config network;
  int size = 256, batch = 1, threads = 0, repetitions = 9;
  bool training = false, json = false, profile = false, scaling = false;
};

double multiply_add_peak(unetdn::cpu& device) {
  return benchmarks::multiply_add_peak<float>(device, unetdn::cpu_bodies::active_isa());
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

  void forget() { rows_.clear(); }
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

  void print(double peak) {
    double all = 0;
    for (row& r : rows_) all += median(r.seconds);
    std::printf("%-20s %-16s %9s %7s %9s %6s\n", "layer", "pass", "ms", "time", "GFLOP/s", "peak");
    for (row& r : rows_) {
      double const seconds = median(r.seconds);
      std::printf("%-20s %-16s %9.3f %6.1f%%", r.layer.c_str(), r.pass.c_str(), seconds * 1e3, seconds / all * 100);
      if (r.flops > 0) std::printf(" %9.1f %6.2f", r.flops / seconds / 1e9, r.flops / seconds / peak);
      std::printf("\n");
    }
    std::printf("%-20s %-16s %9.3f\n", "sum of medians", "", all * 1e3);
  }

  /// Beside the same with more threads: how many times faster they are.
  void print_scaling(layer_times& more, int threads) {
    std::printf("%-20s %-16s %13s %9d threads %7s\n", "layer", "pass", "ms, 1 thread", threads, "ratio");
    double all = 0, all_more = 0;
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      double const seconds = median(rows_[i].seconds), with_more = median(more.rows_[i].seconds);
      all += seconds;
      all_more += with_more;
      std::printf("%-20s %-16s %13.3f %17.3f %7.2f\n", rows_[i].layer.c_str(), rows_[i].pass.c_str(), seconds * 1e3,
                  with_more * 1e3, seconds / with_more);
    }
    std::printf("%-20s %-16s %13.3f %17.3f %7.2f\n", "sum of medians", "", all * 1e3, all_more * 1e3, all / all_more);
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

/// One network with all that a pass or a training step of it needs.
class workload {
 public:
  workload(settings const& s, int threads) : settings_{s}, device_{threads}, net_{device_, s.network} {
    net_.initialise(device_, 1);
    auto const parameters = static_cast<std::size_t>(net_.parameters().size());
    state_bytes_ = parameters * sizeof(float);
    if (s.training) {
      for (auto* array : {&first_moment_, &second_moment_})
        *array = unetdn::buffer<float, unetdn::cpu>(device_, parameters);
      target_ = unetdn::tensor<float, unetdn::cpu>(device_, {s.batch, s.size, s.size, s.network.out_channels});
      fill(target_.view());
      state_bytes_ *= 3;
    }
    input_ = unetdn::tensor<float, unetdn::cpu>(device_, session_.shape());
    fill(input_.view());
    if (s.profile || s.scaling) times_.emplace(session_);
    once();  // touches all memory
    if (times_) times_->forget();
  }
  workload(workload const&) = delete;
  workload& operator=(workload const&) = delete;

  unetdn::cpu& device() { return device_; }
  unetdn::unet_session<float, unetdn::cpu> const& session() const { return session_; }
  layer_times& times() { return *times_; }
  std::size_t state_bytes() const { return state_bytes_; }

  /// Of one pass or step.
  double seconds() {
    auto const begin = std::chrono::steady_clock::now();
    once();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }

 private:
  void done(char const* what) {
    if (times_) times_->add(what, "", 0);
  }
  void once() {
    if (times_) times_->restart();
    unetdn::copy<float>(device_, input_.view(), session_.input());
    done("copy of the input");
    session_.forward(net_);
    if (!settings_.training) return;
    unetdn::loss_and_gradient<float>(device_, unetdn::loss_kind::mse, session_.output(), target_.view(),
                                     session_.output_gradient());
    done("loss");
    session_.backward(net_);
    unetdn::adamw_arrays<float> const arrays{
        net_.weights(), session_.gradients(),    first_moment_.data(), second_moment_.data(),
        nullptr,        net_.parameters().size()};
    unetdn::adamw_step(device_, {}, arrays, ++step_, 1e-5, 1, 0);
    done("AdamW");
  }

  settings const& settings_;
  unetdn::cpu device_;
  unetdn::unet<float, unetdn::cpu> net_;
  unetdn::unet_session<float, unetdn::cpu> session_{
      device_,         settings_.network,
      settings_.batch, settings_.size,
      settings_.size,  settings_.training ? unetdn::session_mode::training : unetdn::session_mode::inference};
  unetdn::buffer<float, unetdn::cpu> first_moment_, second_moment_;
  unetdn::tensor<float, unetdn::cpu> target_, input_;
  std::size_t state_bytes_ = 0;
  std::int64_t step_ = 0;
  std::optional<layer_times> times_;
};

/// One thread beside several, in turns.
int run_scaling(settings const& s) {
  workload one(s, 1), more(s, s.threads);
  std::vector<double> seconds, seconds_more, ratios;
  for (int i = 0; i < s.repetitions; ++i) {
    seconds.push_back(one.seconds());
    seconds_more.push_back(more.seconds());
    ratios.push_back(seconds.back() / seconds_more.back());
  }
  int const threads = more.device().threads();
  std::printf("base %d, %d levels, %d x %d, batch %d, %s: %.4f s with 1 thread, %.4f s with %d, ratio %.2f\n",
              s.network.base, s.network.levels, s.size, s.size, s.batch, s.training ? "training step" : "inference",
              median(seconds), median(seconds_more), threads, median(ratios));
  one.times().print_scaling(more.times(), threads);
  return 0;
}

int run(settings const& s) {
  if (s.scaling) return run_scaling(s);
  workload work(s, s.threads);
  std::vector<double> all_seconds, peaks;
  for (int i = 0; i < s.repetitions; ++i) {  // the peak in between: the machine may be shared
    peaks.push_back(multiply_add_peak(work.device()));
    all_seconds.push_back(work.seconds());
  }
  double const seconds = median(all_seconds), peak = median(peaks);
  double const flops = unetdn::unet_flops(s.network, s.batch, s.size, s.size) * (s.training ? 3 : 1) / seconds;
  auto const& session = work.session();
  double const planned =
      static_cast<double>(work.state_bytes() + session.plan().total() + session.scratch_bytes()) / (1 << 20);
  int const threads = work.device().threads();
  if (s.json) {
    std::cout << unetdn::text("{\"base\": ", s.network.base, ", \"levels\": ", s.network.levels, ", \"size\": ", s.size,
                              ", \"batch\": ", s.batch, ", \"threads\": ", threads, ", \"training\": ", s.training,
                              ", \"seconds\": ", seconds, ", \"gflops\": ", flops / 1e9,
                              ", \"peak_gflops\": ", peak / 1e9, ", \"planned_mib\": ", planned,
                              ", \"peak_resident_mib\": ", peak_resident_mib(), "}\n");
    return 0;
  }
  std::printf("base %d, %d levels, %d x %d, batch %d, %d threads, %s: %.4f s, %.1f GFLOP/s, %.2f of the peak of %.1f\n",
              s.network.base, s.network.levels, s.size, s.size, s.batch, threads,
              s.training ? "training step" : "inference", seconds, flops / 1e9, flops / peak, peak / 1e9);
  if (s.profile) work.times().print(peak);
  std::printf("memory: %.0f MiB planned, %.0f MiB resident at most\n", planned, peak_resident_mib());
  std::fflush(stdout);
  session.print_memory(std::cout, work.state_bytes());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  programs::command_line options(
      "network", "Times a whole U-Net: inference, or a training step (forward, loss, backward, AdamW).");
  settings s;
  options.number("--base", s.network.base, 8, 1024, "channels of the first level");
  options.number("--levels", s.network.levels, 1, 8, "number of poolings");
  options.number("--size", s.size, 1, 32768, "height and width");
  options.number("--batch", s.batch, 1, 1024, "pictures");
  options.number("--threads", s.threads, 0, 1024, "0: one a core");
  options.number("--repetitions", s.repetitions, 1, 1000, "the median is reported");
  options.flag("--training", s.training, "a training step instead of inference");
  auto const json = options.flag("--json", s.json, "one line of JSON");
  auto const profile = options.flag("--profile", s.profile, "the time of each layer as well").excludes(json);
  options.flag("--scaling", s.scaling, "the time of each layer with one thread and with --threads")
      .excludes(json)
      .excludes(profile);
  return options.run(argc, argv, [&] { return run(s); });
}
