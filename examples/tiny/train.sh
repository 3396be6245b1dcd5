#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ./examples/tiny/train.sh
# Trains the network that examples/tiny holds: for colour pictures with Gaussian noise of sigma 25, on generated pictures
# only. Takes several minutes on two cores; needs build/release/examples/train
# (cmake --preset release && cmake --build --preset release --target train).
set -euo pipefail
cd "$(dirname "$0")/../.."
trap 'exit 130' INT TERM  # train ends well then, but its weights are not what is wanted

build/release/examples/train --generated 1000 --noise gaussian:25 --base 8 --levels 3 --output residual \
  --loss mse --rate 0.002 --patch 64 --batch 4 --steps 36000 --seed 1 --device cpu --out out/tiny "$@"
cp out/tiny/best.safetensors examples/tiny/gaussian25.safetensors
