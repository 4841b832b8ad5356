"""Tomography: what a projection and its adjoint cost, and how exact they are.

The sparse projector of `pushforward.inverse.Radon` for parallel and fan beams, forward and adjoint, beside that of
DeepInverse where it can be imported (`--peer`; it needs torchvision, which this project does not install). All run in
turns in one process, in single precision; medians in milliseconds. Exactness is in double precision: the relative
error of the adjoint, and that of the lengths of a disc's chords.

    python benchmarks/radon.py [--size 64] [--views 30] [--batch 1] [--repeats 41] [--peer]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from pushforward.inverse import Radon, cgls, fan, filtered_back_projection, parallel

ADJOINT_ERROR, CHORD_ERROR, RATIO = 1e-9, 0.01, 10.0
Work = Callable[[], object]


def picture(size: int, finer: int = 8) -> tuple[Tensor, float]:
    """A disc of a radius of 0.3 sides in the middle, each pixel its mean; and the radius."""
    at = (torch.arange(size * finer, dtype=torch.float64) + 0.5) / finer - size / 2
    radius = 0.3 * size
    inside = (at**2 + at[:, None] ** 2 < radius**2).double()
    return torch.nn.functional.avg_pool2d(inside[None, None], finer), radius


def chord_error(radon: Radon) -> float:
    """Mean absolute error of the disc's chords, relative to their mean."""
    x, radius = picture(radon.size[0])
    points, directions = radon.geometry.rays()
    distance = points[..., 0] * directions[..., 1] - points[..., 1] * directions[..., 0]
    chords = 2 * (radius**2 - distance**2).clamp(min=0).sqrt()
    return float((radon(x)[0, 0] - chords).abs().sum() / chords.sum())


def ours(name: str, radon: Radon, batch: int) -> dict[str, Work]:
    x = picture(radon.size[0])[0].float().expand(batch, -1, -1, -1).contiguous()
    y = radon(x)
    return {
        f"{name}: A": lambda: radon(x),
        f"{name}: Aᵀ": lambda: radon.adjoint(y),
        f"{name}: filtered back-projection": lambda: filtered_back_projection(radon, y),
        f"{name}: CGLS, 10 iterations": lambda: cgls(radon, radon.adjoint, y, 10),
    }


def peers(size: int, views: int, batch: int) -> dict[str, Work]:
    """DeepInverse's projectors on the same picture. Raises ImportError where it cannot be imported."""
    from deepinv.physics import Tomography

    x = picture(size)[0].float().expand(batch, -1, -1, -1).contiguous()
    found: dict[str, Work] = {}
    for name, fan_beam, turn in (("parallel", False, 180), ("fan", True, 360)):
        angles = torch.arange(views) * (turn / views)
        physics = Tomography(angles=angles, img_width=size, fan_beam=fan_beam, circle=False)
        y = physics.A(x)
        found[f"{name}: A (DeepInverse)"] = lambda physics=physics: physics.A(x)
        found[f"{name}: Aᵀ (DeepInverse)"] = lambda physics=physics, y=y: physics.A_adjoint(y)
    return found


def measure(work: dict[str, Work], repeats: int) -> dict[str, float]:
    """Medians in milliseconds over rounds of all in turns; each is repeated within a round to last some 20 ms."""
    counts = {}
    for name, run in work.items():
        run()
        begin = time.perf_counter()
        run()
        counts[name] = max(1, int(0.02 / (time.perf_counter() - begin)))
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats):
        for name, run in work.items():
            begin = time.perf_counter()
            for _ in range(counts[name]):
                run()
            times[name].append((time.perf_counter() - begin) / counts[name] * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--views", type=int, default=30)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=41)
    parser.add_argument("--peer", action="store_true", help="measure DeepInverse as well")
    given = parser.parse_args()
    projectors = {"parallel": parallel(given.size, given.views), "fan": fan(given.size, given.views)}
    work: dict[str, Work] = {}
    for name, radon in projectors.items():
        work |= ours(name, radon, given.batch)
    if given.peer:
        try:
            work |= peers(given.size, given.views, given.batch)
        except ImportError as missing:
            print(f"DeepInverse is left out: {missing}\n")
    medians = measure(work, given.repeats)
    print(f"{given.size}², {given.views} views, batch {given.batch}, {torch.get_num_threads()} thread(s)\n")
    print("| what | ms |\n|---|---|")
    for name, median in medians.items():
        print(f"| {name} | {median:.2f} |")
    print()
    verdicts = []
    for name, radon in projectors.items():
        adjoint, chords = radon.check(), chord_error(radon)
        verdicts.append(
            (f"{name}: relative error of the adjoint {adjoint:.1e} ≤ {ADJOINT_ERROR:.0e}", adjoint <= ADJOINT_ERROR)
        )
        verdicts.append((f"{name}: error of chords {chords:.2%} ≤ {CHORD_ERROR:.0%}", chords <= CHORD_ERROR))
        theirs = medians.get(f"{name}: Aᵀ (DeepInverse)")
        if theirs is not None:
            ratio = theirs / medians[f"{name}: Aᵀ"]
            verdicts.append((f"{name}: adjoint {ratio:.0f} × faster than DeepInverse's ≥ {RATIO:.0f}", ratio >= RATIO))
    for text, held in verdicts:
        print("ok  " if held else "MISS", text)
    return 0 if all(held for _, held in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
