"""Kill a training with SIGKILL at random instants, saves in progress included, and compare it with one left alone.

    python benchmarks/kill_resume.py [--kills 20] [--steps 240] [--seed 0] [--json]

Each training runs in a process of its own (forked, so that nothing but the training itself takes time), saves every few
steps, and is continued after each kill by the same call. At the end every file of tensors of the last checkpoint and
every line of the log (times aside) must equal those of the uninterrupted run, byte by byte. Exits with 1 if not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pushforward.numerics.dropout import Dropout
from pushforward.numerics.random import Draws
from pushforward.training import Recipe, find_checkpoint, fit
from pushforward.training.observers import TIMES, read_log
from pushforward.training.storage import TEMPORARY, read_manifest


@dataclass(frozen=True)
class Batch:
    values: Tensor

    def to(self, device):
        return Batch(self.values.to(device))


class Images:
    """Counted images: as good as any for bits."""

    def __init__(self, count, seed):
        self.values = Draws.of(seed, range(count), "images").normal((1, 8, 8))

    def __len__(self):
        return len(self.values)

    def batch(self, indices):
        return Batch(self.values[indices])


class Denoiser(nn.Module):
    """A small convolutional denoiser with dropout."""

    def __init__(self, width=64):
        super().__init__()
        sizes = [1, width, width, width, 1]
        layers = [nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(sizes)]
        self.layers, self.drop = nn.ModuleList(layers), Dropout(0.1)
        with torch.no_grad():
            for i, p in enumerate(self.parameters()):
                p.copy_(0.05 * Draws.of(0, [i], "init").normal(p.shape)[0])

    def objectives(self):
        return {"loss": self.parameters()}

    def loss(self, objective, batch, draws):
        noise = draws.at("noise").normal_like(batch.values)
        h = batch.values + noise
        for layer in self.layers[:-1]:
            h = self.drop(nn.functional.silu(layer(h)))
        return (self.layers[-1](h) - noise).square().flatten(1).mean(1)


def train(out: Path, steps: int) -> None:
    recipe = Recipe(
        batch_size=16, steps=steps, warmup_steps=10, validate_every=12, validation_batches=1, save_every=3,
        save_seconds=None, log_every=2, device="cpu",
    )  # fmt: skip
    fit(Denoiser(), Images(100, 0), Images(16, 1), recipe, out, {"benchmark": "kill_resume"})


def start(out: Path, steps: int) -> int:
    """Train in a forked process; returns its number."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            train(out, steps)
            status = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(status)
    return child


def killed(out: Path, steps: int, delay: float) -> tuple[int, bool, bool]:
    """Train, kill after `delay` seconds; the last step in the log, whether a save was cut, whether it lived."""
    child = start(out, steps)
    time.sleep(delay)
    ended, status = os.waitpid(child, os.WNOHANG)
    if ended:
        if status:
            raise SystemExit(f"a training failed with status {status}")
        return steps, False, False
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    lines = read_log(out / "metrics.jsonl")
    return (lines[-1]["step"] if lines else 0), any((out / "checkpoints").glob(f"{TEMPORARY}*")), True


def finished(out: Path, steps: int) -> float:
    began = time.perf_counter()
    _, status = os.waitpid(start(out, steps), 0)
    if status:
        raise SystemExit(f"a training failed with status {status}")
    return time.perf_counter() - began


def contents(out: Path) -> dict[str, str]:
    """The hash of every file of tensors of the last checkpoint, and the log without its times."""
    files = read_manifest(find_checkpoint(out, "last").path)
    hashes = {name: entry["blake2b"] for name, entry in files.items() if name.endswith(".safetensors")}
    log = [{k: v for k, v in line.items() if k not in TIMES} for line in read_log(out / "metrics.jsonl")]
    return {**hashes, "metrics.jsonl": json.dumps(log)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0, help="of the instants")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    instants = random.Random(given.seed)
    torch.optim.AdamW([nn.Parameter(torch.zeros(1))])  # imports what takes seconds, once, before the forks
    with tempfile.TemporaryDirectory() as folder:
        whole, cuts = Path(folder, "whole"), [Path(folder, "cut-1")]
        seconds = finished(whole, given.steps)
        rows = []
        while len(rows) < given.kills:
            delay = instants.uniform(0.02, 1.2 * seconds / given.kills + 0.1)
            step, saving, alive = killed(cuts[-1], given.steps, delay)
            if alive:
                rows.append(
                    {"kill": len(rows) + 1, "after_seconds": round(delay, 3), "step": step, "during_save": saving}
                )
            else:  # it came to its end before all the kills were used: the others go to another training
                cuts.append(Path(folder, f"cut-{len(cuts) + 1}"))
        finished(cuts[-1], given.steps)
        expected, found = contents(whole), [contents(cut) for cut in cuts]
    names = set(expected).union(*found)
    different = sorted(name for name in names if any(expected.get(name) != f.get(name) for f in found))
    result = {"kills": len(rows), "during_save": sum(r["during_save"] for r in rows), "runs": len(cuts)}
    result |= {"compared": sorted(expected), "different": different, "rows": rows}
    show(result, given.json)
    return 1 if different else 0


def show(result: dict, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result))
        return
    print("kill  after [s]  step  during a save")
    for row in result["rows"]:
        print(f"{row['kill']:4}  {row['after_seconds']:9.3f}  {row['step']:4}  {'yes' if row['during_save'] else ''}")
    verdict = "all equal" if not result["different"] else f"DIFFERENT: {', '.join(result['different'])}"
    print(f"{result['kills']} kills, {result['during_save']} during a save; {len(result['compared'])} files: {verdict}")


if __name__ == "__main__":
    sys.exit(main())
