#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The U-Net of unetdn in PyTorch: the same network, tensor names and shapes, for comparing and exchanging weights.

    python unet.py weights.safetensors in.png out.png [--sigma 25]

Tensors of a weights file, for l = 0 .. levels - 1 (level 0 has the picture's resolution; widths double with each level):

    encoder.{l}.conv1.weight   (base 2^l, in, 3, 3)             encoder.{l}.conv1.bias   (base 2^l)
    encoder.{l}.conv2.weight   (base 2^l, base 2^l, 3, 3)       encoder.{l}.conv2.bias
    bottleneck.conv1.weight, bottleneck.conv2.weight            bottleneck.conv1.bias, bottleneck.conv2.bias
    decoder.{l}.up.weight      (base 2^(l+1), base 2^l, 2, 2)   decoder.{l}.up.bias      (base 2^l)
    decoder.{l}.conv1.weight   (base 2^l, 2 base 2^l, 3, 3)     decoder.{l}.conv1.bias
    decoder.{l}.conv2.weight   (base 2^l, base 2^l, 3, 3)       decoder.{l}.conv2.bias
    output.weight              (out, base, 1, 1)                output.bias              (out)

decoder.{l} produces level l's resolution. Its conv1 sees the encoder's channels first, then the upsampled ones. Networks
with bias=False have none of the bias tensors. A network with a noise map sees it as one more, last, input channel.

The file's metadata holds the configuration, all values strings: unetdn.network ("unet"), unetdn.in_channels,
unetdn.out_channels, unetdn.base, unetdn.levels, unetdn.bias, unetdn.residual, unetdn.noise_map ("true" or "false") and
unetdn.output ("sigmoid" or "linear").
"""

import argparse

import torch
from torch import nn
from torch.nn import functional


class Convolutions(nn.Module):
    """Two 3x3 convolutions that keep the size, a ReLU after each."""

    def __init__(self, inputs, outputs, bias):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=bias)

    def forward(self, x):
        return functional.relu(self.conv2(functional.relu(self.conv1(x))))


class Decoder(Convolutions):
    """Upsamples by a 2x2 transposed convolution, joins the encoder's channels (first) and the new ones, convolves twice."""

    def __init__(self, inputs, outputs, bias):
        super().__init__(2 * outputs, outputs, bias)
        self.up = nn.ConvTranspose2d(inputs, outputs, 2, stride=2, bias=bias)

    def forward(self, x, skip):
        return super().forward(torch.cat([skip, self.up(x)], dim=1))


def reflected(extent, multiple):
    """Indices 0 .. extent - 1, then mirrored without repeating the border, up to a multiple of `multiple`."""
    period = max(2 * (extent - 1), 1)
    i = torch.arange(-(-extent // multiple) * multiple) % period
    return torch.minimum(i, period - i) if extent > 1 else i


class UNet(nn.Module):
    """U-Net after Ronneberger et al. 2015 with 'same' padding; the defaults are the classic one with 31,031,875 weights.

    in_channels counts the picture's channels only; `levels` counts poolings. With `residual` (only with a linear output)
    y = x[:, :out_channels] + f(x). With `noise_map`, forward takes one more argument: the noise level of each pixel,
    sigma / 255, of shape (n, 1, h, w). Pictures of any size: they are padded at the bottom and right by reflection, and
    the result is cropped.
    """

    def __init__(self, in_channels=3, out_channels=3, base=64, levels=4, bias=True, output="sigmoid", residual=False,
                 noise_map=False):
        super().__init__()
        if output not in ("sigmoid", "linear"):
            raise ValueError(f"output is {output!r}, it must be 'sigmoid' or 'linear'")
        if residual and output != "linear":
            raise ValueError("residual needs output='linear'")
        if residual and out_channels > in_channels:
            raise ValueError("residual needs at least as many input channels as output channels")
        self.config = dict(in_channels=in_channels, out_channels=out_channels, base=base, levels=levels, bias=bias,
                           output=output, residual=residual, noise_map=noise_map)
        widths = [base << level for level in range(levels + 1)]
        inputs = [in_channels + bool(noise_map)] + widths
        self.encoder = nn.ModuleList(Convolutions(inputs[level], widths[level], bias) for level in range(levels))
        self.bottleneck = Convolutions(inputs[levels], widths[levels], bias)
        self.decoder = nn.ModuleList(Decoder(widths[level + 1], widths[level], bias) for level in range(levels))
        self.output = nn.Conv2d(widths[0], out_channels, 1, bias=bias)

    def forward(self, x, sigma_map=None):
        if self.config["noise_map"] != (sigma_map is not None):
            raise ValueError("a noise map is given exactly to networks that were made with noise_map=True")
        height, width = x.shape[2:]
        y = x if sigma_map is None else torch.cat([x, sigma_map], dim=1)
        multiple = 1 << self.config["levels"]
        y = y[:, :, reflected(height, multiple)][:, :, :, reflected(width, multiple)]
        skips = []
        for block in self.encoder:
            skips.append(block(y))
            y = functional.max_pool2d(skips[-1], 2)
        y = self.bottleneck(y)
        for block in reversed(self.decoder):
            y = block(y, skips.pop())
        y = self.output(y)[:, :, :height, :width]
        if self.config["residual"]:
            y = x[:, : self.config["out_channels"]] + y
        return torch.sigmoid(y) if self.config["output"] == "sigmoid" else y

    def metadata(self):
        """The configuration as the file's metadata."""
        return {"unetdn.network": "unet"} | {
            f"unetdn.{key}": str(value).lower() if isinstance(value, bool) else str(value)
            for key, value in self.config.items()
        }


def from_metadata(metadata):
    """A network of the configuration in a file's metadata, with fresh weights."""
    if metadata.get("unetdn.network") != "unet":
        raise ValueError(f"the file's network is {metadata.get('unetdn.network')!r}, not 'unet'")
    number = lambda key: int(metadata["unetdn." + key])
    flag = lambda key: {"true": True, "false": False}[metadata["unetdn." + key]]
    return UNet(number("in_channels"), number("out_channels"), number("base"), number("levels"), flag("bias"),
                metadata["unetdn.output"], flag("residual"), flag("noise_map"))


def load(path):
    """The network stored in a safetensors file. Of a training checkpoint, the averaged weights where there are any."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        network = from_metadata(file.metadata() or {})
        names = set(file.keys())
        prefix = next((p for p in ("average/", "weights/") if p + "output.weight" in names), "")
        tensors = {name[len(prefix):]: file.get_tensor(name) for name in names if name.startswith(prefix)}
    network.load_state_dict(tensors, strict=True)
    return network


def save(network, path):
    """Writes a network's weights and configuration for unetdn."""
    from safetensors.torch import save_file

    save_file({name: t.contiguous() for name, t in network.state_dict().items()}, path, network.metadata())


def denoise(network, picture, sigma=None):
    """Denoises a float32 array (height, width, channels) with values in [0, 1]; sigma in units of 1/255."""
    x = torch.from_numpy(picture).permute(2, 0, 1)[None]
    sigma_map = None
    if network.config["noise_map"]:
        if sigma is None:
            raise ValueError("this network needs the noise level: give --sigma")
        sigma_map = torch.full_like(x[:, :1], sigma / 255)
    with torch.no_grad():
        y = network.eval()(x, sigma_map)
    return y[0].permute(1, 2, 0).clamp(0, 1).numpy()


def main():
    import numpy
    from PIL import Image

    parser = argparse.ArgumentParser(description="Denoises a picture with a unetdn network in PyTorch.")
    parser.add_argument("weights", help="a safetensors file written by unetdn")
    parser.add_argument("input", help="the noisy picture")
    parser.add_argument("output", help="where the denoised picture goes")
    parser.add_argument("--sigma", type=float, help="noise level in units of 1/255, for networks with a noise map")
    options = parser.parse_args()
    network = load(options.weights)
    channels = network.config["in_channels"]
    modes = {1: "L", 3: "RGB"}
    if channels not in modes:
        parser.error(f"the network takes {channels} channels; pictures have 1 or 3")
    picture = numpy.asarray(Image.open(options.input).convert(modes[channels]), numpy.float32) / 255
    result = denoise(network, picture.reshape(*picture.shape[:2], channels), options.sigma)
    Image.fromarray((result * 255 + 0.5).astype(numpy.uint8).squeeze()).save(options.output)


if __name__ == "__main__":
    main()
