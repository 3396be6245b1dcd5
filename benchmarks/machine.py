# SPDX-License-Identifier: Apache-2.0
"""What a table of measurements says of where it was measured."""

import pathlib
import platform
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent


def processor():
    """Its name, and the widest of the instructions that matter here."""
    facts = {}
    for line in open("/proc/cpuinfo"):
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    flags = facts.get("flags", "").split()
    vectors = next((name for flag, name in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags), "no AVX2")
    low = "with" if {"avx512_bf16", "amx_bf16"} & set(flags) else "without"
    return (f"{facts.get('model name', platform.machine())}, family {facts.get('cpu family', '?')}, model "
            f"{facts.get('model', '?')} ({vectors}, {low} bfloat16 instructions)")


def commit():
    """The commit that is checked out; with "-dirty" where files differ from it."""
    done = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"],
                          stdout=subprocess.PIPE, text=True)
    return done.stdout.strip() or "unknown"
