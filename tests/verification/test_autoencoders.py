"""The checks of T05 hold, and fail where something wrong is put in their place."""

from __future__ import annotations

import math

import pytest
import torch

from pushforward.numerics.random import Draws
from pushforward.vae import Diagonal, Elbo, Importance
from pushforward.vae.bounds import Loss
from pushforward.vae.likelihoods import DiscretisedLikelihood
from pushforward.verification import autoencoders
from pushforward.verification.autoencoders import CHECKS
from pushforward.verification.linear_gaussian import WORLD


@pytest.mark.parametrize("check", CHECKS, ids=[check.name for check in CHECKS])
def test_holds(check):
    row = check()
    assert row.passed, row


def tolerance(measure):
    [check] = [c for c in CHECKS if getattr(c.measure, "func", c.measure) is measure]
    return check.tolerance


def fails(measure, wrong):
    found = measure(wrong)
    error = found if isinstance(found, float) else found.error
    return not abs(error) <= tolerance(measure)


class Averaged(Elbo):
    """The mean over six coordinates, which makes the divergence six times as heavy."""

    def __call__(self, joint, draws, *, training):
        terms = joint.terms(draws)
        return Loss(terms.divergence.sum(1) - terms.log_likelihood / 6, {})


class Wide(Diagonal):
    """exp(log σ²) where exp(½ log σ²) is right: a density that is not that of its samples."""

    def sample(self, raw, draws):
        mean, s = raw.chunk(2, 1)
        found = super().sample(raw, draws)
        return found._replace(z=mean + (found.z - mean) * s.exp())


class PublishedValue(Importance):
    """Σ ŵ log w with ŵ held fixed: the gradient is right and the value is not."""

    def __call__(self, joint, draws, *, training):
        log_w = joint.log_weights(draws, range(self.samples))
        return Loss(-(torch.softmax(log_w.detach(), 0) * log_w).sum(0), {})


class Once(Importance):
    """The doubly reparametrised gradient with its weights applied once."""

    def __call__(self, joint, draws, *, training):
        _, log_w = joint.held_log_weights(draws, range(self.samples))
        return Loss(-(torch.softmax(log_w.detach(), 0) * log_w).sum(0), {})


def test_a_wrong_posterior_is_neither_tight_nor_the_best():
    assert fails(autoencoders.tight, WORLD.model(full=False))
    assert fails(autoencoders.mean_field, WORLD.encoded(Diagonal(2), torch.tensor([-1.0, -1.0]).double()))


def test_a_mean_over_pixels_is_found():
    assert fails(autoencoders.summed, Averaged())
    assert fails(autoencoders.summed, Elbo(beta=1.1))


def test_a_divergence_of_the_wrong_sign_or_size_is_found():
    assert fails(autoencoders.decomposition, 1.01)


def test_averaged_bounds_are_no_importance_bound():
    assert fails(autoencoders.monotone, lambda log_w: log_w.mean(0))


def test_a_value_that_is_not_the_bound_is_found():
    assert fails(autoencoders.gradient_of_value, PublishedValue(5))


def test_weights_applied_once_are_found():
    assert fails(autoencoders.doubly, Once(5))


def test_samples_of_another_density_are_found():
    posterior = Wide(2)
    raw = torch.tensor([[0.0, 0.0, -0.5, -0.5]]).double().repeat(10, 1)
    z, log_q = posterior.sample(raw, Draws.of(0, range(10)))
    assert float((posterior.log_prob(z, raw) - log_q).abs().max()) > 0.1
    assert fails(autoencoders.integrates, posterior)


def test_steps_that_leave_something_out_are_found(monkeypatch):
    right = DiscretisedLikelihood.log_prob
    monkeypatch.setattr(DiscretisedLikelihood, "log_prob", lambda self, x, raw: right(self, x, raw) + math.log(0.999))
    assert fails(autoencoders.logistic_steps, 17)
