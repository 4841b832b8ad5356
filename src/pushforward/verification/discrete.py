"""T25: discrete states in continuous time, on laws small enough to be known exactly."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pushforward.denoisers.table_oracle import TableDenoiser
from pushforward.numerics.counting import categorical
from pushforward.numerics.random import Draws
from pushforward.objectives.jump import auxiliary, rate_gap
from pushforward.paths.amounts import Constant, LogLinear
from pushforward.paths.generators import Absorbing, BirthDeath, Generator, UniformJumps, gaussian_jumps
from pushforward.paths.grids import Uniform, UniformToZero
from pushforward.paths.jump import JumpPath
from pushforward.samplers.jump import JumpAncestral, JumpCorrected, SiteStep, TauLeaping, jump_once
from pushforward.verification.check import Check, Finding

LAW = torch.tensor([0.5, 0.2, 0.25, 0.05], dtype=torch.float64)
"""Of one site; its entropy is 1.16482 nats."""
_ROWS = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.4, 0.5, 0.1]], dtype=torch.float64)
_START = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)


def pair() -> Tensor:
    """Two sites of five symbols that are mostly equal."""
    u = Draws.of(0, range(5), "pair").uniform((5,), torch.float64)
    table = u**3 + 3 * torch.eye(5, dtype=torch.float64)
    return table / table.sum()


def chain(length: int = 4) -> Tensor:
    """The law of a Markov chain of three symbols as a table."""
    table = _START
    for _ in range(length - 1):
        table = table.unsqueeze(-1) * _ROWS
    return table


def chain_entropy(length: int = 4) -> float:
    """The chain rule: H(x_1) + Σ H(x_{i+1} | x_i)."""
    total, law = -(_START * _START.log()).sum(), _START
    for _ in range(length - 1):
        total, law = total - (law[:, None] * _ROWS * _ROWS.log()).sum(), law @ _ROWS
    return float(total)


def generators() -> tuple[Generator, ...]:
    return (
        UniformJumps(129),
        Absorbing(40),
        BirthDeath(64),
        BirthDeath(256),
        gaussian_jumps(8, 2.0, 3.0),
        gaussian_jumps(256),
    )


def transitions(amounts: tuple[float, ...] = (1e-3, 0.5, 20.0)) -> float:
    """The largest difference between e^{cR} applied and the matrix exponential."""
    worst = 0.0
    for generator in generators():
        off = generator.out(torch.arange(generator.states))
        rates = off - torch.diag(off.sum(1))
        for c in amounts:
            truth = torch.linalg.matrix_exp(c * rates)[: generator.symbols]
            worst = max(worst, float((generator.transition(c) - truth).abs().max()))
    return worst


def balance() -> float:
    """π(x)R(x, y) = π(y)R(y, x) for the published discrete Gaussian, 8 and 256 states."""
    worst = 0.0
    for symbols in (8, 256):
        x = torch.arange(symbols, dtype=torch.float64)
        law = torch.exp(-((x + 1 - symbols / 2) ** 2) / (2 * (2.0 * symbols) ** 2))
        law = law / law.sum()
        flow = law[:, None] * gaussian_jumps(symbols, 6.0, 2.0 * symbols).out(torch.arange(symbols))
        worst = max(worst, float((flow - flow.T).abs().max()))
    return worst


def bound_of(path: JumpPath, thought: Tensor = LAW, nodes: int = 80) -> float:
    """The whole bound of one site of law `LAW` under the estimates for the law `thought`, by quadrature in √t."""
    denoiser = TableDenoiser(thought, path)
    roots, weights = np.polynomial.legendre.leggauss(nodes)
    low, high = path.t_min**0.5, path.t_max**0.5
    total = 0.0
    for root, weight in zip((low + (high - low) * (roots + 1) / 2).tolist(), weights.tolist(), strict=True):
        total += weight * (high - low) * root * _mean(path, denoiser, root * root, rate_gap)
    end = path.generator.transition(float(path.total(path.level(path.t_max))))
    total += float((LAW[:, None] * (torch.xlogy(end, end) - torch.xlogy(end, LAW @ end))).sum())
    return total + _mean(path, denoiser, path.t_min, auxiliary)


def _mean(path: JumpPath, denoiser: TableDenoiser, t: float, what: object) -> float:
    """E over x_0 and x_t of a function of (estimate, x_0)."""
    level, states = path.level(t), path.generator.states
    q = path.generator.transition(float(path.total(level)))
    total = 0.0
    for x0 in range(len(LAW)):
        seen = (q[x0] > 0).nonzero().squeeze(1)
        estimate = denoiser.estimate(torch.arange(states)[seen, None], level)
        nats = what(estimate, torch.full((len(seen), 1), x0))  # type: ignore[operator]
        total += float(LAW[x0] * (q[x0, seen] * nats).sum())
    return total


PATHS = {"uniform": JumpPath(UniformJumps(4), Constant(1.2)), "absorbing": JumpPath(Absorbing(4), LogLinear(1e-3))}


def entropy_bound(thought: Tensor = LAW) -> Finding:
    """The bound less the entropy, for uniform and absorbing rates."""
    entropy = -float((LAW * LAW.log()).sum())
    found = {name: bound_of(path, thought) for name, path in PATHS.items()}
    shown = ", ".join(f"{name} {value:.5f}" for name, value in found.items())
    return Finding(max(abs(value - entropy) for value in found.values()), f"{shown}; entropy {entropy:.5f}")


def masked_chain_bound(length: int = 4) -> Finding:
    """The mean over all sets of hidden sites, weighted by L/k, less the entropy of the chain."""
    table = chain(length)
    denoiser = TableDenoiser(table, JumpPath(Absorbing(3), LogLinear()))
    x0 = torch.tensor(list(itertools.product(range(3), repeat=length)))
    total = 0.0
    for k in range(1, length + 1):
        for chosen in itertools.combinations(range(length), k):
            hidden = functional.one_hot(torch.tensor(chosen), length).sum(0).bool()
            log_p = denoiser.estimate(torch.where(hidden, 3, x0), denoiser.path.level(0.5)).log_probabilities
            nats = -(log_p.gather(-1, x0.unsqueeze(-1)).squeeze(-1) * hidden).sum(1)
            total += float((table.flatten() * nats).sum()) / k / math.comb(length, k)
    return Finding(total - chain_entropy(length), f"bound {total:.6f}, entropy {chain_entropy(length):.6f}")


def joint(laws: Tensor) -> Tensor:
    """Laws of sites (X, D, S), all given one state of the whole, as a row of a matrix: (X, S^D)."""
    out = laws[:, 0]
    for site in range(1, laws.shape[1]):
        out = (out[:, :, None] * laws[:, site][:, None, :]).flatten(1)
    return out


def off_by(denoiser: TableDenoiser, step: SiteStep | JumpCorrected, steps: int) -> float:
    """Total variation between what a step's samples would have, infinitely many, and the data: by matrices."""
    path, sites, states = denoiser.path, denoiser.sites, denoiser.path.generator.states
    every = torch.tensor(list(itertools.product(range(states), repeat=sites)))
    law = joint(path.generator.limit().expand(1, sites, -1))[0]
    inner = step.step if isinstance(step, JumpCorrected) else step
    grid = UniformToZero() if isinstance(step, JumpAncestral) else Uniform()
    for t, s in itertools.pairwise(grid(path, steps)):  # type: ignore[arg-type]
        at = inner.law(denoiser.estimate(every, t), s)
        at = functional.pad(at / at.sum(-1, keepdim=True), (0, states - at.shape[-1]))
        law = law @ joint(at)
        if isinstance(step, JumpCorrected) and s.sigma > 0:
            rates = denoiser.estimate(every, s).reverse_rates + path.forward_rates(every, s)
            correct = joint(jump_once(every, rates, step.multiplier * min(t.t - s.t, s.t)))
            law = law @ torch.linalg.matrix_power(correct, step.corrections)
    found = law.reshape([states] * sites)[(slice(path.generator.symbols),) * sites]
    return 0.5 * float((found - denoiser.table).abs().sum())


def _pair() -> TableDenoiser:
    return TableDenoiser(pair(), JumpPath(UniformJumps(5), Constant(5.0), t_min=1e-2))


def leaping_order(step: SiteStep | None = None, counts: tuple[int, ...] = (32, 64, 128)) -> Finding:
    """How far the errors of τ-leaping, less their floor at t_min, are from halving as steps double."""
    denoiser, step = _pair(), step or TauLeaping()
    floor = off_by(denoiser, step, 512)
    errors = [off_by(denoiser, step, count) - floor for count in counts]
    ratios = [a / b for a, b in itertools.pairwise(errors)]
    shown = ", ".join(f"{count} {error + floor:.4f}" for count, error in zip(counts, errors, strict=True))
    return Finding(max(abs(ratio - 2) for ratio in ratios), shown)


def corrector(corrections: int = 2) -> Finding:
    """PC with 32 steps beside leaping with 64: what it is worse by, beyond 0.01."""
    denoiser = _pair()
    both = off_by(denoiser, JumpCorrected(TauLeaping(), corrections), 32), off_by(denoiser, TauLeaping(), 64)
    return Finding(max(0.0, both[0] - both[1] - 0.01), f"corrected 32: {both[0]:.4f}, leaping 64: {both[1]:.4f}")


def parallel_unmasking(counts: tuple[int, ...] = (1, 2, 4, 8, 16, 32)) -> Finding:
    """Total variation of K steps of unmasking with exact conditionals: a half of it when K doubles."""
    denoiser = TableDenoiser(chain(), JumpPath(Absorbing(3), LogLinear(), t_min=1e-9))
    errors = [off_by(denoiser, JumpAncestral(), count) for count in counts]
    shown = ", ".join(f"{count} {error:.4f}" for count, error in zip(counts, errors, strict=True))
    return Finding(abs(errors[-2] / errors[-1] - 2), shown)


def tails(mass: float = 1e-3, count: int = 100_000) -> Finding:
    """How often a tail is drawn, in standard errors from its mass."""
    weights = torch.full((200,), mass / 199, dtype=torch.float64)
    weights[0] = 1 - mass
    found = categorical(weights.expand(1, count, -1), Draws.of(0, [0], "tails"))
    share = float((found > 0).double().mean())
    return Finding((share - mass) / math.sqrt(mass * (1 - mass) / count), f"{share:.5f} of mass {mass:g}")


CHECKS: tuple[Check, ...] = (
    Check("jump processes: transitions", "T25", "closed forms and matrix exponentials", 1e-12, transitions),
    Check("Gaussian rates: detailed balance", "T25", "flows between all pairs of states", 1e-15, balance),
    Check("discrete bound with exact rates is the entropy", "T25", "quadrature and H(p)", 1e-4, entropy_bound),
    Check("masked bound of a chain is its entropy", "T25", "all masks and the chain rule", 1e-9, masked_chain_bound),
    Check("τ-leaping: order 1", "T25", "laws of 32 to 128 steps and 2", 0.4, leaping_order),
    Check("discrete predictor–corrector against leaping", "T25", "laws of 32 and 64 steps", 0.0, corrector),
    Check("parallel unmasking: order 1", "T25", "laws of 16 and 32 steps and 2", 0.1, parallel_unmasking),
    Check("categorical draws: tails", "T25", "draws and their mass, in standard errors", 4.0, tails),
)
