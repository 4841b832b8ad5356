"""`pushforward simulate` and `pushforward restore`: measurements of true data, and what a run's model makes of them."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from pushforward.cli.likelihood import SOURCE
from pushforward.cli.output import DEFAULT, Common
from pushforward.cli.sample import Bar
from pushforward.config.methods import METHODS, USUAL_METHOD
from pushforward.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from pushforward.config.restoring import Restored
    from pushforward.data.format import Format

Folder = Annotated[Path, Parameter(name="RUN", help="the folder of a run")]
OperatorFile = Annotated[Path, Parameter(name="--operator", help="a .toml file: what was measured, with which noise")]
_ROWS, _DRAWS = 8, 4
"""Items and draws that the picture shows at most."""


def simulate(
    run: Folder,
    /,
    *,
    operator: OperatorFile,
    out: Annotated[Path, Parameter(name=("--out", "-o"), help="an .npz file: y, and x, the true items")],
    data: Annotated[str, Parameter(help=SOURCE)] = "test",
    number: Annotated[int, Parameter(name=("-n", "--number"), help="the first so many items")] = 8,
    seed: Annotated[int, Parameter(help="of the noise")] = 0,
    common: Common = DEFAULT,
) -> None:
    """Measure true data as an operator file says, noise included, to see what restoring it would give."""
    from pushforward import api
    from pushforward.config.operators import read_measurement

    _check_suffix(out, (".npz",))
    found = common.opened(api.load(run))
    config = read_measurement(operator)
    y, rows = api.simulate(found, config, operator.parent, data, number, seed)
    _write(out, {"y": y.numpy(), "x": found.format.decode(rows.x)})
    shape = list(y.shape)
    common.result({"out": out, "items": len(y), "shape": shape}, f"{len(y)} measurements of shape {shape[1:]}: {out}")


def restore(
    run: Folder,
    /,
    *,
    operator: OperatorFile,
    measurement: Annotated[Path, Parameter(help="an .npz with y (and x, the truth, if known), a .npy, or an image")],
    method: Annotated[str, Parameter(help=", ".join(METHODS))] = USUAL_METHOD,
    samples: Annotated[int, Parameter(help="draws of the posterior of each item")] = 16,
    evaluations: Annotated[int | None, Parameter(help="of the network per draw [what suits the method]")] = None,
    label: Annotated[str | None, Parameter(help="a class that the items are of [none]")] = None,
    guidance: Annotated[float, Parameter(help="weight towards the label; 1 is none")] = 1.0,
    seed: Annotated[int, Parameter(help="of the draws")] = 0,
    out: Annotated[Path | None, Parameter(name=("--out", "-o"), help="a folder [RUN/restored]")] = None,
    which: Annotated[str, Parameter(help="which checkpoint: best or last")] = "best",
    device: Annotated[str | None, Parameter(help="cpu, cuda, cuda:1, mps … [the fastest]")] = None,
    batch_size: Annotated[int, Parameter(help="draws computed at once")] = 256,
    common: Common = DEFAULT,
) -> None:
    """Restore what was measured: draws of the posterior, their mean, and how sure the model is of each value.

    Writes the estimate in the form of the data, samples.npz, restoration.json and, for images, a picture.
    """
    from pushforward import api
    from pushforward.config.operators import read_measurement
    from pushforward.report.contenders import write_json

    if samples < 1:
        raise UserError(f"the number of samples must be at least 1; got {samples}")
    found = common.opened(api.load(run, which=which, device=device))
    config = read_measurement(operator)
    y, truth = _read(measurement)
    with Bar(common, "restoring") as bar:
        restored = api.restore(
            found,
            config,
            operator.parent,
            y,
            method=method,
            samples=samples,
            evaluations=evaluations,
            label=label,
            guidance=guidance,
            seed=seed,
            batch_size=batch_size,
            progress=bar,
        )
    out = out or found.home / "restored"
    out.mkdir(parents=True, exist_ok=True)
    image = len(found.format.shape) == 3
    restored.estimate.save(out / ("estimate.png" if image else "estimate.csv"))
    arrays = {"samples": restored.samples, "mean": restored.mean, "deviation": restored.deviation}
    _write(out / "samples.npz", arrays)
    values = _values(restored, found.format, truth) | {"method": method, "samples": samples, "out": out, "seed": seed}
    write_json(out / "restoration.json", {name: str(v) if isinstance(v, Path) else v for name, v in values.items()})
    if image:
        _picture(restored, found.format, y, truth, out / "restored.png")
    common.result(values, *_lines(values))


def _read(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """y, and x where it is there."""
    import numpy as np

    try:
        if path.suffix.lower() == ".npz":
            with np.load(path, allow_pickle=False) as stored:
                if "y" not in stored:
                    raise UserError(
                        f"{path} holds {', '.join(stored.files) or 'nothing'}; expected the measurement as y"
                    )
                return stored["y"], dict(stored).get("x")
        if path.suffix.lower() == ".npy":
            return np.load(path, allow_pickle=False), None
        from PIL import Image

        with Image.open(path) as image:
            array = np.asarray(image)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as an .npz, a .npy or an image: {error}") from None
    return array.transpose(2, 0, 1) if array.ndim == 3 else array, None


def _values(restored: Restored, form: Format, truth: np.ndarray | None) -> dict[str, Any]:
    import numpy as np

    values: dict[str, Any] = {
        "items": restored.mean.shape[0],
        "deviation": float(np.sqrt(np.mean(np.square(restored.deviation)))),
        "chi2": None if restored.chi2 is None else float(restored.chi2.mean()),
        "evaluations": restored.evaluations,
        "seconds": round(restored.seconds, 3),
    }
    if truth is not None and truth.shape == restored.estimate.values.shape:
        from pushforward.inverse.operators.units import Affine

        x = Affine.of(form)(form.encode(truth).double()).numpy()
        error = float(np.sqrt(np.mean(np.square(restored.mean - x))))
        span = float(x.max() - x.min()) or 1.0
        values |= {"error": error, "psnr": 20 * math.log10(span / error) if error > 0 else math.inf}
    return values


def _lines(values: dict[str, Any]) -> list[str]:
    lines = [
        f"{values['items']} items, {values['samples']} draws of each by {values['method']} with "
        f"{values['evaluations']:g} evaluations, {values['seconds']:g} s",
        f"deviation of the draws {values['deviation']:.4g}, root mean square over all values, in the data's units",
    ]
    if values["chi2"] is not None:
        lines.append(f"χ² per measurement {values['chi2']:.3g}: near 1 where the draws explain what was measured")
    if "error" in values:
        lines.append(f"error of the mean {values['error']:.4g} against the true items, PSNR {values['psnr']:.2f} dB")
    return [*lines, f"written to {values['out']}"]


def _picture(restored: Restored, form: Format, y: np.ndarray, truth: np.ndarray | None, path: Path) -> None:
    """Rows of items: the truth and the measurement where they are images, draws, mean and deviation."""
    import numpy as np
    import torch

    from pushforward.data.atomic import write_file
    from pushforward.report.pictures import filmstrip
    from pushforward.report.tiles import Tiler, coloured

    tiler, items = Tiler(form), min(_ROWS, restored.mean.shape[0])

    def shown(values: np.ndarray) -> np.ndarray:
        flat = torch.from_numpy(np.asarray(values, dtype=np.float64)[:items])
        return coloured(tiler.of_values(form.decode(_in_units(flat, form))))

    columns = {}
    if truth is not None and truth.shape == restored.estimate.values.shape:
        columns["truth"] = coloured(tiler.of_values(truth[:items]))
    seen = (
        np.asarray(y).reshape(-1, *np.asarray(y).shape[-3:]) if np.asarray(y).ndim >= 3 else np.asarray(y)[None, None]
    )
    if not np.iscomplexobj(seen) and seen.shape[1:] == restored.mean.shape[1:]:
        columns["seen"] = shown(np.nan_to_num(seen))
    for k in range(min(_DRAWS, len(restored.samples))):
        columns[f"draw {k + 1}"] = shown(restored.samples[k])
    columns["mean"] = shown(restored.mean)
    if len(restored.samples) > 1:
        columns["± sd"] = coloured(tiler.of_deviation(torch.from_numpy(restored.deviation[:items])))
    strip = filmstrip(np.stack(list(columns.values()), 1), list(columns), None, (0.0, 255.0), tiler.size)
    write_file(path, strip.save)


def _in_units(values: Any, form: Format) -> Any:
    from pushforward.inverse.operators.units import Affine

    return Affine.of(form).pseudo_inverse(values)


def _check_suffix(path: Path, possible: tuple[str, ...]) -> None:
    if path.suffix.lower() not in possible:
        raise UserError(f"measurements are written as {' or '.join(possible)}; got {path}")


def _write(path: Path, arrays: dict[str, Any]) -> None:
    from pushforward.data.atomic import write_file

    write_file(path, partial(_write_npz, arrays))


def _write_npz(arrays: dict[str, Any], path: Path) -> None:
    import numpy as np

    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)
