"""What starting costs: the import against torch's own, the help page against half a second.

Each program is started in a new interpreter, in turns, so that whatever else the machine does falls on all alike; the
medians are compared. Processor time (user + system, of the child alone) is printed beside wall time: on a busy machine
it is the steadier of the two.

    python benchmarks/startup.py [--repeats 11]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

IMPORT_RATIO = 1.3
HELP_SECONDS = 0.5
COMMAND = str(Path(sys.executable).with_name("pushforward"))
PROGRAMS = {
    "python (nothing)": [sys.executable, "-c", "pass"],
    "import torch": [sys.executable, "-c", "import torch"],
    "import pushforward": [sys.executable, "-c", "import pushforward"],
    "pushforward.fit": [sys.executable, "-c", "import pushforward; pushforward.fit"],
    "pushforward --help": [COMMAND, "--help"],
}


@dataclass(frozen=True)
class Cost:
    """Seconds of one start."""

    wall: float
    processor: float


def start(command: list[str]) -> Cost:
    before, begin = os.times(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - begin, os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(wall, spent)


def measure(repeats: int) -> dict[str, Cost]:
    """Medians over `repeats` rounds of all programs; one round before them fills the caches and is not counted."""
    rounds = [{name: start(command) for name, command in PROGRAMS.items()} for _ in range(repeats + 1)][1:]
    return {
        name: Cost(
            statistics.median(one[name].wall for one in rounds),
            statistics.median(one[name].processor for one in rounds),
        )
        for name in PROGRAMS
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=11)
    costs = measure(parser.parse_args().repeats)
    torch = costs["import torch"]
    print("| start | wall s | CPU s | wall / torch | CPU / torch |\n|---|---|---|---|---|")
    for name, cost in costs.items():
        ratios = f"{cost.wall / torch.wall:.2f} | {cost.processor / torch.processor:.2f}"
        print(f"| {name} | {cost.wall:.2f} | {cost.processor:.2f} | {ratios} |")
    bounds = {
        f"import pushforward <= {IMPORT_RATIO} x import torch": costs["import pushforward"].wall
        <= IMPORT_RATIO * torch.wall,
        f"pushforward.fit <= {IMPORT_RATIO} x import torch": costs["pushforward.fit"].wall <= IMPORT_RATIO * torch.wall,
        f"pushforward --help <= {HELP_SECONDS} s": costs["pushforward --help"].wall <= HELP_SECONDS,
    }
    print()
    for bound, kept in bounds.items():
        print(f"{'ok  ' if kept else 'MISS'}  {bound}")
    return 0 if all(bounds.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
