"""A small convolutional denoiser with dropout, and counted data, for the tests and the processes they start."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from pushforward.numerics.dropout import Dropout
from pushforward.numerics.random import Draws
from pushforward.paths import VP
from pushforward.paths.times import LossAware, UniformTimes
from pushforward.training import Recipe

SHAPE = (1, 4, 4)
TIMES = ("seconds", "speed", "memory")


@dataclass(frozen=True)
class Batch:
    values: Tensor
    labels: Tensor | None = None

    def to(self, device):
        return replace(self, values=self.values.to(device))


class Points:
    """Counted images; `poison` names an item whose values are not finite."""

    def __init__(self, count, seed=0, poison=None):
        self.values = Draws.of(seed, range(count), "points").normal(SHAPE)
        if poison is not None:
            self.values[poison] = float("nan")

    def __len__(self):
        return len(self.values)

    def batch(self, indices):
        return Batch(self.values[torch.as_tensor(indices)])


class Small(nn.Module):
    """Predicts the noise that was added; per-item loss."""

    def __init__(self, seed=0, width=6, dropout=0.2):
        super().__init__()
        self.first = nn.Conv2d(1, width, 3, padding=1)
        self.drop = Dropout(dropout)
        self.second = nn.Conv2d(width, 1, 3, padding=1)
        with torch.no_grad():
            for i, p in enumerate(self.parameters()):
                p.copy_(0.3 * Draws.of(seed, [i], "init").normal(p.shape)[0])

    def objectives(self):
        return {"loss": self.parameters()}

    def loss(self, objective, batch, draws):
        noise = draws.at("noise").normal_like(batch.values)
        seen = batch.values + noise
        predicted = self.second(self.drop(torch.tanh(self.first(seen))))
        return (predicted - noise).square().flatten(1).mean(1)


class Duel(nn.Module):
    """Two objectives, alternated: a generator of shifts and a critic of it."""

    def __init__(self):
        super().__init__()
        self.generator = nn.Linear(16, 16)
        self.critic = nn.Linear(16, 1)
        with torch.no_grad():
            for i, p in enumerate(self.parameters()):
                p.copy_(0.3 * Draws.of(1, [i], "init").normal(p.shape)[0])

    def objectives(self):
        return {"critic": self.critic.parameters(), "generator": self.generator.parameters()}

    def loss(self, objective, batch, draws):
        fake = self.generator(draws.at("noise").normal((16,)))
        if objective == "generator":
            return nn.functional.softplus(-self.critic(fake))[:, 0]
        real = self.critic(batch.values.flatten(1))
        return (nn.functional.softplus(-real) + nn.functional.softplus(self.critic(fake)))[:, 0]


class Aware(Small):
    """Draws its noise levels where the losses met so far were large."""

    def __init__(self):
        super().__init__()
        self.times = LossAware(UniformTimes(), cells=4)

    def loss(self, objective, batch, draws):
        times = self.times(VP(), draws.at("time"))
        scale = 3 * times.t.float()[:, None, None, None]
        noise = draws.at("noise").normal_like(batch.values)
        predicted = self.second(self.drop(torch.tanh(self.first(batch.values + scale * noise))))
        losses = (predicted - noise).square().flatten(1).mean(1)
        if self.training:
            self.times.tally(times, losses)
        return losses * times.weight.float()

    def after_step(self, total):
        self.times.settle(total)


def recipe(**changes):
    base = Recipe(
        batch_size=16,
        steps=24,
        warmup_steps=4,
        learning_rate=1e-2,
        validate_every=8,
        save_every=5,
        log_every=3,
        save_seconds=None,
        device="cpu",
    )
    return replace(base, **changes)


class Telling(Duel):
    """A duel that uses every hook: figures per item and per batch, a schedule, a validation loss, no ranking."""

    ranked_by_validation = False

    def __init__(self):
        super().__init__()
        self.progress = 0.0
        self.seen, self.asked = [], 0
        self._figures = {}

    def loss(self, objective, batch, draws):
        found = super().loss(objective, batch, draws)
        if objective == "critic":
            self.seen.append(self.progress)
            self._figures = {
                "brightness": batch.values.flatten(1).mean(1).detach(),
                "progress": torch.tensor(self.progress),
            }
        else:
            self._figures = {"weight": self.generator.weight.detach().norm()}
        return found

    def figures(self):
        self.asked += 1
        return self._figures

    def validation_loss(self, batch, draws):
        """Falls, then rises, whatever is learnt: the lowest is not the last."""
        return batch.values.flatten(1).mean(1).mul(0) + abs(self.progress - 0.4)
