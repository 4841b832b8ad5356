# One command each, on a machine with nothing but Python >= 3.11, make and a network. `make help` lists them.
#
# .venv/.runtime, .venv/.dev and .venv/.docs are stamps: written last, after everything under them is installed, and
# renewed only when pyproject.toml or constraints.txt change. So a repeated command installs nothing and needs no network.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check -q
# What an installation left half-written has no RECORD yet: forgetting it makes pip install it again.
FORGET_HALF_INSTALLED := find $(VENV)/lib -name '*.dist-info' -type d ! -exec test -e '{}/RECORD' ';' -prune -exec rm -rf '{}' +

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-slow lint format docs bench hooks clean

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-18s%s\n", $$1, $$2 }'
	@echo "Another interpreter: make demo PYTHON=python3.12. A smaller torch without CUDA on Linux:"
	@echo "  PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make demo"

demo: $(VENV)/.runtime ## train on real digits, sample, restore, write the report
	@$(BIN)/pushforward demo

test: $(VENV)/.dev ## the tests, on two processes, with coverage
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --cov --cov-report=term:skip-covered --cov-fail-under=90

test-slow: $(VENV)/.dev ## the long checks that `make test` leaves out
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow

lint: $(VENV)/.dev ## style, types, and the order of the folders
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/.dev ## let ruff repair what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(VENV)/.docs ## the guides, the tutorial and the API as HTML that opens offline
	@OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -q -a -b html -d docs/_build/doctrees docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: $(VENV)/.dev ## how each benchmark is run
	@sed -n '/^## How each is run/,/^## /{/^|/p;}' benchmarks/README.md

hooks: $(VENV)/.dev ## run the linters before every commit
	@$(BIN)/pre-commit install

clean: ## remove caches and build outputs (the environment and runs/ stay)
	@rm -rf build dist docs/_build docs/api/generated .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage .coverage.*
	@find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf '{}' +

# An environment whose creation was interrupted has no working pip: it is made anew.
$(VENV)/.created:
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
	  echo "make: '$(PYTHON)' was not found: install Python 3.11 or newer, or name it: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: $$($(PYTHON) --version 2>&1) is too old: pushforward needs 3.11 or newer; name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PIP) --version >/dev/null 2>&1 || { echo "Creating $(VENV)"; $(PYTHON) -m venv --clear $(VENV); }
	@touch $@

# torch first, in a call of its own, so that a CPU build offered by the local pip configuration is taken.
$(VENV)/.runtime: $(VENV)/.created pyproject.toml constraints.txt
	@rm -f $@
	@echo "Installing pushforward and what it needs (once; torch is large)"
	@$(FORGET_HALF_INSTALLED)
	@$(PIP) install -c constraints.txt torch
	@$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	@rm -f $@
	@echo "Installing the development tools (once)"
	@$(FORGET_HALF_INSTALLED)
	@$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@

$(VENV)/.docs: $(VENV)/.runtime
	@rm -f $@
	@echo "Installing what builds the documentation (once)"
	@$(FORGET_HALF_INSTALLED)
	@$(PIP) install -c constraints.txt -e '.[docs]'
	@touch $@
