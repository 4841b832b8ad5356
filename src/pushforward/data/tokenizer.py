"""Tokenizers of Hugging Face, where the package `tokenizers` is installed: kept as their JSON, never run as code."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from pushforward.errors import UserError

_LARGEST = 1 << 28


class Tokenizer:
    """Text to numbers of tokens and back."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    @staticmethod
    def of_json(text: str) -> Tokenizer:
        """Of the JSON that a tokenizer is stored as. Raises UserError without the package, and for something else."""
        return _read(text)

    @staticmethod
    def json_of(given: Any) -> str:
        """The JSON of a tokenizer from Python (of `tokenizers`, or a fast one of `transformers`), or of a file."""
        if isinstance(given, str | Path):
            return _file(Path(given))
        backend = getattr(given, "backend_tokenizer", given)
        if not callable(getattr(backend, "to_str", None)):
            raise UserError(
                f"a {type(given).__name__} was given as tokenizer; expected one of the package tokenizers, a fast one "
                "of transformers, or the path of a tokenizer.json"
            )
        return str(backend.to_str())

    def encode(self, text: str) -> list[int]:
        return list(self.inner.encode(text, add_special_tokens=False).ids)

    def decode(self, numbers: list[int]) -> str:
        return str(self.inner.decode(numbers, skip_special_tokens=False))


@lru_cache(maxsize=4)
def _read(text: str) -> Tokenizer:
    try:
        import tokenizers
    except ImportError:
        raise UserError(
            "tokens need the package tokenizers, which is not installed: pip install 'pushforward[tokens]'"
        ) from None
    try:
        return Tokenizer(tokenizers.Tokenizer.from_str(text))
    except Exception as error:  # the package raises plain Exception
        raise UserError(f"this is no tokenizer of Hugging Face: {str(error)[:100]}") from None


def _file(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST:
            raise UserError(f"{path} is too large for a tokenizer.json")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"the tokenizer {path} cannot be read: {error.strerror}; texts are cut into characters, bytes, or the "
            "tokens of a tokenizer.json whose path is given"
        ) from None
    except UnicodeDecodeError:
        raise UserError(f"the tokenizer {path} is not a JSON text") from None
