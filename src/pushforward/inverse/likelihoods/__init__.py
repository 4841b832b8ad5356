"""What is known of x, with the measurement bound to it: log-likelihoods, gradients, simulated measurements."""

from pushforward.inverse.likelihoods.counts import Poisson
from pushforward.inverse.likelihoods.covariance import Covariance
from pushforward.inverse.likelihoods.gaussian import Gaussian
from pushforward.inverse.likelihoods.laplace import Laplace
from pushforward.inverse.likelihoods.likelihood import Likelihood, Measurement
from pushforward.inverse.likelihoods.others import Categorical, Energy, Product

__all__ = [
    "Categorical",
    "Covariance",
    "Energy",
    "Gaussian",
    "Laplace",
    "Likelihood",
    "Measurement",
    "Poisson",
    "Product",
]
