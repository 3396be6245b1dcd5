// SPDX-License-Identifier: Apache-2.0
// Trains a U-Net to remove noise from pictures like those of a folder.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <type_traits>
#include <unistd.h>
#include <utility>
#include <vector>

#include <unetdn/core/json.hpp>
#include <unetdn/generated.hpp>
#include <unetdn/train.hpp>
#include <unetdn/unet.hpp>
#include <unetdn/version.hpp>

#include "command_line.hpp"
#include "device.hpp"
#include "files.hpp"
#include "train_pictures.hpp"
#include "train_report.hpp"
#include "work.hpp"

namespace {

namespace fs = std::filesystem;
using unetdn::cpu;

volatile std::sig_atomic_t interrupted = 0;

/// The first signal ends the run with a checkpoint, a second one at once; the checkpoints on the disk are whole always.
void interrupt(int) {
  if (interrupted) ::_exit(130);
  interrupted = 1;
  constexpr char line[] = "train: stopping with a checkpoint after this step; once more stops at once\n";
  [[maybe_unused]] auto const written = ::write(STDERR_FILENO, line, sizeof line - 1);
}

/// From here on there is work that a signal must not lose. Signals that the caller ignores, as nohup does, stay so.
void watch_signals() {
  for (int const signal : {SIGINT, SIGTERM, SIGHUP}) {
    if (std::signal(signal, interrupt) == SIG_IGN) std::signal(signal, SIG_IGN);
  }
}

struct settings {
  fs::path data, noisy, clean, validation, validation_noisy, validation_clean, init;
  std::string noise = "gaussian:25", loss = "l1_ssim";
  double split = 0;
  // The network, as far as it was told; the rest is as in --init, --resume or usual.
  std::optional<int> base, levels;
  std::optional<std::string> output;
  std::optional<double> rate;
  bool grey = false, no_bias = false, noise_map = false, replace_damaged = false;
  unetdn::unet_config network{3, 3, 16};
  unetdn::training_options training;
  unetdn::run_options run;
  programs::device_settings where;
  unetdn::read_options reading;
  int threads = 0, generated = 0;
  bool no_report = false, json = false, quiet = false;

  bool paired() const { return !noisy.empty(); }
};

void add_picture_options(programs::command_line& options, settings& s) {
  auto const data = options.path("--data", s.data, "DIR", "folder of pictures to learn from");
  auto const generated =
      options.number("--generated", s.generated, 0, 100000, "also learn from this many generated pictures");
  auto const noise = options.text("--noise", s.noise, "gaussian:25, or gaussian:0..55 for unknown levels");
  auto const noisy = options.path("--noisy", s.noisy, "DIR", "folder of pictures with real noise; needs --clean")
                         .excludes(data)
                         .excludes(generated)
                         .excludes(noise);
  auto const clean =
      options.path("--clean", s.clean, "DIR", "folder of the same pictures without noise, named alike").needs(noisy);
  noisy.needs(clean);
  auto const validation = options.path("--val", s.validation, "DIR", "folder of other pictures, to measure on");
  auto const val_noisy = options.path("--val-noisy", s.validation_noisy, "DIR", "the same as pairs; needs --val-clean")
                             .excludes(validation);
  auto const val_clean = options.path("--val-clean", s.validation_clean, "DIR", "see --val-noisy").needs(val_noisy);
  val_noisy.needs(val_clean);
  programs::add_reading_options(options, s.reading);
  options
      .flag("--replace-damaged", s.replace_damaged,
            "a generated picture takes the place of one of --data that cannot be read")
      .excludes(noisy);
  options.number("--split", s.split, 0, 0.9, "hold this part of the pictures out, such as 0.1, to measure on")
      .excludes(validation)
      .excludes(val_noisy);
}

void add_network_options(programs::command_line& options, settings& s) {
  options.path("--init", s.init, "FILE", "weights to begin with: fine-tuning");
  options.number("--base", s.base, 8, 1024, "channels of the first level, a multiple of 8 (16)");
  options.number("--levels", s.levels, 1, 8, "number of poolings (4)");
  options.text("--output", s.output, "sigmoid, linear or residual (residual)");
  options.flag("--grey", s.grey, "a network for one channel");
  options.flag("--no-bias", s.no_bias, "without biases, which helps with noise levels that were not trained");
  options.flag("--noise-map", s.noise_map, "the network is told the noise level");
}

void add_run_options(programs::command_line& options, settings& s) {
  auto const minutes = options.number("--minutes", s.run.minutes, 0.001, 1e6, "train for about this long");
  options
      .number("--steps", s.run.steps, 1, 1'000'000'000'000,
              "train exactly this many steps: equal options give equal bits")
      .excludes(minutes);
  options.path("--out", s.run.folder, "DIR", "folder for best.safetensors, report.html, the checkpoint and log.csv")
      .required();
  auto const resume = options.flag("--resume", s.run.resume, "go on from the checkpoint in --out");
  options.flag("--force", s.run.start_over, "remove the run that --out holds and start over").excludes(resume);
  options.seed(s.training.seed, "decides all that is random");
  programs::add_device_options(options, s.where);
  options.threads(s.threads);
  options.number("--batch", s.training.batch, 1, 1024, "patches a step");
  options.number("--patch", s.training.patch, 8, 4096, "side of the patches, in pixels");
  options.number("--rate", s.rate, 1e-9, 1, "highest learning rate (0.004; an eighth of that with --init)");
  options.text("--loss", s.loss, "mse, l1 or l1_ssim");
  options.number("--validations", s.run.validations, 1, 1000, "how often is measured");
  options.number("--checkpoint-seconds", s.run.checkpoint_seconds, 0, 1e6,
                 "time between checkpoints, the most that is lost");
  options.flag("--no-report", s.no_report, "do not write report.html");
  auto const json = options.flag("--json", s.json, "print one JSON object a line, for other programs");
  options.flag("--quiet", s.quiet, "print errors only").excludes(json);
}

/// What the options say of the network, put into `known`, the network of a weight file or a checkpoint `from`. Throws
/// argument_error where they contradict it.
unetdn::unet_config network_like(unetdn::unet_config known, settings const& s, fs::path const& from) {
  auto const want = [&from]<class V>(V const& there, V const& wanted, char const* option, char const* what) {
    unetdn::check(there == wanted, from.string(), " holds a network with ", what, ' ', there, ", which ", option,
                  " contradicts; leave it out or begin with other weights");
  };
  if (s.base) want(known.base, *s.base, "--base", "base");
  if (s.levels) want(known.levels, *s.levels, "--levels", "levels");
  std::string const output = known.residual                                 ? "residual"
                             : known.output == unetdn::unet_output::sigmoid ? "sigmoid"
                                                                            : "linear";
  if (s.output) want(output, *s.output, "--output", "output");
  if (s.grey) want(known.in_channels, 1, "--grey", "channels");
  if (s.no_bias) want(known.bias, false, "--no-bias", "biases:");
  if (s.noise_map) want(known.noise_map, true, "--noise-map", "a noise map:");
  return known;
}

unetdn::unet_config new_network(settings const& s) {
  unetdn::unet_config network = s.network;
  std::string const output = s.output.value_or("residual");
  network.base = s.base.value_or(network.base);
  network.levels = s.levels.value_or(network.levels);
  network.output = output == "sigmoid" ? unetdn::unet_output::sigmoid : unetdn::unet_output::linear;
  network.residual = output == "residual";
  network.bias = !s.no_bias;
  network.noise_map = s.noise_map;
  network.in_channels = network.out_channels = s.grey ? 1 : 3;
  return network;
}

void finish_settings(settings& s) {
  std::string const output = s.output.value_or("residual");
  unetdn::check(output == "sigmoid" || output == "linear" || output == "residual", "unknown output '", output,
                "'; use sigmoid, linear or residual");
  unetdn::check(
      !s.data.empty() || s.generated > 0 || s.paired(),
      "there are no pictures to learn from; give --data DIR, --generated N, or both, or --noisy DIR --clean DIR");
  int const base = s.base.value_or(8);
  unetdn::check(base % 8 == 0, "--base is a multiple of 8, not ", base, "; give 8, 16, 24 and so on");
  unetdn::check(!s.paired() || s.validation.empty(),
                "--val adds noise to clean pictures, but real pairs are to be learnt from; measure on pairs: --split, "
                "or --val-noisy DIR --val-clean DIR");
  unetdn::check(s.split == 0 || !s.data.empty() || s.paired(),
                "--split holds pictures of --data out, but there is none; measure on others: --val DIR");
  s.training.noise = unetdn::parse_noise(s.noise);
  s.training.loss = unetdn::parse_loss(s.loss);
  if (s.run.steps > 0) {  // a short run cannot spend it all on warming up
    s.training.rate.warmup = std::clamp<std::int64_t>(s.run.steps / 10, 1, s.training.rate.warmup);
  }
  s.training.rate.decay_begins = s.training.rate.warmup;
}

/// FNV-1a: tells contents apart.
/// Source: Fowler, Noll, Vo, Eastlake: The FNV non-cryptographic hash algorithm (RFC 9923), 64 bits.
std::string content_hash(std::span<std::byte const> bytes) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (std::byte const b : bytes) hash = (hash ^ std::to_integer<std::uint64_t>(b)) * 0x100000001b3u;
  char line[20];
  std::snprintf(line, sizeof line, "%016llx", static_cast<unsigned long long>(hash));
  return line;
}

/// The files to learn from, and to measure on.
struct file_lists {
  std::vector<programs::picture_pair> training, validation;
};

file_lists find_files(settings const& s) {
  file_lists files;
  if (s.paired()) files.training = programs::pair_pictures(s.noisy, s.clean);
  if (!s.data.empty()) files.training = programs::clean_pictures(s.data);
  if (!s.validation.empty()) files.validation = programs::clean_pictures(s.validation);
  if (!s.validation_noisy.empty()) files.validation = programs::pair_pictures(s.validation_noisy, s.validation_clean);
  if (s.split > 0)
    files.validation = programs::take_part(files.training, s.split, s.training.seed, s.reading, s.replace_damaged);
  return files;
}

/// A hash of the pictures' names and sizes in bytes.
std::string pictures_hash(file_lists const& files) {
  std::string all;
  for (auto const* pictures : {&files.training, &files.validation}) {
    for (auto const& [name, noisy, clean] : *pictures) {
      for (fs::path const& file : {noisy, clean}) {
        std::error_code failure;
        if (!file.empty()) all += unetdn::text(file.filename().string(), ' ', fs::file_size(file, failure), '\n');
      }
    }
    all += '\n';
  }
  return content_hash(std::as_bytes(std::span(all)));
}

/// What the weights' metadata say beside settings that the library notes itself: no path, no clock, so that equal
/// options give equal files.
void note_provenance(settings& s, file_lists const& files) {
  auto& notes = s.run.provenance;
  notes["unetdn.made_by"] = "unetdn train";
  notes["unetdn.version"] = unetdn::text(UNETDN_VERSION_MAJOR, '.', UNETDN_VERSION_MINOR, '.', UNETDN_VERSION_PATCH);
  notes["unetdn.photographs"] = unetdn::text(files.training.size());
  notes["unetdn.generated"] = unetdn::text(s.generated);
  notes["unetdn.validation_pictures"] = unetdn::text(files.validation.size());
  if (!files.training.empty() || !files.validation.empty()) notes["unetdn.pictures_hash"] = pictures_hash(files);
  if (s.split > 0) notes["unetdn.split"] = unetdn::text(s.split);
}

/// Throws argument_error where the run to be resumed learnt from other pictures, or was measured on others: its bits
/// would not be those of an uninterrupted one, and what was held out might be learnt from.
void check_same_pictures(settings const& s) {
  auto const before = unetdn::provenance_of_run(s.run.folder);
  if (!s.run.resume || before.empty()) return;
  auto const value = [](std::map<std::string, std::string> const& notes, std::string const& key) {
    auto const found = notes.find(key);
    return found == notes.end() ? std::string("none") : found->second;
  };
  for (std::string const key : {"split", "photographs", "generated", "validation_pictures", "pictures_hash"}) {
    if (key != "split" && !before.contains("unetdn." + key)) continue;  // of a version that did not note it
    std::string const then = value(before, "unetdn." + key), now = value(s.run.provenance, "unetdn." + key);
    std::string what = key;
    std::replace(what.begin(), what.end(), '_', ' ');
    unetdn::check(then == now, s.run.folder.string(), ": the run began with other pictures (", what, ": ", then,
                  ", now ", now, "); resume it with the same ones, or start another in a folder of its own");
  }
}

void load_pictures(settings const& s, file_lists const& files, cpu& device, unetdn::training_set& pictures) {
  unetdn::reading_options reading;
  reading.seed = s.training.seed;
  reading.patch = s.training.patch;
  reading.paired = s.paired();
  pictures.read_later(s.replace_damaged ? programs::replacing_sources(files.training, s.reading, s.training.seed)
                                        : programs::training_sources(files.training, s.reading),
                      reading);
  if (s.generated > 0) {
    pictures.generate([seed = s.training.seed](std::uint64_t i) { return unetdn::generate_picture(seed, i, 256, 256); },
                      s.generated);
  }
  pictures.prepare(device, 1);  // what cannot be read is found before the folder is touched, where there is little
}

/// One line, or with --json one object, of how it goes.
void print_progress(settings const& s, unetdn::run_progress const& p, std::optional<double> psnr, double seconds) {
  if (s.json) {
    std::cout << "{\"step\": " << p.last.step << ", \"steps\": " << (p.steps ? unetdn::text(p.steps) : "null")
              << ", \"loss\": " << unetdn::text(p.last.loss)
              << ", \"psnr\": " << (p.psnr ? unetdn::metric_json(*p.psnr) : "null")
              << ", \"patches_per_second\": " << unetdn::text(p.pictures_per_second)
              << ", \"seconds\": " << unetdn::text(seconds)
              << ", \"seconds_left\": " << (p.seconds_left > 0 ? unetdn::text(p.seconds_left) : "null") << "}\n"
              << std::flush;
    return;
  }
  char measured[32] = "";
  if (psnr) std::snprintf(measured, sizeof measured, "  validation %.2f dB", *psnr);
  std::string const steps = p.steps ? unetdn::text('/', p.steps) : "";
  std::printf("step %lld%s  loss %.5f%s  %.1f patches/s  %s gone%s\n", static_cast<long long>(p.last.step),
              steps.c_str(), p.last.loss, measured, p.pictures_per_second, programs::duration(seconds).c_str(),
              p.seconds_left > 0 ? (", " + programs::duration(p.seconds_left) + " left").c_str() : "");
  std::fflush(stdout);
}

template <class T, class Device>
void print_beginning(settings const& s, unetdn::trainer<T, Device> const& t,
                     unetdn::training_run<T, Device> const& run) {
  if (s.quiet || s.json) return;
  std::string const how =
      Device::is_host ? unetdn::text("on ", t.host().threads(), " threads") : unetdn::text("in ", s.where.precision);
  std::printf("%lld weights, %zu %s, %d generated pictures, %zu to measure on%s, %s %s\n",
              static_cast<long long>(t.network().weight_count()), t.pictures().photographs(),
              s.paired() ? "pairs" : "photographs", s.generated, run.validation().size(),
              s.split > 0 ? " (held out)" : "", Device::name(), how.c_str());
  std::printf("memory:\n");
  std::fflush(stdout);
  t.session().print_memory(std::cout, t.state_bytes());
  std::cout.flush();
}

template <class Run> void print_end(settings const& s, unetdn::run_progress const& result, Run const& run) {
  bool const stopped = result.last.step < result.steps || result.steps == 0;
  bool const has_weights = fs::exists(run.best_path());
  if (s.quiet) return;
  if (s.json) {
    std::cout << "{\"done\": " << (stopped ? "false" : "true") << ", \"step\": " << result.last.step
              << ", \"best_psnr\": " << unetdn::metric_json(result.best_psnr)
              << ", \"weights\": " << (has_weights ? programs::json_name(run.best_path().string()) : "null") << "}\n"
              << std::flush;
    return;
  }
  if (stopped) {
    std::printf("stopped at step %lld with a checkpoint; --resume goes on%s\n",
                static_cast<long long>(result.last.step),
                has_weights ? "" : "; there are no weights yet, they come when the network is first measured");
    return;
  }
  std::printf("done: %s", run.best_path().string().c_str());
  if (std::isfinite(result.best_psnr)) std::printf(", %.2f dB on the validation pictures", result.best_psnr);
  std::printf("\n");
}

/// The picture that the report shows: the first to measure on; else a generated one that is not learnt from, or the
/// first pair.
template <class Run>
std::pair<std::string, unetdn::image_pair> shown_picture(settings const& s, file_lists const& files, Run const& run) {
  if (!run.validation().empty()) return {files.validation.front().name, run.validation().front()};
  if (s.paired()) {
    unetdn::cpu one_thread(1);
    std::vector<programs::picture_pair> const first{files.training.front()};
    return {first[0].name + " (learnt from)",
            programs::read_validation(one_thread, first, s.reading, s.network.in_channels).front()};
  }
  unetdn::image picture = unetdn::generate_picture(~s.training.seed, 0, 256, 256);
  if (s.network.in_channels == 1) picture = unetdn::to_grey(std::move(picture));
  return {"generated", unetdn::image_pair{std::move(picture)}};
}

template <class Trainer> void describe(Trainer const& t, settings const& s, programs::report& page) {
  auto const add = [](std::map<std::string, std::string> const& notes, auto& to) {
    for (auto const& [key, value] : notes) {
      std::string name = key.substr(std::string("unetdn.").size());
      std::replace(name.begin(), name.end(), '_', ' ');
      to.emplace_back(std::move(name), value);
    }
  };
  add(t.network().config().to_metadata(), page.settings);
  add(t.settings(), page.settings);
  add(s.run.provenance, page.provenance);
}

/// Trains and tells how it goes. An error on the way says what is left.
template <class Run> unetdn::run_progress train(settings const& s, Run& run, programs::train_report<Run>* report) {
  auto const begin = std::chrono::steady_clock::now();
  double reported = 0;
  std::optional<double> psnr;
  auto const progress = [&](unetdn::run_progress const& p) {
    double const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (p.psnr) psnr = p.psnr;
    if (!s.quiet && (p.psnr || seconds - reported >= 5)) {
      print_progress(s, p, psnr, seconds);
      reported = seconds;
    }
    if (report) report->step(p, seconds);
    return interrupted == 0;
  };
  try {
    return run.run(progress);
  } catch (unetdn::file_error const& e) {
    if (!run.checkpoint_step()) throw;
    throw unetdn::error(unetdn::text(e.what(), "; the checkpoint of step ", *run.checkpoint_step(),
                                     " is whole: --resume goes on from there"));
  }
}

/// The network to train, and the weights to begin with where there are some.
std::optional<unetdn::unet<float, cpu>> begin_network(settings& s, cpu& host) {
  auto const of_run = s.run.resume ? unetdn::network_of_run(s.run.folder) : std::nullopt;
  if (of_run) {
    s.network = network_like(*of_run, s, s.run.folder);
    return {};
  }
  if (s.init.empty()) {
    s.network = new_network(s);
    return {};
  }
  auto weights = unetdn::unet<float, cpu>::load(host, s.init);
  s.network = network_like(weights.config(), s, s.init);
  unetdn::check(
      s.network.in_channels == s.network.out_channels && (s.network.in_channels == 1 || s.network.in_channels == 3),
      s.init.string(), " holds a network from ", s.network.in_channels, " to ", s.network.out_channels,
      " channels, which does not denoise pictures; begin with other weights");
  s.run.provenance["unetdn.init"] = s.init.filename().string();
  s.run.provenance["unetdn.init_hash"] = content_hash(unetdn::read_file(s.init));
  return weights;
}

/// At base 16, 0.008 is ahead for some thousand steps, and then behind 0.004 (docs/training.md);
/// parameter::rate_factor() makes it hold for other widths. Weights that know something already are to keep it.
double usual_rate(settings const& s) { return unetdn::learning_rate{}.peak / (s.init.empty() ? 1 : 8); }

template <class T, class Device> int train(settings& s, Device device) {
  finish_settings(s);
  cpu host(s.threads);
  auto const weights = begin_network(s, host);
  s.training.rate.peak = s.rate.value_or(usual_rate(s));
  file_lists const files = find_files(s);
  note_provenance(s, files);
  check_same_pictures(s);
  unetdn::training_set pictures(s.network.in_channels);
  load_pictures(s, files, host, pictures);
  unetdn::trainer<T, Device> t(device, s.network, s.training, pictures, s.threads);
  if (weights) t.start_from(host, *weights);
  using training_run = unetdn::training_run<T, Device>;
  training_run run(t, s.run, programs::read_validation(host, files.validation, s.reading, s.network.in_channels));
  if (!run.resume_note().empty()) std::cerr << "train: " << run.resume_note() << '\n';
  print_beginning(s, t, run);
  std::optional<programs::train_report<training_run>> report;
  fs::path const page = s.run.folder / "report.html";
  if (!s.no_report) {
    auto [name, shown] = shown_picture(s, files, run);
    report.emplace(page, run, std::move(name), std::move(shown));
    describe(t, s, report->page);
  } else if (s.run.start_over) {
    unetdn::remove_file(page);  // it shows the run that has been removed
  }
  watch_signals();
  try {
    auto const result = train(s, run, report ? &*report : nullptr);
    if (report) report->finish();
    print_end(s, result, run);
  } catch (...) {
    if (report) report->finish();
    throw;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  programs::command_line options(
      "train", "Trains a U-Net to remove noise from pictures like those of a folder.",
      "Examples:\n"
      "  train --data photos --split 0.1 --noise gaussian:25 --minutes 30 --out run\n"
      "  train --generated 400 --noise gaussian:0..55 --base 32 --steps 20000 --seed 1 --out run\n"
      "  train --noisy shots --clean averages --split 0.1 --init run/best.safetensors --minutes 20 --out tuned\n"
      "  train --data photos --split 0.1 --noise gaussian:25 --minutes 30 --out run --resume\n"
      "Ctrl-C stops with a checkpoint, a second one at once. After a crash, --resume goes on with the same bits.\n"
      "Exit codes: 0 done or stopped with a checkpoint, 1 failed, 2 wrong usage, 130 stopped at once.");
  settings s;
  add_picture_options(options, s);
  add_network_options(options, s);
  add_run_options(options, s);
  return options.run(argc, argv, [&] {
    return programs::on_device(
        "train", s.where, s.threads, s.quiet || s.json,
        [&]<class T, class Device>(std::type_identity<T>, Device device) { return train<T>(s, std::move(device)); });
  });
}
