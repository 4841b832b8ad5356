"""What guidance by gradients costs beside its unavoidable part: forward passes and vector-Jacobian products.

A U-Net of random weights restores by each rule; in turns with it the same network does bare forward passes, each with
as many vector-Jacobian products with respect to the state as the rule takes. The ratio of the medians is the cost of a
rule. Memory is that of all live tensors when the network is called, after few and after many steps.

    .venv/bin/python benchmarks/inverse/gradients.py [--size 32] [--batch 4] [--rounds 5] [--width 32]
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from pushforward.denoisers import Denoiser, EDMPrediction, Estimate, NetworkDenoiser
from pushforward.inverse import DPS, MMPS, TMPD, AveragePool, Gaussian, Guidance, PiGDM, PlugIn, Proximal, Rule
from pushforward.networks.unet import UNet
from pushforward.numerics.random import Draws
from pushforward.paths import EDM
from pushforward.paths.gaussian import Level

PATH, STEPS, BOUND = EDM(), 10, 1.1
RULES: dict[str, tuple[Rule, int]] = {
    "PiGDM": (PiGDM(), 1),
    "DPS": (DPS(), 1),
    "plug-in": (PlugIn(), 1),
    "proximal": (Proximal(), 1),
    "TMPD": (TMPD(), 2),
    "MMPS, 1 iteration": (MMPS(1, 0.0), 1),
    "MMPS, 5 iterations": (MMPS(5, 0.0), 5),
    "PiGDM, no Jacobian": (PiGDM(jacobian=False), 0),
}
"""Each rule, and how many products it takes per evaluation."""


class Watched(Denoiser):
    """Notes the KiB of live tensors at about five evaluations of the run: looking takes a third of a second."""

    def __init__(self, inner: Denoiser, evaluations: int) -> None:
        self.inner, self.path, self.calls, self.most = inner, inner.path, 0, 0
        self.every = max(1, evaluations // 5)

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        self.calls += 1
        if self.calls % self.every == 0:
            gc.collect()
            live = (t for t in gc.get_objects() if type(t) is Tensor)
            self.most = max(self.most, sum(t.numel() * t.element_size() for t in live) // 1024)
        return self.inner.estimate(x, level)


def timed(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def bare(denoiser: Denoiser, x: Tensor, level: Level, products: int, times: int) -> None:
    """Forward passes with their products."""
    for _ in range(times):
        with torch.set_grad_enabled(products > 0):
            state = x.clone().requires_grad_(products > 0)
            mean = denoiser.estimate(state, level).mean
        for i in range(products):
            torch.autograd.grad(mean, state, x, retain_graph=i + 1 < products)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--width", type=int, default=32)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    network = UNet(1, asked.width, (1, 2, 2), 1).eval()
    denoiser = NetworkDenoiser(PATH, network, EDMPrediction(0.5))
    draws = Draws.of(0, range(asked.batch))
    shape = (1, asked.size, asked.size)
    seen = Gaussian.measure(AveragePool(2), 0.5 * draws.at("x").normal(shape), 0.1, draws)
    x, level = PATH.prior(draws.at("prior").normal(shape)), PATH.level(0.01)
    missed = []
    print("| rule | products | × forward and products | ms per step above them | KiB at 10 and 100 steps |")
    print("|---|---|---|---|---|")
    for name, (rule, products) in RULES.items():
        method = Guidance(rule)
        with torch.no_grad():
            method.restore(denoiser, seen, x, 2, draws)
        whole, alone = [], []
        for _ in range(asked.rounds):
            whole.append(timed(partial(method.restore, denoiser, seen, x, STEPS, draws)))
            alone.append(timed(partial(bare, denoiser, x, level, products, STEPS)))
        most = []
        for steps in (10, 100):
            watched = Watched(Flat(), steps)
            method.restore(watched, seen, x, steps, draws)
            most.append(watched.most)
        ratio = statistics.median(whole) / statistics.median(alone)
        over = (statistics.median(whole) - statistics.median(alone)) / STEPS * 1e3
        print(f"| {name} | {products} | {ratio:.3f} | {over:.2f} | {most[0]} and {most[1]} |", flush=True)
        if products and ratio > BOUND:
            missed.append(f"{name}: {ratio:.3f} × forward and products, {BOUND} allowed")
        if most[1] > 1.05 * most[0]:
            missed.append(f"{name}: memory grows with the steps")
    print("\n".join(f"MISS {line}" for line in missed) or "ok")
    sys.exit(bool(missed))


class Flat(Denoiser):
    """A denoiser that costs nothing."""

    path = PATH

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        return Estimate.of_mean(x, level, 0.5 * x)


if __name__ == "__main__":
    main()
