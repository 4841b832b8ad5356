"""One network trained on digits through every sampler that has a name, and scored by both likelihoods.

Every sampler starts from the same noise with the same labels. Quality is the Fréchet distance and the kernel MMD² to
the test digits, beside what as many real digits score (the floor), and the share recognised as the label asked for; for
samplers without fresh noise also the RMS distance, in units of the data in [−1, 1], to the endpoint of the probability
flow, solved to 1e-7 by order 8 in float64. The likelihoods are of the test digits given their labels: exact by the
probability flow with uniform dequantisation, and the variational bound of the ancestral sampler.

    pushforward train digits --steps 1500 --set model.network=unet --set model.network.width=32 \
        --set training.learning_rate=0.002 --out runs/digits
    python benchmarks/digits_samplers.py runs/digits [--samples 300] [--budgets 5 10 20 50 100]
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

import pushforward as pf
from pushforward.config.samplers import SAMPLERS, choices
from pushforward.denoisers import WithVariance
from pushforward.denoisers.reference import reference_flow
from pushforward.denoisers.terminal import Moments
from pushforward.models.generator import Generator
from pushforward.models.likelihood import ProbabilityFlow, bin_width
from pushforward.numerics.divergence import Hutchinson
from pushforward.numerics.random import Draws
from pushforward.objectives.bound import noise_last, rounding_levels, variational_bound
from pushforward.objectives.decoders import DiscretisedGaussian
from pushforward.report.sampler_scores import Comparison, Scored, compare_samplers
from pushforward.report.sampler_sections import ranked, sampler_chart
from pushforward.samplers import analytic, fixed_large, fixed_small

RESULTS = Path(__file__).parent / "results"
RUNS = {"analytic (Γ)": analytic, "fixed small": fixed_small, "fixed large": fixed_large}
APART = (5, 10, 20, 50, 100)
"""Budgets whose distance to the flow is in the table."""
Distances = dict[str, dict[int, float]]


@dataclass(frozen=True)
class Bits:
    """Bits per dimension of the test digits: mean and its standard error over digits."""

    method: str
    evaluations: int
    mean: float
    error: float
    seconds: float


def endpoints(generator: Generator, draws: Draws, labels: Tensor) -> Tensor:
    """Where the probability flow of the network takes these starts."""
    model = copy.deepcopy(generator.model).double().eval()
    start = model.path.prior(draws.at("prior").normal(model.shape)).double()
    return reference_flow(model.conditioned(labels), start, model.path.level(model.path.t_max), tolerance=1e-7)


def distances(generator: Generator, budgets: Sequence[int], count: int) -> Distances:
    """RMS distance to the endpoint of the flow per sampler and budget, for samplers without fresh noise."""
    draws, labels = Draws.of(0, range(count)), torch.arange(count) % max(generator.model.num_classes, 1)
    exact, found = endpoints(generator, draws, labels), {}
    for name, choice in choices(SAMPLERS, generator.model, generator.variance).items():
        if SAMPLERS[name].random:
            continue
        found[name] = {}
        for budget in budgets[-1:] if SAMPLERS[name].adaptive else budgets:
            made = generator.draw(draws, labels, budget, sampler=choice(budget))
            found[name][budget] = float((made - exact).square().mean().sqrt())
    return found


def flow_bits(run: pf.Run, x: Tensor, labels: Tensor, moments: Moments, repeats: int) -> Bits:
    flow = ProbabilityFlow(run.generator.model.conditioned(labels), moments)
    draws = Draws.of(0, range(len(x)), "likelihood")
    began = time.perf_counter()
    found = flow.bits_per_dim(x, bin_width(run.format), draws, repeats=repeats, divergence=Hutchinson(draws, 1))
    evaluations = int(found.evaluations.double().mean())
    return bits(f"exact, probability flow ({found.method})", evaluations, found.bits, began)


def bound_bits(run: pf.Run, x: Tensor, labels: Tensor, rule: str, steps: int) -> Bits:
    variance = run.generator.variance
    assert variance is not None
    denoiser = WithVariance(run.generator.model.conditioned(labels), variance)
    width = bin_width(run.format)
    decoder = DiscretisedGaussian(-1.0, 1.0, round(2 / width) + 1)
    levels = rounding_levels(denoiser.path, width, steps)
    began = time.perf_counter()
    draws = Draws.of(0, range(len(x)), "bound")
    found = variational_bound(denoiser, x, levels, draws, variance=RUNS[rule], decoder=decoder, last=noise_last)
    return bits(f"variational bound, variance {rule}", steps, found.bits_per_dim(x[0].numel()), began)


def bits(method: str, evaluations: int, values: Tensor, began: float) -> Bits:
    error = float(values.std()) / math.sqrt(len(values))
    return Bits(method, evaluations, float(values.mean()), error, (time.perf_counter() - began) / len(values))


def likelihoods(run: pf.Run, repeats: int) -> list[Bits]:
    data = run.data()
    test, train = data.test.all(), data.train.all()
    assert test.labels is not None
    moments = Moments.of_samples(train.values, full=True)
    found = [flow_bits(run, test.values, test.labels, moments, repeats)]
    for rule, steps in (("analytic (Γ)", 100), ("fixed small", 100), ("fixed large", 100), ("analytic (Γ)", 400)):
        found.append(bound_bits(run, test.values, test.labels, rule, steps))
    return found


def quality_table(comparison: Comparison, budgets: Sequence[int], away: Distances) -> list[str]:
    """One row per sampler, best first: Fréchet distance over its floor at each budget, and what else was measured."""
    floor = comparison.floor
    heads = [
        *map(str, budgets),
        "MMD² at 20",
        "labels at 20",
        *(f"RMS at {budget}" for budget in APART),
        "processor ms at 20",
    ]
    lines = [f"| sampler | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for name in ranked(comparison):
        rows = {row.asked: row for row in comparison.of(name)}
        middle = rows.get(20) or rows[max(rows)]
        cells = [cell(comparison, rows.get(budget)) for budget in budgets]
        apart = away.get(name, {})
        cells += [f"{middle.quality.mmd:.4f}", f"{middle.quality.accuracy or math.nan:.3f}"]
        cells += [f"{apart[budget]:.1e}" if budget in apart else "–" for budget in APART]
        lines.append(f"| {name} | {' | '.join(cells)} | {1e3 * middle.processor:.1f} |")
    real = ["1"] * len(budgets)
    lines.append(f"| *real digits* | {' | '.join(real)} | {floor.mmd:.4f} | {floor.accuracy:.3f} {'| – ' * 6}|")
    return lines


def cell(comparison: Comparison, row: Scored | None) -> str:
    if row is None:
        return "–"
    spent = "" if abs(row.evaluations - row.asked) < 1.5 else f" ({row.evaluations:.0f})"
    return f"{comparison.ratio(row):.2f}{spent}"


def bits_table(rows: Sequence[Bits]) -> list[str]:
    lines = ["| likelihood of the test digits | evaluations | bits/dim | s per digit |", "|---|---|---|---|"]
    return lines + [f"| {r.method} | {r.evaluations} | {r.mean:.3f} ± {r.error:.3f} | {r.seconds:.2f} |" for r in rows]


def bounds(comparison: Comparison, away: Distances, likelihood: Sequence[Bits]) -> dict[str, bool]:
    """What must hold."""
    default = {row.asked: comparison.ratio(row) for row in comparison.of("default")}
    best = {asked: comparison.ratio(comparison.best(asked)) for asked in default}
    held = {"every sampler ran": not comparison.refused and set(comparison.names) == set(SAMPLERS)}
    for asked in default:
        held[f"{asked} evaluations: the default's distance over its floor is within 0.1 of the best"] = (
            default[asked] <= best[asked] + 0.1
        )
        nearest = min(other[asked] for name, other in away.items() if asked in other and not SAMPLERS[name].adaptive)
        held[f"{asked} evaluations: no sampler is nearer to the flow than the default by 5 %"] = (
            away["default"][asked] <= 1.05 * nearest
        )
    held["the analytic variance has the best bound"] = likelihood[1].mean <= min(r.mean for r in likelihood[2:4])
    return held


def save(picture: str, values: dict[str, object], lines: Sequence[str]) -> None:
    RESULTS.mkdir(exist_ok=True)
    ground = '<rect width="100%" height="100%" fill="#fff"/>'
    standing = picture.replace("</desc>", f"</desc>{ground}", 1)
    (RESULTS / "digits_samplers.svg").write_text(standing + "\n", encoding="utf-8")
    (RESULTS / "digits_samplers.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "digits_samplers.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--budgets", type=int, nargs="+", default=[5, 10, 20, 50, 100])
    parser.add_argument("--starts", type=int, default=48, help="for distances to the flow's endpoints")
    parser.add_argument("--repeats", type=int, default=2, help="dequantisations per digit")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    run = pf.load(arguments.run, device=arguments.device).with_variance()
    likelihood = likelihoods(run, arguments.repeats)
    tell("likelihoods done")
    away = distances(run.generator, arguments.budgets, arguments.starts)
    tell("distances done")
    comparison = compare_samplers(
        run.generator,
        run.data(),
        choices(SAMPLERS, run.generator.model, run.generator.variance),
        arguments.budgets,
        n=arguments.samples,
        tell=lambda done, total: tell(f"{done} of {total} runs"),
        adaptive=[name for name, entry in SAMPLERS.items() if entry.adaptive],
    )
    lines = [*quality_table(comparison, arguments.budgets, away), "", *bits_table(likelihood)]
    held = bounds(comparison, away, likelihood)
    about = {"step": run.checkpoint.step, "weights": run.weights, "torch": torch.__version__}
    values = {"run": about, "comparison": comparison.to_dict(), "distances": away}
    values |= {"likelihoods": [asdict(row) for row in likelihood], "bounds": held}
    save(sampler_chart(comparison, (940, 620)), values, lines)
    print("\n".join(lines) + "\n")
    for bound, good in held.items():
        print(f"{'ok  ' if good else 'MISS'}  {bound}")
    return 0 if all(held.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
