"""The prior of the MRI benchmark: a small U-Net on complex phantoms of 128², real and imaginary part as two channels.

    nice -n 10 .venv/bin/python benchmarks/inverse/mri_prior.py runs/mri.safetensors [--steps 1800]

It is trained by a plain loop, since the readers of data know no pictures of two channels. About ten minutes on a core.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parent))
from phantoms import phantoms

from pushforward.denoisers import EDMPrediction, NetworkDenoiser
from pushforward.networks.unet import UNet
from pushforward.numerics.random import Draws
from pushforward.objectives.denoising import denoising_loss
from pushforward.paths import EDM, LogNormalTimes

SIZE, TRAINING, DEVIATION = 128, 2000, 0.26
PATH = EDM(sigma_min=0.005, sigma_max=40.0)


def network(width: int = 12) -> UNet:
    return UNet(2, width, (1, 2, 2, 4), 1)


def denoiser(net: UNet) -> NetworkDenoiser:
    return NetworkDenoiser(PATH, net, EDMPrediction(DEVIATION))


def load(path: Path) -> NetworkDenoiser:
    """The trained prior."""
    net = network()
    net.load_state_dict(load_file(path))
    return denoiser(net.eval())


def train(path: Path, steps: int, batch: int = 8, rate: float = 2e-3) -> None:
    torch.manual_seed(0)
    net = network()
    average = {name: value.clone() for name, value in net.state_dict().items()}
    optimiser = torch.optim.Adam(net.parameters(), rate, (0.9, 0.99))
    pictures = torch.cat([phantoms(i, 50, SIZE) for i in range(0, TRAINING, 50)])
    began, shown = time.process_time(), 0.0
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = rate * min(1.0, (step + 1) / 50) * (1 - step / steps)
        draws = Draws.of(step, range(batch), "train")
        items = pictures[Draws.of(step, [0], "items").integers(TRAINING, (batch,))[0]]
        loss = denoising_loss(denoiser(net), items, draws, LogNormalTimes(sigma_data=DEVIATION)).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        keep = min(0.98, step / (step + 10))
        for name, value in net.state_dict().items():
            average[name].lerp_(value, 1 - keep)
        shown = loss.item() if step == 0 else 0.95 * shown + 0.05 * loss.item()
        if (step + 1) % 20 == 0:
            print(f"{step + 1}/{steps}: {shown:.4f}, {time.process_time() - began:.0f} s", file=sys.stderr, flush=True)
            save_file(average, path)
    save_file(average, path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=1800)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    train(asked.out, asked.steps)
