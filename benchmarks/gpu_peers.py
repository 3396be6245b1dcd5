#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What PyTorch does on a GPU: its rates, and the U-Net beside ours. Needs PyTorch; gpu_check.sh calls it.

    gpu_peers.py rates                            # copy bandwidth and matrix products, as JSON
    gpu_peers.py compare --network PATH --pass training --base 64 --batch 16
                                                  # one U-Net, ours and PyTorch's in turns, as JSON
    ... --dry-run                                 # the same on the processor with a tiny network: times mean nothing

compare: PyTorch runs in channels_last and bfloat16 (training: under autocast) with cudnn.benchmark, and its fused AdamW;
eager, and for training at batch 16 compiled too. The networks are equal (docs/unet.py). In each round ours runs once and
then each of PyTorch's, so that the clocks that one meets the others meet too; a ratio is that of the medians over the
rounds, PyTorch's time over ours. Memory is the most that PyTorch allocated, and what ours planned.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

import pytorch_unet


def synchronize(device):
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def seconds_of(work, device, times):
    synchronize(device)
    begin = time.perf_counter()
    for _ in range(times):
        work()
    synchronize(device)
    return (time.perf_counter() - begin) / times


def versions():
    import torch

    return {"torch": torch.__version__, "cudnn": torch.backends.cudnn.version()}


def rates():
    import torch

    result = versions()
    x = torch.empty(1 << 30, dtype=torch.float32, device="cuda").normal_()
    y = torch.empty_like(x)
    y.copy_(x)
    copies = [seconds_of(lambda: y.copy_(x), "cuda", 5) for _ in range(5)]
    result["copy_gbs"] = 2 * x.numel() * x.element_size() / statistics.median(copies) / 1e9
    del x, y
    for name, kind in ("bf16", torch.bfloat16), ("fp16", torch.float16), ("tf32", torch.float32), ("float", torch.float32):
        torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
        side = 4096 if name == "float" else 8192
        a, b = (torch.randn(side, side, device="cuda").to(kind) for _ in range(2))
        c = a @ b
        taken = [seconds_of(lambda: torch.matmul(a, b, out=c), "cuda", 5) for _ in range(5)]
        result["gemm_tflops_" + name] = 2 * side**3 / statistics.median(taken) / 1e12
    print(json.dumps(result))


def worker(case, mode, device):
    """For each line on standard input, the mean of so many repetitions in seconds."""
    import torch

    torch.backends.cudnn.benchmark = True
    work = pytorch_unet.prepare(case, mode, "channels_last", device, bfloat16=True)
    for _ in range(3):  # compiles, chooses algorithms, allocates
        work()
    if device == "cuda":  # what choosing took is not needed to go on
        torch.cuda.reset_peak_memory_stats()
    for line in sys.stdin:
        seconds = seconds_of(work, device, int(line))
        memory = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else 0
        print(json.dumps({"seconds": seconds, "memory": memory, "versions": versions()}), flush=True)


class Peer:
    """PyTorch in one mode, kept waiting between its turns."""

    def __init__(self, case, mode, device):
        self.process = subprocess.Popen([sys.executable, __file__, "worker", json.dumps([case, mode, device])],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, times):
        try:
            self.process.stdin.write(f"{times}\n")
            self.process.stdin.flush()
        except OSError:  # it has ended: there is no line to read either
            pass
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("gpu_peers.py: PyTorch stopped; its message is above")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def ours(network, case, device, times):
    command = [network, "--json", "--device", device, "--precision", "bf16", "--base", case["base"], "--levels",
               case["levels"], "--size", case["size"], "--batch", case["batch"], "--repetitions", 1, "--times", times]
    command += ["--training"] if case["pass"] == "training" else []
    done = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def compare(options):
    device, our_device = ("cpu", "emulated") if options.dry_run else ("cuda", "cuda")
    levels, size, rounds, times = (2, 16, 1, 1) if options.dry_run else (4, 256, 5, 20)
    case = {"base": options.base, "levels": levels, "size": size, "batch": options.batch, "pass": options.kind}
    compiled = options.kind == "training" and options.batch == 16
    modes = ["eager"] + (["compile"] if compiled else [])
    peers = [Peer(case, mode, device) for mode in modes]
    measured = []
    for _ in range(rounds):
        measured.append((ours(options.network, case, our_device, times), [peer.run(times) for peer in peers]))
    for peer in peers:
        peer.close()
    our_seconds = statistics.median(m["seconds"] for m, _ in measured)
    row = dict(case, ours_seconds=our_seconds, ours_mib=measured[0][0]["planned_mib"], peers={},
               **measured[0][1][0]["versions"])
    for i, mode in enumerate(modes):
        seconds = statistics.median(p[i]["seconds"] for _, p in measured)
        row["peers"][mode] = dict(seconds=seconds, mib=measured[-1][1][i]["memory"], ratio=seconds / our_seconds)
    print(json.dumps(row))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("rates")
    comparison = commands.add_parser("compare")
    comparison.add_argument("--network", required=True, help="the built benchmark `gpu_network`")
    comparison.add_argument("--pass", dest="kind", choices=["training", "inference"], required=True)
    comparison.add_argument("--base", type=int, required=True, help="channels of the first level")
    comparison.add_argument("--batch", type=int, required=True)
    comparison.add_argument("--dry-run", action="store_true")
    commands.add_parser("worker").add_argument("arguments")
    options = parser.parse_args()
    if options.command == "rates":
        rates()
    elif options.command == "worker":
        worker(*json.loads(options.arguments))
    else:
        compare(options)


if __name__ == "__main__":
    main()
