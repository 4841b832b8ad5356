"""The command `pushforward`: one table of commands, loaded when they are used, and every error in one sentence.

Nothing here imports torch: the help of every command is there in a fraction of a second.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

from cyclopts import App, CycloptsError, Parameter, convert

from pushforward import __version__
from pushforward.cli.leaving import leave
from pushforward.cli.output import clean
from pushforward.errors import PushforwardError

_HELP = """Generative models of your own data: train once, then sample, evaluate and report.

DATA is `digits` (built in), a folder of images, or a .npy, .npz, .csv, .tsv, .parquet, .txt, .h5, .nii or .dcm file.
RUN is the folder that training has written."""

_EPILOGUE = """Examples:
  pushforward demo
  pushforward train digits --minutes 3
  pushforward train photos/ --out runs/photos
  pushforward sample runs/digits-edm -n 64 -o digits.png
  pushforward train --help

Exit codes: 0 done, 1 failed, 2 wrong input, 3 a number was not finite, 75 interrupted and saved."""

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": (
        "pushforward.cli.demo:demo",
        "pushforward demo\n  pushforward demo --minutes 1 --out runs/quick",
    ),
    "train": (
        "pushforward.cli.train:train",
        "pushforward train digits --minutes 3\n"
        "  pushforward train photos/ --preset flow-matching --steps 20000 --out runs/photos\n"
        "  pushforward train table.csv --label-column kind --set training.batch_size=64\n"
        "  pushforward train table.csv --target price --family card\n"
        "  pushforward train mine.toml --set model.network.width=96\n"
        "  pushforward train text.txt --family discrete --minutes 20\n"
        "  pushforward train new.npz --from runs/photos --steps 2000",
    ),
    "sample": (
        "pushforward.cli.sample:sample",
        "pushforward sample runs/digits-edm -n 64 -o grid.png\n"
        "  pushforward sample runs/digits-edm -n 1000 -o folder_of_images\n"
        "  pushforward sample runs/digits-edm --label 3 --guidance 2\n"
        "  pushforward sample runs/digits-edm --label 3 --guidance 4 --guidance-interval 0.2,5 --threshold 0.995\n"
        "  pushforward sample runs/digits-edm --clip\n"
        "  pushforward sample runs/table -n 500 --sampler ddim --steps 50 -o rows.csv",
    ),
    "edit": (
        "pushforward.cli.edit:edit",
        "pushforward edit runs/digits-edm --data test -n 16 --noise 0.8 --label 3 --guidance 2 -o edited.png",
    ),
    "infill": (
        "pushforward.cli.infill:infill",
        'pushforward infill runs/text --text "To be, or ___ to be" -n 4\n'
        '  pushforward infill runs/text --prompt "Enter " --length 2000 -o more.txt',
    ),
    "evaluate": (
        "pushforward.cli.evaluate:evaluate",
        "pushforward evaluate runs/digits-edm\n  pushforward evaluate runs/digits-edm -n 2000 --json",
    ),
    "report": (
        "pushforward.cli.evaluate:report",
        "pushforward report runs/digits-edm\n  pushforward report runs/digits-edm -o digits.html",
    ),
    "compare": (
        "pushforward.cli.compare:compare",
        "pushforward compare digits\n"
        "  pushforward compare photos/ --family diffusion --family gan --minutes 20 --seeds 2\n"
        "  pushforward compare table.csv --label-column kind --steps 2000 --parameters 50000",
    ),
    "info": (
        "pushforward.cli.info:info",
        "pushforward info runs/digits-edm\n  pushforward info runs/digits-edm --toml > again.toml",
    ),
    "check": (
        "pushforward.cli.check:check",
        "pushforward check photos/\n  pushforward check table.csv --label-column kind",
    ),
    "likelihood": (
        "pushforward.cli.likelihood:likelihood",
        "pushforward likelihood runs/digits-edm -n 100 -o scores.csv\n"
        "  pushforward likelihood runs/table --data more.csv --json",
    ),
    "bound": (
        "pushforward.cli.bound:bound",
        "pushforward bound runs/digits-edm --own-labels\n"
        "  pushforward bound runs/digits-edm --variance fixed-large --steps 1000 -o bound.csv",
    ),
    "encode": (
        "pushforward.cli.encode:encode",
        "pushforward encode runs/digits-edm --data test -o z.npz",
    ),
    "interpolate": (
        "pushforward.cli.encode:interpolate",
        "pushforward interpolate runs/digits-edm --items 0,1 --steps 8 -o strip.png",
    ),
    "simulate": (
        "pushforward.cli.restore:simulate",
        "pushforward simulate runs/digits-edm --operator hidden.toml -n 16 -o measured.npz",
    ),
    "predict": (
        "pushforward.cli.predict:predict",
        "pushforward train table.csv --target price --family card --out runs/price\n"
        "  pushforward predict runs/price new.csv -o out.csv\n"
        "  pushforward predict runs/price new.csv --quantile 0.1 --quantile 0.9 --draws -o out.npz",
    ),
    "restore": (
        "pushforward.cli.restore:restore",
        "pushforward restore runs/digits-edm --operator hidden.toml --measurement measured.npz\n"
        "  pushforward restore runs/photos --operator blur.toml --measurement blurred.png --method ddrm --samples 8\n"
        "hidden.toml:\n"
        '  operator = { kind = "mask", hidden = [4, 0, 4, 8] }   # top, left, height, width\n'
        "  noise = { sigma = 0.5 }                              # in the units of the data",
    ),
    "calibrate": (
        "pushforward.cli.calibrate:calibrate",
        "pushforward calibrate runs/digits-edm --operator hidden.toml\n"
        "  pushforward calibrate runs/photos --operator blur.toml --method exact -n 200",
    ),
    "brain": (
        "pushforward.cli.brain:brain",
        "pushforward brain trials.npz --run runs/photos\n"
        "  pushforward brain digits.mat --run runs/sixes --columns --label 1=6 --label 2=9 --exact\n"
        "  pushforward brain bold.nii.gz --mask visual.nii.gz --stimuli seen.npz --run runs/photos --latent-voxels 1",
    ),
    "tune": (
        "pushforward.cli.tune:tune",
        "pushforward tune runs/digits-edm --evaluations 8\n  pushforward sample runs/digits-edm --steps 8 -o fast.png",
    ),
    "tsp": (
        "pushforward.cli.tsp:TSP",
        "pushforward tsp solve cities.csv -o tour.csv\n"
        "  pushforward tsp train --cities 20 --minutes 30\n"
        "  pushforward tsp solve cities.csv --run runs/tours20-graph -o tour.png",
    ),
    "verify": (
        "pushforward.cli.verify:verify",
        "pushforward verify\n  pushforward verify --only T08 --json\n  pushforward verify --plot orders.html",
    ),
    "doctor": ("pushforward.cli.doctor:doctor", "pushforward doctor\n  pushforward doctor --json"),
}
"""Name -> (where it is, its examples)."""


def app() -> App:
    """The commands as Cyclopts sees them; errors are raised, never printed or exited on."""
    root = App(
        name="pushforward",
        default_parameter=Parameter(converter=_strictly),
        help=_HELP,
        help_epilogue=_EPILOGUE,
        version=__version__,
        help_format="plaintext",
        print_error=False,
        exit_on_error=False,
        help_on_error=False,
        verbose=False,
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    for flag in ("--help", "--version"):
        root[flag].group = "Options"
    for name, (where, examples) in COMMANDS.items():
        module, _, function = where.partition(":")
        command, order = getattr(import_module(module), function), list(COMMANDS).index(name)
        epilogue = f"Examples:\n  {examples}"
        if isinstance(command, App):  # a group of commands
            command.help_epilogue, command.sort_key = epilogue, order
            root.command(command, name=name)
        else:
            root.command(command, name=name, help_epilogue=epilogue, sort_key=order)
    return root


def _strictly(type_: Any, tokens: Sequence[Any]) -> Any:
    """As Cyclopts reads them, but that `--steps 2.5` is refused instead of rounded."""
    return convert(type_, tokens, converter=_one)


def _one(type_: Any, text: str) -> Any:
    if type_ is int and "." in text:
        raise ValueError(f"{text} is no whole number")
    return convert(type_, (text,))


def run() -> NoReturn:
    """What the program is: the command line, then the end of the process with its exit code."""
    leave(main())


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code. Errors are one sentence, `error: …`, on the standard error."""
    tokens = [str(token) for token in (sys.argv[1:] if argv is None else argv)]
    try:
        code = app()(tokens)
        sys.stdout.flush()
    except BrokenPipeError:  # `pushforward info RUN | head`: the reader has seen enough
        _close_stdout()
        return 141
    except KeyboardInterrupt:
        return _fail(tokens, "stopped", 130)
    except CycloptsError as error:
        return _fail(tokens, f"{_sentence(error)} (`{_help_for(tokens)}` shows what is possible)", 2)
    except PushforwardError as error:
        return _fail(tokens, str(error), error.exit_code)
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        return _fail(tokens, f"{what}{error.strerror or error}", 1)
    except Exception as error:
        return _fail(tokens, _unexpected(error), 1)
    return code if isinstance(code, int) else 0  # a command that ran may have found that something is not right


def _fail(tokens: Sequence[str], sentence: str, code: int) -> int:
    """Say what is wrong, as JSON too where it was asked for, with the traceback where it was asked for."""
    if "--debug" in tokens:
        traceback.print_exc()
    sentence = clean(" ".join(sentence.split()))
    if "--json" in tokens:
        print(json.dumps({"error": sentence, "exit_code": code}), flush=True)
    word = "interrupted" if code == 75 else "error"
    print(sentence if sentence.lower().startswith(word) else f"{word}: {sentence}", file=sys.stderr, flush=True)
    return code


def _unexpected(error: Exception) -> str:
    words = ("can't allocate memory", "not enough memory", "out of memory")
    if isinstance(error, MemoryError) or any(word in str(error).lower() for word in words):
        return (
            "there is not enough memory for this: compute less at once (training.batch_size, training.accumulate, or "
            "--batch-size), or take a smaller network (model.network.width)"
        )
    return f"unexpected {type(error).__name__}: {error}. This is a fault of pushforward; --debug shows where"


def _sentence(error: CycloptsError) -> str:
    error.verbose = False
    unused = getattr(error, "unused_tokens", None)
    if type(error).__name__ == "UnusedCliTokensError" and unused:
        return f"{' '.join(map(str, unused))!r} was not expected here"
    return str(error).strip().rstrip(".") or "this command line cannot be read"


def _help_for(tokens: Sequence[str]) -> str:
    known = [token for token in tokens[:1] if token in COMMANDS]
    return " ".join(["pushforward", *known, "--help"])


def _close_stdout() -> None:
    """Python flushes once more at its end; that must not fail again."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
