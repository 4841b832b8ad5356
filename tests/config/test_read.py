"""Reading configurations: what is written back is what was read, what is wrong is named, whatever the bytes."""

from __future__ import annotations

import json
import tomllib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pushforward.cli.info import as_toml
from pushforward.config.presets import PRESETS, preset
from pushforward.config.read import merge, parse_setting, read_config, read_toml, with_settings
from pushforward.config.schema import Config
from pushforward.errors import UserError

NAMES = st.sampled_from(
    [
        "data",
        "model",
        "training",
        "data.source",
        "model.path",
        "model.path.kind",
        "model.network",
        "model.network.width",
        "training.steps",
        "training.ema_lengths",
        "training.batch_size",
        "model.sigma_data",
        "model",
        "trainin.steps",
        "",
    ]
)
VALUES = st.one_of(st.text(max_size=20), st.integers().map(str), st.floats().map(str), st.just('{"a" = 1}'))


def test_later_layers_win_and_settings_win_over_all(tmp_path):
    (tmp_path / "c.toml").write_text('[model]\nprediction = "v"\n[training]\nsteps = 5\nseed = 3\n')
    layers = [preset("ddpm"), read_toml(tmp_path / "c.toml"), {"training": {"seed": 4}}]
    config = read_config(layers, ["training.seed=5", "training.learning-rate=0.5"])
    assert config.model.path.kind == "ddpm" and config.model.prediction == "v"
    assert (config.training.steps, config.training.seed, config.training.learning_rate) == (5, 5, 0.5)


def test_changing_the_kind_of_a_section_forgets_the_entries_of_the_old_kind():
    config = read_config([{"model": {"path": {"kind": "edm", "sigma_max": 3.0}}}], ["model.path=vp"])
    assert config.model.path.kind == "vp" and not hasattr(config.model.path, "sigma_max")
    in_any_order = read_config([], ["model.network.blocks=1", "model.network=unet"])
    assert in_any_order.model.network.blocks == 1
    assert read_config([], ["model.path.sigma_max=3"]).model.path.sigma_max == 3


@pytest.mark.parametrize(
    ("text", "keys", "value"),
    [
        ("a.b=1", ("a", "b"), 1),
        ("a-b.c=1.5", ("a_b", "c"), 1.5),
        ("a=[1, 2]", ("a",), [1, 2]),
        ("a=word", ("a",), "word"),
        ("a='word'", ("a",), "word"),
        ("a=none", ("a",), None),
        ("a=true", ("a",), True),
        ("a=x=y", ("a",), "x=y"),
        ("a=1\nb = 2", ("a",), "1\nb = 2"),
        ("a=", ("a",), ""),
    ],
)
def test_settings_are_read_as_toml_where_they_are_toml(text, keys, value):
    assert parse_setting(text) == (keys, value)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_valid_and_is_written_back_as_toml(name, tmp_path):
    config = read_config(
        [preset(name)], ["training.clip_norm=none", "training.save_seconds=none", "data.label_column=x"]
    )
    lines = as_toml(config.model_dump(mode="json"), Config().model_dump(mode="json"))
    (tmp_path / "c.toml").write_text("\n".join(lines))
    assert read_config([read_toml(tmp_path / "c.toml")]) == config


def test_an_unknown_preset_names_those_there_are():
    with pytest.raises(UserError, match="flow-matching"):
        preset("flaw")


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"model": {"networks": {}}}, "model.networks is not a setting; did you mean model.network"),
        ({"modle": {}}, "modle is not a setting; did you mean model"),
        ({"zzz": 1}, "possible: data, model, training"),
        ({"model": {"path": {"kind": "vpp"}}}, "possible: .*did you mean"),
        ({"model": {"path": {"kind": "vp", "beta_mix": 1}}}, "model.path.beta_mix is not a setting; did you mean"),
        ({"model": {"path": {"kind": "vp", "beta_min": -1}}}, "model.path.beta_min is -1; it should be greater than 0"),
        ({"training": {"ema_lengths": [0.1, "x"]}}, "training.ema_lengths"),
        ({"training": []}, "training"),
        ({"model": {"network": {"blocks": 2}}}, "model.network.blocks is a setting where model.network.kind is unet"),
        ({"model": {"network": {"kind": "mlp", "blocks": 2}}}, "where model.network.kind is unet"),
        ({"model": {"network": {"kind": "mlp", "blokcs": 2}}}, "possible: kind, width, depth"),
        ({"data": {"validation": 1.5}}, "data.validation"),
    ],
)
def test_what_is_wrong_is_named(entries, said):
    with pytest.raises(UserError, match=said):
        read_config([entries])


def test_merge_is_by_section_and_leaves_its_arguments_alone():
    base, over = {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 5}}
    assert merge(base, over) == {"a": {"b": 5, "c": 2}, "d": 3}
    assert base == {"a": {"b": 1, "c": 2}, "d": 3} and over == {"a": {"b": 5}}
    assert with_settings(base, ["a.b=7"]) == {"a": {"b": 7, "c": 2}, "d": 3}


@given(st.binary(max_size=200))
@example(b"a = " + b"[" * 5000)
@example(b"\xff")
@example(b'[training]\nsteps = "none"')
def test_any_bytes_are_a_configuration_or_one_sentence(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(data)
    try:
        read_config([read_toml(path)])
    except UserError as error:
        assert str(error).strip()


@given(st.dictionaries(NAMES, st.one_of(VALUES, st.integers(), st.booleans(), st.lists(st.integers(), max_size=3))))
def test_any_toml_of_likely_names_is_a_configuration_or_one_sentence(tmp_path_factory, entries):
    lines = [f"{name} = {json.dumps(value)}" for name, value in entries.items() if name]
    path = tmp_path_factory.getbasetemp() / "likely.toml"
    path.write_text("\n".join(lines), encoding="utf-8", errors="replace")
    try:
        read_config([read_toml(path)])
    except UserError as error:
        assert "\n" not in str(error).strip()


@given(st.lists(st.one_of(st.text(max_size=30), st.tuples(NAMES, VALUES).map("=".join)), max_size=3))
@example(["a" + ".a" * 3000 + "=1"])
@example(["model.path={}"])
@example(["training.steps=1\n[x]"])
def test_any_settings_are_a_configuration_or_one_sentence(settings):
    try:
        assert isinstance(read_config([], settings), Config)
    except UserError as error:
        assert str(error).strip()


def test_a_file_that_is_far_too_long_is_not_read(tmp_path):
    (tmp_path / "long.toml").write_bytes(b"#" * (1 << 21))
    with pytest.raises(UserError, match="mebibyte"):
        read_toml(tmp_path / "long.toml")


@pytest.mark.parametrize("data", [b"a = ", b"[a\n", b"a = 1\na = 2", b'x = "\\q"'])
def test_the_line_of_a_mistake_is_named(tmp_path, data):
    (tmp_path / "bad.toml").write_bytes(b"# first\n" + data)
    with pytest.raises(tomllib.TOMLDecodeError) as found:
        tomllib.loads((tmp_path / "bad.toml").read_text())
    with pytest.raises(UserError, match=r"bad\.toml is not valid TOML") as said:
        read_toml(tmp_path / "bad.toml")
    assert str(found.value) in str(said.value)
