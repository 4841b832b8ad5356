"""Conditions of networks: each matters, each can be absent, and an absent one is as if it had never been given."""

from __future__ import annotations

import pytest
import torch

from pushforward.errors import UserError
from pushforward.networks.checkpointing import recomputed
from pushforward.networks.dit import DiT
from pushforward.networks.magnitude import Kept, beside, mixed, silu, unit
from pushforward.networks.magnitude_unet import MagnitudeUNet
from pushforward.networks.mlp import MLP
from pushforward.networks.patching import joined, patches_of
from pushforward.networks.sequence import OnVectors
from pushforward.networks.unet import UNet
from pushforward.numerics.dropout import counted
from pushforward.numerics.random import Draws

MAKERS = {
    "unet": (lambda **more: UNet(1, 8, (1, 2), 1, num_classes=3, vector=4, tokens=5, image=2, **more), (1, 8, 6)),
    "dit": (lambda **more: DiT(1, 2, 16, 2, num_classes=3, vector=4, tokens=5, image=2, **more), (1, 8, 6)),
    "sequence": (lambda **more: DiT(1, 2, 16, 2, 3, dims=1, vector=4, tokens=5, image=2, **more), (1, 8)),
    "unet-sequence": (
        lambda **more: UNet(1, 8, (1, 2), 1, num_classes=3, dims=1, vector=4, tokens=5, image=2, **more),
        (1, 9),
    ),
}


def inputs(shape, count=4):
    draws = Draws.of(0, range(count))
    x, time = draws.at("x").normal(shape), torch.linspace(-2, 2, count)
    conditions = {
        "label": torch.arange(count) % 3,
        "vector": draws.at("vector").normal((4,)),
        "tokens": draws.at("tokens").normal((3, 5)),
        "image": draws.at("image").normal((2, *shape[1:])),
    }
    return x, time, conditions


def randomised(net):
    """Every weight away from its initial zero."""
    generator = torch.Generator().manual_seed(1)
    for p in net.parameters():
        p.data += 0.2 * torch.randn(p.shape, generator=generator)
    return net.eval()


@pytest.fixture(params=list(MAKERS))
def net_and(request):
    make, shape = MAKERS[request.param]
    torch.manual_seed(0)
    return randomised(make()), *inputs(shape)


@pytest.mark.parametrize("name", ["label", "vector", "tokens", "image"])
def test_each_condition_matters_and_can_be_left_out(net_and, name):
    net, x, time, conditions = net_and
    out = net(x, time, **conditions)
    changed = {**conditions, name: (conditions[name] + 1) % 3 if name == "label" else conditions[name] + 1}
    without = {key: value for key, value in conditions.items() if key != name}
    assert not torch.allclose(net(x, time, **changed), out, atol=1e-4)
    assert not torch.allclose(net(x, time, **without), out, atol=1e-4)


@pytest.mark.parametrize(("name", "column"), [("vector", 0), ("tokens", 1), ("image", 2)])
def test_a_dropped_condition_is_one_that_was_never_given(net_and, name, column):
    net, x, time, conditions = net_and
    dropped = torch.zeros(4, 3, dtype=torch.bool)
    dropped[[1, 3], column] = True
    mixed_batch = net(x, time, **conditions, dropped=dropped)
    without = net(x, time, **{key: value for key, value in conditions.items() if key != name})
    given = net(x, time, **conditions)
    torch.testing.assert_close(mixed_batch[[1, 3]], without[[1, 3]])
    torch.testing.assert_close(mixed_batch[[0, 2]], given[[0, 2]])


def test_a_perceptron_is_told_vectors():
    torch.manual_seed(0)
    net, draws = randomised(MLP(2, 16, 1, 3, vector=4)), Draws.of(0, range(4))
    x, time, label, vector = (
        draws.normal((2,)),
        torch.linspace(-2, 2, 4),
        torch.arange(4) % 3,
        draws.at("v").normal((4,)),
    )
    given, without = net(x, time, label, vector), net(x, time, label)
    dropped = torch.zeros(4, 3, dtype=torch.bool)
    dropped[[1, 3], 0] = True
    mixed_batch = net(x, time, label, vector, dropped)
    torch.testing.assert_close(mixed_batch[[1, 3]], without[[1, 3]])
    torch.testing.assert_close(mixed_batch[[0, 2]], given[[0, 2]])
    assert not torch.allclose(given, without, atol=1e-4)
    with pytest.raises(UserError, match="condition vector was given the shape"):
        net(x, time, label, vector[:, :3])


def test_tokens_have_no_order_and_those_that_are_masked_do_not_count(net_and):
    net, x, time, conditions = net_and
    tokens = conditions.pop("tokens")
    out = net(x, time, **conditions, tokens=tokens)
    torch.testing.assert_close(net(x, time, **conditions, tokens=tokens.flip(1)), out)
    longer = torch.cat((tokens, 9 + tokens[:, :2]), 1)
    mask = torch.tensor([True] * 3 + [False] * 2).expand(4, 5)
    torch.testing.assert_close(net(x, time, **conditions, tokens=longer, tokens_mask=mask), out)
    assert not torch.allclose(net(x, time, **conditions, tokens=longer), out, atol=1e-4)


def test_conditions_of_another_shape_are_told(net_and):
    net, x, time, conditions = net_and
    for name, wrong in (("vector", torch.zeros(4, 3)), ("tokens", torch.zeros(4, 5)), ("image", torch.zeros(4, 1, 2))):
        with pytest.raises(UserError, match=f"condition {name} was given the shape"):
            net(x, time, **{**conditions, name: wrong})


@pytest.mark.parametrize("name", list(MAKERS))
def test_recomputed_activations_give_the_same_gradients_dropout_included(name):
    make, shape = MAKERS[name]
    torch.manual_seed(0)
    plain = randomised(make(dropout=0.3)).train()
    again = make(dropout=0.3, recompute=True).train()
    again.load_state_dict(plain.state_dict())
    x, time, conditions = inputs(shape)
    for net in (plain, again):
        with counted(Draws.of(3, range(4))):
            loss = net(x, time, **conditions).square().sum()
        loss.backward()  # beyond the block that counts
    for (key, one), other in zip(plain.named_parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, msg=key)


def test_recomputation_keeps_no_activations():
    kept = []

    def record(enabled):
        kept.clear()
        layer = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Tanh(), torch.nn.Linear(3, 3))
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
            recomputed(enabled, layer, torch.zeros(5, 3, requires_grad=True))
        return len(kept)

    assert record(True) < record(False)


def test_blocks_of_a_transformer_are_the_identity_at_first():
    torch.manual_seed(0)
    net = DiT(1, 2, 16, 2, tokens=5)
    h = Draws.of(0, range(2)).normal((6, 16))
    tokens, seen = net.tokens(Draws.of(1, range(2)).normal((3, 5)), None, None, 2)
    for block in net.blocks:
        torch.testing.assert_close(block(h, Draws.of(2, range(2)).normal((16,)), tokens, seen), h)


@pytest.mark.parametrize(("shape", "size"), [((2, 6, 4), 2), ((3, 9), 3), ((1, 4, 4), 1)])
def test_patches_are_the_places_themselves(shape, size):
    x = Draws.of(0, range(2)).normal(shape)
    rows, grid = patches_of(x, size), [side // size for side in shape[1:]]
    assert torch.equal(joined(rows, size, grid), x)
    if len(shape) == 3:
        unfolded = torch.nn.functional.unfold(x, size, stride=size).transpose(1, 2)
        assert torch.equal(rows, unfolded)
    with pytest.raises(UserError, match="cannot be cut into patches of 5"):
        patches_of(x, 5)


def test_vectors_are_sequences_of_one_channel():
    net = randomised(UNet(1, 8, blocks=1, dims=1, num_classes=2))
    x, time, label = Draws.of(0, range(3)).normal((11,)), torch.zeros(3), torch.tensor([0, 1, 2])
    assert torch.equal(OnVectors(net)(x, time, label), net(x[:, None], time, label)[:, 0])


# -- magnitudes ----------------------------------------------------------------------------------------------------


def test_layers_keep_unit_variance():
    torch.manual_seed(0)
    a, b = Draws.of(0, range(4000)).normal((24,)), Draws.of(1, range(4000)).normal((8,))
    layer = Kept(24, 24).eval()
    layer.weight.data *= 50  # whatever the optimiser makes of their size
    for out in (layer(a), silu(a), mixed(a, layer(a)), unit(7 * a)):
        assert float(out.square().mean()) == pytest.approx(1, abs=0.06)
    both = beside(a, b)
    assert float(both.square().mean()) == pytest.approx(1, abs=0.03)
    halves = both[:, :24].square().sum(1).mean(), both[:, 24:].square().sum(1).mean()
    assert float(halves[0] / halves[1]) == pytest.approx(1, abs=0.03)
    trained = Kept(24, 24).train()
    trained.weight.data *= 50
    trained(a)
    assert trained.weight.square().mean(1).tolist() == pytest.approx([1.0] * 24, abs=1e-2)


def test_activations_of_a_deep_network_do_not_grow():
    torch.manual_seed(0)
    net = MagnitudeUNet(1, 16, (1, 1, 1), 4).eval()
    net.gain.data.fill_(1.0)
    x = Draws.of(0, range(8)).normal((1, 16, 16))
    with torch.no_grad():
        assert 0.5 < float(net(x, torch.zeros(8)).square().mean()) < 2
