"""The adversarial family assembled: two networks, a loss, penalties, and an augmentation where data are few."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from pushforward.data.dataset import Batch
from pushforward.errors import UserError
from pushforward.flows.checks import check_finite
from pushforward.gan.augment import Augmentation, nothing
from pushforward.gan.diagnostics import accuracy, coverage, diversity, saturation
from pushforward.gan.losses import Loss, Relativistic
from pushforward.gan.penalties import R1, R2, Falling, Penalty, Shown, full
from pushforward.models.family import Family
from pushforward.networks.image_players import ImageDiscriminator, ImageGenerator
from pushforward.networks.vector_players import VectorDiscriminator, VectorGenerator
from pushforward.numerics.dropout import counted
from pushforward.numerics.random import Draws

DISCRIMINATOR, GENERATOR = "discriminator", "generator"
_REHEARSALS = 8
"""Generated items that each held-out item is compared with."""


class GAN(Family):
    """A generator that pushes noise z ~ N(0, I) forward to the data, trained against a discriminator.

    Args:
        generator: `generator(z, label)`, z (B, latent), to (B, *shape).
        discriminator: `discriminator(x, label)` to (B,); the value of an item depends on that item alone.
        latent: coordinates of z.
        shape: of one item, in model units.
        num_classes: how many labels there are, 0 for none.
        loss, penalties: the rules of both players; by default the relativistic pairing with R1 and R2 (R3GAN).
        augment: a differentiable change of all that the discriminator sees.

    A generator without a density is scored by no likelihood; what tells progress on held-out items is their energy
    score (`validation_loss`). It is proper, but too coarse to choose between good checkpoints: the last one is taken.

    Raises:
        UserError: a discriminator with batch normalisation.
    """

    ranked_by_validation = False

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        latent: int,
        shape: Sequence[int],
        num_classes: int = 0,
        loss: Loss | None = None,
        penalties: Sequence[Penalty] | None = None,
        augment: Augmentation = nothing,
    ) -> None:
        super().__init__(shape, num_classes)
        _check_alone(discriminator)
        self.generator, self.discriminator = generator, discriminator
        self.latent = latent
        self.rule: Loss = Relativistic() if loss is None else loss
        self.penalties: tuple[Penalty, ...] = (
            usual_penalties(*usual_weights(shape)) if penalties is None else tuple(penalties)
        )
        self.augment = augment
        self.progress = 0.0
        self._figures: Callable[[], Mapping[str, Tensor]] = dict

    @staticmethod
    def of_shape(
        shape: Sequence[int],
        num_classes: int = 0,
        latent: int | None = None,
        width: int | None = None,
        loss: Loss | None = None,
        penalties: Sequence[Penalty] | None = None,
        augment: Augmentation = nothing,
    ) -> GAN:
        """A model with the usual networks for images (C, H, W) or vectors (D,), both players of one width."""
        classes, latent = num_classes or None, usual_latent(shape) if latent is None else latent
        generator: nn.Module
        discriminator: nn.Module
        if len(shape) == 3:
            width = 64 if width is None else width
            generator = ImageGenerator(latent, shape, width, num_classes=classes)
            discriminator = ImageDiscriminator(shape, width, num_classes=classes)
        else:
            width = 128 if width is None else width
            generator = VectorGenerator(latent, shape, width, num_classes=classes)
            discriminator = VectorDiscriminator(shape, width, num_classes=classes)
        return GAN(generator, discriminator, latent, shape, num_classes, loss, penalties, augment)

    # -- training --------------------------------------------------------------------------------------------------

    def objectives(self) -> Mapping[str, Iterable[nn.Parameter]]:
        """The two players, in turn: each trains its own network alone."""
        return {DISCRIMINATOR: self.discriminator.parameters(), GENERATOR: self.generator.parameters()}

    def loss(self, objective: str, batch: Batch, draws: Draws) -> Tensor:
        """What one player minimises, per pair of a real and a generated item of the same label: (B,).

        Raises UserError for an unknown player, items of another shape, and numbers that are not finite.
        """
        if objective not in (DISCRIMINATOR, GENERATOR):
            raise UserError(f"The players are {DISCRIMINATOR!r} and {GENERATOR!r}; got {objective!r}.")
        if batch.values.shape[1:] != self.shape:
            raise UserError(
                f"The model is of items of shape {self.shape}, and the batch has {tuple(batch.values.shape[1:])}."
            )
        check_finite(batch.values, "batch")
        labels = self.labels_of(batch)
        play = self._discriminate if objective == DISCRIMINATOR else self._generate
        return play(batch.values, labels, draws)

    def _discriminate(self, real: Tensor, labels: Tensor | None, draws: Draws) -> Tensor:
        with torch.no_grad():  # this player moves the discriminator alone
            fake = self._pushed(draws, labels)
        shown = Shown(self._critic(labels), real, fake, draws, bool(self.penalties), self.progress)
        values = full(shown.real_values), full(shown.fake_values)
        penalty = torch.zeros_like(values[0])
        for rule in self.penalties:
            penalty = penalty + rule(shown)
        told = values[0].detach(), values[1].detach()
        self._figures = lambda: {
            "value_real": told[0],
            "value_fake": told[1],
            "accuracy": accuracy(*told),
            "saturation": saturation(self.rule.discriminator, *told, DISCRIMINATOR),
            "penalty": penalty.detach(),
            "diversity": diversity(real, fake),
            "coverage": coverage(real, fake),
        }
        return self.rule.discriminator(*values) + penalty

    def _generate(self, real: Tensor, labels: Tensor | None, draws: Draws) -> Tensor:
        critic = self._critic(labels)
        value = full(critic(self._pushed(draws, labels), draws.at("fake")))
        if self.rule.paired:
            with torch.no_grad():
                standard = full(critic(real, draws.at("real")))
        else:
            standard = torch.zeros_like(value)
        told = standard, value.detach()
        self._figures = lambda: {"generator_saturation": saturation(self.rule.generator, *told, GENERATOR)}
        return self.rule.generator(standard, value)

    def figures(self) -> Mapping[str, Tensor]:
        """What the last call of `loss` tells beside its value (see `gan.diagnostics`)."""
        return self._figures()

    def _critic(self, labels: Tensor | None) -> Callable[[Tensor, Draws], Tensor]:
        def critic(x: Tensor, draws: Draws) -> Tensor:
            repeated = None if labels is None else labels.repeat(len(x) // len(labels))
            with counted(draws.at("dropout")):
                return self.discriminator(self.augment(x, draws.at("augment")), repeated)

        return critic

    def _pushed(self, draws: Draws, labels: Tensor | None) -> Tensor:
        return self.generator(draws.at("latent").normal((self.latent,)), labels)

    # -- use -------------------------------------------------------------------------------------------------------

    def validation_loss(self, batch: Batch, draws: Draws) -> Tensor:
        """The energy score E‖x − g‖ − ½E‖g − g′‖ of each held-out item x, g and g′ generated: (B,).

        Its expectation is lowest where the generated law is the data's (Gneiting & Raftery 2007); twice what it exceeds
        that by is the energy distance. Each item is compared with eight generated ones of its label.
        """
        labels = self.labels_of(batch)
        drawn = [full(self._pushed(draws.at(i), labels)).flatten(1) for i in range(_REHEARSALS)]
        x, g = batch.values.flatten(1)[:, None], torch.stack(drawn, 1)
        between = torch.cdist(g, g).sum((1, 2)) / (_REHEARSALS * (_REHEARSALS - 1))
        return torch.cdist(x, g).mean((1, 2)) - 0.5 * between

    def draw(self, draws: Draws, labels: Tensor | None = None) -> Tensor:
        """One batch of samples in model units: (len(draws), *shape). A model of classes draws those not given evenly.

        Raises UserError for labels that the model does not know.
        """
        if labels is None and self.num_classes:
            labels = draws.at("label").integers(self.num_classes)
        return self._pushed(draws, labels)


def usual_latent(shape: Sequence[int]) -> int:
    """Coordinates of z: as many as a vector has, and at least two; 64 for images."""
    return 64 if len(shape) == 3 else max(2, shape[0])


def usual_weights(shape: Sequence[int]) -> tuple[float, float]:
    """The weight of the penalties at the start and at the end: a tenth for images, less for vectors, whose modes may be
    narrow beside their distances.
    """
    return (0.1, 0.01) if len(shape) == 3 else (0.1, 0.0003)


def usual_penalties(first: float = 0.1, last: float = 0.0003) -> tuple[Penalty, ...]:
    """R1 and R2 with one weight, which falls over the training."""
    return R1(Falling(first, last)), R2(Falling(first, last))


def _check_alone(discriminator: nn.Module) -> None:
    for name, module in discriminator.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise UserError(
                f"The discriminator has batch normalisation ({name}): the value of an item would depend on the others, "
                "and its slope would be theirs; leave it out, or normalise spectra or within items."
            )
