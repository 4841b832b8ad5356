"""What tells whether adversarial training goes well: figures of one step, figures of samples, and sentences on a log.

The losses of the two players say little: they balance one another at any quality. What a step can tell is how sure the
discriminator is, whether any gradient is left, and whether the generated items of the batch are as varied as the real.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pushforward.errors import UserError

NEIGHBOURS = 5
_ITEMS = 128
"""Items of a batch that are compared with one another: enough for a mean over steps, and cheap beside two networks."""
_LITTLE = 0.02


def accuracy(real: Tensor, fake: Tensor) -> Tensor:
    """Per pair, whether the real item has the higher value: its mean is ½ where nothing is told apart. (B,)."""
    return (real > fake).float() + 0.5 * (real == fake).float()


def saturation(loss: Callable[[Tensor, Tensor], Tensor], real: Tensor, fake: Tensor, player: str) -> Tensor:
    """Per pair, whether a player's gradient has all but vanished: (B,) of 0 and 1.

    The gradient of the loss in the values that this player can move is compared with that at D = 0; below a fiftieth of
    it the pair teaches nothing. `player` is "discriminator" (it moves both values) or "generator" (the fake one).
    """

    def pull(real: Tensor, fake: Tensor) -> Tensor:
        with torch.enable_grad():
            at = (real.detach().requires_grad_(), fake.detach().requires_grad_())
            moved = at if player == "discriminator" else at[1:]
            found = torch.autograd.grad(loss(*at).sum(), moved, allow_unused=True)
        return sum((g.abs() for g in found if g is not None), torch.zeros_like(real))

    if player not in ("discriminator", "generator"):
        raise UserError(f"The players are 'discriminator' and 'generator'; got {player!r}.")
    nothing = torch.zeros_like(real)
    return (pull(real, fake) < _LITTLE * pull(nothing, nothing)).float()


def diversity(real: Tensor, fake: Tensor) -> Tensor:
    """Distance of each generated item to the one before it, over the mean such distance of real items: (B,).

    Its mean is 1 for equal laws (for equal spread at least) and falls to 0 where the generator collapses to one item.
    """
    a, b = real.flatten(1), fake.flatten(1)
    scale = (a - a.roll(1, 0)).norm(dim=1).mean()
    return (b - b.roll(1, 0)).norm(dim=1) / scale.clamp(min=1e-12)


def coverage(real: Tensor, fake: Tensor, neighbours: int = NEIGHBOURS) -> Tensor:
    """Per real item, whether a generated one is nearer than its k-th nearest real one (Naeem et al. 2020): (n,).

    Computed on the first n ≤ 128 items of a batch, k at most n − 1. Two sets of one continuous law give
    `expected_coverage(n, k)`, whatever the law; missing modes give less.
    """
    a, b = real.flatten(1)[:_ITEMS].float(), fake.flatten(1)[:_ITEMS].float()
    k = min(neighbours, len(a) - 1)
    if k < 1:
        return torch.ones(len(a), device=a.device)
    radius = torch.cdist(a, a).topk(k + 1, dim=1, largest=False).values[:, -1]  # the item itself is the nearest
    return (torch.cdist(a, b).amin(1) <= radius).float()


def expected_coverage(items: int, neighbours: int = NEIGHBOURS) -> float:
    """The mean of `coverage` for `items` real and as many generated items of one continuous law.

    All orders of the 2n − 1 distances are equally likely, so the k nearest are all real with probability
    ∏_{i<k} (n − 1 − i)/(2n − 1 − i).

    >>> round(expected_coverage(1000), 3)
    0.969
    """
    k = min(neighbours, items - 1)
    return 1 - math.prod((items - 1 - i) / (2 * items - 1 - i) for i in range(k))


class Modes(NamedTuple):
    """What samples make of a law with known modes: `covered` modes; the share of samples that lie near one
    (`high_quality`); and KL(share of samples nearest to each mode ‖ uniform) in nats (`imbalance`).
    """

    covered: int
    high_quality: float
    imbalance: float


def modes(samples: Tensor, centres: Tensor, deviation: float, within: float = 3.0, least: float = 0.01) -> Modes:
    """Modes found and missed by samples (N, D) of equally likely modes at `centres` (M, D) with one standard deviation.

    A sample is near a mode within `within` deviations of it; a mode is covered where at least `least` of its due share
    1/M of all samples lies near it.
    """
    if samples.ndim != 2 or centres.ndim != 2 or samples.shape[1] != centres.shape[1]:
        raise UserError(f"Samples {tuple(samples.shape)} and centres {tuple(centres.shape)} must be (N, D) and (M, D).")
    distance, nearest = torch.cdist(samples.double(), centres.double()).min(1)
    near = distance <= within * deviation
    found = torch.bincount(nearest[near], minlength=len(centres)) / len(samples)
    share = torch.bincount(nearest, minlength=len(centres)).double() / len(samples)
    imbalance = torch.special.xlogy(share, share * len(centres)).sum()
    return Modes(int((found >= least / len(centres)).sum()), float(near.double().mean()), float(imbalance))


def advice(log: Sequence[Mapping[str, Any]], recent: int = 20) -> tuple[str, ...]:
    """What is wrong with a training, in sentences, from its log (`metrics.jsonl`); nothing where all is well.

    Means of the last `recent` entries are judged; gradients are compared with their median over the whole log.
    """
    entries = [entry for entry in log if entry.get("figures")]
    figures = recent_figures(entries, recent)
    found = [say(figures[name]) for name, wrong, say in _RULES if name in figures and wrong(figures[name])]
    return (*found, *(_explosions(entries, recent) if entries else ()))


def recent_figures(log: Sequence[Mapping[str, Any]], recent: int = 20) -> dict[str, float]:
    """The mean of each figure over the last entries of a log that have figures; nan where one was not finite."""
    entries = [entry["figures"] for entry in log if entry.get("figures")]
    columns: dict[str, list[float]] = {}
    for entry in entries[-recent:]:
        for name, value in entry.items():
            columns.setdefault(name, []).append(math.nan if value is None else value)
    return {name: statistics.fmean(values) for name, values in columns.items()}


def _explosions(entries: Sequence[Mapping[str, Any]], recent: int, factor: float = 30.0) -> list[str]:
    names = [name for name in entries[-1] if name.startswith("gradient_norm")]
    found = []
    for name in names:
        norms = [float(entry[name]) for entry in entries if isinstance(entry.get(name), (int, float))]
        usual, now = statistics.median(norms), max(norms[-recent:])
        if now > factor * usual > 0:
            player = name.partition("/")[2] or "model"
            found.append(
                f"The gradient of the {player} has grown to {now:.3g}, {now / usual:.0f} times its median: lower the "
                "learning rate or raise the weight of the penalties."
            )
    return found


_RULES: tuple[tuple[str, Callable[[float], bool], Callable[[float], str]], ...] = (
    (
        "accuracy",
        lambda v: v > 0.95,
        lambda v: (
            f"The discriminator tells {v:.0%} of the generated items from real ones: raise the weight of the "
            "penalties, or augment if there are few data."
        ),
    ),
    (
        "saturation",
        lambda v: v > 0.5,
        lambda v: (
            f"For {v:.0%} of the pairs the discriminator has nothing left to learn: what it tells the generator "
            "no longer changes; raise the weight of the penalties."
        ),
    ),
    (
        "generator_saturation",
        lambda v: v > 0.5,
        lambda v: (
            f"For {v:.0%} of its items the generator gets no gradient: take a loss that does not saturate, "
            "or raise the weight of the penalties."
        ),
    ),
    (
        "diversity",
        lambda v: v < 0.5,
        lambda v: (
            f"Generated items differ from one another {v:.2f} times as much as real ones do: the generator collapses; "
            "raise the weight of the penalties or train with the relativistic loss."
        ),
    ),
    (
        "coverage",
        lambda v: v < 0.75,
        lambda v: (
            f"Generated items come near {v:.0%} of the real ones, where samples of the same law come near 97%: "
            "modes are missing; train longer, or raise the weight of the penalties."
        ),
    ),
)
