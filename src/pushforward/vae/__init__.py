"""Latent-variable models: posteriors, priors, likelihoods of a decoder, the evidence bound and what sharpens it."""

from pushforward.vae.bounds import Bound, Elbo, Importance, Loss, log_mean
from pushforward.vae.importance import Evidence, evidence
from pushforward.vae.joint import Joint, Terms
from pushforward.vae.likelihoods import (
    LOGISTIC,
    NORMAL,
    Bernoulli,
    Categorical,
    DiscretisedLikelihood,
    EachScale,
    GaussianLikelihood,
    Likelihood,
    SharedScale,
    logistic_interval,
)
from pushforward.vae.posteriors import Diagonal, FlowPosterior, FullCovariance, Posterior, iaf_posterior
from pushforward.vae.priors import Prior, VampPrior, aggregate, flow_prior, mixture_prior
from pushforward.vae.quantiser import Quantised, VectorQuantiser

__all__ = [
    "LOGISTIC",
    "NORMAL",
    "Bernoulli",
    "Bound",
    "Categorical",
    "Diagonal",
    "DiscretisedLikelihood",
    "EachScale",
    "Elbo",
    "Evidence",
    "FlowPosterior",
    "FullCovariance",
    "GaussianLikelihood",
    "Importance",
    "Joint",
    "Likelihood",
    "Loss",
    "Posterior",
    "Prior",
    "Quantised",
    "SharedScale",
    "Terms",
    "VampPrior",
    "VectorQuantiser",
    "aggregate",
    "evidence",
    "flow_prior",
    "iaf_posterior",
    "log_mean",
    "logistic_interval",
    "mixture_prior",
]
