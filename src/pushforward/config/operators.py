"""Operator files: from TOML to the operators and likelihoods of the library."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from pushforward.config.operator_schema import (
    BicubicOperator,
    BlurOperator,
    FourierOperator,
    GreyOperator,
    MagnitudeOperator,
    MaskOperator,
    MatrixOperator,
    MeasurementConfig,
    NoiseSection,
    OperatorSection,
    PoolOperator,
    TomographyOperator,
)
from pushforward.config.read import read_toml
from pushforward.errors import UserError
from pushforward.inverse import (
    AveragePool,
    Blur,
    Clip,
    Fourier,
    Gaussian,
    Identity,
    Laplace,
    Magnitude,
    Mask,
    Matrix,
    Operator,
    Poisson,
    Quantise,
    RealAsComplex,
    ZeroBlur,
    bicubic,
    compose,
    compressed_sensing,
    fan,
    gaussian_kernel,
    grey,
    parallel,
    subsampled_fourier,
)
from pushforward.inverse.likelihoods.likelihood import Measurement
from pushforward.numerics.random import Draws

Shape = tuple[int, ...]


def read_measurement(path: Path) -> MeasurementConfig:
    """The operators and the noise that a TOML file describes. Raises UserError naming the entry that is wrong."""
    try:
        return MeasurementConfig.model_validate(read_toml(path))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"] if not isinstance(part, int)) or "the file"
        message = problem["msg"].replace("Input should be", "it should be").replace("Input tag", "the kind")
        raise UserError(f"{path}: {where}: {message[0].lower()}{message[1:]}") from None


def build_operator(config: MeasurementConfig, shape: Shape, folder: Path) -> Operator:
    """What acts on items of `shape`, (C, H, W) or (D,), the first operator first; files are looked for in `folder`.

    Raises UserError where an operator does not fit what it is given.
    """
    whole: Operator = Identity()
    for section in config.operators:
        before = shape if isinstance(whole, Identity) else whole.y_shape(shape)
        whole = compose(_operator(section, before, folder), whole)
    whole.y_shape(shape)  # now, with a sentence, rather than in the middle of sampling
    return whole


def build_likelihood(noise: NoiseSection, operator: Operator, y: Tensor) -> Measurement:
    """The likelihood of measurements y (N, …), or (1, …) for all items, in the units of the operator."""
    match noise.kind:
        case "poisson":
            return Poisson(operator, y, noise.peak)
        case "laplace":
            return Laplace(operator, y, noise.sigma)
        case "gaussian":
            return Gaussian(operator, y, noise.sigma)


def simulated(noise: NoiseSection, operator: Operator, x: Tensor, draws: Draws) -> Tensor:
    """Measurements of items x (N, …) with noise: (N, …)."""
    found = build_likelihood(noise, operator, _without_noise(noise, operator(x))).simulate(x, draws)
    assert isinstance(found, Tensor)  # a product of likelihoods alone gives several
    return found


def _without_noise(noise: NoiseSection, clean: Tensor) -> Tensor:
    """What a likelihood can be made with before there is a measurement: only its shape counts."""
    return torch.zeros_like(clean) if noise.kind == "poisson" else clean


def _operator(section: OperatorSection, shape: Shape, folder: Path) -> Operator:
    build = _BUILDERS[section.kind]
    return build(section, shape, folder)


def _grey(section: GreyOperator, shape: Shape, folder: Path) -> Operator:
    return grey(_image(section.kind, shape)[0])


def _pool(section: PoolOperator, shape: Shape, folder: Path) -> Operator:
    _image(section.kind, shape)
    return AveragePool(section.factor)


def _bicubic(section: BicubicOperator, shape: Shape, folder: Path) -> Operator:
    _, height, width = _image(section.kind, shape)
    return bicubic((height, width), section.factor)


def _tomography(section: TomographyOperator, shape: Shape, folder: Path) -> Operator:
    _, height, width = _image(section.kind, shape)
    if height != width:
        raise UserError(f"kind = ct needs square images, and these are {height}×{width}")
    return (parallel if section.beam == "parallel" else fan)(height, section.views)


def _mri(section: FourierOperator, shape: Shape, folder: Path) -> Operator:
    _, height, width = _image(section.kind, shape)
    return compose(subsampled_fourier(_lines(section, (height, width), folder)), RealAsComplex())


def _magnitude(section: MagnitudeOperator, shape: Shape, folder: Path) -> Operator:
    _image(section.kind, shape)
    return Magnitude(Fourier() @ RealAsComplex())


def _kept(section: MaskOperator, shape: Shape, folder: Path) -> Operator:
    return Mask(_mask(section, shape, folder))


def _image(kind: str, shape: Shape) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise UserError(f"kind = {kind} acts on images, and the items here have the shape {shape}")
    return shape[0], shape[1], shape[2]


def _mask(section: MaskOperator, shape: Shape, folder: Path) -> Tensor:
    given = [name for name in ("file", "keep", "hidden") if getattr(section, name) is not None]
    if len(given) != 1:
        raise UserError(f"a mask is given by exactly one of file, keep and hidden; got {', '.join(given) or 'none'}")
    places = shape[1:] if len(shape) == 3 else shape
    if section.file is not None:
        return torch.from_numpy(_array(folder / section.file) != 0)
    if section.keep is not None:
        chosen = Draws.of(section.seed, range(1), "mask").uniform(places, torch.float64)[0]
        return chosen < section.keep
    top, left, height, width = section.hidden or (0, 0, 1, 1)
    if len(shape) != 3 or top + height > shape[1] or left + width > shape[2]:
        raise UserError(
            f"hidden = [{top}, {left}, {height}, {width}] (top, left, height, width) does not lie within items of the "
            f"shape {shape}"
        )
    mask = torch.ones(places, dtype=torch.bool)
    mask[top : top + height, left : left + width] = False
    return mask


def _blur(section: BlurOperator, shape: Shape, folder: Path) -> Operator:
    _image(section.kind, shape)
    if section.file is not None:
        kernel = torch.from_numpy(_array(folder / section.file)).float()
    elif section.kernel == "gaussian":
        kernel = gaussian_kernel(section.size, section.width)
    else:
        kernel = torch.full((section.size, section.size), 1 / section.size**2)
    return Blur(kernel) if section.boundary == "periodic" else ZeroBlur(kernel)


def _matrix(section: MatrixOperator, shape: Shape, folder: Path) -> Operator:
    matrix = torch.from_numpy(_array(folder / section.file)).float()
    values = int(np.prod(shape))
    if matrix.ndim != 2 or matrix.shape[1] != values:
        raise UserError(
            f"{section.file} has the shape {tuple(matrix.shape)}; expected (measurements, {values}), as items have "
            f"{values} values"
        )
    return Matrix(matrix, shape=shape)


def _lines(section: FourierOperator, size: tuple[int, int], folder: Path) -> Tensor:
    """Centred mask of k-space (H, W): columns around zero, and others at random."""
    if section.file is not None:
        return torch.from_numpy(_array(folder / section.file) != 0)
    height, width = size
    wanted = max(1, round(width / section.acceleration))
    centre = min(wanted, max(1, round(section.centre * width)))
    order = Draws.of(section.seed, range(1), "lines").uniform((width,), torch.float64)[0]
    first = (width - centre) // 2
    order[first : first + centre] = -1.0
    mask = torch.zeros(width, dtype=torch.bool)
    mask[order.argsort()[:wanted]] = True
    return mask.expand(height, width).clone()


def _array(path: Path) -> np.ndarray:
    """A .npy, or an image, as numbers. Raises UserError where it cannot be read."""
    try:
        if path.suffix.lower() == ".npy":
            return np.load(path, allow_pickle=False)
        from PIL import Image

        with Image.open(path) as image:
            return np.asarray(image.convert("L"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a .npy or an image: {error}") from None


_BUILDERS: dict[str, Callable[[Any, Shape, Path], Operator]] = {
    "identity": lambda section, shape, folder: Identity(),
    "mask": _kept,
    "blur": _blur,
    "average-pool": _pool,
    "bicubic": _bicubic,
    "grey": _grey,
    "hadamard": lambda section, shape, folder: compressed_sensing(shape, section.count, section.seed),
    "matrix": _matrix,
    "ct": _tomography,
    "mri": _mri,
    "clip": lambda section, shape, folder: Clip(section.low, section.high),
    "quantise": lambda section, shape, folder: Quantise(section.levels, section.low, section.high),
    "phase-retrieval": _magnitude,
}
KINDS = tuple(_BUILDERS)
"""The kinds that an operator file may name."""
