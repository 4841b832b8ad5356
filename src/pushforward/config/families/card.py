"""CARD from its section: what predicts the response of rows."""

from __future__ import annotations

from pushforward.card.learners import SMALL
from pushforward.card.means import usual_folds
from pushforward.config.family_schema.card import NO_TARGET, CardConfig
from pushforward.data.dataset import Dataset
from pushforward.data.format import Format
from pushforward.data.pairing import Pairing
from pushforward.errors import UserError
from pushforward.models.card import Card, published_card, usual_card


def resolve(config: CardConfig, data: Dataset) -> CardConfig:
    """With what depends on the number of rows filled in. Raises UserError where no response was named."""
    classes = _pairing(data.format).classes is not None
    small = len(data.train) + len(data.validation) <= SMALL if config.small is None else config.small
    folds = usual_folds(small) if config.folds is None else config.folds
    logs = classes and config.setting == "usual" and config.log_probabilities is not False
    return config.model_copy(update={"small": small, "folds": folds, "log_probabilities": logs})


def build(config: CardConfig, form: Format) -> Card:
    """The model of a resolved section."""
    pairing = _pairing(form)
    if config.setting == "published":
        return published_card(pairing, dropout=config.mean_dropout, levels=config.levels)
    return usual_card(
        pairing,
        small=bool(config.small),
        folds=config.folds,
        width=config.width,
        depth=config.depth,
        dropout=config.dropout,
        feature_dropout=config.feature_dropout,
        levels=config.levels,
        log_probabilities=bool(config.log_probabilities),
    )


def describe(config: CardConfig) -> str:
    """The setting, and the size of its network."""
    if config.setting == "published":
        return f"published setting, {config.levels} levels"
    return f"cross-fitted mean, network of {config.depth} layers of width {config.width}, {config.levels} levels"


def _pairing(form: Format) -> Pairing:
    if not isinstance(form.coding, Pairing):
        raise UserError(NO_TARGET)
    return form.coding
