#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keeps what gpu_check.sh finds: gpu.json, to which each call adds an entry, and gpu.md, which is written from it.

    gpu_table.py machine                  # the GPU, the versions and the date, as JSON
    gpu_table.py add DIR STAGE NAME STATUS SECONDS --machine JSON [--dry-run] [--results FILE]
                                          # FILE: a JSON value, as far as it was written
"""

import argparse
import datetime
import json
import os
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent


def output_of(*command):
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.strip()
    except OSError:
        return ""


def machine():
    query = output_of("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")
    gpu, driver, memory = (query.split("\n")[0].split(", ") + ["", "", ""])[:3] if query else ("none", "", "")
    nvcc = re.search(r"release ([0-9.]+)", output_of("nvcc", "--version"))
    return {"gpu": gpu, "memory": memory, "driver": driver, "nvcc": nvcc.group(1) if nvcc else "",
            "commit": (os.environ.get("UNETDN_COMMIT") or
                       output_of("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD") or "unknown"),
            "date": str(datetime.date.today())}


def results_in(path):
    """The file's value; of a report of Google Benchmark that was cut off, the rows that are whole; else none."""
    text = path.read_text()
    try:
        return json.loads(text)
    except ValueError:
        end = text.rfind("\n    }")
        return json.loads(text[:end] + "}]}") if end >= 0 else None


def latest(entries, stage):
    """The last entry with results of each name of a stage."""
    return {entry["name"]: entry for entry in entries if entry["stage"] == stage and "results" in entry}


def description(machine, results):
    """Where and of what the results are, in a line."""
    parts = [machine["gpu"], machine["memory"], f"driver {machine['driver'] or 'none'}", f"nvcc {machine['nvcc'] or 'none'}",
             f"unetdn {machine['commit']}", machine["date"]]
    if results.get("torch"):
        cudnn = results.get("cudnn") or 0
        parts += [f"PyTorch {results['torch']}", f"cuDNN {cudnn // 10000}.{cudnn // 100 % 100}.{cudnn % 100}" if cudnn else ""]
    return ", ".join(part for part in parts if part)


def table(header, rows):
    if not rows:
        return []
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows] + [""]


def share(value, of):
    return f"{value / of:.2f}" if of else ""


def kernel_rows(results):
    rates = results.get("rates", {})
    rows = []
    for precision, report in results.items():
        for b in report.get("benchmarks", []):
            gbs, gflops = b.get("GB/s", 0), b.get("GFLOP/s", 0)
            rows.append([b["name"].removesuffix("/manual_time"), precision, f"{b['real_time']:.4g} {b['time_unit']}",
                         f"{gbs:.0f}", share(gbs, rates.get("copy_gbs")), f"{gflops / 1e3:.1f}" if gflops else "",
                         share(gflops / 1e3, rates.get("gemm_tflops_" + precision)) if gflops else ""])
    return rows


def network_rows(results):
    rates = results.get("rates", {})
    rows = []
    for r in results.values():
        if "seconds" not in r:  # the rates
            continue
        floor = r.get("floor_seconds", 0)
        rows.append([r["base"], r["precision"], "training" if r["training"] else "inference", r["batch"],
                     f"{r['seconds'] * 1e3:.3f}", f"{r['gflops'] / 1e3:.1f}",
                     share(r["gflops"] / 1e3, rates.get("gemm_tflops_" + r["precision"])),
                     share(floor, r["seconds"]) if floor else "", f"{r['planned_mib']:.0f}", f"{r['device_mib']:.0f}"])
    return rows


def layer_rows(results):
    rows = []
    for r in results.values():
        layers = r.get("layers", [])
        all_seconds = sum(layer["seconds"] for layer in layers)
        for layer in layers:
            tflops = layer["flops"] / layer["seconds"] / 1e12
            rows.append([r["base"], r["batch"], layer["layer"], layer["pass"], f"{layer['seconds'] * 1e3:.3f}",
                         f"{100 * layer['seconds'] / all_seconds:.1f} %", f"{tflops:.1f}" if layer["flops"] else ""])
    return rows


def peer_rows(results):
    rows = []
    for r in results.values():
        for mode, peer in r["peers"].items():
            rows.append([r["base"], r["pass"], r["batch"], mode, f"{r['ours_seconds'] * 1e3:.3f}",
                         f"{peer['seconds'] * 1e3:.3f}", f"**{peer['ratio']:.2f}**", f"{r['ours_mib']:.0f}",
                         f"{peer['mib']:.0f}", share(r["ours_mib"], peer["mib"])])
    return rows


# Each table of results: its stage, title, columns, and how results become rows.
SECTIONS = [
    ("kernels", "Kernels", ["kernel", "precision", "time", "GB/s", "of a copy", "TFLOP/s", "of a matrix product"],
     kernel_rows),
    ("network", "The network at 256 x 256",
     ["base", "precision", "pass", "batch", "ms", "TFLOP/s", "of a matrix product", "floor / time", "MiB planned",
      "MiB taken"], network_rows),
    ("network", "Each layer of a training step in bf16, waited for",
     ["base", "batch", "layer", "pass", "ms", "time", "TFLOP/s"], layer_rows),
    ("peers", "Beside PyTorch, bf16",
     ["base", "pass", "batch", "PyTorch", "ours, ms", "PyTorch's, ms", "**PyTorch / ours**", "our MiB", "its MiB",
      "ours / its"], peer_rows),
]


def markdown(entries):
    lines = [f"# unetdn on {entries[-1]['machine']['gpu']}", "", "Written by `benchmarks/gpu_table.py`.", ""]
    if any(entry["dry_run"] for entry in entries):
        lines += ["A dry run: no GPU was used, and no time is kept.", ""]
    lines += ["## Checks", "", *captions((e["machine"], {}) for e in entries)]
    lines += table(["stage", "what", "outcome", "after, s"],
                   [[e["stage"], e["name"], e["status"], e["seconds"]] for e in entries])
    measured = [entry for entry in entries if not entry["dry_run"]]
    for stage, title, header, rows_of in SECTIONS:
        found = latest(measured, stage)
        rows = rows_of({name: entry["results"] for name, entry in found.items()})
        if rows:
            lines += [f"## {title}", "", *captions((e["machine"], e["results"]) for e in found.values())]
            lines += table(header, rows)
    return "\n".join(lines)


def captions(measurements):
    """A line for each machine, commit and day that the results are of, with the PyTorch that was met there."""
    lines = {}
    for where, results in measurements:
        key = json.dumps(where)
        if key not in lines or results.get("torch"):
            lines[key] = description(where, results) + "\n"
    return list(lines.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("machine")
    adding = commands.add_parser("add")
    adding.add_argument("folder", type=pathlib.Path)
    adding.add_argument("stage")
    adding.add_argument("name")
    adding.add_argument("status")
    adding.add_argument("seconds", type=int)
    adding.add_argument("--machine", type=json.loads, required=True)
    adding.add_argument("--dry-run", action="store_true")
    adding.add_argument("--results", type=pathlib.Path)
    options = parser.parse_args()
    if options.command == "machine":
        print(json.dumps(machine()))
        return
    path = options.folder / "gpu.json"
    entries = json.loads(path.read_text()) if path.exists() else []
    entry = {"stage": options.stage, "name": options.name, "status": options.status, "seconds": options.seconds,
             "dry_run": options.dry_run, "machine": options.machine}
    if options.results:
        results = results_in(options.results)
        if results is None and options.status == "measured":
            entry["status"] = "failed: its results are no JSON"
        if results is not None and not options.dry_run:
            entry["results"] = results
    entries.append(entry)
    path.write_text(json.dumps(entries, indent=1) + "\n")
    (options.folder / "gpu.md").write_text(markdown(entries))
    raise SystemExit(entry["status"].startswith("failed: "))


if __name__ == "__main__":
    main()
