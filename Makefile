# `make compare` and `make test` work on a fresh clone with Python 3.11+ and make alone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: compare test check install clean
.DEFAULT_GOAL := compare

compare: install  ## train the tutorial's study in both frameworks; options: ARGS="--seeds 5"
	$(BIN)/bn-compare run $(ARGS)

test: install  ## the test suite
	$(BIN)/pytest -n 2 $(ARGS)

check: install  ## style, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

install: $(VENV)/installed  ## a virtual environment in .venv, exact versions from constraints.txt

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
