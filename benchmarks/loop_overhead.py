"""What a sampling step costs besides the network: µs per step above the bare forward.

One linear layer as the network, batch 16, one thread: the loop, the moves and the reading of the output are then nearly
all of the time. Samplers run in turns, so that whatever else the machine does falls on all alike; the medians over the
rounds are compared. A step that calls the network twice is charged two bare forwards.

    python benchmarks/loop_overhead.py [--rounds 41] [--steps 50] [--limit 40]

The exit code is 1 if DDIM or DPM-Solver++ 2M cost more than the limit.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pushforward.denoisers import EDMPrediction, NetworkDenoiser
from pushforward.numerics.random import Draws
from pushforward.paths import VP, UniformLogSNR
from pushforward.samplers import DDIM, DDPM, DPMSolverPP2M, Heun, default_sampler, evaluations, simulate

BATCH, WIDTH = 16, 64
LIMITED = ("DDIM", "DPM-Solver++ 2M")


class Layer(nn.Module):
    """The smallest network with a time: it ignores it."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return self.linear(x)


def programs(steps: int) -> tuple[dict[str, Callable[[], object]], dict[str, int], dict[str, int]]:
    """(what is run, its network calls, its steps), the bare forwards first."""
    path, network = VP(), Layer()
    denoiser = NetworkDenoiser(path, network, EDMPrediction(0.5))
    draws = Draws.of(0, range(BATCH))
    x, t = draws.normal((WIDTH,)), torch.zeros(BATCH)
    grid = UniformLogSNR()
    default = default_sampler(path, steps, 0.5)
    rules = {
        "DDIM": (DDIM, grid),
        "DPM-Solver++ 2M": (DPMSolverPP2M, grid),
        "Heun": (Heun(), grid),
        "DDPM": (DDPM, grid),
        "default": (default.step, default.grid),
    }

    def bare() -> None:
        for _ in range(steps):
            network(x, t)

    runs, calls, taken = {"bare forward": bare}, {"bare forward": steps}, {"bare forward": steps}
    for name, (step, each) in rules.items():
        levels = each(path, steps)
        planned = _Planned(step, step.plan(path, levels))
        runs[name] = lambda planned=planned, levels=levels: simulate(denoiser, planned, x, levels, draws)
        calls[name], taken[name] = evaluations(step, path, levels), len(levels) - 1
    return runs, calls, taken


class _Planned:
    """A step whose plan is made already: planning is done once per run, whatever the number of samples."""

    def __init__(self, step: object, moves: list) -> None:
        self.step, self.moves = step, moves

    def plan(self, path: object, levels: object, /) -> list:
        return self.moves

    def __call__(self, *arguments: object) -> tuple:
        return self.step(*arguments)


def measure(rounds: int, steps: int) -> dict[str, tuple[float, float]]:
    """µs per step above the bare forwards, by wall clock and in processor time."""
    runs, calls, taken = programs(steps)
    clocks = (time.perf_counter, time.process_time)
    seconds: dict[str, list[tuple[float, ...]]] = {name: [] for name in runs}
    with torch.inference_mode():
        for count in range(rounds + 2):
            for name, run in runs.items():
                begin = [clock() for clock in clocks]
                run()
                if count >= 2:  # the first rounds fill the caches
                    seconds[name].append(tuple(clock() - at for clock, at in zip(clocks, begin, strict=True)))
    medians = {name: [statistics.median(column) for column in zip(*v, strict=True)] for name, v in seconds.items()}
    bare = [value / steps for value in medians["bare forward"]]
    print(f"bare forward {1e6 * bare[0]:.1f} µs; batch {BATCH}, one linear layer, {steps} steps, medians of {rounds}")
    above = {
        name: tuple(1e6 * (medians[name][i] - calls[name] * bare[i]) / taken[name] for i in range(2)) for name in runs
    }
    return {name: costs for name, costs in above.items() if name != "bare forward"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--limit", type=float, default=40.0, help="µs per step for DDIM and 2M")
    options = parser.parse_args()
    torch.set_num_threads(1)
    above = measure(options.rounds, options.steps)
    print("\n| sampler | µs per step above the bare forward | in processor time |\n|---|---|---|")
    for name, (wall, processor) in above.items():
        print(f"| {name} | {wall:.1f} | {processor:.1f} |")
    for name in LIMITED:
        print(f"{'ok' if above[name][0] <= options.limit else 'MISS'}: {name} ≤ {options.limit:g} µs")
    return int(any(above[name][0] > options.limit for name in LIMITED))


if __name__ == "__main__":
    sys.exit(main())
