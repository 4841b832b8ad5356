"""Error per evaluation: the library's default and tuned samplers against every setting of the peers, in one run.

Exact mixtures on VP and EDM; the distance of samples to the exact endpoint σ → 0 of the probability flow from the same
starts: RMS per coordinate, and of the median sample. A few samples that end in another mode make up most of the RMS
(at 30 evaluations one in some thousands), which is why there are many: 16,384 of aniso8, 65,536 of lowrank64. At each
number of evaluations the best setting of any peer counts, whichever it is there.

    python benchmarks/accuracy/run.py [--environment FOLDER] [--targets aniso8] [--paths VP] [--evaluations 20 …]
        [--quick] [--keep FILE … --parts default tuned] [--cache FOLDER] [--output FILE]

With `--keep` only the parts named are measured, and the others are those that an earlier run has found on the same
starts: the peers' figures do not change when the library does.

The peers live in an environment of their own, created from requirements.txt if there is none.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def enter(folder: Path) -> None:
    """Go on in the peers' environment, with the library and these files importable; creates it the first time."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--no-deps", "-r", HERE / "requirements.txt"], check=True)
    paths = os.pathsep.join(map(str, (ROOT / "src", HERE.parent)))
    quiet = {"HF_HUB_OFFLINE": "1", "DIFFUSERS_VERBOSITY": "error", "PYTHONWARNINGS": "ignore"}
    environment = os.environ | quiet | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    os.execve(python, [str(python), "-m", "accuracy.compare", *sys.argv[1:]], environment)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", type=Path, default=HERE / ".venv", help="of the peers")
    parser.add_argument("--quick", action="store_true", help="512 starts, four budgets, little tuning: two minutes")
    parser.add_argument("--stochastic", action="store_true", help="sliced Wasserstein of the SDE samplers instead")
    parser.add_argument("--targets", nargs="+", help="aniso8, lowrank64 or both")
    parser.add_argument("--paths", nargs="+", help="VP, EDM or both")
    parser.add_argument("--evaluations", nargs="+", help="5, 8, 10, 15, 20, 30, 50 and 100 unless given, or --quick")
    parser.add_argument("--keep", nargs="+", type=Path, help="JSON of earlier runs, for the parts not measured")
    parser.add_argument("--parts", nargs="+", help="peers, default, tuned: what is measured [all]")
    parser.add_argument("--cache", type=Path, help="where the exact endpoints are kept for the next run")
    parser.add_argument("--starts", type=int, help="16,384 of aniso8 and 65,536 of lowrank64 unless given, or --quick")
    parser.add_argument("--output", type=Path, default=None, help="JSON; benchmarks/results/ unless --quick")
    folder = parser.parse_args().environment.resolve()
    enter(folder)


if __name__ == "__main__":
    main()
