"""The page of a decoded recording: pictures beside what was seen, figures beside their controls."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

from pushforward.brain import Exact, Noised, Score, Study
from pushforward.inverse.operators.units import Affine
from pushforward.report.markup import Html
from pushforward.report.page import Figure, Page, Section, Verdict, cards, figure, picture, table
from pushforward.report.pictures import filmstrip
from pushforward.report.scales import number
from pushforward.report.svg import Axes, Series, histogram, line_chart
from pushforward.report.tiles import Tiler, coloured

_ROWS, _DRAWS = 10, 4
_MEAN, _EACH, _RIDGE = "mean of the samples", "samples, one by one", "ridge alone"
_NEAREST = "mean of the ten nearest pictures of the prior"


def brain_page(study: Study, title: str) -> Page:
    """The verdict asks whether the model adds something to ridge and to looking pictures up."""
    good, text = verdict(study)
    best = study.scores[_MEAN]
    two = best.identified[0] if best.identified else None
    lead = cards(
        Figure(number(best.pcc[0]), "correlation of pixels", f"± {number(best.pcc[1])}; ridge {_pcc(study, _RIDGE)}"),
        Figure("–" if two is None else f"{two.share:.1%}", "told from one other picture", "chance is 50 %"),
        Figure(str(len(study.truth)), "test trials", f"{len(study.recording.train)} to learn from"),
        Figure(str(study.recording.train.voxels.shape[1]), "voxels", _voxels(study)),
    )
    sections = [_pictures(study), _figures(study), _chance(study), _learned(study)]
    subtitle = f"{len(study.decoded.samples)} samples of each trial, {way_of(study)}"
    return Page(f"Decoded: {title}", subtitle, Verdict(text, good), sections, [lead])


def verdict(study: Study) -> tuple[bool, str]:
    """Whether the mean of the samples is nearer to the pictures than every control, and that in a sentence."""
    best, others = study.scores[_MEAN], (_RIDGE, _NEAREST, "mean of the training stimuli")
    loses = [name for name in others if study.scores[name].pcc[0] >= best.pcc[0]]
    by = f"correlation {best.pcc[0]:.3f}"
    if study.shared:
        return False, f"{study.shared} test trials show pictures that were trained on: nothing is held out."
    if study.null.two_way_p > 0.05 and len(study.null.two_way) >= 19:
        return False, f"The voxels tell nothing: training on permuted trials does as well ({by})."
    if loses:
        return False, f"The mean of the samples ({by}) is no nearer to what was seen than: {', '.join(loses)}."
    return True, f"The mean of the samples ({by}) is nearer to what was seen than ridge alone and than retrieval."


def brain_values(study: Study) -> dict[str, Any]:
    """The page's numbers as plain JSON."""
    learned, null = study.learned, study.null
    choice = learned.choice
    return {
        "trials": {"train": len(study.recording.train), "test": len(study.truth), "shared": study.shared},
        "voxels": {
            "latent": int(learned.decoder.for_latent.sum()),
            "condition": None if learned.decoder.for_condition is None else int(learned.decoder.for_condition.sum()),
        },
        "way": way_of(study),
        "strength": learned.way.strength if isinstance(learned.way, Noised) else None,
        "strengths": None if choice is None else dict(zip(map(str, choice.strengths), choice.scores, strict=True)),
        "components": len(learned.decoder.components),
        "explained": learned.decoder.latent.explained.tolist(),
        "penalties": learned.decoder.latent.penalties.tolist(),
        "samples": len(study.decoded.samples),
        "window": None if study.window is None else study.window.about,
        "scores": {name: _plain(value) for name, value in study.scores.items()},
        "permuted": {
            "orders": len(null.pcc),
            "pcc": _range(null.pcc),
            "two_way": _range(null.two_way),
            "pcc_p": null.pcc_p,
            "two_way_p": null.two_way_p,
        },
        "told": {
            name: {"numbers": told.ridge.weights.shape[1], "explained": float(told.ridge.explained.mean())}
            for name, told in learned.decoder.told.items()
        },
        "decoded_classes": None if study.decoded.classes is None else study.decoded.classes.tolist(),
        "verdict": verdict(study)[1],
    }


def brain_lines(study: Study) -> list[str]:
    """What a person reads in the terminal."""
    lines = [verdict(study)[1], way_of(study)]
    for name, value in study.scores.items():
        said = f"PCC {value.pcc[0]:.3f} ± {value.pcc[1]:.3f}, MSE {value.mse[0]:.4f}"
        said += "" if value.ssim is None else f", SSIM {value.ssim[0]:.3f}"
        said += "".join(f", {i.ways}-way {i.share:.1%}" for i in value.identified)
        lines.append(f"{name}: {said}")
    return lines


def way_of(study: Study) -> str:
    """How pictures were drawn, in words."""
    way = study.learned.way
    if isinstance(way, Noised):
        how = "chosen on held-out training trials" if study.learned.choice else "given"
        return f"the ridge latent noised with strength {way.strength:g} ({how}), {way.evaluations} evaluations"
    if isinstance(way, Exact):
        return f"the posterior given what ridge says, {way.evaluations} evaluations"
    return type(way).__name__


def decoded_picture(study: Study) -> Image.Image:
    """Rows of trials: what was seen, what ridge says, draws, their mean and deviation."""
    tiler, form = Tiler(study.prior.form), study.prior.form

    def shown(values: np.ndarray) -> np.ndarray:
        x = Affine.of(form).pseudo_inverse(torch.from_numpy(np.asarray(values[:_ROWS], dtype=np.float64)))
        return coloured(tiler.of_units(x.float()))

    columns = {"seen": shown(study.truth), "ridge": shown(study.decoded.ridge)}
    for k in range(min(_DRAWS, len(study.decoded.samples))):
        columns[f"draw {k + 1}"] = shown(study.decoded.samples[k])
    columns["mean"] = shown(study.decoded.mean)
    columns["± sd"] = coloured(tiler.of_deviation(torch.from_numpy(study.decoded.deviation[:_ROWS])))
    return filmstrip(np.stack(list(columns.values()), 1), list(columns), None, (0.0, 255.0), tiler.size)


def _pictures(study: Study) -> Section:
    content: list[str | Html] = [
        "Each row is one test trial: the picture that was seen, what ridge regression alone makes of the voxels, draws "
        "of what the picture may have been, their mean, and how much they differ at each pixel (black: not at all)."
    ]
    if study.truth.ndim == 4:
        content.append(picture(decoded_picture(study), "Pictures that were seen and what was decoded"))
    return Section("What was seen, and what was decoded", content)


def _figures(study: Study) -> Section:
    rows = []
    ways = next(iter(study.scores.values())).identified
    for name, value in study.scores.items():
        ssim = "–" if value.ssim is None else _pm(value.ssim)
        told = [f"{i.share:.1%} (p {number(i.p_value)})" for i in value.identified]
        rows.append([name, _pm(value.pcc), _pm(value.mse), ssim, *told])
    heads = ["", "PCC", "MSE, range² of pixels", "SSIM", *(f"{i.ways}-way identification" for i in ways)]
    window = "" if study.window is None else f" SSIM is taken in windows of {study.window.about} pixels."
    return Section(
        "Figures, beside what needs no brain and what needs no model",
        [
            "Means over test trials with their standard errors. An item is identified by the correlation of its "
            f"pixels: what was decoded must be more like its own stimulus than like the others.{window} The mean "
            "of samples wins in correlation and error, which it makes least by being blurred; single samples are "
            "sharper and lose there. Retrieval returns pictures of the prior's own training set: a model that does "
            "no better has added nothing to them.",
            table(heads, rows, numeric=tuple(range(1, len(heads)))),
        ],
    )


def _chance(study: Study) -> Section:
    null = study.null
    if not null.two_way:
        return Section("Permuted trials", ["Not asked for."])
    chart = histogram(
        [("permuted", list(null.two_way))],
        "two-way identification by ridge alone",
        "Identification after training on permuted trials",
        "Shares of orders of the training trials by how well ridge then identifies test pictures.",
        10,
    )
    true = study.scores[_RIDGE].identified
    return Section(
        "Permuted trials",
        [
            f"Trained on {len(null.two_way)} random orders of the training stimuli, ridge identifies "
            f"{np.mean(null.two_way):.1%} on average and {max(null.two_way):.1%} at most; in the true order "
            f"{true[0].share if true else float('nan'):.1%} (p {number(null.two_way_p)}). One order strays from one "
            "half by more than the standard error over trials: a wrong map is wrong for all trials together.",
            figure(chart),
        ],
    )


def _learned(study: Study) -> Section:
    learned = study.learned
    explained = learned.decoder.latent.explained
    index = [float(i + 1) for i in range(len(explained))]
    content: list[str | Html] = [
        "Scaling, penalties, errors and strength were found by leaving stimuli out of the training trials; test trials "
        "were not looked at. Shown is the share of the variance of each component that ridge explains of stimuli that "
        "were left out; 0 is no better than their mean.",
        figure(
            line_chart(
                [Series("held-out training trials", index, np.maximum(explained, -0.5).tolist())],
                Axes("component of the latent", "variance explained"),
                "Explained variance of each component",
                "The share of the variance of each component that ridge explains of stimuli left out.",
            )
        ),
    ]
    for name, told in learned.decoder.told.items():
        share = float(told.ridge.explained.mean())
        content.append(f"Of the condition {name} ({told.ridge.weights.shape[1]} numbers) ridge explains {share:.1%}.")
    if learned.choice is not None:
        content.append(
            figure(
                line_chart(
                    [Series("energy score", learned.choice.strengths, learned.choice.scores)],
                    Axes("strength of the noise", "energy score (lower is better)"),
                    "Strength of the noise",
                    "Energy score of draws for held-out training trials by the strength of the noise.",
                ),
                f"The least is at {learned.choice.best:g}.",
            )
        )
    return Section("What was learned", content)


def _plain(value: Score) -> dict[str, Any]:
    return {
        "pcc": value.pcc[0],
        "pcc_se": value.pcc[1],
        "mse": value.mse[0],
        "mse_se": value.mse[1],
        "ssim": None if value.ssim is None else value.ssim[0],
        "ssim_se": None if value.ssim is None else value.ssim[1],
        "identified": {str(i.ways): {"share": i.share, "chance": i.chance, "p": i.p_value} for i in value.identified},
    }


def _range(values: tuple[float, ...]) -> dict[str, float] | None:
    return {"mean": float(np.mean(values)), "most": max(values)} if values else None


def _pm(pair: tuple[float, float]) -> str:
    return f"{pair[0]:.3f} ± {pair[1]:.3f}"


def _pcc(study: Study, name: str) -> str:
    return f"{study.scores[name].pcc[0]:.3f}"


def _voxels(study: Study) -> str:
    for_condition = study.learned.decoder.for_condition
    seen = f"{int(study.learned.decoder.for_latent.sum())} for the latent"
    return seen if for_condition is None else f"{seen}, {int(for_condition.sum())} for what it is told"
