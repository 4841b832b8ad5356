"""The sections of a report on images: what was made, beside what is real."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pushforward.metrics.neighbours import nearest
from pushforward.models.denoising import DiffusionGenerator
from pushforward.report.autoencoder_sections import autoencoder_sections
from pushforward.report.denoising import noise_of, record
from pushforward.report.markup import Html
from pushforward.report.page import Section, picture, row, table
from pushforward.report.pictures import filmstrip, grid
from pushforward.report.restoration import Restoration, restorations
from pushforward.report.scales import number
from pushforward.report.subject import Subject
from pushforward.report.tiles import coloured, covered

_BLACK_TO_WHITE = (0.0, 255.0)


def real_and_made(subject: Subject) -> Section:
    """Two grids of the same size."""
    tiler = subject.tiler
    count = min(36 if tiler.few else 64, len(subject.real), len(subject.samples))
    columns = max(1, int(count**0.5))
    count = columns * (count // columns)
    size = max(tiler.side, 420 // columns - 4)
    held_out = "held back from training" if len(subject.data.test) else "that were trained on"
    real = grid(tiler.of_values(subject.real[:count]), columns, None, _BLACK_TO_WHITE, size)
    made = grid(tiler.of_values(subject.samples.values[:count]), columns, None, _BLACK_TO_WHITE, size)
    return Section(
        "Real beside generated",
        [
            row(
                picture(real, f"{count} real images", f"Real: {count} items {held_out}, drawn at random."),
                picture(made, f"{count} generated images", "Generated: the first samples of the seed, none left out."),
            ),
            "The two should be hard to tell apart, in quality and in variety: if the right side repeats itself, or "
            "lacks some kind of item that the left side has, the model has not learned the whole of the data.",
        ],
    )


def by_label(subject: Subject) -> Section | None:
    """One row of samples for each label; None for a model without labels."""
    names = subject.generator.format.label_names
    if not subject.generator.model.num_classes or names is None:
        return None
    shown, columns = names[:16], 8 if subject.tiler.few else 12
    e = subject.evaluation
    made = subject.generator.sample(
        len(shown) * columns,
        steps=e.steps,
        seed=e.seed + 1,
        label=[name for name in shown for _ in range(columns)],
        guidance=e.guidance,
    )
    tiles = subject.tiler.of_values(made.values)
    strip = filmstrip(
        tiles.reshape(len(shown), columns, *tiles.shape[1:]), None, list(shown), _BLACK_TO_WHITE, subject.tiler.size
    )
    rest = "" if len(shown) == len(names) else f" The first {len(shown)} of {len(names)} labels are shown."
    return Section(
        "Asked for a label",
        [
            picture(
                strip,
                f"Generated images in {len(shown)} rows, one for each label",
                "Each row was asked for the label written at its left. A row should show that label and no other, each "
                f"time in another way.{rest}",
            )
        ],
    )


def denoising(subject: Subject) -> Section | None:
    """The sampler's path for a few samples, the noisy state and what the model makes of it; None for no denoiser."""
    e, tiler, generator = subject.evaluation, subject.tiler, subject.generator
    if not isinstance(generator, DiffusionGenerator):
        return None
    count = 3 if tiler.few else 4
    labels = generator.label_indices(None, count)
    recording = record(generator, labels, e.steps, e.seed + 2, e.guidance, count)
    frames = recording.chosen(7 if tiler.few else 10)
    states = [tiler.of_units(frame.state) for frame in frames]
    guesses = [tiler.of_units(frame.guess) for frame in frames]
    end = tiler.of_units(recording.samples)
    rows, names = [], []
    for i in range(count):
        rows += [np.stack([*(s[i] for s in states), end[i]]), np.stack([*(g[i] for g in guesses), end[i]])]
        names += ["state", "guess"]
    steps = [*(noise_of(frame.ratio) for frame in frames), "sample"]
    return Section(
        "From noise to data",
        [
            picture(
                filmstrip(rows, steps, names, _BLACK_TO_WHITE, tiler.size),
                f"{count} samples at {len(frames)} moments of sampling, from noise at the left to data at the right",
                "Each pair of rows is one sample as it is made. Sampling begins with pure noise at the left. At every "
                "step the model looks at the noisy state and guesses the clean image behind it; the sampler moves a "
                "little towards the guess, and the noise goes down. Above: the size of the noise in units of the data "
                "(σ/α). The guess begins as an average and becomes definite. States are drawn at the "
                "data's contrast.",
            )
        ],
    )


def closest(subject: Subject) -> Section:
    """The samples that lie nearest to training items, above those items."""
    tiler, samples = subject.tiler, subject.samples.values
    columns, depth = min(8 if tiler.few else 12, len(samples)), min(3, len(subject.train))
    found = nearest(samples, subject.train, depth)
    order = found.distances[:, 0].argsort()[:columns]
    rows = [tiler.of_values(samples[order.numpy()])]
    rows += [tiler.of_values(subject.train[found.items[order, k].numpy()]) for k in range(depth)]
    names = ["sample", "nearest", "2nd", "3rd"][: depth + 1]
    return Section(
        "Is it copying?",
        [
            picture(
                filmstrip(rows, None, names, _BLACK_TO_WHITE, tiler.size),
                f"{columns} samples, each above its {depth} nearest training images",
                f"Of {len(samples)} samples, the {columns} that come nearest to a training image, nearest first, each "
                "above the training images that it resembles most (Euclidean distance of the pixels). Relatives are "
                "expected; a sample that equals its neighbour is a copy. The share of near copies, beside what real "
                "unseen data give, is in the table of figures.",
            )
        ],
    )


def _restored_strip(subject: Subject, made: Restoration) -> Html:
    tiler, draws = subject.tiler, min(6, len(made.draws))
    measured = tiler.of_units(made.measured)
    if made.hidden is not None:
        share = measured.shape[1] / made.hidden.shape[0]
        rows_of = np.minimum((np.arange(measured.shape[1]) / share).astype(int), made.hidden.shape[0] - 1)
        columns_of = np.minimum((np.arange(measured.shape[2]) / share).astype(int), made.hidden.shape[1] - 1)
        measured = covered(measured, made.hidden.numpy()[np.ix_(rows_of, columns_of)])
    columns = [
        tiler.of_units(made.truth),
        measured,
        *(tiler.of_units(made.draws[k]) for k in range(draws)),
        tiler.of_units(made.mean),
        tiler.of_deviation(made.deviation),
    ]
    frames = np.stack([coloured(tiles) for tiles in columns], 1)
    names = ["truth", "seen", *(f"draw {k + 1}" for k in range(draws)), "mean", "± sd"]
    explained = (
        "The orange half was never shown to the model: it knows only the upper half, with a little noise."
        if made.hidden is not None
        else "The model was shown the blurred image only, with a little noise."
    )
    return picture(
        filmstrip(frames, names, None, _BLACK_TO_WHITE, tiler.size),
        f"Restoration of {len(frames)} images, {made.name}: truth, measurement, draws, mean and deviation",
        f"{made.name[0].upper()}{made.name[1:]}. {explained} Draws are different answers that fit what was seen; mean "
        f"and deviation (± sd) are over {len(made.draws)} of them, bright where the answers differ.",
    )


def _restored_table(made: list[Restoration]) -> Html:
    cells = [[m.name, *(number(x, trim=False) for x in (m.plain_error, m.error, m.stated_error))] for m in made]
    return table(
        ["Measurement", "Without the model", "Restored (mean)", "Error it announces"],
        cells,
        "Root mean square errors in model units (the range of pixels is 2), over the hidden pixels where some are "
        "hidden. Without the model: the average of the training images there, or the blurred image as it is. The error "
        "it announces is what the spread of the draws says; where it is below the true one, the model is too sure.",
        numeric=(1, 2, 3),
    )


def restored(subject: Subject) -> Section | None:
    """Strips of hidden and blurred test images; None where none were held out, and for no denoiser."""
    if not len(subject.data.test) or not isinstance(subject.generator, DiffusionGenerator):
        return None
    made = restorations(subject.generator, subject.data.train, subject.data.test, subject.evaluation.seed)
    return Section(
        "Restoring what was damaged",
        [
            "The same model, without any further training, as knowledge of what images look like: at every step of "
            "sampling its guess is corrected towards the measurement. The images are from the test split. The method "
            "(pseudo-inverse guidance) is approximate.",
            *(_restored_strip(subject, one) for one in made),
            _restored_table(made),
        ],
    )


def image_sections(subject: Subject) -> Iterator[Section | None]:
    """All sections on what images the model makes, in their order."""
    yield real_and_made(subject)
    yield by_label(subject)
    yield denoising(subject)
    yield from autoencoder_sections(subject)
    yield closest(subject)
    yield restored(subject)
