"""Adversarial models from their section."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pushforward.config.family_schema.gan import GANConfig
from pushforward.data.dataset import Dataset
from pushforward.data.format import Format, Kind
from pushforward.errors import UserError
from pushforward.gan import (
    Augmentation,
    GradientPenalty,
    Hinge,
    LeastSquares,
    Loss,
    Minimax,
    NonSaturating,
    Penalty,
    Relativistic,
    Wasserstein,
    nothing,
    small_data,
)
from pushforward.models.gan import GAN, usual_latent, usual_penalties, usual_weights
from pushforward.networks.spectral import normalise_spectra

_LOSSES: dict[str, Callable[[], Loss]] = {
    "relativistic": Relativistic,
    "non-saturating": NonSaturating,
    "minimax": Minimax,
    "least-squares": LeastSquares,
    "hinge": Hinge,
    "wasserstein": Wasserstein,
}


def resolve(config: GANConfig, data: Dataset) -> GANConfig:
    """With sizes filled in. Raises UserError for settings that these data or this loss have no use for."""
    images = data.format.kind is Kind.IMAGE
    if config.augment and not images:
        raise UserError(f"model.augment varies images, and the items here have the shape {data.shape}: leave it out")
    changes = {
        "width": config.width or (64 if images else 128),
        "latent": config.latent or usual_latent(data.shape),
        **_weights(config, data.shape),
    }
    return config.model_copy(update=changes)


def _weights(config: GANConfig, shape: Sequence[int]) -> dict[str, float | None]:
    """The weight of the penalties at the start and at the end; that of a gradient penalty stays as it is."""
    if config.loss == "wasserstein":
        if config.gamma_end is not None:
            raise UserError("model.gamma_end is of R1 and R2, and the wasserstein loss has neither: leave it out")
        return {"gamma": config.gamma or 10.0, "gamma_end": None}
    first, last = usual_weights(shape)
    gamma = config.gamma or first
    return {"gamma": gamma, "gamma_end": config.gamma_end or min(last, gamma)}


def build(config: GANConfig, form: Format, classes: int) -> GAN:
    """The model of a resolved section."""
    augment: Augmentation = small_data(form.shape, config.augment) if config.augment else nothing
    loss = _LOSSES[config.loss]()
    model = GAN.of_shape(form.shape, classes, config.latent, config.width, loss, _penalties(config), augment)
    if config.loss == "hinge":
        normalise_spectra(model.discriminator)
    return model


def describe(config: GANConfig) -> str:
    """The rules of the game, and the sizes."""
    if config.loss == "wasserstein":
        return f"{config.loss} loss, gradient penalty {config.gamma}, width {config.width}"
    return f"{config.loss} loss, penalties {config.gamma} to {config.gamma_end}, width {config.width}"


def _penalties(config: GANConfig) -> tuple[Penalty, ...]:
    if config.loss == "wasserstein":
        return (GradientPenalty(config.gamma or 10.0),)
    return usual_penalties(config.gamma or 0.1, config.gamma_end or 0.0003)
