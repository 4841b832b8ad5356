"""`pushforward brain`: from voxels to pictures, with a run's model as the prior."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from pushforward.cli.options import Device, Which
from pushforward.cli.output import DEFAULT, Common
from pushforward.errors import UserError

if TYPE_CHECKING:
    from pushforward.api import Run
    from pushforward.brain import Study
    from pushforward.interop import Pipeline


def brain(
    data: Annotated[Path, Parameter(name="DATA", help="an .npz, .mat, .h5, or .nii with --mask and --stimuli")],
    /,
    *,
    run: Annotated[Path, Parameter(help="the folder of a run, or of a pipeline of diffusers: its model is the prior")],
    items: Annotated[
        str | None, Parameter(help="pictures like those that the prior was trained on [a run's own training data]")
    ] = None,
    latent_voxels: Annotated[str | None, Parameter(help="regions for the latent, comma between [all voxels]")] = None,
    condition_voxels: Annotated[
        str | None, Parameter(help="regions for the class and other conditions [all voxels]")
    ] = None,
    strength: Annotated[float | None, Parameter(help="of the noise, 0 to 1 [chosen on training trials]")] = None,
    exact: Annotated[
        bool, Parameter(negative=(), show_default=False, help="draw from the posterior given what ridge says instead")
    ] = False,
    samples: Annotated[int, Parameter(help="of each trial")] = 20,
    evaluations: Annotated[int | None, Parameter(help="of the network per sample [20; exact: 300]")] = None,
    components: Annotated[
        int | None, Parameter(help="of the latent that ridge predicts [99 % of variance, ≤ 64]")
    ] = None,
    guidance: Annotated[float, Parameter(help="weight towards what is decoded beside the latent; 1 is none")] = 1.0,
    name: Annotated[
        tuple[str, ...],
        Parameter(negative=(), show_default=False, help="what an array is called, e.g. stimuli_train=pictures"),
    ] = (),
    columns: Annotated[
        bool, Parameter(negative=(), show_default=False, help="flat pictures are written by columns, as MATLAB does")
    ] = False,
    side: Annotated[str | None, Parameter(help="height and width of flat pictures, e.g. 20x30 [square]")] = None,
    label: Annotated[
        tuple[str, ...],
        Parameter(negative=(), show_default=False, help="what a stored label is called by the prior, e.g. 1=six"),
    ] = (),
    test_share: Annotated[float, Parameter(help="of the stimuli to hold out, where the file has no split")] = 0.1,
    mask: Annotated[Path | None, Parameter(help="a .nii: which voxels, and their regions by number")] = None,
    stimuli: Annotated[Path | None, Parameter(help="an .npz, .mat or .h5 with the stimuli of volumes")] = None,
    average: Annotated[
        bool, Parameter(negative=(), show_default=False, help="decode the mean response to each test stimulus")
    ] = False,
    permutations: Annotated[int, Parameter(help="orders of the training trials for the control")] = 20,
    seed: Annotated[int, Parameter(help="of the draws")] = 0,
    out: Annotated[
        Path | None, Parameter(name=("--out", "-o"), help="a folder [RUN/brain, of a pipeline brain]")
    ] = None,
    which: Which = "best",
    device: Device = None,
    batch_size: Annotated[int, Parameter(help="samples computed at once")] = 256,
    common: Common = DEFAULT,
) -> None:
    """Decode pictures from brain activity: draws, their mean, how sure they are, and controls beside every figure.

    Ridge maps from voxels to the latent (and to the class, vectors and tokens that both prior and trials have) are
    learned within the training trials. The arrays are voxels_train, stimuli_train (and labels_train, vector_train),
    voxels_test, stimuli_test, or voxels, stimuli and test, a mark for held-out trials; `regions` names the region of
    each voxel.

    Writes brain.html, brain.json, decoded.npz and, for images, decoded.png.
    """
    from pushforward import api
    from pushforward.brain import Settings
    from pushforward.brain.files import Reading
    from pushforward.report.brain_page import brain_lines, brain_values

    reading = Reading(
        names=_pairs(name, "--name", "stimuli_train=pictures"),
        columns=columns,
        side=_sides(side),
        renamed=_pairs(label, "--label", "1=six"),
        test=test_share,
        seed=seed,
        mask=mask,
        stimuli=stimuli,
    )
    settings = Settings(
        strength=strength,
        exact=exact,
        samples=samples,
        evaluations=evaluations,
        components=components,
        guidance=guidance,
        latent_regions=_list(latent_voxels),
        condition_regions=_list(condition_voxels),
        permutations=permutations,
        seed=seed,
        at_once=batch_size,
    )
    prior, home = _prior(run, which, device, common)
    study = api.brain(prior, data, settings, reading=reading, average=average, items=items, note=common.say)
    out = out or home / "brain"
    _write(study, out, data.name)
    common.result(brain_values(study) | {"out": str(out)}, *brain_lines(study), f"written to {out}")


def _prior(run: Path, which: str, device: str | None, common: Common) -> tuple[Run | Pipeline, Path]:
    """A run, or a pipeline of diffusers where its folder is one; and where results go by default."""
    from pushforward import api

    if not (run / "model_index.json").is_file():
        found = common.opened(api.load(run, which=which, device=device))
        return found, found.home
    from pushforward.config.run import device_of
    from pushforward.interop import read_pipeline

    return read_pipeline(run).to(device_of(device)), Path()


def _write(study: Study, out: Path, title: str) -> None:
    from pushforward.cli.restored import write_arrays
    from pushforward.data.atomic import write_file
    from pushforward.report.brain_page import brain_page, brain_values, decoded_picture
    from pushforward.report.contenders import write_json

    out.mkdir(parents=True, exist_ok=True)
    decoded = study.decoded
    arrays = {"samples": decoded.samples, "mean": decoded.mean, "deviation": decoded.deviation, "ridge": decoded.ridge}
    if decoded.classes is not None:
        arrays["classes"] = decoded.classes
    arrays |= decoded.told
    write_arrays(out / "decoded.npz", arrays)
    write_json(out / "brain.json", brain_values(study))
    if study.truth.ndim == 4:
        write_file(out / "decoded.png", decoded_picture(study).save)
    page = brain_page(study, title).render()
    write_file(out / "brain.html", lambda path: path.write_text(page, encoding="utf-8"))


def _list(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else ()


def _pairs(texts: tuple[str, ...], option: str, example: str) -> dict[str, str]:
    pairs = {}
    for text in texts:
        before, equals, after = text.partition("=")
        if not (before and equals and after):
            raise UserError(f"{option} is written as {example}; got {text!r}")
        pairs[before] = after
    return pairs


def _sides(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, by, width = text.lower().partition("x")
    if not (by and height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise UserError(f"--side is height x width, such as 20x30; got {text!r}")
    return int(height), int(width)
