#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares two runs of the benchmarks, row by row.

    kernels --benchmark_out=before.json ...; (change something); kernels --benchmark_out=after.json ...
    python3 benchmarks/compare_runs.py before.json after.json [--slower 1.05]

Files are what `kernels --benchmark_out` writes, or lines of `network --json`. Prints each row's time before and after
and their ratio, and the same by share of the multiply-add peak, which tells a slower program from a slower machine.
With --slower it exits with 1 where a row's time grew by more than that factor.
"""

import argparse
import json
import pathlib
import statistics
import sys


def google_benchmark(document):
    """name -> (milliseconds, share of the peak) of each row; medians where a row was repeated."""
    to_milliseconds = {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3}
    rows = {}
    for row in document["benchmarks"]:
        if row.get("run_type") != "aggregate" and not row.get("error_occurred"):
            mean = row["real_time"] * to_milliseconds[row["time_unit"]]
            rows.setdefault(row["run_name"], []).append((row.get("ms", mean), row.get("of peak", 0.0)))
    return rows


def network_lines(lines):
    rows = {}
    for line in lines:
        run = json.loads(line)
        name = (f"base {run['base']}, {run['size']}x{run['size']}, batch {run['batch']}, {run['threads']} threads, "
                + ("training step" if run["training"] else "inference"))
        rows.setdefault(name, []).append((run["seconds"] * 1e3, run["gflops"] / run["peak_gflops"]))
    return rows


def read(path):
    try:
        text = path.read_text()
        try:
            document = json.loads(text)
        except ValueError:  # one value a line
            rows = network_lines(text.splitlines())
        else:
            rows = google_benchmark(document) if "benchmarks" in document else network_lines([text])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise SystemExit(f"compare_runs.py: {path} is no result of the benchmarks: {error!r}")
    return {name: tuple(statistics.median(column) for column in zip(*values)) for name, values in rows.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=pathlib.Path)
    parser.add_argument("after", type=pathlib.Path)
    parser.add_argument("--slower", type=float, metavar="FACTOR", help="fail where a time grew more than so")
    options = parser.parse_args()
    before, after = read(options.before), read(options.after)
    both = [name for name in before if name in after]
    if not both:
        raise SystemExit("compare_runs.py: the two files have no row in common")
    width = max(len(name) for name in both)
    print(f"{'':{width}}  before, ms   after, ms  ratio  of peak  after  ratio")
    slower = []
    for name in both:
        (time, share), (new_time, new_share) = before[name], after[name]
        shares = f"  {share:7.2f}  {new_share:5.2f}  {share / new_share:5.2f}" if share and new_share else ""
        print(f"{name:{width}}  {time:10.3f}  {new_time:10.3f}  {new_time / time:5.2f}{shares}")
        if options.slower and new_time > options.slower * time:
            slower.append(name)
    print(f"geometric mean of the ratios of {len(both)} rows: "
          f"{statistics.geometric_mean(after[name][0] / before[name][0] for name in both):.3f}")
    if len(before) + len(after) > 2 * len(both):
        print(f"rows in one file only: {len(before) - len(both)} before, {len(after) - len(both)} after")
    if slower:
        print("slower: " + ", ".join(slower), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
