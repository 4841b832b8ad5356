"""What an evaluation holds: rows of numbers, each with what to hold it against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Row:
    """One number of an evaluation.

    `floor` is what real data score in the same measurement, `floor_sd` its spread over subsets, `control` what a
    Gaussian fit (for labels: chance) scores, `sd` the bootstrap standard deviation of `value`, `n` the number of
    samples it is measured on, `good` the direction that is better, `target` the value to reach (None where no line is
    drawn) and `meaning` the number in plain words.
    """

    name: str
    value: float
    floor: float
    meaning: str
    good: Literal["low", "high"]
    n: int
    sd: float | None = None
    floor_sd: float | None = None
    control: float | None = None
    target: float | None = None

    @property
    def reached(self) -> bool | None:
        """Whether the target is met; None without a target."""
        if self.target is None:
            return None
        return self.value <= self.target if self.good == "low" else self.value >= self.target


@dataclass(frozen=True)
class Evaluation:
    """The rows of an evaluation, the sizes it was made at and the feature space by name."""

    rows: tuple[Row, ...]
    n: int
    n_test: int
    features: str

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __getitem__(self, name: str) -> Row:
        """The row whose name is `name`, or begins with it: `evaluation["FD"]`."""
        for row in self.rows:
            if row.name == name or row.name.partition("[")[0] == name:
                return row
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """The evaluation as JSON-able values."""
        rows = [{**asdict(row), "reached": row.reached} for row in self.rows]
        return {"n": self.n, "n_test": self.n_test, "features": self.features, "rows": rows}
