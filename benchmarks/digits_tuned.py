"""What `tune` gains on a trained network of digits, and what it costs.

For each number of evaluations and each seed of the tuning, on starts that the tuning has not seen: the RMS distance, in
units of the data in [−1, 1], to where the default sampler with 200 evaluations takes the same start with the same label
(within 3e-4 of the flow's exact end, see digits_samplers.py); and of samples from several seeds, the same for all, the
Fréchet distance over its floor, the kernel MMD² and the share recognised by a classifier that knows neither. The
sampler of 200 evaluations stands beside them: no sampler of the flow can be better than by chance, and what a sampler's
samples lack is told from there. Tuning is timed.

    python benchmarks/digits_tuned.py runs/digits [--evaluations 3 4 5 8] [--seeds 0 1 2] [--effort 0.125]

The run is that of digits_samplers.py; it is copied, so that nothing is stored in it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

import pushforward as pf
from pushforward import api
from pushforward.config.tuning import DEFAULT_EFFORT
from pushforward.numerics.random import Draws
from pushforward.report.sampler_scores import Judge, Quality
from pushforward.samplers.default import Sampling, default_sampler

RESULTS = Path(__file__).parent / "results"
REFERENCE = 200


@dataclass(frozen=True)
class Row:
    """One sampler; `wall` and `processor` are the seconds that its tuning took."""

    name: str
    evaluations: int
    seed: int | None
    rms: float
    frechet: float
    mmd: float
    accuracy: float
    wall: float = 0.0
    processor: float = 0.0


@dataclass(frozen=True, eq=False)
class Bench:
    run: pf.Run
    judge: Judge
    ends: Tensor
    samples: int

    @staticmethod
    def of(run: pf.Run, starts: int, samples: int) -> Bench:
        return Bench(run, Judge.of(run.data(), samples), ends_of(run, REFERENCE, starts, None), samples)

    def row(self, name: str, evaluations: int, sampler: Sampling | None, **rest: float | None) -> Row:
        """Of a sampler, or of the default one: None."""
        made = ends_of(self.run, evaluations, len(self.ends), sampler)
        rms = float((made - self.ends).square().mean().sqrt())
        scores = [self.quality(evaluations, sampler, seed) for seed in range(3)]
        frechet = statistics.fmean(score.frechet for score in scores) / self.judge.floor.frechet
        mmd = statistics.fmean(score.mmd for score in scores)
        accuracy = statistics.fmean(score.accuracy or 0.0 for score in scores)
        return Row(name, evaluations, rest.pop("seed", None), rms, frechet, mmd, accuracy, **rest)

    def quality(self, evaluations: int, sampler: Sampling | None, seed: int) -> Quality:
        chosen = sampler or default(self.run, evaluations)
        made = self.run.generator.sample(self.judge.n, steps=evaluations, seed=seed, sampler=chosen)
        return self.judge.score(made.values, made.labels)


def default(run: pf.Run, evaluations: int) -> Sampling:
    model = run.generator.model
    return default_sampler(model.path, evaluations, model.prediction.sigma_data)


def ends_of(run: pf.Run, evaluations: int, count: int, sampler: Sampling | None) -> Tensor:
    draws = Draws.of(0, range(count), "digits tuned")
    labels = torch.arange(count) % run.generator.model.num_classes
    chosen = sampler or default(run, evaluations)
    return run.generator.draw(draws, labels, evaluations, sampler=chosen)


def tuned(bench: Bench, folder: Path, evaluations: int, seed: int, effort: float) -> Row | None:
    """Tuned in a copy of the run; None where it is refused."""
    began, worked = time.perf_counter(), time.process_time()
    result, _ = api.tune(api.load(folder, device="cpu"), evaluations, effort=api.effort_of(effort), seed=seed)
    wall, processor = time.perf_counter() - began, time.process_time() - worked
    if result.sampler is None:
        print(f"refused at {evaluations}, seed {seed}: {result.reason}", file=sys.stderr)
        return None
    return bench.row("tuned", evaluations, result.sampler.whole(), seed=seed, wall=wall, processor=processor)


def table(rows: list[Row]) -> list[str]:
    lines = ["| sampler | evaluations | RMS | Fréchet / floor | MMD² | recognised | tuning, s (processor) |"]
    lines.append("|---" * 7 + "|")
    for row in rows:
        cost = f"{row.wall:.0f} ({row.processor:.0f})" if row.wall else "–"
        name = row.name if row.seed is None else f"{row.name}, seed {row.seed}"
        figures = f"{row.rms:.1e} | {row.frechet:.3f} | {row.mmd:.4f} | {row.accuracy:.3f}"
        lines.append(f"| {name} | {row.evaluations} | {figures} | {cost} |")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--evaluations", type=int, nargs="+", default=[3, 4, 5, 8])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--effort", type=float, default=DEFAULT_EFFORT)
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--starts", type=int, default=256)
    parser.add_argument("--output", type=Path, default=RESULTS / "digits_tuned.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench.of(pf.load(arguments.run, device="cpu"), arguments.starts, arguments.samples)
    rows = [bench.row("default", REFERENCE, None)]
    held: dict[str, bool] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(shutil.copytree(arguments.run, Path(temporary) / "run"))
        for evaluations in arguments.evaluations:
            usual = bench.row("default", evaluations, None)
            found = [tuned(bench, folder, evaluations, seed, arguments.effort) for seed in arguments.seeds]
            ours = [row for row in found if row is not None]
            rows += [usual, *ours]
            nearer = bool(ours) and max(row.rms for row in ours) <= usual.rms / 1.5
            held[f"{evaluations} evaluations: tuned is nearer to the reference by a third at every seed"] = nearer
            lacking = usual.frechet - rows[0].frechet
            worst = max((row.frechet for row in ours), default=9.0) - rows[0].frechet
            if lacking > 0.05:
                bound, good = (
                    "its samples lack less than half of what the default's lack, at every seed",
                    worst < lacking / 2,
                )
            else:
                bound, good = "its samples are no worse by more than 0.02 of the floor", worst <= lacking + 0.02
            held[f"{evaluations} evaluations: {bound}"] = good
            values = {"effort": arguments.effort, "floor": asdict(bench.judge.floor)}
            values |= {"rows": [asdict(row) for row in rows], "bounds": held}
            arguments.output.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    print("\n".join(table(rows)) + "\n")
    for bound, good in held.items():
        print(f"{'ok  ' if good else 'MISS'}  {bound}")
    return 0 if all(held.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
