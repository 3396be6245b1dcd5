#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# benchmarks/gpu_check.sh --stage STAGE [--prefix DIR]... [--out DIR] [--build DIR] [--dry-run]
# Checks and measures this library on a machine with an NVIDIA GPU. Downloads nothing. Each stage ends within nine
# minutes (build-test first: the others use what it has built), adds to gpu.json in --out and writes gpu.md from it.
#
#   build-test   builds everything with CUDA, and runs all tests of kernels, networks and training on the GPU
#   sanitize     the same kernels under compute-sanitizer, memcheck and racecheck, on a reduced set
#   kernels      each kernel's time beside the copy bandwidth and the matrix product rate of the same run
#   network      the whole network: inference and training steps, each layer, memory
#   peers        PyTorch, eager and compiled, beside ours in the same minutes
#
# --prefix DIR  holds the dependencies (include/, lib/) that are not where the compiler looks: Catch2, CLI11, stb, Google
#               Benchmark. benchmarks/gpu_prefix.sh makes one.
# --dry-run     needs no GPU: builds, runs the same programs with the emulated device and tiny sizes, keeps no times.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

stage="" out=build/gpu/results build=build/gpu prefixes="" dry=no limit=540
usage() { sed -n '3,17p' benchmarks/gpu_check.sh | cut -c3-; }
die() {
  echo "gpu_check.sh: $*" >&2
  exit 2
}
while (($# > 0)); do
  case $1 in
    --stage | --prefix | --out | --build)
      (($# > 1)) || die "$1 needs a value; see --help"
      case $1 in
        --stage) stage=$2 ;;
        --prefix) prefixes+="${prefixes:+;}$(realpath "$2")" ;;
        --out) out=$2 ;;
        --build) build=$2 ;;
      esac
      shift 2
      ;;
    --dry-run)
      dry=yes
      shift
      ;;
    --help)
      usage
      exit 0
      ;;
    *) die "unknown option '$1'; see --help" ;;
  esac
done
case $stage in
  build-test | sanitize | kernels | network | peers) ;;
  "") die "give --stage build-test, sanitize, kernels, network or peers" ;;
  *) die "no stage '$stage': choose from build-test, sanitize, kernels, network, peers" ;;
esac
if [[ $dry == no ]] && ! nvidia-smi -L >/dev/null 2>&1; then
  die "no NVIDIA GPU here (nvidia-smi finds none); --dry-run goes as far as possible without one"
fi

python=${PYTHON:-python3}
mkdir -p "$out" || exit 1
log=$out/$stage.log
: >"$log"
device=cuda
[[ $dry == yes ]] && device=emulated
failed=0

# seconds that are left of the stage's time
left() { echo $((limit - SECONDS > 5 ? limit - SECONDS : 5)); }

# record NAME STATUS [FILE]: one entry of gpu.json; FILE holds one JSON value with its results.
record() {
  local extra=()
  [[ $dry == yes ]] && extra=(--dry-run)
  "$python" benchmarks/gpu_table.py add "$out" "$stage" "$1" "$2" "$SECONDS" "${extra[@]}" "${@:3}"
}

# run NAME COMMAND...: runs it within what is left of the stage's time, its output in the log, and records how it ended.
run() {
  local name=$1 begin=$SECONDS status
  shift
  echo "== $name: $*" | tee -a "$log"
  timeout --kill-after=10 "$(left)" "$@" >>"$log" 2>&1
  status=$?
  if ((status == 0)); then
    record "$name" passed
  else
    record "$name" "$([[ $status == 124 || $status == 137 ]] && echo "stopped by the time limit" || echo failed)"
    failed=$((failed + 1))
    tail -n 15 "$log"
  fi
  echo "   $((SECONDS - begin)) s"
  return "$status"
}

# measure NAME COMMAND...: the same; the command's standard output is a JSON value, which is recorded.
measure() {
  local name=$1 json status
  shift
  json=$out/$stage.$name.json
  echo "== $name: $*" | tee -a "$log"
  timeout --kill-after=10 "$(left)" "$@" >"$json" 2>>"$log"
  status=$?
  if ((status == 0)); then
    record "$name" measured "$json"
  else
    record "$name" failed
    failed=$((failed + 1))
    tail -n 15 "$log"
  fi
  return "$status"
}

needs_build() {
  [[ -x $build/benchmarks/gpu_network ]] || die "$build has nothing built; run --stage build-test first"
}

build_test() {
  local jobs architectures
  jobs=$(nproc)
  # Of the machine at hand alone, which builds three times faster; without a GPU, what is shipped.
  architectures=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d .)
  run configure cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE="-O2 -DNDEBUG" \
    -DCMAKE_PREFIX_PATH="$prefixes" -DUNETDN_CUDA=ON ${architectures:+-DUNETDN_CUDA_ARCHITECTURES="$architectures-real"} &&
    run build cmake --build "$build" -j "$jobs" || return
  # Tests with cuda rows skip them where there is no GPU: here that is a failure.
  run link "$build/tests/link_cuda"
  run tests ctest --test-dir "$build" -L cuda -j "$jobs" --no-tests=error --output-on-failure
  if [[ $dry == no ]] && grep -q "cuda rows skipped" "$log"; then
    record "cuda rows" "failed: tests skipped them"
    failed=$((failed + 1))
  fi
}

sanitize() {
  needs_build
  local tool test sanitizer=()
  for tool in memcheck racecheck; do
    [[ $dry == no ]] && sanitizer=(compute-sanitizer --tool "$tool" --error-exitcode 1)
    for test in relu reduce conv2d_devices conv_transpose2d max_pool2d adamw; do
      [[ -x $build/tests/test_$test ]] || continue
      (($(left) > 5)) || break
      run "$tool $test" "${sanitizer[@]}" "$build/tests/test_$test" "*cuda*"
    done
    run "$tool network" "${sanitizer[@]}" "$build/benchmarks/gpu_network" --device "$device" --precision bf16 --base 8 \
      --levels 2 --size 16 --batch 2 --training --repetitions 1 --times 2
  done
}

kernels() {
  needs_build
  local shapes=() precisions="bf16 fp16 tf32 float" precision
  if [[ $dry == yes ]]; then
    shapes=(--shape 1,16,16,8,8 --benchmark_min_time=0.001) precisions="bf16"
  else
    measure rates "$python" benchmarks/gpu_peers.py rates
    shapes=(--shape 16,256,256,64,64 --shape 16,128,128,128,128 --shape 16,64,64,256,256 --shape 16,32,32,512,512
      --shape 16,16,16,1024,1024 --shape 16,256,256,3,64 --shape 16,256,256,32,32 --shape 16,256,256,16,16
      --benchmark_min_time=0.05)
  fi
  for precision in $precisions; do
    measure "$precision" "$build/benchmarks/gpu_kernels" --device "$device" --precision "$precision" "${shapes[@]}" \
      --benchmark_format=json
  done
}

network() {
  needs_build
  local base precision batch pass sizes=(--size 256) bases="64 32 16"
  [[ $dry == yes ]] && sizes=(--size 16 --levels 2 --repetitions 1 --times 2) bases=8
  for precision in bf16 fp16 tf32 float; do
    for base in $bases; do
      for pass in "--training 16" "--training 64" " 1" " 16"; do
        batch=${pass##* }
        [[ $dry == yes ]] && batch=1
        measure "$precision-base$base-${pass%% *}batch${pass##* }" "$build/benchmarks/gpu_network" --device "$device" \
          --precision "$precision" --base "$base" --batch "$batch" ${pass%% *} "${sizes[@]}" --json
      done
    done
  done
  [[ $dry == yes ]] && batch=1 base=8 || batch=16 base=64
  run profile "$build/benchmarks/gpu_network" --device "$device" --precision bf16 --base "$base" --batch "$batch" --training \
    "${sizes[@]}" --profile
}

peers() {
  needs_build
  local options=()
  [[ $dry == yes ]] && options=(--dry-run)
  measure ratios "$python" benchmarks/gpu_peers.py compare --network "$build/benchmarks/gpu_network" --seconds "$(left)" \
    "${options[@]}"
}

"${stage//-/_}"
echo "$stage: $SECONDS s, $failed failed; $out/gpu.md, $log"
((failed == 0))
