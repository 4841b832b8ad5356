"""The loop: what it computes, against a loop written by hand; what it refuses; what it keeps."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
import torch
from small import Batch, Duel, Points, Small, recipe
from torch import nn

from pushforward.errors import Interrupted, NumericalError, PushforwardError, UserError
from pushforward.numerics.dropout import counted
from pushforward.numerics.random import Draws, key, keys
from pushforward.training import (
    Constant,
    Cosine,
    Observer,
    Precision,
    Recipe,
    find_checkpoint,
    fit,
    initialise_from,
    load_weights,
)
from pushforward.training.observers import read_log
from pushforward.training.order import Order
from pushforward.training.place import Place
from pushforward.training.schedule import learning_rate
from pushforward.training.step import Stepper
from pushforward.training.validation import validate


class Notes(Observer):
    def __init__(self):
        self.events, self.ends = [], 0

    def note(self, event):
        self.events.append(event.message)

    def end(self, event):
        self.ends += 1


def losses(run):
    return torch.tensor([entry["loss"] for entry in read_log(run / "metrics.jsonl") if "loss" in entry])


def by_hand(model, items, plan):
    """The same training in plain torch: one process, one objective."""
    optimiser = torch.optim.AdamW(model.parameters(), betas=plan.betas, weight_decay=0.0)
    order, out = Order(plan.seed, len(items), plan.batch_size), []
    for step in range(plan.steps):
        slots = torch.arange(plan.batch_size)
        draws = Draws(keys(key(plan.seed, "train", step), slots), slots).at("loss")
        with counted(draws.at("dropout")):
            value = model.loss("loss", items.batch(order.indices(step)), draws).mean()
        optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), plan.clip_norm)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(plan.learning_rate, plan.schedule, plan.warmup_steps, step, plan.steps)
        optimiser.step()
        out.append(value.detach())
    return torch.stack(out)


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("items", [50, 5])
def test_engine_computes_what_a_plain_loop_computes(tmp_path, items, accumulate):
    plan = recipe(log_every=1, accumulate=accumulate)
    model, plain = Small(), Small()
    for layer in plain.modules():
        layer.train()
    fit(model, Points(items), None, plan, tmp_path, {})
    expected = by_hand(plain, Points(items), plan)
    assert torch.allclose(losses(tmp_path), expected, rtol=1e-5)
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_loss_falls_and_averages_validate(tmp_path, points):
    done = fit(Small(), points, Points(20, 1), recipe(steps=200, validate_every=50), tmp_path, {})
    curve = losses(tmp_path)
    assert curve[-5:].mean() < 0.6 * curve[:2].mean()
    last = find_checkpoint(tmp_path, "last")
    assert set(last.weights) == {"model", "ema-0.050", "ema-0.100"} and done.checkpoint == last.path
    values = {row["step"]: min(row["losses"].values()) for row in last.state["history"]}
    assert done.best.value == min(values.values()) and values[done.best.step] == done.best.value
    assert find_checkpoint(tmp_path).step == done.best.step
    assert find_checkpoint(tmp_path).best_weights == done.best.weights


def test_stored_average_is_what_was_validated(tmp_path, points):
    """The best weights, loaded into a new model, give the stored validation loss again."""
    plan, held = recipe(), Points(20, 1)
    done = fit(Small(), points, held, plan, tmp_path, {})
    model = Small(seed=5)
    assert load_weights(model, find_checkpoint(tmp_path)) == done.best.weights
    from pushforward.numerics.random import permutation

    chosen = permutation(key(plan.seed, "validation order"), 20).repeat(7)[:128]  # few items are met several times
    draws = Draws.of(plan.seed, range(128), "validation").at("loss")
    with torch.no_grad():
        values = model.eval().loss("loss", held.batch(chosen), draws)
    assert abs(float(values.double().mean()) - done.best.value) < 1e-6


def test_few_validation_items_are_met_with_many_noises(points):
    """One item: its loss varies over sets of draws as that of 128 copies of it does, not as that of a single draw."""
    plan, one, many = recipe(batch_size=32), Points(1, 1), Points(1, 1)
    many.values = many.values.repeat(128, 1, 1, 1)

    def spread(items):
        steppers = [
            Stepper(Small(), points, replace(plan, seed=s), Place.find("cpu", plan.precision)) for s in range(9)
        ]
        return torch.tensor([validate(stepper, items)["model"] for stepper in steppers]).std()

    assert spread(one) < 2 * spread(many)


def test_bf16_trains_with_full_precision_weights(tmp_path, points):
    fit(Small(), points, None, recipe(precision=Precision.BF16), tmp_path / "b", {})
    fit(Small(), points, None, recipe(), tmp_path / "f", {})
    assert all(t.dtype == torch.float32 for t in find_checkpoint(tmp_path / "b").tensors("model").values())
    difference = (losses(tmp_path / "b") - losses(tmp_path / "f")).abs().max()
    assert 0 < difference < 0.05


def test_augmentation_is_counted(tmp_path, points):
    def shift(batch, draws):
        return Batch(batch.values + draws.normal((1, 1, 1)))

    for name in ("a", "b"):
        fit(Small(), points, None, recipe(augment=shift), tmp_path / name, {})
    fit(Small(), points, None, recipe(), tmp_path / "c", {})
    assert torch.equal(losses(tmp_path / "a"), losses(tmp_path / "b"))
    assert not torch.equal(losses(tmp_path / "a"), losses(tmp_path / "c"))
    assert find_checkpoint(tmp_path / "a").state["recipe"]["augment"].endswith("shift")


def test_two_objectives_train_only_their_own_parameters(tmp_path, points):
    class Lazy(Duel):
        def loss(self, objective, batch, draws):
            value = super().loss(objective, batch, draws)
            return 0 * value if objective == "critic" else value

    model, before = Lazy(), Lazy()
    fit(model, points, None, recipe(), tmp_path, {})
    assert torch.equal(model.critic.weight, before.critic.weight)
    assert not torch.equal(model.generator.weight, before.generator.weight)
    entry = read_log(tmp_path / "metrics.jsonl")[0]
    assert entry["loss/critic"] == 0 and entry["gradient_norm/critic"] == 0 and entry["gradient_norm/generator"] > 0


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_non_finite_step_is_named_and_nothing_is_saved_after_it(tmp_path, points, where):
    class Breaks(Small):
        def loss(self, objective, batch, draws):
            value = super().loss(objective, batch, draws)
            if self.training and self.calls == 7:
                bias = self.second.bias
                value = value / 0 if where == "loss" else value + (bias - bias.detach()).abs().sqrt()
            self.calls += self.training
            return value

    model = Breaks()
    model.calls = 0
    what = "the loss 'loss'" if where == "loss" else r"the gradient of second\.bias"
    notes = Notes()
    with pytest.raises(NumericalError, match=rf"Step 8: {what}.*step-00000005") as caught:
        fit(model, points, None, recipe(), tmp_path, {}, observers=[notes])
    assert caught.value.exit_code == 3 and notes.ends == 1
    found = find_checkpoint(tmp_path, "last")
    assert found.step == 5
    for group in found.groups:
        assert all(bool(torch.isfinite(t).all()) for t in found.tensors(group).values())


def test_weights_that_are_not_finite_are_never_saved(tmp_path, points):
    class Silent(Small):
        """A buffer goes wrong without the loss noticing."""

        def __init__(self):
            super().__init__()
            self.register_buffer("scale", torch.ones(2))

        def loss(self, objective, batch, draws):
            self.scale += float("inf")
            return super().loss(objective, batch, draws)

    with pytest.raises(NumericalError, match="scale in model is not finite"):
        fit(Silent(), points, None, recipe(), tmp_path, {})
    assert find_checkpoint(tmp_path, "last").step == 0


def test_poisoned_data_stop_at_the_first_step_that_meets_them(tmp_path):
    plan, items = recipe(batch_size=4), Points(50, poison=17)
    first = next(k for k in range(24) if 17 in Order(0, 50, 4).indices(k).tolist())
    with pytest.raises(NumericalError, match=f"Step {first + 1}:"):
        fit(Small(), items, None, plan, tmp_path, {})


def test_a_full_disk_is_an_error_and_the_earlier_checkpoint_is_intact(tmp_path, points, monkeypatch):
    from pushforward.training import storage

    fit(Small(), points, None, recipe(steps=10, schedule=Constant()), tmp_path, {})

    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "write_file", full)
    monkeypatch.setattr("pushforward.training.observers.storage.replace_file", lambda path, data: None)
    with pytest.raises(
        PushforwardError, match=r"step 15 could not be saved .* No space left.*step 10 in .* intact"
    ) as e:
        fit(Small(), points, None, recipe(steps=20, schedule=Constant()), tmp_path, {})
    assert e.value.exit_code == 1
    monkeypatch.undo()
    assert find_checkpoint(tmp_path, "last").step == 10
    assert fit(Small(), points, None, recipe(steps=20, schedule=Constant()), tmp_path, {}).step == 20


def test_a_folder_that_cannot_be_written_is_named(tmp_path, points):
    (tmp_path / "file").write_text("x")
    with pytest.raises(PushforwardError, match="cannot be written"):
        fit(Small(), points, None, recipe(), tmp_path / "file" / "run", {})


@pytest.mark.parametrize(
    "changes, identity, expected",
    [
        ({"learning_rate": 0.5}, {"data": "d"}, r"learning_rate was 0\.01 and now is 0\.5"),
        ({"schedule": Constant()}, {"data": "d"}, r"schedule\.final was 0\.0|schedule\.kind"),
        ({"ema_lengths": (0.1,)}, {"data": "d"}, "ema_lengths"),
        ({}, {"data": "e"}, "data was 'd' and now is 'e'"),
        ({"seed": 1}, {"data": "d"}, "seed was 0 and now is 1"),
        ({"steps": 3}, {"data": "d"}, "taken 10 steps already, more than the 3"),
        ({"steps": None, "minutes": 1.0}, {"data": "d"}, "begun for 10 steps"),
    ],
)
def test_another_recipe_or_other_data_are_refused(tmp_path, points, changes, identity, expected):
    fit(Small(), points, None, recipe(steps=10), tmp_path, {"note": 1}, identity={"data": "d"})
    with pytest.raises(UserError, match=expected):
        fit(Small(), points, None, recipe(**{"steps": 10, **changes}), tmp_path, {"note": 2}, identity=identity)


def test_another_model_is_refused_and_nothing_is_half_loaded(tmp_path, points):
    fit(Small(), points, None, recipe(steps=5), tmp_path, {})
    other = Small(width=9)
    before = [p.clone() for p in other.parameters()]
    with pytest.raises(UserError, match=r"first\.weight has the shape \(6, 1, 3, 3\) instead of \(9, 1, 3, 3\)"):
        fit(other, points, None, recipe(steps=5), tmp_path, {})
    with pytest.raises(UserError, match="do not fit this model"):
        initialise_from(other, find_checkpoint(tmp_path))
    assert all(torch.equal(a, b) for a, b in zip(other.parameters(), before, strict=True))


def test_a_finished_run_is_left_alone_and_can_be_lengthened(tmp_path, points):
    fit(Small(), points, None, recipe(steps=10), tmp_path, {})
    before = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert fit(Small(), points, None, recipe(steps=10), tmp_path, {}).step == 10
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == before
    notes = Notes()
    done = fit(Small(), points, None, recipe(steps=14), tmp_path, {}, observers=[notes])
    assert done.step == 14 and "planned for 10 steps and now has 14" in notes.events[0]


def test_restart_moves_the_earlier_run_aside(tmp_path, points):
    for number in range(3):
        notes = Notes()
        fit(Small(), points, None, recipe(seed=number), tmp_path / "run", {}, restart=True, observers=[notes])
        assert len(notes.events) == (number > 0)
    assert [
        find_checkpoint(tmp_path / f"run{s}").state["recipe"]["seed"] for s in ("", ".previous-1", ".previous-2")
    ] == [2, 0, 1]


def test_the_last_few_and_the_best_are_kept(tmp_path, points):
    plan = recipe(steps=60, save_every=5, keep_last=2, validate_every=4, learning_rate=0.3, schedule=Constant())
    done = fit(Small(), points, Points(20, 1), plan, tmp_path, {})
    steps = [int(p.name[5:]) for p in sorted((tmp_path / "checkpoints").iterdir())]
    assert steps == sorted({55, 60, done.best.step}) or len(steps) == 2
    assert done.best.step in steps


def test_broken_checkpoints_are_skipped_and_set_aside(tmp_path, points):
    fit(Small(), points, None, recipe(), tmp_path, {})
    kept = sorted((tmp_path / "checkpoints").iterdir())
    reference = {n: t.clone() for n, t in find_checkpoint(tmp_path, "last").tensors("model").items()}
    for path in kept[1:]:
        data = bytearray((path / "model.safetensors").read_bytes())
        data[-3] ^= 4
        (path / "model.safetensors").write_bytes(data)
    (tmp_path / "checkpoints" / ".tmp-step-00000030").mkdir()
    assert find_checkpoint(tmp_path, "last").path == kept[0]
    notes = Notes()
    fit(Small(), points, None, recipe(), tmp_path, {}, observers=[notes])
    assert sum("corrupt" in note and "quarantine" in note for note in notes.events) == len(kept) - 1
    assert sorted(p.name for p in (tmp_path / "quarantine").iterdir()) == [p.name for p in kept[1:]]
    again = find_checkpoint(tmp_path, "last").tensors("model")
    assert all(torch.equal(again[n], reference[n]) for n in reference)
    assert not list((tmp_path / "checkpoints").glob(".tmp-*"))


def test_no_intact_checkpoint_is_said_and_nothing_is_begun_silently(tmp_path, points):
    fit(Small(), points, None, recipe(steps=5, keep_last=1), tmp_path, {})
    for path in (tmp_path / "checkpoints").iterdir():
        (path / "manifest.json").unlink()
    for _ in range(2):
        with pytest.raises(PushforwardError, match="none is intact"):
            fit(Small(), points, None, recipe(steps=5), tmp_path, {})
    with pytest.raises(UserError, match="no intact checkpoint"):
        find_checkpoint(tmp_path)
    with pytest.raises(UserError, match="not a run"):
        find_checkpoint(tmp_path / "nowhere")
    with pytest.raises(UserError, match="'newest'"):
        find_checkpoint(tmp_path, "newest")


def test_a_checkpoint_itself_can_be_given(tmp_path, points):
    fit(Small(), points, None, recipe(), tmp_path, {})
    path = sorted((tmp_path / "checkpoints").iterdir())[0]
    assert find_checkpoint(path).path == path


def test_fine_tuning_starts_from_the_weights_alone(tmp_path, points):
    fit(Small(), points, Points(9, 1), recipe(), tmp_path / "a", {})
    model = Small(seed=3)
    source = find_checkpoint(tmp_path / "a")
    assert initialise_from(model, source, "model") == "model"
    assert all(torch.equal(t, source.tensors("model")[n]) for n, t in model.state_dict().items())
    assert fit(model, points, None, recipe(steps=3), tmp_path / "b", {}).step == 3


def test_two_trainers_on_one_folder(tmp_path, points):
    class Second(Observer):
        message = ""

        def start(self, event):
            code = "import sys, pathlib\nfrom pushforward.training.folder import locked\n"
            code += f"with locked(pathlib.Path({str(tmp_path)!r})):\n    pass"
            self.message = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr

    second = Second()
    fit(Small(), points, None, recipe(steps=2), tmp_path, {}, observers=[second])
    assert f"is in use by another training process (number {os.getpid()})" in second.message


def test_minutes_become_steps_once(tmp_path, points):
    class Stop(Observer):
        def step(self, event):
            if event.step == 6:
                os.kill(os.getpid(), signal.SIGINT)

    plan = recipe(steps=None, minutes=0.02)
    model = Small()
    with pytest.raises(Interrupted):
        fit(model, points, Points(8, 1), plan, tmp_path, {}, observers=[Stop()])
    total = find_checkpoint(tmp_path).state["total"]
    assert 6 < total < 5000
    done = fit(model, points, Points(8, 1), plan, tmp_path, {})
    assert done.total == done.step == total
    with pytest.raises(UserError, match=r"0\.02 minutes"):
        fit(model, points, None, recipe(steps=None, minutes=2.0), tmp_path, {})


def test_calibration_leaves_no_trace(tmp_path, points, monkeypatch):
    monkeypatch.setattr("pushforward.training.calibration.statistics.median", lambda times: 1.0)
    fit(Small(), points, None, recipe(steps=None, minutes=9.5 / 60, validate_every=None), tmp_path / "minutes", {})
    total = find_checkpoint(tmp_path / "minutes").state["total"]
    assert total in (8, 9)
    fit(Small(), points, None, recipe(steps=total, validate_every=None), tmp_path / "steps", {})
    a, b = (find_checkpoint(tmp_path / n, "last").tensors("ema-0.050") for n in ("minutes", "steps"))
    assert all(torch.equal(a[n], b[n]) for n in a)


def test_saving_by_time(tmp_path, points):
    seen = []

    class Saves(Observer):
        def checkpoint(self, event):
            seen.append(event.step)

    fit(Small(), points, None, recipe(steps=4, save_every=None, save_seconds=1e-6), tmp_path, {}, observers=[Saves()])
    assert seen == [0, 1, 2, 3, 4]


def test_signals_are_given_back_and_the_second_one_stops_at_once(tmp_path, points):
    class Twice(Observer):
        def step(self, event):
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match="at once") as caught:
        fit(Small(), points, None, recipe(), tmp_path, {}, observers=[Twice()])
    assert caught.value.exit_code == 75
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert find_checkpoint(tmp_path, "last").step == 0


def test_training_in_a_thread(tmp_path, points):
    out = []
    thread = threading.Thread(target=lambda: out.append(fit(Small(), points, None, recipe(steps=3), tmp_path, {})))
    thread.start()
    thread.join()
    assert out[0].step == 3


def test_torchs_switches_are_put_back(tmp_path, points):
    def flags():
        fill = torch.utils.deterministic.fill_uninitialized_memory
        return torch.are_deterministic_algorithms_enabled(), fill, torch.initial_seed(), dict(os.environ)

    before = flags()
    fit(Small(), points, None, recipe(steps=2), tmp_path, {})
    assert flags() == before


def test_models_that_cannot_be_trained_are_named(tmp_path, points):
    class Torch(Small):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout(0.1)

    class Shared(Duel):
        def objectives(self):
            return {"a": self.parameters(), "b": self.critic.parameters()}

    class Mean(Small):
        def loss(self, objective, batch, draws):
            return super().loss(objective, batch, draws).mean()

    for number, (model, expected) in enumerate(
        [
            (Torch(), "drop is torch's own dropout"),
            (Shared(), "critic.weight belongs to two objectives"),
            (Mean(), r"shape \(\); expected one number for each of the 16"),
            (Small().to(torch.bfloat16), r"first\.weight is torch\.bfloat16"),
            (Small().requires_grad_(False), "no parameters to train"),
        ]
    ):
        with pytest.raises(UserError, match=expected):
            fit(model, points, None, recipe(), tmp_path / str(number), {})


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": None}, {"minutes": 1.0}, {"steps": 0}, {"batch_size": 0}, {"batch_size": 2.5},
        {"betas": (0.9, 1.0)}, {"clip_norm": 0.0}, {"ema_lengths": (0.1, 0.1)}, {"ema_lengths": (0.9,)},
        {"steps": None, "minutes": float("inf")}, {"warmup_steps": -1}, {"learning_rate": -1.0}, {"keep_last": 0},
        {"ema_decays": (1.0,)}, {"ema_decays": (0.9, 0.9)},
    ],
)  # fmt: skip
def test_impossible_recipes_are_refused(changes):
    with pytest.raises(UserError):
        recipe(**changes)


def test_devices_that_are_not_there_are_named(tmp_path, points):
    for device, expected in (("cdua", "is not a device"), ("cuda:93", "not available|does not exist")):
        with pytest.raises(UserError, match=expected):
            fit(Small(), points, None, recipe(device=device), tmp_path, {})


def test_the_default_recipe_is_stored_as_plain_values(tmp_path, points):
    fit(Small(), points, None, Recipe(steps=2, device="cpu"), tmp_path, {"model": {"width": 6}})
    state = json.loads((tmp_path / "checkpoints" / "step-00000002" / "state.json").read_text())
    assert state["recipe"]["schedule"] == {"kind": "Cosine", "final": Cosine().final}
    assert state["recipe"]["precision"] == "fp32"
    assert find_checkpoint(tmp_path).config == {"model": {"width": 6}}
    assert find_checkpoint(tmp_path).best_weights == "ema-0.100"
