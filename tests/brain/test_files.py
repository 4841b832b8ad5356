"""Recordings in every form of file, the way MATLAB writes pictures, and what is wrong with them in one sentence."""

from __future__ import annotations

import h5py
import nibabel
import numpy as np
import pytest
from scipy.io import savemat

from pushforward.brain.files import Reading, read_recording
from pushforward.errors import UserError

RNG = np.random.default_rng(0)
VOXELS = RNG.normal(size=(12, 5))
PICTURES = RNG.integers(0, 255, size=(12, 3, 3)).astype(np.uint8)
SPLIT = {
    "fmriTrn": VOXELS[:8],
    "fmriTest": VOXELS[8:],
    "stimTrn": PICTURES[:8].transpose(0, 2, 1).reshape(8, 9),
    "stimTest": PICTURES[8:].transpose(0, 2, 1).reshape(4, 9),
    "labelTrn": np.array([[1.0], [2.0]] * 4),
    "labelTest": np.array([[1.0], [2.0]] * 2),
}
COLUMNS = Reading(columns=True)


def as_npz(path):
    np.savez(path.with_suffix(".npz"), **SPLIT)
    return path.with_suffix(".npz")


def as_mat(path):
    savemat(path.with_suffix(".mat"), {**SPLIT, "about": "digits", "nested": {"a": 1}})
    return path.with_suffix(".mat")


def as_new_mat(path):
    """As MATLAB 7.3 does: 512 bytes for people, then HDF5 with every axis turned round."""
    with h5py.File(path.with_suffix(".mat"), "w", userblock_size=512) as file:
        for name, values in SPLIT.items():
            file.create_dataset(name, data=values.T)
    return path.with_suffix(".mat")


def as_h5(path):
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        for name, values in SPLIT.items():
            file.create_dataset(name, data=values)
    return path.with_suffix(".h5")


@pytest.mark.parametrize("write", [as_npz, as_mat, as_new_mat, as_h5])
def test_every_form_holds_the_same_recording(tmp_path, write):
    found = read_recording(
        write(tmp_path / "trials"), Reading(columns=True, classes=("6", "9"), renamed={"1": "6", "2": "9"})
    )
    np.testing.assert_allclose(found.train.voxels, VOXELS[:8])
    np.testing.assert_array_equal(found.train.stimuli, PICTURES[:8])
    np.testing.assert_array_equal(found.test.stimuli, PICTURES[8:])
    assert found.train.labels.tolist() == [0, 1] * 4


def test_columns_must_be_asked_for(tmp_path):
    """A transposed picture scores the same: only a picture whose sides differ shows it, or one that is looked at."""
    by_rows = read_recording(as_npz(tmp_path / "trials"), Reading(side=(3, 3)))
    np.testing.assert_array_equal(by_rows.train.stimuli, PICTURES[:8].transpose(0, 2, 1))
    np.savez(tmp_path / "wide.npz", voxels=VOXELS, stimuli=np.arange(72).reshape(12, 6))
    wide = read_recording(tmp_path / "wide.npz", Reading(columns=True, side=(2, 3)))
    np.testing.assert_array_equal(
        np.concatenate([wide.train.stimuli, wide.test.stimuli]).min(0), [[0, 2, 4], [1, 3, 5]]
    )
    with pytest.raises(UserError, match="no square"):
        read_recording(tmp_path / "wide.npz", COLUMNS)


def test_trials_without_a_split_hold_whole_pictures_out(tmp_path):
    repeated = np.repeat(PICTURES[:6], 2, 0)
    np.savez(tmp_path / "whole.npz", voxels=VOXELS, stimuli=repeated, regions=np.array(["V1", "V1", "V4", "", "V4"]))
    found = read_recording(tmp_path / "whole.npz", Reading(test=0.4))
    assert (len(found.train), len(found.test), found.shared) == (8, 4, 0)
    assert {name: mask.tolist() for name, mask in found.regions.items()} == {
        "V1": [True, True, False, False, False],
        "V4": [False, False, True, False, True],
    }
    np.savez(tmp_path / "marked.npz", betas=VOXELS, images=PICTURES, is_test=np.arange(12) >= 10)
    marked = read_recording(tmp_path / "marked.npz", Reading())
    np.testing.assert_array_equal(marked.test.voxels, VOXELS[10:])


def test_volumes_inside_a_mask(tmp_path):
    volumes = RNG.normal(size=(2, 3, 2, 12)).astype(np.float32)
    mask = np.zeros((2, 3, 2), np.uint8)
    mask[0, 1, 0], mask[1, 2, 1] = 1, 2
    for name, values in (("bold.nii.gz", volumes), ("mask.nii", mask)):
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / name)
    np.savez(tmp_path / "seen.npz", stimuli=PICTURES, test=np.arange(12) < 3)
    reading = Reading(mask=tmp_path / "mask.nii", stimuli=tmp_path / "seen.npz")
    found = read_recording(tmp_path / "bold.nii.gz", reading)
    np.testing.assert_allclose(found.test.voxels, volumes[[0, 1], [1, 2], [0, 1], :3].T)
    assert {name: marks.tolist() for name, marks in found.regions.items()} == {"1": [True, False], "2": [False, True]}
    with pytest.raises(UserError, match="give the mask"):
        read_recording(tmp_path / "bold.nii.gz", Reading())
    nibabel.save(nibabel.Nifti1Image(mask, np.diag([2.0, 1, 1, 1])), tmp_path / "moved.nii")
    with pytest.raises(UserError, match="affines differ"):
        read_recording(tmp_path / "bold.nii.gz", Reading(mask=tmp_path / "moved.nii", stimuli=tmp_path / "seen.npz"))
    nibabel.save(nibabel.Nifti1Image(mask[:1], np.eye(4)), tmp_path / "small.nii")
    with pytest.raises(UserError, match="first three axes"):
        read_recording(tmp_path / "bold.nii.gz", Reading(mask=tmp_path / "small.nii", stimuli=tmp_path / "seen.npz"))


@pytest.mark.parametrize(
    ("arrays", "reading", "words"),
    [
        ({"voxels": VOXELS, "stimuli": PICTURES[:11]}, Reading(), "12 rows of voxels and 11 stimuli"),
        ({"voxels": np.where(VOXELS.max() == VOXELS, np.nan, VOXELS), "stimuli": PICTURES}, Reading(), "is nan"),
        ({"voxels": VOXELS, "pictures": PICTURES}, Reading(), "no stimuli under a name .*--name stimuli=NAME"),
        ({"voxels": VOXELS, "pictures": PICTURES}, Reading({"stimuli": "picture"}), "did you mean pictures"),
        ({"voxels": VOXELS, "stimuli": PICTURES, "test": np.ones(12)}, Reading(), "marks some, not all"),
        ({"voxels": VOXELS, "stimuli": PICTURES, "regions": np.arange(4)}, Reading(), "regions of 4 voxels"),
        ({"voxels": VOXELS, "stimuli": PICTURES, "labels": np.arange(12)}, Reading(classes=("a",)), "label '0'"),
        ({"voxels": VOXELS, "stimuli": PICTURES}, Reading(test=1.5), "share of stimuli"),
        (
            {"voxels": VOXELS[:2], "stimuli": PICTURES[:2]},
            Reading(),
            "2 different stimuli are too few to hold some out",
        ),
    ],
)
def test_what_is_wrong_is_said(tmp_path, arrays, reading, words):
    np.savez(tmp_path / "trials.npz", **arrays)
    with pytest.raises(UserError, match=words):
        read_recording(tmp_path / "trials.npz", reading)


def test_damaged_and_missing_files(tmp_path):
    path = as_mat(tmp_path / "trials")
    (tmp_path / "short.mat").write_bytes(path.read_bytes()[:300])
    with pytest.raises(UserError, match="not a readable MATLAB file or cut short"):
        read_recording(tmp_path / "short.mat", COLUMNS)
    with pytest.raises(UserError, match="no recording at"):
        read_recording(tmp_path / "nowhere.mat", COLUMNS)
    with pytest.raises(UserError, match="no recording that can be read"):
        read_recording(path.rename(tmp_path / "trials.txt"), COLUMNS)
    with pytest.raises(UserError, match="mask is for volumes"):
        read_recording(as_npz(tmp_path / "trials"), Reading(mask=path))
