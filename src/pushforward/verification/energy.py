"""T10 to T12: energies through networks: what score matching finds, chains that are exact, log Z where it is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from pushforward.data.dataset import Batch
from pushforward.denoisers import EDMPrediction, Mixture, MixtureDenoiser
from pushforward.denoisers.terminal import Moments
from pushforward.energy import (
    HMC,
    MALA,
    DenoisingAt,
    EnergyDenoiser,
    Explicit,
    FiniteDifference,
    GaussianBase,
    Kernel,
    NoiseLadder,
    Point,
    ScoreMatching,
    Sliced,
    SlicedReduced,
    Tempered,
    Unadjusted,
    anneal,
    bennett,
    descend,
    fit_schedule,
    fit_step,
    log_mean,
    run_chain,
    target_of,
)
from pushforward.models.energy import EnergyModel
from pushforward.networks.energy import Gradient, InnerProduct, vector_potential
from pushforward.numerics.random import Draws
from pushforward.paths import CLEAN, EDM, Level
from pushforward.verification.check import Check, Finding
from pushforward.verification.score_matching import COVARIANCE, DRAWS, all_signs, data
from pushforward.verification.worlds import Given, double, hermite, largest

PATH = EDM(sigma_min=0.02, sigma_max=20.0)
LOG_Z = 3.7
MODES = Mixture.of_covariances(
    double(0.5, 0.3, 0.2), double(-1, -0.6, 1.2, -0.4, 0, 1.2).reshape(3, 2), double(0.06, 0.1, 0.15)
)


class _Affine(nn.Module):
    """G(x) = W x + b, with which ½‖x‖² + ⟨x, G(x)⟩ is any quadratic energy."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.zeros(2, 2, dtype=torch.float64))
        self.shift = nn.Parameter(torch.zeros(2, dtype=torch.float64))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return x @ self.matrix.T + self.shift


def all_directions() -> tuple[Tensor, Tensor, Draws]:
    """Points and weights that integrate over the data, each four times for the four directions ±1, ±1."""
    x, weight = data()
    return x.repeat_interleave(4, 0), weight.repeat_interleave(4) / 4, DRAWS


def all_noises() -> tuple[Tensor, Tensor, Draws]:
    """Points and weights that integrate over the data and the noise."""
    (x, weight), (z, mass) = data(), hermite(3, 2)
    both = (weight[:, None] * mass).reshape(-1)
    return x.repeat_interleave(len(z), 0), both, Given(z.repeat(len(x), 1))


Points = Callable[[], tuple[Tensor, Tensor, Draws]]


def recovered(loss: ScoreMatching, wanted: Tensor, points: Points = all_directions) -> float:
    """Λ of an energy network at the minimum of its expected loss, relative to the wanted one."""
    model = EnergyModel(InnerProduct(_Affine()), (2,), loss)
    x, mass, draws = points()
    batch = Batch(x)
    parameters = list(model.parameters())

    def slopes() -> tuple[Tensor, ...]:
        return torch.autograd.grad(mass @ model.loss("loss", batch, draws), parameters, create_graph=True)

    flat = torch.cat([slope.flatten() for slope in slopes()])
    rows = [torch.autograd.grad(slope, parameters, retain_graph=True) for slope in flat]
    hessian = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])
    # ⟨x, Wx⟩ does not see the antisymmetric part of W: the shortest solution
    move = torch.linalg.lstsq(hessian, -flat.detach(), driver="gelsd").solution
    with torch.no_grad():
        for p, part in zip(parameters, move.split([p.numel() for p in parameters]), strict=True):
            p.add_(part.reshape(p.shape))
    centre = torch.zeros(2, dtype=torch.float64)
    found = torch.autograd.functional.hessian(lambda v: model.energy(v[None])[0], centre)
    return float((found - wanted).norm() / wanted.norm())


def network_gradient(shift: float = 0.0) -> float:
    """The estimate of a network of energies, against −∇E by finite differences of E."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        potential = vector_potential(3, 16, 2).double()
    for p in potential.parameters():
        p.data.add_(0.1 * torch.sin(torch.arange(p.numel(), dtype=p.dtype)).reshape(p.shape))
    denoiser = EnergyDenoiser(PATH, Gradient(potential), EDMPrediction(0.7))
    x, level, h = Draws.of(0, range(5)).normal((3,), torch.float64), PATH.level(0.02), 1e-5
    ahead, behind = (
        torch.stack([denoiser.energy(x + s * h * e, level) for e in torch.eye(3, dtype=torch.float64)], 1)
        for s in (1, -1)
    )
    slope = (ahead - behind) / (2 * h)
    return largest((denoiser.estimate(x, level).score + slope + shift).detach() / slope.detach().abs().max())


def ends(kernel: Kernel, target: Callable[[Tensor], Point], x: Tensor, moves: int, draws: Draws) -> Tensor:
    *_, last = run_chain(target, kernel, target(x), moves, draws)
    return last.point.x


def invariant(kernel: Kernel, chains: int = 10_000) -> Finding:
    """Exact samples of a mixture, moved ten times: means, second moments and mode weights in standard errors."""
    exact, draws = MixtureDenoiser(MODES, PATH), Draws.of(0, range(chains), "invariant")
    x = MODES.sample(draws.at("start"))
    moved = ends(kernel, target_of(lambda at: exact.log_prob(at, CLEAN)), x, 10, draws)
    seen = torch.cat((moved, moved.square(), exact.responsibilities(moved, CLEAN)), 1)
    second = MODES.covariance().diagonal() + MODES.mean().square()
    wanted = torch.cat((MODES.mean(), second, MODES.weights))
    z = (seen.mean(0) - wanted) / seen.std(0) * chains**0.5
    return Finding(largest(z), "largest of 7")


def adjusted(step: float = 0.5, chains: int = 20_000) -> Finding:
    """The stationary variance of N(0, 1): with the test 1, without it 1/(1 − ε/2), in standard errors."""
    draws, target = Draws.of(1, range(chains), "adjusted"), target_of(lambda x: -0.5 * x.square().sum(1))
    start = draws.at("start").normal((1,), torch.float64)
    free, exact = (float(ends(k, target, start, 15, draws).var()) for k in (Unadjusted(step), MALA(step)))
    error = math.sqrt(2 / chains)
    worst = largest((free * (1 - step / 2) - 1) / error, (exact - 1) / error)
    return Finding(worst, f"ε = {step:g}: {exact:.3f} with the test, {free:.3f} without")


def acceptance(dim: int = 30) -> Finding:
    """MALA with a fitted step: its mean acceptance against 0.574."""
    draws = Draws.of(2, range(200), "acceptance")
    target = target_of(lambda x: -0.5 * x.square().sum(1))
    fitted = fit_step(target, MALA(1.0), target(draws.at("start").normal((dim,))), 60, draws)
    rates = [moved.accepted for moved in run_chain(target, fitted.kernel, fitted.point, 10, draws.at("after"))]
    found = float(torch.stack(rates).mean())
    return Finding(found - 0.574, f"{found:.3f}")


def _tempered(dim: int) -> tuple[Tempered, Mixture]:
    draws = Draws.of(dim, range(4), "world")
    means = 2.0 * draws.normal((dim,), torch.float64) / math.sqrt(dim)
    world = Mixture.of_covariances(double(0.1, 0.2, 0.3, 0.4), means, double(0.1, 0.2, 0.1, 0.3))
    exact = MixtureDenoiser(world, PATH)
    base = GaussianBase(Moments.of(world.mean(), world.covariance()), torch.float64)
    return Tempered(base, lambda x: exact.log_prob(x, CLEAN) + LOG_Z), world


def log_z(dim: int, chains: int = 1500, rungs: int = 60) -> Finding:
    """log Z of a mixture by tempered chains: in nats."""
    ladder, _ = _tempered(dim)
    draws = Draws.of(3, range(chains), "log z")
    found = log_mean(anneal(fit_schedule(ladder, HMC(0.1, 3), draws[:64].at("pilot"), rungs), draws).log_weight)
    return Finding(found.value - LOG_Z, f"{found.value - LOG_Z:+.3f} ± {found.standard_error:.3f}")


def coverage(seeds: int = 24, chains: int = 80) -> Finding:
    """The miss of log Z over its standard error: its root mean square over seeds is 1, to chance."""
    ladder, _ = _tempered(2)
    schedule = fit_schedule(ladder, HMC(0.1, 2), Draws.of(0, range(64), "pilot"), 10)
    runs = anneal(schedule, Draws.of(4, range(seeds * chains), "coverage")).log_weight.split(chains)
    found = [log_mean(one) for one in runs]
    z = torch.tensor([(one.value - LOG_Z) / one.standard_error for one in found])
    size, inside = float(z.square().mean().sqrt()), int((z.abs() < 1.96).sum())
    return Finding((size - 1) * math.sqrt(2 * seeds), f"{inside} of {seeds} within 1.96 errors, rms {size:.2f}")


def both_ways() -> Finding:
    """Few rungs: up is below log Z, down from exact samples above it, Bennett's estimate on it, in its errors."""
    ladder, world = _tempered(3)
    draws = Draws.of(5, range(500), "both")
    schedule = fit_schedule(ladder, HMC(0.1, 2), draws[:64].at("pilot"), 6)
    up = anneal(schedule, draws).log_weight
    down = descend(schedule, world.sample(draws.at("exact")), draws.at("down")).log_weight
    found = bennett(up, down)
    low, high = float(up.mean()) - LOG_Z, float(down.mean()) - LOG_Z
    shown = f"{low:+.2f} < {found.value - LOG_Z:+.3f} ± {found.standard_error:.3f} < {high:+.2f}"
    return Finding((found.value - LOG_Z) / found.standard_error if low < 0 < high else math.inf, shown)


class _Exact:
    """The energies of a mixture at every level, each with a constant of its own."""

    path = PATH

    def constant(self, level: Level) -> float:
        return LOG_Z + math.sin(3 * float(level.log_ratio))

    def point(self, x: Tensor, level: Level, /) -> Point:
        exact = MixtureDenoiser(MODES, PATH)
        return target_of(lambda at: exact.log_prob(at, level) + self.constant(level))(x)


def in_noise(rungs: int = 40, chains: int = 800) -> Finding:
    """log Z at the smallest noise by chains annealed in noise, in nats."""
    energy = _Exact()
    moments = Moments.of(MODES.mean(), MODES.covariance())
    ladder = NoiseLadder(energy, moments, PATH.level(0.5), PATH.level(PATH.t_min), torch.float64)
    draws = Draws.of(6, range(chains), "noise")
    found = log_mean(anneal(fit_schedule(ladder, HMC(0.5, 2), draws[:64].at("pilot"), rungs), draws).log_weight)
    error = found.value - energy.constant(PATH.level(PATH.t_min))
    return Finding(error, f"{error:+.3f} ± {found.standard_error:.3f}")


PRECISION = torch.linalg.inv(COVARIANCE)
NOISED = torch.linalg.inv(COVARIANCE + 0.3**2 * torch.eye(2, dtype=torch.float64))
LOSSES: tuple[tuple[str, ScoreMatching, Tensor, Points], ...] = (
    ("explicit", Explicit(), PRECISION, all_directions),
    ("sliced", Sliced(probe=all_signs), PRECISION, all_directions),
    ("reduced-variance sliced", SlicedReduced(probe=all_signs), PRECISION, all_directions),
    ("finite-difference", FiniteDifference(0.1, all_signs), PRECISION, all_directions),
    ("denoising", DenoisingAt(0.3), NOISED, all_noises),
)

CHECKS = (
    *(
        Check(
            f"an energy network by {name} score matching",
            "T11",
            f"Λ at the minimum of the expected loss against {'(Σ + σ²I)⁻¹' if wanted is NOISED else 'Σ⁻¹'}",
            1e-8,
            partial(recovered, loss, wanted, points),
        )
        for name, loss, wanted, points in LOSSES
    ),
    Check("the score of an energy at a noise level", "T10", "against finite differences of E", 1e-6, network_gradient),
    Check(
        "MALA leaves a mixture where it is",
        "T12",
        "moments and mode weights of exact samples after 10 moves, in standard errors",
        4.0,
        partial(invariant, MALA(0.1)),
    ),
    Check(
        "HMC leaves a mixture where it is",
        "T12",
        "moments and mode weights of exact samples after 10 moves, in standard errors",
        4.0,
        partial(invariant, HMC(0.03, 4)),
    ),
    Check(
        "the Metropolis test removes Langevin's bias",
        "T12",
        "variance 1 with it, 1/(1 − ε/2) without, in standard errors",
        4.0,
        adjusted,
    ),
    Check("MALA's fitted step", "T12", "mean acceptance against 0.574", 0.05, acceptance),
    *(
        Check(
            f"log Z by annealed importance sampling, {dim} dimensions",
            "T10",
            "a mixture with known Z, nats",
            0.05,
            partial(log_z, dim, rungs=rungs),
        )
        for dim, rungs in ((2, 40), (8, 80))
    ),
    Check(
        "the error of log Z",
        "T10",
        "24 seeds: rms of miss over error against 1, in standard errors",
        4.0,
        coverage,
    ),
    Check("log Z from below, from above and by both", "T10", "Bennett's estimate, in its errors", 4.0, both_ways),
    Check("log Z by chains annealed in noise", "T10", "a mixture with known Z, nats", 0.1, in_noise),
)
