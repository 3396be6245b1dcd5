#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes metrics.hpp beside this file: MSE, PSNR and SSIM by scikit-image, in double, of formula-made pictures.

    python tests/golden/metrics.py [--check]

With --check nothing is written: the stored numbers are compared with fresh ones.
"""

import argparse
import pathlib
import re
import sys

import numpy
import skimage
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

import formula

shapes = [(11, 11, 1), (64, 48, 1), (37, 53, 1), (37, 53, 3), (128, 97, 3), (15, 90, 2)]


def pair(h, w, c):
    """A picture and the same with a quarter of noise mixed in; both are exact in single precision."""
    a = formula.picture("picture", (1, h, w, c))[0]
    noise = formula.unit("noise", (1, c, h, w))[0].transpose(1, 2, 0)
    return a, (3 * a + noise) / 4


def row(h, w, c):
    a, b = pair(h, w, c)
    assert (a == a.astype(numpy.float32)).all() and (b == b.astype(numpy.float32)).all()
    gaussian = structural_similarity(a, b, data_range=1, channel_axis=2, gaussian_weights=True, sigma=1.5,
                                     use_sample_covariance=False)
    uniform = structural_similarity(a, b, data_range=1, channel_axis=2)
    return [h, w, c, mean_squared_error(a, b), peak_signal_noise_ratio(a, b, data_range=1), gaussian, uniform]


def main():
    parser = argparse.ArgumentParser(description="Writes or checks the golden values of the metrics.")
    parser.add_argument("--check", action="store_true", help="compare the stored numbers with fresh ones")
    path = pathlib.Path(__file__).resolve().parent / "metrics.hpp"
    rows = [row(*shape) for shape in shapes]
    if parser.parse_args().check:
        stored = [[float(x) for x in line.split(",")] for line in re.findall(r"^    \{(.*)\},$", path.read_text(), re.M)]
        if not numpy.allclose(stored, rows, rtol=1e-12, atol=0):
            sys.exit(f"{path}: the stored numbers differ from fresh ones; run without --check after a deliberate change")
        return
    table = "\n".join("    {" + ", ".join(repr(float(x)) if i > 2 else str(x) for i, x in enumerate(r)) + "}," for r in rows)
    path.write_text(f"""// SPDX-License-Identifier: Apache-2.0
#pragma once
// Written by metrics.py with scikit-image {skimage.__version__}.
namespace golden {{

struct metric_values {{
  int h, w, c;
  double mse, psnr, ssim_gaussian, ssim_uniform;
}};

inline constexpr metric_values metrics[] = {{
{table}
}};

}}  // namespace golden
""")


if __name__ == "__main__":
    main()
