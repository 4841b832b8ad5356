"""Guidance with a trained prior: how far draws stray where the network's derivative is no covariance.

A perceptron of width 256 learns the digits of 8×8 for a few thousand steps (some 20 s of processor), as roughly as
small networks do; four problems are restored by each rule. PSNR is of the mean of the draws, of digits held out; χ² is
the median and the largest of single draws; the last column is the largest number in any draw (data are in [-1, 1]).
With --believe rules follow the derivative wherever it leads, as their formulas say.

    .venv/bin/python benchmarks/inverse/trained.py [--evaluations 20] [--steps 3000] [--believe]
"""

from __future__ import annotations

import argparse
import time

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from pushforward.denoisers import EDMPrediction, NetworkDenoiser
from pushforward.inverse import (
    MMPS,
    TMPD,
    AveragePool,
    Blur,
    DiffPIR,
    Gaussian,
    Guidance,
    LinearOperator,
    Mask,
    PiGDM,
    Rule,
    gaussian_kernel,
    parallel,
    posterior_samples,
)
from pushforward.inverse.rules import tangent as tangents
from pushforward.numerics.random import Draws
from pushforward.paths import EDM
from pushforward.paths.gaussian import Level

PATH, SHAPE, SIGMA_DATA = EDM(), (1, 8, 8), 0.5
RULES: dict[str, Rule] = {
    "MMPS, 1 iteration": MMPS(1),
    "MMPS, 5 iterations": MMPS(5),
    "PiGDM": PiGDM(),
    "PiGDM, no Jacobian": PiGDM(jacobian=False),
    "TMPD": TMPD(),
    "DiffPIR, λ = 1": DiffPIR(1.0),
}


class Perceptron(nn.Module):
    """Two residual layers, told the noise by 32 waves."""

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(64 + 32, width), nn.Linear(width, 64)
        self.layers = nn.ModuleList(nn.Linear(width + 32, width) for _ in range(2))

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        phase = noise[:, None] * torch.logspace(-0.7, 0.9, 16)
        waves = torch.cat((phase.sin(), phase.cos()), 1)
        h = nn.functional.silu(self.into(torch.cat((x.flatten(1), waves), 1)))
        for layer in self.layers:
            h = h + nn.functional.silu(layer(torch.cat((h, waves), 1)))
        return self.out(h).reshape(x.shape)


def trained(data: Tensor, steps: int) -> NetworkDenoiser:
    torch.manual_seed(0)
    network = Perceptron()
    denoiser = NetworkDenoiser(PATH, network, EDMPrediction(SIGMA_DATA))
    optimiser = torch.optim.Adam(network.parameters())
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 2e-3 * (1 - step / steps) + 1e-5
        draws = Draws.of(step, range(128))
        x = data[(draws.at("item").uniform((), torch.float64) * len(data)).long()]
        sigma = torch.exp(1.2 * draws.at("level").normal(()) - 1.2)
        level = Level(sigma / PATH.sigma_max, torch.ones_like(sigma), sigma)
        mean = denoiser.estimate(PATH.mix(x, draws.at("z").normal(SHAPE), level), level).mean
        weight = (sigma**2 + SIGMA_DATA**2) / (sigma * SIGMA_DATA) ** 2
        loss = (weight.reshape(-1, 1, 1, 1) * (mean - x) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval().requires_grad_(False)
    return denoiser


def problems() -> dict[str, tuple[LinearOperator, float]]:
    kept = torch.argsort(Draws.of(1, [0], "mask").uniform((64,))[0]).reshape(8, 8) < 32
    return {
        "half of the pixels": (Mask(kept), 0.02),
        "blur": (Blur(gaussian_kernel(5, 0.8)), 0.04),
        "×4": (AveragePool(4), 0.02),
        "12 views": (parallel(8, 12), 0.2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluations", type=int, default=20)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--believe", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.believe:
        tangents._FAR = float("inf")
    digits = (torch.from_numpy(load_digits().data).float() / 8 - 1).reshape(-1, *SHAPE)
    prior, truth = trained(digits[:1500], asked.steps), digits[1500:1516]
    print(
        "| problem | rule | PSNR, dB | χ², median and largest | largest number | seconds |\n|---|---|---|---|---|---|"
    )
    for problem, (operator, sigma) in problems().items():
        seen = Gaussian.measure(operator, truth, sigma, Draws.of(0, range(len(truth)), "seen"))
        for name, rule in RULES.items():
            began = time.process_time()
            draws = posterior_samples(
                Guidance(rule), prior, seen, SHAPE, items=len(truth), samples=8, evaluations=asked.evaluations
            )
            error = (draws.mean(0) - truth).square().flatten(1).mean(1)
            chi2 = torch.stack([seen.chi2(draw) for draw in draws])
            figures = f"{float((-10 * (error / 4).log10()).mean()):.2f} | {float(chi2.median()):.2f}, "
            figures += f"{float(chi2.max()):.3g} | {float(draws.abs().max()):.3g}"
            print(f"| {problem} | {name} | {figures} | {time.process_time() - began:.1f} |", flush=True)


if __name__ == "__main__":
    main()
