"""How well a run predicts held-out rows: figures, each beside what perfection or a simpler model scores."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from pushforward.card.draws import check_levels
from pushforward.data.atomic import write_file
from pushforward.data.dataset import Split
from pushforward.errors import UserError
from pushforward.metrics.certainty import accuracy, auroc, class_nll, ece, pavpu
from pushforward.metrics.coverage import over_cells, qice, qice_floor
from pushforward.metrics.predictive import crps, gaussian_nll, kernel_nll, rmse
from pushforward.models.predictor import Classified, Prediction, Predictor

SAMPLES = 400


@dataclass(frozen=True)
class Measured:
    """One figure. `against` is what to hold it against: what perfection scores, or the regression f alone."""

    name: str
    value: float
    against: float | None
    meaning: str
    better: str = "low"


@dataclass(frozen=True, eq=False)
class PredictiveEvaluation:
    """Figures on rows of a split, and the predictions that they were made of."""

    measured: Sequence[Measured]
    rows: int
    samples: int
    seconds: float
    truth: np.ndarray
    """(N, R) in the response's unit, or classes (N,)."""
    spread: np.ndarray
    """The truths that calibration is measured on: those that were rounded lie anywhere in their cells."""
    law: Prediction | Classified = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; what is not finite is null."""

        def plain(value: Any) -> Any:
            return None if isinstance(value, float) and not math.isfinite(value) else value

        figures = [{name: plain(value) for name, value in asdict(m).items()} for m in self.measured]
        return {"figures": figures, "rows": self.rows, "samples": self.samples, "seconds_per_row": self.seconds}

    def save(self, path: Path) -> Path:
        """Write them as JSON."""
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False)
        write_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
        return path

    def __getitem__(self, name: str) -> Measured:
        """A figure by its name."""
        return next(m for m in self.measured if m.name == name)


def evaluate_predictor(
    predictor: Predictor,
    split: Split,
    *,
    samples: int = SAMPLES,
    seed: int = 0,
    evaluations: int = 20,
    most: int = 20_000,
    progress: Callable[[int, int], None] | None = None,
) -> PredictiveEvaluation:
    """Predict the first `most` rows of a split and score that. Raises UserError where there are none."""
    if not len(split):
        raise UserError("there are no held-out rows to score: train with a share of the data for testing (data.test)")
    values = split.batch(np.arange(min(len(split), most))).values
    y, x = values.split((predictor.card.outputs, predictor.card.inputs), 1)
    how: Mapping[str, Any] = {"seed": seed, "evaluations": evaluations, "progress": progress}
    began = time.perf_counter()
    law: Prediction | Classified
    if predictor.card.classify:
        law = predictor.classify(x, samples=samples, keep=True, **how)
    else:
        if isinstance(samples, int) and samples > 0:  # else the predictor says what is wrong with it
            check_levels((0.025, 0.975), samples)
        law = predictor.predict(x, samples=samples, keep=True, **how)
    seconds = (time.perf_counter() - began) / len(x)
    if isinstance(law, Classified):
        classes = y.argmax(1).numpy()
        measured = _of_classes(predictor, x, law, classes)
        return PredictiveEvaluation(measured, len(x), samples, seconds, classes, classes, law)
    truth = predictor.pairing.decode_responses(y)
    spread = over_cells(truth, predictor.cells)
    measured = _of_numbers(predictor, x, y, law, truth, spread)
    return PredictiveEvaluation(measured, len(x), samples, seconds, truth, spread, law)


def _of_numbers(
    predictor: Predictor, x: Tensor, y: Tensor, law: Prediction, truth: np.ndarray, spread: np.ndarray
) -> list[Measured]:
    assert law.samples is not None
    f = predictor.pairing.decode_responses(predictor.mean_of(x))
    deviation = predictor.card.deviation.cpu().numpy() * np.asarray(predictor.pairing.scale)
    out, around_f = [], 0.0
    for r, name in enumerate(predictor.pairing.targets):
        drawn, true, ends = law.samples[:, :, r], truth[:, r], law.interval(0.95)[:, :, r]
        of = f", {name}" if truth.shape[1] > 1 else ""
        around_f += float(gaussian_nll(true, f[:, r], max(float(deviation[r]), 1e-12)).mean())
        out += [
            Measured(
                f"RMSE{of}", rmse(true, drawn.mean(1)), rmse(true, f[:, r]), "error of the mean; beside: of f alone"
            ),
            Measured(
                f"CRPS{of}",
                float(crps(true, drawn, evenly=not predictor.card.published).mean()),
                None,
                "error of the whole law, in the response's unit",
            ),
            Measured(
                f"QICE{of}", qice(spread[:, r], drawn), qice_floor(len(true)), "calibration; beside: a perfect model's"
            ),
            Measured(
                f"PICP 95 %{of}",
                float(np.mean((ends[:, 0] <= true) & (true <= ends[:, 1]))),
                0.95,
                "share of rows in their 95 % interval",
                "near",
            ),
            Measured(f"width 95 %{of}", float((ends[:, 1] - ends[:, 0]).mean()), None, "mean width of these intervals"),
        ]
        if (drawn.std(1) > 0).all():
            kernel = float(kernel_nll(true, drawn).mean())
            meaning = "as published; 0.0966 nats above the entropy for a perfect Gaussian"
            out.append(Measured(f"kernel NLL{of}", kernel, None, meaning))
    exact = -predictor.log_prob(x, y)
    out.append(Measured("NLL", float(exact.mean()), around_f, "exact, nats; beside: of a Gaussian around f"))
    return out


def _of_classes(predictor: Predictor, x: Tensor, law: Classified, classes: np.ndarray) -> list[Measured]:
    f = predictor.mean_of(x).numpy()
    right = law.probabilities.argmax(1) == classes
    out = [
        Measured("accuracy", accuracy(law.probabilities, classes), accuracy(f, classes), "beside: of f alone", "high"),
        Measured("NLL", class_nll(law.probabilities, classes), class_nll(f, classes), "nats; beside: of f alone"),
        Measured("ECE", ece(law.probabilities, classes), ece(f, classes), "calibration error; beside: of f alone"),
        Measured("PAvPU", pavpu(right, law.p_values < 0.05), None, "right and certain or wrong and uncertain", "high"),
    ]
    if 0 < right.sum() < len(right):
        by_width, by_sure = auroc(law.width, ~right), auroc(-f.max(1), ~right)
        out.append(
            Measured("AUROC of widths", by_width, by_sure, "wrong answers told by their width; beside: f", "high")
        )
    return out
