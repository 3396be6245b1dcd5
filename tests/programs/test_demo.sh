#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tests/programs/test_demo.sh BUILD
# Runs the demo, to its end and with Ctrl-C at several moments, on programs that the folder BUILD holds: a cmake of our own
# builds nothing, or takes its time where an interruption is to meet a build.
set -euo pipefail
set -m  # each job is a process group of its own, which Ctrl-C reaches as a whole

build=$(cd "$1" && pwd)
demo=$(cd "$(dirname "$0")/../.." && pwd)/examples/demo.sh
work=$(mktemp -d "${TMPDIR:-/tmp}/unetdn demo.XXXXXX")
trap 'rm -rf "$work"' EXIT

fail() {
  echo "test_demo: $1" >&2
  cat "$work/printed" >&2
  exit 1
}

# start FOLDER: the demo in the background, in the folder $work, its output in $work/printed.
start() {
  (cd "$work" && PATH=$work/tools:$PATH UNETDN_DEMO_BUILD=${UNETDN_DEMO_BUILD:-$build} \
    UNETDN_DEMO_OUT=${UNETDN_DEMO_OUT:-out} exec "$demo" "$@") >"$work/printed" 2>&1 </dev/null &
  job=$!
}

# wait_for TEXT: until the demo has printed it.
wait_for() {
  for _ in $(seq 600); do
    if grep -q -- "$1" "$work/printed"; then return; fi
    sleep 0.1
  done
  fail "the demo did not come to print '$1'"
}

# exits_with CODE: waits for the end of the demo, of which nothing goes on.
exits_with() {
  local code=0
  wait "$job" || code=$?
  ((code == $1)) || fail "exit code $code, not $1"
  if kill -0 -- "-$job" 2>/dev/null; then fail "a part of it still runs"; fi
}

# ends_with CODE: the same; the report is then whole and does not wait for more.
ends_with() {
  exits_with "$1"
  grep -q '</html>' "$work/out/report.html" || fail "no whole report"
  if grep -q "class='live'" "$work/out/report.html"; then fail "the report waits for more"; fi
  grep -q '^Report: ' "$work/printed" || fail "the report is not named"
}

mkdir "$work/tools" "$work/few pictures" "$work/more pictures"
cat >"$work/tools/cmake" <<'END'
#!/bin/sh
case "$*" in *train*) sleep "${UNETDN_TEST_BUILD_SECONDS:-0}" ;; *--preset*) sleep "${UNETDN_TEST_CONFIGURE_SECONDS:-0}" ;; esac
END
printf '#!/bin/sh\nexit 9\n' >"$work/tools/nvidia-smi"  # no driver
chmod +x "$work/tools/cmake" "$work/tools/nvidia-smi"
for i in 1 2 3 4 5; do
  "$build/examples/contact_sheet" --seed $i --size 48 --columns 2 --out "$work/more pictures/$i.png" >/dev/null
done
cp "$work/more pictures/"[123].png "$work/few pictures/"

# refuses FOLDER TEXT: the demo ends at once, with one line that has the text.
refuses() {
  local code=0
  start "$1"
  wait "$job" || code=$?
  ((code == 2)) || fail "exit code $code, not 2"
  [[ $(wc -l <"$work/printed") == 1 ]] || fail "not one line"
  grep -q -- "$2" "$work/printed" || fail "it does not say '$2'"
}

echo "minutes that are no number"
UNETDN_DEMO_MINUTES=abc refuses "few pictures" "UNETDN_DEMO_MINUTES is 'abc'"

echo "a folder of somebody's own files"
mkdir -p "$work/own/result"
echo mine >"$work/own/result/mine"
UNETDN_DEMO_OUT=own refuses "few pictures" "set UNETDN_DEMO_OUT"
UNETDN_DEMO_OUT=own/result/mine refuses "few pictures" "set UNETDN_DEMO_OUT"
[[ $(cat "$work/own/result/mine") == mine && $(ls -A "$work/own") == result ]] || fail "it touched another's files"

echo "to the end, with few pictures"
mkdir "$work/out"  # empty: its to use
UNETDN_DEMO_MINUTES=0.03 start "few pictures"
ends_with 0
grep -q '^No GPU was found: ' "$work/printed" || fail "no word about a GPU"
grep -q '^gain ' "$work/printed" || fail "the gain is not named"
command=$(sed -n 's/^Your own picture: //p' "$work/printed")
(cd "$work" && eval "${command//PICTURE/'"few pictures/2.png"'}") >/dev/null || fail "its last command does not work"
[[ -f $work/clean.png ]] || fail "its last command leaves no picture"
[[ $(find -L "$work/out/pictures" -type f | wc -l) == 3 ]] || fail "not all pictures are learnt from"
[[ -f $work/out/best.safetensors ]] || fail "no weights"
refuses out/pictures "name the folder that the pictures came from"

echo "to the end, with damaged pictures in folders below"
mkdir -p "$work/damaged/b/.hidden"
cp "$work/more pictures/"[123].png "$work/damaged/b"
cp "$work/more pictures/4.png" "$work/damaged/b/.hidden"
for name in a.png b/0.png c/1.png; do
  mkdir -p "$(dirname "$work/damaged/$name")"
  head -c 900 "$work/more pictures/5.png" >"$work/damaged/$name"
done
UNETDN_DEMO_MINUTES=0.05 start damaged
ends_with 0
for name in a.png b/0.png; do
  grep -q "^demo: left out: $work/damaged/$name: is a damaged" "$work/printed" || fail "no word about $name"
done
grep -q "^train: left out: $work/out/pictures/2 1.png: is a damaged" "$work/printed" || fail "no word about c/1.png"
[[ $(find -L "$work/out/pictures" -type f | wc -l) == 3 ]] || fail "not all other pictures are learnt from"

echo "to the end, with nothing but damaged pictures"
rm -r "$work/damaged/b"
UNETDN_DEMO_MINUTES=0.05 start damaged
ends_with 0
[[ $(grep -c "left out: " "$work/printed") == 2 ]] || fail "not a line for each damaged picture"

echo "interrupted while it trains, with more pictures"
UNETDN_DEMO_MINUTES=5 start "more pictures"
wait_for '^step '
kill -INT -- "-$job"
ends_with 130
[[ $(find -L "$work/out/pictures" -type f | wc -l) == 4 ]] || fail "the held-out picture is learnt from"
[[ -z $(find "$work/out/pictures" -lname "*/1.png") ]] || fail "the held-out picture is learnt from"

echo "interrupted twice while it trains"
UNETDN_DEMO_MINUTES=5 start
wait_for '^step '
kill -INT -- "-$job"
sleep 0.1
kill -INT -- "-$job" || true
exits_with 130
grep -q '</html>' "$work/out/report.html" || fail "no whole report"

echo "interrupted while it configures"
rm -r "$work/out"
printf '#!/bin/sh\necho "Test GPU"\n' >"$work/tools/nvidia-smi"
UNETDN_TEST_CONFIGURE_SECONDS=60 UNETDN_DEMO_BUILD=$work/new start
wait_for '^A GPU was found (Test GPU); this demo uses the processor'
sleep 0.5
kill -INT -- "-$job"
exits_with 130
grep -q '^Interrupted before there was a result' "$work/printed" || fail "it does not say that there is no result"
[[ ! -e $work/out ]] || fail "it left results"

echo "interrupted while it builds"
UNETDN_TEST_BUILD_SECONDS=60 start
wait_for '^Open the report'
kill -INT -- "-$job"
ends_with 130

echo "a folder without pictures"
mkdir "$work/nothing"
refuses nothing "holds no pictures"
