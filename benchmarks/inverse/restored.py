"""A restored set of pictures as a line of a table: PSNR, SSIM, χ², kept in a file of results."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from pushforward.inverse import Gaussian, LinearOperator
from pushforward.numerics.random import Draws

RESULTS = Path(__file__).parents[1] / "results" / "inverse_real.json"


@dataclass(frozen=True, eq=False)
class Problem:
    """A measurement of pictures in their own units, and of the training pictures that baselines are tuned on."""

    name: str
    operator: LinearOperator
    sigma: float
    truth: Tensor
    tuning: Tensor

    def measure(self, x: Tensor, stream: str = "measure") -> Gaussian:
        return Gaussian.measure(self.operator, x, self.sigma, Draws.of(0, range(len(x)), stream))


@dataclass(frozen=True)
class Row:
    """One line of the table; `items` pictures, `samples` draws of each, 0 where nothing is drawn."""

    items: int
    samples: int
    psnr: float
    ssim: float
    chi2: float
    seconds: float


def magnitude(x: Tensor) -> Tensor:
    """Pictures (B, H, W): grey ones as they are, complex ones in two channels by their magnitude."""
    return x[:, 0] if x.shape[1] == 1 else x.square().sum(1).sqrt()


def row(problem: Problem, likelihood: Gaussian, estimate: Tensor, draws: Tensor, seconds: float) -> Row:
    error = (estimate - problem.truth).square().flatten(1).mean(1) * estimate.shape[1]
    found, truth = magnitude(estimate).clamp(0, 1), magnitude(problem.truth)
    ssim = [structural_similarity(a.numpy(), b.numpy(), data_range=1.0) for a, b in zip(truth, found, strict=True)]
    chi2 = torch.stack([likelihood.chi2(x) for x in draws]).mean()
    psnr = float((-10 * error.log10()).mean())
    return Row(len(estimate), len(draws), psnr, float(np.mean(ssim)), float(chi2), seconds)


def stored() -> dict[str, dict[str, dict[str, float]]]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def keep(problem: Problem, name: str, found: Row) -> None:
    results = stored()  # read again: others may write at the same time
    results.setdefault(problem.name, {})[name] = {k: round(v, 4) for k, v in asdict(found).items()}
    RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    print(line(problem.name, name, results[problem.name][name]), flush=True)


def line(problem: str, name: str, found: dict[str, float]) -> str:
    figures = f"{found['psnr']:.2f} | {found['ssim']:.3f} | {found['chi2']:.2f} | {found['seconds']:.0f}"
    return f"| {problem} | {name} | {figures} |"


def tables(results: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    """One table for each set of pictures: PSNR / SSIM / χ² of methods on its problems."""
    found = []
    for kind in dict.fromkeys(name.rsplit(", ", 1)[0] for name in results):
        problems = {name.rsplit(", ", 1)[1]: rows for name, rows in results.items() if name.rsplit(", ", 1)[0] == kind}
        table = [f"| {kind} | " + " | ".join(problems) + " |", "|---" * (len(problems) + 1) + "|"]
        for method in dict.fromkeys(method for rows in problems.values() for method in rows):
            cells = (rows.get(method) for rows in problems.values())
            shown = (f"{c['psnr']:.2f} / {c['ssim']:.3f} / {c['chi2']:.2f}" if c else "–" for c in cells)
            table.append(f"| {method} | " + " | ".join(shown) + " |")
        found.append("\n".join(table))
    return found
