#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tests/consume/run.sh
# Builds the README's program in projects of its own that get this library in each of the three ways, at plain -O2; tells
# how long that took (20 s is the aim; a shared machine is no place to insist on it); runs it, and looks at what it writes.
# Where build/ci-gcc has unetdn::cuda, clang++ links a program with what that build installs, in a project without CUDA.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tests/consume
picture=$root/docs/images/before_after.png
work=$root/build/consume

rm -rf "$work"
mkdir -p "$work"

awk '/^```/ { if (inside) exit; inside = ($0 == "```cpp"); next } inside' "$root/README.md" >"$work/program.cpp"
if ! grep -q 'int main' "$work/program.cpp"; then
  echo "README.md has no program: its first \`\`\`cpp block must be one" >&2
  exit 1
fi

tar -C "$root" --exclude ./build --exclude './build-*' --exclude ./.git --exclude ./.deps --exclude ./.venv \
  --exclude ./out -czf "$work/unetdn.tar.gz" .

# With unetdn::cuda, where build/ci-gcc has it.
try_cuda() {
  if [[ ! -f $root/build/ci-gcc/kernels/libunetdn_cuda.a ]]; then
    echo "installed unetdn::cuda: not tried, build/ci-gcc has none"
    return
  fi
  cmake --install "$root/build/ci-gcc" --prefix "$work/cuda_prefix" >/dev/null
  cmake --log-level=WARNING -G Ninja -S "$here/cuda" -B "$work/cuda" -D CMAKE_CXX_COMPILER=clang++ -D CMAKE_BUILD_TYPE= \
    -D PROGRAM="$root/tests/seam/link_cuda.cpp" -D CMAKE_PREFIX_PATH="$work/cuda_prefix"
  cmake --build "$work/cuda"
  "$work/cuda/program"
}

try_cuda >"$work/cuda.log" 2>&1 &  # beside the package, before the ways are timed
cuda=$!
cmake --log-level=WARNING -G Ninja -S "$root" -B "$work/package" -D CMAKE_BUILD_TYPE= -D CMAKE_CXX_FLAGS=-O2 \
  -D UNETDN_TESTS=OFF -D UNETDN_EXAMPLES=OFF -D UNETDN_BENCHMARKS=OFF -D UNETDN_CUDA=OFF
cmake --build "$work/package"
cmake --install "$work/package" --prefix "$work/prefix" >/dev/null

# run_program PROGRAM FOLDER: denoises a picture, and is told what is wrong with bad input.
run_program() {
  local program=$1 folder=$2 status=0
  "$program" "$root/examples/tiny/gaussian25.safetensors" "$picture" "$folder/clean.png"
  if ! cmp -s <(head -c 8 "$picture") <(head -c 8 "$folder/clean.png"); then
    echo "$program wrote no PNG file" >&2
    return 1
  fi
  "$program" "$folder/missing.safetensors" "$picture" "$folder/not.png" 2>"$folder/message" || status=$?
  if [[ $status != 1 || -e $folder/not.png ]] || ! grep -q missing.safetensors "$folder/message"; then
    echo "$program did not refuse a missing weight file by name (exit code $status)" >&2
    return 1
  fi
}

try_way() {
  local way=$1 folder=$work/$1 begin
  cmake --log-level=WARNING -G Ninja -S "$here/$way" -B "$folder" -D CMAKE_BUILD_TYPE= -D CMAKE_CXX_FLAGS=-O2 \
    -D PROGRAM="$work/program.cpp" -D UNETDN_SOURCE="$root" -D UNETDN_ARCHIVE="$work/unetdn.tar.gz" \
    -D CMAKE_PREFIX_PATH="$work/prefix" --no-warn-unused-cli
  if [[ $way != installed ]]; then
    cmake --build "$folder" --target unetdn_image  # the library's own compiled part is not the program
  fi
  begin=$(date +%s%N)
  cmake --build "$folder" --target program
  echo "$way: the README's program was built in $((($(date +%s%N) - begin) / 1000000)) ms"
  run_program "$folder/program" "$folder"
}

failed=no
wait "$cuda" || failed=yes
cat "$work/cuda.log"

declare -A processes
for way in installed add_subdirectory fetch_content; do
  try_way $way >"$work/$way.log" 2>&1 &
  processes[$way]=$!
done
for way in "${!processes[@]}"; do
  wait "${processes[$way]}" || failed=yes
  cat "$work/$way.log"
done
[[ $failed == no ]]
