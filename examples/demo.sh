#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ./examples/demo.sh [FOLDER]
# Shows within a minute how a tiny network takes noise off a picture, then trains a better one for a few minutes, on the
# pictures in FOLDER or on generated ones. Installs what is missing, builds below build/, leaves its results in out/demo.
# Environment: UNETDN_DEMO_MINUTES (3) of training; UNETDN_DEMO_BUILD and UNETDN_DEMO_OUT, other folders for both.
set -euo pipefail

if (($# > 1)) || [[ ${1-} == -* ]]; then
  echo "usage: ./examples/demo.sh [FOLDER]" >&2
  exit 2
fi
start=$PWD
folder=${1-}
if [[ -n $folder ]]; then
  if [[ ! -d $folder || ! -r $folder || ! -x $folder ]]; then
    echo "demo: $folder is not a folder that can be read; name one with pictures, or none" >&2
    exit 2
  fi
  folder=$(cd -- "$folder" && pwd)
fi
cd "$(dirname "$0")/.."
root=$PWD
minutes=${UNETDN_DEMO_MINUTES:-3}
build=${UNETDN_DEMO_BUILD:-$root/build/release}
out=${UNETDN_DEMO_OUT:-$root/out/demo}
programs=$build/examples

pictures=()
if [[ -n $folder ]]; then
  while IFS= read -r -d '' file; do
    pictures+=("$file")
  done < <(find -L "$folder" -maxdepth 1 -type f ! -name '.*' -iregex '.*\.\(png\|jpe?g\|bmp\|p[pgn]m\)' -print0 |
    LC_ALL=C sort -z)
  if ((${#pictures[@]} == 0)); then
    echo "demo: $folder holds no pictures (PNG, JPEG, BMP, PNM); name another folder, or none" >&2
    exit 2
  fi
fi

# With more than three pictures the first is kept out of training, to measure on; else the drawn scene is.
held_out=()
generated=400
if ((${#pictures[@]} > 3)); then
  held_out=("${pictures[0]}")
  pictures=("${pictures[@]:1}")
fi
if ((${#pictures[@]} > 0)); then
  # Generated pictures are mixed in, so that three photographs are enough.
  generated=$((2 * ${#pictures[@]}))
  generated=$((generated < 40 ? 40 : generated > 400 ? 400 : generated))
fi

# Says in one line what the network runs on.
name_processor() {
  local gpu
  gpu=$(timeout 10 nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1) || gpu=
  if [[ -z $gpu ]]; then
    echo "No GPU was found: the network runs on the processor."
  else
    echo "A GPU was found ($gpu): the network runs on it where the programs are built with CUDA, else on the processor."
  fi
}

what="generated pictures"
if [[ -n $folder ]]; then
  what="${#pictures[@]} pictures of $folder, and generated ones"
fi
cat <<TEXT
This will
  1. install the compiler and libraries that are missing    (half a minute; nothing where all is there)
  2. build one program                                      (half a minute, once)
  3. show how a tiny network takes the noise off a picture  (a second)
  4. build the programs that train and denoise              (a minute, once)
  5. train a larger network on $what  ($minutes minutes)
Results go to $out. Ctrl-C ends it at any time and keeps what is there; a second one quits at once.
$(name_processor)

TEXT

# The path as the caller may type it: short where the demo was started in the project's folder.
from_start() {
  if [[ $start == "$root" ]]; then
    echo "${1#"$root"/}"
  else
    echo "$1"
  fi
}

print_results() {
  echo "Report: $out/report.html"
  if [[ -f $out/best.safetensors ]]; then
    printf 'Your own picture: %q --weights %q PICTURE --out clean.png\n' \
      "$(from_start "$programs/denoise")" "$(from_start "$out/best.safetensors")"
  fi
}

# Programs get the signal too and end by themselves, train with its report and a checkpoint; this runs when they have.
interrupted() {
  trap - INT TERM
  echo
  if [[ -f $out/report.html ]]; then
    echo "Interrupted. What is there:"
    print_results
  else
    echo "Interrupted before there was a result; run it again."
  fi
  exit 130
}
trap interrupted INT TERM

build_programs() {
  cmake --build "$build" --target "$@"
}

cmake/install_dependencies.sh build
if [[ ! -f $build/build.ninja ]]; then
  cmake --preset release -B "$build" --log-level=ERROR -D UNETDN_CUDA=OFF >/dev/null
fi
build_programs before_after

rm -rf "$out"/{held_out,pictures,result,best.safetensors,report.html}  # of the demo before
mkdir -p "$out/held_out" "$out/pictures"
echo
"$programs/before_after" "${held_out[@]}" --longest 512 --out "$out" --force
cp "$out/clean.png" "$out/held_out/"
for file in "${pictures[@]}"; do
  ln -s "$file" "$out/pictures/"
done
echo
echo "Open the report now: from step 5 on it shows how training gets on."

build_programs train denoise

data=(--generated "$generated")
if ((${#pictures[@]} > 0)); then
  data+=(--data "$out/pictures")
fi
echo
# An interrupted train ends with 0: then the trap has run before the next line.
"$programs/train" "${data[@]}" --val "$out/held_out" --noise gaussian:25 --base 16 --levels 3 --output residual \
  --patch 64 --minutes "$minutes" --out "$out" --force

echo
"$programs/before_after" "$out/clean.png" --weights "$out/best.safetensors" --out "$out/result" --force
echo
print_results
