"""Restoration of real pictures by trained priors, beside baselines that need none: PSNR, SSIM, χ².

Digits (8×8), MNIST (28×28; 8 000 for training, 2 000 of its own for tests) and squares of a photograph (16×16; the
prior knows another one) in [0, 1]: half of the pixels, ×2 and ×4, blur, noise alone, tomography of 30 views; complex
pictures of 128² and 320² measured by one coil or six, every fourth or eighth line: phantoms, and a photograph with a
phase. The competitor is a mixture on principal components, whose posterior mean is exact; filtered back-projection,
conjugate gradients (stopped where the best of the training pictures says) and total variation (its weight chosen
likewise) need no training, zero filling nothing at all. For methods that draw, PSNR and SSIM are of the mean of the
draws, χ² is that of single draws, 1 if they explain the measurement as well as the truth does. The mean of S perfect
draws has 1 + 1/S times the error of the posterior mean: 0.97 dB with 4, 0.51 dB with 8. scikit-image is needed here
and nowhere else.

    .venv/bin/python benchmarks/inverse/real.py --prepare runs --data MNIST   # writes data, says which trainings to run
    .venv/bin/python benchmarks/inverse/real.py --digits runs/digits --items 24 --samples 8
    .venv/bin/python benchmarks/inverse/real.py --mnist runs/mnist --data MNIST [--items 16] [--samples 4]
    .venv/bin/python benchmarks/inverse/real.py --patches runs/patches
    .venv/bin/python benchmarks/inverse/real.py --mri runs/mri.safetensors --items 4 --samples 2 [--large]

Rows are kept in `benchmarks/results/inverse_real.json`; `--table` prints them all.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
import mri_prior
import real_pictures
import scans
from baselines import components
from contenders import baselines, methods
from restored import Problem, keep, row, stored, tables

import pushforward as pf
from pushforward.denoisers import Denoiser, Mixture
from pushforward.inverse import posterior_samples


@dataclass(frozen=True)
class Units:
    """[-1, 1] to [0, 1]."""

    scale: float = 0.5
    offset: float = 0.5


@dataclass(frozen=True)
class Asked:
    """How many pictures, draws of each, problems and methods whose names contain a text, or only what is missing."""

    items: int
    samples: int = 4
    only: str = ""
    methods: tuple[str, ...] = ("",)
    missing: bool = False

    def method(self, problem: Problem, name: str) -> bool:
        done = self.missing and name in stored().get(problem.name, {})
        return not done and any(text in name for text in self.methods)


def compare(problem: Problem, prior: Denoiser, units: Units | None, mixture: Mixture | None, asked: Asked) -> None:
    """Print one row per method, unless the problem is none of those asked for."""
    if asked.only not in problem.name:
        return
    likelihood = problem.measure(problem.truth)
    for name, make in baselines(problem, mixture).items():
        if not asked.method(problem, name):
            continue
        began = time.process_time()
        estimate = make(likelihood, problem.truth).float()
        found = row(problem, likelihood, estimate, estimate[None], time.process_time() - began)
        keep(problem, name, replace(found, samples=0))
    modelled = likelihood if units is None else likelihood.in_units(units)
    for title, (method, evaluations) in methods(problem).items():
        name = f"{title} ({evaluations})"
        if not asked.method(problem, name):
            continue
        began = time.process_time()
        draws = posterior_samples(
            method,
            prior,
            modelled,
            tuple(problem.truth.shape[1:]),
            items=len(problem.truth),
            samples=asked.samples,
            evaluations=evaluations,
        )
        draws = draws if units is None else units.scale * draws + units.offset
        found = row(problem, likelihood, draws.mean(0), draws, time.process_time() - began)
        keep(problem, name, found)


def trained(name: str, run: pf.Run, training: Tensor, test: Tensor, asked: Asked) -> None:
    """All problems of a set of pictures in [0, 1], (N, 1, H, W), by the prior of a run."""
    prior = run.generator.model.eval().denoiser()
    mixture = components(training, *((30, 10) if test.shape[-1] < 16 else (60, 12)))
    for problem in real_pictures.problems(name, training, test[: asked.items]):
        compare(problem, prior, Units(), mixture, asked)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepare", type=Path)
    parser.add_argument("--data", type=Path, default=Path("mnist"), help="the folder with the t10k files of MNIST")
    parser.add_argument("--digits", help="a run trained on digits")
    parser.add_argument("--mnist", help="a run trained on the first 8 000 test pictures of MNIST")
    parser.add_argument("--patches", help="a run trained on squares of a photograph")
    parser.add_argument("--mri", type=Path, help="the weights of mri_prior.py")
    parser.add_argument("--large", action="store_true", help="MRI of 320² instead of 128²")
    parser.add_argument("--table", action="store_true", help="print what was measured, run nothing")
    parser.add_argument("--items", type=int, default=16)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--only", default="", help="problems whose name contains this")
    parser.add_argument("--methods", action="append", help="methods whose name contains this")
    parser.add_argument("--missing", action="store_true", help="only what is not in the results yet")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.prepare:
        return real_pictures.prepare(given.prepare, given.data)
    if given.table:
        print("\n\n".join(tables(stored())))
        return None
    asked = Asked(given.items, given.samples, given.only, tuple(given.methods or [""]), given.missing)
    print("| problem | method (evaluations) | PSNR, dB | SSIM | χ² | seconds of processor |\n|---|---|---|---|---|---|")
    if given.digits:
        run = pf.load(given.digits)
        trained("digits", run, *real_pictures.digits(run), asked)
    if given.mnist:
        trained("MNIST", pf.load(given.mnist), *real_pictures.mnist(given.data), asked)
    if given.patches:
        trained("photograph", pf.load(given.patches), *real_pictures.patches(), asked)
    if given.mri:
        prior = mri_prior.load(given.mri)
        for problem in (scans.large if given.large else scans.small)(asked.items):
            compare(problem, prior, None, None, asked)
    return None


if __name__ == "__main__":
    main()
