"""The checks of T21's latents hold, and fail where something wrong is put in their place."""

from __future__ import annotations

import pytest
import torch

from pushforward.latent import Code
from pushforward.vae.codebook import Codebook
from pushforward.vae.quantiser import Quantised
from pushforward.verification import latent
from pushforward.verification.latent import CHECKS


@pytest.mark.parametrize("check", CHECKS, ids=[check.name for check in CHECKS])
def test_holds(check):
    row = check()
    assert row.passed, row


def error_of(found):
    return abs(found if isinstance(found, float) else found.error)


def test_a_decoder_that_forgets_the_scale_is_found():
    assert error_of(latent.rank_k(lambda stage, standard, u: stage.decode(u + standard.shift))) > 0.02


def test_codes_whose_gradient_reaches_the_codebook_are_found():
    def moved(book: Codebook, z: torch.Tensor) -> Quantised:
        found = book(z)
        return found._replace(vectors=book.vectors(found.codes) + z - z.detach())

    assert error_of(latent.straight_through(moved)) > 1e-3


def test_the_other_placement_is_found():
    right = latent._codes()[0]
    other = Codebook(5, 2, 0.25, published=True).double()
    other.load_state_dict(right.state_dict())
    assert error_of(latent.commitment(other)) > 1e-3


def test_units_of_a_first_batch_or_of_means_alone_are_found():
    assert error_of(latent.units(lambda standard, codes: standard.measure(codes[:1]))) > 1e-3
    assert error_of(latent.units(lambda standard, codes: standard.measure([Code(c.mean) for c in codes]))) > 1e-3
