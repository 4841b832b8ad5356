"""Estimators in scikit-learn's interface that predict with uncertainty."""

from pushforward.estimators.card import CARDClassifier, CARDRegressor
from pushforward.estimators.conformal import Conformal
from pushforward.estimators.settings import DEFAULT, PUBLISHED, Published, Usual

__all__ = ["DEFAULT", "PUBLISHED", "CARDClassifier", "CARDRegressor", "Conformal", "Published", "Usual"]
