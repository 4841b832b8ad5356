"""The transformer of sequences and the networks of whole numbers."""

import pytest
import torch

from pushforward.errors import UserError
from pushforward.networks.attention import attention
from pushforward.networks.integers import PictureLogits, RowLogits, logistic_logits
from pushforward.networks.transformer import Rotary, Transformer


def moved(network):
    """The network with weights that are not those of the beginning, where all answers are 0."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.randn_like(p) * 0.2)
    return network.eval()


def test_every_symbol_is_alike_at_the_beginning():
    for network, x in (
        (Transformer(6, 5, 8, 32, 2), torch.randint(0, 6, (2, 8))),
        (RowLogits(3, 6, 5, 16, 1), torch.randint(0, 6, (2, 3))),
        (PictureLogits(1, 6, 5, 8, (1, 2)), torch.randint(0, 6, (2, 1, 4, 4))),
    ):
        assert network(x, torch.zeros(2)).abs().max() == 0


def test_positions_and_context_are_seen():
    network = moved(Transformer(6, 5, 8, 32, 2, num_classes=3))
    x, time = torch.tensor([[0, 1, 2, 3, 4, 0, 1, 2]]), torch.zeros(1)
    base = network(x, time)
    assert base.shape == (1, 8, 5)
    other = x.clone()
    other[0, 7] = 4
    assert (network(other, time)[0, 0] - base[0, 0]).abs().max() > 1e-5  # the last symbol is seen by the first site
    assert (base[0, 0] - base[0, 5]).abs().max() > 1e-5  # the same symbol elsewhere is answered otherwise
    for changed in (network(x, time + 1), network(x, time, torch.tensor([1]))):
        assert (changed - base).abs().max() > 1e-5
    alone = torch.cat([network(one, time[:1]) for one in (x, other)])
    assert torch.allclose(network(torch.cat((x, other)), torch.zeros(2)), alone, atol=1e-5)
    assert network(x[:, :5], time).shape == (1, 5, 5)


def test_rotary_products_depend_on_the_difference_alone():
    rotary = Rotary(8, 32)
    q, k = torch.randn(8).expand(32, 8), torch.randn(8).expand(32, 8)
    products = rotary(q) @ rotary(k).T
    for shift in (1, 5):
        assert torch.allclose(products[:-shift, :-shift], products[shift:, shift:], atol=1e-4)


def test_sequences_that_do_not_fit():
    network = Transformer(6, 5, 8, 32, 1)
    with pytest.raises(UserError, match="longer than the 8"):
        network(torch.zeros(1, 9, dtype=torch.int64), torch.zeros(1))
    with pytest.raises(UserError, match="whole numbers"):
        network(torch.zeros(1, 8), torch.zeros(1))
    with pytest.raises(UserError, match="multiple"):
        Transformer(6, 5, 8, 30, 1, heads=4)


def test_logistic_cells_sum_to_one():
    mean, log_scale = torch.tensor([-1.3, 0.0, 0.9]), torch.tensor([-5.0, -1.0, 1.0])
    logits = logistic_logits(mean.double(), log_scale.double(), 256)
    assert torch.allclose(logits.exp().sum(-1), torch.ones(3).double(), atol=1e-9)
    edges = (torch.linspace(-1, 1, 256).double()[:-1] + 1 / 255 - mean.double()[:, None]) / log_scale.double().exp()[
        :, None
    ]
    assert torch.allclose(logits.exp().cumsum(-1)[:, :-1], torch.sigmoid(edges), atol=1e-9)
    assert PictureLogits(1, 257, 256, 8)(torch.full((1, 1, 4, 4), 256), torch.zeros(1)).isfinite().all()


def test_under_mixed_precision_of_a_cpu_attention_is_taken_in_float32():
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, 5, 8).bfloat16() for _ in range(3))
    with torch.autocast("cpu", torch.bfloat16):
        found = attention(q, k, v)
    assert found.dtype is torch.float32
    exact = (q.double() @ k.double().mT / 8**0.5).softmax(-1) @ v.double()
    assert (found - exact).abs().max() < 1e-6
