#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ./tests/run.sh           everything that continuous integration checks
# ./tests/run.sh --fast    the developer's loop: g++'s build and its tests, without benchmarks and nvcc
# Installs what is missing, builds below build/, and closes with a count of its stages.
set -uo pipefail
cd "$(dirname "$0")/.."

fast=no
case "${1-}" in
  "") ;;
  --fast) fast=yes ;;
  *)
    echo "usage: ./tests/run.sh [--fast]" >&2
    exit 2
    ;;
esac

passed=0
failed=0
summary=""

# stage "what it is" command...: runs the command, and counts and times it.
stage() {
  local what=$1 begin=$SECONDS verdict=passed
  shift
  printf '\n== %s\n' "$what"
  if "$@"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    verdict=FAILED
  fi
  summary+=$(printf '%-6s %4d s  %s' "$verdict" $((SECONDS - begin)) "$what")$'\n'
  [[ $verdict == passed ]]
}

finish() {
  printf '\n%s%d s in all\n' "$summary" "$SECONDS"
  if [[ $fast == yes ]]; then
    echo "NOT CHECKED: benchmarks, nvcc, clang++, sanitizers and more; ./tests/run.sh checks all"
  elif ! compgen -G 'build/*/kernels/libunetdn_cuda.a' >/dev/null; then
    echo "NOT CHECKED: no nvcc here, or too old a one, so no kernel was compiled for a GPU and nothing was linked with unetdn::cuda"
  fi
  if [[ $(uname -m) == x86_64 ]] && ! grep -qw avx512f /proc/cpuinfo; then
    echo "NOT CHECKED: this processor has no AVX-512, so the bodies for it were compiled and did not run"
  fi
  if [[ $fast == no ]] && ! arm_is_here; then
    echo "NOT CHECKED: no compiler for 64-bit ARM or no qemu-aarch64 here"
  fi
  if ! command -v chromium >/dev/null; then
    echo "NOT CHECKED: no chromium here, so reports were not opened in a browser"
  fi
  if [[ $fast == no ]] && ! clang-format --version | grep -q 'version 14\.'; then
    echo "NOT CHECKED: clang-format is not of version 14, so the format was not compared"
  fi
  echo "$passed passed, $failed failed"
  ((failed == 0))
  exit
}

arm_is_here() { command -v aarch64-linux-gnu-g++ && command -v qemu-aarch64; } >/dev/null

jobs=$(nproc)

build() {
  cmake --preset "$1" --log-level=WARNING "${@:2}" && cmake --build --preset "$1" -j "$jobs"
}

run_tests() {
  ctest --preset "$1" -j "$jobs" --no-tests=error "${@:2}"
}

# Old ThreadSanitizer runtimes can't live with much address space randomisation: turn that off where we may.
run_thread_tests() {
  if setarch -R true 2>/dev/null; then
    setarch -R ctest --preset tsan -j "$jobs" --no-tests=error
  else
    run_tests tsan
  fi
}

check_format() {
  git ls-files '*.hpp' '*.cpp' '*.cu' '*.cuh' '*.inl' | xargs clang-format --dry-run -Werror
}

# A lean set of checks on a few files that include most of the library.
check_tidy() {
  local files=(include/unetdn/image.cpp)
  printf '%s\n' "${files[@]}" | xargs -n 1 -P "$jobs" clang-tidy --quiet -p build/ci-clang
}

# What clang++ says of the programs, whose machine code is g++'s, and beside it clang-tidy.
check_with_clang() {
  local programs=build/ci-clang/programs.txt tidy
  check_tidy &
  tidy=$!
  sed -n 's/^ *"command": "\(.*\)",$/\1 -fsyntax-only/p' build/ci-clang/compile_commands.json |
    grep -E ' -c [^ ]*/(examples|benchmarks)/' | sed 's/\\\(.\)/\1/g' >$programs
  [[ -s $programs ]] && xargs -a $programs -d '\n' -n 1 -P "$jobs" sh -c && wait "$tidy"
}

if [[ $fast == yes ]]; then
  stage "dependencies" cmake/install_dependencies.sh build test || finish
  stage "g++: build" build fast && stage "g++: tests" run_tests fast
  finish
fi

stage "dependencies" cmake/install_dependencies.sh build test benchmark || finish
stage "g++, and nvcc where there is one: build" build ci-gcc && stage "g++: tests" run_tests ci-gcc
stage "clang++ with AddressSanitizer and UndefinedBehaviorSanitizer: build" build ci-clang && {
  stage "clang++ with AddressSanitizer and UndefinedBehaviorSanitizer: tests" run_tests ci-clang
  stage "clang++: programs, and clang-tidy" check_with_clang
  stage "clang++: each header alone" cmake --build --preset ci-clang -j "$jobs" --target unetdn_headers
}
stage "ThreadSanitizer: build" build tsan && stage "ThreadSanitizer: tests" run_thread_tests
stage "fuzzing: build" build fuzz && stage "fuzzing" tests/fuzz/run.sh
stage "consumers" tests/consume/run.sh
if arm_is_here; then
  stage "64-bit ARM, emulated" tests/arm/run.sh
fi
if clang-format --version | grep -q 'version 14\.'; then
  stage "clang-format" check_format
fi
finish
