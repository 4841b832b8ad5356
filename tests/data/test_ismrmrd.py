"""K-space of scanners: lines lie where their headers say, and what is no line of the image is left out."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from pushforward.data.measured import read_measured
from pushforward.errors import UserError

COUNTERS = np.dtype(
    [
        *[
            (name, "<u2")
            for name in ("kspace_encode_step_1", "kspace_encode_step_2", "average", "slice", "contrast", "phase")
        ],
        *[(name, "<u2") for name in ("repetition", "set", "segment")],
        ("user", "<u2", (8,)),
    ]
)
HEAD = np.dtype(
    [
        ("version", "<u2"),
        ("flags", "<u8"),
        *[(name, "<u4") for name in ("measurement_uid", "scan_counter", "acquisition_time_stamp")],
        ("physiology_time_stamp", "<u4", (3,)),
        *[(name, "<u2") for name in ("number_of_samples", "available_channels", "active_channels")],
        ("channel_mask", "<u8", (16,)),
        *[(name, "<u2") for name in ("discard_pre", "discard_post", "center_sample", "encoding_space_ref")],
        ("trajectory_dimensions", "<u2"),
        ("sample_time_us", "<f4"),
        *[(name, "<f4", (3,)) for name in ("position", "read_dir", "phase_dir", "slice_dir", "patient_table_position")],
        ("idx", COUNTERS),
        ("user_int", "<i4", (8,)),
        ("user_float", "<f4", (8,)),
    ]
)
FLOATS = h5py.vlen_dtype(np.dtype("<f4"))
ACQUISITION = np.dtype([("head", HEAD), ("traj", FLOATS), ("data", FLOATS)])
XML = """<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding>
<encodedSpace><matrixSize><x>{width}</x><y>{height}</y><z>{depth}</z></matrixSize></encodedSpace>
<reconSpace><matrixSize><x>{kept}</x><y>{height}</y><z>1</z></matrixSize></reconSpace>
<trajectory>{trajectory}</trajectory><encodingLimits><kspace_encoding_step_1><center>{center}</center>
</kspace_encoding_step_1></encodingLimits></encoding></ismrmrdHeader>"""
SIZES = {"width": 16, "height": 6, "depth": 1, "kept": 8, "trajectory": "cartesian", "center": 3}
COILS = 2


def line(numbers: np.ndarray, step: int, flag: int = 0, **counters: int) -> tuple:
    head = np.zeros((), HEAD)
    head["active_channels"], head["number_of_samples"] = numbers.shape
    head["center_sample"] = numbers.shape[1] // 2
    head["flags"] = 1 << (flag - 1) if flag else 0
    head["idx"]["kspace_encode_step_1"] = step
    for name, value in counters.items():
        (head["idx"] if name in COUNTERS.names else head)[name] = value
    return head, np.zeros(0, "<f4"), numbers.astype(np.complex64).view(np.float32).reshape(-1)


def write(path, lines, xml=None, **sizes):
    table = np.empty(len(lines), ACQUISITION)
    for i, one in enumerate(lines):
        table[i] = one
    with h5py.File(path, "w") as file:
        file.create_dataset("dataset/data", data=table, dtype=ACQUISITION)
        file.create_dataset("dataset/xml", data=[xml or XML.format(**{**SIZES, **sizes})], dtype=h5py.string_dtype())
    return path


def picture(seed: int = 0) -> np.ndarray:
    """A complex image (coils, H, W) with oversampling, empty beyond the middle half of its width."""
    rng = np.random.default_rng(seed)
    image = np.zeros((COILS, 6, 16), complex)
    image[..., 4:12] = rng.normal(size=(COILS, 6, 8)) + 1j * rng.normal(size=(COILS, 6, 8))
    return image


def spectrum(image: np.ndarray) -> np.ndarray:
    return np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image, (-2, -1)), norm="ortho"), (-2, -1))


def test_lines_give_the_kspace_of_the_image_without_oversampling(tmp_path):
    image = picture()
    k, steps = spectrum(image), (0, 2, 3, 4)
    lines = [line(k[:, step], step) for step in steps]
    lines += [line(k[:, 2] + 2, 2)]  # an average
    lines += [line(np.full((COILS, 16), 0.1 + 0.1j), 0, flag=19), line(9 * k[:, 1], 1, flag=23)]
    found = read_measured(write(tmp_path / "scan.h5", lines))
    k[:, 2] += 1
    inner = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(k, -1), norm="ortho"), -1)[..., 4:12]
    expected = np.fft.fftshift(np.fft.fft(np.fft.ifftshift(inner, -1), norm="ortho"), -1)
    expected[:, [1, 5]] = 0
    assert found.y.shape == (1, COILS, 6, 8) and found.y.dtype == np.complex64
    assert np.abs(found.y[0] - expected).max() < 1e-6
    assert found.mask[0, 0].all(1).tolist() == [True, False, True, True, True, False]
    assert found.noise == pytest.approx(0.1, rel=1e-6)


def test_slices_and_repetitions_are_items_and_partial_readouts_lie_around_their_centre(tmp_path):
    k = spectrum(picture())
    lines = [
        line((1 + s + 2 * r) * k[:, step, 4:], step, slice=s, repetition=r, center_sample=4)
        for s in range(2)
        for r in range(2)
        for step in range(6)
    ]
    found = read_measured(write(tmp_path / "scan.mrd", lines))
    # A readout that is not whole keeps its oversampling: without all of it, there is nothing to transform.
    assert found.y.shape == (4, COILS, 6, 16)
    for i, factor in enumerate((1, 3, 2, 4)):
        assert np.abs(found.y[i, :, :, 4:] - factor * k[:, :, 4:]).max() < 1e-5
    assert not found.mask[..., :4].any() and found.mask[..., 4:].all()


def test_lines_that_run_backwards_are_turned_and_steps_are_counted_from_the_middle(tmp_path):
    k = spectrum(picture())
    lines = [line(k[:, step, ::-1], step - 1, flag=22, center_sample=8) for step in range(1, 6)]
    found = read_measured(write(tmp_path / "scan.h5", lines, kept=16, center=2))
    assert np.abs(found.y[0, :, 1:] - k[:, 1:]).max() < 1e-6 and not found.mask[0, 0, 0].any()


WHOLE = spectrum(picture())


@pytest.mark.parametrize(
    ("lines", "options", "said"),
    [
        ([line(WHOLE[:, 0], 9)], {}, "acquisition 0 is line 9"),
        ([line(WHOLE[:, 0], 0, number_of_samples=12)], {}, "2 coils of 12 complex samples are 48"),
        ([line(np.nan * WHOLE[:, 0], 0)], {}, "acquisition 0 has numbers that are not finite"),
        ([line(WHOLE[:, 0], 0), line(WHOLE[:1, 0], 1)], {}, "lines of 1, 2 coils"),
        ([line(WHOLE[:, 0], 0, flag=19)], {}, "no lines of an image among its 1 acquisitions"),
        ([line(WHOLE[:, 0], 0, kspace_encode_step_2=3)], {}, "encoded in three dimensions"),
        ([line(WHOLE[:, 0], 0)], {"trajectory": "radial"}, "a radial trajectory"),
        ([line(WHOLE[:, 0], 0)], {"depth": 4}, "three dimensions"),
        ([line(WHOLE[:, 0], 0)], {"width": 10**9}, r"encodedSpace/matrixSize/x is 1000000000"),
        ([line(WHOLE[:, 0], 0)], {"xml": "<a><b></a>"}, "cannot be understood"),
        ([line(WHOLE[:, 0], 0)], {"xml": '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'}, "defines entities"),
        ([line(WHOLE[:, 0], 0, slice=60000), line(WHOLE[:, 0], 1)], {"limit": 9000}, "k-space of shape"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, lines, options, said):
    limit = options.pop("limit", None)
    path = write(tmp_path / "scan.h5", lines, **options)
    with pytest.raises(UserError, match=said):
        read_measured(path, limit)
