"""The tables, toys and pictures that CARD is measured on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

TABLES = {
    "boston": ("bostonHousing", 20, 0.2, 5000, 32, (3,)),
    "concrete": ("concrete", 20, 0.1, 5000, 32, ()),
    "energy": ("energy", 20, 0.05, 5000, 32, (4, 6, 7)),
    "yacht": ("yacht", 20, 0.2, 10_000, 32, ()),
    "kin8nm": ("kin8nm", 5, 0.1, 5000, 64, ()),
    "naval": ("naval-propulsion-plant", 5, 0.0, 5000, 64, (0, 1, 8, 11)),
    "power": ("power-plant", 5, 0.1, 5000, 64, ()),
    "protein": ("protein-tertiary-structure", 5, 0.1, 5000, 256, ()),
    "wine": ("wine-quality-red", 5, 0.2, 5000, 32, ()),
}
"""Name -> folder, splits to run, and of the paper's setting: dropout of f, epochs, batch, one-hot columns."""


@dataclass(frozen=True)
class Part:
    """Features and response of the training and the test rows of one split."""

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def table(folder: Path, name: str, split: int, one_hot: bool = False) -> Part:
    """An official split of a UCI table; with `one_hot` columns are coded as the paper's code does."""
    where = folder / TABLES[name][0] / "data"
    values = np.loadtxt(where / "data.txt")
    features = np.loadtxt(where / "index_features.txt", dtype=int)
    target = int(np.loadtxt(where / "index_target.txt"))
    train, test = (np.loadtxt(where / f"index_{part}_{split}.txt", dtype=int) for part in ("train", "test"))
    x = values[:, features]
    if one_hot:
        x = coded(x, TABLES[name][5])
    return Part(x[train], values[train, target], x[test], values[test, target])


def coded(x: np.ndarray, columns: tuple[int, ...]) -> np.ndarray:
    """The named columns as indicators of their levels but the first, at the end."""
    kept = [i for i in range(x.shape[1]) if i not in columns]
    parts = [x[:, kept]]
    for i in columns:
        levels = np.unique(x[:, i])
        parts.append((x[:, [i]] == levels[1:]).astype(float))
    return np.concatenate(parts, 1)


def toy(name: str, rows: int = 10_240, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A toy of the paper: x (N, 1), y (N,)."""
    rng = np.random.default_rng(seed)
    if name == "linear":
        x = rng.uniform(-5, 5, rows)
        return x[:, None], 2 + 3 * x + 2 * rng.normal(size=rows)
    if name == "quadratic":
        x = rng.uniform(-5, 5, rows)
        return x[:, None], 3 * x**2 + 2 * x + 1 + 2 * rng.normal(size=rows)
    if name in ("sinusoidal", "inverse sinusoidal"):
        x = rng.uniform(0, 1, rows)
        y = x + 0.3 * np.sin(2 * np.pi * x) + 0.08 * rng.normal(size=rows)
        return (x[:, None], y) if name == "sinusoidal" else (y[:, None], x)
    if name in ("log-log linear", "log-log cubic"):
        x = rng.uniform(0, 10, rows)
        slope = 1 if name.endswith("linear") else 3
        return x[:, None], np.exp(slope * np.log(np.maximum(x, 1e-9)) + 0.15 * rng.normal(size=rows))
    if name == "8 Gaussians":
        angle = rng.integers(0, 8, rows) * np.pi / 4
        points = 2 * np.stack((np.cos(angle), np.sin(angle)), 1) + 0.1 * rng.normal(size=(rows, 2))
        return points[:, :1] / 1.414, points[:, 1] / 1.414
    if name == "full circle":
        angle = rng.uniform(0, 2 * np.pi, rows)
        radius = 10 + 0.5 * rng.normal(size=rows)
        return (radius * np.cos(angle))[:, None], radius * np.sin(angle)
    raise ValueError(name)


TOYS = (
    "linear", "quadratic", "sinusoidal", "inverse sinusoidal", "log-log linear", "log-log cubic", "8 Gaussians",
    "full circle",
)  # fmt: skip


def toy_density(name: str, x: float, y: np.ndarray) -> np.ndarray:
    """The true p(y | x) of a toy on a grid of y, by its own formula, normalised on the grid."""

    def normal(v: np.ndarray, mean: np.ndarray | float, sd: float) -> np.ndarray:
        return np.exp(-0.5 * ((v - mean) / sd) ** 2)

    if name == "linear":
        p = normal(y, 2 + 3 * x, 2)
    elif name == "quadratic":
        p = normal(y, 3 * x**2 + 2 * x + 1, 2)
    elif name == "sinusoidal":
        p = normal(y, x + 0.3 * np.sin(2 * np.pi * x), 0.08)
    elif name == "inverse sinusoidal":  # the response is the uniform one, and x the noisy one
        p = normal(x, y + 0.3 * np.sin(2 * np.pi * y), 0.08) * ((y > 0) & (y < 1))
    elif name.startswith("log-log"):
        slope = 1 if name.endswith("linear") else 3
        safe = np.maximum(y, 1e-9)
        p = normal(np.log(safe), slope * np.log(x), 0.15) / safe * (y > 0)
    elif name == "8 Gaussians":
        angle = np.arange(8) * np.pi / 4
        centres = 2 * np.stack((np.cos(angle), np.sin(angle)), 1) / 1.414
        p = sum(normal(x, c[0], 0.1 / 1.414) * normal(y, c[1], 0.1 / 1.414) for c in centres)
    elif name == "full circle":
        radius = np.hypot(x, y)
        p = normal(radius, 10, 0.5) / np.maximum(radius, 1e-9)
    else:
        raise ValueError(name)
    p = np.asarray(p, np.float64)
    return p / (p.sum() * (y[1] - y[0]))


def mixture(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The Gaussian mixture of the paper: x (N, 1) and its component; Bayes is right in 0.9665 of the cases."""
    rng = np.random.default_rng(seed)
    which = rng.choice(3, rows, p=(0.5, 0.2, 0.3))
    x = np.array([-1, 0.5, 2])[which] + np.array([0.4, 0.45, 0.3])[which] * rng.normal(size=rows)
    return x[:, None], which


def mixture_posterior(x: np.ndarray) -> np.ndarray:
    """P(component | x): (N, 3)."""
    means, sds, weights = np.array([-1, 0.5, 2]), np.array([0.4, 0.45, 0.3]), np.array([0.5, 0.2, 0.3])
    p = weights / sds * np.exp(-0.5 * ((x - means) / sds) ** 2)
    return p / p.sum(1, keepdims=True)
