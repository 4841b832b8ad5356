"""What a measurement does to an item: linear operators with their adjoints and singular systems, and others."""

from pushforward.inverse.operators.algebra import compose
from pushforward.inverse.operators.back_projection import filtered_back_projection, hann
from pushforward.inverse.operators.blur import Blur, Hartley, ZeroBlur, gaussian_kernel
from pushforward.inverse.operators.coils import Coils, estimate_maps, sense
from pushforward.inverse.operators.colour import ColourMix, grey
from pushforward.inverse.operators.dense import Matrix, Separable, separable_blur
from pushforward.inverse.operators.elementwise import Diagonal, Identity, Mask
from pushforward.inverse.operators.foreign import Function, NonLinear, as_operator
from pushforward.inverse.operators.fourier import ChannelsAsComplex, Fourier, RealAsComplex, subsampled_fourier
from pushforward.inverse.operators.geometry import FanBeam, ParallelBeam
from pushforward.inverse.operators.hadamard import Hadamard, compressed_sensing
from pushforward.inverse.operators.jpeg import JPEG
from pushforward.inverse.operators.operator import LinearOperator, Operator, Shape
from pushforward.inverse.operators.pointwise import Clip, Magnitude, Quantise, Transmission
from pushforward.inverse.operators.radon import Radon, fan, parallel
from pushforward.inverse.operators.resize import AveragePool, bicubic
from pushforward.inverse.operators.singular import SingularSystem
from pushforward.inverse.operators.stacks import Each, Stack, stack
from pushforward.inverse.operators.units import Affine

__all__ = [
    "JPEG",
    "Affine",
    "AveragePool",
    "Blur",
    "ChannelsAsComplex",
    "Clip",
    "Coils",
    "ColourMix",
    "Diagonal",
    "Each",
    "FanBeam",
    "Fourier",
    "Function",
    "Hadamard",
    "Hartley",
    "Identity",
    "LinearOperator",
    "Magnitude",
    "Mask",
    "Matrix",
    "NonLinear",
    "Operator",
    "ParallelBeam",
    "Quantise",
    "Radon",
    "RealAsComplex",
    "Separable",
    "Shape",
    "SingularSystem",
    "Stack",
    "Transmission",
    "ZeroBlur",
    "as_operator",
    "bicubic",
    "compose",
    "compressed_sensing",
    "estimate_maps",
    "fan",
    "filtered_back_projection",
    "gaussian_kernel",
    "grey",
    "hann",
    "parallel",
    "sense",
    "separable_blur",
    "stack",
    "subsampled_fourier",
]
