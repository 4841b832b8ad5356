"""The two settings of CARD: the one to use, and the published one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pushforward.card.learners import SMALL
from pushforward.card.means import Mean
from pushforward.data.pairing import Pairing
from pushforward.models.card import Card, published_card, usual_card


@dataclass(frozen=True)
class Usual:
    """Cross-fitted regression, residuals of unit deviation, few steps of the probability flow.

    `folds` are those that a regression which is chosen here is cross-fitted in: 10 up to 3000 rows, else 5.
    `feature_dropout` is of the features that the diffusion is told beside f: with hundreds of them, as of pictures, it
    keeps it from learning the training rows by heart.
    """

    width: int = 128
    depth: int = 2
    dropout: float = 0.1
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    steps: int = 3000
    folds: int | None = None
    feature_dropout: float = 0.0

    def card(self, pairing: Pairing, rows: int, mean: Mean | None = None) -> Card:
        """The model for rows of this kind."""
        return usual_card(
            pairing,
            small=rows <= SMALL,
            mean=mean,
            folds=self.folds,
            width=self.width,
            depth=self.depth,
            dropout=self.dropout,
            feature_dropout=self.feature_dropout,
        )

    def recipe(self, rows: int) -> dict[str, Any]:
        """How it is trained."""
        return {
            "batch_size": self.batch_size,
            "steps": self.steps,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
        }


@dataclass(frozen=True)
class Published:
    """The configuration of the paper's experiments on tables (Han et al. 2022).

    Levels are drawn stratified over the training in place of antithetic pairs; all else is as published. `dropout` is
    that of f, chosen per table there, `amsgrad` is off for its toys. With `validation` the weights that validated best
    are taken; the paper takes the last average, as `validation=0` does.
    """

    dropout: float = 0.0
    epochs: int = 5000
    batch_size: int = 32
    levels: int = 1000
    last_beta: float = 0.02
    amsgrad: bool = True
    ema_decay: float = 0.9999

    def card(self, pairing: Pairing, rows: int, mean: Mean | None = None) -> Card:
        """The model for rows of this kind."""
        return published_card(pairing, mean=mean, dropout=self.dropout, levels=self.levels, last=self.last_beta)

    def recipe(self, rows: int) -> dict[str, Any]:
        """How it is trained."""
        from pushforward.training.schedule import Constant

        return {
            "batch_size": self.batch_size,
            "steps": self.epochs * -(-rows // self.batch_size),
            "learning_rate": 1e-3,
            "warmup_steps": 0,
            "schedule": Constant(),
            "betas": (0.9, 0.999),
            "amsgrad": self.amsgrad,
            "ema_lengths": (),
            "ema_decays": (self.ema_decay,),
        }


DEFAULT, PUBLISHED = Usual(), Published()
Setting = Usual | Published
