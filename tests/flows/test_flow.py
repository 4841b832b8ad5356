"""Flows as densities: they integrate to one, agree with their samples, and reach the entropy of a Gaussian."""

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from pushforward.errors import UserError
from pushforward.flows import (
    LU,
    ActNorm,
    Chain,
    Flow,
    Gaussian,
    Interval,
    Inverse,
    Mixture,
    Scale,
    StandardGaussian,
    Student,
    Uniform,
    coupling_nsf,
    glow,
    iaf,
    image_flow,
    maf,
    nice,
    nsf,
    realnvp,
)
from pushforward.numerics.random import Draws, key, normal

BUILDERS = {"maf": maf, "iaf": iaf, "nsf": nsf, "coupling-nsf": coupling_nsf, "realnvp": realnvp, "nice": nice}
F64 = torch.float64


def numbers(seed: int, *shape: int) -> Tensor:
    return normal(torch.tensor([key("flow", seed)]), shape, F64)[0]


def stirred(flow: Flow, size: float = 0.3) -> Flow:
    """The flow with parameters that are the same in every run, away from their start."""
    flow.to(F64)
    for i, parameter in enumerate(flow.parameters()):
        parameter.data = size * numbers(i, *parameter.shape)
    return flow


def grid(low: float, high: float, points: int, d: int) -> tuple[Tensor, float]:
    axis = torch.linspace(low, high, points, dtype=F64)
    return torch.cartesian_prod(*[axis] * d).reshape(-1, d), float(axis[1] - axis[0]) ** d


@pytest.mark.parametrize("name", list(BUILDERS))
@pytest.mark.parametrize("d, points", [(1, 4001), (2, 401)])
@pytest.mark.parametrize("context", [0, 2])
def test_density_integrates_to_one(name, d, points, context):
    flow = stirred(BUILDERS[name](d, 2, (8, 8), context), 0.2)
    x, cell = grid(-14, 14, points, d)
    given = numbers(5, 1, context).expand(len(x), -1) if context else None
    with torch.no_grad():
        total = float(flow.log_prob(x, given).exp().sum()) * cell
    assert total == pytest.approx(1, abs=1e-3)


def bases(d: int) -> dict:
    centre, scale = numbers(1, d), numbers(2, d).exp()
    return {
        "standard": StandardGaussian((d,)).to(F64),
        "gaussian": Gaussian(centre, scale, learned=True),
        "student": Student(centre, scale, 5.0),
        "student-learned": Student(centre, scale, 3.0, learned=True),
        "uniform": Uniform(centre, centre + scale),
        "mixture": Mixture(
            numbers(3, 4, d), 0.5 * numbers(4, 4, d).exp(), torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=F64)
        ),
        "mixture-fixed": Mixture(numbers(3, 2, d), torch.ones(2, d, dtype=F64), learned=False),
    }


@pytest.mark.parametrize("name", list(bases(1)))
def test_bases_integrate_to_one_and_draw_from_their_density(name):
    base = bases(1)[name]
    x, cell = grid(-400 if "student" in name else -20, 400 if "student" in name else 20, 200_001, 1)
    density = base.log_prob(x).exp().detach()
    assert float(density.sum()) * cell == pytest.approx(1, abs=2e-3)
    sample = base.sample(Draws.of(0, range(4000))).detach()
    assert sample.shape == (4000, 1) and sample.dtype == F64
    cdf = (density.cumsum(0) * cell).numpy()

    def cumulative(v):
        return cdf[((v - float(x[0])) / cell).round().astype(int).clip(0, len(cdf) - 1)]

    assert stats.kstest(sample[:, 0].numpy(), cumulative).pvalue > 1e-3
    assert stats.kstest(sample[:, 0].numpy() * 1.1 + 0.1, cumulative).pvalue < 1e-3


def test_student_is_the_textbook_density():
    base, x = bases(3)["student"], numbers(9, 5, 3)
    expected = stats.t.logpdf(x.numpy(), 5.0, base.location.numpy(), base.log_scale.exp().numpy()).sum(1)
    assert torch.allclose(base.log_prob(x), torch.tensor(expected))


def test_samples_of_a_base_are_their_own_draws_in_any_batch():
    for base in bases(3).values():
        together, alone = base.sample(Draws.of(1, range(5))), base.sample(Draws.of(1, [3]))
        assert torch.allclose(together[3:4], alone)


@pytest.mark.parametrize("name", list(BUILDERS))
@pytest.mark.parametrize("context", [0, 2])
def test_samples_carry_their_own_density(name, context):
    flow = stirred(BUILDERS[name](3, 3, (8, 8), context))
    given = numbers(8, 6, context) if context else None
    draws = Draws.of(0, range(6))
    with torch.no_grad():
        x, log_prob = flow.sample_and_log_prob(draws, given)
        assert torch.allclose(x, flow.sample(draws, given))
        assert torch.allclose(log_prob, flow.log_prob(x, given), atol=1e-8)
        if given is not None:
            assert torch.allclose(flow.given(given).log_prob(x), log_prob, atol=1e-8)
    alone = flow.sample(draws[2:3], None if given is None else given[2:3])
    assert torch.allclose(alone, x[2:3], atol=1e-9)


def test_linear_flow_reaches_the_entropy_of_a_gaussian():
    """Maximum likelihood gives −½ log det 2πeΣ, with Σ the sample covariance, and Σ itself."""
    mixing = torch.tensor([[2.0, 0.0, 0.0], [1.0, 0.5, 0.0], [-1.0, 0.3, 1.0]], dtype=F64)
    x = numbers(0, 2000, 3) @ mixing.T + torch.tensor([1.0, -2.0, 0.5], dtype=F64)
    sigma = torch.cov(x.T, correction=0)
    flow = Flow(StandardGaussian((3,)), Chain(ActNorm(3), LU(3))).to(F64)
    flow.initialise(x)
    optimiser = torch.optim.LBFGS(flow.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = -flow.log_prob(x).mean()
        value.backward()
        return value

    optimiser.step(loss)
    entropy = 0.5 * float(torch.logdet(2 * math.pi * math.e * sigma))
    assert -flow.log_prob(x).mean().item() == pytest.approx(entropy, abs=1e-6)
    weight = flow.bijection.bijections[1].matrix() @ torch.diag(flow.bijection.bijections[0].log_scale.exp())
    found = torch.linalg.inv(weight.T @ weight)
    assert torch.allclose(found, sigma, rtol=1e-3, atol=1e-3)


def test_short_training_on_two_moons_beats_its_gaussian():
    n = 800
    angle = math.pi * torch.arange(n, dtype=torch.float32) / n
    upper = torch.arange(n) % 2 == 0
    moons = torch.where(
        upper[:, None], torch.stack((angle.cos(), angle.sin()), 1), torch.stack((1 - angle.cos(), 0.5 - angle.sin()), 1)
    )
    x = moons + 0.1 * normal(torch.tensor([1]), (n, 2))[0]
    x = (x - x.mean(0)) / x.std(0)
    torch.manual_seed(0)
    flow = coupling_nsf(2, 3, (32, 32))
    optimiser = torch.optim.Adam(flow.parameters(), lr=5e-3)
    for _ in range(120):
        optimiser.zero_grad()
        (-flow.log_prob(x).mean()).backward()
        optimiser.step()
    gaussian = 0.5 * float(torch.logdet(2 * math.pi * math.e * torch.cov(x.T)))
    assert -float(flow.log_prob(x).mean().detach()) < gaussian - 0.5


def test_flow_of_bounded_data_counts_the_change_of_unit():
    """Uniform numbers on (2, 5): a logit, then a flow that undoes it, has density 1/3."""
    flow = Flow(
        Uniform(torch.zeros(1, dtype=F64), torch.ones(1, dtype=F64)), Chain(Inverse(Interval(2, 5)), Interval())
    )
    x = torch.tensor([[2.5], [3.0], [4.9]], dtype=F64)
    assert torch.allclose(flow.log_prob(x), torch.full((3,), -math.log(3.0), dtype=F64))
    assert flow.log_prob(x).isfinite().all()


def test_plain_bijections_and_layers_share_a_chain():
    flow = stirred(Flow(StandardGaussian((2,)), Chain(Scale(2.0, 1.0), maf(2, 1, (4,)).bijection)))
    x = numbers(0, 3, 2)
    inner = Flow(flow.base, flow.bijection.bijections[1])
    assert torch.allclose(flow.log_prob(x), inner.log_prob(1 + 2 * x) + 2 * math.log(2))


def test_actnorm_is_set_only_when_asked_and_then_stored():
    x = 3 * numbers(0, 50, 4) + 2
    flow = Flow(StandardGaussian((4,)), Chain(ActNorm(4), LU(4))).to(F64)
    assert torch.allclose(flow.bijection(x)[0], x)
    flow.initialise(x)
    y = flow.bijection(x)[0]
    assert torch.allclose(y.mean(0), torch.zeros(4, dtype=F64), atol=1e-12)
    assert torch.allclose(y.var(0, correction=0), torch.ones(4, dtype=F64), atol=1e-12)
    again = Flow(StandardGaussian((4,)), Chain(ActNorm(4), LU(4))).to(F64)
    again.load_state_dict(flow.state_dict())
    assert torch.equal(again.log_prob(x), flow.log_prob(x))
    x[:, 2] = 7.0
    with pytest.raises(UserError, match="Feature 2 has the same value in all 50 samples"):
        flow.initialise(x)


@pytest.mark.parametrize("build", [*BUILDERS.values()])
def test_mistakes_get_one_sentence(build):
    flow = build(3, 2, (8,))
    x = torch.zeros(4, 3)
    x[2, 1] = math.nan
    with pytest.raises(UserError, match="nan at sample 2, entry 1"):
        flow.log_prob(x)
    with pytest.raises(UserError, match="features=0"):
        build(0)
    with pytest.raises(UserError, match="transforms=0"):
        build(3, 0)
    with pytest.raises(UserError, match=r"hidden\[0\]=0"):
        build(3, 1, (0,))
    with pytest.raises(UserError, match="3 features"):
        build(3, 1, (4,), base=StandardGaussian((2,)))
    with pytest.raises(UserError, match="3 features"):
        flow.log_prob(torch.zeros(4, 2))
    with pytest.raises(UserError, match=r"one sample per row.*shape \(3,\)"):
        flow.log_prob(torch.zeros(3))
    with pytest.raises(UserError, match=r"batch of floats.*torch.int64"):
        flow.log_prob(torch.zeros(4, 3, dtype=torch.int64))
    with pytest.raises(UserError, match=r"computes in torch.float32, and the input is torch.float64"):
        flow.log_prob(torch.zeros(4, 3, dtype=F64))
    with pytest.raises(UserError, match="it was given"):
        flow.log_prob(torch.zeros(4, 3, 1))
    with pytest.raises(UserError, match="condition"):
        build(3, 1, (4,), 2).log_prob(torch.zeros(4, 3))


@pytest.mark.parametrize("name", list(bases(2)))
def test_a_base_of_another_size_is_refused_and_never_broadcast(name):
    flow = Flow(bases(1)[name], Chain()).to(F64)
    with pytest.raises(UserError, match=r"items of shape \(2,\), and the base density is of shape \(1,\)"):
        flow.log_prob(torch.zeros(4, 2, dtype=F64))


def test_large_numbers_are_not_taken_for_infinite_ones():
    big = torch.full((2, 3), 3e38)
    assert torch.isfinite(Flow(StandardGaussian((3,)), Scale(1e-38)).log_prob(big)).all()


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda: StandardGaussian(()), "at least one feature"),
        (lambda: StandardGaussian((0,)), "at least one feature"),
        (lambda: Gaussian(torch.zeros(2), torch.tensor([1.0, 0.0])), "must be positive"),
        (lambda: Student(torch.zeros(2), torch.ones(2), 0.0), "degrees of freedom"),
        (lambda: Uniform(torch.ones(2), torch.ones(2)), "low < high"),
        (lambda: Uniform(torch.zeros(1), torch.full((1,), math.inf)), "finite"),
        (lambda: Gaussian(torch.full((2,), math.nan), torch.ones(2)), "location"),
        (lambda: Student(torch.zeros(2), torch.ones(2), math.inf), "finite"),
        (lambda: glow((1, 8, 8), steps=0), "steps=0"),
        (lambda: image_flow((3,)), r"channels, height, width\); got \(3,\)"),
        (lambda: Mixture(torch.zeros(3, 2), torch.ones(3, 2), torch.ones(2)), "3 components"),
        (lambda: glow((1, 6, 8), levels=2), "can be halved 1 times, not 2"),
        (lambda: glow((8, 8)), "images"),
    ],
)
def test_what_cannot_be_built_is_refused(make, sentence):
    with pytest.raises(UserError, match=sentence):
        make()
