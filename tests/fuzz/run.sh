#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tests/fuzz/run.sh [SECONDS]
# Runs each program of `cmake --build --preset fuzz` for SECONDS (15), two at a time, and says how far each came.
# The corpus grows in build/fuzz/corpus from run to run; what breaks a program is left in build/fuzz/findings.
set -uo pipefail
cd "$(dirname "$0")/../.."

seconds=${1-15}
if ! [[ $seconds =~ ^[1-9][0-9]*$ ]] || (($# > 1)); then
  echo "usage: tests/fuzz/run.sh [SECONDS]" >&2
  exit 2
fi
programs=build/fuzz/tests/fuzz
corpus=build/fuzz/corpus
findings=build/fuzz/findings
if ! "$programs/make_seeds" build/fuzz/seeds; then
  echo "tests/fuzz/run.sh: build first: cmake --preset fuzz && cmake --build --preset fuzz" >&2
  exit 1
fi

# fuzz PROGRAM SEEDS DICTIONARY: a file of 2 KiB unpacks to at most 270 MB (PNG, one bit a pixel), so more is a finding.
# The limits of time are long, because the machine may have other work.
fuzz() {
  local log=build/fuzz/$1.log
  mkdir -p "$corpus/$1" "$findings"
  if "$programs/$1" "$corpus/$1" "build/fuzz/seeds/$2" -dict="tests/fuzz/$3.dict" -seed=1 \
    -max_total_time="$seconds" -max_len=2048 -timeout=30 -rss_limit_mb=2048 -malloc_limit_mb=512 \
    -artifact_prefix="$findings/$1-" >"$log" 2>&1; then
    printf '%-16s %s\n' "$1" "$(grep -E '^#[0-9]+\s+DONE' "$log")"
    return
  fi
  printf '%-16s FAILED; to see it again: %s FILE\n' "$1" "$programs/$1"
  tail -n 60 "$log"
  return 1
}

status=0
fuzz fuzz_image image image &
first=$!
fuzz fuzz_image_stb image image || status=1
wait "$first" || status=1
fuzz fuzz_json json json &
first=$!
fuzz fuzz_safetensors safetensors json || status=1
wait "$first" || status=1
exit "$status"
