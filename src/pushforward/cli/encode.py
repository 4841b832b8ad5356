"""`pushforward encode` and `pushforward interpolate`: the latent space of a run."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from pushforward.cli.bar import Bar
from pushforward.cli.likelihood import SOURCE
from pushforward.cli.options import Device, Folder, Which
from pushforward.cli.output import DEFAULT, Common
from pushforward.errors import UserError

if TYPE_CHECKING:
    from pushforward.models.generator import Samples

Data = Annotated[str, Parameter(help=SOURCE)]
Evaluations = Annotated[int | None, Parameter(help="of a denoiser's network per item, each way [100]")]
Label = Annotated[str | None, Parameter(help="a class that the model is given [none]")]


def encode(
    run: Folder,
    /,
    *,
    data: Data = "test",
    out: Annotated[Path, Parameter(name=("--out", "-o"), help="an .npz file: z, and y where there are classes")],
    number: Annotated[int | None, Parameter(name=("-n", "--number"), help="the first so many items [all]")] = None,
    evaluations: Evaluations = None,
    label: Label = None,
    which: Which = "best",
    device: Device = None,
    common: Common = DEFAULT,
) -> None:
    """Encode data as latents: standard normal numbers of the probability flow, or the latents of a flow or a VAE."""
    from pushforward import api

    if out.suffix.lower() != ".npz":
        raise UserError(f"latents are written as .npz; got {out}")
    found = common.opened(api.load(run, which=which, device=device))
    with Bar(common, "encoding") as bar:
        latents, rows = api.encode(found, data, number=number, label=label, evaluations=evaluations, progress=bar)
    arrays = {"z": latents}
    if rows.labels is not None and found.format.labels is not None:
        arrays["y"] = found.format.labels.decode(rows.labels.numpy())
    _write(arrays, out)
    values = {"out": out, "number": len(latents), "shape": list(latents.shape)}
    if latents.dtype.kind == "i":
        used = len(set(latents.ravel().tolist()))
        common.result({**values, "used": used}, f"{len(latents)} maps of codes, {used} different codes: {out}")
        return
    mean, deviation = float(latents.mean()), float(latents.std())
    common.result(
        {**values, "mean": mean, "deviation": deviation},
        f"{len(latents)} latents of mean {mean:.3f} and deviation {deviation:.3f} (the model's: 0 and 1): {out}",
    )


def interpolate(
    run: Folder,
    /,
    *,
    data: Data = "test",
    items: Annotated[str, Parameter(help="the two ends, by their numbers")] = "0,1",
    steps: Annotated[int, Parameter(help="how many samples, the two ends among them")] = 8,
    out: Annotated[
        Path | None, Parameter(name=("--out", "-o"), help="a strip .png, or what `sample` writes [in the run]")
    ] = None,
    evaluations: Evaluations = None,
    label: Label = None,
    which: Which = "best",
    device: Device = None,
    common: Common = DEFAULT,
) -> None:
    """Go from one item to another through the latent space of the run's model."""
    from pushforward import api
    from pushforward.cli.sample import default_suffix
    from pushforward.data.save import check_name

    ends = _numbers(items)
    found = common.opened(api.load(run, which=which, device=device))
    out = out or found.home / f"interpolation{default_suffix(found)}"
    check_name(out, found.format)
    samples = api.interpolate(found, data, items=ends, steps=steps, label=label, evaluations=evaluations)
    path = _save(samples, out)
    common.result({"out": path, "items": list(ends), "steps": steps}, f"{steps} samples from {items}: {path}")


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"items are two numbers, such as 0,1; got {text!r}") from None


def _save(samples: Samples, path: Path) -> Path:
    """As `sample` does, but a .png is one row."""
    from PIL import Image

    from pushforward.data.atomic import write_file
    from pushforward.data.pixels import Pixels
    from pushforward.data.save import grid, image_array

    coding = samples.format.coding
    if path.suffix.lower() != ".png" or not isinstance(coding, Pixels):
        return samples.save(path)
    strip = Image.fromarray(grid(image_array(samples.values, coding), columns=len(samples)))
    write_file(path, strip.save)
    return path


def _write(arrays: dict[str, Any], path: Path) -> None:
    from pushforward.data.atomic import write_file

    write_file(path, partial(_write_npz, arrays))


def _write_npz(arrays: dict[str, Any], path: Path) -> None:
    import numpy as np

    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)
