"""What was measured, as names and numbers: the schema of an operator file."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, model_validator

from pushforward.config.sections import PositiveInt, Section

Side = Annotated[int, Field(gt=0, le=1 << 14)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Line = Annotated[tuple[Number, ...], Field(min_length=1, max_length=1 << 14)]


class IdentityOperator(Section):
    """The item itself, with noise: denoising."""

    kind: Literal["identity"] = "identity"


class MaskOperator(Section):
    """Some of the values: exactly one of `file`, `keep` and `hidden`."""

    kind: Literal["mask"] = "mask"
    file: str | None = Field(
        None, description="a .npy or an image: what is not 0 is measured; (items, C, H, W) for one mask per item"
    )
    keep: Annotated[float, Field(gt=0, lt=1)] | None = Field(None, description="this share of the places, at random")
    hidden: tuple[NonNegativeInt, NonNegativeInt, Side, Side] | None = Field(
        None, description="top, left, height, width of what is not seen"
    )
    seed: NonNegativeInt = 0


class BlurOperator(Section):
    """A blur by a kernel."""

    kind: Literal["blur"] = "blur"
    kernel: Literal["gaussian", "box"] = "gaussian"
    size: Side = Field(5, description="of the kernel in pixels")
    width: PositiveFloat = Field(1.0, description="deviation of a gaussian kernel in pixels")
    file: str | None = Field(
        None, description="a .npy with a kernel (h, w) or (C, h, w), or (items, C, h, w) for one per item"
    )
    boundary: Literal["periodic", "zero"] = "periodic"


class SeparableBlurOperator(Section):
    """A blur that is a product of one along columns and one along rows, zero beyond the image."""

    kind: Literal["separable-blur"] = "separable-blur"
    down: Line = Field(description="the kernel along a column")
    across: Line | None = Field(None, description="the kernel along a row [as down]")
    boundary: Literal["periodic", "zero"] = "zero"


class PoolOperator(Section):
    """Means over squares: super-resolution."""

    kind: Literal["average-pool"] = "average-pool"
    factor: Side = 2


class BicubicOperator(Section):
    """Bicubic reduction: super-resolution."""

    kind: Literal["bicubic"] = "bicubic"
    factor: Side = 2


class GreyOperator(Section):
    """Brightness of a colour image: colourisation."""

    kind: Literal["grey"] = "grey"


class ColourOperator(Section):
    """A mix of the channels by a matrix."""

    kind: Literal["colour"] = "colour"
    matrix: Annotated[tuple[Line, ...], Field(min_length=1, max_length=64)] = Field(
        description="one row per channel that is measured"
    )


class HadamardOperator(Section):
    """Some Walsh–Hadamard coefficients: compressed sensing."""

    kind: Literal["hadamard"] = "hadamard"
    count: PositiveInt
    seed: NonNegativeInt = 0


class MatrixOperator(Section):
    """A matrix of your own, for vectors and for images written as one vector."""

    kind: Literal["matrix"] = "matrix"
    file: str = Field(description="a .npy of shape (measurements, values of an item)")


class PythonOperator(Section):
    """An operator of your own, which a Python file makes; the file is run, if that is allowed."""

    kind: Literal["python"] = "python"
    file: str = Field(description="a .py file; give none whose code you would not run yourself")
    name: str = Field(
        "operator",
        description="what it is called there: a callable on batches (items, C, H, W), an object with A and A_adjoint, "
        "one with matvec and rmatvec, or an operator of pushforward",
    )
    precision: Literal["double", "single"] = Field("double", description="single: it works in float32 alone")


class TomographyOperator(Section):
    """Sums along lines from several sides: CT."""

    kind: Literal["ct"] = "ct"
    views: PositiveInt = 30
    beam: Literal["parallel", "fan"] = "parallel"


class TransmissionOperator(Section):
    """Photons that pass from several sides: CT with counts, for noise of kind poisson."""

    kind: Literal["transmission"] = "transmission"
    views: PositiveInt = 30
    beam: Literal["parallel", "fan"] = "parallel"
    photons: PositiveFloat = Field(1e4, description="per ray that meets nothing")
    density: PositiveFloat = Field(1.0, description="attenuation per pixel of a value of 1 in the data's units")


class SpectrumOperator(Section):
    """The whole Fourier transform, unitary, zero frequency in the middle."""

    kind: Literal["fourier"] = "fourier"


class LinesSection(Section):
    """Which lines of k-space are measured."""

    file: str | None = Field(
        None,
        description="a .npy mask of k-space, centred, in place of the lines below; `measured`: as the measurement "
        "says, or where it is not 0",
    )
    acceleration: PositiveFloat = Field(4.0, description="one of so many lines is measured")
    centre: Annotated[float, Field(ge=0, le=1)] = Field(0.08, description="share of lines around zero, all measured")
    seed: NonNegativeInt = 0


class FourierOperator(LinesSection):
    """Some lines of the Fourier transform: MRI by one coil, of real images or of real and imaginary part."""

    kind: Literal["mri"] = "mri"


class SenseOperator(LinesSection):
    """Some lines of the Fourier transforms of what several coils see: SENSE."""

    kind: Literal["sense"] = "sense"
    maps: str = Field(
        "estimated", description="a .npy of complex maps (coils, H, W), one set per item before them; or `estimated`"
    )
    calibration: Side = Field(24, description="lines in the middle, all measured, that maps are estimated from")


class ScaleOperator(Section):
    """A factor: from the units of the data to those of the measurement."""

    kind: Literal["scale"] = "scale"
    factor: Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ClipOperator(Section):
    """Values beyond a range are cut: high dynamic range."""

    kind: Literal["clip"] = "clip"
    low: float
    high: float


class QuantiseOperator(Section):
    """Values are rounded to a few levels."""

    kind: Literal["quantise"] = "quantise"
    levels: Annotated[int, Field(ge=2, le=1 << 16)]
    low: float
    high: float


class JPEGOperator(Section):
    """What JPEG keeps of a picture."""

    kind: Literal["jpeg"] = "jpeg"
    quality: Annotated[int, Field(ge=1, le=100)]
    low: float = 0.0
    high: float = 255.0


class MagnitudeOperator(Section):
    """Magnitudes of the Fourier transform: phase retrieval."""

    kind: Literal["phase-retrieval"] = "phase-retrieval"


OperatorSection = Annotated[
    IdentityOperator
    | MaskOperator
    | BlurOperator
    | SeparableBlurOperator
    | PoolOperator
    | BicubicOperator
    | GreyOperator
    | ColourOperator
    | HadamardOperator
    | MatrixOperator
    | PythonOperator
    | TomographyOperator
    | TransmissionOperator
    | SpectrumOperator
    | FourierOperator
    | SenseOperator
    | ScaleOperator
    | ClipOperator
    | QuantiseOperator
    | JPEGOperator
    | MagnitudeOperator,
    Field(discriminator="kind"),
]


class NoiseSection(Section):
    """What was added to the measurement, in its own units."""

    kind: Literal["gaussian", "poisson", "laplace"] = "gaussian"
    sigma: NonNegativeFloat | Annotated[tuple[NonNegativeFloat, ...], Field(min_length=1)] = Field(
        0.0, description="deviation (gaussian) or scale (laplace) of the noise; a list has one for each item"
    )
    within: Annotated[float, Field(ge=1, le=32)] = Field(
        1.0,
        description="gaussian: sigma is a guess, right up to this factor either way (two times out of three), and the "
        "level is estimated with the items; 1: it is known",
    )
    peak: PositiveFloat = Field(1.0, description="poisson: counts per unit of the measurement")

    @property
    def unknown(self) -> bool:
        """Whether its level is to be estimated."""
        return self.within > 1

    @model_validator(mode="after")
    def _one_guess(self) -> Self:
        if self.unknown and not (self.kind == "gaussian" and isinstance(self.sigma, float) and self.sigma > 0):
            raise ValueError(
                "within is for gaussian noise of unknown level: give one sigma above 0, the guess, of kind gaussian"
            )
        return self


class MeasurementConfig(Section):
    """One operator, or several of which the first acts first, and the noise.

    Units are those of the data: 0 … 255 for 8-bit images, the columns' own for tables.
    """

    operator: OperatorSection | Annotated[tuple[OperatorSection, ...], Field(min_length=1, max_length=8)]
    noise: NoiseSection = NoiseSection()

    @property
    def operators(self) -> tuple[OperatorSection, ...]:
        return self.operator if isinstance(self.operator, tuple) else (self.operator,)
