#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ./examples/demo.sh [FOLDER]
# Trains a small denoiser for a few minutes, on the pictures in FOLDER or on generated ones, and shows what it can do.
# Installs what is missing, builds below build/, and leaves its results in out/demo.
set -euo pipefail
cd "$(dirname "$0")/.."

if (($# > 1)) || [[ ${1-} == -* ]]; then
  echo "usage: ./examples/demo.sh [FOLDER]" >&2
  exit 2
fi
folder=${1-}
if [[ -n $folder && ! -d $folder ]]; then
  echo "demo: $folder is not a folder; name one with pictures, or none" >&2
  exit 2
fi
minutes=${UNETDN_DEMO_MINUTES:-3}
out=out/demo
programs=build/release/examples

cat <<TEXT
This will
  1. install the compiler and libraries that are missing  (at most a few minutes, once)
  2. build the programs                                    (about two minutes, once)
  3. draw a picture and put noise on it                    (seconds)
  4. train a small network on ${folder:-generated pictures}  ($minutes minutes)
  5. take the noise away again                             (seconds)
Results go to $out.

TEXT

cmake/install_dependencies.sh build
cmake --preset release --log-level=ERROR -D UNETDN_CUDA=OFF >/dev/null
cmake --build --preset release --target contact_sheet add_noise train denoise evaluate

rm -rf "$out"
mkdir -p "$out/held_out"
"$programs/contact_sheet" --seed 20260101 --size 128 --out "$out/held_out/picture.png" >/dev/null
"$programs/add_noise" --noise gaussian:25 "$out/held_out/picture.png" --out "$out/noisy.png" --quiet

data=(--generated 300)
if [[ -n $folder ]]; then
  data+=(--data "$folder")  # generated pictures are mixed in, so that three photographs are enough
fi
"$programs/train" "${data[@]}" --val "$out/held_out" --noise gaussian:25 --base 16 --levels 3 --output residual \
  --minutes "$minutes" --out "$out/run"
"$programs/denoise" --weights "$out/run/best.safetensors" "$out/noisy.png" --out "$out/denoised.png" --quiet

echo
"$programs/evaluate" --weights "$out/run/best.safetensors" --data "$out/held_out" --sigma 25
cat <<TEXT

Look at them: $out/held_out/picture.png, $out/noisy.png, $out/denoised.png
Your own picture: $programs/denoise --weights $out/run/best.safetensors PICTURE --out clean.png
TEXT
