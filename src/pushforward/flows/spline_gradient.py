"""The spline with its gradient written out, at a third of the cost of differentiating it operation by operation.

Back through the inverse x = F⁻¹(y), the adjoint of x is carried to y by 1/F_x and to the parameters by −1/F_x, and
log dx/dy is −log F_x; so one set of derivatives, those of F and L = log F_x, serves both directions.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pushforward.flows.spline_bins import (
    Bin,
    cumulation,
    curve_at,
    mapped_briefly,
    mapped_plainly,
    mapped_unrolled,
    one_like,
)


def mapped(place: Tensor, parameters: Tensor, axis: int, smallest: float) -> tuple[Tensor, Tensor]:
    """Numbers (M,) of [−1, 1] to the other axis and the log-slopes, under parameters (3·bins − 1, M)."""
    if torch.compiler.is_compiling():
        return mapped_unrolled(place, parameters, axis, smallest)
    if torch.is_grad_enabled() and (place.requires_grad or parameters.requires_grad):
        return _Mapped.apply(place, parameters, axis, smallest)[:2]
    return mapped_briefly(place, parameters, axis, smallest)


class _Mapped(torch.autograd.Function):
    """Gradients by the formulas below; forward mode and second derivatives through the plain operations."""

    generate_vmap_rule = True

    @staticmethod
    def forward(place: Tensor, parameters: Tensor, axis: int, smallest: float) -> tuple[Tensor, ...]:
        value, log_slope, found = mapped_plainly(place, parameters, axis, smallest)
        return value, log_slope, *found

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        place, parameters, ctx.axis, ctx.smallest = inputs
        ctx.save_for_backward(place, parameters, *output[2:])
        ctx.save_for_forward(place, parameters)
        ctx.mark_non_differentiable(*output[2:])
        ctx.set_materialize_grads(False)  # or zeros would be made for all that is only saved

    @staticmethod
    def backward(ctx: Any, grad_value: Tensor | None, grad_log: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        place, parameters, *found = ctx.saved_tensors
        grad_value = torch.zeros_like(place) if grad_value is None else grad_value
        grad_log = torch.zeros_like(place) if grad_log is None else grad_log
        if torch.is_grad_enabled():
            plain = _plain(ctx.axis, ctx.smallest)
            return *torch.func.vjp(plain, place, parameters)[1]((grad_value, grad_log)), None, None
        return *_adjoint(Bin(*found), grad_value, grad_log, ctx.axis, ctx.smallest), None, None

    @staticmethod
    def jvp(ctx: Any, place: Tensor | None, parameters: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        primals = ctx.saved_tensors
        tangents = tuple(
            torch.zeros_like(primal) if tangent is None else tangent
            for primal, tangent in zip(primals, (place, parameters), strict=True)
        )

        plain = _plain(ctx.axis, ctx.smallest)
        return *torch.func.jvp(plain, primals, tangents)[1], *[None] * len(Bin._fields)


# torch looks the signature up at every call, by inspection, unless it is written down.
vars(_Mapped.forward)["__signature__"] = inspect.signature(_Mapped.forward)


def _plain(axis: int, smallest: float) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    return lambda place, parameters: mapped_plainly(place, parameters, axis, smallest)[:2]


def _adjoint(found: Bin, value: Tensor, log: Tensor, axis: int, smallest: float) -> tuple[Tensor, Tensor]:
    """The adjoints of the numbers (M,) and of the parameters (3·bins − 1, M)."""
    theta, (left, right), (width, height) = found.theta, found.slopes, found.lengths
    curve = curve_at(theta, found.slopes)
    inverse, product = curve.below.reciprocal(), theta * curve.rest
    bend = torch.sub(left + right, one_like(theta), alpha=2)
    log = -log if axis else log
    # The adjoint of θ through L, then through F.
    lean = bend * (curve.rest - theta)
    over, under = log / curve.rise, log * inverse
    under = under + under
    by_theta = over * (right - left - lean) - under * lean
    speed = curve.rise * inverse * inverse
    if axis:
        moved = (value + by_theta / width) / (found.chord * speed)
        value = -moved
    tall = value * height
    by_theta = torch.addcmul(by_theta, tall, speed)
    # Those of the slopes (in units of the chord's), the chord and the box.
    tall = tall * inverse
    common = product * torch.addcmul(under, tall, curve.part)
    by_left = torch.addcmul(over * (curve.rest * curve.rest), tall, product) - common
    by_right = over * (theta * theta) - common
    slopes = torch.stack((by_left * left, by_right * right))
    by_chord = log - slopes[0] - slopes[1]
    by_height = torch.addcmul(by_chord / height, value, curve.part)
    by_start = -by_theta / width
    by_width = torch.addcmul(-by_chord / width, by_start, theta)
    lows, lengths = torch.stack((by_start, value)), torch.stack((by_width, by_height))
    return moved if axis else -by_start, _to_parameters(found, lows, lengths, slopes, smallest)


def _to_parameters(found: Bin, lows: Tensor, lengths: Tensor, slopes: Tensor, smallest: float) -> Tensor:
    """From the adjoints of the box and the slopes, each (2, M), to those of logits and raw slopes."""
    bins, samples = found.share.shape[1:]
    # Knots are normalised by the last of them.
    by_total = -(found.starts * lows + found.lengths * lengths).div_(found.totals)
    pairs = torch.stack((lows - lengths, lengths), 1).div_(found.totals[:, None])
    knots = lows.new_zeros(2, bins + 1, samples).scatter_(1, found.ends.expand(2, 2, -1), pairs)
    knots[:, bins] += by_total
    matrix = cumulation(bins, smallest, knots.dtype, knots.device)
    # The adjoints are of log-slopes u = raw/(1 + |raw|/L), and du/draw = (1 − |u|/L)². Those at the two ends are no
    # parameters: the left one's row is written over, the right one's cut off.
    size = (found.slopes * found.chord).log_().abs_()
    slopes = slopes * torch.add(one_like(size), size, alpha=1 / math.log(smallest)).square_()
    whole = lows.new_zeros(3 * bins, samples).scatter_(0, found.ends + (2 * bins - 1), slopes)
    whole[: 2 * bins] = torch.bmm(matrix.mT, knots).mul_(found.share).reshape(2 * bins, samples)
    return whole[:-1]
