"""The report as a whole: whole, self-contained, small, and saying what is the case, for every kind of data."""

import ast
import html
import re
import shlex
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from torch import nn

from pushforward.data.sources import load
from pushforward.denoisers import EDMPrediction
from pushforward.errors import PushforwardError, UserError
from pushforward.models.denoising import generator_of
from pushforward.models.diffusion import Diffusion
from pushforward.paths import EDM
from pushforward.paths.times import LogNormalTimes, Stratified
from pushforward.report.column_sections import by_label, closest, denoising, rows_to_read
from pushforward.report.denoising import record
from pushforward.report.evaluation import evaluate_generator
from pushforward.report.restoration import restorations
from pushforward.report.run_report import write_report
from pushforward.report.subject import Subject
from pushforward.report.tiles import Tiler, covered
from pushforward.report.training_sections import duration, loss_series, repeat

from .conftest import kernel_generator

VOID = {"meta", "img"}
LOG = [
    {"step": 10, "loss": 1.0, "seconds": 1.0, "speed": 10.0, "memory": 2**20},
    {"step": 10, "validation": {"model": 1.1, "ema-0.050": 1.2}},
    {"step": 20, "loss": 0.5, "seconds": 125.0, "speed": 12.0, "memory": 2**21},
    {"step": 20, "validation": {"model": 0.9, "ema-0.050": 0.8, "ema-0.100": None}},
]
DESCRIPTION = {
    "config": {
        "data": {"source": "somewhere/<b>"},
        "model": {"path": {"kind": "edm"}, "prediction": "edm", "network": {"width": 8, "multipliers": [1, 2]}},
        "training": {"batch_size": 7, "learning_rate": 0.1, "seed": 5, "steps": 20},
    },
    "data": {"sizes": {"train": 1437, "validation": 180, "test": 180}, "messages": []},
}


class Reader(HTMLParser):
    """Every element is closed in order; titles and text are kept."""

    def __init__(self, html):
        super().__init__()
        self.open, self.titles, self.words, self.pictures = [], [], [], 0
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, name, attributes):
        self.pictures += name == "img"
        if name == "img":
            assert dict(attributes)["alt"]
        if name not in VOID:
            self.open.append(name)

    def handle_startendtag(self, name, attributes):
        pass

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        self.words.append(data)
        if self.open and self.open[-1] == "h2":
            self.titles.append(data)

    @property
    def text(self):
        return " ".join("".join(self.words).split())


class Untrained(nn.Module):
    """A network of one number, for the looks of the page alone."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x, time, label=None):
        return self.weight * x


def untrained(data, conditional=True):
    classes = (data.num_classes or 0) if conditional else 0
    times = Stratified(LogNormalTimes(sigma_data=0.5))
    return generator_of(Diffusion(Untrained(), EDM(), EDMPrediction(0.5), times, data.shape, classes), data.format)


def report(generator, data, folder, log=LOG, description=DESCRIPTION, **options):
    evaluation = evaluate_generator(generator, data, n=options.pop("n", 40), steps=4)
    out = write_report(generator, data, description, log, evaluation, folder / "report.html", run="runs/x", **options)
    html = out.read_text(encoding="utf-8")
    hosts = set(re.findall(r"https?://[^\s\"'<>]+", html)) - {"http://www.w3.org/2000/svg"}
    assert hosts == set()
    assert "<script" not in html
    assert len(re.findall("<title>[^<]+</title>", html.partition("</head>")[0])) == 1
    assert out.stat().st_size < 2_000_000
    return Reader(html)


@pytest.fixture(scope="module")
def page(smooth, digits, tmp_path_factory):
    told = []
    found = report(smooth, digits, tmp_path_factory.mktemp("report"), tell=told.append)
    assert told == found.titles
    return found


def test_a_report_on_images_has_every_part(page):
    assert page.titles == [
        "Real beside generated",
        "Asked for a label",
        "From noise to data",
        "Is it copying?",
        "Restoring what was damaged",
        "The figures",
        "What was trained, and how it went",
        "The data",
        "Time and memory",
        "Do it again",
    ]
    assert page.pictures == 7


@pytest.mark.parametrize(
    "words",
    [
        "1,797 images of 1×8×8 uint8",
        "conditional on 10 labels",
        "width 8, 2 resolutions (1, 2)",
        "train 1 437, validation 180, test 180",
        "20 steps of 7 items, learning rate 0.1, seed 5",
        "2.1 min, 12 steps per second",
        "4 evaluations of the network each",
        "pushforward train 'somewhere/<b>' --steps 20 --seed 5 --out runs/x",
        "label accuracy[svc]",
        "PyTorch",
    ],
)
def test_it_says_what_is_the_case(page, words):
    assert words in page.text


def test_a_table_without_labels_and_without_a_log(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "rows.csv"
    rows = [f"{a:.3f},{int(b)},7" for a, b in zip(rng.normal(size=200), rng.integers(0, 90, 200), strict=True)]
    path.write_text("\n".join(["a<i>,age,same", *rows]))
    data = load(path, test=0.2)
    found = report(untrained(data), data, tmp_path, log=[], description={}, command="do it")
    assert found.titles[:5] == [
        *("Real beside generated", "Rows to read", "From noise to data", "Is it copying?", "The figures")
    ]
    assert "Histogram of a<i>" in found.text
    assert "the first 2 columns that vary are shown, of 3" in found.text.lower()
    assert "There is no training log" in found.text
    assert "the data have no labels" in found.text
    assert "do it" in found.text


def test_rows_to_read_keep_types_and_name_labels():
    rng = np.random.default_rng(0)
    data = load((rng.integers(0, 50, size=(120, 2)), np.array(["cat", "dog"] * 60)), test=0.2)
    generator = kernel_generator(data, 0.2)
    evaluation = evaluate_generator(generator, data, n=40, steps=3)
    html = rows_to_read(Subject(generator, data, {}, [], evaluation, "x")).html(1)
    assert "generated (cat)" in html
    cells = re.findall(r'<td class="pf-num">([^<]*)</td>', html)
    assert len(cells) == 24
    assert all(re.fullmatch(r"−?\d+", cell.replace("-", "−")) for cell in cells)


def cells_of(section):
    return [re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", line) for line in section.html(1).split("<tr>")[2:]]


@pytest.fixture(scope="module")
def rows_subject():
    """Two classes far apart, in columns of very different size; the model repeats training rows exactly."""
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    values = np.stack([labels * 10.0 + rng.normal(size=200), 1e4 * rng.normal(size=200)], 1)
    data = load((values, labels), test=0.2)
    generator = kernel_generator(data, 0.0)
    return Subject(generator, data, {}, [], evaluate_generator(generator, data, n=60, steps=12), "x")


def test_rows_asked_for_a_label_stand_beside_the_real_ones(rows_subject):
    section = by_label(rows_subject)
    assert section is not None
    lines = cells_of(section)
    assert [line[0] for line in lines] == ["0, real", "0, generated", "1, real", "1, generated"]
    means = [float(line[1].split(" ± ")[0].replace("−", "-")) for line in lines]
    assert abs(means[0] - means[1]) < 1 and abs(means[2] - means[3]) < 1 and means[2] - means[0] > 8


def test_copies_of_rows_are_shown_as_copies(rows_subject):
    lines = cells_of(closest(rows_subject))
    assert [line[0] for line in lines[::2]] == ["sample"] * 6
    for sample, near in zip(lines[::2], lines[1::2], strict=True):
        assert float(re.fullmatch(r"nearest, (\S+) away", near[0])[1]) < 0.01
        assert abs(float(sample[1].replace("−", "-")) - float(near[1].replace("−", "-"))) < 0.05


def test_guesses_of_rows_begin_with_the_mean_of_the_label_and_end_in_the_sample(rows_subject):
    lines = cells_of(denoising(rows_subject, moments=5))
    assert lines[0][0] == "1: 80" and lines[5][0] == "1: sample" and lines[6][0] == "2: 80"
    values = [float(line[1].replace("−", "-")) for line in lines]
    assert abs(values[0]) < 0.5 and abs(values[6] - 10) < 0.5
    assert abs(values[4] - values[5]) < 0.5 and abs(values[10] - values[11]) < 0.5


def test_commands_with_a_path_that_needs_quotes_can_be_typed(rows_subject):
    section = repeat(replace(rows_subject, run="my runs/it's"), None)
    shell, python = (html.unescape(part) for part in re.findall(r"<pre>(.*?)</pre>", section.html(1), re.DOTALL))
    assert [shlex.split(line)[2] for line in shell.splitlines()[1:]] == ["my runs/it's"] * 3
    assert ast.literal_eval(re.search(r"pf.load\((.*)\)", python)[1]) == "my runs/it's"
    assert "samples.csv" in shell


def test_tiny_data_are_reported_too(tmp_path):
    data = load(np.random.default_rng(0).random((6, 5, 4)).astype(np.float32), test=0.0)
    found = report(untrained(data), data, tmp_path, n=3)
    assert "Restoring what was damaged" not in found.titles
    assert "could not be scored" in found.text
    assert "items that were trained on" in found.text


def test_large_colour_images_of_noise_make_a_small_page(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, size=(60, 96, 80, 3), dtype=np.uint8)
    data = load((images, np.arange(60) % 3), test=0.34)
    found = report(untrained(data), data, tmp_path, n=36)
    assert found.pictures == 7


def test_a_folder_that_cannot_be_written_is_said(smooth, digits, tmp_path, monkeypatch):
    monkeypatch.setattr("pushforward.report.run_report._sections", lambda *_: iter(()))
    evaluation = replace(evaluate_generator(smooth, digits, n=20, steps=2), scores=None)
    (tmp_path / "file").write_text("")
    with pytest.raises((PushforwardError, UserError), match="file"):
        write_report(smooth, digits, {}, [], evaluation, tmp_path / "file" / "report.html")


def test_a_recording_goes_from_noise_to_the_sample(smooth):
    labels = torch.tensor([3, 4])
    found = record(smooth, labels, 6, 0, 1.0, 2)
    assert len(found.frames) == 6
    ratios = [float(frame.ratio) for frame in found.frames]
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[0] == pytest.approx(80.0)
    assert all(0.3 < float(frame.state.std()) < 0.9 for frame in found.frames)  # the data's own contrast
    error = [float((frame.guess - found.samples).square().mean()) for frame in found.frames]
    assert error[-1] < 0.05 * error[0]
    assert [len(found.chosen(k)) for k in (2, 4, 20)] == [2, 4, 6]
    assert found.chosen(2)[0] is found.frames[0]
    assert found.chosen(2)[1] is found.frames[-1]


def test_restoration_is_better_than_no_model_and_fits_what_was_seen(smooth, digits):
    hidden, blurred = restorations(smooth, digits.train, digits.test, seed=0, steps=20)
    for made in (hidden, blurred):
        assert made.error < made.plain_error
        assert 0.4 < made.stated_error / made.error < 2.5
    seen = ~hidden.hidden
    assert float((hidden.draws - hidden.truth)[..., seen].std()) < 0.2
    assert float(hidden.deviation[..., hidden.hidden].mean()) > 2 * float(hidden.deviation[..., seen].mean())
    again = restorations(smooth, digits.train, digits.test, seed=0, steps=20)
    assert torch.equal(again[0].draws, hidden.draws)


def test_a_model_that_never_met_no_label_is_told_the_label(digits):
    generator = kernel_generator(digits, 0.2, label_dropout=0.0)
    with_label = restorations(generator, digits.train, digits.test, seed=0, steps=10)[0]
    without = restorations(kernel_generator(digits, 0.2), digits.train, digits.test, seed=0, steps=10)[0]
    assert with_label.error < without.error


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(2e-5, "20 µs"), (0.0123, "12 ms"), (1.5, "1.5 s"), (89, "89 s"), (125, "2.1 min"), (7200, "2 h")],
)
def test_durations(seconds, written):
    assert duration(seconds) == written


def test_curves_of_a_log():
    series = loss_series([*LOG, {"step": 30, "loss/a": 1.0, "loss/b": 2.0}])
    named = {(s.name, s.faint, s.dashed): (list(s.x), list(s.y)) for s in series}
    assert named["training", True, False] == ([10, 20], [1.0, 0.5])
    assert named["validation", False, False] == ([10, 20], [1.2, 0.8])
    assert named["validation, raw", False, True] == ([10, 20], [1.1, 0.9])
    assert ("a", True, False) in named
    assert loss_series([]) == []
    raw = loss_series([{"step": 1, "validation": {"model": 1.0, "ema-0.050": 2.0}}])
    assert [(s.name, s.dashed) for s in raw] == [("validation", False)]


def test_tiles_are_small_and_keep_the_range(digits):
    images = np.random.default_rng(0).random((3, 200, 100)).astype(np.float32)
    tiler = Tiler(load(images, test=0.0).format)
    tiles = tiler.of_values(images)
    assert tiles.shape == (3, 64, 32, 1)
    assert tiler.few
    assert abs(float(tiles.mean()) / 255 - images.mean()) < 0.02
    small = Tiler(digits.format).of_values(digits.test.values[:4])
    assert np.array_equal(small[..., 0], np.round(digits.test.values[:4] * 255.0 / 16).astype(np.uint8))
    hidden = np.zeros((8, 8), dtype=bool)
    hidden[4:] = True
    painted = covered(small, hidden)
    assert (painted[:, 4:] == (224, 150, 104)).all()
    assert np.array_equal(painted[:, :4], small[:, :4].repeat(3, -1))
    with pytest.raises(UserError, match="rows of numbers"):
        Tiler(load(np.random.default_rng(0).normal(size=(30, 2))).format).of_values(np.zeros((2, 2)))


def test_restoring_items_one_by_one_or_together_is_the_same(smooth, digits, monkeypatch):
    together = restorations(smooth, digits.train, digits.test, seed=0, steps=5)
    monkeypatch.setattr("pushforward.report.restoration._AT_ONCE", 1)
    alone = restorations(smooth, digits.train, digits.test, seed=0, steps=5)
    for one, other in zip(together, alone, strict=True):
        assert torch.allclose(one.draws, other.draws, atol=1e-3)
        assert one.draws.shape == (12, 5, 1, 8, 8)
