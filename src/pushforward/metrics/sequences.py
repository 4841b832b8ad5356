"""How much generated texts are like real ones: which pieces of n units they use and how often, and what they copy."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from collections.abc import Sequence, Set

import numpy as np

from pushforward.errors import UserError
from pushforward.metrics.evaluation import Evaluation, Row
from pushforward.numerics.random import key, permutation

Text = np.ndarray
"""The units of one text."""
LEAST = 4
"""Texts that a comparison needs of each kind."""
_COPY = 24
"""A piece of so many units that stands in the training text was learned by heart, or is a phrase of the language."""


def pieces_of(texts: Sequence[Text], n: int) -> Counter[bytes]:
    """How often every piece of n units occurs."""
    found: Counter[bytes] = Counter()
    for text in texts:
        units = np.asarray(text, dtype=np.uint32)
        if len(units) >= n:
            windows = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(units, n))
            found.update(map(bytes, windows.view(np.dtype((np.void, 4 * n)))[:, 0]))
    return found


def jensen_shannon(one: Counter[bytes], other: Counter[bytes]) -> float:
    """The Jensen–Shannon divergence of two frequencies, in bits: 0 for equal ones, 1 for ones that share nothing."""
    if not one or not other:  # texts too short for pieces of this length
        return 0.0 if not one and not other else 1.0
    keys = list(one.keys() | other.keys())
    p, q = (np.array([count[k] for k in keys], dtype=np.float64) for count in (one, other))
    p, q = p / p.sum(), q / q.sum()
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [np.where(x > 0, x * np.log2(x / middle), 0.0).sum() for x in (p, q)]
    return float(sum(parts) / 2)


def evaluate_texts(samples: Sequence[Text], train: Sequence[Text], test: Sequence[Text], seed: int = 0) -> Evaluation:
    """Score generated texts against held-out ones, each number beside what as many training texts score.

    As a control, texts of independent units with the frequencies of the training texts. Raises UserError for fewer than
    `LEAST` texts of a kind.
    """
    for name, found in (("generated", samples), ("training", train), ("test", test)):
        if len(found) < LEAST:
            raise UserError(
                f"there are {len(found)} {name} texts, and a comparison says nothing with fewer than {LEAST}"
            )
    count = min(len(samples), max(LEAST, len(train) // 2))
    subsets = [[train[i] for i in permutation(key(seed, "floor", f), len(train))[:count].tolist()] for f in range(4)]
    rows = [_row(n, samples[:count], train, test, subsets, seed) for n in (1, 2, 3)]
    rows.append(_copies(samples[:count], train, test))
    return Evaluation(tuple(rows), count, len(test), "pieces of units")


def _row(
    n: int, samples: Sequence[Text], train: Sequence[Text], test: Sequence[Text], subsets: list[list[Text]], seed: int
) -> Row:
    wanted = pieces_of(test, n)
    floors = [jensen_shannon(pieces_of(subset, n), wanted) for subset in subsets]
    return Row(
        f"JS of {n} units",
        jensen_shannon(pieces_of(samples, n), wanted),
        statistics.fmean(floors),
        f"bits by which the frequencies of pieces of {n} differ from held-out texts: 0 equal, 1 nothing in common",
        "low",
        len(samples),
        floor_sd=statistics.stdev(floors),
        control=jensen_shannon(pieces_of(_independent(samples, train, seed), n), wanted),
    )


def _independent(samples: Sequence[Text], train: Sequence[Text], seed: int) -> list[np.ndarray]:
    """Texts of the samples' lengths, of units drawn from all training texts."""
    pool = np.concatenate([np.asarray(text, dtype=np.uint32) for text in train])
    total = sum(map(len, samples))
    order = permutation(key(seed, "independent"), max(total, len(pool))).numpy() % len(pool)
    ends = np.cumsum([0, *map(len, samples)])
    return [pool[order[a:b]] for a, b in itertools.pairwise(ends)]


def _copies(samples: Sequence[Text], train: Sequence[Text], test: Sequence[Text]) -> Row:
    n = min(_COPY, max(2, statistics.median_low(map(len, samples))))  # one short line does not decide
    known = pieces_of(train, n).keys()
    return Row(
        f"copies of {n} units",
        _share(pieces_of(samples, n), known),
        _share(pieces_of(test, n), known),
        f"share of pieces of {n} that stand in the training texts word for word",
        "low",
        len(samples),
    )


def _share(found: Counter[bytes], known: Set[bytes]) -> float:
    total = sum(found.values())
    return sum(count for piece, count in found.items() if piece in known) / total if total else 0.0
