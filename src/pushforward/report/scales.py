"""Axes: where data values lie on paper, which ticks a reader wants, and how numbers are written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float, digits: int = 3, trim: bool = True) -> str:
    """A number as a reader wants it: few digits, thin spaces between thousands, powers of ten where extreme.

    `trim` drops zeros at the end: right for ticks, wrong for measured numbers.
    """
    if not math.isfinite(value):
        return "not finite"
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e6 or size < 10 ** (-digits - 1):
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        mantissa = mantissa.rstrip("0").rstrip(".") if trim and "." in mantissa else mantissa
        power = "10" + str(int(exponent)).translate(_SUPERSCRIPTS)
        written = power if mantissa == "1" else f"{mantissa}·{power}"
    elif size >= 10**digits:
        written = f"{value:,.0f}".replace(",", "\u2009")
    else:
        written = f"{value:.{max(0, digits - 1 - math.floor(math.log10(size)))}f}"
        written = written.rstrip("0").rstrip(".") if trim and "." in written else written
    return written.replace("-", "−")


@dataclass(frozen=True)
class Scale:
    """A map from data values in [low, high] to paper, linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @staticmethod
    def around(values: Sequence[float], start: float, end: float, log: bool = False, margin: float = 0.0) -> Scale:
        """The scale that holds all finite (for `log`: positive) values, with a margin as a share of their range."""
        kept = [v for v in values if math.isfinite(v) and (v > 0 or not log)] or [1.0]
        low, high = min(kept), max(kept)
        if log:
            room = (high / low) ** margin if high > low else 2.0
            return Scale(low / room, high * room, start, end, True)
        if not high - low > 1e-12 * max(abs(low), abs(high), 1e-300):
            spread = abs(low) / 2 or 1.0
            return Scale(low - spread, high + spread, start, end)
        room = (high - low) * margin
        return Scale(low - room, high + room, start, end)

    def __call__(self, value: float) -> float:
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def shows(self, value: float) -> bool:
        """Whether the value has a place on this scale at all."""
        return math.isfinite(value) and (value > 0 or not self.log)

    def ticks(self, count: int = 5) -> list[float]:
        """About `count` round values inside the scale: 1, 2, 5 times powers of ten (decades where they suffice)."""
        if self.log:
            decades = math.log10(self.high / self.low)
            if decades >= 1:
                return self._decades(count, (1,) if decades > 2 else (1, 2, 5))
        rough = (self.high - self.low) / count
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(i * step, 12 - math.floor(math.log10(step))) for i in range(first, last + 1) if i or not self.log]

    def _decades(self, count: int, multiples: tuple[int, ...]) -> list[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        stride = max(1, math.ceil((last - first) / (2 * count)))
        found = [m * 10.0**p for p in range(first, last + 1, stride) for m in multiples]
        return [v for v in found if self.low * (1 - 1e-9) <= v <= self.high * (1 + 1e-9)]
