#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times the U-Net beside PyTorch on the same processor, and writes a Markdown table.

    python benchmarks/compare_pytorch.py network      # every case of ours beside every setting of PyTorch
    python benchmarks/compare_pytorch.py startup      # one picture denoised by a process that begins with nothing
    python benchmarks/compare_pytorch.py table --out docs/benchmarks/cpu.md

Needs a virtual environment with torch, safetensors, pillow, onnx and onnxruntime, and this project's release build.

Results go to one file (--results). A run may be a part of the whole: options choose cases and settings, and a later run
adds to the file or replaces what it measured anew. `table` writes all that the file holds, and measures nothing.

network: the networks are equal (docs/unet.py), and so are the threads. In each round ours runs once and PyTorch once in
each setting, one after the other, so that what else the machine does meets all of them; a round's time is the median of
its repetitions. A ratio is the median over the rounds of PyTorch's time over ours of the same round. PyTorch's best
setting is the one with the smallest ratio, for float32 and for bfloat16 apart; one whose first run takes over twice
its type's best is left out. Memory is the most that a process of its own ever had resident, with the libraries in it;
neither side keeps averaged weights.

startup: wall time of whole processes, from nothing to a written picture. All results must agree.
"""

import argparse
import datetime
import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import pytorch_unet
from machine import commit, processor

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build/release"


# ---- PyTorch, in a process of its own -------------------------------------------------------------------------------


def peak_resident_mib():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def worker(case, setting, threads):
    """For each line on standard input, the median of so many repetitions in seconds."""
    import torch

    imported = peak_resident_mib()
    torch.set_num_threads(threads)
    work = pytorch_unet.prepare(case, setting["mode"], setting["layout"], "cpu", setting["type"] == "bfloat16")
    work()  # compiles, allocates
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            begin = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - begin)
        print(json.dumps({"seconds": statistics.median(seconds), "memory": peak_resident_mib(), "imported": imported}),
              flush=True)


class Peer:
    """PyTorch in one setting, kept waiting between its turns."""

    def __init__(self, case, setting, threads):
        command = [sys.executable, __file__, "worker", json.dumps([case, setting, threads])]
        self.setting = setting
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, repetitions, limit=None):
        """What the worker measured; None, and its end, where it took more than `limit` seconds."""
        ended = threading.Event()
        timer = threading.Timer(limit, lambda: (ended.set(), self.process.kill())) if limit else None
        if timer:
            timer.start()
        try:
            self.process.stdin.write(f"{repetitions}\n")
            self.process.stdin.flush()
        except OSError:  # it has ended: there is no line to read either
            pass
        line = self.process.stdout.readline()
        if timer:
            timer.cancel()
        if ended.is_set():
            self.process.wait()
            return None
        if not line:
            raise SystemExit(f"compare_pytorch.py: PyTorch stopped ({text(self.setting)}); its message is above")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


# ---- the results file -----------------------------------------------------------------------------------------------


def provenance(options):
    from importlib import metadata

    versions = {}
    for package in ("torch", "onnxruntime"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            pass
    return {"date": str(datetime.date.today()), "commit": commit(), "processor": processor(),
            "threads": options.threads, "versions": versions}


def read_results(path):
    return json.loads(path.read_text()) if path.exists() else []


def add_result(path, entry):
    """Replaces what was measured for the same thing."""
    same = lambda other: all(other.get(key) == entry.get(key) for key in ("kind", "case", "setting"))
    results = [other for other in read_results(path) if not same(other)] + [entry]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")


# ---- the network ----------------------------------------------------------------------------------------------------


def ours(options, case):
    command = [options.build / "benchmarks/network", "--json", "--base", case["base"], "--size", case["size"],
               "--batch", case["batch"], "--threads", options.threads, "--repetitions", options.repetitions]
    if case["pass"] == "training":
        command.append("--training")
    return json.loads(subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE).stdout)


def text(setting):
    return f"{setting['type']}, {setting['layout']}, {setting['mode']}"


def contenders(options, case):
    """The chosen settings; with --within, of those the ones that came close to their type's best in a smaller case."""
    settings = [dict(type=kind, layout=layout, mode=mode)
                for kind, mode, layout in itertools.product(options.types, options.modes, options.layouts)]
    if not options.within:
        return settings
    pixels = lambda c: c["batch"] * c["size"] ** 2
    alike = [e for e in read_results(options.results) if e["kind"] == "network" and pixels(e["case"]) < pixels(case)
             and all(e["case"][key] == case[key] for key in ("base", "pass"))]
    if not alike:
        return settings
    smallest = min(pixels(e["case"]) for e in alike)
    ratios = {text(e["setting"]): ratio(e) for e in alike if pixels(e["case"]) == smallest}
    best = {kind: min(r for name, r in ratios.items() if name.startswith(kind))
            for kind in options.types if any(name.startswith(kind) for name in ratios)}
    return [s for s in settings if text(s) in ratios and ratios[text(s)] <= options.within * best[s["type"]]]


def hopeful(options, case):
    """PyTorch in all settings that take part in the rounds, each having run."""
    peers, firsts = [], []
    for setting in contenders(options, case):  # one after the other: all would compile at once otherwise
        peer = Peer(case, setting, options.threads)
        first = peer.run(1, options.limit)
        if first:
            peers.append(peer)
            firsts.append(first["seconds"])
        else:
            print(f"left out: {text(setting)} did nothing within {options.limit:.0f} s", file=sys.stderr)
    best = {}
    for peer, seconds in zip(peers, firsts):
        kind = peer.setting["type"]
        best[kind] = min(seconds, best.get(kind, seconds))
    kept = []
    for peer, seconds in zip(peers, firsts):
        if seconds <= 2 * best[peer.setting["type"]]:
            kept.append(peer)
        else:
            peer.close()
    return kept


def measure_case(options, case):
    peers = hopeful(options, case)
    settings = [peer.setting for peer in peers]
    rounds = [(ours(options, case), [peer.run(options.repetitions) for peer in peers]) for _ in range(options.rounds)]
    for peer in peers:
        peer.close()
    for i, setting in enumerate(settings if rounds else []):
        entry = dict(kind="network", case=case, setting=setting, repetitions=options.repetitions,
                     ours=[r[0]["seconds"] for r in rounds],
                     theirs=[r[1][i]["seconds"] for r in rounds],
                     of_peak=statistics.median(r[0]["gflops"] / r[0]["peak_gflops"] for r in rounds),
                     memory=max(r[0]["peak_resident_mib"] for r in rounds),
                     their_memory=rounds[-1][1][i]["memory"], their_import=rounds[-1][1][i]["imported"],
                     **provenance(options))
        add_result(options.results, entry)
        print(f"base {case['base']}, {case['size']}x{case['size']}, batch {case['batch']}, {case['pass']}: "
              f"{statistics.median(entry['ours']):.4f} s, {entry['of_peak']:.2f} of the peak, "
              f"{entry['memory']:.0f} MiB; {text(setting)}: {statistics.median(entry['theirs']):.4f} s, "
              f"{entry['their_memory']:.0f} MiB; "
              f"ratio {ratio(entry):.2f}", file=sys.stderr, flush=True)


def network(options):
    for base, size, batch, kind in itertools.product(options.bases, options.sizes, options.batches, options.passes):
        measure_case(options, {"base": base, "size": size, "batch": batch, "pass": kind})


# ---- start-up -------------------------------------------------------------------------------------------------------

ONNX_PROGRAM = """
import sys, numpy, onnxruntime
from PIL import Image
model, source, target, threads = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(threads)
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
x = numpy.asarray(Image.open(source), numpy.float32).transpose(2, 0, 1)[None] / 255
y = session.run(None, {"x": x})[0][0].transpose(1, 2, 0).clip(0, 1)
Image.fromarray((y * 255 + 0.5).astype(numpy.uint8)).save(target)
"""


def process(command, threads):
    """Runs a command; its wall time in seconds, and the most memory it had resident in MiB."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["OMP_NUM_THREADS"] = str(threads)  # for PyTorch
    begin = time.perf_counter()
    child = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - begin
    if status:
        raise SystemExit(f"compare_pytorch.py: failed: {' '.join(str(word) for word in command)}")
    return seconds, usage.ru_maxrss / 1024


def prepare_startup(folder, base, size):
    """A network with random weights, as weights and as ONNX, and a noisy picture."""
    import warnings

    import numpy
    import torch
    from PIL import Image

    warnings.simplefilter("ignore")  # the exporter that needs no further package is called a legacy
    sys.path.insert(0, str(ROOT / "docs"))
    import unet

    torch.manual_seed(0)
    net = unet.UNet(base=base).eval()
    for parameter in net.parameters():  # PyTorch's own beginning fades with depth: the picture would be one grey
        if parameter.dim() > 1:
            torch.nn.init.kaiming_normal_(parameter)
    unet.save(net, folder / "weights.safetensors")
    torch.onnx.export(net, (torch.rand(1, 3, size, size),), str(folder / "network.onnx"), input_names=["x"],
                      dynamo=False)
    pixels = numpy.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=numpy.uint8)
    Image.fromarray(pixels).save(folder / "noisy.png")


def largest_difference(a, b):
    import numpy
    from PIL import Image

    load = lambda path: numpy.asarray(Image.open(path)).astype(int)
    return abs(load(a) - load(b)).max()


def startup(options):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        subprocess.run([sys.executable, __file__, "prepare", folder, str(options.base), str(options.size)], check=True)
        weights, noisy = folder / "weights.safetensors", folder / "noisy.png"
        commands = {
            "ours": [options.build / "examples/denoise", "--weights", weights, noisy, "--out", folder / "ours.png",
                     "--device", "cpu", "--threads", options.threads, "--force", "--quiet"],
            "PyTorch": [sys.executable, ROOT / "docs/unet.py", weights, noisy, folder / "PyTorch.png"],
            "ONNX Runtime": [sys.executable, "-c", ONNX_PROGRAM, folder / "network.onnx", noisy,
                             folder / "ONNX Runtime.png", options.threads],
        }
        for command in commands.values():  # fills the page cache, writes bytecode
            process(command, options.threads)
        for peer in ("PyTorch", "ONNX Runtime"):
            if largest_difference(folder / "ours.png", folder / f"{peer}.png") > 1:
                raise SystemExit(f"compare_pytorch.py: {peer}'s picture is not ours")
        rounds = [{name: process(command, options.threads) for name, command in commands.items()}
                  for _ in range(options.rounds)]
    for peer in ("PyTorch", "ONNX Runtime"):
        entry = dict(kind="startup", case={"base": options.base, "size": options.size}, setting=peer,
                     ours=[r["ours"][0] for r in rounds], theirs=[r[peer][0] for r in rounds],
                     memory=max(r["ours"][1] for r in rounds), their_memory=max(r[peer][1] for r in rounds),
                     **provenance(options))
        add_result(options.results, entry)
        print(f"whole process: {statistics.median(entry['ours']):.3f} s; {peer}: "
              f"{statistics.median(entry['theirs']):.3f} s; ratio {ratio(entry):.2f}", file=sys.stderr)


# ---- the table ------------------------------------------------------------------------------------------------------


def ratio(entry):
    return statistics.median(theirs / ours for ours, theirs in zip(entry["ours"], entry["theirs"]))


def markdown(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]


def grouped(entries):
    """By case, in the order of the table."""
    key = lambda e: (-e["case"]["base"], e["case"]["size"], e["case"]["batch"], e["case"]["pass"])
    return [list(group) for _, group in itertools.groupby(sorted(entries, key=key), key)]


def network_rows(entries):
    for group in grouped(entries):
        case = group[0]["case"]
        row = [case["base"], case["size"], case["batch"], case["pass"],
               f"{statistics.median(seconds for e in group for seconds in e['ours']):.4f}",
               f"{statistics.median(e['of_peak'] for e in group):.2f}", f"{max(e['memory'] for e in group):.0f}"]
        for kind in ("float32", "bfloat16"):
            of_kind = [e for e in group if e["setting"]["type"] == kind]
            if not of_kind:
                row += ["", "", "", ""]
                continue
            best = min(of_kind, key=ratio)
            row += [f"{statistics.median(best['theirs']):.4f}",
                    f"{best['setting']['layout']}, {best['setting']['mode']}",
                    f"{best['their_memory']:.0f} ({best['memory'] / best['their_memory']:.2f})",
                    f"**{ratio(best):.2f}**"]
        yield row


def setting_rows(entries, names):
    for group in grouped(entries):
        case, ratios = group[0]["case"], {text(e["setting"]): f"{ratio(e):.2f}" for e in group}
        yield [case["base"], case["size"], case["batch"], case["pass"]] + [ratios.get(name, "") for name in names]


def listed(values):
    return ", ".join(sorted({str(value) for value in values}))


def table(options):
    results = read_results(options.results)
    if not results:
        raise SystemExit(f"compare_pytorch.py: {options.results} holds no results; run 'network' or 'startup' first")
    versions = ", ".join(f"{package} {listed(e['versions'].get(package, '-') for e in results)}"
                         for package in ("torch", "onnxruntime"))
    lines = [f"# U-Net on {listed(e['processor'] for e in results)}", "",
             f"Measured {listed(e['date'] for e in results)} at commit {listed(e['commit'] for e in results)} on "
             f"{listed(e['threads'] for e in results)} threads, with {versions}, by `benchmarks/compare_pytorch.py`, "
             "which says how. Times are medians in seconds; a **ratio** is the peer's time over ours, median of pairs."]
    networks = [e for e in results if e["kind"] == "network"]
    if networks:
        lines += ["", "\"Of the peak\" is the effective speed (2 operations a multiply-add of the direct convolution, "
                  "three times the forward pass for a training step) over the multiply-add peak measured in the same "
                  "minute. Memory is the most resident in MiB; in brackets ours over PyTorch's, of which importing "
                  f"PyTorch takes {statistics.median(e['their_import'] for e in networks):.0f} MiB.", ""]
        lines += markdown(["base", "size", "batch", "pass", "ours", "of the peak", "memory",
                           "PyTorch float32", "its best setting", "memory", "**ratio**",
                           "PyTorch bfloat16", "its best setting", "memory", "**ratio**"], network_rows(networks))
        names = sorted({text(e["setting"]) for e in networks}, reverse=True)
        lines += ["", "The ratio for each of PyTorch's settings that was measured:", ""]
        lines += markdown(["base", "size", "batch", "pass"] + names, setting_rows(networks, names))
    startups = [e for e in results if e["kind"] == "startup"]
    if startups:
        lines += ["", "A whole process, from its start to the written picture:", ""]
        lines += markdown(["base", "size", "peer", "ours", "memory", "the peer's", "memory", "**ratio**"],
                          ([e["case"]["base"], e["case"]["size"], e["setting"], f"{statistics.median(e['ours']):.3f}",
                            f"{e['memory']:.0f}", f"{statistics.median(e['theirs']):.3f}", f"{e['their_memory']:.0f}",
                            f"**{ratio(e):.2f}**"] for e in startups))
    document = "\n".join(lines) + "\n"
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(document)
    else:
        print(document, end="")


def main():
    if sys.argv[1:2] == ["worker"]:
        return worker(*json.loads(sys.argv[2]))
    if sys.argv[1:2] == ["prepare"]:
        return prepare_startup(pathlib.Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--results", type=pathlib.Path, default=ROOT / "build/compare_pytorch.json",
                        help="file with all results")
    measured = argparse.ArgumentParser(add_help=False)
    measured.add_argument("--build", type=pathlib.Path, default=BUILD, help="this project's build folder")
    measured.add_argument("--threads", type=int, default=os.cpu_count())
    measured.add_argument("--rounds", type=int, default=5, help="0 only lets PyTorch fill its cache of compiled code")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = parser.add_subparsers(required=True)
    mode = modes.add_parser("network", parents=[common, measured], help="inference and training steps")
    mode.set_defaults(run=network, program="benchmarks/network")
    mode.add_argument("--bases", type=int, nargs="+", default=[64, 32, 16])
    mode.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    mode.add_argument("--batches", type=int, nargs="+", default=[1, 4])
    mode.add_argument("--passes", nargs="+", choices=["inference", "training"], default=["inference", "training"])
    mode.add_argument("--types", nargs="+", choices=["float32", "bfloat16"], default=["float32", "bfloat16"])
    mode.add_argument("--modes", nargs="+", choices=["eager", "compile"], default=["eager", "compile"])
    mode.add_argument("--layouts", nargs="+", choices=["nchw", "channels_last"], default=["nchw", "channels_last"])
    mode.add_argument("--within", type=float, metavar="FACTOR",
                      help="leave out settings slower than FACTOR times the best in the smallest case measured before")
    mode.add_argument("--repetitions", type=int, default=3)
    mode.add_argument("--limit", type=float, default=300, metavar="SECONDS",
                      help="leave out a setting that takes longer to start, compile and run twice")
    mode = modes.add_parser("startup", parents=[common, measured], help="whole processes")
    mode.set_defaults(run=startup, program="examples/denoise")
    mode.add_argument("--base", type=int, default=32)
    mode.add_argument("--size", type=int, default=512)
    mode = modes.add_parser("table", parents=[common], help="writes the table, measures nothing")
    mode.set_defaults(run=table, program=None)
    mode.add_argument("--out", type=pathlib.Path, help="Markdown file to write; standard output without it")
    options = parser.parse_args()
    if options.program and not (options.build / options.program).exists():
        parser.error(f"{options.build / options.program} is not there; build it or give --build")
    options.run(options)


if __name__ == "__main__":
    main()
