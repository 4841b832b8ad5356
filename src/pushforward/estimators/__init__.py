"""Estimators in scikit-learn's interface that predict with uncertainty."""

from pushforward.estimators.classifier import CARDClassifier
from pushforward.estimators.conformal import Conformal
from pushforward.estimators.regressor import CARDRegressor
from pushforward.estimators.settings import DEFAULT, PUBLISHED, Published, Usual

__all__ = ["DEFAULT", "PUBLISHED", "CARDClassifier", "CARDRegressor", "Conformal", "Published", "Usual"]
