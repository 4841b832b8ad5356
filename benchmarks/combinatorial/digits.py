"""Digits under plug-and-play constraints: mirror symmetry, a class, a mask that splits a noisy picture in two.

    python benchmarks/combinatorial/digits.py --minutes 5
    python benchmarks/combinatorial/digits.py --run runs/digits
    python benchmarks/combinatorial/digits.py --data mnist.npz --minutes 60 --out runs/constrained-mnist

One unconditional model is trained; nothing of it is trained for a constraint. Each is asked with the same noise
as "no constraint"; its loss must fall at least 5 × while the judge, a support vector machine that saw neither model nor
constraint, stays as sure (the margin between its two best classes). The class is asked of a small perceptron, fitted on
one half of the training digits; the judge is fitted on the other half. The loss of a mask is told above that of the
true mask, since the noise of the picture alone costs half a nat per pixel; below 0 it is better than the true mask's.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pushforward import api
from pushforward.api import Run
from pushforward.data.dataset import Dataset
from pushforward.metrics.classifier import Classifier
from pushforward.numerics.random import Draws
from pushforward.plugplay import (
    Annealed,
    Constraint,
    DenoisingEnergy,
    Descent,
    Energy,
    SmoothedEnergy,
    flip_symmetry,
    nothing,
    of_class,
)
from pushforward.report.pictures import filmstrip


def perceptron(x: Tensor, labels: Tensor, steps: int = 400) -> nn.Module:
    """A differentiable classifier of logits."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 128), nn.SiLU(), nn.Linear(128, 10))
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    for i in range(steps):
        rows = Draws.of(i, range(128), "classifier").integers(len(x))
        noisy = x[rows] + 0.2 * Draws.of(i, range(128), "classifier noise").normal_like(x[rows])
        loss = functional.cross_entropy(model(noisy), labels[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.requires_grad_(False).eval()


def split_in_two(picture: Tensor, noise: float):
    """−log p(picture | mask) with two unknown grey levels, the means of the parts: what segmentation asks.

    The mask is the brighter part. Without that the cost is the same for a mask and its negative, and descents that
    began with the negative end between the two.
    """

    def cost(x: Tensor) -> Tensor:
        mask = torch.sigmoid(4 * x)
        parts = [mask, 1 - mask]
        means = [
            (p * picture).sum((1, 2, 3), keepdim=True) / p.sum((1, 2, 3), keepdim=True).clamp(min=1e-3) for p in parts
        ]
        levels = torch.maximum(*means), torch.minimum(*means)
        miss = sum(p * (picture - level).square() for p, level in zip(parts, levels, strict=True))
        return miss.sum((1, 2, 3)) / (2 * noise**2)

    return cost


def overlap(found: Tensor, truth: Tensor) -> float:
    """Intersection over union, the mean over items."""
    both, either = (found & truth).sum((1, 2, 3)), (found | truth).sum((1, 2, 3))
    return float((both / either.clamp(min=1)).mean())


def two_means(picture: Tensor, rounds: int = 20) -> Tensor:
    """The mask without a prior: pixels by the nearer of two means, the brighter part; bool."""
    high, low = picture.amax((1, 2, 3), keepdim=True), picture.amin((1, 2, 3), keepdim=True)
    for _ in range(rounds):
        mask = (picture - high).abs() < (picture - low).abs()
        high = (picture * mask).sum((1, 2, 3), keepdim=True) / mask.sum((1, 2, 3), keepdim=True).clamp(min=1)
        low = (picture * ~mask).sum((1, 2, 3), keepdim=True) / (~mask).sum((1, 2, 3), keepdim=True).clamp(min=1)
    return mask


def surety(judge: Classifier, x: Tensor) -> float:
    margins = judge(x.numpy()).sort(1).values
    return float((margins[:, -1] - margins[:, -2]).mean())


@dataclass(frozen=True, eq=False)
class Task:
    """Items (N, 1, H, W), what is asked of their pictures, and the judge; `picture` is the noisy one to be split."""

    labels: Tensor
    truth: Tensor
    picture: Tensor
    constraints: dict[str, Constraint]
    judge: Classifier

    def figures(self, name: str, free: Tensor, x: Tensor) -> dict[str, float]:
        """Of answers x to a constraint, beside those to none."""
        constraint = self.constraints[name]
        floor = float(constraint(self.truth).mean()) if name == "mask" else 0.0
        before, after = (float(constraint(y).mean()) - floor for y in (free, x))
        row = {"loss free": before, "loss": after}
        if after > 0:
            row["falls"] = before / after
        row |= {"surety free": surety(self.judge, free.clamp(-1, 1)), "surety": surety(self.judge, x.clamp(-1, 1))}
        if name == "class":
            row["recognised"] = float((self.judge.predict(x.clamp(-1, 1).numpy()) == self.labels.numpy()).mean())
        if name == "mask":
            row["overlap"] = overlap(x > 0, self.truth > 0)
            row["overlap, two means"] = overlap(two_means(self.picture), self.truth > 0)
        return row


def task(data: Dataset, items: int, noise: float, draws: Draws) -> Task:
    """Of the first test items; perceptron and judge are fitted on a half of the training items each."""
    train, truth = data.train.all(), data.test.all().values[:items]
    half = len(train) // 2
    judge = Classifier.fit(train.values[half:].numpy(), train.labels[half:].numpy())
    labels = torch.arange(items) % 10
    picture = 0.3 * truth + noise * draws.at("picture").normal_like(truth)
    constraints = {
        "mirror symmetry": lambda x: 500 * flip_symmetry(x),
        "class": of_class(perceptron(train.values[:half], train.labels[:half]), labels),
        "mask": split_in_two(picture, noise),
    }
    return Task(labels, truth, picture, constraints, judge)


def solved(asked: Task, energy: Energy, steps: int, draws: Draws) -> tuple[dict[str, dict[str, float]], list[Tensor]]:
    """Figures of every constraint under an energy, and the first ten pictures of each, those free of any first."""
    solve = Descent(steps, 0.05, schedule=Annealed(5.0, 0.1))
    start, began = draws.at("start").normal(tuple(asked.truth.shape[1:])), time.process_time()
    free = solve(energy, nothing, start, draws)
    seconds = time.process_time() - began
    rows, pictures = {}, [free[:10]]
    for name, constraint in asked.constraints.items():
        x = solve(energy, constraint, start, draws)
        pictures.append(x[:10])
        row = asked.figures(name, free, x) | {"seconds free": seconds}
        rows[f"{type(energy).__name__}, {name}"] = row
        told = " | ".join(f"{k} {v:.3g}" for k, v in row.items())
        print(f"| {type(energy).__name__}, {name} | {told} |", flush=True)
    return rows, pictures


def prior(given: argparse.Namespace) -> Run:
    """The run that was trained before, or one trained now without labels."""
    if given.run is None:
        config = api.configure("model.conditional=false")
        length = {"steps": given.steps} if given.steps else {"minutes": given.minutes}
        api.fit(given.data, given.out, config, **length, observers=[])
    return api.load(given.run or given.out)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--steps", type=int, default=None, help="of training, instead of minutes")
    parser.add_argument("--run", type=Path, default=None, help="a run trained before; its labels are not told")
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--descent", type=int, default=300)
    parser.add_argument("--noise", type=float, default=0.3, help="of pictures to be split, levels 0.6 apart")
    parser.add_argument("--out", type=Path, default=Path("runs/constrained-digits"))
    return parser.parse_args()


def main() -> None:
    given = arguments()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    model = prior(given).generator.model.requires_grad_(False)
    draws = Draws.of(0, range(given.items))
    asked = task(api.dataset(given.data), given.items, given.noise, draws)
    rows, pictures = {}, []
    for energy in (DenoisingEnergy(model.denoiser()), SmoothedEnergy(model.denoiser())):
        found, drawn = solved(asked, energy, given.descent, draws)
        rows |= found
        pictures += drawn
    strip = filmstrip(
        np.stack([p.numpy() for p in pictures]), rows=["free", *asked.constraints] * 2, limits=(-1.0, 1.0)
    )
    strip.save(given.out / "constrained.png")
    (given.out / "constrained.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
