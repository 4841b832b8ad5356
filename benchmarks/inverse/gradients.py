"""What guidance by gradients costs beside its unavoidable part: forward passes and vector-Jacobian products.

A U-Net of random weights restores by each rule, and the processor time within the network's forward passes and its
vector-Jacobian products is taken apart from that of the run: the ratio of the two is the cost of a rule, the median of
the runs, told with the least and the largest. Bare passes with as many products, in turns with the runs, are the
control: as the speed of a machine wavers by a tenth between two runs, their ratio says less. Memory is that of all live
tensors when the network is called, after few and after many steps.

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
RULES: dict[str, Rule] = {
    "PiGDM": PiGDM(),
    "DPS": DPS(),
    "plug-in": PlugIn(),
    "proximal": Proximal(),
    "TMPD": TMPD(),
    "MMPS, 1 iteration": MMPS(1, 0.0),
    "MMPS, 5 iterations": MMPS(5, 0.0),
    "PiGDM, no Jacobian": PiGDM(jacobian=False),
}


class Clocked(Denoiser):
    """Notes the processor seconds within the network: forward passes, and derivatives asked for while it is open."""

    def __init__(self, inner: Denoiser) -> None:
        self.inner, self.path, self.seconds, self.products = inner, inner.path, 0.0, 0
        self._grad = torch.autograd.grad

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        began = time.process_time()
        found = self.inner.estimate(x, level)
        self.seconds += time.process_time() - began
        return found

    def _clocked_grad(self, *args: object, **kwargs: object) -> object:
        began = time.process_time()
        found = self._grad(*args, **kwargs)
        self.seconds, self.products = self.seconds + time.process_time() - began, self.products + 1
        return found

    def __enter__(self) -> Clocked:
        torch.autograd.grad = self._clocked_grad
        return self

    def __exit__(self, *_: object) -> None:
        torch.autograd.grad = self._grad


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
    columns = "× forward and products (least to largest) | ms per step above them | × bare ones, in turns"
    print(f"| rule | products | {columns} | KiB at 10 and 100 steps |")
    print("|---|---|---|---|---|---|")
    for name, rule in RULES.items():
        method = Guidance(rule)
        with Clocked(denoiser) as clocked:
            method.restore(clocked, seen, x, STEPS, draws)
        products = round(clocked.products / STEPS)
        whole, within, alone = [], [], []
        for _ in range(asked.rounds):
            with Clocked(denoiser) as clocked:
                whole.append(timed(partial(method.restore, clocked, seen, x, STEPS, draws)))
            within.append(clocked.seconds)
            alone.append(timed(partial(bare, denoiser, x, level, products, STEPS)))
        most = []
        for steps in (10, 100):
            watched = Watched(Flat(), steps)
            method.restore(watched, seen, x, steps, draws)
            most.append(watched.most)
        ratios = sorted(run / network for run, network in zip(whole, within, strict=True))
        ratio, control = statistics.median(ratios), statistics.median(whole) / statistics.median(alone)
        over = statistics.median(run - network for run, network in zip(whole, within, strict=True)) / STEPS * 1e3
        cells = f"{ratio:.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f}) | {over:.2f} | {control:.3f}"
        print(f"| {name} | {clocked.products / STEPS:.1f} | {cells} | {most[0]} and {most[1]} |", flush=True)
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
