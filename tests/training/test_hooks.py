"""What a model may offer the engine: figures, a schedule, a validation of its own, factors on learning rates."""

from __future__ import annotations

import json
import math

import pytest
import torch
from small import TIMES, Duel, Points, Small, Telling, recipe

from pushforward.errors import Interrupted, UserError
from pushforward.numerics.random import Draws
from pushforward.training import JsonLines, find_checkpoint, fit
from pushforward.training.monitor import Monitor
from pushforward.training.observers import Event, read_log
from pushforward.training.order import Order
from pushforward.training.place import Place
from pushforward.training.step import Stepper, Taken


def entries(run):
    kept = [{k: v for k, v in e.items() if k not in TIMES} for e in read_log(run / "metrics.jsonl")]
    return [e for e in kept if "validation" not in e], [e for e in kept if "validation" in e]


@pytest.mark.parametrize("accumulate", [1, 3])
def test_figures_are_means_over_the_items_of_a_step(tmp_path, points, accumulate):
    plan = recipe(accumulate=accumulate)
    model = Telling()
    fit(model, points, None, plan, tmp_path, {})
    logged, _ = entries(tmp_path)
    order = Order(plan.seed, len(points), plan.batch_size)
    for entry in logged:
        step = entry["step"] - 1
        bright = float(points.values[order.indices(step)].mean())
        assert entry["figures"]["brightness"] == pytest.approx(bright, rel=1e-4, abs=1e-7)
        assert entry["figures"]["progress"] == pytest.approx(step / 24, rel=1e-6)
    assert list(logged[0]["figures"]) == ["brightness", "progress", "weight"]
    assert model.asked == 8 * 2 * accumulate  # at steps that are logged alone


def test_figures_and_schedule_survive_an_interruption(tmp_path, points):
    from test_resume import StopAt

    whole, cut = Telling(), Telling()
    fit(whole, points, Points(20, 1), recipe(), tmp_path / "whole", {})
    plan = recipe()
    with pytest.raises(Interrupted):
        fit(Telling(), points, Points(20, 1), plan, tmp_path / "cut", {}, observers=[StopAt(15)])
    fit(cut, points, Points(20, 1), plan, tmp_path / "cut", {})
    assert entries(tmp_path / "cut") == entries(tmp_path / "whole")
    assert cut.seen == [step / 24 for step in range(15, 24)]
    assert cut.progress == whole.progress


def test_the_last_is_the_best_where_validation_ranks_nothing(tmp_path, points):
    done = fit(Telling(), points, Points(20, 1), recipe(validate_every=4), tmp_path, {})
    _, scored = entries(tmp_path)
    values = [entry["validation"]["model"] for entry in scored]
    assert values == pytest.approx([abs((4 * k - 1) / 24 - 0.4) for k in range(1, 7)], rel=1e-5)
    assert values[-1] > min(values)
    assert done.best is None
    found = find_checkpoint(tmp_path)
    assert found.step == 24 and found.best_weights == "ema-0.100"


def test_a_model_without_hooks_validates_by_its_first_objective(points):
    plan = recipe()
    stepper = Stepper(Duel(), points, plan, Place.find("cpu", plan.precision))
    draws = Draws.of(0, range(4))
    batch = points.batch(torch.arange(4))
    assert torch.equal(stepper.loss(batch, draws), stepper.model.loss("critic", batch, draws.at("critic")))


def test_factors_move_one_objective_alone(tmp_path, points):
    plan = recipe(steps=1, warmup_steps=0, betas=(0.0, 0.0), clip_norm=None)
    start = {k: v.clone() for k, v in Duel().state_dict().items()}
    moved = {}
    for name, rates in (("even", {}), ("slow", {"critic": 0.25})):
        model = Duel()
        fit(model, points, None, recipe(**{**vars(plan), "rates": rates}), tmp_path / name, {})
        moved[name] = {k: float((v - start[k]).norm()) for k, v in model.state_dict().items()}
    assert moved["slow"]["critic.weight"] == pytest.approx(0.25 * moved["even"]["critic.weight"], rel=1e-4)
    # Signs of gradients are all that Adam without memory sees of the critic that has moved less.
    assert moved["slow"]["generator.weight"] > 0.8 * moved["even"]["generator.weight"]


def test_a_factor_for_no_objective_is_refused(tmp_path, points):
    with pytest.raises(
        UserError, match="rates names 'discriminator'; the objectives of this model are critic, generator"
    ):
        fit(Duel(), points, None, recipe(rates={"discriminator": 2.0}), tmp_path, {})
    with pytest.raises(UserError, match=r"rates\['critic'\] is 0"):
        recipe(rates={"critic": 0.0})


def test_a_run_from_before_a_setting_existed_goes_on(tmp_path, points):
    fit(Small(), points, None, recipe(steps=6), tmp_path, {})
    for path in (tmp_path / "checkpoints").iterdir():
        forget(path, "rates")
    assert fit(Small(), points, None, recipe(steps=9), tmp_path, {}).step == 9
    with pytest.raises(UserError, match="learning_rate was"):
        fit(Small(), points, None, recipe(steps=9, learning_rate=0.5), tmp_path, {})


def forget(path, setting):
    """Write a checkpoint's state again without a setting of its recipe, with the right hashes."""
    from pushforward.training import storage

    files = {p.name: p.read_bytes() for p in path.iterdir() if p.name != storage.MANIFEST}
    state = json.loads(files["state.json"])
    del state["recipe"][setting]
    files["state.json"] = storage.as_json(state)
    storage.discard(path)
    storage.write_folder(path, files)


def test_a_figure_that_is_not_finite_is_nothing_in_the_log(tmp_path, points):
    plan = recipe()
    place = Place.find("cpu", plan.precision)
    monitor = Monitor(Stepper(Small(), points, plan, place).objectives, place)
    one = torch.ones(())
    monitor.record(1, [Taken(one, torch.ones(3), {"a": one * math.inf, "b": 2 * one})])
    assert monitor.figures() == {"a": None, "b": 2.0}
    log = JsonLines(tmp_path / "metrics.jsonl")
    log.step(Event(2, 10, figures=monitor.figures()))
    assert read_log(log.path)[0]["figures"] == {"a": None, "b": 2.0}
    monitor.clear()
    assert monitor.figures() == {}
