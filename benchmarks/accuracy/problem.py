"""What is measured: exact denoising problems, starts with their exact endpoints, and the distance to them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pushforward.denoisers import Denoiser, Estimate, Mixture, MixtureDenoiser, reference_flow
from pushforward.numerics.broadcast import Scalar, expand
from pushforward.numerics.random import Draws
from pushforward.paths import EDM, GaussianPath, Level, Table, linear_betas
from targets import sigma_data, target

x64 = torch.float64
PATHS = {"VP": lambda: Table.of_betas(linear_betas()), "EDM": EDM}
"""VP with β linear as DDPM has it, σ/α from 0.01 to 157; EDM with σ from 0.002 to 80."""

SEED = 2027
"""Of the starts: used for nothing but this comparison; no constant of the library was chosen on them."""


@dataclass(frozen=True)
class FastMixtureDenoiser(Denoiser):
    """E[x_0 | x] of a mixture by two matrix products instead of arrays (B, K, D): what a long comparison needs.

    Equal to `MixtureDenoiser` to rounding, which `check` makes sure of. Every method compared uses this one.
    """

    mixture: Mixture
    path: GaussianPath

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        return Estimate.of_mean(x, level, self.mean(x / expand(level.alpha, x), level.ratio))

    def mean(self, u: Tensor, rho: Scalar) -> Tensor:
        """E[x_0 | x_0 + ρ z = u]: (B, D), for one ρ or one per sample (B,)."""
        m = self.mixture
        k, d = m.means.shape
        rank = m.bases.shape[2]
        axes = m.bases.permute(1, 0, 2).reshape(d, k * rank)
        along = (u @ axes).reshape(-1, k, rank) - torch.einsum("kd,kdr->kr", m.means, m.bases)
        noise = torch.as_tensor(rho, dtype=u.dtype).reshape(-1, 1) ** 2
        outer, inner = m.floors + noise, m.spreads + m.floors[:, None] + noise[:, :, None]  # (B|1, K), (B|1, K, r)
        log_det = torch.log(inner).sum(2)
        quadratic = (along**2 / inner).sum(2)
        if rank < d:
            square = (u**2).sum(1, keepdim=True) - 2 * u @ m.means.T + (m.means**2).sum(1)
            quadratic = quadratic + (square - (along**2).sum(2)).clamp(min=0) / outer
            log_det = log_det + (d - rank) * torch.log(outer)
        share = torch.softmax(torch.log(m.weights) - 0.5 * (quadratic + log_det), 1)
        keep = m.floors / outer
        extra = (m.spreads + m.floors[:, None]) / inner - keep[:, :, None]
        back = (share[:, :, None] * extra * along).reshape(-1, k * rank) @ axes.T
        return (share * (1 - keep)) @ m.means + (share * keep).sum(1, keepdim=True) * u + back

    def check(self) -> None:
        """Raises AssertionError where this is not the library's own oracle."""
        slow = MixtureDenoiser(self.mixture, self.path)
        draws = Draws.of(0, range(64), "check")
        times = torch.linspace(self.path.t_max, self.path.t_min, 64, dtype=x64)
        for t in (*times[::9].tolist(), times):
            level = self.path.level(t)
            x = self.path.mix(self.mixture.sample(draws), draws.at("noise").normal((self.mixture.dim,), x64), level)
            worst = float((self.estimate(x, level).mean - slow.estimate(x, level).mean).abs().max())
            assert worst < 1e-9, f"the fast oracle differs from the library's by {worst:.1e} at t = {t}"


@dataclass(frozen=True)
class Errors:
    """Distance to the exact endpoint per coordinate: over all samples, and of the median sample."""

    rms: float
    median: float


@dataclass(frozen=True)
class Problem:
    """Starts at t_max and where the probability flow takes them, σ → 0. Peers see u = x/α and ρ = σ/α."""

    target: str
    kind: str
    denoiser: FastMixtureDenoiser
    starts: Tensor
    ends: Tensor

    @staticmethod
    def of(name: str, kind: str, count: int, cache: Path | None = None, seed: int = SEED) -> Problem:
        """`count` starts that no tuning has seen, in float64, with endpoints to 1e-8, found once where `cache` is."""
        path = PATHS[kind]()
        denoiser = FastMixtureDenoiser(target(name), path)
        denoiser.check()
        noise = Draws.of(seed, range(count), "accuracy").normal((denoiser.mixture.dim,), x64)
        starts = path.prior(noise)
        file = cache and cache / f"{name}-{kind}-{count}-{seed}.npy"
        if file and file.exists():
            return Problem(name, kind, denoiser, starts, torch.from_numpy(np.load(file, allow_pickle=False)))
        ends = torch.cat([reference_flow(denoiser, part, path.t_max) for part in starts.split(1024)])
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, ends.numpy())
        return Problem(name, kind, denoiser, starts, ends)

    def first(self, count: int) -> Problem:
        """The same problem with its first starts only."""
        return replace(self, starts=self.starts[:count], ends=self.ends[:count])

    @property
    def sigma_data(self) -> float:
        return sigma_data(self.denoiser.mixture)

    @property
    def top(self) -> Level:
        return self.denoiser.path.level(self.denoiser.path.t_max)

    @property
    def range(self) -> tuple[float, float]:
        """(largest, smallest) σ/α of the path."""
        path = self.denoiser.path
        return float(self.top.ratio), float(path.level(path.t_min).ratio)

    def errors(self, ends: Tensor) -> Errors:
        square = ((ends - self.ends) ** 2).mean(1)
        if not bool(square.isfinite().all()):
            return Errors(math.inf, math.inf)
        return Errors(float(square.mean().sqrt()), float(square.sqrt().median()))
