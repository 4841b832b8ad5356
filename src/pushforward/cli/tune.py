"""`pushforward tune`: fit the sampler's times and coefficients to one model."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from pushforward.cli.bar import Bar
from pushforward.cli.options import Device, Folder, Which
from pushforward.cli.output import DEFAULT, Common, quoted


def tune(
    run: Folder,
    /,
    *,
    evaluations: Annotated[int, Parameter(name=("--evaluations", "--steps"), help="of the network per sample")] = 8,
    effort: Annotated[float, Parameter(help="share of the starts, steps and batch that an exact model gets")] = 0.125,
    seed: Annotated[int, Parameter(help="of the starts")] = 0,
    which: Which = "best",
    device: Device = None,
    common: Common = DEFAULT,
) -> None:
    """Fit times and coefficients of a sampler of so many evaluations to this model, and use it where it helps.

    Stored beside the checkpoints and taken by `sample --steps` of the same number, as long as the weights are the same.
    """
    from pushforward import api

    found = common.opened(api.load(run, which=which, device=device))
    with Bar(common, "tuning", None) as bar:
        result, path = api.tune(
            found,
            evaluations,
            effort=api.effort_of(effort),
            seed=seed,
            progress=lambda done, total, left: bar(int(done), int(total)),
        )
    values = {
        "run": run,
        "evaluations": evaluations,
        "helps": path is not None,
        "reason": result.reason,
        "tuned": result.tuned._asdict(),
        "default": result.default._asdict(),
        "out": path,
    }
    lines = [f"{'distance to the reference':<28}{'tuned':>12}{'default':>12}"]
    for name, ours, usual in zip(result.tuned._fields, result.tuned, result.default, strict=True):
        lines.append(f"{name:<28}{ours:>12.3g}{usual:>12.3g}")
    if path is None:
        lines.append(f"not stored: {result.reason}")
    else:
        lines.append(f"it is used from now on by `pushforward sample {quoted(run)} --steps {evaluations}`: {path}")
    common.result(values, *lines)
