"""Energy models where the truth is known: Gaussians from networks, log Z of mixtures, chains, a density in the plane.

1. A network of energies is fitted to a 4-dimensional Gaussian by every score-matching loss; Λ is read from the least
   squares fit of its score on fresh data, beside a control: the same loss, the wrong answer where there is one.
2. log Z of mixtures whose Z is known, by tempered chains: bias, spread and reach of the error bars over seeds.
3. MALA, HMC and Langevin without a test on a mixture, at the step that MALA is fitted to: moments and mode weights.
4. Energies at all noise levels on a mixture in the plane: log p by annealed chains against the exact density.

    nice -n 10 .venv/bin/python benchmarks/energy/exact.py [--only 1 2 3 4]
"""

from __future__ import annotations

import argparse
import math
import time

import torch

from pushforward.data.dataset import Batch
from pushforward.denoisers import EDMPrediction, Mixture, MixtureDenoiser
from pushforward.denoisers.terminal import Moments
from pushforward.energy import (
    HMC,
    MALA,
    DenoisingAt,
    Explicit,
    FiniteDifference,
    GaussianBase,
    Sliced,
    SlicedReduced,
    Tempered,
    Unadjusted,
    anneal,
    effective_size,
    fit_schedule,
    fit_step,
    log_mean,
    run_chain,
    target_of,
)
from pushforward.models.energy import EnergyModel
from pushforward.models.noisy_energy import NoisyEnergyModel
from pushforward.networks.energy import vector_potential
from pushforward.numerics.random import Draws
from pushforward.paths import CLEAN, EDM, LogNormalTimes, Stratified

ROOT = torch.tensor([[0.9, 0, 0, 0], [0.3, 0.7, 0, 0], [-0.2, 0.1, 1.1, 0], [0.4, -0.3, 0.2, 0.8]])
PATH = EDM(sigma_min=0.05, sigma_max=20.0)
LOG_Z = 3.7


def descend(model, sample, steps: int, batch: int, rate: float = 3e-3) -> float:
    """Train on fresh data; the processor seconds that it took."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.99))
    began = time.process_time()
    model.train()
    for i in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (i + 1) / 50) * 0.5 * (1 + math.cos(math.pi * i / steps))
        draws = Draws.of(0, range(i * batch, (i + 1) * batch), "train")
        loss = model.loss("loss", Batch(sample(draws.at("data"))), draws).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    model.eval()
    return time.process_time() - began


def gaussian(steps: int = 400, sigma: float = 0.3) -> None:
    covariance = ROOT @ ROOT.T
    exact = torch.linalg.inv(covariance)
    noised = torch.linalg.inv(covariance + sigma**2 * torch.eye(4))
    losses = {
        "explicit": (Explicit(), exact),
        "sliced": (Sliced(), exact),
        "sliced, reduced variance": (SlicedReduced(), exact),
        "finite differences": (FiniteDifference(), exact),
        "denoising, σ = 0.3": (DenoisingAt(sigma), noised),
    }
    print("| loss | relative error of Λ | against the other Λ | processor s |\n|---|---|---|---|")
    for name, (loss, wanted) in losses.items():
        torch.manual_seed(0)
        model = EnergyModel(vector_potential(4, 32, 2), (4,), loss)
        seconds = descend(model, lambda draws: draws.normal((4,)) @ ROOT.T, steps, 256, 2e-3)
        x = (Draws.of(1, range(4000)).normal((4,)) @ ROOT.T).requires_grad_()
        if wanted is noised:
            x = (x + sigma * Draws.of(2, range(4000)).normal((4,))).detach().requires_grad_()
        slope = torch.autograd.grad(model.energy(x).sum(), x)[0]
        found = torch.linalg.lstsq(torch.cat((x.detach(), torch.ones(len(x), 1)), 1), slope).solution[:4]
        other = noised if wanted is exact else exact
        errors = [float((found - w).norm() / w.norm()) for w in (wanted, other)]
        print(f"| {name} | {100 * errors[0]:.1f} % | {100 * errors[1]:.1f} % | {seconds:.0f} |", flush=True)


def world(dim: int) -> Mixture:
    """Four components of unlike weights and widths, some of them apart."""
    means = 2.0 * Draws.of(dim, range(4), "world").normal((dim,), torch.float64) / math.sqrt(dim)
    weights, widths = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.1, 0.3]], dtype=torch.float64)
    return Mixture.of_covariances(weights, means, widths)


def known_z(seeds: int = 24) -> None:
    heads = ("d", "rungs × chains", "largest miss", "mean miss", "error bar", "within 1.96", "rms miss/error", "ESS")
    print(f"| {' | '.join(heads)} | sd of log w | s |")
    print("|" + "---|" * 10)
    for dim, rungs, chains in ((2, 40, 400), (5, 60, 400), (10, 80, 400)):
        mixture = world(dim)
        exact = MixtureDenoiser(mixture, PATH)
        base = GaussianBase(Moments.of(mixture.mean(), mixture.covariance()), torch.float64)
        ladder = Tempered(base, lambda x, exact=exact: exact.log_prob(x, CLEAN) + LOG_Z)
        began = time.process_time()
        schedule = fit_schedule(ladder, HMC(0.1, 3), Draws.of(0, range(64), "pilot"), rungs)
        found, sizes, spreads = [], [], []
        for seed in range(seeds):
            weight = anneal(schedule, Draws.of(seed, range(chains), "chains")).log_weight
            found.append(log_mean(weight))
            sizes.append(effective_size(weight))
            spreads.append(float(weight.std()))
        miss = torch.tensor([one.value - LOG_Z for one in found])
        error = torch.tensor([one.standard_error for one in found])
        z = miss / error
        inside, size = int((z.abs() < 1.96).sum()), float(z.square().mean().sqrt())
        print(
            f"| {dim} | {rungs} × {chains} | {float(miss.abs().max()):.3f} | {float(miss.mean()):+.4f} | "
            f"{float(error.mean()):.4f} | {inside} of {seeds} | {size:.2f} | "
            f"{sum(sizes) / seeds:.0f} | {sum(spreads) / seeds:.2f} | {(time.process_time() - began) / seeds:.1f} |",
            flush=True,
        )


def chains(count: int = 20_000, moves: int = 20) -> None:
    print(
        "| kernel | acceptance | largest z of means and second moments | largest z of mode weights |\n|---|---|---|---|"
    )
    mixture = world(5)
    exact = MixtureDenoiser(mixture, PATH)
    target = target_of(lambda x: exact.log_prob(x, CLEAN))
    draws = Draws.of(0, range(count), "chains")
    x = mixture.sample(draws.at("start"))
    fitted = {
        k: fit_step(target, k, target(x[:500]), 60, draws[:500].at("fit")).kernel for k in (MALA(0.1), HMC(0.05, 4))
    }
    kernels = [*fitted.values(), Unadjusted(fitted[MALA(0.1)].step)]
    second = mixture.covariance().diagonal() + mixture.mean().square()
    for kernel in kernels:
        rates, point = [], target(x)
        for moved in run_chain(target, kernel, point, moves, draws.at("run")):
            rates.append(float(moved.accepted.mean()))
            point = moved.point
        seen = torch.cat((point.x, point.x.square(), exact.responsibilities(point.x, CLEAN)), 1)
        wanted = torch.cat((mixture.mean(), second, mixture.weights))
        z = ((seen.mean(0) - wanted) / seen.std(0) * count**0.5).abs()
        name = f"{type(kernel).__name__}, ε = {kernel.step:.3g}"
        print(
            f"| {name} | {sum(rates) / moves:.3f} | {float(z[:10].max()):.1f} | {float(z[10:].max()):.1f} |", flush=True
        )


def plane(steps: int = 800) -> None:
    covariances = torch.tensor(
        [[[0.06, 0.03], [0.03, 0.05]], [[0.1, -0.02], [-0.02, 0.03]], [[0.04, 0.0], [0.0, 0.12]]]
    )
    means = torch.tensor([[-1.0, -0.6], [1.2, -0.4], [0.0, 1.2]])
    mixture = Mixture.of_covariances(torch.tensor([0.5, 0.3, 0.2]), means, covariances)
    deviation = float(mixture.covariance().diagonal().mean().sqrt())
    level = PATH.level(PATH.t_min)
    x = mixture.sample(Draws.of(1, range(4000))) + level.sigma * Draws.of(2, range(4000)).normal((2,))
    exact = MixtureDenoiser(mixture, PATH).log_prob(x, level)
    line = torch.linspace(-5, 5, 401)
    grid = torch.stack(torch.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)
    heads = ("knee", "log Z", "mean log p", "exact", "divergence", "median error of log p", "∫ p, quadrature")
    print(f"| {' | '.join(heads)} | mode weights | s |")
    print("|" + "---|" * 9)
    for knee in (0.0, 0.3):
        torch.manual_seed(0)
        times = Stratified(LogNormalTimes(-1.2, 1.2, deviation))
        model = NoisyEnergyModel(vector_potential(2, 64, 2, knee=knee), PATH, EDMPrediction(deviation), times, (2,))
        seconds = descend(model, mixture.sample, steps, 512)
        found = model.estimate_log_z(Draws.of(0, range(1000), "log Z"), rungs=60)
        nats = model.log_prob(x)
        mass = float(model.log_prob(grid).exp().sum()) * float(line[1] - line[0]) ** 2
        drawn = MixtureDenoiser(mixture, PATH).responsibilities(model.draw(Draws.of(3, range(4000))), level).mean(0)
        miss = nats - exact
        print(
            f"| {knee} | {found.value:.3f} ± {found.standard_error:.3f} | {float(nats.mean()):.3f} | "
            f"{float(exact.mean()):.3f} | {-float(miss.mean()):.3f} | {float(miss.abs().median()):.3f} | {mass:.3f} | "
            f"{', '.join(f'{share:.2f}' for share in drawn)} | {seconds:.0f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=int, nargs="+", default=[1, 2, 3, 4])
    torch.set_num_threads(1)
    parts = (gaussian, known_z, chains, plane)
    for number in parser.parse_args().only:
        parts[number - 1]()
        print(flush=True)


if __name__ == "__main__":
    main()
