"""`pushforward simulate` and `pushforward restore`: measurements of true data, and what a run's model makes of them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from pushforward.cli.bar import Bar
from pushforward.cli.options import SOURCE, Device, Folder, Which
from pushforward.cli.output import DEFAULT, Common
from pushforward.cli.sample import told
from pushforward.config.methods import METHODS, USUAL_METHOD
from pushforward.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from pushforward.config.operator_schema import MeasurementConfig
    from pushforward.config.restoring import Restored
    from pushforward.config.run import Run
    from pushforward.data.format import Format

OperatorFile = Annotated[Path, Parameter(name="--operator", help="a .toml file: what was measured, with which noise")]
RunCode = Annotated[
    bool, Parameter(negative=(), show_default=False, help="let the operator file run Python code that it names")
]


def simulate(
    run: Folder,
    /,
    *,
    operator: OperatorFile,
    run_code: RunCode = False,
    out: Annotated[Path, Parameter(name=("--out", "-o"), help="an .npz or .h5 file: y, and x, the true items")],
    data: Annotated[str, Parameter(help=SOURCE)] = "test",
    number: Annotated[int, Parameter(name=("-n", "--number"), help="the first so many items")] = 8,
    seed: Annotated[int, Parameter(help="of the noise")] = 0,
    common: Common = DEFAULT,
) -> None:
    """Measure true data as an operator file says, noise included, to see what restoring it would give."""
    from pushforward import api
    from pushforward.cli.restored import write_arrays
    from pushforward.config.operators import read_measurement

    if out.suffix.lower() not in (".npz", ".h5", ".hdf5"):
        raise UserError(f"measurements are written as .npz or .h5; got {out}")
    found = common.opened(api.load(run))
    config = read_measurement(operator, run_code=run_code)
    y, rows = api.simulate(found, config, operator.parent, data, number, seed)
    arrays = {"y": y.numpy(), "x": found.format.decode(rows.x)}
    write_arrays(out, arrays)
    shape = list(y.shape)
    common.result({"out": out, "items": len(y), "shape": shape}, f"{len(y)} measurements of shape {shape[1:]}: {out}")


def restore(
    run: Folder,
    /,
    *,
    operator: OperatorFile,
    run_code: RunCode = False,
    measurement: Annotated[
        Path,
        Parameter(help="an .npz or .h5 with y (and x, the truth, if known), .npy, ISMRMRD .h5, .nii, .dcm or an image"),
    ],
    method: Annotated[str | None, Parameter(help=f"{', '.join(METHODS)} [recommended]")] = None,
    samples: Annotated[int, Parameter(help="draws of the posterior of each item")] = 16,
    evaluations: Annotated[int | None, Parameter(help="of the network per draw [what suits the method]")] = None,
    label: Annotated[str | None, Parameter(help="a class that the items are of [none]")] = None,
    guidance: Annotated[float, Parameter(help="weight towards the label; 1 is none")] = 1.0,
    conditions: Annotated[
        Path | None, Parameter(help="an .npz or .h5 with vector, tokens or image, one entry per item [told nothing]")
    ] = None,
    seed: Annotated[int, Parameter(help="of the draws")] = 0,
    out: Annotated[Path | None, Parameter(name=("--out", "-o"), help="a folder [RUN/restored]")] = None,
    which: Which = "best",
    device: Device = None,
    batch_size: Annotated[int, Parameter(help="draws computed at once")] = 256,
    common: Common = DEFAULT,
) -> None:
    """Restore what was measured: draws of the posterior, their mean, and how sure the model is of each value.

    Without --method and --evaluations, exact methods are tried on measurements simulated from the model, the cheaper
    one first; the first whose uncertainty is right is taken, and remembered in RUN/recommended.json.

    Writes the estimate in the form of the data (beside that in the form of the measurement, for .nii and .dcm),
    samples.npz, restoration.json and, for images, the deviation map and a picture of all.
    """
    from pushforward import api
    from pushforward.cli.restored import write_restored
    from pushforward.config.noise import ESTIMATING
    from pushforward.config.operators import read_measurement
    from pushforward.data.measured import read_measured
    from pushforward.models.denoising import LatentGenerator

    if samples < 1:
        raise UserError(f"the number of samples must be at least 1; got {samples}")
    if out is not None and out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file, and a folder is written: give another name to --out")
    found = told(common.opened(api.load(run, which=which, device=device)), conditions)
    config, measured = read_measurement(operator, run_code=run_code), read_measured(measurement)
    if measured.noise is not None:
        common.say(f"lines without a signal have the deviation {measured.noise:.4g} in each of their two parts")
    if config.noise.kind == "gaussian" and config.noise.sigma == 0.0:
        common.say("the measurement is taken to be free of noise: if it is not, say noise = { sigma = … }")
    if config.noise.unknown and method is None:
        method = ESTIMATING
        common.say(f"the noise level is estimated with the items, by the method {ESTIMATING}")
    if guidance != 1.0 and (label is not None or conditions is not None):
        common.say(
            f"a guidance of {guidance:g} follows no law that the model learned: the draws are no posterior, and "
            "their spread is not to be trusted"
        )
    if method is None and isinstance(found.generator, LatentGenerator):
        common.say(
            "restored through the decoder by guidance, an approximation whose uncertainty is not to be trusted as it "
            f"is: --method {ESTIMATING} draws from the posterior of the latent"
        )
    elif method is None and evaluations is None:
        api.checked_likelihood(found, config, operator.parent, measured.y, measured.mask)  # before any work is done
        method, evaluations = _recommended(found, config, operator.parent, label, guidance, batch_size, common)
    method = method or USUAL_METHOD
    with Bar(common, "restoring") as bar:
        restored = api.restore(
            found,
            config,
            operator.parent,
            measured.y,
            mask=measured.mask,
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
    truth = _truth(measured.x, restored, common)
    values = _values(restored, found.format, truth) | {"method": method, "samples": samples, "out": out}
    values |= {"seed": seed, "noise_lines": measured.noise, "label": label, "guidance": guidance}
    values |= {"operator": operator, "measurement": measurement}
    write_restored(restored, found.format, replace(measured, x=truth), measurement, values)
    common.result(values, *_lines(values))


def _recommended(
    run: Run, config: MeasurementConfig, folder: Path, label: str | None, guidance: float, at_once: int, common: Common
) -> tuple[str, int | None]:
    """The method and its evaluations, after saying why."""
    from pushforward import api

    with Bar(common, "recommending") as bar:
        advice = api.recommended(run, config, folder, label=label, guidance=guidance, batch_size=at_once, progress=bar)
    common.say(advice.reason)
    return advice.name, advice.evaluations


def _truth(x: np.ndarray | None, restored: Restored, common: Common) -> np.ndarray | None:
    """x of the measurement's file where it can be compared with; else None, and said why."""
    import numpy as np

    if x is None:
        return None
    wanted = restored.estimate.values.shape
    if x.shape != wanted:
        common.say(f"x in the file has the shape {x.shape}, and items here {wanted}: it is not compared with")
        return None
    if x.dtype.kind not in "biuf" or not np.isfinite(x).all():
        common.say("x in the file holds what is no finite number: it is not compared with")
        return None
    return x


def _values(restored: Restored, form: Format, truth: np.ndarray | None) -> dict[str, Any]:
    import numpy as np

    values: dict[str, Any] = {
        "items": restored.mean.shape[0],
        "deviation": float(np.sqrt(np.mean(np.square(restored.deviation)))),
        "chi2": None if restored.chi2 is None else float(restored.chi2.mean()),
        "mixing": None if restored.mixing is None else float(restored.mixing.max()),
        "effective": None if restored.effective is None else float(restored.effective.min()),
        "evaluations": restored.evaluations,
        "seconds": round(restored.seconds, 3),
        "first_stage": restored.first_stage,
        "noise": None if restored.noise is None else _noise_levels(restored.noise),
    }
    if truth is not None:
        from pushforward.inverse.operators.units import Affine

        x = Affine.of(form)(form.encode(truth).double()).numpy()
        error = float(np.sqrt(np.mean(np.square(restored.mean - x))))
        span = float(x.max() - x.min()) or 1.0
        values |= {"error": error, "psnr": 20 * math.log10(span / error) if error > 0 else math.inf}
    return values


def _noise_levels(noise: np.ndarray) -> dict[str, list[float]]:
    """Of draws (S, N) of σ, for each item: the median, and the ends of the 90 % interval where draws suffice for it."""
    import torch

    from pushforward.posterior.quantiles import order_quantile

    ends = {"median": 0.5} | ({"low": 0.05, "high": 0.95} if len(noise) >= 19 else {})
    drawn = torch.from_numpy(noise)
    return {name: order_quantile(drawn, q).tolist() for name, q in ends.items()}


def _noise_line(levels: dict[str, list[float]]) -> str:
    shown = [f"{level:.3g}" for level in levels["median"][:8]]
    if "low" in levels:
        ends = zip(shown, levels["low"], levels["high"], strict=False)
        shown = [f"{middle} ({low:.3g} to {high:.3g})" for middle, low, high in ends]
    more = ", …" if len(levels["median"]) > 8 else ""
    said = "the median (and 90 % interval)" if "low" in levels else "the median (19 samples or more tell an interval)"
    return f"noise level of each item, {said}: {', '.join(shown)}{more}"


def _lines(values: dict[str, Any]) -> list[str]:
    lines = [
        f"{values['items']} items, {values['samples']} draws of each by {values['method']} with "
        f"{values['evaluations']:g} evaluations, {values['seconds']:g} s",
        f"deviation of the draws {values['deviation']:.4g}, root mean square over all values, in the data's units",
    ]
    if values["first_stage"] is not None:
        lines.append(f"the first stage alone loses {values['first_stage']:.4g}: no restoration through it is nearer")
    if values["noise"] is not None:
        lines.append(_noise_line(values["noise"]))
    if values["chi2"] is not None:
        lines.append(f"χ² per measurement {values['chi2']:.3g}: near 1 where the draws explain what was measured")
    if values["mixing"] is not None:
        lines.append(f"split-R̂ {values['mixing']:.3g} at most: near 1 where chains have come to one law")
    if values["effective"] is not None:
        lines.append(f"by their weights, draws of an item are worth {values['effective']:.3g} equal ones at least")
    if "error" in values:
        lines.append(f"error of the mean {values['error']:.4g} against the true items, PSNR {values['psnr']:.2f} dB")
    return [*lines, f"written to {values['out']}"]
