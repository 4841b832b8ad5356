"""Measurements that are not linear against posteriors by quadrature on a grid: magnitudes, clipping, counts.

    .venv/bin/python benchmarks/posterior/nonlinear.py [--items 6] [--samples 400] [--missing]

Priors are mixtures on a line and in the plane; truths are drawn from them and measured. Told are, averaged over items:
the error of the mean and of the deviation in exact deviations, and Kolmogorov's distance of each coordinate's draws
from the grid's law, times √samples (right draws: 0.87 on average, 1.36 exceeded once in twenty). Results:
`benchmarks/results/posterior_nonlinear.json`.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
import torch
from torch import Tensor

from pushforward.denoisers import Mixture, MixtureDenoiser
from pushforward.inverse import Clip, Gaussian, Likelihood, NonLinear, Poisson
from pushforward.numerics.random import Draws
from pushforward.paths import CLEAN, EDM
from pushforward.posterior import Question, SplitGibbs, Tempering, infer
from results import keep, read

F64 = torch.float64
LINE = Mixture.of_covariances(
    torch.tensor([0.4, 0.6], dtype=F64),
    torch.tensor([[-1.0], [1.2]], dtype=F64),
    torch.tensor([[0.2], [0.3]], dtype=F64),
)
PLANE = Mixture.of_covariances(
    torch.tensor([0.3, 0.3, 0.4], dtype=F64),
    torch.tensor([[-1.0, 0.2], [0.8, 1.0], [0.6, -0.9]], dtype=F64),
    torch.tensor([[0.15, 0.3], [0.2, 0.1], [0.1, 0.15]], dtype=F64),
)


def magnitude(x: Tensor) -> Tensor:
    """|x_1 + x_2| and |x_1 − x_2|: the Fourier magnitudes of two numbers, their signs lost."""
    return torch.stack(((x[:, 0] + x[:, 1]).abs(), (x[:, 0] - x[:, 1]).abs()), 1)


def gaussian(operator: object, sigma: float) -> object:
    return lambda x, draws: Gaussian.measure(operator, x, sigma, draws)


def counts(x: Tensor, draws: Draws) -> Likelihood:
    operator = NonLinear(torch.exp)
    return Poisson(operator, Poisson(operator, torch.zeros_like(x)).simulate(x, draws))


PROBLEMS = {
    "phase retrieval, line": (LINE, gaussian(NonLinear(torch.abs), 0.2)),
    "phase retrieval, plane": (PLANE, gaussian(NonLinear(magnitude), 0.2)),
    "clipping, line": (LINE, gaussian(Clip(-0.5, 0.5), 0.2)),
    "clipping, plane": (PLANE, gaussian(Clip(-0.5, 0.5), 0.2)),
    "counts, line": (LINE, counts),
}
METHODS = {
    "tempering": (Tempering(inner=14, start=60), 620),
    "tested chains": (SplitGibbs(inner=14, start=30), 730),
}


def grid(prior: Mixture) -> Tensor:
    line = torch.linspace(-4, 4, 2001 if prior.dim == 1 else 241, dtype=F64)
    return torch.cartesian_prod(*[line] * prior.dim).reshape(-1, prior.dim)


def compared(points: Tensor, log_density: Tensor, drawn: Tensor) -> tuple[float, float, float]:
    """Errors of mean and deviation, and the largest √n·Kolmogorov of the coordinates: points (G, D), draws (S, D)."""
    weight = log_density.softmax(0).numpy()
    mean = weight @ points.numpy()
    spread = np.sqrt(weight @ (points.numpy() - mean) ** 2)
    distances = []
    for i in range(points.shape[1]):
        line, index = np.unique(points[:, i].numpy(), return_inverse=True)
        cumulative = np.bincount(index, weight).cumsum()
        # A cell's weight is spread over the cell.
        middle = cumulative - np.bincount(index, weight) / 2
        found = np.interp(np.sort(drawn[:, i].numpy()), line, middle)
        distances.append(np.abs(found - (np.arange(len(found)) + 0.5) / len(found)).max() * len(found) ** 0.5)
    error = np.linalg.norm((drawn.mean(0).numpy() - mean) / spread)
    return float(error), float(np.abs(drawn.std(0).numpy() / spread - 1).max()), float(max(distances))


def measure(name: str, method: str, items: int, samples: int) -> dict[str, float]:
    prior, see = PROBLEMS[name]
    draws = Draws.of(0, range(items), name)
    likelihood = see(prior.sample(draws), draws)
    denoiser = MixtureDenoiser(prior, EDM(0.002, 20.0))
    rule, evaluations = METHODS[method]
    began = time.process_time()
    question = Question(denoiser, likelihood, (prior.dim,), items, F64)
    answer = infer(rule, question, samples=samples, evaluations=evaluations).resampled()
    seconds = time.process_time() - began
    points = grid(prior)
    density = denoiser.log_prob(points, CLEAN)
    told = []
    for i in range(items):
        own = likelihood.select(torch.full((len(points),), i))
        told.append(compared(points, density + own.log_prob(points), answer.samples[:, i]))
    error, deviation, distance = np.mean(told, 0).tolist()
    return {
        "mean": error,
        "deviation": deviation,
        "kolmogorov": distance,
        "items": items,
        "samples": samples,
        "evaluations": answer.evaluations,
        "split-R̂": float(answer.rhat.max()) if answer.rhat is not None else None,
        "seconds": round(seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=6)
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--only", default="", help="methods whose name contains this")
    parser.add_argument("--missing", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for name in PROBLEMS:
        for method in METHODS:
            entry = f"{name}: {method}"
            if asked.only not in method or (asked.missing and entry in read("posterior_nonlinear")):
                continue
            found = measure(name, method, asked.items, asked.samples)
            keep("posterior_nonlinear", entry, found)
            print(entry, found, file=sys.stderr)


if __name__ == "__main__":
    main()
