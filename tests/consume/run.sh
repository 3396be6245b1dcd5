#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tests/consume/run.sh
# Builds the README's program in projects of its own that get this library in each of the three ways, at plain -O2,
# within a time limit; runs it, and looks at what it writes.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tests/consume
work=$root/build/consume
limit=20 # seconds that building the program may take

rm -rf "$work"
mkdir -p "$work"

awk '/^```/ { if (inside) exit; inside = ($0 == "```cpp"); next } inside' "$root/README.md" >"$work/program.cpp"
if ! grep -q 'int main' "$work/program.cpp"; then
  echo "README.md has no program: its first \`\`\`cpp block must be one" >&2
  exit 1
fi

tar -C "$root" --exclude ./build --exclude ./.git -czf "$work/unetdn.tar.gz" .

cmake --log-level=WARNING -G Ninja -S "$root" -B "$work/package" -D CMAKE_BUILD_TYPE= -D CMAKE_CXX_FLAGS=-O2 \
  -D UNETDN_TESTS=OFF -D UNETDN_EXAMPLES=OFF -D UNETDN_BENCHMARKS=OFF -D UNETDN_CUDA=OFF
cmake --build "$work/package"
cmake --install "$work/package" --prefix "$work/prefix" >/dev/null

for way in add_subdirectory fetch_content installed; do
  folder=$work/$way
  cmake --log-level=WARNING -G Ninja -S "$here/$way" -B "$folder" -D CMAKE_BUILD_TYPE= -D CMAKE_CXX_FLAGS=-O2 \
    -D PROGRAM="$work/program.cpp" -D UNETDN_CUDA=OFF \
    -D UNETDN_SOURCE="$root" -D UNETDN_ARCHIVE="$work/unetdn.tar.gz" -D CMAKE_PREFIX_PATH="$work/prefix" --no-warn-unused-cli
  begin=$(date +%s%N)
  cmake --build "$folder" --target program
  milliseconds=$((($(date +%s%N) - begin) / 1000000))
  echo "$way: the README's program was built in $milliseconds ms"
  if ((milliseconds > limit * 1000)); then
    echo "$way: that is more than $limit s" >&2
    exit 1
  fi
  "$root/tests/consume/run_program.sh" "$folder/program"
done
