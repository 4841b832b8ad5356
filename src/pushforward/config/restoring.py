"""Measurements simulated from true data, and restored by a run's model, in the user's units."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pushforward.config.methods import USUAL_METHOD, named_method
from pushforward.config.noise import estimating, noise_law
from pushforward.config.operator_schema import MeasurementConfig
from pushforward.config.operators import build_likelihood, build_operator, simulated
from pushforward.config.rows import Rows, rows_of
from pushforward.config.run import Run
from pushforward.config.spaces import Space, space_of
from pushforward.data.measured import Measured
from pushforward.errors import UserError
from pushforward.inverse import Gaussian, LinearOperator, Measurement
from pushforward.inverse.operators.units import Affine
from pushforward.inverse.solve import dots, squares
from pushforward.models.generator import Label, Samples
from pushforward.numerics.broadcast import expand
from pushforward.numerics.random import Draws
from pushforward.posterior import Posterior, Question, infer
from pushforward.report.evaluation import EvaluationCounter


@dataclass(frozen=True, eq=False)
class Restored:
    """Draws of the posterior in the user's form, and what they say.

    `samples` (S, N, …), `mean` and `deviation` (N, …) are real numbers in the user's units; `estimate` is the mean in
    the user's own form. `back` is A* y, scaled to fit y, of linear operators: what there is to see without a model.
    `mixing` (N,) is split-R̂ where draws are the ends of chains: near 1 where they have come to one law. `effective`
    (N,), where draws had weights, is how many equal ones those are worth; `samples` are then drawn by their weights.
    `noise` (S, N) are draws of the noise level, where it was unknown, in the units of the measurement; through a
    decoder what the first stage loses counts as noise.
    `chi2` (N,) is ‖y − A x‖²/(m σ²) of the draws, near 1 where they explain y; None where noise is
    not Gaussian. `first_stage`, of latent models, is the root mean square of what their first stage loses of an item,
    in the user's units: no restoration can be nearer.
    """

    samples: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    estimate: Samples
    back: np.ndarray | None
    chi2: np.ndarray | None
    evaluations: float
    seconds: float
    mixing: np.ndarray | None = None
    noise: np.ndarray | None = None
    first_stage: float | None = None
    effective: np.ndarray | None = None


def simulate(
    run: Run,
    config: MeasurementConfig,
    folder: Path,
    source: str | Path = "test",
    number: int | None = 8,
    seed: int = 0,
) -> tuple[Tensor, Rows]:
    """Measurements (N, …) of the first items of a split or file, and those items, in model units."""
    rows = rows_of(run, source, number)
    operator = build_operator(config, run.format.shape, folder)
    x = Affine.of(run.format)(rows.x.double())
    return simulated(config.noise, operator, x, Draws.of(seed, range(len(x)), "simulate")), rows


def restore(
    run: Run,
    config: MeasurementConfig,
    folder: Path,
    y: Tensor | np.ndarray,
    *,
    method: str = USUAL_METHOD,
    samples: int = 16,
    evaluations: int | None = None,
    label: Label = None,
    guidance: float = 1.0,
    seed: int = 0,
    batch_size: int = 256,
    mask: np.ndarray | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Restored:
    """Draws of p(x | y) for measurements y (N, …), or one measurement without the axis of items.

    Args:
        config, folder: what was measured, and where the files that it names are.
        y: in the units of the data, as `simulate` writes it.
        method: a name of `METHODS`; `evaluations` of the network per draw, by default what suits it.
        samples: draws of each.
        mask: what of y was measured, for operators whose file says `measured`; by default where y is not 0.
        label, guidance: of a conditional model, a class that the items are of and its weight.

    Raises:
        UserError: a measurement that does not fit the operator, a method that has no answer to it, a family that is no
            denoiser.
    """
    space, entry = space_of(run), named_method(method)
    generator = space.generator
    generator.model.eval()
    likelihood = checked_likelihood(run, config, folder, y, mask)
    items, device = len(likelihood.y), generator.model.device
    labels = None if label is None else generator.label_indices(label, items)
    spent = entry.evaluations if evaluations is None else evaluations
    began = time.perf_counter()
    with EvaluationCounter(generator.model.network) as counter:
        asked = space.likelihood(likelihood)
        denoiser = generator.conditioned(labels, guidance, items=items)
        question = Question(denoiser, asked, space.shape, items, device=device)
        answer = infer(
            estimating(space.method(method, entry, likelihood), noise_law(config.noise, asked)),
            question,
            samples=samples,
            evaluations=spent,
            seed=seed,
            at_once=batch_size,
            observe=None if progress is None else lambda step: progress(step.step, step.total),
        )
    seconds = time.perf_counter() - began
    return _told(run, space, likelihood, answer, labels, counter.items / (items * samples), seconds)


def checked_likelihood(
    run: Run, config: MeasurementConfig, folder: Path, y: Tensor | np.ndarray, mask: np.ndarray | None = None
) -> Measurement:
    """The likelihood of measurements y in the user's units, on the device of the run's model.

    Raises UserError for measurements that do not fit the operator, are not finite, or are nothing that it gives.
    """
    numbers = y.cpu().numpy() if isinstance(y, Tensor) else np.asarray(y)
    operator = build_operator(config, run.format.shape, folder, Measured(numbers, mask=mask))
    precise = torch.from_numpy(numbers.astype(np.complex128 if np.iscomplexobj(numbers) else np.float64))
    measured = as_items(precise, operator.y_shape(run.format.shape))
    device = run.generator.model.device
    likelihood = build_likelihood(config.noise, operator, measured.to(device))
    # Real items are what the model has: a complex y of them is refused here, not after work has been done.
    likelihood.given(operator(torch.zeros(len(measured), *run.format.shape, dtype=torch.float64, device=device)))
    _check_range(likelihood, run.format.shape)
    return likelihood


def _check_range(likelihood: Measurement, shape: tuple[int, ...]) -> None:
    """Raise UserError where y is nothing that the operator gives, beyond what noise explains; where that is cheap."""
    operator = likelihood.operator
    if not isinstance(likelihood, Gaussian) or operator.x_shape not in (None, shape):
        return
    if isinstance(operator, LinearOperator) and operator.svd(shape) is None and not likelihood.exact:
        return
    likelihood.check()


def _told(
    run: Run,
    space: Space,
    likelihood: Measurement,
    answer: Posterior,
    labels: Tensor | None,
    evaluations: float,
    seconds: float,
) -> Restored:
    effective = None if answer.log_weights is None else answer.effective.numpy()
    answer = answer.resampled()
    drawn, rhat = space.items(answer.samples), answer.rhat
    values = Affine.of(run.format)(drawn.double())
    chi2 = None
    if isinstance(likelihood, Gaussian) and not likelihood.exact:
        chi2 = Posterior(values, evaluations, likelihood, sigma=answer.sigma).misfit().value.cpu().numpy()
    deviation = values.std(0) if len(values) > 1 else torch.full_like(values[0], math.nan)
    estimate = Samples(
        run.format.decode(drawn.mean(0).cpu()), None if labels is None else labels.cpu().numpy(), run.format
    )
    mixing, noise = (None if found is None else found.cpu().numpy() for found in (rhat, answer.sigma))
    numbers = [part.float().cpu().numpy() for part in (values, values.mean(0), deviation)]
    back = back_projected(likelihood, values[0])
    return Restored(
        numbers[0],
        numbers[1],
        numbers[2],
        estimate,
        back,
        chi2,
        evaluations,
        seconds,
        mixing,
        noise,
        space.lost,
        effective,
    )


def back_projected(likelihood: Measurement, like: Tensor) -> np.ndarray | None:
    """A* y times the factor that brings A A* y nearest to y, for operators that are linear: (N, …), items as `like`."""
    operator = likelihood.operator
    if not isinstance(operator, LinearOperator):
        return None
    y = likelihood.given(operator(like))
    back = operator.adjoint(y.expand(len(like), *y.shape[1:]))
    image = operator(back)
    size = squares(image)
    factor = torch.where(size > 0, dots(image, operator.measured(y)) / torch.where(size > 0, size, 1), 0)
    return (expand(factor, back) * back).float().cpu().numpy()


def as_items(y: Tensor, shape: tuple[int, ...]) -> Tensor:
    """y with an axis of items before `shape`; axes of length 1 may be left out. Raises UserError for other shapes."""
    wanted = [side for side in shape if side != 1]
    for lead in (0, 1):
        if [side for side in y.shape[lead:] if side != 1] == wanted and y.ndim >= lead:
            return y.reshape(-1 if lead else 1, *shape)
    raise UserError(
        f"the measurement has the shape {tuple(y.shape)}, and the operator measures {shape} of each item: give that, "
        f"or (items, {', '.join(map(str, shape))})"
    )
