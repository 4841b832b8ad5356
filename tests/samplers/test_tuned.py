"""The tuned sampler against closed forms, and tuning against exact endpoints on starts that it never saw."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from pushforward.denoisers import (
    EDMPrediction,
    Mixture,
    MixtureDenoiser,
    NetworkDenoiser,
    NoisePrediction,
    reference_flow,
)
from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.paths import EDM, VP, CosineVP, GaussianPath, Straight, Table, linear_betas
from pushforward.samplers import BalancedQuantity, evaluations, interpolation_weights, simulate
from pushforward.samplers.tuned import Tuned
from pushforward.samplers.tuning import Effort, Figures, TuningResult, tune
from pushforward.samplers.tuning.judging import refusal
from pushforward.samplers.unrolled import Coefficients, adams_rows, levels_on, unrolled

SMALL = Effort(starts=256, batch=64, steps=60, reference=64, validation=64, held_out=256)
PATHS = [EDM(), VP(), CosineVP(), Straight(), Table.of_betas(linear_betas())]


def some_sampler(path: GaussianPath, sigma_data: float = 0.5) -> Tuned:
    """Adams-Bashforth weights on three nodes."""
    one = Coefficients((4.0, -4.0), sigma_data, [0.5, -0.5, -1.5], order=2)
    return one.sampler(path.level(path.t_max).ratio)


def two_modes(dtype: torch.dtype = torch.float32) -> Mixture:
    weights, means = torch.tensor([0.4, 0.6], dtype=dtype), torch.tensor([[0.7, 0.2], [-0.9, 0.1]], dtype=dtype)
    return Mixture.of_covariances(weights, means, torch.tensor([0.05, 0.02], dtype=dtype))


SIGMA_DATA = float(two_modes(torch.float64).covariance().diagonal().mean()) ** 0.5


@pytest.fixture(scope="module")
def result() -> TuningResult:
    return tune(MixtureDenoiser(two_modes(), VP()), 4, shape=(2,), sigma_data=SIGMA_DATA, effort=SMALL)


class TestStep:
    @pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)
    def test_a_gaussian_of_the_right_deviation_is_carried_exactly(self, path: GaussianPath) -> None:
        """F = 0 there, so the endpoint is the start in other units, whatever the weights are."""
        data = Mixture.of_covariances(*(torch.tensor(v, dtype=torch.float64) for v in ([1.0], [[0.0]], [0.25])))
        denoiser, sampler = MixtureDenoiser(data, path), some_sampler(path)
        x = torch.linspace(-2, 2, 5, dtype=torch.float64)[:, None]
        end = simulate(denoiser, sampler, x, sampler.levels(path), Draws.of(0, range(5)))
        top = path.level(path.t_max)
        assert torch.allclose(end, 0.5 * x / math.hypot(top.sigma, 0.5 * top.alpha), atol=1e-12)

    @pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)
    def test_the_plan_is_the_unrolled_solver(self, path: GaussianPath) -> None:
        """What is fitted and what is run are written twice; they agree on every path."""
        denoiser = MixtureDenoiser(two_modes(torch.float64), path)
        one = Coefficients((4.0, -4.0), 0.4, [0.5, -0.5, -1.5], order=3)
        with torch.no_grad():
            one.keeps.add_(torch.tensor([0.1, -0.05, 0.02, 0.01]))
            one.corrections.add_(torch.linspace(-0.1, 0.1, 9, dtype=torch.float64).reshape(3, 3))
        sampler = one.sampler(path.level(path.t_max).ratio)
        x = path.prior(Draws.of(0, range(8)).normal((2,), torch.float64))
        ran = simulate(denoiser, sampler, x, sampler.levels(path), Draws.of(0, range(8)))
        assert torch.allclose(ran, unrolled(denoiser, x, one), atol=1e-10)

    def test_it_spends_one_evaluation_per_node_and_none_on_the_way_to_the_first(self) -> None:
        path, sampler = VP(), some_sampler(VP())
        assert [move.evaluations for move in sampler.plan(path, sampler.levels(path))] == [0, 1, 1, 1]
        assert evaluations(sampler, path, sampler.levels(path)) == sampler.evaluations == 3

    def test_a_sample_is_the_same_alone_and_in_a_batch(self) -> None:
        denoiser, sampler = MixtureDenoiser(two_modes(torch.float64), EDM()), some_sampler(EDM())
        x = EDM().prior(Draws.of(0, range(6)).normal((2,), torch.float64))
        levels = sampler.levels(EDM())
        whole = simulate(denoiser, sampler, x, levels, Draws.of(0, range(6)))
        alone = simulate(denoiser, sampler, x[3:4], levels, Draws.of(0, [3]))
        assert torch.allclose(whole[3:4], alone, atol=1e-12)

    def test_another_grid_is_refused_with_the_levels_that_it_needs(self) -> None:
        sampler = some_sampler(VP())
        levels = list(sampler.levels(VP()))
        with pytest.raises(UserError, match=r"tuned for the noise levels σ/α = 152"):
            sampler.plan(VP(), levels[:-1])
        with pytest.raises(UserError, match=r"use its own `levels\(path\)`"):
            sampler.levels(EDM())

    @given(
        st.floats(0.1, 3.0),
        st.one_of(st.just(math.inf), st.floats(50.0, 100.0)),
        st.lists(st.floats(0.02, 40.0), min_size=1, max_size=6, unique=True),
        st.data(),
    )
    def test_storing_keeps_every_bit(self, scale: float, start: float, nodes: list[float], data: st.DataObject) -> None:
        n, number = len(nodes), st.floats(-3, 3)
        keeps = data.draw(st.lists(number, min_size=n + 1, max_size=n + 1))
        rows = tuple(tuple(data.draw(st.lists(number, min_size=i, max_size=i))) for i in range(1, n + 1))
        sampler = Tuned(scale, start, tuple(sorted(nodes, reverse=True)), tuple(keeps), rows)
        assert Tuned.of_json(sampler.to_json()) == sampler

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"keeps": (1.0,)}, "n \\+ 1 numbers"),
            ({"weights": ((1.0,), (1.0,), (1.0,))}, "lengths 1 to n"),
            ({"nodes": (1.0, 2.0, 0.5)}, "must decrease"),
            ({"start": 1.0}, "must decrease"),
            ({"sigma_data": -1.0}, "positive"),
            ({"keeps": (1.0, math.nan, 1.0, 1.0)}, "finite"),
        ],
    )
    def test_numbers_that_cannot_be_are_refused(self, change: dict, message: str) -> None:
        with pytest.raises(UserError, match=message):
            dataclasses.replace(some_sampler(VP()), **change)

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"start": 1, "nodes": "a"}'])
    def test_text_that_is_no_sampler_is_refused(self, text: str) -> None:
        with pytest.raises(UserError, match="not a stored tuned sampler"):
            Tuned.of_json(text)


class TestParts:
    def test_rows_are_the_exponential_adams_weights(self) -> None:
        """Against the planned integrals of `Multistep`, at order 3; the last row is half of φ_n."""
        log_ratios, data = [1.0, 0.3, -0.4, -1.5], 0.5
        rows = adams_rows(torch.tensor(log_ratios, dtype=torch.float64) - math.log(data), 3)
        levels = [EDM().level(float(np.exp(r)) / 80) for r in log_ratios]
        for i in range(3):
            nodes = [level.log_ratio for level in levels[i::-1]][:3]
            root = math.hypot(levels[i + 1].sigma, data)
            wanted = [w / root for w in interpolation_weights(nodes, BalancedQuantity(data), levels[i], levels[i + 1])]
            assert rows[i, i - len(wanted) + 1 : i + 1].tolist() == pytest.approx(wanted[::-1], abs=1e-10)
        assert rows[3].tolist() == pytest.approx([0, 0, 0, math.atan(math.exp(-1.5) / data) / 2])

    @pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)
    def test_levels_follow_their_log_ratio_with_a_gradient(self, path: GaussianPath) -> None:
        """Each of t, α, σ against central differences; σ/α is what was asked for."""
        at, h = torch.tensor([0.8, -0.7], dtype=torch.float64, requires_grad=True), 1e-5

        def scale(name: str, log_ratios: Tensor) -> Tensor:
            return torch.stack([torch.as_tensor(getattr(level, name)) for level in levels_on(path, log_ratios)])

        assert torch.allclose(scale("sigma", at) / scale("alpha", at), at.exp(), rtol=1e-9)
        for name in ("t", "alpha", "sigma"):
            total = scale(name, at).sum()
            slope = torch.autograd.grad(total, at)[0] if total.requires_grad else None  # α of EDM
            low, high = (scale(name, at.detach() + d) for d in (-h, h))
            assert torch.allclose(
                torch.zeros(2).double() if slope is None else slope, (high - low) / (2 * h), atol=1e-5
            )

    def test_nodes_stay_on_the_path_whatever_is_fitted(self) -> None:
        one = Coefficients((2.0, -3.0), 0.5, [1.0, 0.0, -1.0], order=3)
        with torch.no_grad():
            one.gaps.copy_(torch.tensor([-9.0, 5.0, -4.0, -8.0]))
        nodes = one()[0].tolist()
        assert all(a > b for a, b in itertools.pairwise([2.0, *nodes, -3.0]))


class TestTuning:
    def test_it_beats_the_default_on_starts_of_ones_own(self, result: TuningResult) -> None:
        """Other starts and another reference than tuning used: the exact flow."""
        assert result.sampler is not None
        assert result.tuned.rms < 0.7 * result.default.rms
        assert result.tuned.median < 0.2 * result.default.median
        denoiser, path = MixtureDenoiser(two_modes(torch.float64), VP()), VP()
        x = path.prior(Draws.of(77, range(256), "mine").normal((2,), torch.float64))
        ends = simulate(denoiser, result.sampler, x, result.sampler.levels(path), Draws.of(0, range(256)))
        error = (ends - reference_flow(denoiser, x, path.t_max)).square().mean(1)
        assert float(error.mean().sqrt()) < 0.8 * result.default.rms
        assert float(error.sqrt().median()) < 0.2 * result.default.median

    def test_the_same_seed_gives_the_same_sampler(self) -> None:
        effort = dataclasses.replace(SMALL, starts=64, steps=4)
        denoiser = MixtureDenoiser(two_modes(), EDM())
        runs = [
            tune(denoiser, 3, shape=(2,), sigma_data=SIGMA_DATA, effort=effort, seed=seed).tuned for seed in (5, 5, 6)
        ]
        assert runs[0] == runs[1] != runs[2]

    def test_it_is_refused_with_the_reason_where_it_does_not_help(self) -> None:
        """Without fitting, and where the default sampler has already converged."""
        effort = dataclasses.replace(SMALL, steps=1, rate=1e-12, trial=0.0)
        data = Mixture.of_covariances(*(torch.tensor(v) for v in ([1.0], [[0.3]], [0.25])))
        found = tune(MixtureDenoiser(data, EDM()), 24, shape=(1,), sigma_data=0.5, effort=effort)
        assert found.sampler is None
        assert "on 256 held-out starts" in found.reason
        assert "default" in found.reason

    @pytest.mark.parametrize(
        ("tuned", "default", "refused"),
        [
            (Figures(1.0, 1.0), Figures(2.0, 2.0), ""),
            (Figures(2.0, 1.0), Figures(1.0, 2.0), "its rms distance"),
            (Figures(1.0, 2.0), Figures(2.0, 1.0), "its median distance"),
            (Figures(math.nan, 1.0), Figures(2.0, 2.0), "its rms distance"),
        ],
    )
    def test_both_figures_must_be_better(self, tuned: Figures, default: Figures, refused: str) -> None:
        assert refused in refusal(tuned, default, 10)
        assert bool(refused) == bool(refusal(tuned, default, 10))

    def test_progress_rises_to_the_total(self) -> None:
        seen: list[tuple[float, float, float]] = []
        effort = dataclasses.replace(SMALL, starts=64, steps=10)
        denoiser = MixtureDenoiser(two_modes(), EDM())
        tune(denoiser, 3, shape=(2,), sigma_data=0.5, effort=effort, progress=lambda *now: seen.append(now))
        done = [now[0] for now in seen]
        assert done == sorted(done)
        assert done[-1] == pytest.approx(seen[-1][1])
        assert seen[-1][2] == pytest.approx(0, abs=1e-9)

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (
                lambda: tune(MixtureDenoiser(two_modes(), EDM()), 1, shape=(2,), sigma_data=0.5),
                "at least 2 evaluations",
            ),
            (lambda: Effort(starts=0), "counts of at least 1"),
            (lambda: Effort(rate=0.0), "a rate above 0"),
            (lambda: Effort(trial=2.0), "a trial in"),
        ],
    )
    def test_what_cannot_be_is_refused(self, make: object, message: str) -> None:
        with pytest.raises(UserError, match=message):
            make()


class Exact(nn.Module):
    """The ε of N(±1, 0.04) by label on VP, asked through c_noise as a network is, with a weight that must not move."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, time: Tensor, label: Tensor) -> Tensor:
        ratio = torch.exp(4 * time)[:, None]
        alpha, sigma = torch.rsqrt(1 + ratio**2), ratio * torch.rsqrt(1 + ratio**2)
        scaled = x * torch.sqrt(alpha**2 + sigma**2)
        centre = 2.0 * label[:, None] - 1
        return self.weight * sigma * (scaled - alpha * centre) / (alpha**2 * 0.04 + sigma**2)


class TestNetworks:
    def test_a_conditional_network_is_tuned_for_its_labels_and_left_as_it_was(self) -> None:
        network = Exact()
        denoiser = NetworkDenoiser(VP(), network, NoisePrediction(), accepts=("label",))
        found = tune(
            denoiser, 3, shape=(1,), sigma_data=1.0, effort=SMALL, conditions=lambda d: {"label": d.integers(2)}
        )
        assert found.sampler is not None
        assert found.tuned.median < 0.3 * found.default.median
        assert network.weight.grad is None
        assert float(network.weight.detach()) == 1.0
        labels, path = torch.arange(64) % 2, VP()
        x = path.prior(Draws.of(3, range(64), "mine").normal((1,)))
        bound = denoiser.given(label=labels)
        ends = simulate(bound, found.sampler, x, found.sampler.levels(path), Draws.of(0, range(64)))
        assert bool((ends[:, 0].sign() == 2 * labels - 1).all())

    def test_the_gradient_reaches_the_times_that_a_network_is_given(self) -> None:
        """Central differences of the endpoint in one gap between nodes."""
        denoiser = NetworkDenoiser(VP(), Exact().double(), EDMPrediction(0.5), accepts=("label",))
        bound = denoiser.given(label=torch.arange(4) % 2)
        x = VP().prior(Draws.of(3, range(4)).normal((1,), torch.float64))
        one = Coefficients((4.0, -4.0), 0.5, [0.5, -0.5], order=2)
        slope = torch.autograd.grad(unrolled(bound, x, one).sum(), one.gaps)[0][1]
        ends = []
        for h in (-1e-2, 1e-2):
            with torch.no_grad():
                one.gaps[1] += h
                ends.append(float(unrolled(bound, x, one).sum()))
                one.gaps[1] -= h
        assert float(slope) == pytest.approx((ends[1] - ends[0]) / 2e-2, rel=2e-3)
