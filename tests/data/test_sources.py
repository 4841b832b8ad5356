"""Arrays, NumPy files and built-in names; what is not data at all; and what every load promises."""

import io
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pushforward.data import Batch, fingerprint, load
from pushforward.errors import UserError


def images(count=12, shape=(5, 4), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)


def test_digits_are_the_real_ones_in_a_fixed_stratified_split():
    data, other = load("digits"), load("digits", seed=5)
    assert (len(data.train), len(data.validation), len(data.test)) == (1437, 180, 180)
    assert data.shape == (1, 8, 8) and data.num_classes == 10 and data.name == "digits"
    assert data.fingerprint == other.fingerprint
    for held in (data.test, data.validation):
        assert np.abs(np.bincount(held.labels) - 18).max() <= 1
    assert data.train.values.dtype == np.uint8 and data.train.values.max() == 16
    everything = np.concatenate([s.values.reshape(len(s), -1) for s in (data.train, data.validation, data.test)])
    assert len(np.unique(everything, axis=0)) == 1797
    assert repr(data).startswith("<Dataset digits") and repr(data.test) == "<Split of 180 items, uint8 (8, 8)>"
    assert data.messages[0].startswith("digits · 1,797 images of 1×8×8 uint8 · 10 classes · train 1437")


def test_batches_hold_the_items_asked_for():
    values, labels = images(), np.arange(12) % 3
    data = load((values, labels), validation=0, test=0)
    for indices in ([3, 3, 0], np.array([3, 3, 0]), torch.tensor([3, 3, 0])):
        batch = data.train.batch(indices)
        assert isinstance(batch, Batch) and len(batch) == 3
        np.testing.assert_array_equal(data.format.decode(batch.values), values[[3, 3, 0]])
        assert batch.labels.tolist() == [0, 0, 0] and batch.labels.dtype == torch.int64
    assert len(data.test) == 0 and data.test.all().values.shape == (0, 1, 5, 4)
    moved = batch.to("cpu")
    assert torch.equal(moved.values, batch.values) and torch.equal(moved.labels, batch.labels)
    assert load(values).train.batch([0]).to("cpu").labels is None


def test_tensors_and_other_byte_orders():
    values = images()
    for source in (torch.from_numpy(values), values.astype(">u2"), values[::-1], np.asfortranarray(values)):
        data = load(source, validation=0, test=0)
        np.testing.assert_array_equal(data.format.decode(data.train.all().values), data.train.values)
    half = load(torch.randn(8, 3).bfloat16())
    assert half.format.dtype == np.float32
    values.flags.writeable = False
    assert load(values).format.encode(values).shape == (12, 1, 5, 4)


def test_npy_and_npz_files(tmp_path):
    values, labels = images(), np.array(["a", "b", "c"] * 4)
    np.save(tmp_path / "x.npy", values)
    np.savez_compressed(tmp_path / "x.npz", images=values, labels=labels)
    np.savez(tmp_path / "one.npz", whatever=values)
    np.save(tmp_path / "fortran.npy", np.asfortranarray(values.astype(np.float64)))
    for name in ("x.npy", "x.npz", "one.npz", "fortran.npy"):
        data = load(tmp_path / name, validation=0, test=0)
        np.testing.assert_array_equal(data.train.values, values)
    data = load(tmp_path / "x.npz")
    assert data.format.label_names == ("a", "b", "c") and data.name == "x.npz"
    assert load(tmp_path / "x.npz", labels=False).num_classes is None
    assert load(str(tmp_path / "x.npz"), labels=list(range(4)) * 3).num_classes == 4


class Bomb:
    """Unpickling this would write a file."""

    def __reduce__(self):
        return (open, ("/tmp/pushforward-pickle-ran", "w"))


def test_pickles_are_refused_and_never_run(tmp_path):
    objects = np.empty(3, object)
    objects[:] = [Bomb(), Bomb(), Bomb()]
    np.save(tmp_path / "x.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "x.npz", x=objects)
    for name in ("x.npy", "x.npz"):
        with pytest.raises(UserError, match="Python objects, which need pickle and can run code"):
            load(tmp_path / name)
    with pytest.raises(UserError, match="Python objects"):
        load(objects)


def header(shape, dtype="'|u1'"):
    text = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def test_a_header_that_promises_too_much_allocates_nothing(tmp_path):
    (tmp_path / "big.npy").write_bytes(header("(100000000, 1000, 1000)"))
    with pytest.raises(UserError, match=r"needs .* TiB in memory, and the limit is"):
        load(tmp_path / "big.npy")
    (tmp_path / "short.npy").write_bytes(header("(1000, 1000)") + b"\0" * 10)
    with pytest.raises(UserError, match="1,000,000 bytes of numbers declared, 10 found"):
        load(tmp_path / "short.npy")
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header("(1000, 10000)") + b"\0" * 10_000_000)
    assert (tmp_path / "bomb.npz").stat().st_size < 20_000
    with pytest.raises(UserError, match=r"bomb.npz\[x\], of shape \(1000, 10000\) .* needs 9.5 MiB"):
        load(tmp_path / "bomb.npz", memory_limit=1 << 20)
    for shape in ("(-1, 3)", "(0, 1000000000000000000000000000)", "(3"):
        (tmp_path / "odd.npy").write_bytes(header(shape))
        with pytest.raises(UserError):
            load(tmp_path / "odd.npy")


def test_npz_without_a_known_name(tmp_path):
    np.savez(tmp_path / "x.npz", first=images(), second=images())
    with pytest.raises(UserError, match="holds first, second, and an array named x, images"):
        load(tmp_path / "x.npz")
    (tmp_path / "x.npz").write_bytes((tmp_path / "x.npz").read_bytes()[:200])
    with pytest.raises(UserError, match="not a readable NumPy file"):
        load(tmp_path / "x.npz")


NAN = np.ones((4, 3))
NAN[1, 2], NAN[3, 0] = np.nan, -np.inf
CUBE = np.zeros((4, 5, 5))
CUBE[2, 3, 4] = np.inf

BAD = [
    (NAN, r"2 values .* at row 1, column 2 \(nan\); row 3, column 0 \(-inf\)"),
    (CUBE, r"1 value .* at item 2, position \(3, 4\) \(inf\)"),
    (np.full((9, 2), np.nan), r"18 values .* \(nan\); …"),
    (np.full((4, 2), 1e200) * np.arange(4)[:, None], "below 1e\\+100"),
    (np.array([[1, 2**60], [3, 4]]), "row 0, column 1"),
    (np.zeros(5), r"shape \(5,\).*\(N, 1\)"),
    (np.zeros((2, 2, 2, 2, 2)), "reshape it"),
    (np.zeros((4, 0)), r"shape \(4, 0\)"),
    (np.zeros((0, 4)), "0 items"),
    (np.zeros((1, 4)), "1 item, "),
    (np.zeros((4, 3, 8, 3)), "say which with channels_last"),
    (np.zeros((4, 5, 8, 7)), "with 1, 3 or 4 channels"),
    (np.array([["a", "b"]] * 3), "holds <U1, and plain numbers"),
    (np.zeros((4, 2), complex), "complex128"),
    (np.zeros(4, "datetime64[s]"), "plain numbers"),
    (np.zeros(4, [("a", "f4"), ("b", "f4")]), "plain numbers"),
    (("digits",), r"tuple of 1 was given"),
    (17, "type int was given"),
    (None, "type NoneType was given"),
    ("nowhere/at/all.npy", "There is no data at 'nowhere/at/all.npy'"),
    ("digit", "did you mean 'digits'"),
    ("a\0b", "not a usable path|There is no data"),
    ("~nobody-of-this-name/x.npy", "not a usable path"),
    ("x" * 5000, "not a usable path|There is no data"),
]


@pytest.mark.parametrize(("source", "sentence"), BAD, ids=range(len(BAD)))
def test_bad_sources_are_refused_in_one_sentence(source, sentence):
    with pytest.raises(UserError, match=sentence) as found:
        load(source)
    assert "\n" not in str(found.value)


def test_channels_last_settles_what_could_be_either():
    values = images(shape=(3, 8, 3))
    assert load(values, channels_last=True).shape == (3, 3, 8)
    assert load(values, channels_last=False).shape == (3, 8, 3)
    with pytest.raises(UserError, match="1, 3 or 4 channels"):
        load(images(shape=(3, 8, 8)), channels_last=True)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ([0, 1, 2], "12 items and 3 labels"),
        (np.eye(12), r"shape \(12, 12\).*argmax"),
        (np.linspace(0, 1, 12), "The label of item 1 in .* is 0.0909"),
        ([float("nan")] * 12, "The label of item 0"),
        (["a"] * 11 + [" "], "has 1 item without a label, first item 11"),
        ([b"\xff"] * 12, "not ASCII"),
        ([None] * 12, "Python objects"),
        ([[1], [1, 2]], "not one list of classes"),
        ([10**18] * 12, "below 10¹⁸"),
        (True, "has no labels, and labels=True"),
    ],
)
def test_bad_labels_are_refused(labels, sentence):
    with pytest.raises(UserError, match=sentence):
        load(images(), labels=labels)


def test_labels_of_every_sort_become_classes():
    column = np.arange(12)[:, None] % 2
    for labels in (column, column[:, 0].astype(bool), column[:, 0].astype(np.float32), torch.tensor(column[:, 0])):
        data = load(images(), labels=labels)
        assert data.format.label_names == ("0", "1")
    assert load((images(), [b"x", b"y"] * 6)).format.label_names == ("x", "y")


def test_a_file_of_an_unknown_kind(tmp_path):
    (tmp_path / "data.xlsx").write_text("x")
    with pytest.raises(UserError, match=r"ends in \.xlsx, and \.npy, \.npz, \.csv"):
        load(tmp_path / "data.xlsx")
    with pytest.raises(UserError, match=r"did you mean 'data.xlsx'"):
        load(tmp_path / "data.xls")


def test_given_splits_are_used_instead_of_holding_out(tmp_path):
    np.savez(tmp_path / "val.npz", x=images(5, seed=1), y=[0, 1, 0, 1, 0])
    data = load((images(12), [0, 1] * 6), validation=tmp_path / "val.npz", test=(images(3, seed=2), [1, 1, 1]))
    assert (len(data.train), len(data.validation), len(data.test)) == (12, 5, 3)
    np.testing.assert_array_equal(data.validation.values, images(5, seed=1))
    assert data.test.labels.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (images(5, (4, 4)), "has 4×4 images of uint8, and the training data has 5×4 images"),
        (np.random.default_rng(0).normal(size=(5, 20)), "vectors of 20 numbers"),
        ((images(5), [0, 1, 2, 0, 1]), "the label '2', which the training data does not have"),
        (images(5), "has labels and .* has none"),
        (1.0, "held-out share of 1.0"),
        (-0.1, "held-out share of -0.1"),
        (True, "held-out share of True"),
    ],
)
def test_given_splits_that_do_not_fit_are_refused(other, sentence):
    with pytest.raises(UserError, match=sentence):
        load((images(12), [0, 1] * 6), validation=other)


def test_the_range_covers_given_splits_too():
    train = np.random.default_rng(0).integers(0, 16, (10, 3))
    far = train + 100
    data = load(train, validation=far)
    np.testing.assert_array_equal(data.format.decode(data.validation.all().values), far)


def test_limit_keeps_a_stratified_part():
    data = load("digits", limit=200)
    assert len(data.train) + len(data.validation) + len(data.test) == 200
    counts = sum(np.bincount(s.labels, minlength=10) for s in (data.train, data.validation, data.test))
    assert counts.min() >= 18 and counts.max() <= 22
    with pytest.raises(UserError, match="limit=1"):
        load("digits", limit=1)


def test_fingerprint_follows_values_labels_and_split():
    values, labels = images(), np.arange(12) % 2
    first = load((values, labels)).fingerprint
    assert load((values.copy(), labels.tolist())).fingerprint == first
    changed = values.copy()
    changed[3, 2, 1] ^= 1
    others = [load((changed, labels)), load((values, 1 - labels)), load((values, labels), seed=1), load(values)]
    assert len({first, *(data.fingerprint for data in others)}) == 5


def test_repeated_items_and_wide_integers_are_said():
    values = images()
    values[5] = values[2]
    assert any(line.startswith("exact copies of an earlier item: 1 ") for line in load(values).messages)
    wide = np.arange(12)[:, None] * np.array([1, 10_000_000])
    assert next(line for line in load(wide).messages if "7 digits" in line).startswith("column 1 ")
    assert any("wide range" in line for line in load(wide[:, None, :].repeat(2, 1)).messages)
    many = np.ones((12, 15)) * np.arange(15)
    many[:, 0] = np.arange(12)
    assert "4 more columns are constant: carried through" in load(many).messages
    assert any("every pixel of every image is 3" in line for line in load(np.full((5, 4, 4), 3)).messages)


def test_train_rows_that_hardly_vary_keep_model_units_bounded():
    values = np.zeros((100, 1))
    values[:3, 0] = [1.0, 2.0, 3.0]
    for seed in range(5):
        data = load(values, seed=seed)
        for split in (data.train, data.validation, data.test):
            assert split.all().values.abs().max() <= 1e6


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    np.save(tmp_path / "x.npy", images())
    assert load("~/x.npy").name == "x.npy"


@given(st.binary(max_size=300), st.sampled_from([".npy", ".npz"]))
def test_random_bytes_as_numpy_files(tmp_path_factory, content, suffix):
    path = tmp_path_factory.getbasetemp() / f"random{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a readable NumPy file"):
        load(path)


def stored(array, compressed):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=array) if compressed else np.save(buffer, array)
    return buffer.getvalue()


@given(st.booleans(), st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=5), st.integers(0, 9))
def test_damaged_numpy_files_load_or_are_refused(tmp_path_factory, compressed, flips, cut):
    content = bytearray(stored(images(6), compressed))
    for at, byte in flips:
        content[at % len(content)] = byte
    path = tmp_path_factory.getbasetemp() / ("damaged.npz" if compressed else "damaged.npy")
    path.write_bytes(bytes(content[: len(content) - cut]))
    try:
        load(path, memory_limit=1 << 24)
    except UserError as error:
        assert "damaged" in str(error)


@given(st.text("0123456789(),-. 'fiu<>|ONone", max_size=40), st.text("'<>|fiubOUVS0123456789 []()", max_size=12))
def test_strange_numpy_headers(tmp_path_factory, shape, dtype):
    path = tmp_path_factory.getbasetemp() / "strange.npy"
    path.write_bytes(header(shape, dtype) + b"\1\2\3\4")
    with pytest.raises(UserError):
        load(path, memory_limit=1 << 20)


def test_a_data_set_knows_how_it_was_read(tmp_path):
    values, labels = np.arange(120.0).reshape(40, 3) ** 2, np.arange(40) % 2
    np.savez(tmp_path / "x.npz", x=values, y=labels)
    first = load(tmp_path / "x.npz", labels=False, test=0.3, seed=4, limit=30)
    assert first.origin is not None
    assert load(**first.origin).fingerprint == first.fingerprint != load(tmp_path / "x.npz").fingerprint
    assert load(values).origin is None and load((values, labels)).origin is None
    assert load(tmp_path / "x.npz", test=values, labels=False).origin is None
    assert load(tmp_path / "x.npz", labels=labels).origin is None


def test_what_would_change_nothing_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(30.0).reshape(10, 3) ** 2)
    for source in (tmp_path / "x.npy", "digits", np.arange(30.0).reshape(10, 3) ** 2, tmp_path):
        with pytest.raises(UserError, match="label_column='kind' was given"):
            load(source, label_column="kind")
    for source in (tmp_path / "x.npy", "digits", np.arange(30.0).reshape(10, 3) ** 2):
        with pytest.raises(UserError, match="mode='RGB' was given"):
            load(source, mode="RGB")


def test_the_recipe_of_fingerprints_has_a_number_of_its_own():
    """Another hash of these data means another recipe: raise RECIPE then, so that earlier runs are not refused."""
    rows = np.arange(24, dtype=np.float32).reshape(12, 2)
    assert fingerprint.RECIPE == 2
    found = load((rows, np.arange(12) % 2)).fingerprint, load((images(), None)).fingerprint
    assert found == ("2:765768e019eb4a234e74a06f39d9d4a2", "2:cdd5ff48834a0c16137711265719a9a3")
