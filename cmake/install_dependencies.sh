#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# cmake/install_dependencies.sh GROUP...
# Installs what this project needs and the machine lacks. Groups: build (library and programs), test, benchmark.
# Does nothing, and needs no network, where all is present. Installs with apt as root; otherwise it prints the one
# line to run and exits with 1.
set -euo pipefail

# group, how to see that it is there, and the package's name for apt, dnf and pacman; one with a question mark is done
# without where apt does not have it
table='
build      command:g++                    g++                 gcc-c++                 gcc
build      command:cmake                  cmake               cmake                   cmake
build      command:ninja                  ninja-build         ninja-build             ninja
build      header:png.h                   libpng-dev          libpng-devel            libpng
build      header:jpeglib.h               libjpeg-dev         libjpeg-turbo-devel     libjpeg-turbo
build      header:stb/stb_image.h         libstb-dev          stb-devel               stb
build      header:CLI/CLI.hpp             libcli11-dev        cli11-devel             cli11
test       header:catch2/catch_test_macros.hpp|catch2/catch.hpp  catch2  catch-devel   catch2
test       header:nlohmann/json.hpp       nlohmann-json3-dev  json-devel              nlohmann-json
test       command:git                    git                 git                     git
test       command:clang++                clang               clang                   clang
test       sanitizer:fuzzer           libclang-rt-dev     compiler-rt             compiler-rt
test       command:llvm-symbolizer        llvm                llvm                    llvm
test       command:clang-format           clang-format        clang-tools-extra       clang
test       command:clang-tidy             clang-tidy          clang-tools-extra       clang
test       command:setarch                util-linux          util-linux              util-linux
test       command:chromium           chromium?           chromium                chromium
test       command:aarch64-linux-gnu-g++ g++-aarch64-linux-gnu? gcc-c++-aarch64-linux-gnu aarch64-linux-gnu-gcc
test       command:qemu-aarch64           qemu-user?          qemu-user               qemu-user
benchmark  header:benchmark/benchmark.h   libbenchmark-dev    google-benchmark-devel  benchmark
benchmark  header:dnnl.hpp            libdnnl-dev?        onednn-devel            onednn
'

# present "command:NAME", "header:NAME|NAME" or "sanitizer:NAME", a library of clang++
present() {
  local kind=${1%%:*} name=${1#*:}
  if [[ $kind == command ]]; then
    command -v "$name" >/dev/null
    return
  fi
  if [[ $kind == sanitizer ]]; then
    echo 'extern "C" int LLVMFuzzerTestOneInput() { return 0; }' |
      clang++ -fsanitize="$name" -x c++ - -o /dev/null 2>/dev/null
    return
  fi
  local condition="__has_include(<${name//|/>) || __has_include(<}>)"
  printf '#if !(%s)\n#error missing\n#endif\n' "$condition" | c++ -x c++ -E - >/dev/null 2>&1
}

groups=" ${*:-build} "
for group in $groups; do
  case $group in
    build | test | benchmark) ;;
    *)
      echo "install_dependencies.sh: no group '$group': choose from build, test, benchmark" >&2
      exit 2
      ;;
  esac
done

# The oldest CMake that CMakeLists.txt takes; no package manager's business where a newer one came from elsewhere.
check_cmake() {
  local version
  version=$(cmake --version 2>/dev/null | sed -n 's/^cmake version \([0-9.]*\).*/\1/p')
  if [[ -n $version && $(printf '3.25\n%s\n' "$version" | sort -V | head -n 1) != 3.25 ]]; then
    echo "CMake $version is too old: 3.25 or newer is needed; install one and try again" >&2
    exit 1
  fi
}

# What is missing; `optional` are those that apt may lack, by apt's names.
apt=() dnf=() pacman=() optional=()
while read -r group probe for_apt for_dnf for_pacman; do
  if [[ $groups != *" $group "* ]] || present "$probe"; then
    continue
  fi
  if [[ $for_apt == *\? ]]; then
    optional+=("${for_apt%\?}")
  else
    apt+=("$for_apt")
    dnf+=("$for_dnf")
    pacman+=("$for_pacman")
  fi
done <<<"${table:1:-1}"

# Those of `optional` that apt has.
available() {
  local package
  for package in ${optional[@]+"${optional[@]}"}; do
    if apt-cache show "$package" >/dev/null 2>&1; then
      echo "$package"
    else
      echo "apt has no $package: what needs it is skipped" >&2
    fi
  done
}

if ((${#apt[@]} + ${#optional[@]} == 0)); then
  check_cmake
  exit 0
fi
if command -v apt-get >/dev/null && ((EUID == 0)); then
  export DEBIAN_FRONTEND=noninteractive
  # Where only optional ones are missing and apt knows none of them, a second run needs no network.
  if ((${#apt[@]} > 0)) || [[ -z $(apt-cache pkgnames 2>/dev/null | head -n 1) || -n $(available 2>/dev/null) ]]; then
    apt-get -qq -o DPkg::Lock::Timeout=300 update
  fi
  mapfile -t optional < <(available)
  packages=(${apt[@]+"${apt[@]}"} ${optional[@]+"${optional[@]}"})
  if ((${#packages[@]} > 0)); then
    echo "Installing ${packages[*]}"
    apt-get -qq -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 --no-install-recommends install "${packages[@]}" >/dev/null
  fi
  check_cmake
  exit 0
fi
if ((${#apt[@]} == 0)); then
  echo "Not installed, and what needs it is skipped (Debian's names): ${optional[*]}"
  check_cmake
  exit 0
fi
if command -v apt-get >/dev/null; then
  mapfile -t optional < <(available)
  line="sudo apt-get update && sudo apt-get install ${apt[*]}${optional[*]:+ ${optional[*]}}"
elif command -v dnf >/dev/null; then
  line="sudo dnf install ${dnf[*]}"
elif command -v pacman >/dev/null; then
  line="sudo pacman -S --needed ${pacman[*]}"
else
  line="(no apt, dnf or pacman here) install by their Debian names: ${apt[*]}"
fi
echo "Packages are missing. Run this, then try again:" >&2
echo "  $line" >&2
exit 1
