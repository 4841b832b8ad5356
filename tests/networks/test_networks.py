"""What every network must do, whatever its shape: the same checks loop over all of them."""

import json

import pytest
import torch
from torch import Tensor, nn

from pushforward.errors import UserError
from pushforward.networks.context import ContextMLP
from pushforward.networks.dit import DiT
from pushforward.networks.magnitude_unet import MagnitudeUNet
from pushforward.networks.mlp import MLP
from pushforward.networks.unet import UNet
from pushforward.numerics.broadcast import batch_of
from pushforward.numerics.dropout import Dropout, counted
from pushforward.numerics.random import Draws

CASES = {
    "unet": (lambda: UNet(2, width=8, num_classes=3), (2, 8, 8)),
    "unet-odd": (lambda: UNet(1, width=8, multipliers=(1, 2, 3), blocks=1, num_classes=3), (1, 9, 7)),
    "unet-everywhere": (lambda: UNet(1, width=8, attention_at=(0, 1), blocks=1, num_classes=3), (1, 4, 4)),
    "unet-sequence": (lambda: UNet(2, width=8, blocks=1, num_classes=3, dims=1), (2, 9)),
    "dit": (lambda: DiT(2, 2, 16, 2, num_classes=3), (2, 8, 4)),
    "dit-sequence": (lambda: DiT(2, 3, 16, 2, num_classes=3, dims=1), (2, 9)),
    "magnitude": (lambda: MagnitudeUNet(1, width=8, multipliers=(1, 2), blocks=1, num_classes=3), (1, 7, 8)),
    "mlp": (lambda: MLP(5, width=16, depth=2, num_classes=3), (5,)),
}


@pytest.fixture(params=list(CASES))
def case(request):
    make, shape = CASES[request.param]
    torch.manual_seed(0)
    net = make()
    x = torch.randn(6, *shape)
    return net, x, torch.linspace(-3, 3, 6), torch.tensor([0, 1, 2, 3, 0, 1])


def descend(net: nn.Module, x: Tensor, time: Tensor, label: Tensor | None, steps: int = 1) -> float:
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = (net(x, time, label) - x).square().mean()
        loss.backward()
        optimiser.step()
    optimiser.zero_grad()
    return loss.item()


def test_output_is_exactly_zero_at_initialisation(case):
    net, x, time, label = case
    out = net(x, time, label)
    assert out.shape == x.shape
    assert torch.equal(out, torch.zeros_like(x))


def test_gradient_reaches_every_parameter_after_the_first_steps(case):
    net, x, time, label = case
    descend(net, x, time, label, steps=2)  # gains that start at zero open one after the other
    (net(x, time, label) - x).square().mean().backward()
    without = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


def test_first_steps_descend(case):
    net, x, time, label = case
    assert descend(net, x, time, label, steps=30) < 0.7 * x.square().mean().item()


def test_item_alone_equals_item_in_the_batch(case):
    net, x, time, label = case
    descend(net, x, time, label, steps=3)
    together = net(x, time, label)
    for i in range(len(x)):
        alone = net(x[i : i + 1], time[i : i + 1], label[i : i + 1])
        assert torch.allclose(alone[0], together[i], atol=1e-5)


def test_same_input_same_output(case):
    net, x, time, label = case
    descend(net, x, time, label, steps=2)
    assert torch.equal(net(x, time, label), net(x, time, label))


def test_time_and_label_matter_after_training(case):
    net, x, time, label = case
    descend(net, x, time, label, steps=5)
    base = net(x, time, label)
    assert not torch.allclose(net(x, time + 0.5, label), base, atol=1e-4)
    assert not torch.allclose(net(x, time, (label + 1) % 3), base, atol=1e-4)


def test_one_time_for_all_is_embedded_once_and_changes_nothing(case):
    net, x, time, label = case
    descend(net, x, time, label, steps=3)
    rows = []
    for name, module in net.named_modules():
        if name.endswith("inner") and "conditioning" in name:
            module.register_forward_hook(lambda _, args, __: rows.append(len(args[0])))
    for of in (None, label):
        alike = net(x, torch.full((6,), 0.3), of)
        assert torch.allclose(net(x, batch_of(0.3, 6, x.device), of), alike, atol=1e-6)
        assert torch.allclose(net(x, batch_of(torch.tensor(0.3), 6, x.device), of), alike, atol=1e-6)
    if rows:
        assert rows == [6, 1, 1] * 2


def test_no_label_is_the_last_index(case):
    net, x, time, label = case
    descend(net, x, time, label, steps=3)
    assert torch.equal(net(x, time, None), net(x, time, torch.full((6,), 3)))
    assert not torch.allclose(net(x, time, None), net(x, time, torch.zeros(6, dtype=torch.int64)), atol=1e-4)


def test_settings_rebuild_the_same_function(case):
    net, x, time, label = case
    descend(net, x, time, label, steps=2)
    other = type(net)(**json.loads(json.dumps(net.settings)))
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(x, time, label), net(x, time, label))


def test_double_precision_agrees_with_single(case):
    net, x, time, label = case
    descend(net, x, time, label, steps=2)
    single = net(x, time, label)
    double = net.double()(x.double(), time, label)
    assert double.dtype == torch.float64
    assert torch.allclose(double.float(), single, atol=1e-4)


@pytest.mark.parametrize("size", [(28, 28), (8, 8), (9, 7), (2, 2), (2, 5), (3, 16)])
def test_unet_takes_any_size_and_uses_every_pixel(size):
    torch.manual_seed(0)
    net = UNet(3, width=8, multipliers=(1, 2, 2), blocks=1)
    net.output.weight.data.normal_()
    x = torch.randn(2, 3, *size, requires_grad=True)
    out = net(x, torch.zeros(2))
    assert out.shape == x.shape
    (gradient,) = torch.autograd.grad(out[0].square().sum(), x)
    assert (gradient[0].abs().sum(0) > 0).all()
    assert (gradient[1] == 0).all()


def test_more_outputs_than_inputs():
    assert UNet(1, width=8, out_channels=2)(torch.zeros(2, 1, 4, 4), torch.zeros(2)).shape == (2, 2, 4, 4)
    assert MLP(3, width=8, out_features=6)(torch.zeros(2, 3), torch.zeros(2)).shape == (2, 6)


def test_times_near_and_far_are_told_apart():
    from pushforward.networks.embedding import FourierTime

    features = FourierTime()(torch.linspace(-3, 3, 601))
    apart = torch.cdist(features, features) + 1e9 * torch.eye(601)
    assert apart.min() > 0.5  # times 0.01 apart, in features of norm 8
    assert torch.allclose(features.square().sum(1), torch.full((601,), 64.0))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: UNet(3)(torch.zeros(2, 1, 8, 8), torch.zeros(2)), r"\(batch, 3, height, width\).*\(2, 1, 8, 8\)"),
        (lambda: MLP(4)(torch.zeros(2, 5), torch.zeros(2)), r"\(batch, 4\).*\(2, 5\)"),
        (lambda: MLP(4)(torch.zeros(2, 4), torch.zeros(3)), r"one time per item"),
        (lambda: MLP(4)(torch.zeros(2, 4), torch.zeros(2), torch.zeros(2).long()), r"without classes"),
        (lambda: MLP(4, num_classes=2)(torch.zeros(2, 4), torch.zeros(2), torch.tensor([0, 3])), r"Label 3 .*0 … 1"),
        (lambda: MLP(4, num_classes=2)(torch.zeros(2, 4), torch.zeros(2), torch.zeros(2)), r"integers of shape \(2,\)"),
        (lambda: UNet(1, attention_at=(2,)), r"outside 0 … 1"),
        (lambda: UNet(0), r"channels=0"),
    ],
)
def test_wrong_input_is_one_sentence(call, says):
    with pytest.raises(UserError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_bfloat16_autocast_trains_and_stays_near_single_precision(case):
    net, x, time, label = case
    descend(net, x, time, label, steps=5)
    single = net(x, time, label)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = net(x, time, label)
    (half.float() - x).square().mean().backward()
    assert (half.float() - single).abs().max() < 0.05 * (1 + single.abs().max())
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


@pytest.mark.parametrize("make", [lambda p: UNet(1, width=8, dropout=p), lambda p: MLP(5, width=16, dropout=p)])
def test_dropout_is_counted_per_item_and_layer_and_off_in_evaluation(make):
    torch.manual_seed(0)
    net = make(0.5)
    net.output.weight.data.normal_()
    x = torch.randn(4, *((1, 4, 4) if isinstance(net, UNet) else (5,)))
    time = torch.zeros(4)
    with counted(Draws.of(0, range(4))):
        one, two = net(x, time), net(x, time)
    with counted(Draws.of(0, [2])):
        alone = net(x[2:3], time[:1])
    with counted(Draws.of(1, range(4))):
        other = net(x, time)
    assert torch.equal(one, two)
    assert torch.allclose(alone[0], one[2], atol=1e-5)
    assert not torch.allclose(other, one, atol=1e-3)
    plain = make(0.0)
    plain.load_state_dict(net.state_dict())
    assert torch.allclose(net.eval()(x, time), plain(x, time))
    layers = [module.index for module in net.modules() if isinstance(module, Dropout)]
    assert layers == list(range(len(layers))) and len(layers) > 1


def test_dropout_that_is_no_probability_is_refused():
    with pytest.raises(UserError, match=r"p = 1\.5"):
        MLP(3, dropout=1.5)


def test_what_a_context_tells_of_the_row_is_dropped_and_its_estimate_never():
    net = ContextMLP(2, 42, width=8, depth=1, feature_dropout=0.5)
    estimate, row = torch.randn(4, 2), torch.randn(4, 40)
    seen = []
    net.told.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with counted(Draws.of(0, range(4))):
        net.encode(torch.cat((estimate, row), 1))
    net.eval().encode(torch.cat((estimate, row), 1))
    assert torch.equal(seen[0][:, :2], estimate)
    assert 0.3 < (seen[0][:, 2:] == 0).float().mean() < 0.7
    assert torch.equal(seen[1], torch.cat((estimate, row), 1))
