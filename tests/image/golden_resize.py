#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes golden_resize.hpp beside this file: what Pillow's resize gives on a picture made by a formula, and a small CMYK
JPEG. Needs numpy and Pillow. Run it again after changing a case; the tests themselves need no Python."""
import io
import pathlib

import numpy
import PIL
from PIL import Image

WIDTH, HEIGHT, CHANNELS = 23, 17, 3
SIZES = [(7, 5), (40, 31), (23, 9), (5, 17), (1, 1), (64, 3), (22, 16), (46, 34)]
FILTERS = [("area", Image.Resampling.BOX), ("lanczos3", Image.Resampling.LANCZOS)]
MOST_STORED = 60


def sample(y, x, c):
    """The formula, also in test_resize.cpp."""
    return numpy.float32((x * 37 + y * 91 + x * y * 7 + c * 53) % 256) / numpy.float32(255)


def picture():
    values = [[[sample(y, x, c) for c in range(CHANNELS)] for x in range(WIDTH)] for y in range(HEIGHT)]
    return numpy.array(values, dtype=numpy.float32)


def resized(pixels, width, height, method):
    """Channel by channel: Pillow resizes floats in mode F only."""
    channels = [Image.fromarray(pixels[:, :, c]).resize((width, height), method) for c in range(CHANNELS)]
    return numpy.stack([numpy.asarray(channel) for channel in channels], axis=2).reshape(-1)


def cmyk_jpeg():
    file = io.BytesIO()
    Image.new("CMYK", (8, 8), (200, 100, 50, 10)).save(file, "JPEG", quality=50, optimize=True)
    return file.getvalue()


def wrapped(values, per_line):
    lines = [", ".join(values[i : i + per_line]) for i in range(0, len(values), per_line)]
    return ",\n    ".join(lines)


def main():
    pixels = picture()
    out = [
        "// SPDX-License-Identifier: Apache-2.0",
        f"// Written by golden_resize.py with Pillow {PIL.__version__}.",
        "#pragma once",
        "#include <vector>",
        "",
        "#include <unetdn/image.hpp>",
        "",
        "// clang-format off",
        "",
        "/// Every step-th sample of the picture of test_resize.cpp, resized by Pillow.",
        "struct golden_resize {",
        "  int width, height;",
        "  unetdn::resize_filter filter;",
        "  int step;",
        "  std::vector<float> samples;",
        "};",
        "",
        "inline std::vector<golden_resize> const golden_resizes{",
    ]
    for name, method in FILTERS:
        for width, height in SIZES:
            values = resized(pixels, width, height, method)
            step = max(1, len(values) // MOST_STORED) | 1  # odd, so that all channels occur
            if step % CHANNELS == 0:
                step += 2
            stored = [f"{value:.9e}F" for value in values[::step]]
            out.append(f"  {{{width}, {height}, unetdn::resize_filter::{name}, {step}, {{")
            out.append("    " + wrapped(stored, 6) + "}},")
    out += ["};", "", "/// A CMYK JPEG of 8 x 8 pixels.", "inline std::vector<unsigned char> const cmyk_jpeg{"]
    out.append("    " + wrapped([str(byte) for byte in cmyk_jpeg()], 24) + "};")
    out += ["", "// clang-format on", ""]
    pathlib.Path(__file__).with_suffix(".hpp").write_text("\n".join(out))


if __name__ == "__main__":
    main()
