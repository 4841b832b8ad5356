"""Digits, MNIST and squares of a photograph: pictures in [0, 1], what is measured of them, and their priors."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from phantoms import crops, photograph
from restored import Problem
from torch import Tensor

import pushforward as pf
from pushforward.inverse import AveragePool, Blur, Identity, LinearOperator, Mask, gaussian_kernel, parallel
from pushforward.numerics.random import Draws

SQUARE = 16


def problems(name: str, training: Tensor, test: Tensor) -> Iterator[Problem]:
    """What is measured of a set of pictures (N, 1, H, W)."""
    size = test.shape[-1]
    mask = torch.argsort(Draws.of(1, [0], "mask").uniform((size * size,))[0]).reshape(size, size) < size * size // 2
    measured: dict[str, tuple[LinearOperator, float]] = {
        "half of the pixels": (Mask(mask), 0.05),
        "×2": (AveragePool(2), 0.02),
        "blur": (Blur(gaussian_kernel(9 if size == 28 else 5, size / 16 if size != SQUARE else 0.7)), 0.02),
    }
    if size == 28:
        measured |= {"×4": (AveragePool(4), 0.02), "30 views": (parallel(size, 30), 0.2)}
    if size == SQUARE:
        measured |= {"noise": (Identity(), 0.2)}
    for title, (operator, sigma) in measured.items():
        yield Problem(f"{name}, {title}", operator, sigma, test, training[:12])


def digits(run: pf.Run) -> tuple[Tensor, Tensor]:
    """Those that the run was trained on, and its test split."""
    data = run.data()
    training, test = (part.all().values / 2 + 0.5 for part in (data.train, data.test))
    return training, test


def mnist(data: Path) -> tuple[Tensor, Tensor]:
    """8 000 and 2 000 of its test pictures."""
    everything = torch.from_numpy(read_mnist(data)[0].copy()).float()[:, None] / 255
    return everything[:8000], everything[8000:]


def patches() -> tuple[Tensor, Tensor]:
    """Squares of one photograph, and of another."""
    return squares("china.jpg", 12_000), squares("flower.jpg", 64)


def squares(name: str, count: int) -> Tensor:
    return crops(photograph(name), 0, count, SQUARE)[:, None]


def read_mnist(data: Path) -> tuple[np.ndarray, np.ndarray]:
    images, labels = (
        np.frombuffer(gzip.decompress((data / f"t10k-{name}-ubyte.gz").read_bytes()), np.uint8)
        for name in ("images-idx3", "labels-idx1")
    )
    return images[16:].reshape(-1, 28, 28), labels[8:]


def prepare(folder: Path, data: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = read_mnist(data)
    np.savez(folder / "mnist8k.npz", images=images[:8000], labels=labels[:8000])
    np.savez(folder / "patches.npz", images=(255 * squares("china.jpg", 12_000)[:, 0]).round().byte().numpy())
    unet = "--set model.network.kind=unet --set data.labels=false --set training.learning_rate=0.002"
    small = "--set model.network.width=24 --set model.network.blocks=1 --set training.batch_size=64"
    shares = "--set data.validation=0.03 --set data.test=0.03"
    print(
        f"pushforward train digits --steps 1500 {unet} --set model.network.width=32 --out {folder}/digits\n"
        f"pushforward train {folder}/mnist8k.npz --steps 1500 {unet} {small} {shares} "
        f"--set 'model.network.multipliers=[1,2,4]' --out {folder}/mnist\n"
        f"pushforward train {folder}/patches.npz --steps 800 {unet} {small} {shares} "
        f"--set 'model.network.multipliers=[1,2]' --out {folder}/patches\n"
        f"python benchmarks/inverse/mri_prior.py {folder}/mri.safetensors"
    )
