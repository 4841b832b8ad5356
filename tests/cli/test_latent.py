"""Latent models through the commands: one command trains both stages, resumes, draws, scores, restores and edits."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

SMALL = ("training.batch_size=16", "model.inner.network.width=8")
KL = (*SMALL, "model.first_stage.width=8", "model.first_stage.steps=3")


def latent(*settings, steps=3):
    parts = [part for setting in settings for part in ("--set", setting)]
    return ("--family", "latent", "--steps", steps, "--device", "cpu", *parts)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "images.npz"
    rng = np.random.default_rng(0)
    np.savez(path, x=rng.integers(0, 17, size=(80, 8, 8), dtype=np.uint8), y=np.arange(80) % 3)
    return path


def test_one_command_trains_both_stages_and_all_others_work_on_them(images, command, refused, tmp_path):
    run = tmp_path / "run"
    trained = command("train", images, *latent(*KL), "--out", run, "--json")
    assert trained.code == 0, trained.err
    first = json.loads((run / "first-stage" / "metrics.jsonl").read_text().splitlines()[-1])
    assert first["step"] == 3
    again = command("train", images, *latent(*KL), "--out", run, "--json")
    assert again.code == 0 and again.json["step"] == 3
    fresh = command("train", images, *latent(*KL, steps=2), "--out", run, "--restart", "--json")
    assert fresh.code == 0 and fresh.json["step"] == 2, fresh.err
    assert (run / "first-stage").exists() and (tmp_path / "run.previous-1" / "first-stage").exists()
    longer = command("train", images, *latent(*KL, steps=4), "--out", run, "--json")
    assert longer.code == 0, longer.err
    out = tmp_path / "some.npz"
    drawn = command("sample", run, "-n", 4, "--label", "2", "--guidance", 2, "--steps", 5, "-o", out, "--json")
    assert drawn.code == 0 and drawn.json["shape"] == [4, 8, 8] and drawn.json["steps"] == 5, drawn.err
    assert command("sample", run, "-n", 2, "--sampler", "ddim", "--steps", 4, "-o", out).code == 0
    assert command("sample", run, "-n", 2, "--sampler", "analytic-ddim", "--steps", 4, "-o", out).code == 0
    assert "first stage 4 channels under KL" in command("info", run).out
    assert "no likelihood" in refused("likelihood", run, "-n", 4)
    assert "denoises their latents" in refused("bound", run, "-n", 4)
    assert "denoises their latents" in refused("sample", run, "-n", 2, "--clip", "-o", out)
    at = ("sample", run, "-n", 2, "--label", "2", "--guidance", 4, "--steps", 4, "-o", out)
    images = [np.load(out)["x"] for part in (("0.1,0.2",), ("0.01,60",)) if command(*at, "--guidance-interval", *part)]
    assert not np.array_equal(*images)
    encoded = command("encode", run, "-n", 5, "-o", tmp_path / "z.npz", "--json")
    assert encoded.code == 0 and encoded.json["shape"] == [5, 4, 4, 4], encoded.err
    page = command("report", run, "-n", 20)
    assert page.code == 0, page.err
    assert "Real beside generated" in (run / "report.html").read_text(encoding="utf-8")


def test_a_sampler_is_tuned_to_the_model_of_latents_and_its_restorations_are_calibrated(
    images, command, tmp_path, monkeypatch
):
    from pushforward import api
    from pushforward.config import calibrating, tuning
    from pushforward.samplers.tuned import OwnGrid, Tuned
    from pushforward.samplers.tuning import Effort

    real, chosen = tuning.fit, Tuned(0.5, 80.0, (2.0, 0.2), (1.0, 1.0, 1.0), ((0.5,), (0.5, 0.2)))
    effort = Effort(starts=16, batch=8, steps=2, reference=4, validation=8, held_out=8)
    seen = []

    def fit(denoiser, *args, **options):
        seen.append(options["shape"])
        found = real(denoiser, *args, **{**options, "effort": effort})
        return replace(found, sampler=found.sampler or chosen)  # judged helpful: the network is of three steps

    monkeypatch.setattr(tuning, "fit", fit)
    run, operator = tmp_path / "run", tmp_path / "op.toml"
    assert command("train", images, *latent(*KL), "--out", run).code == 0
    tuned = command("tune", run, "--evaluations", 2, "--json", "--device", "cpu")
    assert tuned.code == 0 and tuned.json["helps"] and seen == [(4, 4, 4)], tuned.err
    assert isinstance(api.load(run, device="cpu").sampled("a test").usual_sampler(2).grid, OwnGrid)
    drawn = command("sample", run, "--steps", 2, "-n", 2, "-o", tmp_path / "s.npz", "--json")
    assert drawn.code == 0 and drawn.json["tuned"], drawn.err

    monkeypatch.setattr(calibrating, "LEAST", 20)
    monkeypatch.setattr(calibrating, "TRUTHS", 4)
    operator.write_text('operator = { kind = "mask", hidden = [2, 2, 4, 4] }\nnoise = { sigma = 0.5 }\n')
    asked = ("calibrate", run, "--operator", operator, "--data", "train", "-n", 20, "--samples", 19, "--evaluations", 3)
    found = command(*asked, "--json")
    assert found.code == 0 and found.json["items"] == 20, found.err
    assert set(found.json["drawn"]["coverage"]) == set(found.json["true"]["coverage"])


def test_restoration_goes_through_the_decoder_and_tells_what_it_cannot_give(images, command, tmp_path):
    run, operator, measured = tmp_path / "run", tmp_path / "hidden.toml", tmp_path / "measured.npz"
    assert command("train", images, *latent(*KL), "--out", run).code == 0
    operator.write_text('operator = { kind = "mask", hidden = [2, 2, 4, 4] }\nnoise = { sigma = 0.5 }\n')
    simulated = command("simulate", run, "--operator", operator, "--data", "test", "-n", 2, "--out", measured)
    assert simulated.code == 0, simulated.err
    asked = ("restore", run, "--operator", operator, "--measurement", measured, "--samples", 2, "--evaluations", 5)
    found = command(*asked, "--json")
    assert found.code == 0, found.err
    assert found.json["first_stage"] > 0 and np.isfinite(found.json["error"])
    restored = np.load(run / "restored" / "samples.npz")
    assert restored["samples"].shape == (2, 2, 1, 8, 8)


def test_components_have_likelihoods_and_edits_begin_with_items(images, command, refused, tmp_path):
    run = tmp_path / "run"
    pca = ("model.first_stage=pca", "model.first_stage.components=3", *SMALL)
    trained = command("train", images, *latent(*pca), "--out", run)
    assert trained.code == 0, trained.err
    assert not (run / "first-stage").exists()
    scored = command("likelihood", run, "-n", 3, "--own-labels", "--json")
    assert scored.code == 0 and np.isfinite(scored.json["nats"]["mean"]), scored.err
    edited = command(
        "edit", run, "--data", "test", "-n", 3, "--noise", 0.5, "--label", "1", "-o", tmp_path / "e.npz", "--json"
    )
    assert edited.code == 0 and edited.json["shape"] == [3, 8, 8], edited.err
    assert "not below" in refused("edit", run, "--noise", 1e4)
    assert "above 0" in refused("edit", run, "--noise", 0)


def test_a_vae_of_its_own_run_is_a_first_stage_and_other_runs_are_not(images, command, refused, tmp_path):
    stage, run = tmp_path / "vae", tmp_path / "run"
    vae = ("--family", "vae", "--steps", 2, "--device", "cpu", "--set", "model.width=8", "--set", "model.latent=4")
    assert command("train", images, *vae, "--set", "model.conditional=false", "--out", stage).code == 0
    over = ("model.first_stage=run", f"model.first_stage.path={stage}", *SMALL)
    trained = command("train", images, *latent(*over), "--out", run)
    assert trained.code == 0, trained.err
    assert command("likelihood", run, "-n", 2, "--own-labels").code == 0
    again = ("model.first_stage=run", f"model.first_stage.path={run}", *SMALL)
    assert "a run of the family latent" in refused("train", images, *latent(*again), "--out", tmp_path / "other")
    assert "needs model.first_stage.path" in refused("train", images, *latent("model.first_stage=run"))
    told = tmp_path / "told"
    assert command("train", images, *vae, "--out", told).code == 0
    conditional = ("model.first_stage=run", f"model.first_stage.path={told}")
    assert "told none" in refused("train", images, *latent(*conditional), "--out", tmp_path / "another")


def test_flows_and_codes_make_latent_models_too(images, command, tmp_path):
    run = tmp_path / "run"
    settings = ("model.first_stage=vq", "model.first_stage.width=8", "model.first_stage.codes=8",
                "model.first_stage.steps=2", "model.first_stage.adversary=0.5", "model.inner=flow",
                "model.inner.width=8", "model.inner.layers=1", "training.batch_size=16")  # fmt: skip
    trained = command("train", images, *latent(*settings), "--out", run)
    assert trained.code == 0, trained.err
    assert command("sample", run, "-n", 2, "-o", tmp_path / "s.npz").code == 0
    symbols = tmp_path / "symbols"
    settings = ("model.first_stage.width=8", "model.first_stage.codes=8", "model.first_stage.steps=2",
                "model.inner.width=8", "training.batch_size=16")  # fmt: skip
    asked = ("--preset", "latent-discrete", "--steps", 2, "--device", "cpu")
    parts = [part for setting in settings for part in ("--set", setting)]
    trained = command("train", images, *asked, *parts, "--out", symbols)
    assert trained.code == 0, trained.err
    drawn = command("sample", symbols, "-n", 2, "--steps", 3, "--guidance", 2, "-o", tmp_path / "s.npz", "--json")
    assert drawn.code == 0 and drawn.json["shape"] == [2, 8, 8], drawn.err
