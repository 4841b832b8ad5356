"""Chains through the sampler, against the closed form of a law that is linear in its latent."""

from __future__ import annotations

import pytest
import torch

from pushforward.denoisers import Mixture, MixtureDenoiser
from pushforward.errors import UserError
from pushforward.inverse import Gaussian, Matrix
from pushforward.numerics.random import Draws
from pushforward.paths import EDM
from pushforward.posterior import FlowChains, Question, infer

F64 = torch.float64
SIZE = 5
ROOT = Draws.of(0, [0], "root").normal((SIZE, SIZE), F64)[0] / 2
PRIOR = ROOT @ ROOT.T + 0.1 * torch.eye(SIZE, dtype=F64)
OPERATOR = Matrix(Draws.of(1, [0], "operator").normal((3, SIZE), F64)[0])
DENOISER = MixtureDenoiser(
    Mixture.of_covariances(torch.ones(1, dtype=F64), torch.zeros(1, SIZE, dtype=F64), PRIOR[None]), EDM(0.002, 20.0)
)


def question(items: int = 2, sigma: float = 0.5) -> Question:
    x = Draws.of(2, range(items)).normal((SIZE,), F64) @ torch.linalg.cholesky(PRIOR).T
    return Question(DENOISER, Gaussian.measure(OPERATOR, x, sigma, Draws.of(3, range(items))), (SIZE,), items, F64)


def test_the_posterior_of_the_samplers_own_law():
    """g is linear here, so that its law and its posterior are known."""
    method, asked = FlowChains(steps=6, start=10), question()
    root = method.decoder(DENOISER)(torch.eye(SIZE, dtype=F64))
    law, a = root.T @ root, OPERATOR.matrix
    gain = torch.linalg.solve(a @ law @ a.T + 0.25 * torch.eye(3, dtype=F64), a @ law).T
    assert isinstance(asked.likelihood, Gaussian)
    mean, deviation = asked.likelihood.y @ gain.T, (law - gain @ a @ law).diagonal().sqrt()
    found = infer(method, asked, samples=400, evaluations=900)
    assert float(((found.samples.mean(0) - mean) / deviation).abs().max()) < 0.2
    assert torch.allclose(found.samples.std(0) / deviation, torch.ones(2, SIZE, dtype=F64), atol=0.15)
    assert found.accepted is not None and 0.4 < float(found.accepted.mean()) < 0.9


def test_rows_do_not_know_of_one_another():
    method, asked = FlowChains(steps=4, leaps=2, start=5), question()
    together = infer(method, asked, samples=3, evaluations=200)
    apart = infer(method, asked, samples=3, evaluations=200, at_once=1)
    assert torch.allclose(together.samples, apart.samples, atol=1e-9)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: infer(FlowChains(), question(), samples=1, evaluations=200), "at least"),
        (lambda: infer(FlowChains(), question(sigma=0.0), samples=1, evaluations=2000), "sigma = 0"),
        (lambda: FlowChains(fitting=1.0), "between 0 and 1"),
    ],
)
def test_wrong_input_is_one_sentence(make, says):
    with pytest.raises(UserError, match=says):
        make()
