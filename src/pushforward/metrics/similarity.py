"""How alike two pictures are: correlation, squared error, structural similarity with its window stated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter

from pushforward.errors import UserError


def correlation(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Pearson's correlation of all pixels of each pair (n, …): (n,); 0 where one of them is constant."""
    a, b = _centred(found), _centred(truth)
    return (a * b).sum(1) / _size(a, b)


def squared_error(found: np.ndarray, truth: np.ndarray, span: float = 1.0) -> np.ndarray:
    """Mean squared error of each pair, in units of `span`² (the range of the pixels): (n,)."""
    return np.square((_flat(found) - _flat(truth)) / span).mean(1)


def cross_correlation(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Correlation of each found picture with each true one: (n, m)."""
    a, b = _centred(found), _centred(truth)
    norms = np.sqrt((a * a).sum(1))[:, None] * np.sqrt((b * b).sum(1))
    return a @ b.T / np.where(norms > 0, norms, 1)


@dataclass(frozen=True)
class Window:
    """The neighbourhood in which structures are compared.

    `about` says which it is; `smooth` averages (H, W) over it; `edge` is how far from the border it lies wholly inside;
    `count` the number of pixels whose sample (co)variance is taken, None where the average itself is the measure.
    """

    about: str
    smooth: Callable[[np.ndarray], np.ndarray]
    edge: int
    count: int | None


def uniform_window(side: int = 7) -> Window:
    """side × side pixels alike, with sample covariances."""
    if side < 3 or side % 2 == 0:
        raise UserError(f"a window has an odd side of at least 3 pixels; got {side}")
    return Window(f"{side}×{side} uniform", lambda x: uniform_filter(x, side), side // 2, side * side)


def gaussian_window(deviation: float = 1.5) -> Window:
    """Weights of a Gaussian cut off at 3.5 deviations, as Wang et al. (2004) have it with 1.5."""
    edge = int(3.5 * deviation + 0.5)
    return Window(f"Gaussian σ {deviation:g}", lambda x: gaussian_filter(x, deviation, truncate=3.5), edge, None)


def fitting_window(height: int, width: int) -> Window:
    """7×7 uniform, or the largest odd side that a smaller picture has room for."""
    side = min(7, height, width)
    return uniform_window(side - (side % 2 == 0))


def structural_similarity(found: np.ndarray, truth: np.ndarray, span: float, window: Window) -> np.ndarray:
    """Mean SSIM (Wang et al. 2004) of pairs (n, C, H, W) over the places where the window fits: (n,).

    ((2ab + c₁)(2s_ab + c₂)) / ((a² + b² + c₁)(s_a² + s_b² + c₂)), c₁ = (0.01 span)², c₂ = (0.03 span)², with a, b the
    window's means and s its (co)variances; averaged over channels. Raises UserError for pictures below the window.
    """
    if found.shape != truth.shape or found.ndim != 4:
        raise UserError(f"pictures to compare are (n, C, H, W), alike; got {found.shape} and {truth.shape}")
    if min(found.shape[2:]) < 2 * window.edge + 1:
        raise UserError(
            f"a window of {2 * window.edge + 1} pixels does not fit into {found.shape[2]}×{found.shape[3]}: "
            "take a smaller one"
        )
    pairs = zip(found.astype(np.float64), truth.astype(np.float64), strict=True)
    return np.array([np.mean([_ssim(a, b, span, window) for a, b in zip(x, y, strict=True)]) for x, y in pairs])


def _ssim(a: np.ndarray, b: np.ndarray, span: float, window: Window) -> float:
    mean_a, mean_b = window.smooth(a), window.smooth(b)
    factor = 1.0 if window.count is None else window.count / (window.count - 1)
    var_a, var_b, both = (
        factor * (window.smooth(x * y) - mx * my)
        for x, y, mx, my in ((a, a, mean_a, mean_a), (b, b, mean_b, mean_b), (a, b, mean_a, mean_b))
    )
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    top = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    map_ = top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    inside = slice(window.edge, -window.edge)
    return float(map_[inside, inside].mean())


def _flat(x: np.ndarray) -> np.ndarray:
    return np.asarray(x, dtype=np.float64).reshape(len(x), -1)


def _centred(x: np.ndarray) -> np.ndarray:
    flat = _flat(x)
    return flat - flat.mean(1, keepdims=True)


def _size(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    size = np.sqrt((a * a).sum(1) * (b * b).sum(1))
    return np.where(size > 0, size, 1)
