"""`pushforward edit`: items of the user's, noised and drawn again from there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pushforward.cli.options import SOURCE, Device, Which
from pushforward.cli.output import DEFAULT, Common


def edit(
    run: Annotated[Path, Parameter(name="RUN", help="the folder of a run of a denoiser")],
    /,
    *,
    data: Annotated[str, Parameter(help=SOURCE)] = "test",
    noise: Annotated[float, Parameter(help="σ/α where drawing begins: what is coarser is kept")] = 1.0,
    number: Annotated[int | None, Parameter(name=("-n", "--number"), help="the first so many items")] = 8,
    label: Annotated[str | None, Parameter(help="a class that all of them become [each its own]")] = None,
    guidance: Annotated[float, Parameter(help="weight towards the label; 1 is none")] = 1.0,
    conditions: Annotated[
        Path | None, Parameter(help="an .npz or .h5 with vector, tokens or image, one entry per item [told nothing]")
    ] = None,
    steps: Annotated[int | None, Parameter(help="evaluations of the network per item [20]")] = None,
    seed: Annotated[int, Parameter(help="of the draws")] = 0,
    out: Annotated[Path | None, Parameter(name=("--out", "-o"), help="what `sample` writes [in the run]")] = None,
    which: Which = "best",
    device: Device = None,
    common: Common = DEFAULT,
) -> None:
    """Change items: noise is added to each and the model draws from there, towards a class if one is given (SDEdit)."""
    from pushforward import api
    from pushforward.cli.sample import default_suffix, told
    from pushforward.data.save import check_name

    found = told(common.opened(api.load(run, which=which, device=device)), conditions)
    out = out or found.home / f"edited{default_suffix(found)}"
    check_name(out, found.format)
    samples = api.edit(found, data, noise=noise, number=number, label=label, guidance=guidance, steps=steps, seed=seed)
    path = samples.save(out)
    values = {"out": path, "number": len(samples), "shape": list(samples.values.shape), "noise": noise, "seed": seed}
    common.result(values, f"{len(samples)} items drawn again from noise {noise:g}: {path}")
