"""What every bijection must do: the same checks loop over all of them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pushforward.errors import UserError
from pushforward.flows import (
    LU,
    ActNorm,
    Affine,
    Autoregressive,
    Cayley,
    Chain,
    Coupling,
    Dense,
    Elementwise,
    Exponential,
    Householder,
    Interval,
    Inverse,
    Permutation,
    Planar,
    Radial,
    Reverse,
    Scale,
    Shift,
    Simplex,
    Softplus,
    Spline,
    Sylvester,
    jacobian,
    log_abs_det,
)
from pushforward.flows.bijection import Bijection
from pushforward.networks.made import MADE, ColumnMLP
from pushforward.numerics.random import key, normal

RULES = {"shift": Shift(), "affine": Affine(), "spline": Spline(), "fine-spline": Spline(bins=20, bound=2.0)}


def coupling(rule, d, context, flip=False):
    split = d // 2
    kept = d - split if flip else split
    return Coupling(rule, ColumnMLP(kept, d - kept, rule.count, (9, 8), context), split, flip=flip)


def autoregressive(rule, d, context, order=None):
    return Autoregressive(rule, MADE(d, rule.count, (9, 7), context, order=order))


CONDITIONED = {
    **{f"elementwise-{name}": lambda d, c, rule=rule: Elementwise(rule, d, context=c) for name, rule in RULES.items()},
    **{f"coupling-{name}": lambda d, c, rule=rule: coupling(rule, d, c) for name, rule in RULES.items()},
    **{f"autoregressive-{name}": lambda d, c, rule=rule: autoregressive(rule, d, c) for name, rule in RULES.items()},
    "coupling-flip": lambda d, c: coupling(Affine(), d, c, flip=d > 1),
    "autoregressive-order": lambda d, c: autoregressive(Spline(), d, c, order=[*range(1, d), 0]),
    "inverse-autoregressive": lambda d, c: Inverse(autoregressive(Affine(), d, c)),
    "planar": lambda d, c: Planar(d, context=c),
    "radial": lambda d, c: Radial(d, context=c),
    "sylvester": lambda d, c: Sylvester(d, context=c),
    "sylvester-narrow": lambda d, c: Sylvester(d, max(1, d - 1), context=c),
    "chain": lambda d, c: Chain(
        coupling(Spline(), d, c), LU(d), autoregressive(Affine(), d, c), ActNorm(d), Scale(2.0)
    ),
}
PLAIN = {
    "lu": lambda d, c: LU(d),
    "lu-of": lambda d, c: LU(d, normal(torch.tensor([3]), (d, d))[0]),
    "dense": lambda d, c: Dense(normal(torch.tensor([4]), (d, d))[0] + 3 * torch.eye(d)),
    "householder": lambda d, c: Householder(d),
    "householder-two": lambda d, c: Householder(d, 2),
    "cayley": lambda d, c: Cayley(d),
    "actnorm": lambda d, c: ActNorm(d),
    "permutation": lambda d, c: Permutation([*range(1, d), 0]),
    "reverse": lambda d, c: Reverse(),
    "scale": lambda d, c: Scale(-3.0, 0.5),
    "empty-chain": lambda d, c: Chain(),
    "interval": lambda d, c: Interval(-1.0, 3.0),
    "softplus": lambda d, c: Softplus(0.5),
    "exponential": lambda d, c: Exponential(),
}
CASES = {**CONDITIONED, **PLAIN}
BOUNDED = {"interval", "softplus", "exponential"}


def numbers(seed: int, *shape: int) -> Tensor:
    return normal(torch.tensor([key("test", seed)]), shape, torch.float64)[0]


def stirred(bijection: Bijection, dtype: torch.dtype, size: float = 0.3) -> Bijection:
    """The bijection with every parameter away from its start."""
    if isinstance(bijection, torch.nn.Module):
        bijection.to(dtype)
        for i, parameter in enumerate(bijection.parameters()):
            parameter.data += size * numbers(i, *parameter.shape).to(dtype)
    return bijection


def made(name: str, d: int, c: int, batch: int, dtype: torch.dtype = torch.float64) -> Bijection:
    torch.manual_seed(0)
    bijection = stirred(CASES[name](d, c), dtype)
    return bijection.given(numbers(99, batch, c).to(dtype)) if c and name in CONDITIONED else bijection


def special(x: Tensor) -> Tensor:
    """Ends of spline intervals, zeros and large numbers among the others."""
    values = torch.tensor([5.0, -5.0, 2.0, -2.0, 0.0, 1e4, -1e4, 5.0000001], dtype=x.dtype)
    flat = x.flatten().clone()
    flat[: 2 * len(values) : 2] = values[: len(flat[: 2 * len(values) : 2])]
    return flat.view_as(x)


@pytest.mark.parametrize("name", list(CASES))
@settings(max_examples=12)
@given(
    d=st.integers(1, 6), batch=st.integers(1, 5), c=st.integers(0, 3), seed=st.integers(0, 99), scale=st.floats(0.1, 6)
)
def test_log_determinant_is_that_of_the_jacobian_and_the_inverse_goes_back(name, d, batch, c, seed, scale):
    bijection = made(name, d, c, batch)
    x = scale * numbers(seed, batch, d)
    y, log_det = bijection.forward(x)
    assert log_det.shape == (batch,)
    assert torch.allclose(log_det, log_abs_det(lambda v: bijection.forward(v)[0], x)[1], rtol=1e-9, atol=1e-9)
    back, log_det_back = bijection.inverse(y)
    assert torch.allclose(back, x, rtol=1e-9, atol=1e-9)
    assert torch.allclose(log_det_back, -log_det, rtol=1e-9, atol=1e-9)
    assert torch.allclose(bijection.pull(y), back, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        assert torch.allclose(bijection.inverse(y)[0], back, rtol=1e-12, atol=1e-12)
        assert torch.allclose(bijection.pull(y), back, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", sorted(CASES))
@settings(max_examples=6)
@given(d=st.integers(1, 9), batch=st.integers(1, 5), c=st.integers(0, 3), seed=st.integers(0, 99))
def test_single_precision_agrees_with_double_and_comes_back(name, d, batch, c, seed):
    exact, bijection = made(name, d, c, batch), made(name, d, c, batch, torch.float32)
    x = numbers(seed, batch, d)
    y, log_det = bijection.forward(x.float())
    truth, exact_log_det = exact.forward(x)
    size = torch.maximum(x.abs().amax(1), truth.abs().amax(1)).clamp(min=1)
    shrink = _shrink(exact, x)
    assert ((y - truth).abs().amax(1) <= 1e-4 * size).all()
    assert ((log_det - exact_log_det).abs() <= 1e-4 * (1 + exact_log_det.abs()) * shrink).all()
    back, log_det_back = bijection.inverse(y)
    assert ((back - x).abs().amax(1) <= 1e-4 * size * shrink).all()
    assert ((log_det + log_det_back).abs() <= 1e-4 * (1 + log_det.abs()) * shrink).all()


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize("name", sorted(set(CASES) - BOUNDED))
def test_extreme_inputs_come_back(name, dtype, tolerance):
    d, batch = 4, 8
    bijection = made(name, d, 2, batch, dtype)
    x = special(numbers(5, batch, d).to(dtype))
    y, log_det = bijection.forward(x)
    back, log_det_back = bijection.inverse(y)
    assert torch.isfinite(y).all() and torch.isfinite(log_det).all()
    # Rounding is relative to the largest number of a sample, stretched by the map's own condition.
    size = torch.maximum(x.abs().amax(1), y.abs().amax(1)).clamp(min=1)
    shrink = _shrink(bijection, x)
    assert (((back - x).abs().amax(1)) <= tolerance * size * shrink).all()
    assert ((log_det + log_det_back).abs() <= tolerance * (1 + log_det.abs()) * size * shrink).all()


def _shrink(bijection: Bijection, x: Tensor) -> Tensor:
    """How much the inverse may enlarge an error of y, per sample; 1 if not at all."""
    matrix = jacobian(lambda v: bijection.forward(v)[0], x)[1].double()
    return torch.linalg.matrix_norm(torch.linalg.pinv(matrix), 2).clamp(min=1)


@pytest.mark.parametrize("name", sorted(CONDITIONED))
def test_conditions_matter_to_every_output(name):
    d, batch = 3, 4
    torch.manual_seed(0)
    layer = stirred(CASES[name](d, 2), torch.float64)
    x, context = numbers(1, batch, d), numbers(2, batch, 2)
    with_one, with_other = layer.given(context).forward(x)[0], layer.given(context + 1).forward(x)[0]
    moved = (with_one - with_other).abs().amax(0) > 1e-6
    untouched = d - d // 2 if name == "coupling-flip" else d // 2 if name.startswith("coupling") else 0
    assert int(moved.sum()) >= d - untouched
    for wrong in (None, context[:, :1], context[:-1]):
        if name != "chain" or wrong is not None:
            with pytest.raises(UserError, match="condition"):
                layer(x, wrong) if wrong is None or len(wrong) == batch else layer(x[:-1], wrong[:-1, :1])


@pytest.mark.parametrize("name", sorted(CONDITIONED))
def test_gradients_of_both_directions_reach_inputs_and_parameters(name):
    """Against differences: ∂/∂ε of forward and inverse along one direction of everything at once."""
    torch.manual_seed(0)
    layer = stirred(CASES[name](3, 0), torch.float64)
    x = numbers(7, 5, 3)
    tensors = [x, *layer.parameters()]
    directions = [numbers(11 + i, *t.shape) for i, t in enumerate(tensors)]
    weights = numbers(50, 5, 3), numbers(51, 5)

    for way in (layer.forward, layer.inverse):

        def value(epsilon: float, way=way) -> Tensor:
            state = [t.detach().clone() for t in tensors]
            for p, s, v in zip(layer.parameters(), state[1:], directions[1:], strict=True):
                p.data = s + epsilon * v
            y, log_det = way(state[0] + epsilon * directions[0])
            for p, s in zip(layer.parameters(), state[1:], strict=True):
                p.data = s
            return ((y * weights[0]).sum() + (log_det * weights[1]).sum()).detach()

        inputs = x.clone().requires_grad_()
        y, log_det = way(inputs)
        loss = (y * weights[0]).sum() + (log_det * weights[1]).sum()
        got = torch.autograd.grad(loss, [inputs, *layer.parameters()], allow_unused=True)
        slope = sum(float((g * v).sum()) for g, v in zip(got, directions, strict=True) if g is not None)
        h = 1e-6
        assert slope == pytest.approx(float(value(h) - value(-h)) / (2 * h), rel=2e-5, abs=2e-5)


@settings(max_examples=20)
@given(d=st.integers(1, 6), batch=st.integers(1, 5), scale=st.floats(0.1, 5), seed=st.integers(0, 99))
def test_stick_breaking_onto_the_simplex(d, batch, scale, seed):
    x = scale * numbers(seed, batch, d)
    y, log_det = Simplex().forward(x)
    assert y.shape == (batch, d + 1)
    assert torch.allclose(y.sum(1), torch.ones(batch, dtype=y.dtype), atol=1e-14)
    assert torch.allclose(log_det, log_abs_det(lambda v: Simplex().forward(v)[0][:, :-1], x)[1], rtol=1e-9, atol=1e-9)
    back, log_det_back = Simplex().inverse(y)
    assert torch.allclose(back, x, rtol=1e-9, atol=1e-9)
    assert torch.allclose(log_det_back, -log_det, rtol=1e-9, atol=1e-9)


def test_stick_breaking_starts_at_the_centre():
    assert torch.allclose(Simplex().forward(torch.zeros(1, 3))[0], torch.full((1, 4), 0.25))


@pytest.mark.parametrize(
    "bijection, wrong",
    [
        (Interval(0, 1), [[0.5, 1.0]]),
        (Interval(0, 1), [[-0.1, 0.5]]),
        (Softplus(), [[0.0, 1.0]]),
        (Exponential(2.0), [[1.0, 3.0]]),
        (Simplex(), [[0.5, 0.6]]),
        (Simplex(), [[-0.5, 1.5]]),
    ],
)
def test_numbers_outside_a_domain_are_refused_where_they_are(bijection, wrong):
    inside = torch.tensor([[0.25, 0.75]]) if not isinstance(bijection, Exponential) else torch.tensor([[2.5, 3.0]])
    with pytest.raises(UserError, match=r"sample 1.*outside the domain"):
        bijection.inverse(torch.cat((inside, torch.tensor(wrong))))


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda: Dense(torch.ones(2, 3)), r"square matrix; got one of shape \(2, 3\)"),
        (lambda: Dense(torch.ones(2, 2)), "invertible"),
        (lambda: Dense(torch.eye(2, dtype=torch.int64)), "real numbers; got one of torch.int64"),
        (lambda: Spline(bound=float("inf")), "finite"),
        (lambda: Affine(bound=float("inf")), "finite"),
        (lambda: Exponential(float("nan")), "begins at a finite number; got nan"),
        (lambda: Softplus(float("inf")), "begins at a finite number; got inf"),
        (lambda: LU(3, torch.ones(2, 3)), "square matrix"),
        (lambda: LU(2, torch.zeros(2, 2)), "invertible"),
        (lambda: LU(0), "features=0"),
        (lambda: Permutation([0, 2]), "once each"),
        (lambda: Householder(3, 0), "reflections=0"),
        (lambda: Interval(1, 0), "low < high"),
        (lambda: Scale(0.0), "not 0"),
        (lambda: Spline(bins=1), "at least 2 bins"),
        (lambda: Spline(bound=-1.0), "bound > 0"),
        (lambda: Spline(bins=2000), "do not fit"),
        (lambda: Affine(bound=0.0), "positive"),
        (lambda: Sylvester(2, 3), "at most"),
        (lambda: MADE(3, 2, order=[0, 0, 1]), "once each"),
        (lambda: Autoregressive(Affine(), MADE(3, 1)), "takes 2"),
        (lambda: Simplex().forward(torch.zeros(2, 0)), "at least one"),
        (lambda: Simplex().inverse(torch.ones(2, 1)), "at least two"),
        (lambda: Coupling(Affine(), ColumnMLP(2, 1, 2), 1), "sizes must agree"),
        (lambda: Coupling(Affine(), ColumnMLP(2, 1, 1), 2), "sizes must agree"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_sentence(make, sentence):
    with pytest.raises(UserError, match=sentence) as error:
        make()
    assert "\n" not in str(error.value)


SIZED = [name for name in CASES if name not in ("reverse", "scale", "empty-chain", *BOUNDED)]


@pytest.mark.parametrize("built", [1, 2, 3])
@pytest.mark.parametrize("name", SIZED)
def test_items_of_another_size_are_refused_and_never_broadcast(name, built):
    torch.manual_seed(0)
    layer = stirred(CASES[name](built, 0), torch.float64)
    for x in (numbers(1, 4, 5), numbers(1, 4, built + 1)):
        for way in (layer.forward, layer.inverse):
            with pytest.raises(UserError, match="it was given"):
                way(x)


def test_orthogonal_layers_are_orthogonal():
    for layer in (Householder(5), Cayley(5)):
        matrix = stirred(layer, torch.float64).matrix()
        assert torch.allclose(matrix @ matrix.T, torch.eye(5, dtype=torch.float64), atol=1e-12)


def test_lu_starts_at_the_given_matrix():
    weight = numbers(0, 4, 4)
    assert torch.allclose(LU(4, weight).matrix(), weight, atol=1e-12)
    assert torch.allclose(LU(4, weight).log_det(), torch.linalg.slogdet(weight)[1])


def test_a_layer_without_conditions_refuses_one():
    with pytest.raises(UserError, match="expects none"):
        coupling(Affine(), 4, 0)(torch.zeros(2, 4), torch.zeros(2, 1))
    with pytest.raises(UserError, match="condition"):
        Planar(2)(torch.zeros(2, 2), torch.zeros(2, 1))


def test_inverse_and_chain_know_their_parameters():
    chain = Chain(Inverse(coupling(Affine(), 4, 0)), Scale(2.0), LU(4))
    assert len(list(chain.parameters())) == 6 + 4
    names = set(chain.state_dict())
    assert all(name.startswith("layers.") for name in names)
