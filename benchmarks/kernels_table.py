#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the benchmark `kernels` and writes what it measured as a Markdown table.

    python3 benchmarks/kernels_table.py --out docs/benchmarks/cpu_kernels.md [-- --shape 1,256,256,64,64 ...]

It runs twice, the 3x3 convolutions by direct convolution too; arguments after -- go to both. What was measured stays in
--results. Times are medians. Beside a 3x3 convolution stand its own time by direct convolution, and oneDNN's by each of
its ways, as shares of the multiply-add peak of the same minute; a share above 1 does fewer multiplications than the
definition.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess

from machine import ROOT, commit, processor

PEERS = ("direct", "winograd", "bf16", "int8")


def measure(options, name, arguments, environment):
    """The file that a run of the benchmark has written, with where that was in its context."""
    path = options.results / f"{name}.json"
    command = [options.build / "benchmarks/kernels", f"--benchmark_out={path}", *options.arguments, *arguments]
    subprocess.run([str(word) for word in command], check=True, env=os.environ | environment)
    document = json.loads(path.read_text())
    document["context"] |= {"processor": processor(), "commit": commit()}
    path.write_text(json.dumps(document, indent=1))
    return path


def rows(path):
    """(operation, shape) -> row, in the order of the file."""
    document = json.loads(path.read_text())
    found = {}
    for row in document["benchmarks"]:
        match = re.fullmatch(r"(.+?)/([0-9][^/]*(?:/[^/]+)?)/manual_time", row["run_name"])
        if match and not row.get("error_occurred"):
            found[match.groups()] = row
    return document["context"], found


def share(row):
    return f"{row['of peak']:.2f}" if row else ""


def convolutions(ours, direct):
    lines = ["| pass | pictures, channels | ms | GFLOP/s | **of the peak** | ours, direct | "
             + " | ".join(f"oneDNN, {peer}" for peer in PEERS) + " |", "|" + "---|" * (6 + len(PEERS))]
    for (operation, shape), row in ours.items():
        if not operation.startswith("conv2d/"):
            continue
        kind = operation.removeprefix("conv2d/")
        peers = [share(ours.get((f"onednn/{peer}/{kind}", shape))) for peer in PEERS]
        lines.append(f"| {kind} | {shape} | {row['ms']:.3f} | {row['GFLOP/s']:.0f} | **{share(row)}** | "
                     f"{share(direct.get((operation, shape)))} | " + " | ".join(peers) + " |")
    return lines


def others(ours):
    lines = ["| operation | pictures, channels | ms | GFLOP/s | of the peak | GB/s | of a copy |", "|" + "---|" * 7]
    for (operation, shape), row in ours.items():
        if not operation.startswith(("conv2d/", "onednn/")):
            lines.append(f"| {operation} | {shape} | {row['ms']:.3f} | {row['GFLOP/s']:.1f} | {share(row)} | "
                         f"{row['GB/s']:.1f} | {row['of copy']:.2f} |")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--results", type=pathlib.Path, default=ROOT / "build/kernels", help="folder for the JSON files")
    parser.add_argument("--written", action="store_true", help="write the table of what is in --results; measure nothing")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("arguments", nargs="*", help="for the benchmark, after --")
    options = parser.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    if not options.written:
        measure(options, "default", [], {})
        measure(options, "direct", ["--benchmark_filter=^conv2d/"], {"UNETDN_CONV": "direct"})
    context, ours = rows(options.results / "default.json")
    direct = rows(options.results / "direct.json")[1]
    peaks = sorted(row["peak"] for row in ours.values())
    copies = sorted(row["copy"] for row in ours.values())
    lines = [f"# Operations on {context['processor']}", "",
             f"Measured {context['date'][:10]} at commit {context['commit']} by `benchmarks/kernels` on "
             f"{context['threads']} threads, instruction set {context['instruction set']}; oneDNN {context['oneDNN']}. The "
             f"multiply-add peak was {peaks[0]:.0f} to {peaks[-1]:.0f} GFLOP/s, copying {copies[0]:.1f} to "
             f"{copies[-1]:.1f} GB/s; each row is set beside those of its own minute. `benchmarks/kernels_table.py` wrote "
             "this page and says how.",
             "", "## 3x3 convolutions", "", *convolutions(ours, direct), "", "## All others", "", *others(ours)]
    options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
