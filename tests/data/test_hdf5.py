"""HDF5: data and measurements; nothing is read that lies elsewhere, is too large or is not numbers."""

from __future__ import annotations

import sys

import h5py
import numpy as np
import pytest

from pushforward.data import load
from pushforward.data.hdf5 import write_h5
from pushforward.data.measured import read_measured
from pushforward.errors import UserError

IMAGES = np.arange(10 * 4 * 5, dtype=np.uint8).reshape(10, 4, 5)


def test_images_with_labels_are_data_and_samples_are_written_back(tmp_path):
    path = tmp_path / "images.h5"
    write_h5(path, {"images": IMAGES, "labels": np.arange(10) % 2})
    dataset = load(path)
    assert dataset.format.shape == (1, 4, 5) and dataset.format.num_classes == 2
    from pushforward.models.generator import Samples

    out = tmp_path / "samples.h5"
    Samples(IMAGES[:3], np.array([0, 1, 0]), dataset.format).save(out)
    with h5py.File(out) as file:
        assert np.array_equal(file["x"][()], IMAGES[:3]) and file["y"][()].tolist() == [0, 1, 0]


@pytest.mark.parametrize("names", [{"y": 1j}, {"kspace": 1j, "mask": 1}, {"anything": 1}])
def test_measurements_are_found_by_their_names(tmp_path, names):
    path = tmp_path / "y.h5"
    arrays = {name: kind * np.arange(12.0).reshape(1, 3, 4) for name, kind in names.items()}
    write_h5(path, arrays)
    found = read_measured(path)
    assert np.array_equal(found.y, next(iter(arrays.values())))
    assert (found.mask is not None) == ("mask" in names)


def test_pairs_of_numbers_are_complex(tmp_path):
    pairs = np.zeros(3, dtype=[("real", "f4"), ("imag", "f4")])
    pairs["real"], pairs["imag"] = [1, 2, 3], [4, 5, 6]
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["y"] = pairs
    assert np.array_equal(read_measured(tmp_path / "y.h5").y, np.array([1 + 4j, 2 + 5j, 3 + 6j]))


def damaged(path):
    write_h5(path, {"y": np.random.default_rng(0).normal(size=(100, 100))})
    path.write_bytes(path.read_bytes()[:3000])


def elsewhere(path):
    np.zeros(100).tofile(path.with_name("secret"))
    with h5py.File(path, "w") as file:
        file.create_dataset("y", (100,), "f8", external=[(str(path.with_name("secret")), 0, 800)])


def virtual(path):
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "y", (3,))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("y", layout)


def linked(path):
    with h5py.File(path, "w") as file:
        file["y"] = h5py.ExternalLink("other.h5", "y")


def text(path):
    with h5py.File(path, "w") as file:
        file["y"] = ["a", "b"]


def huge(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("y", (1 << 40,), "f8", chunks=(1 << 16,), compression="gzip")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (damaged, "not a readable HDF5 file or cut short"),
        (elsewhere, "takes its numbers from other files"),
        (virtual, "takes its numbers from other files"),
        (linked, "holds nothing; expected the measurement as y"),
        (text, "plain numbers were expected"),
        (huge, "needs 8.0 TiB in memory"),
        (lambda path: path.write_bytes(b"no HDF5 at all"), "not a readable HDF5 file"),
        (lambda path: None, "there is no measurement at"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_sentence(tmp_path, make, said):
    path = tmp_path / "y.h5"
    make(path)
    with pytest.raises(UserError, match=said) as caught:
        read_measured(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("module", "name"), [("h5py", "y.h5"), ("nibabel", "y.nii"), ("pydicom", "y.dcm")])
def test_an_extra_that_is_not_installed_is_named(tmp_path, monkeypatch, module, name):
    (tmp_path / name).write_bytes(b"anything")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"need {module}, which is not installed: pip install 'pushforward\[\w+\]'"):
        read_measured(tmp_path / name)
