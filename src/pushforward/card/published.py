"""The regression and the network of the paper, as they are in its experiments (Han et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from pushforward.card.means import Mean
from pushforward.errors import UserError
from pushforward.numerics.dropout import Dropout, counted, number_dropouts
from pushforward.numerics.random import Draws, key, keys, permutation, uniform


class ConditionalLinear(nn.Module):
    """(W h + b) ⊙ γ_t with one learned row γ of each level, drawn uniform in (0, 1)."""

    def __init__(self, inputs: int, outputs: int, levels: int) -> None:
        super().__init__()
        self.linear, self.gamma = nn.Linear(inputs, outputs), nn.Embedding(levels, outputs)
        nn.init.uniform_(self.gamma.weight)

    def forward(self, h: Tensor, level: Tensor) -> Tensor:
        return self.linear(h) * self.gamma(level)


class PublishedNetwork(nn.Module):
    """ε(y_t, f(x), x, t): three conditional layers of 128 with softplus; the time is the index k − 1 of its level.

    It is given the residual x_t = y_t − f and the context [f | x], and sees y_t.
    """

    def __init__(self, features: int, context: int, levels: int = 1000, width: int = 128) -> None:
        super().__init__()
        self.features, self.levels = features, levels
        sizes = (features + context, width, width, width)
        self.layers = nn.ModuleList(ConditionalLinear(a, b, levels + 1) for a, b in pairwise(sizes))
        self.output = nn.Linear(width, features)

    def encode(self, context: Tensor) -> Tensor:
        """The context itself."""
        return context

    def forward(self, x: Tensor, time: Tensor, context: Tensor | None = None) -> Tensor:
        if context is None:
            raise UserError("this network predicts for rows: bind what is known of them, `given(context=…)`")
        level = time.round().long().clamp(0, self.levels)
        h = torch.cat((x + context[:, : self.features], context), 1)
        for layer in self.layers:
            h = functional.softplus(layer(h, level))
        return self.output(h)


class PublishedMean(Mean):
    """A perceptron with LeakyReLU and dropout, which stays on while the diffusion is trained, as in the paper's code.

    Adam with amsgrad; the first 60 % of the rows, in their order, choose the number of epochs, then all are learned for
    so many. For classes it gives probabilities.
    """

    live = True

    def __init__(
        self,
        inputs: int,
        outputs: int,
        classify: bool,
        hidden: Sequence[int] = (100, 50),
        dropout: float = 0.0,
        epochs: int = 1000,
        patience: int = 50,
        batch: int = 32,
    ) -> None:
        super().__init__(inputs, outputs, classify)
        self.sizes = (inputs, *hidden, outputs)
        self.dropouts = nn.ModuleList(Dropout(dropout) for _ in hidden)
        self.epochs, self.patience, self.batch = epochs, patience, batch
        for name, value in self._fresh(0).items():
            self.register_buffer(name, value)
        number_dropouts(self)

    def forward(self, x: Tensor) -> Tensor:
        out = self._apply_layers(dict(self.named_buffers()), x)
        return torch.softmax(out, 1) if self.classify else out

    def _apply_layers(self, weights: dict[str, Tensor], x: Tensor) -> Tensor:
        last = len(self.sizes) - 2
        for i in range(last + 1):
            x = functional.linear(x, weights[f"weight{i}"], weights[f"bias{i}"])
            if i < last:
                x = self.dropouts[i](functional.leaky_relu(x, 0.01))
        return x

    def _fresh(self, seed: int) -> dict[str, Tensor]:
        """torch's usual initial weights, from counted randomness: uniform within ± 1/√(inputs)."""
        out = {}
        for i, (a, b) in enumerate(pairwise(self.sizes)):
            for j, (name, shape) in enumerate(((f"weight{i}", (b, a)), (f"bias{i}", (b,)))):
                u = uniform(keys(key(seed, "published mean", i), [j]), shape)[0]
                out[name] = (2 * u - 1) / max(1, a) ** 0.5
        return out

    def fit(self, x: Tensor, y: Tensor, seed: int = 0) -> None:
        cut = int(0.6 * len(x))
        chosen = self.epochs
        if cut >= 1 and self.patience:
            chosen = self._learn(x[:cut], y[:cut], self.epochs, seed, x[cut:], y[cut:])[1]
        found, _ = self._learn(x, y, chosen, seed + 1)
        with torch.no_grad():
            for name, value in found.items():
                self.get_buffer(name).copy_(value)
        self.fitted.fill_(True)

    def _learn(
        self, x: Tensor, y: Tensor, epochs: int, seed: int, held: Tensor | None = None, truth: Tensor | None = None
    ) -> tuple[dict[str, Tensor], int]:
        """The weights after `epochs`, and the epoch with the least error on rows held out, where there are some."""
        weights = {name: value.clone().requires_grad_() for name, value in self._fresh(seed).items()}
        optimiser = torch.optim.Adam(list(weights.values()), lr=1e-3, amsgrad=True)
        least, best = float("inf"), epochs
        was = self.training
        for epoch in range(epochs):
            self.train()
            for number, rows in enumerate(permutation(key(seed, "published mean", epoch), len(x)).split(self.batch)):
                draws = Draws.of(seed, rows, "published mean dropout").at(epoch, number)
                with counted(draws):
                    error = self._error(self._apply_layers(weights, x[rows]), y[rows])
                optimiser.zero_grad()
                error.backward()
                optimiser.step()
            if held is None or truth is None:
                continue
            self.eval()
            with torch.no_grad():
                now = float(self._error(self._apply_layers(weights, held), truth))
            if now < least:
                least, best = now, epoch + 1
            elif epoch + 1 - best >= self.patience:
                break
        self.train(was)
        return {name: value.detach() for name, value in weights.items()}, best

    def _error(self, out: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(out, y) if self.classify else functional.mse_loss(out, y)
