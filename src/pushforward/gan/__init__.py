"""Adversarial training: losses, penalties, augmentation and what tells whether it goes well."""

from pushforward.gan.augment import (
    Augmentation,
    Brightness,
    Contrast,
    Cutout,
    Saturation,
    Sometimes,
    Translation,
    in_turn,
    nothing,
    small_data,
)
from pushforward.gan.diagnostics import Modes, advice, coverage, expected_coverage, modes, recent_figures
from pushforward.gan.losses import (
    Hinge,
    LeastSquares,
    Loss,
    Minimax,
    NonSaturating,
    Relativistic,
    Wasserstein,
)
from pushforward.gan.penalties import R1, R2, Falling, GradientPenalty, Penalty, Shown, Weight

__all__ = [
    "R1",
    "R2",
    "Augmentation",
    "Brightness",
    "Contrast",
    "Cutout",
    "Falling",
    "GradientPenalty",
    "Hinge",
    "LeastSquares",
    "Loss",
    "Minimax",
    "Modes",
    "NonSaturating",
    "Penalty",
    "Relativistic",
    "Saturation",
    "Shown",
    "Sometimes",
    "Translation",
    "Wasserstein",
    "Weight",
    "advice",
    "coverage",
    "expected_coverage",
    "in_turn",
    "modes",
    "nothing",
    "recent_figures",
    "small_data",
]
