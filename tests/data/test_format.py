"""The format: user → model → user is the identity on integers; JSON in and out; what is refused."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pushforward.data import Format, Kind, load
from pushforward.errors import NumericalError, UserError

INTEGERS = ("uint8", "uint16", "int16", "int32", "int64", "uint32", "uint64", "int8", "bool")


def random_integers(dtype, shape, seed=0, low=0, high=200):
    generator = np.random.default_rng(seed)
    if dtype == "bool":
        return generator.integers(0, 2, shape).astype(bool)
    return generator.integers(low, min(high, int(np.iinfo(dtype).max)), shape).astype(dtype)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("shape", [(20, 6, 5), (20, 3, 6, 5), (20, 6, 5, 3), (20, 7)])
def test_integers_come_back_exactly(dtype, shape):
    values = random_integers(dtype, shape)
    data = load(values)
    x = data.train.all().values
    assert x.dtype == torch.float32 and x.shape[1:] == data.shape
    back = data.format.decode(x)
    assert back.dtype == values.dtype
    np.testing.assert_array_equal(back, data.train.values)


def test_every_level_of_16_bits_survives():
    values = np.arange(65536, dtype=np.uint16).reshape(4, 128, 128)
    data = load(values)
    np.testing.assert_array_equal(data.format.decode(data.format.encode(values)), values)
    assert any("16-bit grey kept" in line for line in data.messages)
    assert data.format.encode(values).min() == -1 and data.format.encode(values).max() == 1


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        (np.array([0, 16], np.uint8), 0, 16),
        (np.array([0, 1], np.uint8), 0, 1),
        (np.array([3, 200], np.uint8), 0, 255),
        (np.array([3, 200], np.int64), 0, 255),
        (np.array([0, 4000], np.uint16), 0, 4095),
        (np.array([0, 4095], np.uint16), 0, 4095),
        (np.array([0, 4096], np.uint16), 0, 8191),
        (np.array([0, 65535], np.uint16), 0, 65535),
        (np.array([-5, 70000], np.int32), -5, 70000),
        (np.array([0.1, 0.9]), 0, 1),
        (np.array([-0.1, 0.9]), -1, 1),
        (np.array([0.0, 255.0]), 0, 255),
        (np.array([0.0, 16.0]), 0, 16),
        (np.array([-3.5, 7.25]), -3.5, 7.25),
    ],
)
def test_the_range_of_pixels_is_found(values, low, high):
    images = np.resize(values, (6, 4, 4))
    data = load(images)
    x = data.format.encode(np.full((1, 4, 4), low, images.dtype))
    y = data.format.encode(np.full((1, 4, 4), high, images.dtype))
    assert torch.all(x == -1) and torch.all(y == 1)
    assert f"taken as {low:g} … {high:g}" in " ".join(data.messages)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_come_back_to_float32(dtype):
    values = np.random.default_rng(0).normal(5, 3, (30, 4)).astype(dtype)
    data = load(values)
    back = data.format.decode(data.train.all().values)
    assert back.dtype == dtype
    np.testing.assert_allclose(back, data.train.values, atol=1e-6 if dtype != "float16" else 1e-2, rtol=0)


def test_columns_are_standardised_on_training_rows():
    values = np.random.default_rng(0).normal([100, -2], [30, 0.01], (200, 2))
    x = load(values).train.all().values.double()
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(0, correction=0), 1, atol=1e-5)


def test_constant_columns_are_carried_through_and_said():
    values = np.random.default_rng(0).normal(size=(20, 4))
    values[:, 1] = 7.5
    data = load(values)
    assert data.shape == (3,)
    assert "column 1 is constant (7.5): carried through" in data.messages
    back = data.format.decode(torch.randn(5, 3))
    assert back.shape == (5, 4) and (back[:, 1] == 7.5).all()


def test_all_columns_constant_is_refused():
    with pytest.raises(UserError, match=r"Every column .* is constant"):
        load(np.ones((5, 3)))


def test_integer_samples_are_rounded_and_clipped():
    images = load(np.resize(np.arange(17, dtype=np.uint8), (10, 4, 4))).format
    np.testing.assert_array_equal(
        images.decode(torch.tensor([-3.0, -1, 0.01, 0.1, 1, 9]).repeat(16)[:16].reshape(1, 1, 4, 4)).ravel()[:6],
        [0, 0, 8, 9, 16, 16],
    )
    columns = load(np.array([[1, 0.5], [4, 0.25], [2, 0.125]])).format
    assert columns.decode(torch.full((1, 2), 100.0))[0, 0] > 4  # real columns are not clipped
    counted = load(np.array([[1, 5], [4, 2], [2, 3]])).format
    np.testing.assert_array_equal(counted.decode(torch.tensor([[100.0, -100.0]])), [[4, 2]])


def test_what_is_not_finite_is_never_data():
    form = load(np.random.default_rng(0).normal(size=(10, 2))).format
    with pytest.raises(NumericalError, match="1 of 2 items"):
        form.decode(torch.tensor([[0.0, 1.0], [float("nan"), 0.0]]))


def test_wrong_shapes_are_named():
    data = load("digits")
    with pytest.raises(UserError, match="9×9 was given, and 8×8 was expected"):
        data.format.encode(np.zeros((2, 9, 9)))
    with pytest.raises(UserError, match="dtype <U1"):
        data.format.encode(np.array(["a"]))
    with pytest.raises(UserError, match="1×9×9"):
        data.format.decode(torch.zeros(2, 1, 9, 9))
    table = load(np.random.default_rng(0).normal(size=(10, 2))).format
    with pytest.raises(UserError, match="rows of 2 columns"):
        table.encode(np.zeros((2, 3)))
    with pytest.raises(UserError, match="2 columns"):
        table.decode(torch.zeros(2, 3))


def formats():
    rng = np.random.default_rng(0)
    names = np.array(["b", "a"])[rng.integers(0, 2, 10)]
    constant = rng.normal(size=(10, 3))
    constant[:, 0] = 0
    return [
        load("digits").format,
        load((rng.random((10, 5, 4, 3)), names)).format,
        load((constant, np.arange(10) % 3 - 1)).format,
    ]


@pytest.mark.parametrize("form", formats(), ids=["digits", "colour", "vectors"])
def test_json_round_trip_is_the_same_format(form):
    again = Format.from_dict(json.loads(json.dumps(form.to_dict())))
    assert again == form
    x = torch.randn(3, *form.shape)
    np.testing.assert_array_equal(again.decode(x), form.decode(x))


def places(value, at=()):
    """Every place in a JSON value."""
    yield at
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        yield from places(child, (*at, name))


def put(value, at, new):
    if not at:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[at[0]] = put(value[at[0]], at[1:], new)
    return copy


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
STORED = [form.to_dict() for form in formats()]


@given(JSON)
def test_random_json_is_refused_in_one_sentence(value):
    with pytest.raises(UserError, match="stored data format"):
        Format.from_dict(value)


@given(st.data())
def test_a_format_with_one_value_changed_is_valid_or_refused(data):
    stored = data.draw(st.sampled_from(STORED))
    at = data.draw(st.sampled_from(list(places(stored))))
    changed = put(stored, at, data.draw(JSON))
    try:
        form = Format.from_dict(changed)
    except UserError:
        return
    assert Format.from_dict(form.to_dict()) == form
    if np.prod(form.shape) < 1000:
        form.decode(torch.zeros(2, *form.shape))


def test_what_contradicts_itself_is_refused():
    digits, _, vectors = STORED
    for stored, at, new in [
        (digits, ("coding", "high"), -1.0),
        (digits, ("coding", "shape"), [3, 8, 8]),
        (digits, ("kind",), "table"),
        (digits, ("labels", "names"), ["1", "1"]),
        (digits, ("labels", "names"), ["one", "two"]),
        (vectors, ("kind",), "table"),
        (vectors, ("coding", "names"), ["a", "a", "b"]),
        (vectors, ("coding", "scale"), [0.0, 1.0]),
        (vectors, ("coding", "constants"), [1.0, 1.0, 1.0]),
        (vectors, ("coding", "low"), [1e9, 1e9, 1e9]),
    ]:
        with pytest.raises(UserError):
            Format.from_dict(put(stored, at, new))


def test_what_a_format_says():
    digits, colour, vectors = formats()
    assert (digits.kind, digits.dtype, digits.num_classes, digits.scale, digits.offset) == (
        Kind.IMAGE,
        np.uint8,
        10,
        8,
        8,
    )
    assert digits.kind == "image" and digits.columns is None and digits.column_dtypes is None and digits.mode is None
    assert colour.label_names == ("a", "b") and colour.item_shape == (5, 4, 3) and colour.shape == (3, 5, 4)
    assert vectors.kind == "vector" and vectors.label_names == ("-1", "0", "1") and vectors.mode is None
    assert len(vectors.scale) == len(vectors.offset) == 2 and vectors.column_dtypes == ("float64",) * 3


def test_labels_come_back_as_they_were():
    _, colour, vectors = formats()
    np.testing.assert_array_equal(vectors.labels.decode(np.array([0, 2, 1])), [-1, 1, 0])
    np.testing.assert_array_equal(colour.labels.decode(np.array([1, 0])), ["b", "a"])
    assert colour.labels.find("b") == 1
    with pytest.raises(UserError, match="no class 'c': the classes are a, b"):
        colour.labels.find("c")
    with pytest.raises(UserError, match=r"0 … 1; 0 … 2 given"):
        colour.labels.decode(np.array([0, 2]))


@given(
    hnp.arrays(st.sampled_from([np.uint8, np.int16, np.float32, np.float64]), hnp.array_shapes(max_dims=5, max_side=6))
)
def test_any_array_loads_or_is_refused_in_one_sentence(values):
    try:
        data = load(values)
    except UserError as error:
        assert "\n" not in str(error)
        return
    batch = data.train.all()
    assert torch.isfinite(batch.values).all()
    back = data.format.decode(batch.values)
    assert back.shape == data.train.values.shape and back.dtype == values.dtype
    if values.dtype.kind in "ui":
        np.testing.assert_array_equal(back, data.train.values)
    assert len(data.train) + len(data.validation) + len(data.test) == len(values)
