"""MRI of complex pictures by one coil or six: phantoms of 128² and 320², and a photograph with a phase."""

from __future__ import annotations

from collections.abc import Iterator

import mri_prior
from phantoms import coil_maps, lines, phantoms, photograph, with_phase
from restored import Problem
from torch import Tensor

from pushforward.inverse import ChannelsAsComplex, sense, subsampled_fourier


def small(items: int) -> Iterator[Problem]:
    """Phantoms of 128² that the prior has not seen, one line in four and in eight."""
    size = mri_prior.SIZE
    for factor in (4, 8):
        yield from scan(f"MRI {factor}×", phantoms(10_000, items, size), phantoms(0, 1, size), factor)


def large(items: int) -> Iterator[Problem]:
    """Pictures of 320² through the network of 128²: phantoms, and the photograph that the prior has not seen."""
    size = mri_prior.LARGE
    natural = with_phase(photograph("flower.jpg")[None, 50 : 50 + size, 150 : 150 + size], 30_000)
    tuning = with_phase(photograph("china.jpg")[None, 50 : 50 + size, 150 : 150 + size], 30_001)
    yield from scan("MRI 320², 4×", phantoms(20_000, items, size), phantoms(0, 1, size), 4)
    yield from scan("MRI 320², 4×, photograph", natural, tuning, 4)


def scan(name: str, truth: Tensor, tuning: Tensor, factor: int) -> Iterator[Problem]:
    """One line in `factor`, by one coil and by six."""
    size = truth.shape[-1]
    mask = lines(size, factor).expand(size, size)
    single = subsampled_fourier(mask, centred=True) @ ChannelsAsComplex()
    several = sense(coil_maps(6, size), mask) @ ChannelsAsComplex()
    for title, operator in (("one coil", single), ("six coils", several)):
        yield Problem(f"{name}, {title}", operator, 0.02, truth, tuning)
