"""Pictures as vectors for priors that are quick to ask: digits (48 numbers) or MNIST averaged to 14 × 14 (120 numbers).

    .venv/bin/python benchmarks/posterior/vectors.py runs/digits48
    .venv/bin/python benchmarks/posterior/vectors.py runs/mnist120 --mnist t10k-images-idx3-ubyte.gz

Writes train.npy, 120,000 vectors of four fifths (MNIST: 8,500) of the pictures, moved, turned and scaled a little, and
held.npy, the other pictures as they are; grey levels from 0 to 16 with uniform noise of one level; pixels whose
deviation is above 1.
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

import numpy as np
from scipy import ndimage
from sklearn.datasets import load_digits

ROWS = 120_000


def mnist(path: Path) -> np.ndarray:
    """(N, 28, 28) grey levels of an IDX file."""
    raw = gzip.decompress(path.read_bytes())
    return np.frombuffer(raw[16:], np.uint8).reshape(np.frombuffer(raw[4:16], ">i4")).astype(float)


def moved(image: np.ndarray, pixels: float, top: float, rng: np.random.Generator) -> np.ndarray:
    """Turned by up to 8 degrees, scaled by up to 7 %, shifted by up to `pixels`."""
    angle, scale = np.deg2rad(rng.uniform(-8, 8)), np.exp(rng.uniform(-0.07, 0.07))
    c, d = np.cos(angle) / scale, np.sin(angle) / scale
    turn, middle = np.array([[c, -d], [d, c]]), np.full(2, (len(image) - 1) / 2)
    shift = rng.uniform(-pixels, pixels, 2)
    return np.clip(ndimage.affine_transform(image, turn, middle - turn @ middle + shift, order=1), 0, top)


def pooled(images: np.ndarray) -> np.ndarray:
    """Means of 2 × 2, in levels of 16."""
    return images.reshape(len(images), 14, 2, 14, 2).mean((2, 4)) / 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--mnist", type=Path, default=None, help="an IDX file of its pictures")
    asked = parser.parse_args()
    images = load_digits().images if asked.mnist is None else mnist(asked.mnist)
    known, pixels, top = (1437, 0.4, 16) if asked.mnist is None else (8500, 1.0, 255)
    order, rng = np.random.default_rng(1).permutation(len(images)), np.random.default_rng(0)
    train, held = images[order[:known]], images[order[known:]]
    finish = (lambda x: x) if asked.mnist is None else pooled
    kept = finish(train).reshape(known, -1).std(0) > 1
    rows = finish(np.stack([moved(train[i % known], pixels, top, rng) for i in range(ROWS)]))
    asked.out.mkdir(parents=True, exist_ok=True)
    for name, pictures in (("train", rows), ("held", finish(held))):
        vectors = pictures.reshape(len(pictures), -1)[:, kept]
        vectors = vectors + rng.uniform(-0.5, 0.5, vectors.shape)
        if name == "train":
            rng.shuffle(vectors)
        np.save(asked.out / f"{name}.npy", vectors.astype(np.float32))
        print(f"{name}.npy: {vectors.shape[0]} vectors of {vectors.shape[1]}")


if __name__ == "__main__":
    main()
