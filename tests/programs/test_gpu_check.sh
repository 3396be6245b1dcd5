#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tests/programs/test_gpu_check.sh BUILD
# Runs stages of benchmarks/gpu_check.sh without a GPU on what BUILD holds, and looks at what they write.
set -euo pipefail
build=$1
out=$(mktemp -d "${TMPDIR:-/tmp}/unetdn gpu_check.XXXXXX")
trap 'rm -rf "$out"' EXIT
cd "$(dirname "$0")/../.."

# check STAGE OPTION...
check() { benchmarks/gpu_check.sh --stage "$@" --dry-run --build "$build" --out "$out"; }
# expect TEXT: a line of the table has it.
expect() {
  grep -qF "$1" "$out/gpu.md" || {
    echo "gpu.md lacks '$1':" >&2
    cat "$out/gpu.md" >&2
    exit 1
  }
}

check kernels
expect "| kernels | bf16 | measured |"
check network
expect "| network | bf16-base8-training-1 | measured |"
expect "| network | bf16-base8-inference-1 | measured |"
grep -q '"pass": "weight gradient"' "$out/network.bf16-base8-training-1.json"  # the layers of a profile
if check network --seconds 0; then
  echo "a stage without time has passed" >&2
  exit 1
fi
expect "| not reached |"
