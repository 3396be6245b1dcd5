// SPDX-License-Identifier: Apache-2.0
// Trains a U-Net to remove noise from pictures like those of a folder.
#include <csignal>
#include <unistd.h>

#include <unetdn/generated.hpp>
#include <unetdn/train.hpp>
#include <unetdn/unet.hpp>

#include "common.hpp"

namespace {

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
  std::filesystem::path data, validation;
  std::string noise = "gaussian:25", loss = "mse", output = "sigmoid";
  unetdn::unet_config network{3, 3, 16};
  unetdn::training_options training;
  unetdn::run_options run;
  int threads = 0, generated = 0;
  bool grey = false, no_bias = false, quiet = false;
};

void add_options(CLI::App& app, settings& s) {
  app.add_option("--data", s.data, "folder of pictures to learn from")->type_name("DIR");
  app.add_option("--generated", s.generated, "also learn from this many generated pictures")
      ->check(CLI::Range(0, 100000));
  app.add_option("--val", s.validation, "folder of other pictures, to measure on")->type_name("DIR");
  app.add_option("--noise", s.noise, "gaussian:25, or gaussian:0..55 for unknown levels");
  app.add_option("--base", s.network.base, "channels of the first level")->capture_default_str();
  app.add_option("--levels", s.network.levels, "number of poolings")->capture_default_str();
  auto* const minutes = app.add_option("--minutes", s.run.minutes, "train for about this long");
  app.add_option("--steps", s.run.steps, "train exactly this many steps: equal options give equal bits")
      ->excludes(minutes);
  app.add_option("--out", s.run.folder, "folder for best.safetensors, the checkpoint and log.csv")->required();
  auto* const resume = app.add_flag("--resume", s.run.resume, "go on from the checkpoint in --out");
  app.add_flag("--force", s.run.start_over, "remove the run that --out holds and start over")->excludes(resume);
  app.add_option("--seed", s.training.seed, "decides all that is random")->capture_default_str();
  app.add_option("--threads", s.threads, "0: one a core; the result does not depend on it")->capture_default_str();
  app.add_option("--batch", s.training.batch, "patches a step")->capture_default_str();
  app.add_option("--patch", s.training.patch, "side of the patches, in pixels")->capture_default_str();
  app.add_option("--rate", s.training.rate.peak, "highest learning rate")->capture_default_str();
  app.add_option("--loss", s.loss, "mse or l1")->capture_default_str();
  app.add_option("--validations", s.run.validations, "how often --val is measured")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--checkpoint-seconds", s.run.checkpoint_seconds, "time between checkpoints, the most that is lost")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  app.add_option("--output", s.output, "sigmoid, linear or residual")->capture_default_str();
  app.add_flag("--grey", s.grey, "a network for one channel");
  app.add_flag("--no-bias", s.no_bias, "without biases, which helps with noise levels that were not trained");
  app.add_flag("--noise-map", s.network.noise_map, "the network is told the noise level");
  app.add_flag("--quiet", s.quiet, "print errors only");
}

void finish_settings(settings& s) {
  unetdn::check(s.output == "sigmoid" || s.output == "linear" || s.output == "residual", "unknown output '", s.output,
                "'; use sigmoid, linear or residual");
  unetdn::check(!s.data.empty() || s.generated > 0, "give pictures to learn from: --data DIR, --generated N, or both");
  s.network.output = s.output == "sigmoid" ? unetdn::unet_output::sigmoid : unetdn::unet_output::linear;
  s.network.residual = s.output == "residual";
  s.network.bias = !s.no_bias;
  s.network.in_channels = s.network.out_channels = s.grey ? 1 : 3;
  s.training.noise = unetdn::parse_noise(s.noise);
  s.training.loss = unetdn::parse_loss(s.loss);
  if (s.run.steps > 0) {  // a short run cannot spend it all on warming up
    s.training.rate.warmup = std::clamp<std::int64_t>(s.run.steps / 10, 1, s.training.rate.warmup);
  }
  s.training.rate.decay_begins = s.training.rate.warmup;
  s.run.provenance = {{"unetdn.noise", s.noise}, {"unetdn.made_by", "unetdn train"}};
}

std::vector<unetdn::image> validation_pictures(settings const& s) {
  std::vector<unetdn::image> pictures;
  if (s.validation.empty()) return pictures;
  for (unetdn::image& picture : programs::read_folder(s.validation)) {
    unetdn::image opaque = unetdn::without_alpha(std::move(picture));
    pictures.push_back(s.grey ? unetdn::to_grey(std::move(opaque)) : unetdn::to_rgb(std::move(opaque)));
  }
  return pictures;
}

void print_progress(unetdn::run_progress const& p, double seconds) {
  char psnr[32] = "";
  if (p.psnr) std::snprintf(psnr, sizeof psnr, "  validation %.2f dB", *p.psnr);
  std::string const steps = p.steps ? unetdn::text('/', p.steps) : "";
  std::printf("step %lld%s  loss %.5f%s  %.1f patches/s  %s gone%s\n", static_cast<long long>(p.last.step),
              steps.c_str(), p.last.loss, psnr, p.pictures_per_second, programs::duration(seconds).c_str(),
              p.seconds_left > 0 ? (", " + programs::duration(p.seconds_left) + " left").c_str() : "");
  std::fflush(stdout);
}

/// Trains and tells how it goes. An error on the way says what is left.
unetdn::run_progress train(settings const& s, unetdn::training_run<float, unetdn::cpu>& run) {
  auto const begin = std::chrono::steady_clock::now();
  double reported = 0;
  auto const progress = [&](unetdn::run_progress const& p) {
    double const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (!s.quiet && (p.psnr || seconds - reported >= 5)) {
      print_progress(p, seconds);
      reported = seconds;
    }
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

int train(settings& s) {
  finish_settings(s);
  unetdn::cpu device(s.threads);
  unetdn::training_set pictures(s.network.in_channels);
  if (!s.data.empty()) {
    for (auto const& file : unetdn::list_images(s.data)) pictures.add(unetdn::read_image(file));
  }
  if (s.generated > 0) {
    pictures.generate([seed = s.training.seed](std::uint64_t i) { return unetdn::generate_picture(seed, i, 256, 256); },
                      s.generated);
  }
  unetdn::trainer<float, unetdn::cpu> trainer(device, s.network, s.training, pictures);
  unetdn::training_run<float, unetdn::cpu> run(trainer, s.run, validation_pictures(s));
  if (!run.resume_note().empty()) std::cerr << "train: " << run.resume_note() << '\n';
  if (!s.quiet) {
    std::printf("%lld weights, %zu photographs, %d generated pictures, %s on %d threads\n",
                static_cast<long long>(trainer.network().weight_count()), pictures.photographs(), s.generated,
                device.name(), device.threads());
    std::printf("memory:\n");
    std::fflush(stdout);
    trainer.session().print_memory(std::cout, trainer.state_bytes());
    std::cout.flush();
  }
  watch_signals();
  auto const result = train(s, run);
  bool const stopped = result.last.step < result.steps || result.steps == 0;
  if (!s.quiet && stopped) {
    std::printf("stopped at step %lld with a checkpoint; --resume goes on\n", static_cast<long long>(result.last.step));
  }
  if (!s.quiet && !stopped) {
    std::printf("done: %s", run.best_path().string().c_str());
    if (std::isfinite(result.best_psnr)) std::printf(", %.2f dB on the validation pictures", result.best_psnr);
    std::printf("\n");
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Trains a U-Net to remove noise from pictures like those of a folder.", "train");
  app.footer(
      "Examples:\n"
      "  train --data photos --val others --noise gaussian:25 --minutes 30 --out run\n"
      "  train --generated 400 --noise gaussian:0..55 --base 32 --steps 20000 --seed 1 --out run\n"
      "  train --data photos --minutes 30 --out run --resume\n"
      "Ctrl-C stops with a checkpoint, a second one at once. After a crash, --resume goes on with the same bits.\n"
      "Exit codes: 0 done or stopped with a checkpoint, 1 failed, 2 wrong usage, 130 stopped at once.");
  settings s;
  add_options(app, s);
  return programs::run(app, argc, argv, [&] { return train(s); });
}
