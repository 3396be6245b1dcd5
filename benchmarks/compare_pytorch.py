#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times the U-Net beside PyTorch on the same processor, and writes a Markdown table.

    python benchmarks/compare_pytorch.py --network build/release/benchmarks/network --out docs/benchmarks/cpu.md

Needs PyTorch (a virtual environment of its own) and the built benchmark `network`. The networks are equal (docs/unet.py),
and so are the threads. In each round ours runs once and PyTorch once in each of its settings, one after the other, so that
what else the machine does meets all of them; a round's time is the median of its repetitions. PyTorch's best setting is
the one with the smallest median over the rounds, for float and for bfloat16 apart; a ratio is the median over the rounds
of PyTorch's time over ours of the same round. Memory is the most that a process of its own ever had resident, with the
libraries in it.
"""

import argparse
import datetime
import itertools
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def peak_resident_mib():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def worker(case, setting, threads):
    """Runs in a process of its own: for each line on standard input, the median of so many repetitions in seconds."""
    import torch

    sys.path.insert(0, str(ROOT / "docs"))
    import unet

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    layout = torch.channels_last if setting["layout"] == "channels_last" else torch.contiguous_format
    network = unet.UNet(base=case["base"]).to(memory_format=layout)
    shape = case["batch"], 3, case["size"], case["size"]
    x = torch.rand(shape).contiguous(memory_format=layout)
    target = torch.rand(shape).contiguous(memory_format=layout)
    forward = torch.compile(network) if setting["mode"] == "compile" else network
    low = torch.autocast("cpu", dtype=torch.bfloat16, enabled=setting["type"] == "bfloat16")
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5, weight_decay=0, fused=True)

    def infer():
        with torch.inference_mode(), low:
            forward(x)

    def train():
        optimizer.zero_grad(set_to_none=True)
        with low:
            loss = torch.nn.functional.mse_loss(forward(x).float(), target)
        loss.backward()
        optimizer.step()

    work = train if case["training"] else infer
    for _ in range(2):  # compiles, allocates
        work()
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            begin = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - begin)
        print(json.dumps({"seconds": statistics.median(seconds), "memory": peak_resident_mib()}), flush=True)


class Peer:
    """PyTorch in one setting, kept waiting between its turns."""

    def __init__(self, case, setting, threads):
        command = [sys.executable, __file__, "--worker", json.dumps([case, setting, threads])]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, repetitions):
        self.process.stdin.write(f"{repetitions}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("compare_pytorch.py: PyTorch stopped; its message is above")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def ours(options, case):
    command = [options.network, "--json", "--base", case["base"], "--size", case["size"], "--batch", case["batch"],
               "--threads", options.threads, "--repetitions", options.repetitions]
    if case["training"]:
        command.append("--training")
    return json.loads(subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE).stdout)


def name(setting):
    return f"{setting['layout']}, {setting['mode']}"


def compare(options, case):
    settings = [dict(layout=layout, type=kind, mode=mode)
                for kind, mode, layout in itertools.product(options.types, options.modes, options.layouts)]
    peers = [Peer(case, setting, options.threads) for setting in settings]
    for peer in peers:
        peer.run(1)  # one after the other: all compile at once otherwise
    rounds = []
    for _ in range(options.rounds):
        rounds.append((ours(options, case), [peer.run(options.repetitions) for peer in peers]))
    for peer in peers:
        peer.close()
    mine = [r[0] for r in rounds]
    row = dict(case, seconds=statistics.median(m["seconds"] for m in mine),
               of_peak=statistics.median(m["gflops"] / m["peak_gflops"] for m in mine),
               memory=max(m["peak_resident_mib"] for m in mine), peers={})
    for kind in options.types:
        columns = [i for i, setting in enumerate(settings) if setting["type"] == kind]
        median = lambda i: statistics.median(r[1][i]["seconds"] for r in rounds)
        best = min(columns, key=median)
        row["peers"][kind] = dict(setting=name(settings[best]), seconds=median(best),
                                  ratio=statistics.median(r[1][best]["seconds"] / r[0]["seconds"] for r in rounds),
                                  memory=rounds[-1][1][best]["memory"])
    return row


def processor():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def commit():
    done = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, text=True)
    return done.stdout.strip() or "unknown"


def table(options, rows, torch_version):
    header = ["base", "size", "batch", "pass", "ours, s", "of the peak", "MiB"]
    for kind in options.types:
        header += [f"PyTorch {kind}, s", "its best setting", "MiB", "**PyTorch / ours**"]
    lines = [f"# U-Net on {processor()}", "",
             f"{datetime.date.today()}, unetdn {commit()}, PyTorch {torch_version}, {options.threads} threads, "
             f"{options.rounds} rounds of {options.repetitions} repetitions. Medians; see "
             "`benchmarks/compare_pytorch.py`, whose options were:", "", "    " + " ".join(sys.argv[1:]), "",
             "\"Of the peak\" is the effective speed (2 operations a multiply-add of the direct convolution) over the "
             "multiply-add peak measured in the same minute.", "",
             "| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for row in rows:
        cells = [row["base"], row["size"], row["batch"], "training step" if row["training"] else "inference",
                 f"{row['seconds']:.4f}", f"{row['of_peak']:.2f}", f"{row['memory']:.0f}"]
        for kind in options.types:
            peer = row["peers"][kind]
            cells += [f"{peer['seconds']:.4f}", peer["setting"], f"{peer['memory']:.0f}", f"**{peer['ratio']:.2f}**"]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default=str(ROOT / "build/release/benchmarks/network"), help="the built benchmark")
    parser.add_argument("--bases", type=int, nargs="+", default=[64, 32, 16])
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--passes", nargs="+", choices=["inference", "training"], default=["inference", "training"])
    parser.add_argument("--types", nargs="+", choices=["float32", "bfloat16"], default=["float32", "bfloat16"])
    parser.add_argument("--modes", nargs="+", choices=["eager", "compile"], default=["eager", "compile"])
    parser.add_argument("--layouts", nargs="+", choices=["nchw", "channels_last"], default=["nchw", "channels_last"])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--out", help="Markdown file to write; standard output without it")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return worker(*json.loads(options.worker))
    if not pathlib.Path(options.network).exists():
        parser.error(f"{options.network} is not there; build it or give --network")
    import torch

    rows = []
    for base, size, batch, kind in itertools.product(options.bases, options.sizes, options.batches, options.passes):
        case = dict(base=base, size=size, batch=batch, training=kind == "training")
        rows.append(compare(options, case))
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    text = table(options, rows, torch.__version__)
    if options.out:
        pathlib.Path(options.out).parent.mkdir(parents=True, exist_ok=True)
        pathlib.Path(options.out).write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
