// SPDX-License-Identifier: Apache-2.0
// The options --device and --precision of train, denoise and evaluate.
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <unetdn/devices/cpu.hpp>
#include <unetdn/generated.hpp>
#include <unetdn/image.hpp>
#include <unetdn/networks/unet.hpp>

#include "catch.hpp"
#include "devices/cuda_rows.hpp"
#include "programs/run_program.hpp"
#include "thrown.hpp"

namespace {

namespace fs = std::filesystem;
using arguments = std::vector<std::string>;

struct program {
  std::string name, path;
  arguments work;  ///< something that it can do
};

/// A folder with a picture and a network, and what the programs make of them.
struct place : scratch_folder {
  place() {
    fs::create_directories(path / "data");
    unetdn::write_image(path / "data" / "0.png", unetdn::generate_picture(1, 0, 24, 20));
    unetdn::cpu device(1);
    unetdn::unet<float, unetdn::cpu> net(device, {3, 3, 8, 1});
    net.initialise(device, 1);
    net.save(device, path / "net.safetensors");
  }
  std::vector<program> programs() const {
    return {
        {"train",
         UNETDN_TEST_TRAIN,
         {"--data", "data", "--base", "8", "--levels", "1", "--patch", "16", "--batch", "1", "--steps", "2",
          "--threads", "1", "--out", "run"}},
        {"denoise", UNETDN_TEST_DENOISE, {"--weights", "net.safetensors", "data", "--threads", "1", "--out", "run"}},
        {"evaluate", UNETDN_TEST_EVALUATE, {"--weights", "net.safetensors", "--data", "data", "--threads", "1"}}};
  }
  program_result run(program const& p, arguments const& more) const {
    arguments all = p.work;
    all.insert(all.end(), more.begin(), more.end());
    return run_program(p.path, all, {.folder = path});
  }
};

/// No GPU can be seen as long as it lives.
struct hidden_gpus {
  hidden_gpus() { ::setenv("CUDA_VISIBLE_DEVICES", "", 1); }
  ~hidden_gpus() { ::unsetenv("CUDA_VISIBLE_DEVICES"); }
};

}  // namespace

TEST_CASE("a device or a precision that is not to be had is refused in one line, before any work") {
  hidden_gpus const hidden;
  place const there;
  struct refusal {
    arguments options;
    int code;
    std::string word;
  };
  for (program const& p : there.programs()) {
    for (refusal const& r :
         {refusal{{"--device", "cuda"}, 1, "--device cuda: "},
          refusal{{"--device", "cuda"}, 1, "; "},  // a remedy follows
          refusal{{"--precision", "bf16"}, 2, "--precision bf16 needs a GPU"},
          refusal{{"--device", "cpu", "--precision", "tf32"}, 2, "--device cpu was given"},
          refusal{{"--device", "tpu"}, 2, "--device"}, refusal{{"--precision", "double"}, 2, "--precision"}}) {
      program_result const result = there.run(p, r.options);
      CAPTURE(p.name, r.options, result.error);
      CHECK(result.code == r.code);
      CHECK(one_line(result.error));
      CHECK(result.error.rfind(p.name + ": ", 0) == 0);
      CHECK(contains(result.error, r.word));
      CHECK(!fs::exists(there.path / "run"));
    }
  }
}

TEST_CASE("without a GPU, auto is the cpu and says nothing of it") {
  hidden_gpus const hidden;
  place const there;
  for (program const& p : there.programs()) {
    for (char const* device : {"auto", "cpu"}) {
      program_result const result = there.run(p, {"--device", device});
      CAPTURE(p.name, device, result.error);
      CHECK(result.code == 0);
      CHECK(result.error.empty());
      fs::remove_all(there.path / "run");
    }
  }
}

TEST_CASE("with a GPU, the programs use it and say so in a line") {
  if (!unetdn::test::cuda_rows_run()) return;
#if defined(UNETDN_HAVE_CUDA)
  place const there;
  for (program const& p : there.programs()) {
    for (char const* precision : {"float", "tf32", "bf16", "fp16"}) {
      program_result const result = there.run(p, {"--precision", precision});
      CAPTURE(p.name, precision, result.error);
      CHECK(result.code == 0);
      CHECK(one_line(result.error));
      CHECK(contains(result.error, unetdn::cuda_description()));
      CHECK(contains(result.error, precision));
      fs::remove_all(there.path / "run");
    }
  }
#endif
}
