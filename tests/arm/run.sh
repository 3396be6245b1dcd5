#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tests/arm/run.sh
# Compiles the portable bodies for 64-bit ARM and runs tests of small shapes under qemu: the bits of the random numbers,
# convolutions, pooling and the sigmoid against their definitions, and the network against PyTorch's results.
set -euo pipefail
cd "$(dirname "$0")/../.."
for tool in aarch64-linux-gnu-g++ qemu-aarch64; do
  if ! command -v "$tool" >/dev/null; then
    echo "tests/arm/run.sh needs $tool: cmake/install_dependencies.sh test" >&2
    exit 1
  fi
done
work=build/arm
mkdir -p "$work/include"
ln -sfn /usr/include/catch2 "$work/include/catch2" # by itself: the folder around it is the host's
echo '#include <unetdn/devices/emulated.hpp>' >"$work/include/emulated_kernels.hpp" # translated with each test here

# compile SOURCE FLAG...
compile() {
  aarch64-linux-gnu-g++ -std=c++20 -DUNETDN_COMPILED -DUNETDN_TEST_SOURCE="\"$PWD/tests\"" \
    -I include -I kernels -I tests -isystem build/arm/include \
    -Wall -Wextra -Wpedantic -Wconversion -Wno-sign-conversion -Wshadow -Werror \
    "${@:2}" -c "$1" -o "build/arm/$(basename "$1" .cpp).o"
}
export -f compile

# Half of the time is the test framework's own: it is not optimised.
xargs -n 2 -P "$(nproc)" bash -c 'compile "$@"' compile <<'END'
tests/catch_main.cpp -O0
tests/networks/test_unet_golden.cpp -O1
tests/ops/test_conv2d.cpp -O1
tests/ops/test_max_pool2d.cpp -O1
tests/ops/test_sigmoid.cpp -O1
include/unetdn/cpu/compiled.cpp -O2
tests/ops/test_conv_transpose2d.cpp -O1
tests/core/random_hash.cpp -O2
END

# run NAME [FILTER]: static, so that qemu needs no folder of libraries. What it says comes in one piece.
run() {
  local said status=0
  aarch64-linux-gnu-g++ -static build/arm/{catch_main,compiled,"$1"}.o -o "build/arm/$1"
  said=$(qemu-aarch64 "build/arm/$1" "${@:2}" 2>&1) || status=$?
  printf -- '-- %s on ARM\n%s\n' "$1" "$said"
  return "$status"
}
export -f run

aarch64-linux-gnu-g++ -static "$work/random_hash.o" -o "$work/random_hash"
qemu-aarch64 "$work/random_hash"
# What runs on the cpu device; emulated kernels are slow here.
xargs -d '\n' -n 2 -P "$(nproc)" bash -c 'set -e; run "$@"' run <<'END'
test_conv2d
conv2d agrees*,conv2d's gradients are its adjoints*
test_conv_transpose2d
conv_transpose2d agrees*,conv_transpose2d's gradients*,conv_transpose2d's mask*
test_max_pool2d
max_pool2d is its definition on every instruction set*
test_sigmoid
sigmoid is near its definition*
test_unet_golden
*
END
