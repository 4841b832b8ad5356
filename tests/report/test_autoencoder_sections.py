"""The sections on autoencoders: their figures are those of the model, and other families have none."""

from __future__ import annotations

import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pushforward.data.sources import load
from pushforward.models.generator import Generator
from pushforward.models.vae import vae
from pushforward.models.vq import vq
from pushforward.report.autoencoder_sections import autoencoder_sections, busiest, codes, latents, reconstructions
from pushforward.report.scales import number
from pushforward.report.subject import Subject
from pushforward.vae import DiscretisedLikelihood, FullCovariance


def subject_of(model, data):
    return Subject(Generator(model, data.format), data, {}, [], SimpleNamespace(seed=0, n=4), "run")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "rows.csv"
    z = np.random.default_rng(0).normal(size=(200, 3))
    np.savetxt(path, z @ [[1, 2, 0], [0, 1, 1], [3, 0, 1]], delimiter=",", header="a,b,<c>", comments="")
    return load(str(path))


def words(section):
    return section.html(1)


def test_images_show_items_above_their_reconstructions_and_latents_in_rows(digits):
    torch.manual_seed(0)
    model = vae((1, 8, 8), 5, hidden=(16,), likelihood=DiscretisedLikelihood(bins=17), num_classes=10)
    subject = subject_of(model, digits)
    kept, shown, none = autoencoder_sections(subject)
    assert none is None
    x = digits.test.all()
    with torch.no_grad():
        error = (model.reconstruct(x.values, x.labels) - x.values).square().mean().sqrt()
    assert number(float(error)) in words(kept) and "held out" in words(kept)
    page = words(shown)
    assert page.count("<img") == 1 and "5 latents" in page and re.search(r"\d of 5 latents hold more than", page)


def test_tables_show_columns_and_curves(table):
    torch.manual_seed(0)
    kept, shown, _ = autoencoder_sections(subject_of(vae((3,), 2, hidden=(8,)), table))
    assert "&lt;c&gt;" in words(kept) and "<c>" not in words(kept) + words(shown)
    assert words(shown).count("<svg") == 2
    full = latents(subject_of(vae((3,), posterior=FullCovariance(2), hidden=(8,)), table))
    assert words(full).count("<svg") == 1  # its divergence has no parts


def test_codes_are_reconstructed_and_counted_and_have_no_latents(digits):
    torch.manual_seed(0)
    model = vq((1, 8, 8), codes=4, dim=2, width=4, levels=2).eval()
    model.quantiser.codebook.copy_(torch.tensor([[9.0, 9.0], [0.0, 0.0], [-9.0, 9.0], [0.0, -9.0]]))
    subject = subject_of(model, digits)
    assert words(reconstructions(subject)).count("<img") == 1
    assert latents(subject) is None
    x = digits.test.all().values
    used = len(set(model.encode(x).flatten().tolist()))
    cost = -float(model.log_prior(model.encode(x)).detach().mean()) / math.log(2)
    page = words(codes(subject))
    assert f"{used} of 4 codes occur" in page and "4 of 4 codes" in page and number(cost) in page
    assert "; 8 bits if all" in page  # four places of two bits
    assert ("never used" in page) == (used < 2)


def test_other_families_have_no_such_sections(smooth, digits):
    subject = Subject(smooth, digits, {}, [], SimpleNamespace(seed=0, n=4), "run")
    assert list(autoencoder_sections(subject)) == [None, None, None]


def test_busiest_latents_move_most():
    model = vae((4,), 3, hidden=())
    layer = model.encoder.layers[0]
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[0, 0], layer.weight[1, 1], layer.weight[2, 2] = 0.1, 2.0, 1.0
    assert busiest(model, torch.eye(4)) == [1, 2, 0]
