"""Saved samples: by name, in the user's form, whole or not at all."""

import numpy as np
import pytest
from PIL import Image

from pushforward.data import atomic, load, save_samples
from pushforward.data.save import check_name, grid
from pushforward.errors import PushforwardError, UserError


def digits():
    return load("digits", limit=40)


def test_a_grid_holds_every_image_in_order(tmp_path):
    data = digits()
    path = save_samples(data.train.values[:7], None, data.format, tmp_path / "grid.png")
    picture = np.asarray(Image.open(path))
    assert picture.shape == (3 * 8 + 2, 3 * 8 + 2) and picture.dtype == np.uint8
    for i in range(7):
        top, left = (i // 3) * 9, (i % 3) * 9
        tile = picture[top : top + 8, left : left + 8]
        np.testing.assert_array_equal(tile, np.rint(data.train.values[i] / 16 * 255))


def test_grids_of_colour_and_of_given_width():
    images = np.arange(3 * 2 * 2 * 3, dtype=np.uint8).reshape(3, 2, 2, 3)
    out = grid(images, columns=3)
    assert out.shape == (2, 8, 3)
    np.testing.assert_array_equal(out[:, 3:5], images[1])


@pytest.mark.parametrize("shape", [(5, 4), (1, 5, 4), (3, 5, 4), (5, 4, 3), (5, 4, 4), (5, 4, 1)])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "uint16", "bool"])
def test_every_image_form_can_be_drawn(tmp_path, shape, dtype):
    values = (np.random.default_rng(0).random((6, *shape)) * (1 if dtype in ("float32", "bool") else 1000)).astype(
        dtype
    )
    data = load(values, channels_last=shape[0] == 5, validation=0, test=0)
    picture = Image.open(save_samples(values, None, data.format, tmp_path / "x.png"))
    grey = data.shape[0] == 1
    assert picture.mode == {1: "I;16" if dtype == "uint16" else "L", 3: "RGB", 4: "RGBA"}[data.shape[0]]
    assert picture.size == (3 * 4 + 2, 2 * 5 + 1) and (grey or np.asarray(picture).ndim == 3)


def test_npz_and_npy_come_back_as_the_same_data(tmp_path):
    data = digits()
    path = save_samples(data.train.values, data.train.labels, data.format, tmp_path / "x.npz")
    again = load(path, validation=0, test=0)
    np.testing.assert_array_equal(again.train.values, data.train.values)
    np.testing.assert_array_equal(again.train.labels, data.train.labels)
    assert again.format.labels == data.format.labels
    path = save_samples(data.train.values, data.train.labels, data.format, tmp_path / "x.npy")
    np.testing.assert_array_equal(np.load(path), data.train.values)


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.parquet", "x.npz"])
def test_vectors_become_tables_and_come_back(tmp_path, name):
    values = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    data = load((values, np.arange(10) % 2), validation=0, test=0)
    path = save_samples(values, data.train.labels, data.format, tmp_path / name)
    again = load(path, label_column="label" if name != "x.npz" else None, validation=0, test=0)
    np.testing.assert_array_equal(again.train.values.astype(np.float32), values)
    np.testing.assert_array_equal(again.train.labels, data.train.labels)
    if name != "x.npz":
        assert again.format.columns == ("column_0", "column_1", "column_2")


def test_npz_of_a_table_has_its_columns_and_a_label_never_hides_one(tmp_path):
    (tmp_path / "in.csv").write_text("label,b\n" + "".join(f"{i},{i * i}\n" for i in range(9)))
    data = load(tmp_path / "in.csv", labels=list("abc") * 3, validation=0, test=0)
    with np.load(save_samples(data.train.values, data.train.labels, data.format, tmp_path / "x.npz")) as saved:
        assert saved["columns"].tolist() == ["label", "b"] and saved["y"].tolist() == list("abc") * 3
    text = save_samples(data.train.values, data.train.labels, data.format, tmp_path / "x.csv").read_text()
    assert text.splitlines()[0] == "label,b,label_"


def test_names_that_do_not_fit_are_refused(tmp_path):
    data, table = digits(), load(np.random.default_rng(0).normal(size=(9, 2)))
    images, labels, rows = data.train.values, data.train.labels, table.train.values
    for values, which, form, name, sentence in [
        (images, labels, data.format, "x.csv", "asks for a table"),
        (rows, None, table.format, "x.png", "asks for images"),
        (rows, None, table.format, "folder", "asks for images"),
        (images, None, data.format, "x.gif", r"ends in \.gif, and \.png, \.npz"),
        (images[:0], None, data.format, "x.png", "no samples to draw"),
        (images[:, :3], None, data.format, "x.png", r"\(N, 8, 8\)"),
        (images, labels[:2], data.format, "x.npz", "with 2 labels"),
        (rows, np.zeros(len(rows), int), table.format, "x.npz", "has no classes"),
    ]:
        with pytest.raises(UserError, match=sentence):
            save_samples(values, which, form, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_never_overwritten(tmp_path):
    data = digits()
    (tmp_path / "out").mkdir()
    save_samples(data.train.values, None, data.format, tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == len(data.train)
    with pytest.raises(UserError, match="not an empty folder"):
        save_samples(data.train.values, None, data.format, tmp_path / "out")


def test_class_names_cannot_lead_out_of_the_folder(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (8, 4, 4)).astype(np.uint8)
    data = load((values, np.array(["../up", "/etc", "..", "ok"] * 2)), validation=0, test=0)
    out = save_samples(values, data.train.labels, data.format, tmp_path / "a" / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["a"] and len(list(out.rglob("*.png"))) == 8
    assert len(list(out.iterdir())) == 4


def test_classes_whose_names_are_alike_keep_a_folder_each(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (8, 4, 4)).astype(np.uint8)
    data = load((values, np.array(["a/b", "a_b", "a:b", "a b"] * 2)), validation=0, test=0)
    out = save_samples(values, data.train.labels, data.format, tmp_path / "out")
    assert sorted(len(list(folder.iterdir())) for folder in out.iterdir()) == [2, 2, 2, 2]


def test_what_is_refused_is_named_as_the_user_named_it_and_before_samples_are_drawn(tmp_path):
    data = digits()
    for name in ("x.csv", "x.parquet", "x.gif"):
        with pytest.raises(UserError, match=rf"^{tmp_path}/{name} "):
            check_name(tmp_path / name, data.format)
        with pytest.raises(UserError, match=rf"^{tmp_path}/{name} "):
            save_samples(data.train.values, None, data.format, tmp_path / name)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    with pytest.raises(UserError, match="not an empty folder"):
        check_name(tmp_path / "full", data.format)
    check_name(tmp_path / "x.png", data.format)


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    data = digits()
    path = save_samples(data.train.values, None, data.format, tmp_path / "x.npz")
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    for name in ("x.npz", "new.png", "folder"):
        with pytest.raises(PushforwardError, match=r"No space left on device.*nothing was saved"):
            save_samples(data.train.values, None, data.format, tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == ["x.npz"] and path.read_bytes() == before


def test_a_place_that_cannot_be_a_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    data = digits()
    with pytest.raises(PushforwardError, match="could not be written"):
        save_samples(data.train.values, None, data.format, tmp_path / "file" / "x.npz")
