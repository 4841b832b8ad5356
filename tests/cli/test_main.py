"""What holds for every command: help without torch, one sentence for a mistake, exit codes, the world around."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pushforward
from pushforward.cli import main as module
from pushforward.cli.main import COMMANDS, main
from pushforward.errors import Interrupted, NumericalError, PushforwardError, UserError

PROGRAM = [sys.executable, "-m", "pushforward"]


def start(*argv: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([*PROGRAM, *argv], capture_output=True, text=True, timeout=120, **options)


def test_version(command):
    assert command("--version").out.strip() == pushforward.__version__


def test_help_lists_every_command_and_its_first_sentence(command):
    said = command("--help")
    assert said.code == 0
    for name in COMMANDS:
        assert f" {name} " in said.out
    assert "Exit codes" in said.out and command().out == said.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples_and_the_common_options(command, name):
    said = command(name, "--help")
    assert said.code == 0 and f"pushforward {name}" in said.out.partition("Examples:")[2]
    assert all(option in said.out for option in ("--json", "--quiet", "--debug"))


@pytest.mark.parametrize("argv", [["--help"], *([name, "--help"] for name in COMMANDS), ["--version"]])
def test_help_imports_nothing_heavy(argv):
    code = f"""
import sys
from pushforward.cli.main import main
assert main({argv!r}) == 0
heavy = {{"torch", "numpy", "pydantic", "scipy", "sklearn", "accelerate", "PIL"}} & set(sys.modules)
assert not heavy, heavy
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_the_program_itself_runs_and_refuses(tmp_path):
    assert start("--version").stdout.strip() == pushforward.__version__
    refused = start("info", "nowhere", cwd=tmp_path)
    assert refused.returncode == 2 and refused.stdout == ""
    assert refused.stderr.startswith("error: nowhere is not a run") and refused.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["trian", "digits"], 'Did you mean "train"'),
        (["train", "digits", "--stpes", "3"], "Did you mean --steps"),
        (["train", "digits", "--steps", "three"], "three"),
        (["train"], "DATA"),
        (["train", "digits", "more"], "'more' was not expected"),
        (["sample"], "RUN"),
        (["train", "digits", "--family", "diffusoin"], "diffusion"),
        (["train", "digits", "--preset", "edn"], "there is no preset 'edn'"),
    ],
)
def test_a_command_line_that_cannot_be_read_is_refused_with_the_nearest_name(refused, argv, expected):
    assert expected in refused(*argv)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("no"), 2, "error: no"),
        (PushforwardError("full"), 1, "error: full"),
        (NumericalError("nan"), 3, "error: nan"),
        (Interrupted("Interrupted: saved"), 75, "Interrupted: saved"),
        (Interrupted("Stopped"), 75, "interrupted: Stopped"),
        (PermissionError(13, "Permission denied", "/x"), 1, "error: /x: Permission denied"),
        (KeyboardInterrupt(), 130, "error: stopped"),
        (ZeroDivisionError("oops"), 1, "error: unexpected ZeroDivisionError: oops"),
    ],
)
def test_every_error_has_its_exit_code_and_one_line(command, monkeypatch, error, code, said):
    def failing():
        def call(tokens):
            raise error

        return call

    monkeypatch.setattr(module, "app", failing)
    plain, as_json, debugged = command("x"), command("x", "--json"), command("x", "--debug")
    assert plain.code == code and plain.err.startswith(said) and plain.err.count("\n") == 1 and plain.out == ""
    assert as_json.json["exit_code"] == code and as_json.json["error"]
    assert "Traceback" in debugged.err


def test_a_reader_that_has_seen_enough_is_no_error(small_run):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        ended = subprocess.run([*PROGRAM, "info", str(small_run)], stdout=closed, stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 141 and ended.stderr == ""


def test_argv_defaults_to_that_of_the_process(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pushforward", "--version"])
    assert main() == 0 and capsys.readouterr().out.strip() == pushforward.__version__


def test_doctor_finds_a_good_folder_and_names_a_bad_one(command, refused, tmp_path):
    values = command("doctor", tmp_path, "--json").json
    assert values["pushforward"] == pushforward.__version__ and "read back" in values["disk"]
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    assert "file" in refused("doctor", tmp_path / "file", code=1)
    assert "all is well" in command("doctor", tmp_path).out


def test_only_the_first_of_several_processes_talks(command, monkeypatch, small_run):
    monkeypatch.setenv("RANK", "1")
    said = command("info", small_run, "--json")
    assert said.code == 0 and said.out == said.err == ""


def test_json_is_one_object_on_every_reading_command(command, small_run):
    for argv in (["info", small_run], ["check", "digits"], ["doctor"]):
        said = command(*argv, "--json")
        assert isinstance(json.loads(said.out), dict) and said.out.count("\n") == 1
    assert not Path(".doctor").exists()
