"""What holds for the source tree as a whole: nothing unsafe is read, importing changes nothing, the tools agree."""

from __future__ import annotations

import ast
import json
import os
import re
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "pushforward"
SOURCES = sorted(PACKAGE.rglob("*.py"))
BANNED_MODULES = {
    "pickle",
    "cPickle",
    "dill",
    "joblib",
    "shelve",
    "marshal",
    "random",
    "torchvision",
    "pandas",
    "matplotlib",
}
BANNED_CALLS = {"torch.load", "torch.save", "dcp.load", "torch.hub.load", "eval", "exec"}
TORCH_RANDOMNESS = {
    *("torch.randn", "torch.rand", "torch.randint", "torch.randperm", "torch.normal", "torch.multinomial"),
    *("torch.randn_like", "torch.rand_like", "torch.randint_like", "torch.bernoulli", "torch.manual_seed"),
}
GLOBAL_FLAGS = re.compile(r"torch\.(set_default_\w+|set_printoptions|set_num_threads|set_flush_denormal)\(")


def dotted(node: ast.AST) -> str:
    """`a.b.c` of an attribute chain, else what is known of it."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def imported(tree: ast.AST) -> set[str]:
    """The top-level names of every module that is imported, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def unsafe(source: str) -> list[str]:
    """What a file may not do: read pickles, import what is no dependency, draw its own random numbers, set flags."""
    tree = ast.parse(source)
    found = [f"imports {name}" for name in sorted(imported(tree) & BANNED_MODULES)]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        if name in BANNED_CALLS | TORCH_RANDOMNESS or name.startswith(("np.random.", "numpy.random.")):
            found.append(f"calls {name} in line {node.lineno}")
        if any(
            k.arg == "allow_pickle" and not (isinstance(k.value, ast.Constant) and k.value.value is False)
            for k in node.keywords
        ):
            found.append(f"allows pickle in line {node.lineno}")
    return found + [f"sets {match[0]}" for match in GLOBAL_FLAGS.finditer(source)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_source_is_safe(path):
    assert unsafe(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    from torchvision import transforms",
        "torch.load('x', weights_only=True)",
        "dcp.load({})",
        "np.load('x', allow_pickle=True)",
        "z = torch.randn(3)",
        "from random import shuffle",
        "np.random.default_rng(0)",
        "torch.set_default_dtype(torch.float64)",
    ],
)
def test_the_check_above_can_fail(source):
    assert unsafe(source)


def test_every_file_says_what_it_is():
    """A file with code in it opens with a docstring; an empty `__init__` needs none."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert [str(path) for path, tree in trees.items() if tree.body and not ast.get_docstring(tree)] == []


def test_every_folder_has_its_place_in_the_order():
    """import-linter passes silently over a folder it was not told of."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        [contract] = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    units = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    layers = {one for layer in contract["layers"] for one in layer.split(" | ")}
    assert {f"pushforward.{unit}" for unit in units - {"__init__", "__main__"}} == layers


def modules_after(code: str, cwd: Path) -> dict:
    """Run `code` in a new interpreter and an empty folder; what it imported and changed."""
    report = "import json, sys; print(json.dumps({'modules': sorted(sys.modules), 'flags': flags()}))"
    setup = (
        "def flags():\n    import os, random\n    return [os.getcwd(), sorted(os.environ), hash(random.getstate())]\n"
    )
    program = f"{setup}before = flags()\n{code}\nassert flags() == before, 'importing changed the world'\n{report}"
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run([sys.executable, "-c", program], cwd=cwd, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("\n") == 1 and run.stderr == "", "importing printed something"
    return json.loads(run.stdout)


def test_importing_the_package_is_light_and_changes_nothing(tmp_path):
    modules = set(modules_after("import pushforward", tmp_path)["modules"])
    assert not modules & {"torch", "numpy", "scipy", "sklearn", "accelerate", "pydantic", "PIL", "rich", "socket"}
    assert list(tmp_path.iterdir()) == []


def test_every_module_is_imported_without_a_change_of_torchs_flags(tmp_path):
    names = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in SOURCES]
    names = [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]
    code = f"""
import importlib, torch
def state():
    return [torch.get_default_dtype(), torch.is_grad_enabled(), torch.initial_seed(), torch.get_num_threads(),
            torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision(), torch.random.get_rng_state().sum()]
first = state()
for name in {names!r}:
    importlib.import_module(name)
assert state() == first, "importing changed torch"
"""
    program = [sys.executable, "-c", code]
    run = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_constraints_pin_every_dependency_once():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(pin) == 2 and "+" not in pin[1] for pin in pins)
    names = [normalised(name) for name, _ in pins]
    assert len(set(names)) == len(names)
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    wanted += project["optional-dependencies"]["parquet"]
    required = {normalised(re.split(r"[<>=\[]", line)[0]) for line in wanted} - {"pushforward"}
    assert required <= set(names)


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_tests_cannot_reach_the_network():
    with pytest.raises(pytest.fail.Exception, match=r"192\.0\.2\.1"), socket.socket() as s:
        try:
            s.connect(("192.0.2.1", 80))
        except Exception:  # the guard is not caught where code under test swallows errors
            pytest.skip("swallowed")


def test_tests_can_reach_this_machine():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert client.getpeername() == server.getsockname()
