"""Every rule with every sampler on every path: it restores, or is refused with a reason; measurements × samples."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import Tensor

from pushforward.denoisers import Mixture, MixtureDenoiser, NetworkDenoiser
from pushforward.errors import UserError
from pushforward.inverse import (
    DPS,
    MMPS,
    TMPD,
    DiffPIR,
    Exact,
    Fourier,
    Gaussian,
    Guidance,
    Mask,
    PiGDM,
    PlugIn,
    Poisson,
    Proximal,
    PublishedPiGDM,
    RealAsComplex,
    ScoreALD,
    Transmission,
    posterior_samples,
)
from pushforward.inverse.rules import distributed, printed
from pushforward.numerics.random import Draws
from pushforward.paths import EDM, VP, DDIMStrided, Karras, Straight, Table, linear_betas
from pushforward.samplers import (
    DDIM,
    DDPM,
    AdaptiveDPMSolver,
    AdaptiveSampler,
    Ancestral,
    BalancedMultistep,
    Churn,
    DPMSolverPP2M,
    DPMSolverPP3S,
    EulerMaruyama,
    FixedStep,
    FlowHeun,
    FlowSampler,
    Heun,
    Langevin,
    Repeat,
    Restart,
    Sampler,
    SDEDPMSolverPP2M,
    Then,
    UniPC,
    analytic,
    default_sampler,
)

F64 = torch.float64
SHAPE, DIM = (1, 4, 4), 16
MASK = Mask(torch.arange(16).reshape(4, 4) % 2 > 0)
SIGMA = torch.tensor([0.1, 0.3], dtype=F64)

PATHS = {"EDM": EDM(sigma_max=20.0), "VP": VP(), "straight": Straight(), "table": Table.of_betas(linear_betas(100))}
RULES = {
    "PiGDM": PiGDM(),
    "MMPS": MMPS(3),
    "TMPD": TMPD(),
    "DPS": DPS(0.3),
    "plug-in": PlugIn(widening=1.0),
    "score-ALD": ScoreALD(),
    "proximal": Proximal(20),
    "DiffPIR": DiffPIR(),
    "exact": Exact(),
}
SAMPLERS = {
    "default": None,
    "DDIM": Sampler(DDIM, Karras()),
    "DDPM": Sampler(DDPM, Karras()),
    "++2M": Sampler(DPMSolverPP2M, Karras()),
    "++3S": Sampler(DPMSolverPP3S, Karras()),
    "SDE ++2M": Sampler(SDEDPMSolverPP2M, Karras()),
    "balanced": Sampler(BalancedMultistep(), Karras()),
    "Heun": Sampler(Heun(), Karras()),
    "churn": Sampler(Heun(Churn(4.0)), Karras()),
    "UniPC": Sampler(UniPC(), Karras()),
    "flow Heun": Sampler(FlowHeun, Karras()),
    "Maruyama": Sampler(EulerMaruyama(), Karras()),
    "corrector": Sampler(Then(DDPM, Langevin(FixedStep(0.1))), Karras()),
    "repeat": Sampler(Repeat(DDPM, 2), Karras()),
    "restart": Sampler(Restart(DPMSolverPP2M, low=0.1, high=1.0), Karras()),
    "analytic": Sampler(Ancestral(1.0, analytic), Karras()),
    "adaptive": AdaptiveSampler(AdaptiveDPMSolver(2, rtol=0.5)),
    "adaptive flow": FlowSampler(1e-2),
}
ADAPTIVE = {("VP", "PiGDM"), ("VP", "MMPS"), ("VP", "exact"), ("EDM", "PiGDM"), ("straight", "PiGDM")}
"""Paths and rules that are run with adaptive samplers too."""
REASONS = ("α = 0", "α > 0", "needs Var[x_0 | x_t]", "use more steps or a higher restart", "clean data", "t = 1")


def prior(path) -> MixtureDenoiser:
    means = torch.stack([torch.full((DIM,), 0.5), torch.linspace(-1, 1, DIM)]).double()
    spread = torch.full((2, DIM), 0.04, dtype=F64)
    return MixtureDenoiser(Mixture.of_covariances(torch.ones(2, dtype=F64), means, spread), path)


def seen(sigma=SIGMA) -> Gaussian:
    truth = torch.stack([torch.full((DIM,), 0.5), torch.linspace(-1, 1, DIM)]).double().reshape(2, *SHAPE)
    return Gaussian.measure(MASK, truth, sigma, Draws.of(1, range(2), "seen"))


@pytest.mark.parametrize("path_name", PATHS)
@pytest.mark.parametrize("rule_name", RULES)
def test_every_rule_with_every_sampler_on_every_path(rule_name, path_name):
    """Finite, and nearer to the truth, where it is measured, than the prior is; noise of each item its own."""
    likelihood = seen()
    kept, away = MASK.mask.expand(2, *SHAPE), []
    for name, sampler in SAMPLERS.items():
        if name.startswith("adaptive") and (path_name, rule_name) not in ADAPTIVE:
            continue  # they take hundreds of evaluations
        method = Guidance(RULES[rule_name], sampler)
        try:
            found = posterior_samples(
                method, prior(PATHS[path_name]), likelihood, SHAPE, items=2, samples=2, evaluations=20, dtype=F64
            )
        except UserError as reason:
            assert any(words in str(reason) for words in REASONS), f"{name}: {reason}"
            continue
        assert found.shape == (2, 2, *SHAPE)
        assert torch.isfinite(found).all(), name
        away.append(float((found - likelihood.y)[:, kept].square().mean()))
    # 4 samples of a sampler may all miss the mode; those of all samplers do not. Unconditional ones are 0.75 away.
    assert rule_name in ("DPS", "score-ALD") or (sum(away) / len(away)) ** 0.5 < 0.6


def test_complex_measurements_and_other_noise_with_any_sampler():
    truth = torch.full((2, *SHAPE), 0.4, dtype=F64)
    complex_seen = Gaussian.measure(MASK @ Fourier() @ RealAsComplex(), truth, 0.05, Draws.of(1, range(2)))
    tomograph = Transmission(MASK, 100.0)
    counted = Poisson(tomograph, tomograph(truth).round())
    cases = [
        (rule, complex_seen) for rule in (PiGDM(), MMPS(), TMPD(), DPS(), PlugIn(), ScoreALD(), DiffPIR(), Exact())
    ]
    cases += [(rule, counted) for rule in (Proximal(), PlugIn(), DiffPIR())]
    for rule, likelihood in cases:
        for name in ("default", "Heun"):
            found = posterior_samples(
                Guidance(rule, SAMPLERS[name]), prior(EDM()), likelihood, SHAPE, items=2, evaluations=10, dtype=F64
            )
            assert torch.isfinite(found).all(), (rule, name)


def test_a_sample_is_the_same_in_any_batch_and_any_number():
    path, likelihood = VP(), seen()
    method = Guidance(PiGDM())

    def run(**asked) -> Tensor:
        return posterior_samples(method, prior(path), likelihood, SHAPE, evaluations=10, dtype=F64, **asked)

    whole = run(items=2, samples=5)
    assert torch.allclose(run(items=2, samples=3), whole[:3], rtol=0, atol=1e-10)
    assert torch.allclose(run(items=2, samples=5, at_once=3), whole, rtol=0, atol=1e-10)
    first = Gaussian(MASK, likelihood.y[:1], SIGMA[:1])
    alone = posterior_samples(method, prior(path), first, SHAPE, items=1, samples=5, evaluations=10, dtype=F64)
    assert torch.allclose(alone[:, 0], whole[:, 0], rtol=0, atol=1e-10)
    assert not torch.allclose(run(items=2, samples=5, seed=1), whole)
    with pytest.raises(UserError, match="at least 1; got 0, 5"):
        run(items=0, samples=5)


class Counting(torch.nn.Module):
    """A network that knows how often it was called, and how many tensors lived at its last call of `last`."""

    def __init__(self, last: int = 0) -> None:
        super().__init__()
        self.last, self.calls, self.live = last, 0, 0

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == self.last:
            self.live = sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())
        return torch.tanh(x)


@pytest.mark.parametrize(
    "method",
    [*(Guidance(r) for n, r in RULES.items() if n != "exact"), PublishedPiGDM()],
    ids=lambda m: repr(m).partition(" at ")[0],
)
def test_budgets_are_kept_and_progress_is_shown(method):
    from pushforward.denoisers import EDMPrediction

    network, shown = Counting(), []
    denoiser = NetworkDenoiser(EDM(), network, EDMPrediction(0.5))
    found = posterior_samples(
        method, denoiser, seen(), SHAPE, items=2, samples=2, evaluations=14, dtype=F64, observe=shown.append
    )
    assert torch.isfinite(found).all()
    assert network.calls == 14
    assert [p.step for p in shown] == list(range(1, 15))
    assert shown[-1].total == 14
    shown.clear()
    posterior_samples(
        method, denoiser, seen(), SHAPE, items=2, samples=2, evaluations=7, at_once=2, dtype=F64, observe=shown.append
    )
    assert [(p.step, p.total) for p in shown] == [(i, 14) for i in range(1, 15)]


@pytest.mark.parametrize("rule", [PiGDM(), MMPS()], ids=repr)
def test_nothing_piles_up_from_step_to_step(rule):
    from pushforward.denoisers import EDMPrediction

    live = []
    for evaluations in (8, 40):
        network = Counting(evaluations - 1)
        denoiser = NetworkDenoiser(EDM(), network, EDMPrediction(0.5))
        posterior_samples(Guidance(rule), denoiser, seen(), SHAPE, items=2, evaluations=evaluations, dtype=F64)
        live.append(network.live)
    assert live[1] <= live[0] + 2


def test_published_pigdm_is_its_algorithm():
    """Written out on the VP table, where the square roots of ᾱ are α; and on EDM it is the same in scaled states."""
    table, likelihood, draws = Table.of_betas(linear_betas(100)), seen(), Draws.of(7, range(2))
    level, following = table.level(0.6), table.level(0.5)
    a, b, eta = level.alpha**2, following.alpha**2, 0.6
    x = Draws.of(2, range(2)).normal(SHAPE, F64)
    for weight, factor in ((printed, a**0.5), (distributed, (a * b) ** 0.5)):
        state = x.clone().requires_grad_()
        mean = prior(table)(state, level).mean
        inner = (likelihood.y - MASK(mean)).detach() / (1 - a + SIGMA.reshape(-1, 1, 1, 1) ** 2)
        (g,) = torch.autograd.grad(mean, state, (1 - a) * inner)
        noise = (x - a**0.5 * mean.detach()) / (1 - a) ** 0.5
        c1 = eta * ((1 - a / b) * (1 - b) / (1 - a)) ** 0.5
        c2 = (1 - b - c1**2) ** 0.5
        expected = b**0.5 * mean.detach() + c2 * noise + factor * g + c1 * draws.at(0).normal_like(x)
        method = PublishedPiGDM(eta, weight, lambda path, steps: (level, following))
        found = method.restore(prior(table), likelihood, x, 1, draws)
        assert torch.allclose(found, expected, rtol=0, atol=1e-10)
    ratio = [one.sigma / one.alpha for one in (level, following)]
    path = EDM(sigma_max=80.0)
    ends = tuple(path.level(r / 80.0) for r in ratio)
    scaled = PublishedPiGDM(eta, distributed, lambda _, steps: ends).restore(
        prior(path), likelihood, x / a**0.5, 1, draws
    )
    assert torch.allclose(scaled * b**0.5, expected, rtol=0, atol=1e-10)
    strided = PublishedPiGDM().restore(prior(table), likelihood, x, 10, draws)
    assert torch.allclose(
        strided, PublishedPiGDM(grid=DDIMStrided(100)).restore(prior(table), likelihood, x, 10, draws)
    )


def test_eta_has_its_bounds():
    with pytest.raises(UserError, match=r"eta must lie in \[0, 1\]"):
        PublishedPiGDM(eta=2.0)


def test_the_default_sampler_is_as_good_as_its_budget():
    """The grid of the default sampler, at every number of evaluations."""
    method = Guidance(PiGDM())
    path = VP()
    likelihood = seen(0.1)
    fine = posterior_samples(method, prior(path), likelihood, SHAPE, items=2, samples=200, evaluations=40, dtype=F64)
    few = posterior_samples(method, prior(path), likelihood, SHAPE, items=2, samples=200, evaluations=15, dtype=F64)
    assert float((fine.mean(0) - few.mean(0)).abs().max()) < 0.15
    assert default_sampler(path, 15).grid
