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
import gzip
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
import mri_prior
from baselines import components, least_squares, mixture_mean, total_variation
from phantoms import coil_maps, crops, lines, phantoms, photograph, with_phase

import pushforward as pf
from pushforward.denoisers import Denoiser, Mixture
from pushforward.inverse import (
    CCDF,
    DDRM,
    MMPS,
    AveragePool,
    Blur,
    ChannelsAsComplex,
    Gaussian,
    Identity,
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

RESULTS = Path(__file__).parents[1] / "results" / "inverse_real.json"
SQUARE = 16
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
        "projected score": (ProjectedScore(), 30),
        "CCDF": (CCDF(back_projection if tomography else Ridge(), 0.5), 20),
        "PiGDM": (Guidance(PiGDM()), 20),
        "MMPS": (Guidance(MMPS()), 20),
    }
    if problem.operator.svd(tuple(problem.truth.shape[1:])) is not None:
        named = {"DDRM": (DDRM(), 20), "DDRM, published": (DDRM.published(), 20)} | named
        if isinstance(problem.operator, Mask) and problem.truth[0].numel() <= SQUARE**2:
            named["RePaint"] = (RePaint(), 100)
    return named


def baselines(problem: Problem, mixture: Mixture | None) -> dict[str, Baseline]:
    operator = problem.operator
    found: dict[str, Baseline] = {
        "total variation": lambda given, like: tuned(problem, total_variation, WEIGHTS)(given, like),
        "conjugate gradients": lambda given, like: tuned(problem, least_squares, STOPS)(given, like),
    }
    if problem.truth.shape[1] == 2:
        found["zero filling"] = lambda given, like: operator.adjoint(given.y)
    if isinstance(operator, Radon):
        found["filtered back-projection"] = lambda given, like: filtered_back_projection(operator, given.y, hann)
    if mixture is not None:
        found["PCA mixture, exact"] = lambda given, like: mixture_mean(mixture, given, like)
    return found


@dataclass(frozen=True)
class Asked:
    """What to run: draws of each picture, problems and methods whose names contain a text, or only what is missing."""

    samples: int = 4
    only: str = ""
    methods: tuple[str, ...] = ("",)
    missing: bool = False

    def problem(self, title: str) -> bool:
        return self.only in title

    def method(self, problem: Problem, name: str) -> bool:
        done = self.missing and name in stored().get(problem.name, {})
        return not done and any(text in name for text in self.methods)


def compare(problem: Problem, prior: Denoiser, units: Units | None, mixture: Mixture | None, asked: Asked) -> None:
    """Print one row per method."""
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


def pictures(name: str, training: Tensor, test: Tensor, run: pf.Run, asked: Asked) -> None:
    """All problems of a set of pictures in [0, 1], (N, 1, H, W)."""
    size = test.shape[-1]
    mask = torch.argsort(Draws.of(1, [0], "mask").uniform((size * size,))[0]).reshape(size, size) < size * size // 2
    problems: dict[str, tuple[LinearOperator, float]] = {
        "half of the pixels": (Mask(mask), 0.05),
        "×2": (AveragePool(2), 0.02),
        "blur": (Blur(gaussian_kernel(9 if size == 28 else 5, size / 16 if size != SQUARE else 0.7)), 0.02),
    }
    if size == 28:
        problems |= {"×4": (AveragePool(4), 0.02), "30 views": (parallel(size, 30), 0.2)}
    if size == SQUARE:
        problems |= {"noise": (Identity(), 0.2)}
    mixture = components(training, *((30, 10) if size < 16 else (60, 12)))
    for title, (operator, sigma) in problems.items():
        if asked.problem(title):
            problem = Problem(f"{name}, {title}", operator, sigma, test, training[:12])
            compare(problem, run.generator.model.eval().denoiser(), Units(), mixture, asked)


def digits(folder: str, items: int, asked: Asked) -> None:
    run = pf.load(folder)
    data = run.data()
    training, test = (part.all().values / 2 + 0.5 for part in (data.train, data.test))
    pictures("digits", training, test[:items], run, asked)


def mnist(folder: str, data: Path, items: int, asked: Asked) -> None:
    everything = torch.from_numpy(read_mnist(data)[0].copy()).float()[:, None] / 255
    pictures("MNIST", everything[:8000], everything[8000 : 8000 + items], pf.load(folder), asked)


def squares(name: str, count: int) -> Tensor:
    return crops(photograph(name), 0, count, SQUARE)[:, None]


def patches(folder: str, items: int, asked: Asked) -> None:
    pictures("photograph", squares("china.jpg", 12_000), squares("flower.jpg", items), pf.load(folder), asked)


def mri(path: Path, items: int, asked: Asked) -> None:
    size, truth = mri_prior.SIZE, phantoms(10_000, items, mri_prior.SIZE)
    for factor in (4, 8):
        scan(f"MRI {factor}×", truth, phantoms(0, 1, size), factor, path, asked)


def large_mri(path: Path, items: int, asked: Asked) -> None:
    """Pictures of 320² through the network of 128²: phantoms, and the photograph that the prior has not seen."""
    size = mri_prior.LARGE
    natural = with_phase(photograph("flower.jpg")[None, 50 : 50 + size, 150 : 150 + size], 30_000)
    tuning = with_phase(photograph("china.jpg")[None, 50 : 50 + size, 150 : 150 + size], 30_001)
    scan("MRI 320², 4×", phantoms(20_000, items, size), phantoms(0, 1, size), 4, path, asked)
    scan("MRI 320², 4×, photograph", natural, tuning, 4, path, asked)


def scan(name: str, truth: Tensor, tuning: Tensor, factor: int, path: Path, asked: Asked) -> None:
    """One line in `factor`, by one coil and by six."""
    size = truth.shape[-1]
    mask = lines(size, factor).expand(size, size)
    single = subsampled_fourier(mask, centred=True) @ ChannelsAsComplex()
    several = sense(coil_maps(6, size), mask) @ ChannelsAsComplex()
    for title, operator in (("one coil", single), ("six coils", several)):
        if asked.problem(title):
            problem = Problem(f"{name}, {title}", operator, 0.02, truth, tuning)
            compare(problem, mri_prior.load(path), None, None, asked)


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
        return prepare(given.prepare, given.data)
    if given.table:
        print("\n\n".join(tables(stored())))
        return None
    asked = Asked(given.samples, given.only, tuple(given.methods or [""]), given.missing)
    print("| problem | method (evaluations) | PSNR, dB | SSIM | χ² | seconds of processor |\n|---|---|---|---|---|---|")
    if given.digits:
        digits(given.digits, given.items, asked)
    if given.mnist:
        mnist(given.mnist, given.data, given.items, asked)
    if given.patches:
        patches(given.patches, given.items, asked)
    if given.mri:
        (large_mri if given.large else mri)(given.mri, given.items, asked)
    return None


if __name__ == "__main__":
    main()
