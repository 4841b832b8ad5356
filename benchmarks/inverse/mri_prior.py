"""The prior of the MRI benchmark: a small U-Net on complex squares of 128², real and imaginary part as two channels.

    .venv/bin/python benchmarks/inverse/mri_prior.py runs/mri.safetensors [--steps 1500]

Half of the squares are whole phantoms, a quarter cut from phantoms of 320², a quarter from a photograph. The network
has no attention: all its layers are convolutions, so that it restores pictures of every size, those of 320² too.

A second run of larger batches of smaller squares from the first one's weights learns what is fine:

    … mri_prior.py runs/mri2.safetensors --start runs/mri.safetensors --steps 350 --batch 32 --side 64 --rate 1e-3

It is trained by a plain loop, since the readers of data know no pictures of two channels. About ten minutes on a core.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parent))
from phantoms import crops, phantoms, photograph, with_phase

from pushforward.denoisers import EDMPrediction, NetworkDenoiser
from pushforward.networks.unet import UNet
from pushforward.numerics.random import Draws
from pushforward.objectives.denoising import denoising_loss
from pushforward.paths import EDM, LogNormalTimes

SIZE, LARGE, TRAINING, DEVIATION = 128, 320, 2000, 0.3
PATH = EDM(sigma_min=0.005, sigma_max=40.0)


class Folded(nn.Module):
    """A U-Net of every second pixel in each direction, the four taken as channels: half the work at full detail."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.inner = UNet(8, width, (1, 2, 4), 1, attention_at=())

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        """(B, 2, H, W) with even H and W."""
        return functional.pixel_shuffle(self.inner(functional.pixel_unshuffle(x, 2), time, label), 2)


def denoiser(net: nn.Module) -> NetworkDenoiser:
    return NetworkDenoiser(PATH, net, EDMPrediction(DEVIATION))


def load(path: Path) -> NetworkDenoiser:
    """The trained prior."""
    net = Folded()
    net.load_state_dict(load_file(path))
    return denoiser(net.eval())


def pictures(count: int = TRAINING) -> Tensor:
    """(2 · count, 2, 128, 128): whole phantoms, squares of larger ones and of a photograph with another phase each."""
    whole = [phantoms(i, 50, SIZE) for i in range(0, count, 50)]
    large = torch.cat([_squares(phantoms(i, 25, LARGE), i) for i in range(TRAINING, TRAINING + count // 4, 25)])
    natural = with_phase(crops(photograph("china.jpg"), 0, count // 2, SIZE), 2 * TRAINING)
    return torch.cat([*whole, large, natural])


def _squares(large: Tensor, first: int) -> Tensor:
    """Two squares of SIZE from each of the larger pictures."""
    room = large.shape[-1] - SIZE + 1
    found = []
    for item, at in zip(large, Draws.of(1, range(first, first + len(large)), "squares").uniform((2, 2)), strict=True):
        found += [item[:, y : y + SIZE, x : x + SIZE] for y, x in (at * room).long().tolist()]
    return torch.stack(found)


@dataclass(frozen=True)
class Training:
    """`steps` with `batch` squares of `side` pixels, of `count` phantoms and as many others, from weights `start`."""

    steps: int = 1500
    batch: int = 8
    side: int = SIZE
    rate: float = 2e-3
    count: int = TRAINING
    start: Path | None = None


def batch_of(pictures: Tensor, how: Training, step: int) -> Tensor:
    items = pictures[Draws.of(step, [0], "items").integers(len(pictures), (how.batch,))[0]]
    top, left = Draws.of(step, [0], "corner").integers(SIZE - how.side + 1, (2,))[0].tolist()
    return items[:, :, top : top + how.side, left : left + how.side]


def train(path: Path, how: Training) -> None:
    torch.manual_seed(0)
    net = Folded()
    if how.start:
        net.load_state_dict(load_file(how.start))
    average = {name: value.clone() for name, value in net.state_dict().items()}
    optimiser = torch.optim.Adam(net.parameters(), how.rate, (0.9, 0.99))
    squares, steps = pictures(how.count), how.steps
    began, shown = time.process_time(), 0.0
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = how.rate * min(1.0, (step + 1) / 50) * (1 - step / steps)
        draws, items = Draws.of(step, range(how.batch), "train"), batch_of(squares, how, step)
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
    for name, default in asdict(Training()).items():
        parser.add_argument(f"--{name}", type=Path if default is None else type(default), default=default)
    asked = vars(parser.parse_args())
    torch.set_num_threads(1)
    asked["out"].parent.mkdir(parents=True, exist_ok=True)
    train(asked.pop("out"), Training(**asked))
