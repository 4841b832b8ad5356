"""T24, T27, T29: operators are what they say, and rules of guidance are exact where theory says that they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from scipy.ndimage import convolve
from torch import Tensor

from pushforward.denoisers import Mixture, MixtureDenoiser
from pushforward.inverse import (
    JPEG,
    MMPS,
    TMPD,
    AveragePool,
    Blur,
    ChannelsAsComplex,
    Clip,
    Diagonal,
    Energy,
    Fourier,
    Function,
    Gaussian,
    Laplace,
    LinearOperator,
    Magnitude,
    Mask,
    Matrix,
    Operator,
    PiGDM,
    PlugIn,
    Proximal,
    Quantise,
    RealAsComplex,
    Rule,
    Shape,
    Transmission,
    ZeroBlur,
    bicubic,
    compressed_sensing,
    condition,
    fan,
    gaussian_kernel,
    grey,
    isotropic_variance,
    log_evidence,
    parallel,
    sense,
    separable_blur,
    stack,
    subsampled_fourier,
)
from pushforward.numerics.random import Draws
from pushforward.paths import EDM, VP, GaussianPath, Straight
from pushforward.verification.check import Check, Finding
from pushforward.verification.worlds import double, largest

F64 = torch.float64
IMAGE: Shape = (3, 8, 8)
DIM = 16
SQUARE: Shape = (1, 4, 4)


def noise(purpose: str, *shape: int, batch: int = 1) -> Tensor:
    """Counted standard normals, float64."""
    return Draws.of(0, range(batch), purpose).normal(shape, F64)


def complex_noise(purpose: str, *shape: int, batch: int = 1) -> Tensor:
    return torch.complex(noise(purpose, *shape, batch=batch), noise(purpose + " i", *shape, batch=batch))


def kernel(odd: bool = True) -> Tensor:
    """A kernel without symmetry, of an odd or an even size."""
    return noise("kernel", 5, 3)[0] if odd else noise("kernel", 4, 2)[0]


KEEP = torch.arange(64).reshape(8, 8) % 3 > 0
LINES = torch.arange(8) % 2 > 0
LINES_OF_KERNEL = noise("down", 5)[0], noise("across", 4)[0]
OPERATORS: dict[str, tuple[str, Callable[[], tuple[LinearOperator, Shape]]]] = {
    "mask": ("T27", lambda: (Mask(KEEP), IMAGE)),
    "dense matrix": ("T27", lambda: (Matrix(noise("matrix", 7, 16)[0], SQUARE), SQUARE)),
    "periodic blur": ("T27", lambda: (Blur(kernel()), IMAGE)),
    "blur, zeros beyond the image": ("T27", lambda: (ZeroBlur(kernel(odd=False)), IMAGE)),
    "separable blur": ("T27", lambda: (separable_blur(*LINES_OF_KERNEL, (8, 8)), IMAGE)),
    "separable blur, periodic": ("T27", lambda: (separable_blur(*LINES_OF_KERNEL, (8, 8), periodic=True), IMAGE)),
    "weights": ("T27", lambda: (Diagonal(noise("weights", 8, 8)[0]), IMAGE)),
    "a callable, differentiated": ("T27", lambda: (Function(lambda x: x[..., 1:] - 2 * x[..., :-1], IMAGE), IMAGE)),
    "average pooling": ("T27", lambda: (AveragePool(2), IMAGE)),
    "bicubic reduction": ("T27", lambda: (bicubic((8, 8), 2), IMAGE)),
    "mixing of colours": ("T27", lambda: (grey(), IMAGE)),
    "Walsh–Hadamard": ("T27", lambda: (compressed_sensing((4, 4, 4), 50, 0), (4, 4, 4))),
    "blur, then pooling": ("T27", lambda: (AveragePool(2) @ Blur(kernel()), IMAGE)),
    "stack of two": ("T27", lambda: (stack(Mask(KEEP), 2.0 * Blur(kernel()), shape=IMAGE), IMAGE)),
    "MRI": ("T29", lambda: (subsampled_fourier(LINES) @ RealAsComplex(), (1, 8, 8))),
    "Fourier transform": ("T29", lambda: (Fourier(centred=True), (1, 8, 8))),
    "MRI of two channels": ("T29", lambda: (subsampled_fourier(LINES) @ ChannelsAsComplex(), (2, 8, 8))),
    "MRI of several coils": ("T29", lambda: (sense(complex_noise("maps", 4, 8, 8)[0], LINES), (1, 8, 8))),
    "tomography, parallel rays": ("T29", lambda: (parallel(16, 7), (1, 16, 16))),
    "tomography, fan of rays": ("T29", lambda: (fan(16, 7), (1, 16, 16))),
}


def adjoint(make: Callable[[], tuple[LinearOperator, Shape]]) -> float:
    """Re⟨A x, y⟩ against Re⟨x, A* y⟩, the sums by NumPy, relative to ‖A x‖ ‖y‖."""
    operator, shape = make()
    draw = complex_noise if operator.x_complex else noise
    x = draw("x", *shape, batch=3)
    image = operator(x)
    y = (complex_noise if image.is_complex() else noise)("y", *image.shape[1:], batch=3)
    pairs = [(a.numpy().reshape(3, -1), b.numpy().reshape(3, -1)) for a, b in ((image, y), (x, operator.adjoint(y)))]
    left, right = ((a.conj() * b).real.sum(1) for a, b in pairs)
    size = np.linalg.norm(pairs[0][0], axis=1) * np.linalg.norm(pairs[0][1], axis=1)
    return largest((left - right) / size)


def dense(operator: LinearOperator, shape: Shape) -> np.ndarray:
    """The matrix on real flattened items, complex numbers as two real ones."""
    columns = operator(torch.eye(math.prod(shape), dtype=F64).reshape(-1, *shape))
    columns = torch.view_as_real(columns) if columns.is_complex() else columns
    return columns.flatten(1).T.numpy()


def singular() -> Finding:
    """Singular values against those of NumPy's decomposition of the matrix, and A⁺ against its pseudo-inverse."""
    error, seen = 0.0, 0
    for _, make in OPERATORS.values():
        operator, shape = make()
        if operator.x_complex or operator.svd(shape) is None:
            continue
        system, matrix = operator.svd(shape), dense(operator, shape)
        values = np.sort(system.s.expand(1, *system.s.shape[1:]).flatten().numpy())[::-1] if system else np.zeros(1)
        truth = np.linalg.svd(matrix, compute_uv=False)
        if 2 * len(values) == len(truth):  # components are complex: each is two real ones of the matrix
            values = np.repeat(values, 2)
        count = min(len(values), len(truth))
        y = operator(noise("x", *shape))
        flat = (torch.view_as_real(y) if y.is_complex() else y).flatten().numpy()
        found = operator.pseudo_inverse(y).flatten().numpy()
        error = largest(
            error,
            (values[:count] - truth[:count]) / truth[0],
            np.append(values[count:], 0.0) / truth[0],
            found - np.linalg.pinv(matrix, rcond=1e-10) @ flat,
        )
        seen += 1
    return Finding(error, f"{seen} operators")


def convolution() -> float:
    """Blurs of odd and even kernels against SciPy's convolution, periodic and with zeros beyond the image."""
    image, error = noise("image", 9, 7)[0], 0.0
    for odd in (True, False):
        taps = kernel(odd)
        for operator, mode in ((Blur(taps), "wrap"), (ZeroBlur(taps), "constant")):
            truth = convolve(image.numpy(), taps.numpy(), mode=mode)
            error = largest(error, operator(image[None, None])[0, 0].numpy() - truth)
    return error


def chords() -> Finding:
    """Projections of a disc off the middle against the lengths of its chords; what is left is the squares of pixels."""
    size, radius, centre = 64, 20.0, (5.0, -7.0)
    fine = (np.arange(size * 8) + 0.5) / 8 - size / 2
    inside = (fine[None, :] - centre[0]) ** 2 + (-fine[:, None] - centre[1]) ** 2 <= radius**2  # y upwards
    image = torch.from_numpy(inside.reshape(size, 8, size, 8).mean((1, 3)))
    worst = 0.0
    for radon in (parallel(size, 30), fan(size, 30)):
        points, directions = (v.numpy() for v in radon.geometry.rays())
        away = points - np.array(centre)
        distance = away[..., 0] * directions[..., 1] - away[..., 1] * directions[..., 0]
        truth = 2 * np.sqrt(np.clip(radius**2 - distance**2, 0, None))
        found = radon(image[None, None])[0, 0].numpy()
        worst = max(worst, float(np.abs(found - truth).sum() / truth.sum()))
    return Finding(worst)


NONLINEAR: dict[str, Callable[[], Operator]] = {
    "magnitude": lambda: Magnitude(Fourier() @ RealAsComplex()),
    "clipping": lambda: Clip(-0.5, 0.5, 2.0),
    "quantisation": lambda: Quantise(8, -1.0, 1.0),
    "JPEG": lambda: JPEG(50, -1.0, 1.0),
    "transmission": lambda: Transmission(parallel(16, 7), 1e4),
}


def pseudo_inverses() -> float:
    """h(h†(h(x))) = h(x)."""
    error = 0.0
    for make in NONLINEAR.values():
        h, x = make(), 0.3 * noise("x", 1, 16, 16)
        y = h(x.abs() / 10 if isinstance(h, Transmission) else x)
        error = largest(error, (h(h.pseudo_inverse(y)) - y) / y.abs().max())
    return error


ROOT = noise("root", DIM, DIM)[0] / 4
MEAN = torch.linspace(-1, 1, DIM, dtype=F64)
FULL = ROOT @ ROOT.T + 0.05 * torch.eye(DIM, dtype=F64)
ROUND = 0.25 * torch.eye(DIM, dtype=F64)
APART = torch.diag(torch.linspace(0.05, 1.0, DIM, dtype=F64))
PATHS: tuple[GaussianPath, ...] = (VP(), EDM(), Straight())
GUIDING: tuple[LinearOperator, ...] = (
    Mask(torch.arange(16).reshape(4, 4) % 3 > 0),
    Blur(gaussian_kernel(3, 0.8, F64)),
    Mask(torch.arange(16).reshape(4, 4) % 2 > 0) @ Fourier() @ RealAsComplex(),
    compressed_sensing(SQUARE, 9, 0),
)
ALONE: tuple[LinearOperator, ...] = (Diagonal(torch.linspace(0.5, 2, DIM, dtype=F64).reshape(4, 4)),)


def guided(
    rule: Rule, covariance: Tensor, operators: tuple[LinearOperator, ...] = GUIDING, sigma: float = 0.1
) -> float:
    """E[x_0 | x_t, y] of a Gaussian prior against NumPy's solution of the normal equations."""
    error, prior = 0.0, np.linalg.inv(covariance.numpy())
    root = torch.linalg.cholesky(covariance)
    truth = (MEAN + noise("truth", DIM, batch=3) @ root.T).reshape(3, *SQUARE)
    for operator in operators:
        a = dense(operator, SQUARE)
        seen = Gaussian.measure(operator, truth, sigma, Draws.of(1, range(3)))
        y = (torch.view_as_real(seen.y) if seen.y.is_complex() else seen.y).flatten(1).numpy()
        for path in PATHS:
            denoiser = MixtureDenoiser(Mixture.of_covariances(double(1.0), MEAN[None], covariance[None]), path)
            for level in path.levels([0.1, 0.7]):
                x = path.mix(truth, noise("z", *SQUARE, batch=3), level)
                precision = (level.alpha / level.sigma) ** 2 * np.eye(DIM) + prior + a.T @ a / sigma**2
                right = level.alpha / level.sigma**2 * x.flatten(1).numpy() + prior @ MEAN.numpy() + y @ a / sigma**2
                mean = np.linalg.solve(precision, right.T).T
                error = largest(error, rule(denoiser, seen)(x, level).mean.flatten(1).numpy() - mean)
    return error


def mismatched() -> Finding:
    """The published r_t² presumes data of variance 1: of variance 1/4 it errs, while the data's own does not."""
    error = guided(PiGDM(), ROUND)
    return Finding(error, f"with the published variance {guided(PiGDM(isotropic_variance(1.0)), ROUND):.2f}")


def tilted() -> float:
    """exp(b·x) shifts the mean of N(μ, C) by C b: for likelihoods by their gradient at the mean, and by a prox."""
    b, error = noise("tilt", *SQUARE), 0.0
    tilt = Energy(lambda x: -(x * b).flatten(1).sum(1))
    for path in PATHS:
        denoiser = MixtureDenoiser(Mixture.of_covariances(double(1.0), MEAN[None], FULL[None]), path)
        for level in path.levels([0.1, 0.6]):
            x = path.mix(MEAN.reshape(1, *SQUARE), noise("z", *SQUARE), level)
            inner = (
                np.linalg.inv(np.linalg.inv(FULL.numpy()) + (level.alpha / level.sigma) ** 2 * np.eye(DIM))
                @ b.flatten().numpy()
            )
            for rule in (PlugIn(), Proximal()):
                shift = rule(denoiser, tilt)(x, level).mean - denoiser(x, level).mean
                error = largest(error, shift.flatten().numpy() - inner)
    return error


def shrunk() -> float:
    """With Laplace noise of scale b, x* = m + clip(y − m, ±r²/b), but for the rounded tip of |u|."""
    m, y, scale, variance = noise("m", DIM, batch=1), noise("y", DIM, batch=1), 0.3, 0.15
    denoiser = MixtureDenoiser(Mixture.of_covariances(double(1.0), torch.zeros(1, DIM, dtype=F64), ROUND[None]), EDM())
    level = EDM().level(0.01)
    x = m * (0.25 + level.sigma**2) / 0.25  # the state whose mean is m
    seen = Laplace(Mask(torch.ones(DIM)), y, scale)
    rule = Proximal(400, lambda level: variance, jacobian=False)
    found = rule(denoiser, seen)(x, level).mean.numpy()
    limit = variance / scale
    return largest(found - (m + (y - m).clamp(-limit, limit)).numpy())


def conditioned() -> float:
    """p(x | y) and p(y) of a mixture in the plane against sums over a fine grid."""
    means, covariances = (
        np.array([[-1.0, 0.5], [1.0, -0.2]]),
        np.array([[[0.3, 0.2], [0.2, 0.4]], [[0.2, -0.1], [-0.1, 0.1]]]),
    )
    prior = Mixture.of_covariances(double(0.3, 0.7), torch.from_numpy(means), torch.from_numpy(covariances))
    seen = Gaussian(Matrix(torch.tensor([[1.0, 0.5]], dtype=F64)), torch.tensor([[0.4]], dtype=F64), 0.3)
    line = np.linspace(-6, 6, 601)
    points = np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)
    density = np.zeros(len(points))
    for weight, mean, covariance in zip((0.3, 0.7), means, covariances, strict=True):
        form = np.einsum("ni,ij,nj->n", points - mean, np.linalg.inv(covariance), points - mean)
        density += weight * np.exp(-0.5 * form) / (2 * np.pi * np.sqrt(np.linalg.det(covariance)))
    joint = density * np.exp(-0.5 * ((0.4 - points @ [1.0, 0.5]) / 0.3) ** 2) / (0.3 * np.sqrt(2 * np.pi))
    [found] = condition(prior, seen)
    mean = joint @ points / joint.sum()
    spread = np.einsum("n,ni,nj->ij", joint, points, points) / joint.sum() - np.outer(mean, mean)
    evidence = math.log(joint.sum() * (line[1] - line[0]) ** 2)
    return largest(
        found.mean().numpy() - mean, found.covariance().numpy() - spread, float(log_evidence(prior, seen)) - evidence
    )


CHECKS = (
    *(
        Check(f"adjoint: {name}", tutorial, "⟨A x, y⟩ against ⟨x, A* y⟩", 1e-12, partial(adjoint, make))
        for name, (tutorial, make) in OPERATORS.items()
    ),
    Check("singular systems", "T27", "values and A⁺ against NumPy's decomposition of the matrix", 1e-10, singular),
    Check("blurs of odd and even kernels", "T27", "against SciPy's convolution", 1e-12, convolution),
    Check("a disc casts its chords", "T29", "projections against lengths, parallel and fan", 0.01, chords),
    Check("pseudo-inverses of maps that are not linear", "T24", "h(h†(h(x))) against h(x)", 1e-3, pseudo_inverses),
    Check(
        "moment matching is exact for Gaussian priors",
        "T24",
        "E[x_0 | x_t, y] against the normal equations",
        1e-10,
        partial(guided, MMPS(60, 1e-14), FULL),
    ),
    Check("PiGDM is exact for isotropic priors", "T24", "against the normal equations", 1e-10, mismatched),
    Check(
        "Tweedie moments are exact where they are diagonal",
        "T24",
        "against the normal equations",
        1e-10,
        partial(guided, TMPD(None), APART, ALONE),
    ),
    Check("a likelihood that tilts a Gaussian", "T24", "its mean moved by C b", 1e-6, tilted),
    Check("Laplace noise shrinks", "T24", "the proximal point against its closed form", 0.05, shrunk),
    Check("a mixture given a measurement", "T24", "mean, covariance, evidence against quadrature", 1e-8, conditioned),
)
