"""Flows assembled: the ones that have names."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.flows.actnorm import ActNorm
from pushforward.flows.bases import Base, StandardGaussian
from pushforward.flows.bijection import Bijection, Chain, Inverse
from pushforward.flows.domains import Interval
from pushforward.flows.elementwise import Autoregressive, Coupling, Elementwise
from pushforward.flows.flow import Flow
from pushforward.flows.images import ChannelNet, Flatten, Multiscale, scales
from pushforward.flows.linear import LU
from pushforward.flows.scalar import Affine, ScalarMap, Shift
from pushforward.flows.spline import Spline
from pushforward.networks.made import MADE, OUTPUT, ColumnMLP
from pushforward.numerics.random import key, normal

HIDDEN = (128, 128)
SPLINE = Spline()
AFFINE = Affine()
PIXELS = Spline(bound=6.0)
"""Pixels on the whole line, once bounded, lie within ±4 or so."""
MARGIN = 0.025
"""Of its width, on either side of the interval of bounded pixels: so that those on its ends are not at infinity."""


def autoregressive(
    features: int,
    rule: ScalarMap,
    transforms: int,
    hidden: Sequence[int] = HIDDEN,
    context: int = 0,
    *,
    start: float = OUTPUT,
) -> Chain:
    """Autoregressive layers, the order of the features reversed from one to the next; the identity with `start` 0."""
    _check(features, transforms)
    orders = (range(features), range(features)[::-1])
    nets = (MADE(features, rule.count, hidden, context, order=orders[i % 2], start=start) for i in range(transforms))
    return Chain(*(Autoregressive(rule, net) for net in nets))


def couplings(
    features: int, rule: ScalarMap, transforms: int, hidden: Sequence[int] = HIDDEN, context: int = 0
) -> Chain:
    """Couplings that move the second half given the first and the first given the second, in turns.

    A single feature has nothing to be coupled to: its map depends on the condition alone.
    """
    _check(features, transforms)
    if features == 1:
        return Chain(*(Coupling(rule, ColumnMLP(0, 1, rule.count, hidden, context), 0) for _ in range(transforms)))
    split, layers = features // 2, []
    for i in range(transforms):
        kept = features - split if i % 2 else split
        net = ColumnMLP(kept, features - kept, rule.count, hidden, context)
        layers.append(Coupling(rule, net, split, flip=bool(i % 2)))
    return Chain(*layers)


def maf(
    features: int, transforms: int = 5, hidden: Sequence[int] = HIDDEN, context: int = 0, *, base: Base | None = None
) -> Flow:
    """Masked autoregressive flow (Papamakarios et al. 2017): fast densities, samples feature by feature."""
    return Flow(_base(base, features), autoregressive(features, Affine(), transforms, hidden, context))


def iaf(
    features: int, transforms: int = 5, hidden: Sequence[int] = HIDDEN, context: int = 0, *, base: Base | None = None
) -> Flow:
    """Inverse autoregressive flow (Kingma et al. 2016): fast samples, densities feature by feature."""
    return Flow(_base(base, features), Inverse(autoregressive(features, Affine(), transforms, hidden, context)))


def nsf(
    features: int,
    transforms: int = 5,
    hidden: Sequence[int] = HIDDEN,
    context: int = 0,
    *,
    spline: Spline = SPLINE,
    base: Base | None = None,
) -> Flow:
    """Neural spline flow, autoregressive (Durkan et al. 2019). Standardise the data: outside ±bound it is linear."""
    return Flow(_base(base, features), autoregressive(features, spline, transforms, hidden, context))


def coupling_nsf(
    features: int,
    transforms: int = 5,
    hidden: Sequence[int] = HIDDEN,
    context: int = 0,
    *,
    spline: Spline = SPLINE,
    base: Base | None = None,
) -> Flow:
    """Neural spline flow with couplings: densities and samples alike in one pass per layer."""
    return Flow(_base(base, features), couplings(features, spline, transforms, hidden, context))


def realnvp(
    features: int, transforms: int = 5, hidden: Sequence[int] = HIDDEN, context: int = 0, *, base: Base | None = None
) -> Flow:
    """Affine couplings (Dinh et al. 2017), log-scales bounded."""
    return Flow(_base(base, features), couplings(features, Affine(), transforms, hidden, context))


def nice(
    features: int, transforms: int = 5, hidden: Sequence[int] = HIDDEN, context: int = 0, *, base: Base | None = None
) -> Flow:
    """Additive couplings and one scale per feature (Dinh et al. 2015)."""
    chain = couplings(features, Shift(), transforms, hidden, context)
    return Flow(_base(base, features), Chain(*chain.bijections, Elementwise(Affine(), features)))


def glow(
    shape: Sequence[int],
    levels: int = 2,
    steps: int = 4,
    width: int = 64,
    context: int = 0,
    *,
    rule: ScalarMap = AFFINE,
    base: Base | None = None,
) -> Flow:
    """Images (C, H, W) (Kingma & Dhariwal 2018): per step actnorm, 1×1 convolution and coupling; half leaves per level.

    Call `Flow.initialise` on a batch before training. Pixels must be continuous: dequantised, on the whole line.
    """
    if steps < 1:
        raise UserError(f"A flow of images needs at least one step at each level; got steps={steps}.")
    bijections, leaving = [], []
    for channels, _, _ in scales(shape, levels):
        half = channels // 2
        parts: list[Bijection] = []
        for i in range(steps):
            net = ChannelNet(half, half, rule.count, width, context)
            parts += [ActNorm(channels), LU(channels, _rotation(channels, i)), Coupling(rule, net, half)]
        bijections.append(Chain(*parts))
        leaving.append(Coupling(Affine(), ChannelNet(half, half, 2, width, context), half))
    return Flow(_base(base, math.prod(shape)), Multiscale(shape, bijections, leaving[:-1]))


def image_flow(
    shape: Sequence[int],
    levels: int | None = None,
    steps: int = 4,
    width: int = 64,
    context: int = 0,
    *,
    rule: ScalarMap = PIXELS,
    bounds: tuple[float, float] | None = None,
) -> Flow:
    """A `glow` for images (C, H, W) with spline couplings; pixels that end at `bounds` are put on the whole line first.

    `levels` are as many as the sides can be halved, at most 3, down to no less than 2 pixels, unless given. Images that
    cannot be halved become vectors, moved by 2·`steps` couplings.
    """
    levels = halvings(shape) if levels is None else levels
    if levels:
        inner = glow(shape, levels, steps, width, context, rule=rule)
    else:
        size = math.prod(shape)
        inner = Flow(
            _base(None, size), Chain(Flatten(shape), couplings(size, rule, 2 * steps, (width, width), context))
        )
    if bounds is None:
        return inner
    low, high = bounds
    room = MARGIN * (high - low)
    return Flow(inner.base, Chain(Inverse(Interval(low - room, high + room)), inner.bijection))


def halvings(shape: Sequence[int], most: int = 3) -> int:
    """How often both sides of images (C, H, W) can be halved, at most `most` times, down to 2 pixels."""
    if len(shape) != 3:
        raise UserError(f"A flow of images needs a shape (channels, height, width); got {tuple(shape)}.")
    _, height, width = shape
    return next(
        i
        for i in range(most + 1)
        if i == most or any(side % 2 ** (i + 1) or side < 2 ** (i + 2) for side in (height, width))
    )


def _rotation(channels: int, seed: int) -> Tensor:
    """A random rotation or reflection, the same for the same seed."""
    draws = normal(torch.tensor([key("rotation", seed)], device="cpu"), (channels, channels), torch.float64)[0]
    return torch.linalg.qr(draws).Q.float()


def _base(base: Base | None, features: int) -> Base:
    if features < 1:
        raise UserError(f"A flow needs at least one feature; got features={features}.")
    if base is not None and tuple(base.shape) != (features,):
        raise UserError(f"The base density has shape {tuple(base.shape)}, but the flow has {features} features.")
    return StandardGaussian((features,)) if base is None else base


def _check(features: int, transforms: int) -> None:
    for name, value in (("features", features), ("transforms", transforms)):
        if value < 1:
            raise UserError(f"A flow needs at least one of each; got {name}={value}.")
