"""The loop's overhead beside diffusers, k-diffusion and azula, measured together, and what is left of it on a U-Net.

    PYTHONPATH=src:benchmarks PEERS/bin/python benchmarks/overhead_peers.py [--rounds 31] [--steps 50]

PEERS is the environment of benchmarks/accuracy (see its requirements.txt). One thread, everything in turns, medians
of processor time:
1. one linear layer, batch 16: µs per step above the bare forward, ours and the peers';
2. a U-Net of two million parameters, batch 16 at 8×8: time of sampling over the time of as many bare forwards;
3. peak memory of sampling with 10 and with 400 steps, in processes of their own.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from loop_overhead import BATCH, WIDTH, Layer, programs
from pushforward.denoisers import EDMPrediction, NetworkDenoiser
from pushforward.networks import UNet
from pushforward.numerics.random import Draws
from pushforward.paths import EDM
from pushforward.samplers import default_sampler


def diffusers_programs(network: Layer, x: Tensor, t: Tensor, steps: int) -> dict[str, Callable[[], object]]:
    import diffusers

    def loop(make: Callable[[], object]) -> Callable[[], object]:
        scheduler = make()

        def run() -> Tensor:
            scheduler.set_timesteps(steps)
            state = x
            for time_step in scheduler.timesteps:
                state = scheduler.step(network(state, t), time_step, state).prev_sample
            return state

        return run

    options = {"clip_sample": False}
    return {
        "diffusers DDIM": loop(lambda: diffusers.DDIMScheduler(**options)),
        "diffusers DDPM": loop(lambda: diffusers.DDPMScheduler(**options)),
        "diffusers DPM++2M": loop(diffusers.DPMSolverMultistepScheduler),
    }


def other_programs(network: Layer, x: Tensor, t: Tensor, steps: int) -> dict[str, Callable[[], object]]:
    from azula.denoise import Denoiser, DiracPosterior
    from azula.noise import VPSchedule
    from azula.sample import DDIMSampler

    from accuracy.peers_kdiffusion import load

    k = load()
    sigmas = k.get_sigmas_karras(steps, 0.02, 80.0)

    def plain(state: Tensor, sigma: Tensor) -> Tensor:
        return network(state, t)

    class Plain(Denoiser):
        def __init__(self) -> None:
            super().__init__()
            self.schedule = VPSchedule()

        def forward(self, x_t: Tensor, t_: Tensor, **kwargs: object) -> DiracPosterior:
            return DiracPosterior(network(x_t, t))

    ddim = DDIMSampler(Plain(), steps=steps, silent=True)
    return {
        "k-diffusion DPM++2M": lambda: k.sample_dpmpp_2m(
            lambda state, sigma: network(state, t), x, sigmas, disable=True
        ),
        "azula DDIM": lambda: ddim(x),
    }


def in_turns(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median seconds of processor time of each."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    with torch.inference_mode():
        for count in range(rounds + 2):
            for name, run in runs.items():
                begin = time.process_time()
                run()
                if count >= 2:
                    seconds[name].append(time.process_time() - begin)
    return {name: statistics.median(values) for name, values in seconds.items()}


def small(rounds: int, steps: int) -> None:
    ours, calls, taken = programs(steps)
    network, x, t = Layer(), Draws.of(0, range(BATCH)).normal((WIDTH,)), torch.zeros(BATCH)
    peers = diffusers_programs(network, x, t, steps) | other_programs(network, x, t, steps)
    medians = in_turns(ours | peers, rounds)
    bare = medians["bare forward"] / steps
    print(f"one linear layer, bare forward {1e6 * bare:.1f} µs\n")
    print("| sampler | µs per step above the bare forward |\n|---|---|")
    for name, value in medians.items():
        if name != "bare forward":
            above = (value - calls.get(name, steps) * bare) / taken.get(name, steps)
            print(f"| {name} | {1e6 * above:.1f} |")


def large(rounds: int, steps: int) -> None:
    network = UNet(1, 60, (1, 2), 2).eval()
    count = sum(p.numel() for p in network.parameters())
    draws = Draws.of(0, range(BATCH))
    x, t = draws.normal((1, 8, 8)), torch.zeros(BATCH)
    denoiser = NetworkDenoiser(EDM(), network, EDMPrediction(0.5))
    sampler = default_sampler(EDM(), steps, 0.5)

    def bare() -> None:
        for _ in range(steps):
            network(x, t)

    runs = {"bare": bare, "default": lambda: sampler.sample(denoiser, x, steps, draws), "bare again": bare}
    medians = in_turns(runs, rounds)
    again = medians["bare again"]
    ratio, control = 2 * medians["default"] / (medians["bare"] + again), again / medians["bare"]
    print(
        f"\nU-Net of {count / 1e6:.2f} M: sampling takes {ratio:.4f} × the bare forwards (planning included); "
        f"of the bare forwards themselves the second row takes {control:.4f} × the first"
    )


def memory_of(steps: int) -> int:
    """Peak resident memory in KiB of a process that samples with this many steps."""
    found = subprocess.run([sys.executable, __file__, "--peak", str(steps)], capture_output=True, text=True, check=True)
    return int(found.stdout.split()[-1])


def peak(steps: int) -> None:
    draws = Draws.of(0, range(4096))
    denoiser = NetworkDenoiser(EDM(), Layer(), EDMPrediction(0.5))
    with torch.inference_mode():
        default_sampler(EDM(), steps, 0.5).sample(denoiser, draws.normal((WIDTH,)), steps, draws)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--peak", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak:
        peak(options.peak)
        return
    small(options.rounds, options.steps)
    large(options.rounds, 20)
    few, many = memory_of(10), memory_of(400)
    print(f"\npeak memory: {few / 1024:.1f} MiB with 10 steps, {many / 1024:.1f} MiB with 400 ({many / few:.3f} ×)")


if __name__ == "__main__":
    main()
