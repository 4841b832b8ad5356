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
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pushforward import api
from pushforward.metrics.classifier import Classifier
from pushforward.numerics.random import Draws
from pushforward.plugplay import Annealed, DenoisingEnergy, Descent, SmoothedEnergy, flip_symmetry, nothing, of_class
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--steps", type=int, default=None, help="of training, instead of minutes")
    parser.add_argument("--run", type=Path, default=None, help="a run trained before; its labels are not told")
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--descent", type=int, default=300)
    parser.add_argument("--noise", type=float, default=0.3, help="of pictures to be split, levels 0.6 apart")
    parser.add_argument("--out", type=Path, default=Path("runs/constrained-digits"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.run is None:
        config = api.configure("model.conditional=false")
        length = {"steps": arguments.steps} if arguments.steps else {"minutes": arguments.minutes}
        api.fit(arguments.data, arguments.out, config, **length, observers=[])
    run = api.load(arguments.run or arguments.out)
    data = api.dataset(arguments.data)
    train, test = data.train.all(), data.test.all()
    half = len(train) // 2
    judge = Classifier.fit(train.values[half:].numpy(), train.labels[half:].numpy())
    asked_of = perceptron(train.values[:half], train.labels[:half])
    model = run.generator.model.requires_grad_(False)
    n = arguments.items
    draws, labels = Draws.of(0, range(n)), torch.arange(n) % 10
    truth = test.values[:n]
    picture = 0.3 * truth + arguments.noise * draws.at("picture").normal_like(truth)
    constraints = {
        "mirror symmetry": lambda x: 500 * flip_symmetry(x),
        "class": of_class(asked_of, labels),
        "mask": split_in_two(picture, arguments.noise),
    }
    start, rows, pictures = draws.at("start").normal(tuple(train.values.shape[1:])), {}, []
    for energy in (DenoisingEnergy(model.denoiser()), SmoothedEnergy(model.denoiser())):
        kind = type(energy).__name__
        solve, began = Descent(arguments.descent, 0.05, schedule=Annealed(5.0, 0.1)), time.process_time()
        free = solve(energy, nothing, start, draws)
        seconds = time.process_time() - began
        pictures.append(free[:10])
        for name, constraint in constraints.items():
            x = solve(energy, constraint, start, draws)
            pictures.append(x[:10])
            floor = float(constraint(truth).mean()) if name == "mask" else 0.0
            before, after = (float(constraint(y).mean()) - floor for y in (free, x))
            row = {"loss free": before, "loss": after, "seconds free": seconds}
            if after > 0:
                row["falls"] = before / after
            row |= {"surety free": surety(judge, free.clamp(-1, 1)), "surety": surety(judge, x.clamp(-1, 1))}
            if name == "class":
                row["recognised"] = float((judge.predict(x.clamp(-1, 1).numpy()) == labels.numpy()).mean())
            if name == "mask":
                row["overlap"], row["overlap, two means"] = (
                    overlap(x > 0, truth > 0),
                    overlap(two_means(picture), truth > 0),
                )
            rows[f"{kind}, {name}"] = row
            print(f"| {kind}, {name} | " + " | ".join(f"{k} {v:.3g}" for k, v in row.items()) + " |", flush=True)
    names = ["free", *constraints] * 2
    filmstrip(np.stack([p.numpy() for p in pictures]), rows=names, limits=(-1.0, 1.0)).save(
        arguments.out / "constrained.png"
    )
    (arguments.out / "constrained.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
