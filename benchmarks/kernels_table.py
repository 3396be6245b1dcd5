#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes what the benchmark `kernels` measured as a Markdown table.

    build/release/benchmarks/kernels --benchmark_out=run.json
    UNETDN_CONV=direct build/release/benchmarks/kernels --benchmark_filter='^conv2d/' --benchmark_out=direct.json
    python3 benchmarks/kernels_table.py run.json --direct direct.json --out docs/benchmarks/cpu_kernels.md

Times are medians. Beside a 3x3 convolution stand its own time by direct convolution, and oneDNN's by each of its ways,
as shares of the multiply-add peak of the same minute; a share above 1 does fewer multiplications than the definition.
"""

import argparse
import json
import pathlib
import re

from machine import commit, processor

PEERS = ("direct", "winograd", "bf16", "int8")


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
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--direct", type=pathlib.Path, help="the same with UNETDN_CONV=direct")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    context, ours = rows(options.run)
    direct = rows(options.direct)[1] if options.direct else {}
    peaks = sorted(row["peak"] for row in ours.values())
    copies = sorted(row["copy"] for row in ours.values())
    lines = [f"# Operations on {processor()}", "",
             f"Measured {context['date'][:10]} at commit {commit()} by `benchmarks/kernels` on {context['threads']} "
             f"threads, instruction set {context['instruction set']}; oneDNN {context['oneDNN']}. The multiply-add peak "
             f"was {peaks[0]:.0f} to {peaks[-1]:.0f} GFLOP/s, copying {copies[0]:.1f} to {copies[-1]:.1f} GB/s; each "
             "row is set beside those of its own minute. `benchmarks/kernels_table.py` wrote this page and says how.",
             "", "## 3x3 convolutions", "", *convolutions(ours, direct), "", "## All others", "", *others(ours)]
    options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
