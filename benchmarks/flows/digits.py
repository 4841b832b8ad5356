"""Bits per dimension of held-out digits (8×8): an image flow and continuous flows of the same size.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/flows/digits.py [--steps 800] [--parameters 380000] [--seeds 1]

The flow is the one that `flow_model` gives for images; continuous flows are a U-Net on the straight path, trained by
flow matching with noise paired at random or by minibatch optimal transport, and scored through their own ODE (100
evaluations, random probes). All see the same splits, steps and batches, are averaged and chosen by validation as every
training is, and are scored on the 10 % test split with 4 uniform dequantisations.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable

import torch
from torch import nn

import pushforward as pf
from pushforward.data.dataset import Dataset
from pushforward.denoisers.precondition import FlowPrediction
from pushforward.models.diffusion import Diffusion
from pushforward.models.family import Family
from pushforward.models.flow import FlowModel, flow_model
from pushforward.models.scoring import ByFlow, ByModel, Rule, Units, moments_of, score_rows
from pushforward.networks.budget import count_parameters, width_for
from pushforward.networks.unet import UNet
from pushforward.objectives.coupling import Assignment, Coupling
from pushforward.paths import Straight
from pushforward.paths.times import Stratified, UniformTimes
from pushforward.training import Recipe, find_checkpoint, fit
from pushforward.training.checkpoint import load_weights


def flow(data: Dataset, budget: int) -> Family:
    return flow_model(data.format, width=width_for(lambda width: flow_model(data.format, width=width), budget))


def continuous(coupling: Coupling | None) -> Callable[[Dataset, int], Family]:
    def make(data: Dataset, budget: int) -> Family:
        def network(width: int) -> nn.Module:
            return UNet(data.shape[0], 4 * width, (1, 2))

        sigma = float(data.train.all().values.std())
        times = Stratified(UniformTimes())
        unet = network(width_for(network, budget))
        return Diffusion(unet, Straight(), FlowPrediction(sigma), times, data.shape, coupling=coupling)

    return make


SYSTEMS: dict[str, Callable[[Dataset, int], Family]] = {
    "flow": flow,
    "continuous flow": continuous(None),
    "continuous flow, transport": continuous(Assignment()),
}


def rule(model: Family, moments) -> Rule:
    return ByModel(model) if isinstance(model, FlowModel) else ByFlow(model.denoiser(), moments)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--parameters", type=int, default=380_000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = pf.dataset("digits")
    moments = moments_of(data.train.all().values, Units.of(data.format))
    print(
        "| model | seed | parameters | bits/dim, test | ± | a Gaussian | training, s | scoring, s |\n"
        + "|---" * 8
        + "|"
    )
    for name, make in SYSTEMS.items():
        for seed in range(args.seeds) if args.only in name else ():
            torch.manual_seed(seed)
            model = make(data, args.parameters)
            with tempfile.TemporaryDirectory() as folder:
                began = time.process_time()
                fit(model, data.train, data.validation, Recipe(steps=args.steps, seed=seed, device="cpu"), folder, {})
                load_weights(model, find_checkpoint(folder, "best"))
            trained = time.process_time()
            model.eval()
            scores = score_rows(rule(model, moments), data.format, moments, data.test.all().values)
            bits, error = scores.bits(scores.mean), -scores.bits(scores.error)
            cells = [
                f"{count_parameters(model):,}",
                f"{bits:.3f}",
                f"{error:.3f}",
                f"{scores.bits(scores.gaussian):.3f}",
                f"{trained - began:.0f}",
                f"{time.process_time() - trained:.0f}",
            ]
            print(f"| {name} | {seed} | {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
