"""Vector quantisation: nearest codes, averages that are k-means, no code lost, gradients straight through."""

from __future__ import annotations

import pytest
import torch

from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.vae import VectorQuantiser

CENTRES = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0], [5.0, 5.0]])


def clusters(count, seed=0, places=3):
    """Maps (B, 2, places) of vectors about four centres."""
    draws = Draws.of(seed, range(count), "clusters")
    chosen = draws.at("centre").integers(4, (places,))
    return (CENTRES[chosen] + 0.1 * draws.at("noise").normal((places, 2))).movedim(-1, 1)


def trained(steps=60, **changes):
    quantiser = VectorQuantiser(**{"codes": 4, "dim": 2, "decay": 0.8, "revive": 0.1, **changes})
    for step in range(steps):
        quantiser.update(clusters(32, step), Draws.of(step, range(32)))
    return quantiser


def test_nearest_is_nearest_on_the_channels_axis():
    quantiser = VectorQuantiser(7, 3)
    quantiser.codebook.copy_(Draws.of(0, range(7)).normal((3,)))
    z = Draws.of(1, range(4)).normal((3, 5, 6))
    found = quantiser(z)
    rows = z.permute(0, 2, 3, 1)
    expected = (rows[..., None, :] - quantiser.codebook).square().sum(-1)
    assert torch.equal(found.codes, expected.argmin(-1))
    torch.testing.assert_close(found.vectors, quantiser.codebook[found.codes].permute(0, 3, 1, 2))
    torch.testing.assert_close(found.distance, expected.amin(-1).sum((1, 2)))


def test_gradients_pass_straight_through_and_the_distance_pulls_the_encoder():
    quantiser = VectorQuantiser(7, 3)
    quantiser.codebook.copy_(Draws.of(0, range(7)).normal((3,)))
    z = Draws.of(1, range(4)).normal((3, 5)).requires_grad_()
    weight = Draws.of(2, range(4)).normal((3, 5))
    found = quantiser(z)
    through = torch.autograd.grad((weight * found.vectors).sum(), z, retain_graph=True)[0]
    torch.testing.assert_close(through, weight)
    pull = torch.autograd.grad(found.distance.sum(), z)[0]
    torch.testing.assert_close(pull, 2 * (z - quantiser.vectors(found.codes)).detach())


def test_codes_become_the_means_of_their_clusters():
    found = trained().codebook
    nearest = torch.cdist(CENTRES, found).min(1)
    assert len(set(nearest.indices.tolist())) == 4
    assert float(nearest.values.max()) < 0.1


def test_averages_are_those_of_the_rule():
    quantiser = VectorQuantiser(2, 1, decay=0.9, revive=0.0)
    quantiser.started.fill_(True)
    quantiser.codebook.copy_(torch.tensor([[0.0], [10.0]]))
    quantiser.counts.copy_(torch.tensor([2.0, 4.0]))
    quantiser.sums.copy_(torch.tensor([[0.0], [40.0]]))
    quantiser.update(torch.tensor([[1.0], [9.0], [12.0]]), Draws.of(0, range(3)))
    torch.testing.assert_close(quantiser.counts, torch.tensor([1.9, 3.8]))
    torch.testing.assert_close(quantiser.codebook, torch.tensor([[0.1 / 1.9], [(36 + 2.1) / 3.8]]))


def test_dead_codes_are_put_back_to_use():
    lost, kept = (trained(60, codes=32, revive=share, decay=0.5) for share in (0.0, 0.2))
    z = clusters(200, 99)
    assert kept.usage(kept(z).codes)[0] > 20
    far = VectorQuantiser(8, 2, decay=0.5, revive=0.0)
    far.started.fill_(True)
    far.codebook.copy_(torch.cat((CENTRES, CENTRES + 1e3)))
    far.counts.fill_(1.0)
    far.sums.copy_(far.codebook)
    same = VectorQuantiser(8, 2, decay=0.5, revive=0.2)
    same.load_state_dict(far.state_dict())
    for step in range(8):
        for quantiser in (far, same):
            quantiser.update(clusters(32, step), Draws.of(step, range(32)))
    assert far.usage(far(z).codes)[0] == 4
    assert same.usage(same(z).codes)[0] == 8
    assert lost.codes == 32


def test_usage_is_the_perplexity_of_the_codes():
    quantiser = VectorQuantiser(6, 2)
    used, perplexity = quantiser.usage(torch.tensor([[0, 1], [2, 3]]))
    assert used == 4 and perplexity == pytest.approx(4)
    assert quantiser.usage(torch.zeros(5, dtype=torch.int64)) == (1, pytest.approx(1))


def test_codes_start_at_vectors_of_the_first_batch():
    quantiser = VectorQuantiser(4, 2, decay=0.0, revive=0.0)
    z = clusters(32)
    quantiser.update(z, Draws.of(0, range(32)))
    assert bool(quantiser.started) and float(torch.cdist(quantiser.codebook, z.movedim(1, -1).reshape(-1, 2)).min()) < 1


def test_an_update_is_a_function_of_its_draws():
    first, second = trained(3), trained(3)
    assert torch.equal(first.codebook, second.codebook)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: VectorQuantiser(4, 2, revive=1.0), "must lie in"),
        (lambda: VectorQuantiser(4, 2)(torch.zeros(1, 3, 2)), r"codes of 2 numbers, but was given a map \(1, 3, 2\)"),
    ],
)
def test_mistakes_are_told(make, words):
    with pytest.raises(UserError, match=words):
        make()
