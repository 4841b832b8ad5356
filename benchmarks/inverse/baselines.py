"""What needs no trained network: total variation, conjugate gradients stopped early, a mixture in few components."""

from __future__ import annotations

import numpy as np
import torch
from skimage.restoration import denoise_tv_chambolle
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from torch import Tensor

from pushforward.denoisers import Mixture, MixtureDenoiser
from pushforward.inverse import Exact, Gaussian, cgls
from pushforward.paths import EDM

ITERATIONS = 60


def residual_of(likelihood: Gaussian, x: Tensor) -> Tensor:
    return likelihood.operator.adjoint(likelihood.residual(x))


def total_variation(likelihood: Gaussian, x: Tensor, weight: float) -> Tensor:
    """argmin ‖y − A x‖²/2 + weight · TV(x) by FISTA from x (B, C, H, W), the proximal map by scikit-image."""
    bound = 1.02 * likelihood.operator.norm(tuple(x.shape[1:])) ** 2
    at, before, momentum = x, x, 1.0
    for _ in range(ITERATIONS):
        stepped = (at + residual_of(likelihood, at) / bound).double().numpy()
        proximal = [[denoise_tv_chambolle(c, weight / bound, max_num_iter=20) for c in item] for item in stepped]
        x = torch.from_numpy(np.asarray(proximal)).to(at.dtype)
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        at, before, momentum = x + (momentum - 1) / following * (x - before), x, following
    return x


def least_squares(likelihood: Gaussian, x: Tensor, iterations: float) -> Tensor:
    """x + A⁺(y − A x), stopped after so many conjugate gradients."""
    operator = likelihood.operator
    return x + cgls(operator, operator.adjoint, likelihood.residual(x), int(iterations))


def components(training: Tensor, dimensions: int, mixtures: int) -> Mixture:
    """A mixture of Gaussians on the principal components, what is left over a variance of its own."""
    flat = training.flatten(1).double().numpy()
    pca = PCA(dimensions, random_state=0).fit(flat)
    fit = GaussianMixture(mixtures, reg_covar=1e-4, random_state=0, max_iter=60).fit(pca.transform(flat))
    directions, means = torch.from_numpy(pca.components_).T, torch.from_numpy(pca.mean_ + fit.means_ @ pca.components_)
    spreads, turns = torch.linalg.eigh(torch.from_numpy(fit.covariances_))
    floor = max(float(pca.noise_variance_), 1e-5)
    extra = (spreads - floor).clamp(min=0)
    return Mixture(
        torch.from_numpy(fit.weights_), means, directions @ turns, extra, torch.full((mixtures,), floor).double()
    )


def mixture_mean(mixture: Mixture, likelihood: Gaussian, like: Tensor) -> Tensor:
    """E[x | y] of the mixture, exactly but for 1e-6: the posterior mean at a noise that hides all of x."""
    path = EDM(0.002, 1e4)
    exact = Exact()(MixtureDenoiser(mixture, path), likelihood)
    return exact.estimate(torch.zeros_like(like), path.level(1.0)).mean
