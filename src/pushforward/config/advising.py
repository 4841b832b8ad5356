"""What the log of a run advises."""

from __future__ import annotations

from pushforward.config.run import Run
from pushforward.gan import advice
from pushforward.models.gan import GAN
from pushforward.training.loop import METRICS
from pushforward.training.observers import read_log


def advice_on(run: Run) -> tuple[str, ...]:
    """Sentences on what is wrong with an adversarial training and what to do; nothing where all is well.

    Other families have no such signs: the loss of theirs says how well they do.
    """
    if not isinstance(run.generator.model, GAN):
        return ()
    return advice(read_log(run.home / METRICS))
