"""`pushforward sample`: draw from a run, into a file of the user's own form."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from pushforward.cli.bar import Bar
from pushforward.cli.options import Device, Folder, Which
from pushforward.cli.output import DEFAULT, Common
from pushforward.config.jump_samplers import JUMP_SAMPLERS
from pushforward.config.samplers import SAMPLERS
from pushforward.errors import UserError

if TYPE_CHECKING:
    from pushforward.api import Run


def sample(
    run: Folder,
    /,
    *,
    number: Annotated[int, Parameter(name=("-n", "--number"), help="how many samples")] = 64,
    out: Annotated[
        Path | None,
        Parameter(
            name=("--out", "-o"),
            help="a grid .png, a folder of images (a name without extension), .npz, .npy, .csv, .tsv, .parquet, .txt, "
            ".jsonl [samples.png, .csv or .txt in the run]",
        ),
    ] = None,
    sampler: Annotated[
        str, Parameter(help=f"{', '.join(SAMPLERS)}; of symbols: {', '.join(JUMP_SAMPLERS[1:])}")
    ] = "default",
    steps: Annotated[
        int | None, Parameter(help="evaluations of a denoiser's network per sample [20]; of symbols steps [128]")
    ] = None,
    seed: Annotated[int, Parameter(help="sample i of a seed is always the same")] = 0,
    label: Annotated[
        tuple[str, ...],
        Parameter(negative=(), show_default=False, help="a class by name; several in turn [all in turn]"),
    ] = (),
    guidance: Annotated[float, Parameter(help="weight towards the label; 1 is none")] = 1.0,
    conditions: Annotated[
        Path | None, Parameter(help="an .npz or .h5 with vector, tokens or image, entries in turn [told nothing]")
    ] = None,
    hold: Annotated[
        tuple[str, ...],
        Parameter(negative=(), show_default=False, help="a condition that guidance does not go away from, e.g. image"),
    ] = (),
    guidance_interval: Annotated[
        str | None, Parameter(help="noise levels σ/α at which guidance acts, such as 0.2,5 [all]")
    ] = None,
    clip: Annotated[
        bool, Parameter(negative=(), show_default=False, help="keep every estimate of the data in the data's range")
    ] = False,
    threshold: Annotated[
        float | None,
        Parameter(help="of pictures: the same by dynamic thresholding at this quantile, such as 0.995 [none]"),
    ] = None,
    temperature: Annotated[float, Parameter(help="of symbols: below 1 the likelier ones")] = 1.0,
    which: Which = "best",
    device: Device = None,
    batch_size: Annotated[int, Parameter(help="samples computed at once")] = 256,
    common: Common = DEFAULT,
) -> None:
    """Draw samples from a run and write them in the form of the data."""
    from pushforward import api
    from pushforward.config.shaping import parse_interval, shaped
    from pushforward.data.save import check_name
    from pushforward.denoisers.guidance import ALWAYS

    found = common.opened(api.load(run, which=which, device=device))
    out = out or found.home / f"samples{default_suffix(found)}"
    check_name(out, found.format)
    interval = ALWAYS if guidance_interval is None else parse_interval(guidance_interval)
    found = told(found, conditions, hold)
    found = shaped(found, guidance=guidance, interval=interval, clip=clip, threshold=threshold)
    found, chosen = _chosen(found, sampler, steps, temperature)
    labels = [label[i % len(label)] for i in range(number)] if label else None
    began = time.perf_counter()
    with Bar(common, "sampling", number) as progress:
        samples = found.generator.sample(
            number,
            steps=steps,
            seed=seed,
            label=labels,
            guidance=guidance,
            sampler=chosen,
            batch_size=batch_size,
            progress=progress,
        )
    seconds = time.perf_counter() - began
    path = samples.save(out)
    shaping = {"guidance_interval": guidance_interval, "clip": clip, "threshold": threshold}
    values = {
        "out": path,
        "number": number,
        "shape": list(samples.values.shape),
        "dtype": str(samples.values.dtype),
        "seed": seed,
        "seconds": round(seconds, 3),
        **_way(found, sampler, steps, guidance),
        **{name: value for name, value in shaping.items() if value},
        "checkpoint": found.checkpoint.path,
        "weights": found.weights,
    }
    common.result(values, f"{number} samples in {seconds:.3g} s: {path}")


def told(run: Run, conditions: Path | None, hold: tuple[str, ...] = ()) -> Run:
    """The run told what a file holds. Raises UserError for what is to be held without one."""
    from pushforward import api

    if conditions is not None:
        return api.telling(run, conditions, held=hold)
    if hold:
        raise UserError("--hold names a condition that is given with --conditions: give that, or leave it out")
    return run


def _chosen(run: Run, sampler: str, steps: int | None, temperature: float) -> tuple[Run, Any]:
    """The run, with what its sampler needs, and the sampler of a name; None for the usual one."""
    from pushforward.config.jump_samplers import build_jump_sampler
    from pushforward.config.samplers import build_sampler, named
    from pushforward.models.symbols import SymbolGenerator
    from pushforward.samplers.default import USUAL_EVALUATIONS

    if isinstance(run.generator, SymbolGenerator):
        return run, build_jump_sampler(sampler, run.generator.model, steps, temperature)
    if temperature != 1.0:
        raise UserError("a temperature is of models of symbols: leave it out")
    entry = named(sampler)
    if sampler == "default":  # of the usual one the run itself knows whether it was tuned
        return run, None
    denoising = run.sampled(f"the sampler {sampler}")
    if entry.lacks_variance(denoising.model):
        run = run.with_variance()
        denoising = run.sampled(f"the sampler {sampler}")
    evaluations = USUAL_EVALUATIONS if steps is None else steps
    return run, build_sampler(sampler, denoising.model, evaluations, denoising.variance)


def _way(run: Run, sampler: str, steps: int | None, guidance: float) -> dict[str, object]:
    """How the samples of a denoiser were drawn; nothing for families that draw at once."""
    from pushforward.models.denoising import sampled_denoiser
    from pushforward.samplers.default import USUAL_EVALUATIONS

    generator, steps = sampled_denoiser(run.generator), USUAL_EVALUATIONS if steps is None else steps
    if generator is None:
        return {}
    tuned = sampler == "default" and generator.uses_tuned(steps, guidance)
    return {"sampler": sampler, "steps": steps, "guidance": guidance, "tuned": tuned}


def default_suffix(run: Run) -> str:
    """Images as a grid; rows in the kind of file they came from."""
    from pushforward.data.format import Kind

    if run.format.kind is Kind.IMAGE:
        return ".png"
    if run.format.kind is Kind.TEXT:
        return ".txt"
    given = Path(run.config.data.source).suffix.lower()
    return given if given in (".npy", ".npz", ".tsv", ".parquet") else ".csv"
