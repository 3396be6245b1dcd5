#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes unet_*.safetensors beside this file: what docs/unet.py computes in double for formula-made weights and data.

    python tests/golden/unet.py [--check]

Each file holds `loss` (F64, mean squared error), `output` (n, c, h, w) and `gradient.<parameter>` for every parameter of
one small network; its metadata holds the configuration and the batch's extents. Weights are formula.weights(name),
the input unit("input"), the noise map unit("sigma") / 4 and the target unit("target"), all in PyTorch's layout.
With --check nothing is written: the stored numbers are compared with fresh ones.
"""

import argparse
import pathlib
import sys

import numpy
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import formula

here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(here.parent.parent / "docs"))
import unet  # noqa: E402

configurations = {
    "unet_classic": dict(in_channels=3, out_channels=3, base=8, levels=2),
    "unet_residual": dict(in_channels=1, out_channels=1, base=8, levels=1, bias=False, output="linear", residual=True,
                          noise_map=True),
    "unet_linear": dict(in_channels=4, out_channels=2, base=8, levels=1, output="linear"),
    "unet_odd": dict(in_channels=3, out_channels=3, base=8, levels=2, output="linear", residual=True),
}
batch = 2
# The levels divide the usual extents; the odd ones are padded by reflection to 16 x 12, and the result is cropped.
extents = {name: (13, 11) if name == "unet_odd" else (16, 24) for name in configurations}


def compute(config, height, width, dtype=torch.float64):
    """Output, loss and gradients of one configuration."""
    network = unet.UNet(**config).to(dtype)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(torch.from_numpy(formula.weights(name, tuple(parameter.shape))))

    def data(name, channels):
        return torch.from_numpy(formula.unit(name, (batch, channels, height, width))).to(dtype)

    arguments = [data("input", config["in_channels"])]
    if config.get("noise_map"):
        arguments.append(data("sigma", 1) / 4)
    output = network(*arguments)
    loss = ((output - data("target", config["out_channels"])) ** 2).mean()
    loss.backward()
    results = {"loss": loss.detach().double().reshape(1), "output": output.detach().float().contiguous()}
    for name, parameter in network.named_parameters():
        results["gradient." + name] = parameter.grad.float().contiguous()
    return network, results


def difference(a, b):
    """Relative L2 difference of two tensors."""
    a, b = a.double(), b.double()
    return float((a - b).norm() / b.norm())


def main():
    parser = argparse.ArgumentParser(description="Writes or checks the golden values of the U-Net.")
    parser.add_argument("--check", action="store_true", help="compare the stored numbers with fresh ones")
    check = parser.parse_args().check
    for name, config in configurations.items():
        path = here / f"{name}.safetensors"
        height, width = extents[name]
        network, results = compute(config, height, width)
        single = compute(config, height, width, torch.float32)[1]
        worst = max(difference(single[key], results[key]) for key in results)
        print(f"{name}: loss {float(results['loss']):.9f}, in single precision off by at most {worst:.1e}")
        if not check:
            size = {"batch": str(batch), "height": str(height), "width": str(width)}
            save_file(results, path, network.metadata() | size)
            continue
        with safe_open(path, framework="pt") as file:
            stored = {key: file.get_tensor(key) for key in file.keys()}
        if stored.keys() != results.keys() or max(difference(stored[key], results[key]) for key in results) > 1e-6:
            sys.exit(f"{path}: the stored numbers differ from fresh ones; run without --check after a deliberate change")


if __name__ == "__main__":
    main()
