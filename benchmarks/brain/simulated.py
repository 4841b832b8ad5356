"""Decoding of a simulated brain whose posterior is known: digits as stimuli, voxels linear in them with Gaussian noise.

1. A Gaussian prior of the digits: draws by the diffusion model of p(picture | voxels), the encoding known, beside the
   posterior in closed form: mean and covariance in units of their Monte-Carlo errors.
2. A mixture of Gaussians, one per digit, as the prior (exact denoiser): everything is learned from training trials, as
   `pushforward brain` does; decoded pictures beside ridge alone, retrieval, the training mean, permuted trials, and the
   posterior mean that Bayes' rule gives who knows the encoding, which no decoder beats in squared error.

Prints tables and one line `ok` or `MISS` per bound. The prior is of one half of the digits, stimuli are of the other.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pushforward import brain
from pushforward.data.builtin import digits
from pushforward.data.format import Format
from pushforward.data.pixels import Layout, Pixels
from pushforward.denoisers import DataPrediction, Mixture, MixtureDenoiser
from pushforward.inverse import Gaussian
from pushforward.inverse.operators import Matrix
from pushforward.models.denoising import DiffusionGenerator
from pushforward.models.family import Denoising
from pushforward.paths import VP
from pushforward.posterior import Question, SplitGibbs, infer

SHAPE, SPAN = (1, 8, 8), 16.0
FORM = Format(Pixels(SHAPE, Layout.PLANE, "float64", 0.0, SPAN, False))


class Known(Denoising):
    """The exact denoiser of a mixture as a model."""

    def __init__(self, mixture: Mixture) -> None:
        super().__init__(SHAPE)
        self.network, self.path, self.prediction, self.mixture = nn.Linear(1, 1), VP(), DataPrediction(0.75), mixture

    def denoiser(self):
        return MixtureDenoiser(self.mixture, self.path)

    def objectives(self):
        return {}

    def loss(self, objective, batch, draws):
        raise NotImplementedError

    def draw(self, draws, labels=None):
        raise NotImplementedError


def mixture_of(x: np.ndarray, labels: np.ndarray, floor: float) -> Mixture:
    """One Gaussian per label; `floor` is added to every variance."""
    parts = [x[labels == k] for k in np.unique(labels)]
    covariances = np.stack([np.cov(part.T) + floor * np.eye(x.shape[1]) for part in parts])
    weights, means = [len(part) for part in parts], np.stack([part.mean(0) for part in parts])
    return Mixture.of_covariances(
        *(torch.tensor(np.asarray(v), dtype=torch.float64) for v in (weights, means, covariances))
    )


def exact_posterior(mixture: Mixture, b: np.ndarray, noise: float, voxels: np.ndarray) -> tuple[np.ndarray, list]:
    """Weights (n, K) and each component's mean and covariance given voxels = B x + noise·e, by NumPy."""
    weights = mixture.weights.numpy()
    logs, laws = [], []
    for k in range(len(weights)):
        m = mixture.means[k].numpy()
        base, spread = mixture.bases[k].numpy(), mixture.spreads[k].numpy()
        c = base @ np.diag(spread) @ base.T + float(mixture.floors[k]) * np.eye(len(m))
        total = b @ c @ b.T + noise**2 * np.eye(len(b))
        away = voxels - b @ m
        solved = np.linalg.solve(total, away.T)
        logs.append(np.log(weights[k]) - 0.5 * (np.einsum("ij,ji->i", away, solved) + np.linalg.slogdet(total)[1]))
        laws.append((m + (c @ b.T @ solved).T, c - c @ b.T @ np.linalg.solve(total, b @ c)))
    log = np.stack(logs, 1)
    share = np.exp(log - log.max(1, keepdims=True))
    return share / share.sum(1, keepdims=True), laws


def gaussian_case(x, rng, draws: int, evaluations: int) -> list[dict]:
    """Draws for three trials by the diffusion model beside the posterior in closed form."""
    law = mixture_of(x, np.zeros(len(x), dtype=int), 1e-3)
    b, noise = rng.normal(size=(100, 64)) / 8, 0.5
    stimuli = law.means[0].numpy() + rng.normal(size=(3, 64)) @ np.linalg.cholesky(np.cov(x.T) + 1e-3 * np.eye(64)).T
    voxels = stimuli @ b.T + noise * rng.normal(size=(3, 100))
    _, [(means, covariance)] = exact_posterior(law, b, noise, voxels)
    model = Known(law)
    likelihood = Gaussian(Matrix(torch.from_numpy(b), SHAPE), torch.from_numpy(voxels), noise)
    question = Question(model.denoiser(), likelihood, SHAPE, 3, dtype=torch.float64)
    rows = []
    for inner in (10, 20):
        began = time.process_time()
        answer = infer(SplitGibbs(inner=inner), question, samples=draws, evaluations=evaluations, at_once=3000)
        found = answer.samples.flatten(2).numpy()
        rows.append(
            compared(found, means, covariance, draws) | {"inner": inner, "seconds": time.process_time() - began}
        )
    exact = means + rng.normal(size=(draws, 3, 64)) @ np.linalg.cholesky(covariance).T
    rows.append(compared(exact, means, covariance, draws) | {"inner": "exact draws", "seconds": 0.0})
    return rows


def compared(found, means, covariance, draws) -> dict:
    """Root mean square errors of mean and covariance in their own standard errors, in whitened coordinates."""
    root = np.linalg.cholesky(covariance)
    white = np.linalg.solve(root, (found - means).reshape(-1, 64).T).T.reshape(found.shape)
    spread = np.stack([np.cov(white[:, i].T) for i in range(white.shape[1])])
    return {
        "mean": float(np.sqrt(draws * np.mean(white.mean(0) ** 2))),
        "variance": float(np.mean(np.diagonal(spread, axis1=1, axis2=2))),
        "covariance": float(np.sqrt(draws * np.mean((spread - np.eye(64)) ** 2) / (1 + 1 / 64))),
    }


def decoded_case(x, labels, prior_items, images, rng, noise: float) -> dict:
    """The whole way on real digits, the prior a mixture of the other half of them."""
    half = len(x) // 2
    mixture = mixture_of(x[:half], labels[:half], 0.02)
    prior = brain.Prior.of(DiffusionGenerator(Known(mixture), FORM))
    b = rng.normal(size=(300, 64)) / 8
    rows = half + rng.permutation(len(x) - half)[:260]
    voxels = x[rows] @ b.T + noise * rng.normal(size=(260, 300))
    train, test = (brain.Trials(voxels[part], images[rows[part]]) for part in (slice(0, 200), slice(200, 260)))
    recording = brain.Recording(train, test)
    settings = brain.Settings(samples=20)
    shown = {}
    for name, chosen in (("noised", settings), ("exact", replace(settings, exact=True))):
        began = time.process_time()
        study = brain.study(prior, prior_items, recording, chosen)
        shown[name] = study
        print(f"{name}: {time.process_time() - began:.0f} s", file=sys.stderr)
    share, laws = exact_posterior(mixture, b, noise, test.voxels)
    best = np.einsum("nk,knd->nd", share, np.stack([mean for mean, _ in laws]))
    truth = shown["noised"].truth
    bayes = brain.score((best * SPAN / 2 + SPAN / 2).reshape(-1, *SHAPE), truth, SPAN, shown["noised"].window)
    return {"studies": shown, "bayes": bayes}


def table(found: dict) -> tuple[list[str], dict]:
    studies, bayes = found["studies"], found["bayes"]
    rows = {
        f"{name}: {way}": s for way, study in studies.items() for name, s in study.scores.items() if "sample" in name
    }
    rows |= {name: s for name, s in studies["noised"].scores.items() if "sample" not in name}
    rows["posterior mean, encoding known"] = bayes
    lines = ["| | PCC | MSE | SSIM | 2-way | 10-way |", "|---|---|---|---|---|---|"]
    for name, s in rows.items():
        two, ten = s.identified
        figures = (
            f"{s.pcc[0]:.3f} ± {s.pcc[1]:.3f} | {s.mse[0]:.4f} | {s.ssim[0]:.3f} | {two.share:.1%} | {ten.share:.1%}"
        )
        lines.append(f"| {name} | {figures} |")
    return lines, rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=1500)
    parser.add_argument("--evaluations", type=int, default=400)
    parser.add_argument("--noise", type=float, default=1.5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    raw = digits()
    images, labels = raw.values.astype(np.float64), raw.labels
    x = (images.reshape(len(images), 64) - SPAN / 2) / (SPAN / 2)
    rng = np.random.default_rng(0)
    first = gaussian_case(x, rng, given.draws, given.evaluations)
    print("| draws | mean, error in its own | variance / true | covariance, error in its own |")
    print("|---|---|---|---|")
    for row in first:
        name = row["inner"] if isinstance(row["inner"], str) else f"sweeps of {row['inner']} evaluations"
        print(f"| {name} | {row['mean']:.2f} | {row['variance']:.3f} | {row['covariance']:.2f} |")
    second = decoded_case(x, labels, images[: len(images) // 2], images, rng, given.noise)
    lines, rows = table(second)
    null = second["studies"]["noised"].null
    print("\n" + "\n".join(lines))
    choice = second["studies"]["noised"].learned.choice
    print(f"\nstrength {choice.best} of {choice.strengths}: energy scores {[round(s, 3) for s in choice.scores]}")
    told = f"{np.mean(null.two_way):.3f} on average over {len(null.two_way)} orders, {max(null.two_way):.3f} at most"
    print(f"permuted: 2-way {told}")
    spread = np.std(null.two_way, ddof=1) / len(null.two_way) ** 0.5
    bounds = {
        "mean within 1.25 of its Monte-Carlo error": first[1]["mean"] <= 1.25,
        "variance within 3 %": abs(first[1]["variance"] - 1) <= 0.03,
        "permuted trials at chance (3 standard errors)": abs(np.mean(null.two_way) - 0.5) <= 3 * spread,
        "mean of exact draws above ridge alone in correlation": rows["mean of the samples: exact"].pcc[0]
        > rows["ridge alone"].pcc[0],
        "mean of exact draws above retrieval": rows["mean of the samples: exact"].pcc[0]
        > rows["mean of the ten nearest pictures of the prior"].pcc[0],
    }
    for name, held in bounds.items():
        print(f"{'ok' if held else 'MISS'}  {name}")
    if given.json:
        plain = {
            name: {"pcc": s.pcc[0], "mse": s.mse[0], "ssim": s.ssim[0], "two_way": s.identified[0].share}
            for name, s in rows.items()
        }
        given.json.write_text(json.dumps({"gaussian": first, "decoded": plain, "null": null.two_way}, indent=1) + "\n")
    return 0 if all(bounds.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
