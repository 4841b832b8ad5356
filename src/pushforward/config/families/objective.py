"""What a diffusion model descends, by name: losses, laws of times, learned variances, and what goes with what."""

from __future__ import annotations

from collections.abc import Callable

from pushforward.config.family_schema.diffusion import DiffusionConfig
from pushforward.data.format import Format
from pushforward.denoisers.variance import BetaVariance, ScaledVariance, VarianceRule
from pushforward.errors import UserError
from pushforward.models.decoder import decoder_of
from pushforward.objectives.bound import Steps, noise_last, published_last, table_levels
from pushforward.objectives.losses import BoundLoss, HybridLoss, Loss, SimpleLoss
from pushforward.objectives.weighting import Weighting
from pushforward.paths import GaussianPath, Table, UniformLogSNR
from pushforward.paths.times import LogitNormalTimes, LogNormalTimes, QuantileLaw, UniformLevels, UniformTimes
from pushforward.samplers.ancestral import analytic, fixed_large

BOUND_LEVELS = 1000
"""Of the bound on paths that are no table, uniform in log-SNR: as many as the published tables have."""


def check(config: DiffusionConfig, path: GaussianPath) -> None:
    """Raises UserError, naming both, for two settings of a resolved section that do not go together."""
    if config.loss == "simple":
        if config.learned_variance:
            raise UserError(
                "model.learned_variance is true, and model.loss=simple trains no variance: set model.loss=hybrid or "
                "model.loss=bound"
            )
        return
    if config.loss == "hybrid" and not config.learned_variance:
        raise UserError(
            "model.loss=hybrid is how a learned variance is trained, and model.learned_variance is false: leave that "
            "out, or set model.loss=bound or simple"
        )
    if config.times not in ("uniform", "loss-aware"):
        raise UserError(
            f"model.loss={config.loss} draws terms of the bound, and model.times={config.times} is a law of the simple "
            "loss: set model.times=uniform or loss-aware"
        )
    if config.weighting != "output":
        raise UserError(
            f"model.weighting={config.weighting} is a weighting of the simple loss, and model.loss is {config.loss}: "
            "leave one of them out"
        )
    if config.coupling != "independent":
        raise UserError(
            f"the variational bound is of noise that does not depend on the data, and model.coupling is "
            f"{config.coupling}: there is no bound; set model.loss=simple or model.coupling=independent"
        )
    if config.prediction in ("noise", "score") and path.level(path.t_max).alpha == 0:
        raise UserError(
            f"the bound begins at α = 0 on the path {config.path.kind} as it is set, where the prediction "
            f"{config.prediction} says nothing of the data: set model.prediction=v, data, flow or edm"
        )


def law(name: str, loss: str, path: GaussianPath, sigma: float) -> QuantileLaw:
    """The law of training times of a name; of the terms of the bound, which are its levels, where that is descended.

    `loss-aware` draws for the mean over uniform times.
    """
    if loss != "simple":
        return UniformLevels(_count(path))
    laws: dict[str, Callable[[], QuantileLaw]] = {
        "uniform": UniformTimes,
        "loss-aware": UniformTimes,
        "log-normal": lambda: LogNormalTimes(sigma_data=sigma),
        "logit-normal": LogitNormalTimes,
    }
    return laws[name]()


def loss(name: str, weighting: Weighting, path: GaussianPath, form: Format, *, learned: bool) -> Loss:
    """The loss of a name; the bound is that of a table's own levels, or of `BOUND_LEVELS` uniform in log-SNR."""
    if name == "simple":
        return SimpleLoss(weighting)
    table = isinstance(path, Table)
    levels = table_levels(path) if isinstance(path, Table) else UniformLogSNR()(path, BOUND_LEVELS)
    rule = analytic if learned else fixed_large
    steps = Steps.of(levels, rule, published_last if table else noise_last)
    return (HybridLoss if name == "hybrid" else BoundLoss)(steps, rule, decoder_of(form))


def variance(path: GaussianPath, sigma: float) -> VarianceRule:
    """How a learned variance is read: as published on a table, elsewhere in units of that of Gaussian data."""
    return BetaVariance(path) if isinstance(path, Table) else ScaledVariance(sigma)


def _count(path: GaussianPath) -> int:
    return len(path) if isinstance(path, Table) else BOUND_LEVELS
