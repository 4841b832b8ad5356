"""`pushforward infill`: fill the gaps of a text, or continue it, by a model of texts."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from pushforward.cli.options import Device, Which
from pushforward.cli.output import DEFAULT, Common
from pushforward.config.jump_samplers import JUMP_SAMPLERS
from pushforward.errors import UserError


def infill(
    run: Annotated[Path, Parameter(name="RUN", help="the folder of a run of texts")],
    /,
    *,
    text: Annotated[
        str | None, Parameter(help="with a mark in the place of everything that is to be filled in")
    ] = None,
    mark: Annotated[str, Parameter(help="the sign that marks one unit to be filled in")] = "_",
    prompt: Annotated[str | None, Parameter(help="what the text begins with, instead of gaps")] = None,
    length: Annotated[int | None, Parameter(help="of the whole continued text, in units [twice the model's]")] = None,
    block: Annotated[
        int | None, Parameter(help="units drawn at once where a text is continued [half the model's]")
    ] = None,
    number: Annotated[int, Parameter(name=("-n", "--number"), help="how many texts")] = 4,
    sampler: Annotated[str, Parameter(help=", ".join(JUMP_SAMPLERS))] = "default",
    steps: Annotated[int | None, Parameter(help="of each drawing [128]")] = None,
    temperature: Annotated[float, Parameter(help="below 1 the likelier symbols")] = 1.0,
    seed: Annotated[int, Parameter(help="text i of a seed is always the same")] = 0,
    out: Annotated[Path | None, Parameter(name=("--out", "-o"), help=".txt or .jsonl [the terminal]")] = None,
    which: Which = "best",
    device: Device = None,
    common: Common = DEFAULT,
) -> None:
    """Fill the gaps of a text, or continue it to any length: what is given is never changed."""
    from pushforward import api
    from pushforward.config.jump_samplers import build_jump_sampler
    from pushforward.models.symbols import SymbolGenerator

    if (text is None) == (prompt is None and length is None):
        raise UserError("give --text with gaps to fill in, or --prompt (and --length) to continue, one of the two")
    if number < 1:
        raise UserError(f"the number of texts must be at least 1; got {number}")
    if out is not None and out.suffix.lower() not in (".txt", ".jsonl"):
        raise UserError(f"texts are written as .txt or .jsonl; got {out}")
    found = common.opened(api.load(run, which=which, device=device))
    generator = found.generator
    if not isinstance(generator, SymbolGenerator):
        raise UserError(f"{run} is a {found.config.model.family} model, and texts are filled in by discrete ones")
    chosen = build_jump_sampler(sampler, generator.model, steps, temperature)
    began, ways = time.perf_counter(), {"steps": steps, "seed": seed, "sampler": chosen}
    if text is not None:
        texts = generator.infill(text, number, mark=mark, **ways)  # type: ignore[arg-type]
    else:
        wanted = 2 * generator.model.shape[0] if length is None else length
        texts = generator.extend(wanted, number, prompt=prompt or "", block=block, **ways)  # type: ignore[arg-type]
    seconds = time.perf_counter() - began
    values: dict[str, Any] = {"texts": texts, "seed": seed, "seconds": round(seconds, 3), "out": out}
    if out is not None:
        _write(texts, out)
    common.result(values, *([f"{number} texts in {seconds:.3g} s: {out}"] if out else _lines(texts)))


def _lines(texts: list[str]) -> list[str]:
    return [line for i, text in enumerate(texts) for line in ([] if not i else ["-" * 72]) + [text]]


def _write(texts: list[str], path: Path) -> None:
    import json

    from pushforward.data.atomic import write_file

    body = (
        "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
        if path.suffix.lower() == ".jsonl"
        else f"\n{'-' * 72}\n".join(texts) + "\n"
    )
    write_file(path, partial(_put, body))


def _put(body: str, path: Path) -> None:
    path.write_text(body, encoding="utf-8")
