"""Counted randomness: every draw is a pure function of a key, never of what was drawn before.

A key is a 64-bit integer made from (seed, stream, step, slot, …) by `key`. The draw with index i under key k is

    u(k, i) = mix(mix(i · G + k) ^ k),     mix = the finaliser of SplitMix64 (Steele, Lea & Flood 2014),

computed in 64-bit integer arithmetic on tensors, so it is the same on every device, in any batch, on any number of
processes, and a resumed run needs nothing but its step. Two rounds with the key between them make the sequences of
different keys independent instead of shifted copies of one another. Normals are Box-Muller pairs of 32-bit uniforms
(the largest possible |z| is √(2·33·ln 2) ≈ 6.8).

Nothing else in the library draws random numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from operator import index as as_index

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_MASK64 = (1 << 64) - 1


def _signed(value: int) -> int:
    """The same 64 bits, read as a two's-complement integer (what torch.int64 holds)."""
    value &= _MASK64
    return value - (1 << 64) if value >> 63 else value


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_M1 = _signed(0xBF58476D1CE4E5B9)
_M2 = _signed(0x94D049BB133111EB)
_CACHED_COUNTERS = 1 << 14  # longer ones are made anew: a cache of large tensors would never be given back
_FEW = 1 << 12
"""Up to so many words on a processor are mixed by NumPy: the same integers, and each call costs half as much."""


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical right shift: torch shifts int64 arithmetically, so the copied sign bits are masked away."""
    return x.bitwise_right_shift(bits).bitwise_and_((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = x.bitwise_xor(_shift_right(x, 30)).mul_(_M1)
    x = x.bitwise_xor_(_shift_right(x, 27)).mul_(_M2)
    return x.bitwise_xor_(_shift_right(x, 31))


Words = npt.NDArray[np.uint64]
_SHIFTS = [np.uint64(shift) for shift in (30, 27, 31)]
_FACTORS = [np.uint64(factor & _MASK64) for factor in (_M1, _M2)]
_HALF, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)


def _mix_few(x: Words) -> Words:
    """`_mix` of uint64, in place."""
    x ^= x >> _SHIFTS[0]
    x *= _FACTORS[0]
    x ^= x >> _SHIFTS[1]
    x *= _FACTORS[1]
    x ^= x >> _SHIFTS[2]
    return x


def _are_few(k: Tensor, count: int) -> bool:
    return len(k) * count <= _FEW and k.device.type == "cpu"


def _bits_few(k: Tensor, count: int) -> Words:
    """The words of `bits` as uint64 (B, count)."""
    base = k.numpy().view(np.uint64).reshape(-1, 1)
    words = _mix_few(_counters_few(count) + base)
    words ^= base
    return _mix_few(words)


@lru_cache(maxsize=64)
def _counters_few(count: int) -> Words:
    return np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GOLDEN & _MASK64)


@lru_cache(maxsize=4096)
def _hash(parts: tuple[int | str, ...]) -> int:
    digest = blake2b(repr(parts).encode(), digest_size=8).digest()
    return _signed(int.from_bytes(digest, "little"))


def key(*parts: int | str) -> int:
    """A 64-bit key of integers and strings, e.g. `key(seed, "noise", step)`; different parts, different key.

    Anything that is an integer (a bool, a NumPy integer, a 0-d integer tensor) counts as that integer; a float is a
    TypeError.
    """
    # Made plain before the cache sees them: True == 1 == np.int64(1) would share an entry but are written differently,
    # and the key would depend on which came first.
    return _hash(tuple(str(part) if isinstance(part, str) else int(as_index(part)) for part in parts))


def keys(base: int, index: Tensor | Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """One key per item: int64 (B,) from a base key and the items' own numbers (their slots)."""
    index = torch.as_tensor(index, dtype=torch.int64, device=device)
    return _mix(_mix(index * _GOLDEN + base) ^ _GOLDEN)


def _mixed_with(k: Tensor, other: int) -> Tensor:
    if _are_few(k, 1):
        mixed = _mix_few(k.numpy().view(np.uint64) ^ np.uint64(other & _MASK64))
        return torch.from_numpy(mixed.view(np.int64))
    return _mix(k ^ other)


def _new_counters(count: int, device: torch.device) -> Tensor:
    return torch.arange(1, count + 1, dtype=torch.int64, device=device).mul_(_GOLDEN)


_kept_counters = lru_cache(maxsize=64)(_new_counters)


def _counters(count: int, device: torch.device) -> Tensor:
    return (_kept_counters if count <= _CACHED_COUNTERS else _new_counters)(count, device)


def bits(k: Tensor, count: int) -> Tensor:
    """`count` 64-bit words under each key: int64 (B,) -> (B, count)."""
    if _are_few(k, count):
        return torch.from_numpy(_bits_few(k, count).view(np.int64))
    k = k.reshape(-1, 1)
    return _mix(_mix(_counters(count, k.device) + k).bitwise_xor_(k))


def _halves(k: Tensor, count: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The upper and the lower 32 bits of `count` words under each key, as floats (B, count)."""
    if _are_few(k, count):
        few = _bits_few(k, count)
        kind = np.float64 if dtype == torch.float64 else np.float32
        return torch.from_numpy((few >> _HALF).astype(kind)), torch.from_numpy((few & _LOW).astype(kind))
    words = bits(k, count)
    return _shift_right(words, 32).to(dtype), words.bitwise_and_(0xFFFFFFFF).to(dtype)


def uniform(k: Tensor, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
    """Uniforms in the open interval (0, 1): (B, *shape). As fine as the dtype: 53 bits in float64, 24 in float32."""
    count = math.prod(shape)
    digits = 1 - round(math.log2(torch.finfo(dtype).eps))
    words = _shift_right(bits(k, count), 64 - digits).to(dtype)
    return words.add_(0.5).mul_(2.0**-digits).clamp_(max=1 - 2.0**-digits).reshape(len(k), *shape)


def normal(k: Tensor, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normals, one independent block of `shape` under each key: (B, *shape)."""
    count = math.prod(shape)
    work = torch.float64 if dtype == torch.float64 else torch.float32
    high, low = _halves(k, (count + 1) // 2, work)
    radius = high.add_(0.5).mul_(2.0**-32).log_().mul_(-2).sqrt_()
    angle = low.mul_(2 * math.pi * 2.0**-32)
    out = torch.cat((radius * angle.cos(), radius * angle.sin()), 1)[:, :count]
    return out.to(dtype).reshape(len(k), *shape)


def integers(k: Tensor, high: int, shape: Sequence[int] = ()) -> Tensor:
    """Integers uniform on 0 … high − 1 (bias below high / 2⁶³): int64 (B, *shape)."""
    return _shift_right(bits(k, math.prod(shape)), 1).remainder_(high).reshape(len(k), *shape)


def permutation(base: int, n: int) -> Tensor:
    """A permutation of 0 … n − 1 under one key: int64 (n,)."""
    return torch.argsort(bits(torch.tensor([base]), n)[0], stable=True)


@dataclass(frozen=True)
class Draws:
    """The randomness of one batch: a key per sample; `at` gives the draws of one step, one purpose.

    Sample i of seed s has the key `keys(key(s, stream), [i])`, so it receives the same draws alone or in any batch.
    `index` keeps the numbers i themselves, int64 (B,), for what must spread evenly over them (stratified times).
    """

    base: Tensor
    index: Tensor

    @staticmethod
    def of(
        seed: int, index: Tensor | Sequence[int], stream: str = "sample", device: torch.device | str = "cpu"
    ) -> Draws:
        index = torch.as_tensor(index, dtype=torch.int64, device=device)
        return Draws(keys(key(seed, stream), index, device), index)

    def at(self, *parts: int | str) -> Draws:
        """The draws for one step or purpose, e.g. `draws.at(step, "noise")`."""
        return Draws(_mixed_with(self.base, key(*parts)), self.index)

    def __getitem__(self, items: slice | Tensor) -> Draws:
        return Draws(self.base[items], self.index[items])

    def __len__(self) -> int:
        return len(self.base)

    def normal(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        return normal(self.base, shape, dtype)

    def normal_like(self, x: Tensor) -> Tensor:
        """Standard normals of the shape (B, …), dtype and device of `x`."""
        return normal(self.base, x.shape[1:], x.dtype)

    def uniform(self, shape: Sequence[int] = (), dtype: torch.dtype = torch.float32) -> Tensor:
        return uniform(self.base, shape, dtype)

    def integers(self, high: int, shape: Sequence[int] = ()) -> Tensor:
        return integers(self.base, high, shape)
