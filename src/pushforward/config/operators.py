"""Operator files: from TOML to the operators and likelihoods of the library."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from pushforward.config.mri_operators import as_complex, several_coils, single_coil, spectrum
from pushforward.config.operator_code import run_operator
from pushforward.config.operator_errors import explained, unused
from pushforward.config.operator_files import Source, image
from pushforward.config.operator_schema import (
    BicubicOperator,
    BlurOperator,
    ColourOperator,
    GreyOperator,
    MagnitudeOperator,
    MaskOperator,
    MatrixOperator,
    MeasurementConfig,
    NoiseSection,
    PoolOperator,
    PythonOperator,
    SeparableBlurOperator,
    TomographyOperator,
    TransmissionOperator,
)
from pushforward.config.read import read_toml
from pushforward.data.measured import Measured
from pushforward.errors import UserError
from pushforward.inverse import (
    JPEG,
    AveragePool,
    Blur,
    Clip,
    ColourMix,
    Fourier,
    Gaussian,
    Identity,
    Laplace,
    LinearOperator,
    Magnitude,
    Mask,
    Matrix,
    Operator,
    Poisson,
    Quantise,
    Transmission,
    ZeroBlur,
    bicubic,
    compose,
    compressed_sensing,
    fan,
    gaussian_kernel,
    grey,
    parallel,
    separable_blur,
)
from pushforward.inverse.likelihoods.likelihood import Measurement
from pushforward.numerics.random import Draws

Shape = tuple[int, ...]


def read_measurement(path: Path, *, run_code: bool = False) -> MeasurementConfig:
    """The operators and the noise that a TOML file describes. Raises UserError naming the entry that is wrong.

    `run_code` lets the file name Python code that makes an operator; without, that is refused.
    """
    try:
        config = MeasurementConfig.model_validate(read_toml(path))
    except ValidationError as error:
        raise UserError(f"{path}: {explained(error)}") from None
    idle = unused(config)
    if idle is not None:
        raise UserError(f"{path}: {idle}")
    code = [section.file for section in config.operators if isinstance(section, PythonOperator)]
    if code and not run_code:
        raise UserError(
            f"{path} asks to run Python code, {', '.join(code)}: read it first, and allow it with --run-code "
            "(run_code=True) if you would start it yourself"
        )
    return config


def build_operator(config: MeasurementConfig, shape: Shape, folder: Path, measured: Measured | None = None) -> Operator:
    """What acts on items of `shape`, (C, H, W) or (D,), the first operator first; files are looked for in `folder`.

    `measured` is the measurement, for operators that take a mask or coil maps from it. Raises UserError where an
    operator does not fit what it is given.
    """
    whole: Operator = Identity()
    for section in config.operators:
        before = shape if isinstance(whole, Identity) else whole.y_shape(shape)
        whole = compose(_BUILDERS[section.kind](section, before, Source(folder, measured)), whole)
    whole.y_shape(shape)  # now, with a sentence, rather than in the middle of sampling
    return whole


def build_likelihood(noise: NoiseSection, operator: Operator, y: Tensor) -> Measurement:
    """The likelihood of measurements y (N, …), or (1, …) for all items, in the units of the operator."""
    sigma = noise.sigma if isinstance(noise.sigma, float) else torch.tensor(noise.sigma, dtype=torch.float64)
    match noise.kind:
        case "poisson":
            return Poisson(operator, y, noise.peak)
        case "laplace":
            if not isinstance(sigma, float):
                raise UserError("noise of kind laplace has one scale for all items, and sigma is a list")
            return Laplace(operator, y, sigma)
        case "gaussian":
            return Gaussian(operator, y, sigma.to(y.device) if isinstance(sigma, Tensor) else sigma)


def simulated(noise: NoiseSection, operator: Operator, x: Tensor, draws: Draws) -> Tensor:
    """Measurements of items x (N, …) with noise: (N, …)."""
    found = build_likelihood(noise, operator, _without_noise(noise, operator(x))).simulate(x, draws)
    assert isinstance(found, Tensor)  # a product of likelihoods alone gives several
    return found


def _without_noise(noise: NoiseSection, clean: Tensor) -> Tensor:
    """What a likelihood can be made with before there is a measurement: only its shape counts."""
    return torch.zeros_like(clean) if noise.kind == "poisson" else clean


def _grey(section: GreyOperator, shape: Shape, source: Source) -> Operator:
    return grey(image(section.kind, shape)[0])


def _pool(section: PoolOperator, shape: Shape, source: Source) -> Operator:
    image(section.kind, shape)
    return AveragePool(section.factor)


def _bicubic(section: BicubicOperator, shape: Shape, source: Source) -> Operator:
    _, height, width = image(section.kind, shape)
    return bicubic((height, width), section.factor)


def _tomography(section: TomographyOperator, shape: Shape, source: Source) -> Operator:
    return _radon(section, shape)


def _radon(section: TomographyOperator | TransmissionOperator, shape: Shape) -> LinearOperator:
    _, height, width = image(section.kind, shape)
    if height != width:
        raise UserError(f"kind = {section.kind} needs square images, and these are {height}×{width}")
    return (parallel if section.beam == "parallel" else fan)(height, section.views)


def _magnitude(section: MagnitudeOperator, shape: Shape, source: Source) -> Operator:
    image(section.kind, shape)
    return Magnitude(Fourier() @ as_complex(shape))


def _kept(section: MaskOperator, shape: Shape, source: Source) -> Operator:
    mask = _mask(section, shape, source)
    return Mask(mask, each=mask.ndim > len(shape))


def _mask(section: MaskOperator, shape: Shape, source: Source) -> Tensor:
    given = [name for name in ("file", "keep", "hidden") if getattr(section, name) is not None]
    if len(given) != 1:
        raise UserError(f"a mask is given by exactly one of file, keep and hidden; got {', '.join(given) or 'none'}")
    places = shape[1:] if len(shape) == 3 else shape
    if section.file is not None:
        return source.mask(section.file)
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


def _blur(section: BlurOperator, shape: Shape, source: Source) -> Operator:
    image(section.kind, shape)
    if section.file is not None:
        kernel = torch.from_numpy(source.array(section.file))
        if kernel.is_complex():
            raise UserError(f"{section.file} holds complex numbers, and a blur has a real kernel")
        kernel = kernel.double()
        each = kernel.ndim == 4
        return Blur(kernel, each) if section.boundary == "periodic" else ZeroBlur(kernel, each)
    if section.kernel == "gaussian":
        kernel = gaussian_kernel(section.size, section.width)
    else:
        kernel = torch.full((section.size, section.size), 1 / section.size**2)
    return Blur(kernel) if section.boundary == "periodic" else ZeroBlur(kernel)


def _separable(section: SeparableBlurOperator, shape: Shape, source: Source) -> Operator:
    _, height, width = image(section.kind, shape)
    down, across = (torch.tensor(line).double() for line in (section.down, section.across or section.down))
    return separable_blur(down, across, (height, width), section.boundary == "periodic")


def _colour(section: ColourOperator, shape: Shape, source: Source) -> Operator:
    channels = image(section.kind, shape)[0]
    if any(len(row) != channels for row in section.matrix):
        raise UserError(
            f"kind = colour: items have {channels} channels, and each row of the matrix has as many numbers"
        )
    return ColourMix(torch.tensor(section.matrix).double())


def _transmission(section: TransmissionOperator, shape: Shape, source: Source) -> Operator:
    return Transmission(section.density * _radon(section, shape), section.photons)


def _matrix(section: MatrixOperator, shape: Shape, source: Source) -> Operator:
    matrix = torch.from_numpy(source.array(section.file))
    if matrix.is_complex():
        raise UserError(
            f"{section.file} is complex, and items are real: write real and imaginary parts of it below one another"
        )
    matrix = matrix.double()
    values = int(np.prod(shape))
    if matrix.ndim != 2 or matrix.shape[1] != values:
        raise UserError(
            f"{section.file} has the shape {tuple(matrix.shape)}; expected (measurements, {values}), as items have "
            f"{values} values"
        )
    return Matrix(matrix, shape=shape)


def _python(section: PythonOperator, shape: Shape, source: Source) -> Operator:
    return run_operator(source.folder / section.file, section.name, shape, section.precision == "single")


_BUILDERS: dict[str, Callable[[Any, Shape, Source], Operator]] = {
    "identity": lambda section, shape, source: Identity(),
    "mask": _kept,
    "blur": _blur,
    "separable-blur": _separable,
    "average-pool": _pool,
    "bicubic": _bicubic,
    "grey": _grey,
    "colour": _colour,
    "hadamard": lambda section, shape, source: compressed_sensing(shape, section.count, section.seed),
    "matrix": _matrix,
    "python": _python,
    "ct": _tomography,
    "transmission": _transmission,
    "fourier": spectrum,
    "mri": single_coil,
    "sense": several_coils,
    "scale": lambda section, shape, source: section.factor * Identity(),
    "clip": lambda section, shape, source: Clip(section.low, section.high),
    "quantise": lambda section, shape, source: Quantise(section.levels, section.low, section.high),
    "jpeg": lambda section, shape, source: JPEG(section.quality, section.low, section.high),
    "phase-retrieval": _magnitude,
}
KINDS = tuple(_BUILDERS)
"""The kinds that an operator file may name."""
