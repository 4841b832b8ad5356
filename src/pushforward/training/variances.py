"""Var[x_0 | x_t] of a trained model, estimated once on its data and stored beside its checkpoints.

`variance.json` names the hash of the weights that it was estimated with, and is taken for those weights alone.
"""

from __future__ import annotations

import json
from pathlib import Path

from pushforward.denoisers.variance import VarianceTable, estimate_variances, squared_error
from pushforward.errors import UserError
from pushforward.models.family import Denoising, Items
from pushforward.numerics.random import Draws, key, permutation
from pushforward.paths.grids import UniformLogSNR
from pushforward.training import storage

VARIANCE = "variance.json"
ITEMS, LEVELS = 256, 25
"""How many items it is estimated on, at how many levels: 6,400 evaluations of the network."""


def read_variances(run: Path, weights: str) -> VarianceTable | None:
    """What was stored in a run's folder for weights of this hash; None where there is none, whole and for them."""
    try:
        stored = json.loads((run / VARIANCE).read_bytes())
        if stored["weights"] != weights:
            return None
        return VarianceTable(*(tuple(map(float, stored[name])) for name in ("log_ratios", "shares")))
    except (OSError, ValueError, KeyError, TypeError, RecursionError, UserError):
        return None


def write_variances(run: Path, weights: str, table: VarianceTable) -> bool:
    """Store a table for the weights of this hash, atomically; False where the folder cannot be written."""
    content = {"weights": weights, "log_ratios": table.log_ratios, "shares": table.shares}
    try:
        storage.replace_file(run / VARIANCE, storage.as_json(content))
    except OSError:
        return False
    return True


def variances_on(model: Denoising, split: Items, seed: int = 0) -> VarianceTable:
    """The mean squared error of E[x_0 | x_t] on items of a split, as Var[x_0 | x_t], at levels uniform in log-SNR.

    For an exact model that is the variance; for a trained one it is what makes an ancestral step of its mean optimal.
    """
    rows = permutation(key(seed, "variance items"), len(split))[:ITEMS]
    batch = split.batch(rows).to(model.device)
    model.eval()
    levels = [level for level in UniformLogSNR(to_clean=False)(model.path, LEVELS - 1) if level.alpha > 0]
    conditions = {"label": batch.labels} if model.num_classes and batch.labels is not None else {}
    told = getattr(model, "conditions", ())
    conditions |= {name: value for name, value in batch.conditions.items() if name in told}
    draws = Draws.of(seed, range(len(rows)), "variance", model.device)
    return estimate_variances(
        model.denoiser(), batch.values, levels, draws, conditions=conditions, estimator=squared_error
    )
