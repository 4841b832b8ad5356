"""Change of variables: bijections with cheap log-determinants, base densities, and the flows made of them."""

from pushforward.flows.actnorm import ActNorm
from pushforward.flows.bases import Base, Gaussian, Mixture, StandardGaussian, Student, Uniform
from pushforward.flows.bijection import Bijection, Chain, Inverse, Layer
from pushforward.flows.builders import coupling_nsf, glow, iaf, image_flow, maf, nice, nsf, realnvp
from pushforward.flows.continuous import AdaptiveFlow, Continuous, Flowed
from pushforward.flows.domains import Exponential, Interval, Scale, Simplex, Softplus
from pushforward.flows.elementwise import Autoregressive, Coupling, Elementwise
from pushforward.flows.flow import Flow, Scored
from pushforward.flows.images import ChannelNet, Flatten, Multiscale, Squeeze
from pushforward.flows.jacobian import jacobian, log_abs_det, log_volume
from pushforward.flows.linear import LU, Cayley, Dense, Householder, Permutation, Reverse
from pushforward.flows.neural_ode import Ode, VelocityMLP
from pushforward.flows.residual import Planar, Radial, Sylvester
from pushforward.flows.scalar import Affine, ScalarMap, Shift
from pushforward.flows.spline import Spline

__all__ = [
    "LU",
    "ActNorm",
    "AdaptiveFlow",
    "Affine",
    "Autoregressive",
    "Base",
    "Bijection",
    "Cayley",
    "Chain",
    "ChannelNet",
    "Continuous",
    "Coupling",
    "Dense",
    "Elementwise",
    "Exponential",
    "Flatten",
    "Flow",
    "Flowed",
    "Gaussian",
    "Householder",
    "Interval",
    "Inverse",
    "Layer",
    "Mixture",
    "Multiscale",
    "Ode",
    "Permutation",
    "Planar",
    "Radial",
    "Reverse",
    "ScalarMap",
    "Scale",
    "Scored",
    "Shift",
    "Simplex",
    "Softplus",
    "Spline",
    "Squeeze",
    "StandardGaussian",
    "Student",
    "Sylvester",
    "Uniform",
    "VelocityMLP",
    "coupling_nsf",
    "glow",
    "iaf",
    "image_flow",
    "jacobian",
    "log_abs_det",
    "log_volume",
    "maf",
    "nice",
    "nsf",
    "realnvp",
]
