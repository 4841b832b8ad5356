"""Flows against their bare conditioner networks and against zuko, nflows and normflows, in turns, one thread.

    python -m venv peers && peers/bin/pip install -r benchmarks/flows/requirements.txt
    OMP_NUM_THREADS=1 PYTHONPATH=src peers/bin/python benchmarks/flows/speed.py [--features 8] [--batch 1024]

Bare networks: the same masked or plain perceptrons applied to the samples without any bijection (one layer's input to
the next is the data again), loss = mean of the outputs. A training step is loss, backward and Adam.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import nflows.distributions
import nflows.flows
import nflows.transforms as nt
import normflows as nf
import torch
import zuko
from torch import Tensor, nn

from pushforward.flows import builders
from pushforward.flows.elementwise import Autoregressive, Coupling
from pushforward.flows.flow import Flow
from pushforward.numerics.random import Draws

TRANSFORMS, HIDDEN, BINS, BOUND = 5, 128, 8, 5.0
Actions = dict[str, Callable[[], object]]


class RowMasked(nn.Linear):
    """A masked layer as the peers write it: rows are samples."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight * self.mask, self.bias)


def bare(flow: Flow) -> nn.ModuleList:
    """The conditioner networks of a flow, rows as samples, nothing else."""
    nets = []
    for layer in flow.bijection.modules():
        if isinstance(layer, Autoregressive | Coupling):
            parts = [*layer.net.hidden, layer.net.output]
            rows = [RowMasked(p.mask) if hasattr(p, "mask") else nn.Linear(*p.weight.shape[::-1]) for p in parts]
            nets.append(nn.Sequential(*[m for row in rows for m in (row, nn.ReLU())][:-1]))
    return nn.ModuleList(nets)


def bare_actions(nets: nn.ModuleList, x: Tensor) -> Actions:
    inputs = [x[:, : net[0].in_features].contiguous() for net in nets]
    optimiser = torch.optim.Adam(nets.parameters(), lr=1e-4)

    def run() -> Tensor:
        return sum(net(part).mean() for net, part in zip(nets, inputs, strict=True))

    return {"log_prob": no_grad(run), "train": training(run, optimiser), "sample": no_grad(run)}


def no_grad(run: Callable[[], object]) -> Callable[[], object]:
    def inner() -> object:
        with torch.no_grad():
            return run()

    return inner


def training(loss: Callable[[], Tensor], optimiser: torch.optim.Optimizer) -> Callable[[], object]:
    def inner() -> None:
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()

    return inner


def actions(parameters, log_prob: Callable[[], Tensor], sample: Callable[[], object]) -> Actions:
    optimiser = torch.optim.Adam(parameters, lr=1e-4)
    return {
        "log_prob": no_grad(log_prob),
        "train": training(lambda: -log_prob().mean(), optimiser),
        "sample": no_grad(sample),
    }


def ours(flow: Flow, x: Tensor, compiled: bool = False) -> Actions:
    draws = Draws.of(0, range(len(x)))
    run = torch.compile(flow) if compiled else flow
    return actions(flow.parameters(), lambda: run(x), lambda: flow.sample(draws))


def of_zuko(make: Callable, x: Tensor, **settings) -> Actions:
    flow = make(x.shape[1], 0, transforms=TRANSFORMS, hidden_features=(HIDDEN, HIDDEN), **settings)
    return actions(flow.parameters(), lambda: flow().log_prob(x), lambda: flow().sample((len(x),)))


def of_nflows(layer: Callable[[int], nn.Module], x: Tensor, reverse: bool) -> Actions:
    d, layers = x.shape[1], []
    for i in range(TRANSFORMS):
        layers += [nt.ReversePermutation(d)] if reverse and i else []
        layers.append(layer(i))
    base = nflows.distributions.normal.StandardNormal([d])
    flow = nflows.flows.base.Flow(nt.CompositeTransform(layers), base)
    return actions(flow.parameters(), lambda: flow.log_prob(x), lambda: flow.sample(len(x)))


def of_normflows(layer: Callable[[int], nn.Module], x: Tensor) -> Actions:
    flow = nf.NormalizingFlow(nf.distributions.DiagGaussian(x.shape[1]), [layer(i) for i in range(TRANSFORMS)])
    return actions(flow.parameters(), lambda: flow.log_prob(x), lambda: flow.sample(len(x)))


class Perceptron(nn.Sequential):
    """The conditioner that nflows' couplings are given; they pass a condition, here always None."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, outputs)
        )

    def forward(self, x: Tensor, context: None = None) -> Tensor:
        return super().forward(x)


def parity(d: int, i: int) -> Tensor:
    return (torch.arange(d) + i) % 2


def cases(x: Tensor, compiled: bool = False) -> dict[str, Callable[[], dict[str, Actions]]]:
    """What is measured for each flow; `compiled` leaves the peers out and compiles ours."""
    d = x.shape[1]
    spline = {"num_bins": BINS, "tails": "linear", "tail_bound": BOUND}
    nf_spline = {"num_bins": BINS, "tail_bound": BOUND}

    def whole(flow: Flow, **peers: Callable[[], Actions]) -> dict[str, Actions]:
        others = {} if compiled else {name: make() for name, make in peers.items()}
        return {"bare": bare_actions(bare(flow), x), "ours": ours(flow, x, compiled), **others}

    return {
        "MAF": lambda: whole(
            builders.maf(d, TRANSFORMS),
            zuko=lambda: of_zuko(zuko.flows.MAF, x),
            nflows=lambda: of_nflows(
                lambda i: nt.MaskedAffineAutoregressiveTransform(d, HIDDEN, num_blocks=1, use_residual_blocks=False),
                x,
                True,
            ),
        ),
        # What normflows calls a masked autoregressive layer runs from the base to the data.
        "IAF": lambda: whole(
            builders.iaf(d, TRANSFORMS),
            normflows=lambda: of_normflows(
                lambda i: nf.flows.MaskedAffineAutoregressive(d, HIDDEN, num_blocks=1, use_residual_blocks=False), x
            ),
        ),
        "affine coupling": lambda: whole(
            builders.realnvp(d, TRANSFORMS),
            zuko=lambda: of_zuko(zuko.flows.RealNVP, x),
            nflows=lambda: of_nflows(lambda i: nt.AffineCouplingTransform(parity(d, i), Perceptron), x, False),
            normflows=lambda: of_normflows(
                lambda i: nf.flows.MaskedAffineFlow(
                    parity(d, i).float(),
                    nf.nets.MLP([d, HIDDEN, HIDDEN, d]),
                    nf.nets.MLP([d, HIDDEN, HIDDEN, d]),
                ),
                x,
            ),
        ),
        "spline, autoregressive": lambda: whole(
            builders.nsf(d, TRANSFORMS),
            zuko=lambda: of_zuko(zuko.flows.NSF, x, bins=BINS),
            nflows=lambda: of_nflows(
                lambda i: nt.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
                    d, HIDDEN, num_blocks=1, use_residual_blocks=False, **spline
                ),
                x,
                True,
            ),
            normflows=lambda: of_normflows(
                lambda i: nf.flows.AutoregressiveRationalQuadraticSpline(d, 1, HIDDEN, **nf_spline), x
            ),
        ),
        "spline, coupling": lambda: whole(
            builders.coupling_nsf(d, TRANSFORMS),
            nflows=lambda: of_nflows(
                lambda i: nt.PiecewiseRationalQuadraticCouplingTransform(parity(d, i), Perceptron, **spline), x, False
            ),
            normflows=lambda: of_normflows(
                lambda i: nf.flows.CoupledRationalQuadraticSpline(d, 1, HIDDEN, reverse_mask=bool(i % 2), **nf_spline),
                x,
            ),
        ),
    }


def measured(systems: dict[str, Actions], action: str, rounds: int) -> dict[str, float]:
    """Medians in ms over rounds in which all take turns."""
    times: dict[str, list[float]] = {name: [] for name in systems}
    for turn in range(rounds + 2):
        for name, all_actions in systems.items():
            begin = time.process_time()
            all_actions[action]()
            if turn > 1:
                times[name].append(time.process_time() - begin)
    return {name: 1e3 * statistics.median(found) for name, found in times.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=8)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default="")
    parser.add_argument("--compiled", action="store_true", help="ours compiled, beside the bare networks as they are")
    parser.add_argument("--actions", nargs="+", default=["log_prob", "train", "sample"])
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = torch.randn(args.batch, args.features)
    print("| flow | op | bare | ours | zuko | nflows | normflows | ours / bare | best peer / ours |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, make in cases(x, args.compiled).items():
        if args.only not in name:
            continue
        systems = make()
        for action in args.actions:
            ms = measured(systems, action, args.rounds)
            peers = [ms[p] for p in ("zuko", "nflows", "normflows") if p in ms]
            cells = " | ".join(
                f"{ms[n]:.2f}" if n in ms else "-" for n in ("bare", "ours", "zuko", "nflows", "normflows")
            )
            ahead = f"{min(peers) / ms['ours']:.2f}" if peers else "-"
            ratios = f"{ms['ours'] / ms['bare']:.2f} | {ahead}"
            print(f"| {name} | {action} | {cells} | {ratios} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
