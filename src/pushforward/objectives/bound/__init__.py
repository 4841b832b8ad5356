"""The variational bound −log p(x_0) ≤ L_T + Σ L_{t−1} + L_0 of an ancestral model, term by term (Ho et al. 2020).

Along a grid from noise to clean data the model steps by N(μ, ℓ²), where μ is the mean of q(x_s | x_t, x_0) at
x_0 = E[x_0 | x_t], so that with β̃ its variance and c its weight of x_0

    L_T = KL(q(x_T | x_0) ‖ prior),   L_{t−1} = ½ Σ [log ℓ²/β̃ + β̃/ℓ² − 1 + c²(x_0 − E[x_0 | x_t])²/ℓ²],

and L_0 is the decoder's −log p(x_0) at the last level. ℓ² is the sampler's: `fixed_small`, `fixed_large` or `analytic`,
which takes Var[x_0 | x_t] from the denoiser, be it exact, estimated or learned. Any grid on any path; for the published
bound of a table, `table_levels(table)`. In nats, per sample, summed over coordinates.
"""

from pushforward.objectives.bound.evaluation import Bound, variational_bound
from pushforward.objectives.bound.steps import (
    LastVariance,
    Steps,
    noise_last,
    published_last,
    rounding_levels,
    table_levels,
)
from pushforward.objectives.bound.terms import PIXELS, decoder_term, prior_term, transition_term
from pushforward.objectives.bound.training import Term, bound_loss, hybrid_loss, random_term

__all__ = [
    "PIXELS",
    "Bound",
    "LastVariance",
    "Steps",
    "Term",
    "bound_loss",
    "decoder_term",
    "hybrid_loss",
    "noise_last",
    "prior_term",
    "published_last",
    "random_term",
    "rounding_levels",
    "table_levels",
    "transition_term",
    "variational_bound",
]
