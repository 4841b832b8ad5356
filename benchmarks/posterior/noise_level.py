"""Is the credible interval of an unknown noise level right? σ, x and y are simulated, and σ is drawn with x.

    .venv/bin/python benchmarks/posterior/noise_level.py [--simulations 240] [--missing]

Two problems: a mixture in three dimensions seen through 24 numbers, and the same mixture seen whole, each number eight
times. σ² is inverse-gamma(3, 0.1), so that σ lies between about 0.12 and 0.4. Told are the coverage of central
intervals of σ at 50, 80 and 90 %, and the p-value of its ranks. Results: `benchmarks/results/posterior_noise.json`.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace

import torch
from scipy import stats

from pushforward.denoisers import Mixture, MixtureDenoiser
from pushforward.inverse import Gaussian, Matrix
from pushforward.numerics.random import Draws
from pushforward.paths import EDM
from pushforward.posterior import Question, SplitGibbs, UnknownNoise, infer
from results import keep, read

F64 = torch.float64
LAW = UnknownNoise(3.0, 0.1)
PRIOR = Mixture.of_covariances(
    torch.tensor([0.4, 0.6], dtype=F64),
    torch.tensor([[-1.0, 0.5, 0.0], [1.0, -0.5, 0.3]], dtype=F64),
    torch.tensor([[0.1, 0.3, 0.2], [0.2, 0.1, 0.4]], dtype=F64),
)
PROBLEMS = {
    "24 projections": Matrix(Draws.of(1, [0], "projections").normal((24, 3), F64)[0] / 2),
    "eight of each": Matrix(torch.eye(3, dtype=F64).repeat(8, 1)),
}
DRAWS = 39


def measure(name: str, simulations: int) -> dict[str, float]:
    draws = Draws.of(0, range(simulations), name)
    sigma, x, operator = LAW.sample(draws.at("law")), PRIOR.sample(draws), PROBLEMS[name]
    seen = Gaussian.measure(operator, x, sigma, draws)
    guessed = replace(seen, sigma=0.2)  # where the chains start; the truth is not told
    question = Question(MixtureDenoiser(PRIOR, EDM(0.002, 20.0)), guessed, (3,), simulations, F64)
    began = time.process_time()
    method = SplitGibbs(inner=8, start=16, noise=LAW)
    answer = infer(method, question, samples=DRAWS, evaluations=256, at_once=4096)
    assert answer.sigma is not None
    ordered = answer.sigma.sort(0).values
    ranks = (answer.sigma < sigma).sum(0)
    u = (ranks + draws.at("ranks").uniform((), F64)) / (DRAWS + 1)
    found = {
        f"coverage {level:g}": float(
            (
                (ordered[round((1 - level) / 2 * (DRAWS + 1)) - 1] <= sigma)
                & (sigma <= ordered[round((1 + level) / 2 * (DRAWS + 1)) - 1])
            )
            .double()
            .mean()
        )
        for level in (0.5, 0.8, 0.9)
    }
    return found | {
        "p of ranks": float(stats.kstest(u.numpy(), "uniform").pvalue),
        "simulations": simulations,
        "split-R̂": float(answer.rhat.median()) if answer.rhat is not None else None,
        "seconds": round(time.process_time() - began, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=240)
    parser.add_argument("--missing", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for name in PROBLEMS:
        if asked.missing and name in read("posterior_noise"):
            continue
        found = measure(name, asked.simulations)
        keep("posterior_noise", name, found)
        print(name, found, file=sys.stderr)


if __name__ == "__main__":
    main()
