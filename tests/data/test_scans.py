"""NIfTI and DICOM: pictures in, estimates back with the geometry and the units of the scan."""

from __future__ import annotations

import gzip

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from pushforward.data import dicom, load, nifti
from pushforward.data.measured import read_measured
from pushforward.errors import UserError

VOLUME = np.arange(4 * 3 * 5, dtype=np.int16).reshape(4, 3, 5)  # X, Y, Z
AFFINE = np.array([[2.0, 0, 0, 5], [0, 3, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1]])


def volume(path, values=VOLUME):
    nibabel.save(nibabel.Nifti1Image(values, AFFINE), path)
    return path


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
def test_slices_of_a_volume_are_pictures_and_go_back_to_their_place(tmp_path, name):
    path = volume(tmp_path / name)
    found = read_measured(path).y
    assert found.shape == (5, 3, 4) and np.array_equal(found[2], VOLUME[:, :, 2].T)
    out = tmp_path / f"out-{name}"
    nifti.write_nifti(found.astype(np.float32) / 2, out, path)
    again = nibabel.load(out)
    assert np.array_equal(again.affine, AFFINE) and np.array_equal(np.asarray(again.dataobj), VOLUME / 2)


def test_a_series_of_volumes_keeps_its_order(tmp_path):
    series = np.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    path = volume(tmp_path / "s.nii", series)
    nifti.write_nifti(nifti.slices(path, 1 << 20), tmp_path / "again.nii", path)
    assert np.array_equal(nibabel.load(tmp_path / "again.nii").get_fdata(), series)


def test_volumes_are_data_and_samples_of_them_volumes(tmp_path):
    values = np.random.default_rng(0).integers(0, 200, (4, 6, 12)).astype(np.int16)
    dataset = load(volume(tmp_path / "v.nii.gz", values))
    assert dataset.format.shape == (1, 6, 4)
    from pushforward.models.generator import Samples

    items = np.ascontiguousarray(values.transpose(2, 1, 0))[:3]
    Samples(items, None, dataset.format).save(tmp_path / "samples.nii.gz")
    assert np.array_equal(np.asarray(nibabel.load(tmp_path / "samples.nii.gz").dataobj), values[..., :3])


def scan(path, pixels=None, number=1, **changes):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    one.SOPClassUID, one.SOPInstanceUID = SecondaryCaptureImageStorage, meta.MediaStorageSOPInstanceUID
    one.PatientName, one.SeriesInstanceUID, one.InstanceNumber = "Phantom", "1.2.3", number
    pixels = np.arange(12, dtype=np.uint16).reshape(3, 4) if pixels is None else pixels
    one.Rows, one.Columns = pixels.shape[-2:]
    if pixels.ndim == 3:
        one.NumberOfFrames = len(pixels)
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated = one.BitsStored = 16
    one.HighBit, one.PixelRepresentation = 15, 0
    one.RescaleSlope, one.RescaleIntercept = 2, -1000
    one.PixelData = pixels.astype("<u2").tobytes()
    for name, value in changes.items():
        setattr(one, name, value)
    one.save_as(path, enforce_file_format=True)
    return path


def test_a_scan_is_read_in_its_units_and_the_estimate_is_a_derived_image(tmp_path):
    path = scan(tmp_path / "a.dcm", np.arange(24, dtype=np.uint16).reshape(2, 3, 4))
    found = read_measured(path).y
    assert np.array_equal(found, 2 * np.arange(24).reshape(2, 3, 4) - 1000) and found.dtype == np.int16
    estimate = found + np.random.default_rng(0).normal(size=found.shape)
    dicom.write_dicom(estimate, tmp_path / "b.dcm", path)
    again, header = read_measured(tmp_path / "b.dcm").y, pydicom.dcmread(tmp_path / "b.dcm")
    assert np.abs(again - estimate).max() <= np.ptp(estimate) / 65535
    assert header.PatientName == "Phantom" and header.ImageType[0] == "DERIVED"
    assert header.SOPInstanceUID != pydicom.dcmread(path).SOPInstanceUID


def test_a_folder_of_scans_is_read_in_the_order_of_the_series(tmp_path):
    for number, name in ((3, "a"), (1, "b"), (2, "c")):
        scan(tmp_path / f"{name}.dcm", np.full((4, 4), number, np.uint16), number)
    (tmp_path / "notes.txt").write_text("of the patient")
    dataset = load(tmp_path, validation=0.0, test=0.0)
    values = dataset.format.decode(dataset.train.all().values)
    assert sorted(values[:, 0, 0].tolist()) == [-998, -996, -994]
    files = sorted(tmp_path.glob("*.dcm"))
    assert dicom.frames(files, 1 << 20)[:, 0, 0].tolist() == [-998, -996, -994]


def cut(path):
    path.write_bytes(gzip.compress(gzip.decompress(volume(path).read_bytes())[:400]))


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("v.nii.gz", cut, "cut short or damaged"),
        ("v.nii", lambda path: path.write_bytes(b"nothing"), "not a readable NIfTI file"),
        ("v.nii", lambda path: volume(path, np.zeros((2, 2, 2, 2, 2))), r"shape \(2, 2, 2, 2, 2\)"),
        ("v.nii", lambda path: volume(path, np.zeros((2, 2, 2), complex)), "complex128"),
        ("s.dcm", lambda path: path.write_bytes(b"nothing"), "not a readable DICOM file"),
        ("s.dcm", lambda path: scan(path, PixelData=b"\0\0"), "cannot be decoded"),
        ("s.dcm", lambda path: scan(path, NumberOfFrames=10**8), "says that it holds 100000000 pictures"),
        ("s.dcm", lambda path: scan(path, NumberOfFrames=10**6), "in memory"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, name, make, said):
    make(tmp_path / name)
    with pytest.raises(UserError, match=said):
        read_measured(tmp_path / name, 1 << 20)


def test_scans_of_two_sizes_are_no_data(tmp_path):
    scan(tmp_path / "a.dcm")
    scan(tmp_path / "b.dcm", np.zeros((4, 4), np.uint16))
    with pytest.raises(UserError, match="one size is needed"):
        load(tmp_path)
