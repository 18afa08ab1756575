# `make test` and `make demo` set up everything they need, a virtual environment included.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := PIP_CONSTRAINT=$(CURDIR)/constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 \
	$(BIN)/python -m pip install --quiet --progress-bar off
READY := $(VENV)/.ready

.PHONY: install test lint demo clean

install: $(READY)

# The constraints hold for the build environment too: nothing about what gets installed is left to chance.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) 'pip==25.2'
	$(PIP) --editable '.[dev]'
	$(BIN)/python -m pip check
	touch $(READY)

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest

demo: $(READY)
	$(BIN)/byol-a demo --overwrite

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
