# `make test` and `make demo` set up everything they need, a virtual environment included.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TEST_PROCESSES ?= auto
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

# Side by side, a file at a time, each with one thread: most tests wait for a process or a disk.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=$(TEST_PROCESSES) --dist=loadfile

demo: $(READY)
	$(BIN)/byol-a demo --overwrite

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
