"""Rows with a response: features x and responses y of a table, to model units and back.

Numbers are standardised on the training rows, categories become one-hot columns, classes a one-hot response. An item in
model units is [responses | features], float32; in the user's form it is a row of numbers in which categories and
classes are their numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pushforward.data import schema
from pushforward.data.frames import Frame
from pushforward.data.labels import Labels, in_order
from pushforward.data.roles import Feature, Response, check_magnitude, plain, read_feature, read_response
from pushforward.errors import UserError


@dataclass(frozen=True)
class Pairing:
    """What is predicted from what. Either `responses` are numbers, or there are `classes`."""

    features: tuple[Feature, ...]
    responses: tuple[Response, ...] = ()
    classes: Labels | None = None

    dtype = "float64"
    names = None

    @property
    def outputs(self) -> int:
        """Columns of the response in model units."""
        return len(self.classes.names) if self.classes is not None else len(self.responses)

    @property
    def inputs(self) -> int:
        """Columns of the features in model units."""
        return sum(feature.width for feature in self.features)

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of the response's columns."""
        if self.classes is not None:
            return (self.classes.column or "class",)
        return tuple(response.name for response in self.responses)

    @property
    def names_used(self) -> tuple[str, ...]:
        """The columns of x."""
        return tuple(feature.name for feature in self.features)

    @property
    def texts(self) -> tuple[str, ...]:
        """The columns that hold texts: their categories may look like numbers."""
        found = tuple(feature.name for feature in self.features if feature.categories is not None)
        return found if self.classes is None or self.classes.numeric else (*found, *self.targets)

    @property
    def shape(self) -> tuple[int]:
        return (self.outputs + self.inputs,)

    @property
    def item_shape(self) -> tuple[int]:
        return (len(self.features) + len(self.targets),)

    @property
    def offset(self) -> tuple[float, ...]:
        """Of the responses."""
        return tuple(r.offset for r in self.responses) or (0.0,) * self.outputs

    @property
    def scale(self) -> tuple[float, ...]:
        """Of the responses: their units per model unit."""
        return tuple(r.scale for r in self.responses) or (1.0,) * self.outputs

    @property
    def cells(self) -> tuple[float, ...]:
        """How finely the responses are written, in model units; 0 where they are real numbers or classes."""
        return tuple(r.step / r.scale for r in self.responses) or (0.0,) * self.outputs

    def raw_features(self, frame: Frame) -> np.ndarray:
        """float64 (N, features) of a table, its columns found by name. Raises UserError where one is missing."""
        missing = [feature.name for feature in self.features if feature.name not in frame.names]
        if missing:
            raise UserError(
                f"{frame.what} has no column {missing[0]!r}, which the model was trained on: its columns are "
                f"{', '.join(frame.names[:10])}{', …' if len(frame.names) > 10 else ''}"
            )
        if not len(frame):
            raise UserError(f"{frame.what} has no rows: give at least one")
        columns = [feature.codes(frame[feature.name], frame.what) for feature in self.features]
        return np.stack(columns, 1) if columns else np.zeros((len(frame), 0))

    def raw_responses(self, frame: Frame) -> np.ndarray:
        """float64 (N, targets): numbers, or places of classes. Raises UserError for a class training never saw."""
        for name in self.targets:
            if name not in frame.names:
                raise UserError(f"{frame.what} has no column {name!r}, the response: its columns are {frame.names}")
        if self.classes is None:
            return np.stack([_response_codes(name, frame) for name in self.targets], 1)
        return self.classes.index(class_names(frame, self.targets[0]), frame.what).astype(np.float64)[:, None]

    def raw(self, frame: Frame) -> np.ndarray:
        """Whole rows: float64 (N, features + targets)."""
        return np.concatenate((self.raw_features(frame), self.raw_responses(frame)), 1)

    def encode_features(self, raw: np.ndarray) -> Tensor:
        """float64 (N, features) -> float32 (N, inputs)."""
        codes = torch.from_numpy(np.require(raw, np.float64, ["C", "W"]))
        parts = [feature.encode(codes[:, i]) for i, feature in enumerate(self.features)]
        return torch.cat(parts, 1) if parts else torch.zeros(len(raw), 0)

    def encode_responses(self, raw: np.ndarray) -> Tensor:
        """float64 (N, targets) -> float32 (N, outputs)."""
        values = torch.from_numpy(np.require(raw, np.float64, ["C", "W"]))
        if self.classes is not None:
            return torch.nn.functional.one_hot(values[:, 0].long(), self.outputs).float()
        offset, scale = (torch.tensor(numbers, dtype=torch.float64) for numbers in (self.offset, self.scale))
        return ((values - offset) / scale).float()

    def encode(self, values: np.ndarray) -> Tensor:
        """float64 (N, features + targets) -> float32 (N, outputs + inputs)."""
        if values.shape[1:] != self.item_shape:
            raise UserError(f"rows of {self.item_shape[0]} columns were expected; got {values.shape[1:]}")
        count = len(self.features)
        return torch.cat((self.encode_responses(values[:, count:]), self.encode_features(values[:, :count])), 1)

    def decode(self, x: Tensor) -> np.ndarray:
        raise UserError("a model that predicts has no rows of its own to make: give it rows, `predict RUN rows.csv`")

    def decode_responses(self, y: Tensor) -> np.ndarray:
        """float (…, outputs) in model units -> float64 in the user's; classes stay probabilities or votes."""
        return y.detach().cpu().double().numpy() * np.asarray(self.scale) + np.asarray(self.offset)

    def to_dict(self) -> dict[str, Any]:
        return {
            "features": [{**asdict(f), "categories": f.categories and list(f.categories)} for f in self.features],
            "responses": [asdict(response) for response in self.responses],
            "classes": None if self.classes is None else self.classes.to_dict(),
        }

    @staticmethod
    def from_dict(stored: Any, where: str = "pairing") -> Pairing:
        found = schema.fields(stored, where, ("features", "responses", "classes"))
        features = schema.items(read_feature)(found["features"], f"{where}.features")
        responses = schema.items(read_response)(found["responses"], f"{where}.responses")
        classes = schema.optional(Labels.from_dict)(found["classes"], f"{where}.classes")
        if (classes is None) == (not responses):
            raise schema.wrong(f"{where}.responses", found["responses"], "responses or classes, one of them")
        return Pairing(features, responses, classes)


def _response_codes(name: str, frame: Frame) -> np.ndarray:
    column = frame[name]
    if column.dtype.kind == "U":
        raise UserError(
            f"the response {name!r} of {frame.what} holds texts such as {str(column[0])!r}, and numbers were expected, "
            "as in training"
        )
    check_magnitude(name, column)
    return column


def class_names(frame: Frame, target: str) -> np.ndarray:
    """The class of each row as text; whole numbers without a point."""
    column = frame[target]
    return column if column.dtype.kind == "U" else np.array([plain(value) for value in column.tolist()])


def pair(frame: Frame, targets: Sequence[str], training: np.ndarray, classify: bool | None = None) -> Pairing:
    """What is predicted from what, measured on the rows `training`; text is a class unless `classify` says otherwise.

    Raises UserError for a response that is missing, constant, or has a single class, and where no feature is left.
    """
    for name in targets:
        if name not in frame.names:
            raise UserError(
                f"{frame.what} has no column {name!r} to predict: its columns are {', '.join(frame.names[:12])}"
            )
    others = frame.without(targets)
    if not others.names:
        raise UserError(f"{frame.what} has no column besides the response: there is nothing to predict from")
    features = tuple(Feature.of(name, others[name], training) for name in others.names)
    if all(feature.constant for feature in features):
        raise UserError(
            f"every column of {frame.what} besides the response is constant in all training rows: there is nothing to "
            "predict from"
        )
    if classify is None:
        classify = len(targets) == 1 and frame.is_text(targets[0])
    if not classify:
        return Pairing(features, tuple(Response.of(n, frame[n], training, frame.is_whole(n)) for n in targets))
    if len(targets) != 1:
        raise UserError(f"one column holds the class; {len(targets)} were named: {', '.join(targets)}")
    names = in_order(set(class_names(frame, targets[0])[training].tolist()))
    if len(names) < 2:
        raise UserError(
            f"the response {targets[0]!r} has one class ({names[0]!r}) in all training rows: at least two are needed"
        )
    numeric = frame[targets[0]].dtype.kind != "U"
    return Pairing(features, classes=Labels(tuple(names), numeric and all(map(_is_digits, names)), targets[0]))


def _is_digits(name: str) -> bool:
    return name.lstrip("-").isdigit()
