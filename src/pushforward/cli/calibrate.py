"""`pushforward calibrate`: is the uncertainty of restorations right, and what makes it right?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pushforward.cli.bar import Bar
from pushforward.cli.options import SOURCE, Device, Folder, Which
from pushforward.cli.output import DEFAULT, Common
from pushforward.cli.restore import OperatorFile, RunCode
from pushforward.config.methods import METHODS, USUAL_METHOD


def calibrate(
    run: Folder,
    /,
    *,
    operator: OperatorFile,
    run_code: RunCode = False,
    data: Annotated[str, Parameter(help=SOURCE)] = "test",
    method: Annotated[str, Parameter(help=", ".join(METHODS))] = USUAL_METHOD,
    number: Annotated[int, Parameter(name=("-n", "--number"), help="items, simulated and true ones each")] = 100,
    samples: Annotated[int, Parameter(help="draws of the posterior of each item")] = 39,
    evaluations: Annotated[int | None, Parameter(help="of the network per draw [what suits the method]")] = None,
    label: Annotated[
        str | None, Parameter(help="a class that the items are of; true ones of it are taken [none]")
    ] = None,
    guidance: Annotated[float, Parameter(help="weight towards the label; 1 is none")] = 1.0,
    seed: Annotated[int, Parameter(help="of the items, their noise and the draws")] = 0,
    out: Annotated[Path | None, Parameter(name=("--out", "-o"), help="a folder [RUN/calibration]")] = None,
    which: Which = "best",
    device: Device = None,
    batch_size: Annotated[int, Parameter(help="draws computed at once")] = 256,
    common: Common = DEFAULT,
) -> None:
    """Measure whether draws of restorations are those of the posterior, on the model's own items and on true ones.

    Writes calibration.html and calibration.json: ranks, coverage, residuals, whether the model's levels of noise agree,
    and the scale that makes intervals right.
    """
    from pushforward import api
    from pushforward.config.operators import read_measurement
    from pushforward.data.atomic import write_file
    from pushforward.report.calibration_page import calibration_page, calibration_values
    from pushforward.report.contenders import write_json

    found = common.opened(api.load(run, which=which, device=device))
    config = read_measurement(operator, run_code=run_code)
    with Bar(common, "calibrating") as bar:
        told = api.calibrate(
            found,
            config,
            operator.parent,
            method=method,
            source=data,
            items=number,
            samples=samples,
            evaluations=evaluations,
            label=label,
            guidance=guidance,
            seed=seed,
            batch_size=batch_size,
            progress=bar,
        )
    out = out or found.home / "calibration"
    out.mkdir(parents=True, exist_ok=True)
    page = calibration_page(told, f"{found.home.name}, {operator.name}")
    write_file(out / "calibration.html", lambda path: path.write_text(page.render(), encoding="utf-8"))
    values = calibration_values(told)
    write_json(out / "calibration.json", values)
    common.result(
        values | {"out": str(out)},
        page.verdict.text,
        f"90 % intervals hold {told.drawn.curve.at(0.9):.1%} of the model's items and {told.true.curve.at(0.9):.1%} of "
        f"true ones; {told.scale.scale:.3g} deviations to either side hold {told.held:.1%} of true ones",
        f"written to {out}",
    )
