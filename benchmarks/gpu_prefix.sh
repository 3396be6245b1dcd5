#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# benchmarks/gpu_prefix.sh DIR
# Copies the dependencies that are installed here (cmake/install_dependencies.sh build test benchmark, on Debian or Ubuntu)
# into DIR, a few MiB: a machine with a GPU that can install nothing takes them from there (gpu_check.sh --prefix DIR). Its
# C library must not be older than this machine's.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=${1:?usage: benchmarks/gpu_prefix.sh DIR}
mkdir -p "$dir"
dir=$(realpath "$dir")

# Copies what is below /usr under the same name: CMake packages find their libraries by relative paths.
take() {
  local path
  for path in "$@"; do
    [[ -e $path || -L $path ]] || continue
    mkdir -p "$dir/$(dirname "${path#/usr/}")"
    cp -a "$path" "$dir/${path#/usr/}"
  done
}
libraries=/usr/lib/$(c++ -print-multiarch)
take /usr/include/{catch2,CLI,stb,benchmark,nlohmann}
take {/usr/share,/usr/lib,"$libraries"}/cmake/{Catch2,CLI11,benchmark,nlohmann_json}
take "$libraries"/libbenchmark* "$libraries"/libCatch2*
echo "$dir: $(du -sh "$dir" | cut -f1)"
