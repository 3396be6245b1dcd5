# SPDX-License-Identifier: Apache-2.0
"""Reproducible numbers for golden values; formula.hpp is the same in C++. All are exact in float32."""

import numpy


def stream_of(name):
    """32-bit FNV-1a hash of a name: each tensor has a stream of its own, whatever the order."""
    z = 0x811C9DC5
    for byte in name.encode():
        z = (z ^ byte) * 0x01000193 & 0xFFFFFFFF
    return z


def words(stream, count):
    """32-bit words number 0 .. count - 1 of a stream: a linear congruence of the index, then mixed."""
    z = (numpy.arange(count, dtype=numpy.uint64) * 747796405 + stream).astype(numpy.uint32)
    z ^= z >> 16
    z *= numpy.uint32(0x85EBCA6B)
    z ^= z >> 13
    z *= numpy.uint32(0xC2B2AE35)
    return z ^ (z >> 16)


def unit(name, shape):
    """Multiples of 2^-16 in [0, 1)."""
    return ((words(stream_of(name), int(numpy.prod(shape))) >> 16) / 65536).reshape(shape)


def weight_scale(name, shape):
    """A power of two near sqrt(6 / fan in), so that values neither die nor explode; 1/8 for a bias."""
    if len(shape) == 1:
        return 0.125
    fan_in = shape[0] if name.endswith("up.weight") else shape[1] * shape[2] * shape[3]
    scale = 1.0
    while scale * scale * fan_in > 12:
        scale /= 2
    return scale


def weights(name, shape):
    """A parameter tensor in PyTorch's layout, uniform in [-scale, scale)."""
    return (unit(name, shape) * 2 - 1) * weight_scale(name, shape)


def picture(name, shape):
    """A batch of smooth waves with grain, (n, h, w, c), multiples of 2^-12 in [0, 1): triangle waves by integers only."""
    n, h, w, c = shape
    i, y, x, k = numpy.indices(shape)
    phase = (5 + 2 * k) * x + (9 + i) * y + 37 * k + 101 * i
    triangle = numpy.abs(phase % 256 - 128)  # 0 .. 128
    grain = (words(stream_of(name), n * h * w * c) >> 22).astype(numpy.int64).reshape(shape)  # 0 .. 1023
    return (triangle * 23 + grain) / 4096


