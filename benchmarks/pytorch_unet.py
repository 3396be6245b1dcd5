# SPDX-License-Identifier: Apache-2.0
"""The U-Net in PyTorch (docs/unet.py) as a piece of work to time: what compare_pytorch.py and gpu_peers.py share."""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def prepare(case, mode, layout, device, bfloat16):
    """A function that makes one forward pass, or one training step with MSE and the fused AdamW.

    case: base, levels (4 unless given), size, batch and pass ("inference" or "training"); mode: "eager" or "compile";
    layout: "nchw" or "channels_last"; bfloat16: training under autocast, inference with weights of that type, which
    spares it their conversion in each pass.
    """
    import torch

    sys.path.insert(0, str(ROOT / "docs"))
    import unet

    torch.manual_seed(0)
    memory_format = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    network = unet.UNet(base=case["base"], levels=case.get("levels", 4)).to(device=device, memory_format=memory_format)
    shape = case["batch"], 3, case["size"], case["size"]
    x, target = (torch.rand(shape, device=device).contiguous(memory_format=memory_format) for _ in range(2))
    if bfloat16 and case["pass"] == "inference":
        network, x = network.to(torch.bfloat16), x.to(torch.bfloat16)
    forward = torch.compile(network) if mode == "compile" else network
    low = torch.autocast(device, dtype=torch.bfloat16, enabled=bfloat16)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5, weight_decay=0, fused=True)

    def infer():
        with torch.inference_mode():
            forward(x)

    def train():
        optimizer.zero_grad(set_to_none=True)
        with low:
            loss = torch.nn.functional.mse_loss(forward(x).float(), target)
        loss.backward()
        optimizer.step()

    return train if case["pass"] == "training" else infer
