#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares how a consumer's program runs when it is compiled with two sets of options.

    python3 benchmarks/compare_flags.py [--first=-O2] [--second="-O3 -march=native"] [--compiler g++]

The program is the benchmark `network`, compiled from the headers alone; its arguments follow --. Both are run in turns;
what is told is the median over the rounds of the second's time over the first's, so 1 means that the first set loses
nothing.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", default="-O2", metavar="FLAGS")
    parser.add_argument("--second", default="-O3 -march=native", metavar="FLAGS")
    parser.add_argument("--compiler", default="c++")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--build", type=pathlib.Path, help="folder that keeps the two programs")
    parser.add_argument("arguments", nargs="*", help="for network, after --; by default base 32 at 256x256")
    options = parser.parse_args()
    both = options.first, options.second
    with tempfile.TemporaryDirectory() as name:
        folder = options.build or pathlib.Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        programs = [folder / f"network{flags}".replace(" ", "_") for flags in both]
        for program, flags in zip(programs, both):
            sources = [*(word for folder in ("include", "kernels", "examples") for word in ("-I", ROOT / folder)),
                       ROOT / "benchmarks/network.cpp", ROOT / "examples/command_line.cpp"]
            subprocess.run([options.compiler, "-std=c++20", *flags.split(), *sources, "-pthread", "-o", program],
                           check=True)
        command = ["--json", "--repetitions", "5", *(options.arguments or ["--base", "32"])]
        rounds = []
        for _ in range(options.rounds):
            runs = [json.loads(subprocess.run([program, *command], check=True, stdout=subprocess.PIPE).stdout)
                    for program in programs]
            rounds.append([run["seconds"] for run in runs])
    for i, flags in enumerate(both):
        print(f"{flags}: {statistics.median(r[i] for r in rounds):.4f} s")
    ratio = statistics.median(b / a for a, b in rounds)
    print(f"speed of {options.first} over that of {options.second}: {ratio:.3f}")


if __name__ == "__main__":
    main()
