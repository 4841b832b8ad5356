"""Measurements simulated and restored from the command line: what is written, what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from pushforward.config.methods import METHODS
from pushforward.config.operator_schema import MeasurementConfig
from pushforward.config.operators import build_operator, read_measurement
from pushforward.data.measured import Measured, read_measured
from pushforward.errors import UserError

HIDDEN = 'operator = { kind = "mask", hidden = [4, 0, 4, 8] }\nnoise = { sigma = 0.5 }\n'
IMAGE = (1, 8, 8)


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    """A run on the digits of a few steps."""
    from pushforward.cli.main import main

    out = tmp_path_factory.mktemp("restore") / "run"
    small = ("--set", "model.network.width=8", "--set", "training.batch_size=16")
    assert main(["train", "digits", "--out", str(out), "--quiet", "--steps", "3", "--device", "cpu", *small]) == 0
    return out


@pytest.fixture
def operator(tmp_path):
    def write(text=HIDDEN):
        path = tmp_path / "operator.toml"
        path.write_text(text)
        return path

    return write


def test_a_simulated_measurement_is_restored(command, digits_run, operator, tmp_path):
    measured, out = tmp_path / "y.npz", tmp_path / "restored"
    said = command("simulate", digits_run, "--operator", operator(), "-n", 3, "-o", measured, "--json")
    assert said.code == 0 and said.json["shape"] == [3, 1, 8, 8]
    stored = np.load(measured)
    assert stored["x"].shape == (3, 8, 8) and np.all(stored["y"][..., 4:, :] == 0)
    assert 0.3 < (stored["y"][:, 0, :4] - stored["x"][:, :4]).std() < 0.7
    asked = ("restore", digits_run, "--operator", operator(), "--measurement", measured, "--samples", 4)
    told = command(*asked, "--evaluations", 8, "--out", out, "--json")
    assert told.code == 0, told.err
    found = np.load(out / "samples.npz")
    assert found["samples"].shape == (4, 3, 1, 8, 8) and found["mean"] == pytest.approx(
        found["samples"].mean(0), abs=1e-4
    )
    assert found["deviation"] == pytest.approx(found["samples"].std(0, ddof=1), abs=1e-3)
    values = json.loads((out / "restoration.json").read_text())
    error = np.sqrt(np.mean((found["mean"][:, 0] - stored["x"]) ** 2))
    assert values["error"] == pytest.approx(error, rel=1e-3) and values["evaluations"] == 8
    assert values["operator"] == str(tmp_path / "operator.toml") and values["measurement"] == str(measured)
    assert values["label"] is None and values["guidance"] == 1.0
    assert values["psnr"] == pytest.approx(20 * np.log10(16 / error), abs=0.01)
    assert (out / "estimate.png").exists() and (out / "restored.png").exists()
    again = command(*asked, "--evaluations", 8, "--out", tmp_path / "again", "--batch-size", 5)
    assert again.code == 0 and "χ²" in again.out
    assert np.load(tmp_path / "again" / "samples.npz")["samples"] == pytest.approx(found["samples"], abs=1e-2)


def test_an_unknown_noise_level_is_estimated(command, refused, digits_run, operator, tmp_path):
    path = operator(HIDDEN.replace("0.5 }", "2.0, within = 2 }"))
    np.savez(tmp_path / "y.npz", y=np.random.default_rng(0).normal(8, 2, (2, 1, 8, 8)))
    asked = ("restore", digits_run, "--operator", path, "--measurement", tmp_path / "y.npz", "--evaluations", 100)
    told = command(*asked, "--samples", 19, "--out", tmp_path / "out")
    assert told.code == 0, told.err
    assert "estimated with the items" in told.err and "noise level of each item, the median (and 90 %" in told.out
    values = json.loads((tmp_path / "out" / "restoration.json").read_text())
    drawn = np.load(tmp_path / "out" / "samples.npz")["noise"]
    assert drawn.shape == (19, 2) and values["method"] == "exact"
    levels = values["noise"]
    assert levels["low"] == pytest.approx(drawn.min(0)) and levels["median"] == pytest.approx(np.median(drawn, 0))
    # χ² is that of each draw's own noise level.
    assert 0.5 < values["chi2"] < 1.5
    assert "only the method exact estimates it" in refused(*asked, "--method", "ddrm")
    wrong = operator(HIDDEN.replace("0.5 }", "0, within = 2 }"))
    assert "one sigma above 0" in refused("simulate", digits_run, "--operator", wrong, "-o", tmp_path / "a.npz")


EXACT = {"exact": (2, 100), "tempering": (8, 120), "twisted": (8, 8), "flow": (2, 462)}
"""Samples and evaluations that these need at least."""


@pytest.mark.parametrize("method", EXACT)
def test_every_exact_method_by_its_name(command, refused, digits_run, operator, tmp_path, method):
    np.save(tmp_path / "y.npy", np.full((1, 1, 8, 8), 3.0))
    asked = ("restore", digits_run, "--operator", operator(), "--measurement", tmp_path / "y.npy", "--method", method)
    samples, evaluations = EXACT[method]
    sizes = ("--samples", samples, "--evaluations", evaluations, "--label", 3)
    told = command(*asked, *sizes, "--out", tmp_path / "out", "--json")
    assert told.code == 0, told.err
    assert told.json["evaluations"] <= evaluations + 0.01
    assert (told.json["mixing"] is None) == (method not in ("exact", "flow"))
    assert method != "twisted" or 1 <= told.json["effective"] <= samples
    assert "at least" in refused(*asked, "--samples", 1, "--evaluations", 1, "--out", tmp_path / "out")


def test_guidance_is_said_to_follow_no_law(command, refused, digits_run, operator, tmp_path):
    np.save(tmp_path / "y.npy", np.full((1, 1, 8, 8), 3.0))
    asked = ("restore", digits_run, "--operator", operator(), "--measurement", tmp_path / "y.npy", "--method", "ddrm")
    asked = (*asked, "--samples", 1, "--evaluations", 3, "--out", tmp_path / "out")
    plain, guided = (command(*asked, "--label", 3, "--guidance", weight) for weight in (1, 2))
    assert "follows no law" in guided.out + guided.err and "follows no law" not in plain.out + plain.err
    assert "needs a label" in refused(*asked, "--guidance", 2)


@pytest.mark.parametrize("method", [name for name in METHODS if name not in EXACT])
def test_every_method_by_its_name(command, digits_run, operator, tmp_path, method):
    measured = tmp_path / "y.npy"
    np.save(measured, np.full((1, 1, 8, 8), 3.0))
    asked = ("restore", digits_run, "--operator", operator(), "--measurement", measured, "--method", method)
    told = command(*asked, "--samples", 1, "--evaluations", 8, "--out", tmp_path / "out", "--json")
    assert told.code == 0, told.err
    assert told.json["evaluations"] <= 8.01


@pytest.mark.parametrize(
    ("text", "measures"),
    [
        ('operator = { kind = "identity" }', IMAGE),
        ('operator = { kind = "mask", keep = 0.5, seed = 1 }', IMAGE),
        ('operator = { kind = "blur", kernel = "box", size = 3 }', IMAGE),
        ('operator = { kind = "blur", width = 1.5, boundary = "zero" }', IMAGE),
        ('operator = { kind = "average-pool", factor = 4 }', (1, 2, 2)),
        ('operator = { kind = "bicubic", factor = 2 }', (1, 4, 4)),
        ('operator = { kind = "hadamard", count = 20 }', (20,)),
        ('operator = { kind = "ct", views = 5 }', None),
        ('operator = { kind = "ct", views = 5, beam = "fan" }', None),
        ('operator = { kind = "mri", acceleration = 2 }', IMAGE),
        ('operator = { kind = "clip", low = 0, high = 10 }', IMAGE),
        ('operator = { kind = "quantise", levels = 4, low = 0, high = 16 }', IMAGE),
        ('operator = { kind = "phase-retrieval" }', IMAGE),
        ('operator = [{ kind = "blur" }, { kind = "average-pool" }]', (1, 4, 4)),
        ('operator = { kind = "separable-blur", down = [0.2, 0.6, 0.2], across = [0.5, 0.5] }', IMAGE),
        ('operator = { kind = "separable-blur", down = [1, 2], boundary = "periodic" }', IMAGE),
        ('operator = { kind = "colour", matrix = [[0.5], [2.0]] }', (2, 8, 8)),
        ('operator = { kind = "transmission", views = 5, photons = 100, density = 0.01 }', None),
        ('operator = { kind = "fourier" }', IMAGE),
        ('operator = [{ kind = "mri" }, { kind = "scale", factor = 1e-3 }]', IMAGE),
        ('operator = { kind = "jpeg", quality = 50, high = 16 }', IMAGE),
    ],
)
def test_every_operator_by_its_name(operator, tmp_path, text, measures):
    config = read_measurement(operator(text))
    made = build_operator(config, IMAGE, tmp_path)
    assert measures is None or made.y_shape(IMAGE) == measures
    if hasattr(made, "check"):
        assert made.check(IMAGE) < 1e-9


def test_kspace_has_as_many_lines_as_asked_for(tmp_path):
    config = MeasurementConfig.model_validate({"operator": {"kind": "mri", "acceleration": 4.0, "centre": 0.1}})
    made = build_operator(config, (1, 32, 32), tmp_path)
    import torch

    lines = made(torch.randn(1, 1, 32, 32, dtype=torch.float64)).abs().sum((0, 1, 2)) > 0
    assert int(lines.sum()) == 8 and bool(lines[15:17].all())


@pytest.mark.parametrize("width", [5, 8, 9])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_zero_frequency_is_always_measured(tmp_path, width, count):
    """The middle of k-space is at width // 2: an odd number of lines lies evenly around it."""
    section = {"kind": "mri", "acceleration": width / count, "centre": 1.0}
    made = build_operator(MeasurementConfig.model_validate({"operator": section}), (1, 4, width), tmp_path)
    flat = torch.ones(1, 1, 4, width, dtype=torch.float64)
    assert float(made(flat).abs().square().sum()) == pytest.approx(4 * width)
    lines = made(torch.eye(4 * width, dtype=torch.float64).reshape(-1, 1, 4, width)).abs().sum((0, 1, 2)) > 1e-9
    assert lines.nonzero().flatten().tolist() == [width // 2 - count // 2 + i for i in range(count)]


def test_maps_are_not_estimated_from_lines_that_were_not_measured(tmp_path):
    text = {"operator": {"kind": "sense", "acceleration": 2.0, "centre": 0.4, "calibration": 7}}
    y = np.ones((1, 3, 8, 8), complex)
    with pytest.raises(
        UserError, match="from the 7 lines in the middle of k-space, and 3 of them are measured in full"
    ):
        build_operator(MeasurementConfig.model_validate(text), IMAGE, tmp_path, Measured(y))


def test_kernels_and_masks_of_each_item(operator, tmp_path):
    import torch

    kernels, masks = np.random.default_rng(0).normal(size=(3, 1, 3, 2)), np.arange(192).reshape(3, 1, 8, 8) % 3 > 0
    np.save(tmp_path / "k.npy", kernels)
    np.save(tmp_path / "m.npy", masks)
    text = 'operator = [{ kind = "blur", file = "k.npy" }, { kind = "mask", file = "m.npy" }]'
    made = build_operator(read_measurement(operator(text)), IMAGE, tmp_path)
    assert made.items == 3 and made.check(IMAGE) < 1e-9
    x = torch.randn(3, *IMAGE, dtype=torch.float64)
    alone = made.select(torch.tensor([1]))(x[1:2])
    assert torch.allclose(made(x)[1:2], alone) and (made(x)[1][~torch.from_numpy(masks[1])] == 0).all()


def test_kspace_of_several_coils_with_estimated_maps(tmp_path):
    """What the coils saw gives the maps, and where it is not 0 the mask; the picture is what they agree on."""
    import torch

    from pushforward.data.measured import Measured

    at = np.linspace(-1, 1, 32)
    body = (at**2 + at[:, None] ** 2 < 0.7) * (1 + 0.3 * np.cos(3 * at))
    picture = body * np.exp(1j * at[:, None])  # a phase, of which a model of magnitudes knows nothing
    maps = np.stack([np.exp(-((at - a) ** 2 + (at[:, None] - b) ** 2) / 2) for a, b in ((1, 0), (-1, 0), (0, 1))])
    kspace = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(maps * picture, (1, 2)), norm="ortho"), (1, 2))
    mask = (np.arange(32) % 2 == 0) | (np.abs(np.arange(32) - 16) < 6)
    y = (kspace * mask)[None]
    text = {"operator": {"kind": "sense", "file": "measured", "maps": "estimated", "calibration": 11}}
    made = build_operator(MeasurementConfig.model_validate(text), (1, 32, 32), tmp_path, Measured(y))
    found = made.pseudo_inverse(torch.from_numpy(y))[0, 0].numpy()
    truth = body * np.sqrt((maps**2).sum(0))
    inside = at**2 + at[:, None] ** 2 < 0.5
    assert np.abs(found - truth)[inside].max() < 0.15 * truth.max()
    with pytest.raises(UserError, match="takes its mask from the measurement, so that it can restore"):
        build_operator(MeasurementConfig.model_validate(text), (1, 32, 32), tmp_path)


def test_a_volume_is_restored_as_a_volume(command, digits_run, operator, tmp_path):
    import nibabel

    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(np.full((8, 8, 2), 3.0, np.float32), affine), tmp_path / "y.nii.gz")
    text = 'operator = { kind = "identity" }\nnoise = { sigma = [1.0, 2.0] }'
    asked = (
        "restore",
        digits_run,
        "--operator",
        operator(text),
        "--measurement",
        tmp_path / "y.nii.gz",
        "--samples",
        2,
    )
    assert command(*asked, "--method", "ddrm", "--evaluations", 4, "--out", tmp_path / "out").code == 0
    mean, deviation = (nibabel.load(tmp_path / "out" / f"{name}.nii.gz") for name in ("estimate", "deviation"))
    stored = np.load(tmp_path / "out" / "samples.npz")
    assert np.array_equal(mean.affine, affine) and deviation.shape == (8, 8, 2)
    assert np.allclose(np.asarray(mean.dataobj).transpose(2, 1, 0), stored["mean"][:, 0])
    assert (tmp_path / "out" / "deviation.png").exists()


def test_files_of_ones_own(operator, tmp_path):
    np.save(tmp_path / "m.npy", np.eye(64)[:7])
    made = build_operator(read_measurement(operator('operator = { kind = "matrix", file = "m.npy" }')), IMAGE, tmp_path)
    assert made.y_shape(IMAGE) == (7,)
    np.save(tmp_path / "m.npy", np.eye(5))
    with pytest.raises(UserError, match=r"m.npy has the shape \(5, 5\); expected \(measurements, 64\)"):
        build_operator(read_measurement(operator('operator = { kind = "matrix", file = "m.npy" }')), IMAGE, tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('operator = { kind = "blurr" }', "operator"),
        ('operator = { kind = "blur", widht = 2 }', "widht"),
        ('operator = { kind = "blur", width = -1 }', "width"),
        ("noise = { sigma = 1 }", "operator"),
        ('operator = { kind = "identity" }\nnoise = { sigma = -1 }', "sigma"),
        ('operator = { kind = "mask" }', "exactly one of file, keep and hidden"),
        ('operator = { kind = "mask", hidden = [6, 0, 4, 8] }', "does not lie within"),
        ('operator = { kind = "mask", file = "none.npy" }', "cannot be read"),
        ('operator = { kind = "bicubic", factor = 3 }', "multiples"),
        ('operator = { kind = "sense" }', "takes its coil maps from the measurement"),
        ('operator = { kind = "colour", matrix = [[1.0, 2.0]] }', "items have 1 channels"),
        ('operator = { kind = "scale", factor = 0 }', "factor"),
        ('operator = { kind = "identity" }\nnoise = { sigma = [1.0, -2.0] }', "sigma"),
        ('operator = { kind = "identity" }\nnoise = { kind = "laplace" }', "scale of Laplace noise"),
        ('operator = { kind = "blurr" }', "operator is of the kind 'blurr'; did you mean blur?"),
        ('operator = { kind = "blur", sise = 3 }', "no entry operator.sise of kind blur; did you mean size?"),
        ('operator = [{ kind = "blur" }, { kind = "ct", views = 0 }]', "operator.views of kind ct is 0"),
        ('operator = { kind = "hadamard" }', "operator.count of kind hadamard is missing"),
        ("operator = { factor = 2 }", "operator has no kind; possible: identity, mask"),
        ("operator = []", "operator is []: the list should have at least 1 item"),
        ('operator = { kind = "identity" }\nnois = { sigma = 1 }', "no entry nois; did you mean noise?"),
        ('operator = { kind = "identity" }\nnoise = { sigma = [] }', "noise.sigma is []"),
        ('operator = { kind = "identity" }\nnoise = { kind = "poisson", sigma = 1 }', "of kind poisson has no sigma"),
        ('operator = { kind = "identity" }\nnoise = { sigma = 1, peak = 9 }', "of kind gaussian has no peak"),
        ('operator = { kind = "blur", file = "k.npy", size = 5 }', "is given by its file, and size beside it"),
        ('operator = [{ kind = "mri" }, { kind = "clip", low = 0, high = 1 }]', "saturates acts on real items"),
    ],
)
def test_a_wrong_operator_file_is_told_in_a_sentence(refused, digits_run, operator, tmp_path, text, said):
    line = refused("simulate", digits_run, "--operator", operator(text), "-o", tmp_path / "y.npz")
    assert said in line


@pytest.mark.parametrize(
    ("values", "options", "said"),
    [
        (np.zeros((2, 1, 5, 8)), (), "the measurement has the shape (2, 1, 5, 8), and the operator measures (1, 8, 8)"),
        (np.full((1, 8, 8), np.nan), (), "finite"),
        (np.zeros((1, 8, 8), dtype=complex), (), "complex"),
        (np.zeros((1, 8, 8)), ("--method", "ddrn"), "did you mean ddrm"),
        (np.zeros((1, 8, 8)), ("--samples", 0), "at least 1"),
        (np.zeros((1, 8, 8)), ("--evaluations", 0), "at least"),
        (np.array([["a"]]), (), "numbers of a measurement"),
        (np.zeros((1, 8, 8)), ("--label", "eleven"), "no label"),
    ],
)
def test_what_cannot_be_restored_is_refused(refused, digits_run, operator, tmp_path, values, options, said):
    np.save(tmp_path / "y.npy", values)
    asked = ("restore", digits_run, "--operator", operator(), "--measurement", tmp_path / "y.npy")
    assert said in refused(*asked, *options, "--out", tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "value", "said"),
    [
        ('operator = { kind = "clip", low = 0, high = 10 }', 12.0, "outside the operator's range"),
        ('operator = { kind = "quantise", levels = 5, low = 0, high = 16 }', 3.0, "outside the operator's range"),
        ('operator = { kind = "clip", low = 0, high = 10 }\nnoise = { sigma = 0.1 }', 90.0, "differs by 88.9%"),
    ],
)
def test_a_measurement_that_the_operator_cannot_give(refused, digits_run, operator, tmp_path, text, value, said):
    np.save(tmp_path / "y.npy", np.full((1, 8, 8), value))
    asked = ("restore", digits_run, "--operator", operator(text), "--measurement", tmp_path / "y.npy", "--quiet")
    assert said in refused(*asked, "--out", tmp_path / "out")


@pytest.mark.parametrize(
    ("kind", "array", "said"),
    [
        ("blur", np.ones((3, 2, 2)), "a blur by 3 kernels, one per channel, acts on images (3, H, W)"),
        ("blur", np.ones((3, 3)) * 1j, "k.npy holds complex numbers, and a blur has a real kernel"),
        ("matrix", np.ones((3, 64)) * 1j, "k.npy is complex, and items are real"),
        ("matrix", np.array(["a"]), "holds <U1: numbers were expected"),
    ],
)
def test_an_array_that_an_operator_cannot_take(refused, digits_run, operator, tmp_path, kind, array, said):
    np.save(tmp_path / "k.npy", array)
    text = f'operator = {{ kind = "{kind}", file = "k.npy" }}'
    assert said in refused("simulate", digits_run, "--operator", operator(text), "-o", tmp_path / "y.npz")
    assert not (tmp_path / "y.npz").exists()


def test_a_colour_picture_is_not_three_grey_items(refused, digits_run, operator, tmp_path):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "y.png")
    asked = ("restore", digits_run, "--operator", operator(), "--measurement", tmp_path / "y.png")
    assert "has the shape (1, 3, 8, 8)" in refused(*asked, "--out", tmp_path / "out")


def test_a_mask_of_each_row_of_a_table(operator, tmp_path):
    mask = np.array([[1, 1, 0], [0, 1, 1]])
    np.save(tmp_path / "m.npy", mask)
    made = build_operator(read_measurement(operator('operator = { kind = "mask", file = "m.npy" }')), (3,), tmp_path)
    x = torch.arange(1.0, 7.0).reshape(2, 3)
    assert made.items == 2 and torch.equal(made(x), x * torch.from_numpy(mask))
    assert torch.equal(made.select(torch.tensor([1, 1]))(x), x * torch.from_numpy(mask[[1, 1]]))


def test_a_folder_that_cannot_be_written_is_told_before_the_work(refused, digits_run, operator, tmp_path):
    np.save(tmp_path / "y.npy", np.zeros((1, 8, 8)))
    asked = ("restore", digits_run, "--operator", operator(), "--measurement", tmp_path / "y.npy")
    assert "y.npy is a file, and a folder is written" in refused(*asked, "--out", tmp_path / "y.npy")


@pytest.mark.parametrize("dtype", [">f8", ">c16", "u2", "?"])
def test_measurements_of_every_number_format_are_read(tmp_path, dtype):
    values = np.arange(6).reshape(2, 3).astype(dtype)
    np.save(tmp_path / "y.npy", values)
    found = read_measured(tmp_path / "y.npy").y
    assert np.array_equal(found, values) and torch.from_numpy(found).dtype in (torch.float64, torch.complex128)


@pytest.mark.parametrize(
    ("x", "said"), [(np.zeros((5, 3)), "has the shape (5, 3)"), (np.full((1, 8, 8), np.nan), "no finite number")]
)
def test_a_truth_that_is_none_is_not_compared_with(command, digits_run, operator, tmp_path, x, said):
    np.savez(tmp_path / "y.npz", y=np.zeros((1, 1, 8, 8)), x=x)
    asked = ("restore", digits_run, "--operator", operator(), "--measurement", tmp_path / "y.npz")
    told = command(*asked, "--method", "ddrm", "--samples", 1, "--evaluations", 2, "--out", tmp_path / "out")
    assert told.code == 0 and said in told.err
    assert "psnr" not in json.loads((tmp_path / "out" / "restoration.json").read_text())


OWN = """
import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator

rng = np.random.default_rng(0)
matrix = rng.normal(size=(20, 64)) / 8
vectors = LinearOperator((20, 64), matvec=lambda x: matrix @ x, rmatvec=lambda y: matrix.T @ y, dtype=float)
wrong = LinearOperator((20, 64), matvec=lambda x: matrix @ x, rmatvec=lambda y: 1.1 * matrix.T @ y, dtype=float)

def rows(x):
    return x.mean(-1)

class Physics:
    def A(self, x):
        return x.float()[..., ::2]
    def A_adjoint(self, y):
        return torch.stack((y.float(), 0 * y.float()), -1).flatten(-2)

physics = Physics()

def square(x):
    return x**2
"""

LEAVES = "raise SystemExit(3)"


def test_code_that_leaves_is_told_in_a_sentence(refused, digits_run, operator, tmp_path):
    (tmp_path / "leaves.py").write_text(LEAVES)
    given = ("--operator", operator('operator = { kind = "python", file = "leaves.py" }'), "--run-code")
    assert "leaves.py cannot be run: SystemExit: 3" in refused("simulate", digits_run, *given, "-o", tmp_path / "y.npz")


@pytest.fixture
def own(operator, tmp_path):
    """An operator file that names one of the operators above."""
    (tmp_path / "scanner.py").write_text(OWN)
    return lambda name, more="": operator(
        f'operator = {{ kind = "python", file = "scanner.py", name = "{name}"{more} }}\nnoise = {{ sigma = 0.5 }}'
    )


@pytest.mark.parametrize(
    ("name", "more", "shape"),
    [("vectors", "", [3, 20]), ("rows", "", [3, 1, 8]), ("physics", ', precision = "single"', [3, 1, 8, 4])],
)
def test_operators_of_ones_own_measure_and_restore(command, digits_run, own, tmp_path, name, more, shape):
    path, measured = own(name, more), tmp_path / "y.npz"
    said = command("simulate", digits_run, "--operator", path, "--run-code", "-n", 3, "-o", measured, "--json")
    assert said.code == 0 and said.json["shape"] == shape, said.err
    given = ("--operator", path, "--run-code", "--measurement", measured)
    asked = ("restore", digits_run, *given, "--samples", 1, "--out", tmp_path)
    told = command(*asked, "--method", "pigdm", "--evaluations", 4, "--json")
    assert told.code == 0, told.err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "wrong",
            "the adjoint of Function is not its adjoint: ⟨A x, y⟩ and ⟨x, A* y⟩ have a relative error of 9.5e-02",
        ),
        ("square", "is not linear"),
        ("nothing", "makes nothing that is called nothing"),
        ("rng", "an operator is a callable, or has A and A_adjoint"),
    ],
)
def test_a_wrong_operator_of_ones_own_is_told_in_a_sentence(refused, digits_run, own, tmp_path, name, said):
    given = ("--operator", own(name), "--run-code")
    assert said in refused("simulate", digits_run, *given, "-o", tmp_path / "y.npz")
    np.save(tmp_path / "y.npy", np.zeros((1, 20)))
    asked = ("restore", digits_run, *given, "--measurement", tmp_path / "y.npy")
    assert said in refused(*asked, "--out", tmp_path / "out")


@pytest.mark.parametrize(("code", "said"), [("1 +", "SyntaxError"), ("raise OSError('no scanner')", "no scanner")])
def test_code_that_fails_is_told_in_a_sentence(refused, digits_run, own, tmp_path, code, said):
    path = own("operator")
    (tmp_path / "scanner.py").write_text(code)
    assert said in refused("simulate", digits_run, "--operator", path, "--run-code", "-o", tmp_path / "y.npz")


def test_code_that_an_operator_file_names_is_not_run_unasked(refused, digits_run, own, tmp_path):
    path = own("operator")
    (tmp_path / "scanner.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    np.save(tmp_path / "y.npy", np.zeros((1, 20)))
    for asked in (
        ("simulate", "-o", tmp_path / "y.npz"),
        ("restore", "--measurement", tmp_path / "y.npy"),
        ("calibrate",),
    ):
        name, *rest = asked
        assert "asks to run Python code, scanner.py" in refused(name, digits_run, "--operator", path, *rest)
    assert not (tmp_path / "ran").exists()


def test_restoring_needs_a_denoiser(command, refused, operator, tmp_path):
    run = tmp_path / "flow"
    small = ("--set", "model.width=8", "--set", "model.layers=1", "--set", "training.batch_size=16", "--device", "cpu")
    assert command("train", "digits", "--family", "flow", "--steps", 2, "--out", run, *small).code == 0
    np.save(tmp_path / "y.npy", np.zeros(IMAGE))
    assert "denoisers" in refused("restore", run, "--operator", operator(), "--measurement", tmp_path / "y.npy")
