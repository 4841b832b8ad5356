"""What methods that move the state cost beside the network: evaluations, time over the bare forwards, memory.

A U-Net of random weights at 64² restores by each method, and the processor time within the network's own calls is
taken apart from that of the run: the ratio of the two is what the method costs, and the median of the runs is told with
the least and the largest. Bare forwards on the same batch, in turns with the runs, are the control: as the speed of a
machine wavers by a tenth between two runs, their ratio says less. Memory is that of all live tensors, seen at each
evaluation, with few steps and with many.

    .venv/bin/python benchmarks/inverse/cost.py [--size 64] [--batch 2] [--rounds 5] [--width 32]
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from pushforward.denoisers import Denoiser, EDMPrediction, Estimate, NetworkDenoiser
from pushforward.inverse import (
    CCDF,
    DDNM,
    DDRM,
    DIFFPIR,
    AveragePool,
    Blur,
    Gaussian,
    LinearOperator,
    Mask,
    Method,
    PiGDM,
    ProjectedScore,
    RePaint,
    gaussian_kernel,
)
from pushforward.inverse.method import Guidance
from pushforward.networks.unet import UNet
from pushforward.numerics.random import Draws
from pushforward.paths import EDM
from pushforward.paths.gaussian import Level

PATH = EDM()
BOUND, EVALUATIONS, CCDF_EVALUATIONS = 1.05, 20, 20


class Clocked(Denoiser):
    """A denoiser that counts its evaluations and the processor seconds within them."""

    def __init__(self, inner: Denoiser) -> None:
        self.inner, self.path, self.calls, self.seconds = inner, inner.path, 0, 0.0

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        self.calls += 1
        began = time.process_time()
        found = self.inner.estimate(x, level)
        self.seconds += time.process_time() - began
        return found


def operators(size: int) -> dict[str, LinearOperator]:
    mask = Draws.of(1, [0], "mask").uniform((size, size))[0] < 0.5
    return {"inpainting": Mask(mask), "×4": AveragePool(4), "blur": Blur(gaussian_kernel(9, 2.0))}


def timed(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def tensors() -> int:
    """KiB of the tensors that live."""
    gc.collect()
    return sum(t.numel() * t.element_size() for t in gc.get_objects() if type(t) is Tensor) // 2**10


class Peak(Denoiser):
    """Notes the bytes of live tensors at about five evaluations of the run: looking takes a third of a second."""

    def __init__(self, inner: Denoiser, evaluations: int) -> None:
        self.inner, self.path, self.most = inner, inner.path, 0
        self.calls, self.every = 0, max(1, evaluations // 5)

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        self.calls += 1
        if self.calls % self.every == 0:
            self.most = max(self.most, tensors())
        return Estimate.of_mean(x, level, 0.5 * x)


def cost(
    method: Method, operator: LinearOperator, network: UNet, size: int, batch: int, rounds: int
) -> dict[str, float]:
    draws = Draws.of(0, range(batch))
    network_alone = NetworkDenoiser(PATH, network, EDMPrediction(0.5))
    likelihood = Gaussian.measure(operator, 0.5 * draws.at("x").normal((1, size, size)), 0.1, draws)
    start = PATH.prior(draws.at("prior").normal((1, size, size)))
    level = PATH.level(0.01)
    whole, within, bare = [], [], []
    with torch.inference_mode():
        method.restore(network_alone, likelihood, start, EVALUATIONS, draws)
        for _ in range(rounds):
            denoiser = Clocked(network_alone)
            whole.append(timed(lambda d=denoiser: method.restore(d, likelihood, start, EVALUATIONS, draws)))
            within.append(denoiser.seconds)
            count = denoiser.calls
            bare.append(timed(lambda n=count: [network_alone.estimate(start, level) for _ in range(n)]))
    peaks = []
    for evaluations in (EVALUATIONS, 5 * EVALUATIONS):
        peak = Peak(network_alone, evaluations)
        method.restore(peak, likelihood, start, evaluations, draws)
        peaks.append(peak.most)
    ratios = [run / network for run, network in zip(whole, within, strict=True)]
    return {
        "evaluations": count,
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "largest": max(ratios),
        "ms": statistics.median(run - network for run, network in zip(whole, within, strict=True)) / count * 1e3,
        "bare": statistics.median(whole) / statistics.median(bare),
        "few": peaks[0],
        "many": peaks[1],
    }


METHODS: dict[str, Method] = {
    "DDRM": DDRM(),
    "DDRM, published": DDRM.published(),
    "DDNM": DDNM(),
    "projected score": ProjectedScore(),
    "RePaint": RePaint(),
    "CCDF": CCDF(),
    "DiffPIR": DIFFPIR,
    "PiGDM (for comparison)": Guidance(PiGDM()),
}
HELD = ("DDRM", "DDRM, published", "projected score")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--width", type=int, default=32)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    network = UNet(1, asked.width, (1, 2, 2), 1).eval()
    missed = []
    columns = "evaluations | × network (least to largest) | ms per step | × bare forwards, in turns"
    print(f"| method | operator | {columns} | KiB at 20 and 100 steps |")
    print("|---|---|---|---|---|---|---|")
    for name, method in METHODS.items():
        for problem, operator in operators(asked.size).items():
            if name not in HELD and problem != "inpainting":
                continue
            found = cost(method, operator, network, asked.size, asked.batch, asked.rounds)
            cells = f"{found['evaluations']} | {found['ratio']:.3f} ({found['least']:.3f} to {found['largest']:.3f})"
            rest = f"{found['ms']:.2f} | {found['bare']:.3f} | {found['few']} and {found['many']}"
            print(f"| {name} | {problem} | {cells} | {rest} |", flush=True)
            if name in HELD and found["ratio"] > BOUND:
                missed.append(f"{name}, {problem}: {found['ratio']:.3f} × the network, {BOUND} allowed")
            if found["many"] > 1.05 * found["few"]:
                missed.append(f"{name}, {problem}: memory grows with steps")
            if name == "CCDF" and found["evaluations"] > CCDF_EVALUATIONS:
                missed.append(f"CCDF takes {found['evaluations']} evaluations")
    print("\n".join(f"MISS {line}" for line in missed) or "ok")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
