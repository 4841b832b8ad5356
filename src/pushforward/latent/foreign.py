"""Any object with `encode` and `decode` as a first stage; those of diffusers among them, by what their answers hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pushforward.errors import UserError
from pushforward.latent.stage import Code


class Foreign(nn.Module):
    """Another library's autoencoder, read by duck typing and kept frozen.

    `encode(x)` may answer with a tensor, or with an object that has `latent_dist` with a `mean` and perhaps a `std`
    (AutoencoderKL), or `latents` (VQModel, whose codes are found in `decode`; AutoencoderTiny); `decode(z)` with a
    tensor or an object that has `sample`. A tuple is read by its first entry.

    Args:
        inner: the object; its parameters are stored with the model where it is a module.
        shape: of one item in model units, pictures in [−1, 1].

    Raises:
        UserError: it has no `encode` or `decode`, or its answers are none of these, or not of the item's shape.
    """

    def __init__(self, inner: Any, shape: Sequence[int]) -> None:
        super().__init__()
        for name in ("encode", "decode"):
            if not callable(getattr(inner, name, None)):
                raise UserError(
                    f"a first stage is an object with encode and decode; {type(inner).__name__} has no {name}"
                )
        self.inner, self.shape = inner, tuple(shape)
        if isinstance(inner, nn.Module):
            inner.eval().requires_grad_(False)
        with torch.no_grad():
            z = self.code(self._zeros()).mean
            self.latent_shape: tuple[int, ...] = tuple(z.shape[1:])
            back = self.decode(z)
        if tuple(back.shape[1:]) != self.shape:
            raise UserError(
                f"the first stage {type(inner).__name__} turns items of shape {self.shape} into "
                f"{tuple(back.shape[1:])}: give the shape that it was made for, or pad the items to it"
            )

    def code(self, x: Tensor) -> Code:
        found = _first(self.inner.encode(x))
        law = getattr(found, "latent_dist", None)
        if law is not None:
            return Code(law.mean, getattr(law, "std", None))
        return Code(_tensor(getattr(found, "latents", found), self.inner, "encode"))

    def decode(self, z: Tensor) -> Tensor:
        found = _first(self.inner.decode(z))
        return _tensor(getattr(found, "sample", found), self.inner, "decode")

    def _zeros(self) -> Tensor:
        held = next(self.parameters(), None)
        return torch.zeros(1, *self.shape, device=None if held is None else held.device)


def _first(answer: Any) -> Any:
    return answer[0] if isinstance(answer, tuple) else answer


def _tensor(answer: Any, inner: Any, what: str) -> Tensor:
    if not isinstance(answer, Tensor):
        raise UserError(
            f"{type(inner).__name__}.{what} answers with a {type(answer).__name__}; expected a tensor, or an object "
            "with latent_dist, latents or sample"
        )
    return answer
