"""The guides say what is true: command lines in them can be read, settings exist, links lead somewhere."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from pushforward.cli.main import app
from pushforward.config.family_schema import ModelConfig
from pushforward.config.methods import METHODS
from pushforward.config.operator_schema import MeasurementConfig
from pushforward.config.operators import KINDS
from pushforward.config.presets import PRESETS
from pushforward.config.read import read_config
from pushforward.config.samplers import SAMPLERS
from pushforward.config.schema import Config

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").glob("*.md"))]
IDS = [page.name for page in PAGES]


def command_lines(text: str) -> list[list[str]]:
    """The lines of code blocks that call the program."""
    lines = [line for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    found = [line.removeprefix("$ ") for line in lines if re.match(r"(\$ )?(pushforward|torchrun) ", line)]
    tokens = [shlex.split(line.partition("  #")[0].partition(">")[0]) for line in found]
    return [line[line.index("pushforward") + 1 :] for line in tokens]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_command_lines_can_be_read(page):
    for tokens in command_lines(page.read_text(encoding="utf-8")):
        if "DATA" not in tokens:
            app().parse_args(tokens)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_settings_exist(page):
    text = page.read_text(encoding="utf-8")
    for line in text.splitlines():
        settings = [one for one in re.findall(r"--set ([\w.]+=[^\s`]+)", line) if one != "a.b=c"]
        family = re.search(r"--family (\w+)", line)
        read_config([], [*([f"model={family[1]}"] if family and settings else []), *settings])
    for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL):
        found = tomllib.loads(block)
        MeasurementConfig.model_validate(found) if "operator" in found else read_config([found])


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        missing = not (page.parent / link).exists()
        # written by the demo and by the benchmarks
        assert not missing or link in {"docs/images/demo.png", "benchmarks/RESULTS.md"}, link


def test_every_setting_preset_and_sampler_is_in_the_guide():
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    config = Config().model_dump()
    families = [member.model_fields for member in get_args(get_args(ModelConfig)[0])]
    for names in (config["data"], *families, config["training"]):
        for name in set(names) - {"family"}:
            assert re.search(rf"`{name}[`.]", text), name
    assert all(f"`{name}`" in text for name in (*PRESETS, *SAMPLERS))


def test_every_operator_and_method_is_in_the_guide():
    text = (ROOT / "docs" / "inverse-problems.md").read_text(encoding="utf-8")
    assert [name for name in (*METHODS, *KINDS) if f"`{name}`" not in text] == []
