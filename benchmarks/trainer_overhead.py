"""What the training engine costs beside forward, backward and optimiser, on a U-Net of about 2 million parameters.

    python benchmarks/trainer_overhead.py [--steps 60] [--batch 128] [--size 8] [--threads 1] [--json]

A real `fit` runs; at every step its data source first takes one step of a bare loop (loss, backward, fused AdamW, on a
copy of the model and a batch that is ready), so that both meet the same machine, and leaves that time out. The engine's
time therefore holds everything: order, batch, draws, clipping, averages of two lengths, watching, log. Compared are
processor seconds, which other work on the machine disturbs least, by the median of the ratios of neighbouring steps.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pushforward.numerics.broadcast import expand
from pushforward.numerics.dropout import counted
from pushforward.numerics.random import Draws
from pushforward.training import Recipe, fit


@dataclass(frozen=True)
class Batch:
    values: Tensor

    def to(self, device):
        return Batch(self.values.to(device))


class Denoiser(nn.Module):
    """A U-Net that predicts noise."""

    def __init__(self):
        super().__init__()
        from pushforward.networks.unet import UNet

        self.net = UNet(1, width=64, multipliers=(1, 2), blocks=2)
        with torch.no_grad():
            for i, p in enumerate(self.parameters()):
                p.copy_(0.02 * Draws.of(0, [i], "init").normal(p.shape)[0])

    def objectives(self):
        return {"loss": self.parameters()}

    def loss(self, objective, batch, draws):
        time, noise = draws.at("time").uniform(), draws.at("noise").normal_like(batch.values)
        seen = expand(time.cos(), noise) * batch.values + expand(time.sin(), noise) * noise
        return (self.net(seen, time) - noise).square().flatten(1).mean(1)


class Bare:
    """Forward, backward, optimiser: what no trainer can leave out."""

    def __init__(self, batch, draws):
        self.model, self.batch, self.draws = Denoiser().train(), batch, draws
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=1e-3, fused=True)

    def step(self):
        with counted(self.draws):
            loss = self.model.loss("loss", self.batch, self.draws).mean()
        loss.backward()
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)


class Interleaved:
    """The engine's data: each batch is preceded by a bare step, and both are timed."""

    def __init__(self, values, bare):
        self.values, self.bare = values, bare
        self.engine, self.plain = [], []
        self._since = None

    def __len__(self):
        return len(self.values)

    def batch(self, indices):
        entered = time.process_time()
        self.bare.step()
        left = time.process_time()
        if self._since is not None:
            self.engine.append(entered - self._since)
            self.plain.append(left - entered)
        self._since = left
        return Batch(self.values[indices])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--size", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    values = Draws.of(0, range(1500), "images").normal((1, given.size, given.size))
    bare = Bare(Batch(values[: given.batch]), Draws.of(0, range(given.batch), "bare"))
    items = Interleaved(values, bare)
    # Twenty previews belong to a run of any length: in these few steps they would be counted a hundred times over.
    steps = given.steps + 3
    recipe = Recipe(batch_size=given.batch, steps=steps, save_seconds=None, preview_every=steps, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        fit(Denoiser(), items, None, recipe, Path(folder, "run"), {"benchmark": "trainer_overhead"})
    engine, plain = items.engine[2:], items.plain[2:]  # the first steps meet cold caches
    result = {
        "parameters": sum(p.numel() for p in bare.model.parameters()),
        "steps": len(engine),
        "bare_ms": round(1000 * statistics.median(plain), 2),
        "engine_ms": round(1000 * statistics.median(engine), 2),
        "overhead": round(statistics.median(e / p for e, p in zip(engine, plain, strict=True)) - 1, 4),
        "overhead_of_sums": round(sum(engine) / sum(plain) - 1, 4),
    }
    if given.json:
        print(json.dumps(result))
    else:
        print(f"{result['parameters'] / 1e6:.2f} M parameters, {result['steps']} pairs of steps")
        pair = f"bare {result['bare_ms']} ms · engine {result['engine_ms']} ms"
        print(f"{pair} · the engine's own {result['overhead']:+.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
