"""What each of several processes runs; started by `test_processes.py` through torch.distributed.run."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
from small import Aware, Duel, Points, Small, recipe

from pushforward.cli.leaving import leave
from pushforward.errors import Interrupted, PushforwardError
from pushforward.training import Constant, Observer, Precision, fit
from pushforward.training.place import Place
from pushforward.training.step import Stepper


class StopAt(Observer):
    """The signal reaches one process; all have to stop."""

    def step(self, event):
        if event.step == 9:
            os.kill(os.getpid(), signal.SIGTERM)


def unequal(points: Points) -> None:
    """A part that is measured alone takes as many steps as it likes, whatever the others do."""
    place = Place.find("cpu", Precision.FP32)
    stepper = Stepper(Small(), points, recipe(), replace(place, world=1, rank=0))
    for number in range(1 + 3 * place.rank):
        stepper.step(number, 10)


def main(root: Path) -> None:
    points, held = Points(50), Points(21, 1)
    fit(Small(), points, held, recipe(batch_size=15), root / "whole", {})
    fit(Small(), points, held, recipe(batch_size=15, accumulate=2), root / "accumulated", {})
    fit(Small(), points, None, recipe(batch_size=1, steps=4), root / "one", {})
    fit(Duel(), points, held, recipe(), root / "duel", {})
    fit(Aware(), points, held, recipe(batch_size=15, accumulate=2), root / "aware", {})
    fit(Small(), points, held, recipe(batch_size=15), root / "continued", {})
    try:
        fit(Small(), points, held, recipe(batch_size=15), root / "stopped", {}, observers=[StopAt()])
    except Interrupted as error:
        (root / f"interrupted-{os.environ['RANK']}").write_text(str(error))
    try:
        fit(Small(), points, None, recipe(schedule=Constant()), root / "whole", {})
    except PushforwardError as error:
        (root / f"refused-{os.environ['RANK']}").write_text(str(error))
    unequal(points)
    fit(Small(), points, held, recipe(steps=None, minutes=0.01), root / "minutes", {})


def exchange_late() -> None:
    """A tensor so large that a thread of gloo still lets go of it when the main thread has come to its end."""
    tensor = torch.ones(20_000_000)
    torch.distributed.all_reduce(tensor, async_op=True).wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    exchange_late()
    leave(0)
