# `make compare` and `make test` work on a fresh clone with Python 3.11+ and make alone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: compare test test-slow check benchmark verdicts readme install clean
.DEFAULT_GOAL := compare

compare: install  ## train the tutorial's study in both frameworks; options: ARGS="--seeds 5"
	$(BIN)/bn-compare run $(ARGS)

test: install  ## the test suite
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow" $(ARGS)

test-slow: install  ## what takes too long for every change
	$(BIN)/pytest -n 2 --dist loadfile -m slow $(ARGS)

benchmark: install  ## clocks of this tool itself: a quarter of an hour
	$(BIN)/pytest tests/benchmarks --benchmark-enable --benchmark-json benchmarks.json $(ARGS)

verdicts: install  ## ports whose right verdict is known: a confusion table, exit 1 if a bound is missed
	$(BIN)/python -m tests.verdicts $(ARGS)

readme: install  ## put the numbers of docs/ into the README
	$(BIN)/cog -P -I docs -r README.md docs/conventions.md

check: install  ## style, types, layers, the numbers of the README
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/cog -P -I docs --check --diff README.md docs/conventions.md

install: $(VENV)/installed  ## a virtual environment in .venv, exact versions from constraints.txt

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
