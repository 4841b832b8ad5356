"""T21: latent models of Gaussian data, codes and their gradients, and the units of latents."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pushforward.denoisers import Mixture, MixtureDenoiser
from pushforward.latent import PCA, Code, Standard
from pushforward.numerics.random import Draws
from pushforward.paths import EDM
from pushforward.samplers.default import default_sampler
from pushforward.vae.codebook import Codebook
from pushforward.vae.quantiser import Quantised
from pushforward.verification.check import Check, Finding
from pushforward.verification.worlds import largest

_KEPT, _DIM = 3, 6


def _items() -> Tensor:
    """Items of six numbers whose covariance has the deviations 3, 2, 1, 0.3, 0.2, 0.1 in directions of no meaning."""
    axes = np.linalg.qr(np.vander(np.linspace(0.3, 1.7, _DIM), _DIM))[0]
    z = Draws.of(21, range(2000), "latent").normal((_DIM,), torch.float64).numpy()
    return torch.from_numpy(z * np.array([3.0, 2.0, 1.0, 0.3, 0.2, 0.1]) @ axes.T + 0.7)


def _stage(x: Tensor) -> tuple[PCA, Standard]:
    stage = PCA((_DIM,), _KEPT).double()
    stage.fit(x)
    standard = Standard((_KEPT,)).double()
    standard.measure([stage.code(x)])
    return stage, standard


Decode = Callable[[PCA, Standard, Tensor], Tensor]


def decoded(stage: PCA, standard: Standard, u: Tensor) -> Tensor:
    """Latents in standard units as items."""
    return stage.decode(standard.restored(u))


def rank_k(decode: Decode = decoded) -> Finding:
    """Exact denoising in the latent, decoded: the covariance is that of the data cut at rank k.

    The probability flow of a Gaussian is affine, so its matrix is found from k + 1 starts and nothing is sampled.
    """
    x = _items()
    stage, standard = _stage(x)
    u = standard.standardised(stage.code(x).mean)
    one = torch.ones(1, dtype=torch.float64)
    path = EDM()
    exact = MixtureDenoiser(Mixture.of_covariances(one, u.mean(0)[None], torch.cov(u.T)[None]), path)
    top = path.level(path.t_max)
    starts = torch.cat((torch.zeros(1, _KEPT), torch.eye(_KEPT))).double() * top.sigma
    ends = default_sampler(path, 50, 1.0).sample(exact, starts, 50, Draws.of(0, range(_KEPT + 1)))
    items = decode(stage, standard, ends)
    matrix = (items[1:] - items[0]).T.numpy()
    values, axes = np.linalg.eigh(np.cov(x.T.numpy()))
    cut = (axes[:, -_KEPT:] * values[-_KEPT:]) @ axes[:, -_KEPT:].T
    error = np.linalg.norm(matrix @ matrix.T - cut) / np.linalg.norm(cut)
    return Finding(float(error), f"{_KEPT} of {_DIM} directions, {100 * error:.2f} %")


def _codes() -> tuple[Codebook, Tensor]:
    book = Codebook(5, 2, 0.25).double()
    with torch.no_grad():
        book.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.2], [-0.5, 1.0], [0.4, -1.2], [-1.0, -0.6]]))
    z = Draws.of(3, range(4), "codes").normal((2, 3), torch.float64)
    return book, z


def straight_through(quantise: Callable[[Codebook, Tensor], Quantised] = Codebook.__call__) -> float:
    """The gradient that the encoder is given is that of the decoder at the code, and no code is moved by it."""
    book, z = _codes()
    z = z.requires_grad_()
    found = quantise(book, z)
    nearest = ((z.detach().movedim(1, -1)[..., None, :] - book.weight.detach()) ** 2).sum(-1).argmin(-1)
    e = book.weight.detach()[nearest].movedim(-1, 1)
    loss = (found.vectors**3).sum()
    through, moved = torch.autograd.grad(loss, (z, book.weight), allow_unused=True)
    return largest(through - 3 * e**2, found.vectors.detach() - e, torch.zeros(()) if moved is None else moved)


def commitment(book: Codebook | None = None) -> Finding:
    """β weighs the pull on the encoder: by differences of a sum written out, codes held and encoder held in turn."""
    given, z = _codes()
    book = given if book is None else book
    rows, e = z.movedim(1, -1).reshape(-1, 2), book.weight.detach()
    chosen = ((rows[:, None] - e) ** 2).sum(-1).argmin(-1)
    z = z.requires_grad_()
    pull, push = torch.autograd.grad(book.penalty(z, book(z).codes).sum(), (z, book.weight))
    gap = 2 * (rows - e[chosen])
    expected = torch.zeros_like(e)
    for row, code in zip(gap, chosen.tolist(), strict=True):
        expected[code] -= row
    error = largest(pull.movedim(1, -1).reshape(-1, 2) - 0.25 * gap, push - expected)
    return Finding(error, "encoder 2β(z − e), codes 2Σ(e − z)")


def published() -> Finding:
    """As VQGAN was trained β weighs the codes instead: the same penalty with the places of the two changed."""
    right, z = _codes()
    other = Codebook(5, 2, 0.25, published=True).double()
    other.load_state_dict(right.state_dict())
    z = z.requires_grad_()
    pulls = [torch.autograd.grad(b.penalty(z, b(z).codes).sum(), (z, b.weight)) for b in (right, other)]
    error = largest(pulls[1][0] - 4 * pulls[0][0], 4 * pulls[1][1] - pulls[0][1])
    return Finding(error, "encoder 2(z − e), codes 2βΣ(e − z)")


def units(measure: Callable[[Standard, list[Code]], None] = Standard.measure) -> float:
    """Scale and shift of latents with random encoders are those of all draws, by the law of total variance."""
    mean = Draws.of(4, range(500), "units").normal((2, 3), torch.float64) * 2 + 1
    deviation = 0.2 + Draws.of(5, range(500), "units").uniform((2, 3), torch.float64)
    standard = Standard((2, 3)).double()
    measure(standard, [Code(a, b) for a, b in zip(mean.split(130), deviation.split(130), strict=True)])
    values, spread = mean.numpy(), deviation.numpy()
    total = values.var(axis=(0, 2)) + (spread**2).mean(axis=(0, 2))
    return largest(
        standard.scale[:, 0] - torch.from_numpy(np.sqrt(total)),
        standard.shift[:, 0] - torch.from_numpy(values.mean(axis=(0, 2))),
    )


CHECKS = (
    Check(
        "latent diffusion over principal components",
        "T21",
        "covariance of decoded samples against that of the data at rank k",
        0.02,
        rank_k,
    ),
    Check(
        "gradients pass a codebook straight through",
        "T21",
        "against the derivative written out",
        1e-12,
        straight_through,
    ),
    Check("commitment weighs the encoder's side", "T21", "against both gradients written out", 1e-12, commitment),
    Check("its published placement", "T21", "against the same penalty, sides changed", 1e-12, published),
    Check("units of latents", "T21", "against the law of total variance", 1e-9, units),
)
