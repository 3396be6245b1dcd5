#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# benchmarks/gpu_check.sh --stage STAGE [--prefix DIR]... [--out DIR] [--build DIR] [--only NAMES] [--seconds N] [--dry-run]
# Checks and measures this library on a machine with an NVIDIA GPU. Downloads nothing. Each stage ends within nine
# minutes (build-test first: the others use what it has built), adds to gpu.json in --out and writes gpu.md from it, as
# each item ends. What the time was too short for is told as not reached, and the stage then fails.
#
#   build-test   builds everything with CUDA, and runs all tests of kernels, networks and training on the GPU
#   sanitize     the same kernels under compute-sanitizer, memcheck and racecheck, on a reduced set
#   kernels      each kernel's time beside the copy bandwidth and the matrix product rate of the same run
#   network      the whole network: inference and training steps, each layer, memory
#   peers        PyTorch, eager and compiled, beside ours in the same minutes
#
# --prefix DIR  holds the dependencies (include/, lib/) that are not where the compiler looks: Catch2, CLI11, stb, Google
#               Benchmark. benchmarks/gpu_prefix.sh makes one.
# --only NAMES  of a stage's items only those whose name matches this regular expression: those not reached, say
# --seconds N   begins nothing, and stops what runs, after so long (525)
# UNETDN_COMMIT in the environment names the commit, where this is a copy of its files rather than a clone of it.
# --dry-run     needs no GPU: builds, runs the same programs with the emulated device and tiny sizes, keeps no times.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

# Nine minutes, less the time that a program may take to die and that the last entries take to be written.
stage="" out=build/gpu/results build=build/gpu prefixes="" only="" dry=no limit=525
usage() { sed -n '3,/^set/p' benchmarks/gpu_check.sh | sed '$d' | cut -c3-; }
die() {
  echo "gpu_check.sh: $*" >&2
  exit 2
}
while (($# > 0)); do
  case $1 in
    --stage | --prefix | --out | --build | --only | --seconds)
      (($# > 1)) || die "$1 needs a value; see --help"
      case $1 in
        --stage) stage=$2 ;;
        --prefix) prefixes+="${prefixes:+;}$(realpath "$2")" ;;
        --out) out=$2 ;;
        --build) build=$2 ;;
        --only) only=$2 ;;
        --seconds) limit=$2 ;;
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
[[ $limit =~ ^[0-9]+$ ]] || die "--seconds is a whole number, not '$limit'"
if [[ $dry == no ]] && ! nvidia-smi -L >/dev/null 2>&1; then
  die "no NVIDIA GPU here (nvidia-smi finds none); --dry-run goes as far as possible without one"
fi

python=${PYTHON:-python3}
mkdir -p "$out" || exit 1
log=$out/$stage.log
: >"$log"
device=cuda
# Tests skip their cuda rows where no GPU can be used: here that is a failure.
export UNETDN_REQUIRE_CUDA=1
[[ $dry == yes ]] && device=emulated && unset UNETDN_REQUIRE_CUDA
failed=0
unreached=()
machine=$("$python" benchmarks/gpu_table.py machine) || exit 1

# record NAME STATUS [--results FILE]: one entry of gpu.json; FILE holds one JSON value.
record() {
  local extra=()
  [[ $dry == yes ]] && extra=(--dry-run)
  "$python" benchmarks/gpu_table.py add "$out" "$stage" "$1" "$2" "$SECONDS" --machine "$machine" "${extra[@]}" "${@:3}"
}

# attempt STATUS RESULTS NAME COMMAND...: runs it within what is left of the stage's time and records how it ended: with
# STATUS where it succeeds. Its output goes to the log; to RESULTS where that is a file, which is then recorded too.
attempt() {
  local success=$1 results=$2 name=$3 begin=$SECONDS left=$((limit - SECONDS)) status
  shift 3
  [[ -z $only || $name =~ $only ]] || return 0
  if ((left <= 0)); then
    echo "== $name: not reached" | tee -a "$log"
    unreached+=("$name")
    return 1
  fi
  echo "== $name: $*" | tee -a "$log"
  [[ -z $results ]] || : >"$results"
  timeout --kill-after=10 "$left" "$@" >>"${results:-$log}" 2>>"$log"
  status=$?
  if ((status == 0)); then
    record "$name" "$success" ${results:+--results "$results"}
    status=$?
  elif ((status == 124 || (status == 137 && SECONDS >= limit))); then
    record "$name" "stopped by the time limit" ${results:+--results "$results"}
  else
    record "$name" failed
  fi
  if ((status != 0)); then
    failed=$((failed + 1))
    tail -n 15 "$log"
  fi
  echo "   $((SECONDS - begin)) s"
  return "$status"
}

# run NAME COMMAND..., and measure NAME COMMAND... where the command's standard output is a JSON value with results.
run() { attempt passed "" "$@"; }
measure() { attempt measured "$out/$stage.$1.json" "$@"; }

needs_build() {
  [[ -x $build/benchmarks/gpu_network ]] || die "$build has nothing built; run --stage build-test first"
}

build_test() {
  local jobs architectures
  jobs=$(nproc)
  # Of the machine at hand alone, which builds faster; without a GPU, what is shipped.
  architectures=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d .)
  run configure cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE="-O2 -DNDEBUG" \
    -DCMAKE_PREFIX_PATH="$prefixes" -DUNETDN_CUDA=ON ${architectures:+-DUNETDN_CUDA_ARCHITECTURES="$architectures"} &&
    run build cmake --build "$build" -j "$jobs" || return
  run link "$build/tests/link_cuda"
  run tests ctest --test-dir "$build" -L 'cuda|isa' -j "$jobs" --no-tests=error --output-on-failure
}

sanitize() {
  needs_build
  # The cuda rows of tests/devices/on_devices.hpp: numbers 5 to 7 of rows, 3 to 5 of gpu_rows; or the emulated in bf16.
  local tool test sanitizer=() warn=() rows='*gpu_rows - 3,*gpu_rows - 4,*rows - 5,*rows - 6,*rows - 7'
  [[ $dry == yes ]] && rows='*gpu_rows - 1,*rows - 3'
  # Catch2 2 takes having run no test for a success unless it is told otherwise; 3 does not.
  "$build/tests/test_adamw" --help | grep -q NoTests && warn=(--warn NoTests)
  # Both tools on each program before the next: the slowest comes last.
  for test in adamw relu sigmoid max_pool2d elementwise reduce loss noise output_layer network conv_transpose2d \
    conv2d_devices; do
    for tool in memcheck racecheck; do
      [[ $dry == no ]] && sanitizer=(compute-sanitizer --tool "$tool" --error-exitcode 1)
      if [[ $test == network ]]; then
        run "$tool network" "${sanitizer[@]}" "$build/benchmarks/gpu_network" --device "$device" --precision bf16 \
          --base 8 --levels 2 --size 16 --batch 2 --training --repetitions 1 --times 2
      else
        run "$tool $test" "${sanitizer[@]}" "$build/tests/test_$test" "${warn[@]}" "$rows"
      fi
    done
  done
}

# A kernel that is wrong is not timed.
check_kernels() {
  run "checked first" ctest --test-dir "$build" -L cuda -j "$(nproc)" --no-tests=error --output-on-failure \
    -R '^(adamw|conv|elementwise|loss|max_pool|noise|output_layer|reduce|relu|sigmoid)'
}

kernels() {
  needs_build
  local shapes=() precisions="bf16 fp16 tf32 float" precision
  if [[ $dry == yes ]]; then
    shapes=(--shape "1,16,16,8,8" --benchmark_min_time=0.001) precisions="bf16"
  else
    check_kernels || return
    measure rates "$python" benchmarks/gpu_peers.py rates
    shapes=(--benchmark_min_time=0.05)
  fi
  for precision in $precisions; do
    measure "$precision" "$build/benchmarks/gpu_kernels" --device "$device" --precision "$precision" "${shapes[@]}" \
      --benchmark_format=json
  done
}

# rate NAME: a number that the stage measured before; 0 where it has not.
rate() {
  "$python" -c "import json, sys; print(json.load(open(sys.argv[1])).get(sys.argv[2], 0))" \
    "$out/$stage.rates.json" "$1" 2>/dev/null || echo 0
}

network() {
  needs_build
  local base precision pass options precisions="bf16 fp16 tf32 float" bases="64 32 16" cases="training:16 training:64 inference:1 inference:16"
  local sizes=(--size 256 --seconds 4)
  if [[ $dry == yes ]]; then
    sizes=(--size 16 --levels 2 --repetitions 1 --times 2) precisions=bf16 bases=8 cases="training:1 inference:1"
  else
    measure rates "$python" benchmarks/gpu_peers.py rates
  fi
  for precision in $precisions; do
    for base in $bases; do
      for pass in $cases; do
        options=(--device "$device" --precision "$precision" --base "$base" --batch "${pass#*:}" "${sizes[@]}")
        options+=(--gemm-tflops "$(rate "gemm_tflops_$precision")" --copy-gbs "$(rate copy_gbs)")
        [[ $pass == training:* ]] && options+=(--training)
        [[ $precision == bf16 && $pass == "${cases%% *}" ]] && options+=(--profile)
        measure "$precision-base$base-${pass/:/-}" "$build/benchmarks/gpu_network" "${options[@]}" --json
      done
    done
  done
}

peers() {
  needs_build
  local base pass sizes=() bases="64 32 16" cases="training:16 inference:16 inference:1 training:64"
  [[ $dry == yes ]] && sizes=(--dry-run) bases=8 cases="training:1 inference:1"
  for pass in $cases; do
    for base in $bases; do
      measure "base$base-${pass/:/-}" "$python" benchmarks/gpu_peers.py compare --network "$build/benchmarks/gpu_network" \
        --pass "${pass%:*}" --batch "${pass#*:}" --base "$base" "${sizes[@]}"
    done
  done
}

"${stage//-/_}"
((${#unreached[@]} == 0)) || record "$(printf '%s; ' "${unreached[@]}" | sed 's/; $//')" "not reached"
echo "$stage: $SECONDS s, $failed failed, ${#unreached[@]} not reached; $out/gpu.md, $log"
((failed + ${#unreached[@]} == 0))
