#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keeps what gpu_check.sh finds: gpu.json, to which each call adds an entry, and gpu.md, which is written from it.

    gpu_table.py add DIR STAGE NAME STATUS SECONDS [--dry-run] [FILE]   # FILE: a JSON value with results
"""

import argparse
import datetime
import json
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
            "commit": output_of("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD") or "unknown",
            "date": str(datetime.date.today())}


def latest(entries, stage):
    """The last result of each name of a stage."""
    found = {}
    for entry in entries:
        if entry["stage"] == stage and "results" in entry:
            found[entry["name"]] = entry["results"]
    return found


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
        if "seconds" not in r:
            continue
        floor = r.get("floor_seconds", 0)
        rows.append([r["base"], r["precision"], "training" if r["training"] else "inference", r["batch"],
                     f"{r['seconds'] * 1e3:.3f}", f"{r['gflops'] / 1e3:.1f}",
                     share(r["gflops"] / 1e3, rates.get("gemm_tflops_" + r["precision"])),
                     share(floor, r["seconds"]) if floor else "", f"{r['planned_mib']:.0f}", f"{r['device_mib']:.0f}"])
    return rows


def peer_rows(results):
    rows = []
    for r in results.get("ratios", {}).get("rows", []):
        for mode, peer in r["peers"].items():
            rows.append([r["base"], r["pass"], r["batch"], mode, f"{r['ours_seconds'] * 1e3:.3f}",
                         f"{peer['seconds'] * 1e3:.3f}", f"**{peer['ratio']:.2f}**", f"{r['ours_mib']:.0f}",
                         f"{peer['mib']:.0f}", share(r["ours_mib"], peer["mib"])])
    return rows


def markdown(entries):
    m = entries[-1]["machine"]
    dry = any(entry["dry_run"] for entry in entries)
    lines = [f"# unetdn on {m['gpu']}", "",
             f"{m['date']}, unetdn {m['commit']}, driver {m['driver'] or 'none'}, nvcc {m['nvcc'] or 'none'}"
             + (f", {m['memory']}" if m["memory"] else "") + ". Written by `benchmarks/gpu_table.py`.", ""]
    if dry:
        lines += ["A dry run: no GPU was used, and no time is kept.", ""]
    lines += ["## Checks", ""]
    lines += table(["stage", "what", "outcome", "after, s"],
                   [[e["stage"], e["name"], e["status"], e["seconds"]] for e in entries])
    measured = [entry for entry in entries if not entry["dry_run"]]
    kernels = kernel_rows(latest(measured, "kernels"))
    if kernels:
        lines += ["## Kernels", ""]
        lines += table(["kernel", "precision", "time", "GB/s", "of a copy", "TFLOP/s", "of a matrix product"], kernels)
    network = network_rows(latest(measured, "network"))
    if network:
        lines += ["## The network at 256 x 256", ""]
        lines += table(["base", "precision", "pass", "batch", "ms", "TFLOP/s", "of a matrix product", "floor / time",
                        "MiB planned", "MiB taken"], network)
    peers = peer_rows(latest(measured, "peers"))
    if peers:
        lines += ["## Beside PyTorch, bf16", ""]
        lines += table(["base", "pass", "batch", "PyTorch", "ours, ms", "PyTorch's, ms", "**PyTorch / ours**",
                        "our MiB", "its MiB", "ours / its"], peers)
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["add"])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("stage")
    parser.add_argument("name")
    parser.add_argument("status")
    parser.add_argument("seconds", type=int)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("file", nargs="?", type=pathlib.Path)
    options = parser.parse_args()
    path = options.folder / "gpu.json"
    entries = json.loads(path.read_text()) if path.exists() else []
    entry = {"stage": options.stage, "name": options.name, "status": options.status, "seconds": options.seconds,
             "dry_run": options.dry_run, "machine": machine()}
    if options.file:
        results = json.loads(options.file.read_text())  # says so where it is none
        if not options.dry_run:
            entry["results"] = results
    entries.append(entry)
    path.write_text(json.dumps(entries, indent=1) + "\n")
    (options.folder / "gpu.md").write_text(markdown(entries))


if __name__ == "__main__":
    main()
