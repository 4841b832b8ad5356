"""The section on adversarial training: its figures are those of the log, its advice that of the rules."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pushforward.gan import advice
from pushforward.models.gan import GAN
from pushforward.models.generator import Generator
from pushforward.models.vae import vae
from pushforward.report.adversarial_sections import adversarial_sections, game
from pushforward.report.subject import Subject

WELL = {
    "accuracy": 0.61,
    "saturation": 0.02,
    "generator_saturation": 0.03,
    "diversity": 0.97,
    "coverage": 0.96,
    "penalty": 0.01,
}


def log(norm=1.0, **last):
    """Sixty good entries, then twenty with these figures and this norm of the generator's gradient."""
    figures = [WELL] * 60 + [{**WELL, **last}] * 20
    norms = [1.0] * 60 + [norm] * 20
    return [
        {"step": 10 * i + 10, "figures": f, "gradient_norm/discriminator": 2.0, "gradient_norm/generator": n}
        for i, (f, n) in enumerate(zip(figures, norms, strict=True))
    ]


def subject_of(model, data, entries):
    return Subject(Generator(model, data.format), data, {}, entries, SimpleNamespace(seed=0, n=4), "run")


@pytest.fixture(scope="module")
def gan():
    return GAN.of_shape((1, 8, 8), 10, latent=4, width=4)


def test_a_good_game_has_its_figures_and_no_advice(gan, digits):
    page = game(subject_of(gan, digits, log())).html(1)
    assert page.count("<svg") == 2 and "no advice" in page and "<li>" not in page
    for name in ("modes covered", "discriminator saturated", "generator saturated", "gradient norm"):
        assert name in page
    for value in ("0.61", "0.02", "0.03", "0.97", "0.96"):
        assert f">{value}<" in page


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (log(coverage=0.4), "modes are missing"),
        (log(saturation=0.9), "nothing left to learn"),
        (log(norm=100.0), "gradient of the generator has grown to 100"),
    ],
)
def test_what_is_wrong_is_said_on_the_page(gan, digits, entries, words):
    page = game(subject_of(gan, digits, entries)).html(1)
    assert words in page and page.count("<li>") == len(advice(entries)) == 1


def test_a_log_without_figures_and_other_families_have_no_section(gan, digits):
    assert list(adversarial_sections(subject_of(gan, digits, [{"step": 1, "loss/generator": 1.0}]))) == [None]
    assert game(subject_of(vae((1, 8, 8), 2, hidden=(4,)), digits, log())) is None
    none = [{**entry, "figures": {**WELL, "coverage": None}} for entry in log()]
    assert "nan" not in game(subject_of(gan, digits, none)).html(1)
