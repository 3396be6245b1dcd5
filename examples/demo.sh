#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ./examples/demo.sh [FOLDER]
# Shows within a minute how a tiny network takes noise off a picture, then trains a better one for a few minutes, on the
# pictures in FOLDER and below it or on generated ones. Installs what is missing, builds below build/, leaves its results
# in out/demo. Environment: UNETDN_DEMO_MINUTES (3) of training; UNETDN_DEMO_BUILD and UNETDN_DEMO_OUT, other folders for
# both.
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

# The path that the caller means, who stands in another folder.
from_here() {
  if [[ $1 == /* ]]; then
    echo "$1"
  else
    echo "$start/$1"
  fi
}
minutes=${UNETDN_DEMO_MINUTES:-3}
if ! [[ $minutes =~ ^[0-9]*\.?[0-9]+$ ]]; then
  echo "demo: UNETDN_DEMO_MINUTES is '$minutes', which is no number of minutes; set it to one such as 3, or leave it out" >&2
  exit 2
fi
build=$(from_here "${UNETDN_DEMO_BUILD:-$root/build/release}")
out=$(from_here "${UNETDN_DEMO_OUT:-$root/out/demo}")
programs=$build/examples

# The results of the demo before are removed: from a folder that this file says is the demo's, never from another.
marker=$out/.unetdn_demo
if [[ ! -e $marker && -e $out ]] && [[ ! -d $out || -n $(ls -A -- "$out" 2>&1) ]]; then
  echo "demo: $out holds files that are not the demo's; set UNETDN_DEMO_OUT to a new or empty folder" >&2
  exit 2
fi
if [[ -n $folder && $folder/ -ef $out/ || $folder/ == "$out"/* ]]; then
  echo "demo: $folder is where the demo's results go; name the folder that the pictures came from" >&2
  exit 2
fi

pictures=()
if [[ -n $folder ]]; then
  not_results=()
  if [[ -d $out ]]; then
    not_results=(-samefile "$out" -prune -o)
  fi
  while IFS= read -r -d '' file; do
    pictures+=("$file")
  done < <(find -L "$folder" -mindepth 1 -name '.*' -prune -o "${not_results[@]}" \
    -type f -iregex '.*\.\(png\|jpe?g\|bmp\|p[pgn]m\)' -print0 | LC_ALL=C sort -z)
  if ((${#pictures[@]} == 0)); then
    echo "demo: $folder holds no pictures (PNG, JPEG, BMP, PNM); name another folder, or none" >&2
    exit 2
  fi
fi

generated=400
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
    echo "A GPU was found ($gpu); this demo uses the processor. Programs that are built with CUDA use the GPU."
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
without_cuda=(-D UNETDN_CUDA=OFF)
if [[ -f $build/build.ninja ]]; then
  without_cuda=()  # somebody has chosen
fi
cmake --preset release -B "$build" --log-level=ERROR "${without_cuda[@]}" >/dev/null
build_programs before_after

mkdir -p "$out"
echo "The demo's folder: it removes and replaces what is here." >"$marker"
rm -rf "$out"/{held_out,pictures,result,best.safetensors,report.html}
mkdir "$out/held_out" "$out/pictures"
echo

# Shows a picture before and after; false where it cannot be read, which one line says.
show() {
  local said
  { said=$("$programs/before_after" "$1" --longest 512 --out "$out" --force 2>&1 >&3); } 3>&1 && return
  if [[ $said != "before_after: $1: "* ]]; then
    echo "$said" >&2
    exit 1
  fi
  echo "demo: left out: ${said#before_after: }" >&2
  return 1
}

# With more than three pictures the first that can be read is kept out of training, to measure on; else the drawn scene
# is.
shown=
while [[ -z $shown ]] && ((${#pictures[@]} > 3)); do
  if show "${pictures[0]}"; then
    shown=${pictures[0]}
  fi
  pictures=("${pictures[@]:1}")
done
if [[ -z $shown ]]; then
  "$programs/before_after" --out "$out" --force
fi
cp "$out/clean.png" "$out/held_out/"

# Pictures of several folders may have one name, so each gets a number; long names are cut.
for i in "${!pictures[@]}"; do
  name=${pictures[i]##*/}
  ln -s "${pictures[i]}" "$out/pictures/$i ${name: ${#name} > 50 ? -50 : 0}"
done
echo
echo "Open the report now: from step 5 on it shows how training gets on."

build_programs train denoise

data=(--generated "$generated")
if ((${#pictures[@]} > 0)); then
  data+=(--data "$out/pictures" --replace-damaged)
fi
echo
# An interrupted train ends with 0: then the trap has run before the next line.
"$programs/train" "${data[@]}" --val "$out/held_out" --noise gaussian:25 --base 16 --levels 3 --output residual \
  --patch 64 --device cpu --minutes "$minutes" --out "$out" --force

echo
"$programs/before_after" "$out/clean.png" --weights "$out/best.safetensors" --out "$out/result" --force
echo
print_results
