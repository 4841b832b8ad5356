"""What was measured, as names and numbers: the schema of an operator file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat

from pushforward.config.sections import PositiveInt, Section

Side = Annotated[int, Field(gt=0, le=1 << 14)]


class IdentityOperator(Section):
    """The item itself, with noise: denoising."""

    kind: Literal["identity"] = "identity"


class MaskOperator(Section):
    """Some of the values: exactly one of `file`, `keep` and `hidden`."""

    kind: Literal["mask"] = "mask"
    file: str | None = Field(None, description="a .npy or an image: what is not 0 is measured")
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
    file: str | None = Field(None, description="a .npy with a kernel of your own")
    boundary: Literal["periodic", "zero"] = "periodic"


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


class HadamardOperator(Section):
    """Some Walsh–Hadamard coefficients: compressed sensing."""

    kind: Literal["hadamard"] = "hadamard"
    count: PositiveInt
    seed: NonNegativeInt = 0


class MatrixOperator(Section):
    """A matrix of your own, for vectors and for images written as one vector."""

    kind: Literal["matrix"] = "matrix"
    file: str = Field(description="a .npy of shape (measurements, values of an item)")


class TomographyOperator(Section):
    """Sums along lines from several sides: CT."""

    kind: Literal["ct"] = "ct"
    views: PositiveInt = 30
    beam: Literal["parallel", "fan"] = "parallel"


class FourierOperator(Section):
    """Some lines of the Fourier transform: MRI of real images."""

    kind: Literal["mri"] = "mri"
    file: str | None = Field(None, description="a .npy mask of k-space, centred; in place of the lines below")
    acceleration: PositiveFloat = Field(4.0, description="one of so many lines is measured")
    centre: Annotated[float, Field(ge=0, le=1)] = Field(0.08, description="share of lines around zero, all measured")
    seed: NonNegativeInt = 0


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


class MagnitudeOperator(Section):
    """Magnitudes of the Fourier transform: phase retrieval."""

    kind: Literal["phase-retrieval"] = "phase-retrieval"


OperatorSection = Annotated[
    IdentityOperator
    | MaskOperator
    | BlurOperator
    | PoolOperator
    | BicubicOperator
    | GreyOperator
    | HadamardOperator
    | MatrixOperator
    | TomographyOperator
    | FourierOperator
    | ClipOperator
    | QuantiseOperator
    | MagnitudeOperator,
    Field(discriminator="kind"),
]


class NoiseSection(Section):
    """What was added to the measurement, in its own units."""

    kind: Literal["gaussian", "poisson", "laplace"] = "gaussian"
    sigma: NonNegativeFloat = Field(0.0, description="deviation (gaussian) or scale (laplace) of the noise")
    peak: PositiveFloat = Field(1.0, description="poisson: counts per unit of the measurement")


class MeasurementConfig(Section):
    """One operator, or several of which the first acts first, and the noise.

    Units are those of the data: 0 … 255 for 8-bit images, the columns' own for tables.
    """

    operator: OperatorSection | Annotated[tuple[OperatorSection, ...], Field(min_length=1, max_length=8)]
    noise: NoiseSection = NoiseSection()

    @property
    def operators(self) -> tuple[OperatorSection, ...]:
        return self.operator if isinstance(self.operator, tuple) else (self.operator,)
