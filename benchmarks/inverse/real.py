"""Restoration of real pictures by trained priors, beside baselines that need none: PSNR, SSIM, χ².

Digits (8×8) and MNIST (28×28; 8 000 for training, 2 000 of its own for tests) in [0, 1]: half of the pixels, ×2 and ×4,
blur, tomography of 30 views; complex phantoms of 128² measured by one coil or six, every fourth or eighth line. The
competitor is a mixture on principal components, whose posterior mean is exact; filtered back-projection, conjugate
gradients (stopped where the best of the training pictures says) and total variation (its weight chosen likewise) need
no training. For methods that draw, PSNR and SSIM are of the mean of the draws, χ² is that of single draws, 1 if they
explain the measurement as well as the truth does. scikit-image is needed here and nowhere else.

    .venv/bin/python benchmarks/inverse/real.py --prepare runs            # writes runs/mnist8k.npz, says what to run
    .venv/bin/python benchmarks/inverse/real.py --digits runs/digits --mnist runs/mnist [--items 16] [--samples 4]
    .venv/bin/python benchmarks/inverse/real.py --mri runs/mri.safetensors
"""

from __future__ import annotations

import argparse
import gzip
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
import mri_prior
from baselines import components, least_squares, mixture_mean, total_variation
from phantoms import coil_maps, lines, phantoms

import pushforward as pf
from pushforward.denoisers import Denoiser, Mixture
from pushforward.inverse import (
    CCDF,
    DDRM,
    AveragePool,
    Blur,
    ChannelsAsComplex,
    Gaussian,
    LinearOperator,
    Mask,
    Measured,
    Method,
    PiGDM,
    ProjectedScore,
    Radon,
    RePaint,
    Ridge,
    filtered_back_projection,
    gaussian_kernel,
    hann,
    parallel,
    posterior_samples,
    sense,
    subsampled_fourier,
)
from pushforward.inverse.method import Guidance
from pushforward.numerics.random import Draws

WEIGHTS = (0.003, 0.01, 0.03, 0.1, 0.3)
STOPS = (3, 6, 12, 25, 50)
Baseline = Callable[[Gaussian, Tensor], Tensor]


@dataclass(frozen=True)
class Units:
    """[-1, 1] to [0, 1]."""

    scale: float = 0.5
    offset: float = 0.5


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
    return Row(float((-10 * error.log10()).mean()), float(np.mean(ssim)), float(chi2), seconds)


def tuned(problem: Problem, make: Callable[[Gaussian, Tensor, float], Tensor], choices: tuple[float, ...]) -> Baseline:
    """The baseline with the setting that is best for training pictures."""
    likelihood, start = problem.measure(problem.tuning, "tuning"), torch.zeros_like(problem.tuning)
    errors = [float((make(likelihood, start, c) - problem.tuning).square().mean()) for c in choices]
    best = choices[errors.index(min(errors))]
    return lambda given, like: make(given, torch.zeros_like(like), best)


def back_projection(measured: Measured) -> Tensor:
    """Filtered back-projection in model units, for CCDF: what lies within the picture is in [0, 1] there."""
    scaled = measured.operator
    radon = getattr(scaled, "operator", scaled)
    assert isinstance(radon, Radon)
    # y = A (0.5 x): the constant of the units has been taken off
    return (filtered_back_projection(radon, measured.y, hann) / 0.5).clamp(-1, 1)


def methods(problem: Problem) -> dict[str, tuple[Method, int]]:
    tomography = isinstance(problem.operator, Radon)
    named: dict[str, tuple[Method, int]] = {
        "projected score": (ProjectedScore(), 50),
        "CCDF": (CCDF(back_projection if tomography else Ridge(), 0.5), 20),
        "PiGDM": (Guidance(PiGDM()), 30),
    }
    if problem.operator.svd(tuple(problem.truth.shape[1:])) is not None:
        named = {"DDRM": (DDRM(), 20), "DDRM, published": (DDRM.published(), 20)} | named
        if isinstance(problem.operator, Mask):
            named["RePaint"] = (RePaint(), 100)
    return named


def baselines(problem: Problem, mixture: Mixture | None) -> dict[str, Baseline]:
    found: dict[str, Baseline] = {
        "total variation": tuned(problem, total_variation, WEIGHTS),
        "conjugate gradients": tuned(problem, least_squares, STOPS),
    }
    operator = problem.operator
    if isinstance(operator, Radon):
        found["filtered back-projection"] = lambda given, like: filtered_back_projection(operator, given.y, hann)
    if mixture is not None:
        found["PCA mixture, exact"] = lambda given, like: mixture_mean(mixture, given, like)
    return found


def compare(problem: Problem, prior: Denoiser, units: Units | None, mixture: Mixture | None, samples: int) -> None:
    """Print one row per method."""
    likelihood = problem.measure(problem.truth)
    for name, make in baselines(problem, mixture).items():
        began = time.process_time()
        estimate = make(likelihood, problem.truth).float()
        show(problem, name, row(problem, likelihood, estimate, estimate[None], time.process_time() - began))
    modelled = likelihood if units is None else likelihood.in_units(units)
    for name, (method, evaluations) in methods(problem).items():
        began = time.process_time()
        draws = posterior_samples(
            method,
            prior,
            modelled,
            tuple(problem.truth.shape[1:]),
            items=len(problem.truth),
            samples=samples,
            evaluations=evaluations,
        )
        draws = draws if units is None else units.scale * draws + units.offset
        found = row(problem, likelihood, draws.mean(0), draws, time.process_time() - began)
        show(problem, f"{name}, {evaluations}", found)


def show(problem: Problem, name: str, found: Row) -> None:
    figures = f"{found.psnr:.2f} | {found.ssim:.3f} | {found.chi2:.2f} | {found.seconds:.0f}"
    print(f"| {problem.name} | {name} | {figures} |", flush=True)


def pictures(name: str, training: Tensor, test: Tensor, run: pf.Run, samples: int, only: str) -> None:
    """All problems of a set of pictures in [0, 1], (N, 1, H, W)."""
    size = test.shape[-1]
    mask = torch.argsort(Draws.of(1, [0], "mask").uniform((size * size,))[0]).reshape(size, size) < size * size // 2
    problems: dict[str, tuple[LinearOperator, float]] = {
        "half of the pixels": (Mask(mask), 0.05),
        "×2": (AveragePool(2), 0.02),
        "blur": (Blur(gaussian_kernel(5 if size < 16 else 9, size / 16)), 0.02),
    }
    if size > 8:
        problems |= {"×4": (AveragePool(4), 0.02), "30 views": (parallel(size, 30), 0.2)}
    mixture = components(training, *((30, 10) if size < 16 else (60, 12)))
    for title, (operator, sigma) in problems.items():
        if only in title:
            problem = Problem(f"{name}, {title}", operator, sigma, test, training[:12])
            compare(problem, run.generator.model.eval().denoiser(), Units(), mixture, samples)


def digits(folder: str, items: int, samples: int, only: str) -> None:
    run = pf.load(folder)
    data = run.data()
    training, test = (part.all().values / 2 + 0.5 for part in (data.train, data.test))
    pictures("digits", training, test[:items], run, samples, only)


def mnist(folder: str, data: Path, items: int, samples: int, only: str) -> None:
    everything = torch.from_numpy(read_mnist(data)[0].copy()).float()[:, None] / 255
    pictures("MNIST", everything[:8000], everything[8000 : 8000 + items], pf.load(folder), samples, only)


def mri(path: Path, items: int, samples: int, only: str) -> None:
    size = mri_prior.SIZE
    truth, tuning = phantoms(10_000, items, size), phantoms(0, 4, size)
    for factor in (4, 8):
        mask = lines(size, factor).expand(size, size)
        single = subsampled_fourier(mask, centred=True) @ ChannelsAsComplex()
        several = sense(coil_maps(6, size), mask) @ ChannelsAsComplex()
        for title, operator in (("one coil", single), ("six coils", several)):
            if only in title:
                problem = Problem(f"MRI {factor}×, {title}", operator, 0.02, truth, tuning)
                compare(problem, mri_prior.load(path), None, None, samples)


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
    unet = "--set model.network.kind=unet --set data.labels=false --set training.learning_rate=0.002"
    small = "--set model.network.width=24 --set 'model.network.multipliers=[1,2,2]' --set model.network.blocks=1"
    print(
        f"pushforward train digits --steps 1200 {unet} --set model.network.width=32 --out {folder}/digits\n"
        f"pushforward train {folder}/mnist8k.npz --steps 1800 {unet} {small} --set training.batch_size=64 "
        f"--set data.validation=0.03 --set data.test=0.03 --out {folder}/mnist\n"
        f"python benchmarks/inverse/mri_prior.py {folder}/mri.safetensors"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepare", type=Path)
    parser.add_argument("--data", type=Path, default=Path("mnist"), help="the folder with the t10k files of MNIST")
    parser.add_argument("--digits", help="a run trained on digits")
    parser.add_argument("--mnist", help="a run trained on the first 8 000 test pictures of MNIST")
    parser.add_argument("--mri", type=Path, help="the weights of mri_prior.py")
    parser.add_argument("--items", type=int, default=16)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--only", default="", help="problems whose name contains this")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.prepare:
        return prepare(asked.prepare, asked.data)
    print("| problem | method, evaluations | PSNR, dB | SSIM | χ² | seconds of processor |\n|---|---|---|---|---|---|")
    if asked.digits:
        digits(asked.digits, asked.items, asked.samples, asked.only)
    if asked.mnist:
        mnist(asked.mnist, asked.data, asked.items, asked.samples, asked.only)
    if asked.mri:
        mri(asked.mri, asked.items, asked.samples, asked.only)
    return None


if __name__ == "__main__":
    main()
