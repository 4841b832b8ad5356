"""First stages: principal components, other libraries' autoencoders, tiles, units, and what trains one."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pushforward.errors import UserError
from pushforward.gan.losses import Relativistic
from pushforward.latent import (
    KL,
    PCA,
    VQ,
    Adversary,
    Code,
    Foreign,
    Perceptual,
    Standard,
    Tiling,
    adaptive_weight,
    tiled_decode,
    tiled_encode,
)
from pushforward.networks.patches import PatchDiscriminator
from pushforward.numerics.random import Draws
from pushforward.vae import VectorQuantiser
from pushforward.vae.codebook import Codebook

F64 = torch.float64


def gaussian(count=4000, dim=6, seed=0):
    """Items of a known covariance, deviations 3, 2.5, … downwards."""
    axes = torch.linalg.qr(Draws.of(5, [0]).normal((dim, dim), F64)[0])[0]
    deviations = torch.linspace(3, 0.2, dim, dtype=F64)
    z = Draws.of(seed, range(count)).normal((dim,), F64)
    return z * deviations @ axes.T + 1.5


def fitted(x, k):
    stage = PCA(x.shape[1:], k).double()
    stage.fit(x)
    return stage


# -- principal components ------------------------------------------------------------------------------------------


def test_components_reconstruct_what_the_singular_values_say():
    x = gaussian()
    s2 = torch.linalg.svdvals(x - x.mean(0)).square() / (len(x) - 1)
    for k in (1, 3, 5):
        stage = fitted(x, k)
        left = (stage.decode(stage.code(x).mean) - x).square().sum(1).mean() * len(x) / (len(x) - 1)
        assert float(left) == pytest.approx(float(s2[k:].sum()), rel=1e-9)
        assert float(stage.rest) == pytest.approx(float(s2[k:].mean()), rel=1e-9)
    whole = fitted(x, 6)
    torch.testing.assert_close(whole.decode(whole.code(x).mean), x)


def test_a_density_of_components_is_the_probabilistic_pca_of_items():
    """log p(z) + log p(x | z) is the density of N(m, U Λ Uᵀ + s² (I − U Uᵀ)) for z ~ N(0, Λ)."""
    x = gaussian(500)
    stage = fitted(x, 2)
    z = stage.code(x).mean
    variances = z.var(0)
    prior = torch.distributions.MultivariateNormal(torch.zeros(2, dtype=F64), torch.diag(variances))
    u = stage.basis
    covariance = u @ torch.diag(variances) @ u.T + stage.rest * (torch.eye(6, dtype=F64) - u @ u.T)
    exact = torch.distributions.MultivariateNormal(stage.mean, covariance).log_prob(x)
    torch.testing.assert_close(prior.log_prob(z) + stage.log_conditional(x, z), exact)


# -- other libraries -----------------------------------------------------------------------------------------------


class Halving(nn.Module):
    """Means of 2 × 2 pixels, and back; answers as libraries do."""

    def __init__(self, answer):
        super().__init__()
        self.answer, self.weight = answer, nn.Parameter(torch.ones(()))

    def encode(self, x):
        z = self.weight * nn.functional.avg_pool2d(x, 2)
        return {
            "tensor": z,
            "tuple": (z,),
            "latents": SimpleNamespace(latents=z),
            "law": SimpleNamespace(latent_dist=SimpleNamespace(mean=z, std=0 * z + 0.3)),
            "wrong": "z",
        }[self.answer]

    def decode(self, z):
        y = nn.functional.interpolate(z, scale_factor=2)
        return SimpleNamespace(sample=y) if self.answer in ("latents", "law") else y


@pytest.mark.parametrize("answer", ["tensor", "tuple", "latents", "law"])
def test_any_object_that_encodes_and_decodes_is_a_first_stage(answer):
    stage = Foreign(Halving(answer), (1, 4, 6))
    assert stage.latent_shape == (1, 2, 3)
    z = Draws.of(0, range(5)).normal((1, 2, 3))
    code = stage.code(stage.decode(z))
    torch.testing.assert_close(code.mean, z)
    assert (code.deviation is not None) == (answer == "law")
    drawn = code.sample(Draws.of(1, range(5)))
    assert bool((drawn == z).all()) == (answer != "law")
    assert not any(p.requires_grad for p in stage.parameters())


@pytest.mark.parametrize(
    ("inner", "shape", "words"),
    [
        (object(), (1, 4, 4), "object has no encode"),
        (Halving("wrong"), (1, 4, 4), "answers with a str"),
        (Halving("tensor"), (1, 5, 4), r"turns items of shape \(1, 5, 4\) into \(1, 4, 4\)"),
    ],
)
def test_objects_that_are_none_are_told_so(inner, shape, words):
    with pytest.raises(UserError, match=words):
        Foreign(inner, shape)


@pytest.mark.parametrize("kind", ["AutoencoderKL", "VQModel", "AutoencoderTiny"])
def test_those_of_diffusers_are_first_stages(kind):
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    small = {"block_out_channels": (8, 8), "in_channels": 3, "out_channels": 3, "latent_channels": 4}
    own = {
        "AutoencoderKL": {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2},
        "VQModel": {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2},
        "AutoencoderTiny": {},
    }[kind]
    blocks = {"encoder_block_out_channels": (8, 8), "decoder_block_out_channels": (8, 8)}
    if kind == "AutoencoderTiny":
        small = {**blocks, "num_encoder_blocks": (1, 1), "num_decoder_blocks": (1, 1), "latent_channels": 4}
    elif kind in ("AutoencoderKL", "VQModel"):
        small["norm_num_groups"] = 4
    inner = getattr(diffusers, kind)(**small, **own)
    stage = Foreign(inner, (3, 16, 16))
    x = Draws.of(0, range(2)).normal((3, 16, 16)).tanh()
    with torch.no_grad():
        code = stage.code(x)
        expected = inner.encode(x)
        expected = expected.latent_dist.mean if kind == "AutoencoderKL" else expected.latents
        torch.testing.assert_close(code.mean, expected)
        torch.testing.assert_close(stage.decode(code.mean), inner.decode(expected).sample)
    assert (code.deviation is not None) == (kind == "AutoencoderKL")


# -- tiles ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(8, 8), (20, 14), (9, 31)])
def test_tiles_of_what_acts_on_each_place_alone_are_the_whole(size):
    """An encoder of 2 × 2 pixels and its decoder do the same in tiles, whatever the sides."""
    tiling = Tiling(8, 3)
    height, width = size
    x = Draws.of(0, range(2)).normal((1, 2 * height, 2 * width))

    def encode(part):
        assert max(part.shape[-2:]) <= 16
        return nn.functional.avg_pool2d(part, 2)

    def decode(part):
        assert max(part.shape[-2:]) <= 8
        return nn.functional.interpolate(part, scale_factor=2) ** 2

    z = tiled_encode(encode, x, 2, tiling)
    torch.testing.assert_close(z, nn.functional.avg_pool2d(x, 2))
    torch.testing.assert_close(tiled_decode(decode, z, 2, tiling), nn.functional.interpolate(z, scale_factor=2) ** 2)


def test_seams_of_tiles_do_not_show():
    """A decoder that gives each call another brightness: overlaps blend it, tiles side by side jump."""

    def jumps(tiling):
        shades = iter(torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0]))
        row = tiled_decode(lambda part: torch.zeros_like(part) + next(shades), torch.zeros(1, 1, 1, 20), 1, tiling)
        return float(row.diff().abs().max())

    assert jumps(Tiling(8, 0)) == 1
    assert jumps(Tiling(8, 4)) < 0.26


def test_sides_that_are_no_multiples_are_refused():
    with pytest.raises(UserError, match="9 × 8 cannot be cut"):
        tiled_encode(lambda x: x, torch.zeros(1, 1, 9, 8), 2, Tiling())
    with pytest.raises(UserError, match="overlap < size"):
        Tiling(4, 4)


# -- units ---------------------------------------------------------------------------------------------------------


def test_units_are_those_of_the_whole_training_set_and_of_what_is_drawn():
    """Measured without draws, they make what draws of q(z | x) give standard, as many draws confirm."""
    mean = Draws.of(0, range(3000)).normal((2, 2, 3), F64) * torch.tensor([0.5, 4.0]).reshape(2, 1, 1) + 2
    codes = [Code(part, torch.full_like(part, 0.7)) for part in mean.split(700)]
    standard = Standard((2, 2, 3)).double()
    standard.measure(codes)
    drawn = torch.cat([code.sample(Draws.of(1, range(len(code.mean)), f"{i}")) for i, code in enumerate(codes)])
    u = standard.standardised(drawn)
    assert u.mean((0, 2, 3)).abs().max() < 0.01
    assert u.var((0, 2, 3)).tolist() == pytest.approx([1, 1], abs=0.02)
    assert standard.scale.flatten().tolist() == pytest.approx([math.sqrt(0.25 + 0.49), math.sqrt(16.49)], rel=0.02)
    torch.testing.assert_close(standard.restored(u), drawn)
    assert standard.log_det() == pytest.approx(-6 * float(standard.scale.log().sum()))
    torch.testing.assert_close(standard.variance, u.var(0), atol=0.08, rtol=0)
    assert int(standard.measured) == 3000


def test_a_channel_that_never_varies_is_left_as_it_is():
    standard = Standard((2,))
    standard.measure([Code(torch.tensor([[3.0, 0.0], [3.0, 2.0]]))])
    assert standard.scale.tolist() == [1.0, 1.0] and standard.shift.tolist() == [3.0, 1.0]


# -- regularisers --------------------------------------------------------------------------------------------------


def test_kl_is_that_of_torch_and_summed():
    raw = Draws.of(0, range(5)).normal((4, 3, 2), F64)
    found = KL(0.5)(raw, Draws.of(1, range(5)))
    mean, log_variance = raw.chunk(2, 1)
    q = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).flatten(1).sum(1)
    torch.testing.assert_close(found.penalty, 0.5 * kl)
    code = KL().code(raw)
    torch.testing.assert_close(code.deviation, q.stddev)
    torch.testing.assert_close(found.z, code.sample(Draws.of(1, range(5))))


def test_codes_pass_gradients_straight_through_and_are_not_moved_by_the_decoder():
    torch.manual_seed(0)
    book = Codebook(7, 3).double()
    z = Draws.of(1, range(4)).normal((3, 5), F64).requires_grad_()
    weight = Draws.of(2, range(4)).normal((3, 5), F64)
    found = book(z)
    distances = torch.cdist(z.detach().movedim(1, -1), book.weight.detach().expand(4, -1, -1))
    assert torch.equal(found.codes, distances.argmin(-1))
    through, moved = torch.autograd.grad((weight * found.vectors).sum(), (z, book.weight), allow_unused=True)
    torch.testing.assert_close(through, weight)
    assert moved is None


@pytest.mark.parametrize("published", [False, True])
def test_the_commitment_weighs_the_encoder_and_as_published_the_codes(published):
    """Gradients of ‖sg z − e‖² + β‖z − sg e‖² by hand: the encoder's is 2β(z − e), the codes' 2Σ(e − z), or swapped."""
    torch.manual_seed(0)
    beta = 0.25
    book = Codebook(7, 3, beta, published).double()
    z = Draws.of(1, range(4)).normal((3, 5), F64).requires_grad_()
    codes = book(z).codes
    encoder, moved = torch.autograd.grad(book.penalty(z, codes).sum(), (z, book.weight))
    gap = 2 * (z - book.vectors(codes)).detach()
    torch.testing.assert_close(encoder, (1 if published else beta) * gap)
    rows, flat = gap.movedim(1, -1).reshape(-1, 3), codes.reshape(-1)
    expected = torch.zeros_like(book.weight).index_add(0, flat, -rows)
    torch.testing.assert_close(moved, (beta if published else 1) * expected)


def test_codes_by_averages_are_pressed_by_the_commitment_alone():
    book = VectorQuantiser(4, 2)
    book.codebook.copy_(torch.tensor([[0.0, 0], [5, 0], [0, 5], [5, 5]]))
    regulariser = VQ(book, 0.25).eval()
    z = torch.tensor([[[1.0], [0.5]]])
    found = regulariser(z, Draws.of(0, [0]))
    assert found.penalty.tolist() == pytest.approx([0.25 * 1.25])
    torch.testing.assert_close(regulariser.latents(z), torch.zeros(1, 2, 1))


# -- features and critic -------------------------------------------------------------------------------------------


def test_features_are_compared_in_directions_and_the_users_network_is_left_alone():
    torch.manual_seed(0)
    net = nn.Conv2d(1, 6, 3)
    perceptual = Perceptual(net)
    x, y = Draws.of(0, range(3)).normal((1, 6, 6)), Draws.of(1, range(3)).normal((1, 6, 6)).requires_grad_()
    found = perceptual(y, x)
    one, other = (nn.functional.normalize(net(part), dim=1) for part in (x, y))
    torch.testing.assert_close(found, (one - other).square().sum(1).flatten(1).mean(1))
    found.sum().backward()
    assert y.grad is not None and net.weight.grad is None and net.training
    layers = Perceptual(lambda part: [part, 2 * part])  # the same directions twice
    torch.testing.assert_close(layers(y, x), 2 * Perceptual(lambda part: part)(y, x))
    assert float(perceptual(x, x).abs().max()) < 1e-9


def test_the_adaptive_weight_makes_both_pull_equally():
    last = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=F64).requires_grad_()
    h = Draws.of(0, range(8)).normal((2,), F64)
    y = h @ last.T
    rec, g = y.abs().sum(1), 1e-3 * (y - 2).square().sum(1)
    weight = adaptive_weight(rec, g, last)
    pulls = [torch.autograd.grad(loss.mean(), last, retain_graph=True)[0].norm() for loss in (rec, g)]
    assert float(weight) == pytest.approx(float(pulls[0] / (pulls[1] + 1e-4)))
    assert not weight.requires_grad
    assert float(adaptive_weight(rec, 0 * g, last)) == pytest.approx(min(1e4, float(pulls[0]) / 1e-4))


def test_patches_are_judged_one_by_one():
    torch.manual_seed(0)
    judge = PatchDiscriminator(1, 8, 2)
    x = Draws.of(0, range(2)).normal((1, 16, 16))
    values = judge(x)
    assert values.shape == (2, 1, 4, 4)
    torch.testing.assert_close(judge(x[:1]), values[:1])


def test_an_adversary_needs_a_rule_of_its_own_items():
    with pytest.raises(UserError, match="Relativistic compares pairs"):
        Adversary(PatchDiscriminator(1), rule=Relativistic())
    with pytest.raises(UserError, match="factor above 0"):
        Adversary(PatchDiscriminator(1), factor=0)
