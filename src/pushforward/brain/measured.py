"""What ridge says, read as a measurement: then the draws of p(picture | voxels) are those of a linear inverse problem.

A ridge estimate ĉ of the components c is a linear function of the voxels. In a world where c and voxels are jointly
Gaussian, ĉ = G c + b + e with e ~ N(0, S) independent of c, and p(c | ĉ) = p(c | voxels) where ĉ is E[c | voxels]. G,
b and S are found by regressing what ridge said of *held-out* trials on the truth: on trials that it was fitted on it
looks too good. The prior need not be Gaussian: its own sampler of exact posteriors draws from p(x | ĉ).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from pushforward.brain.components import Components
from pushforward.errors import UserError
from pushforward.inverse import Gaussian
from pushforward.inverse.likelihoods.covariance import Covariance
from pushforward.inverse.operators import Matrix


@dataclass(frozen=True, eq=False)
class Measured:
    """ĉ = gain c + offset + e, e ~ N(0, covariance): (k, k), (k,) and (k, k)."""

    gain: np.ndarray
    offset: np.ndarray
    covariance: np.ndarray

    @staticmethod
    def of(said: np.ndarray, true: np.ndarray, *, diagonal: bool = True) -> Measured:
        """From what was said of held-out trials (n, k) and the truth (n, k).

        `diagonal`: each component is read by itself, and the noise is that of each, with their correlations shrunk
        towards none (Ledoit & Wolf 2004); few trials say little of k² numbers. Raises UserError for fewer than k + 3
        trials without it.
        """
        n, k = true.shape
        if n < (4 if diagonal else k + 3):
            raise UserError(f"{n} trials are too few to tell how {k} components are measured")
        centred, moved = true - true.mean(0), said - said.mean(0)
        if diagonal:
            gain = np.diag((centred * moved).sum(0) / np.maximum((centred**2).sum(0), 1e-300))
        else:
            gain = np.linalg.lstsq(centred, moved, rcond=None)[0].T
        rest = moved - centred @ gain.T
        covariance = _shrunk(rest) if diagonal else rest.T @ rest / (n - 1 - k)
        return Measured(gain, said.mean(0) - gain @ true.mean(0), covariance)

    def likelihood(self, said: np.ndarray, components: Components) -> Gaussian:
        """Of items x (m, *shape) in the prior's units, for what was said of m trials, (m, k).

        A component of which ridge knows nothing says the same of every trial: it is left out.
        """
        spread = np.diag(self.covariance)
        tells = spread > 1e-9 * max(float(spread.max()), 1e-300)
        if not tells.any():
            raise UserError("ridge says the same of every trial: the voxels tell nothing of these pictures")
        gain = torch.from_numpy(self.gain[tells])
        matrix = gain @ components.axes
        y = torch.from_numpy(said[:, tells] - self.offset[tells]) + matrix @ components.mean
        noise = torch.from_numpy(self.covariance[np.ix_(tells, tells)])
        return Gaussian.correlated(Matrix(matrix, components.shape), y, Covariance.of_matrix(noise))


def _shrunk(rest: np.ndarray) -> np.ndarray:
    """The covariance of rows (n, k), correlations shrunk towards the identity by Ledoit & Wolf's (2004) share."""
    n, k = rest.shape
    deviation = np.sqrt(np.maximum((rest**2).mean(0), 1e-300))
    z = rest / deviation
    r = z.T @ z / n
    between = float(np.square(r - np.eye(k)).sum())
    within = float(np.square(z[:, :, None] * z[:, None, :] - r).sum((1, 2)).sum()) / n**2 if between else 0.0
    share = min(1.0, within / between) if between else 1.0
    return (share * np.eye(k) + (1 - share) * r) * np.outer(deviation, deviation) * n / (n - 1)


class GaussianLaw(NamedTuple):
    """A normal law: mean (…, k) and covariance (k, k)."""

    mean: np.ndarray
    covariance: np.ndarray


def gaussian_posterior(prior: GaussianLaw, measured: Measured, said: np.ndarray) -> GaussianLaw:
    """p(c | ĉ) in closed form for c ~ N(m, C): precision C⁻¹ + GᵀS⁻¹G, for every row of `said` (m, k)."""
    weight = np.linalg.solve(measured.covariance, measured.gain).T
    covariance = np.linalg.inv(np.linalg.inv(prior.covariance) + weight @ measured.gain)
    pull = (said - measured.offset) @ weight.T + np.linalg.solve(prior.covariance, prior.mean)
    return GaussianLaw(pull @ covariance, covariance)
