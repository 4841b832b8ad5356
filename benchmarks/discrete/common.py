"""What the benchmarks of discrete diffusion share: training that goes on where it was, results kept as they come."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from pushforward.training import Recipe, find_checkpoint, fit, load_weights


class Items:
    """Symbols in memory as training items."""

    def __init__(self, x):
        from pushforward.data.dataset import Batch

        self.x, self.kind = x, Batch

    def __len__(self):
        return len(self.x)

    def batch(self, indices):
        return self.kind(self.x[indices])


def trained(make, train, validation, out, *, steps, batch=128, rate=1e-3, seed=0):
    """The model with its best weights and the seconds of training; a run that is there is continued, or used."""
    torch.manual_seed(seed)
    model = make()
    recipe = Recipe(batch_size=batch, steps=steps, learning_rate=rate, ema_lengths=(0.05,), seed=seed, device="cpu")
    outcome = fit(model, train, validation, recipe, out, {})
    load_weights(model, find_checkpoint(out))
    return model.eval(), outcome.seconds


def kept(path: Path, name: str, make):
    """A result of a name in a JSON file: what is there is not made again."""
    found = json.loads(path.read_text()) if path.exists() else {}
    if name not in found:
        found[name] = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1))
    return found[name]


def verdict(name, value, bound, good="below"):
    """One line `ok` or `MISS`; whether it holds."""
    holds = value <= bound if good == "below" else value >= bound
    print(f"{'ok' if holds else 'MISS'}  {name}: {value:.4g} ({good} {bound:g})", flush=True)
    return holds
