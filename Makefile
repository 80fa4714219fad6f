# Each target makes what it needs: a virtual environment in .venv and the package in it.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
JOBS   ?= 2

.PHONY: demo test coverage thorough fuzz fuzz-long mutants lint types sanitize clean

demo: $(VENV)/.demo
	$(BIN)/spica demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

# The same, with the lines that no test runs: a third slower.
coverage: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal --cov=spica --cov-report=term

# Property tests with 20 times as many cases; no part of "make test".
thorough: $(VENV)/.dev
	SPICA_TESTS=thorough $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

# Damaged and hostile files and command lines: minutes, or hours, with commands killed while they write.
# What is found is kept in fuzz-found.
fuzz: $(VENV)/.harden
	$(BIN)/python tools/fuzz/run.py --seconds 20

fuzz-long: $(VENV)/.harden
	$(BIN)/python tools/fuzz/run.py --seconds 1200
	$(BIN)/python tools/fuzz/kill.py

# Whether the tests see a changed operator in the arithmetic, the output stage and the mapping: an hour.
mutants: $(VENV)/.harden
	$(BIN)/python tools/mutants.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(shell find native -name '*.?pp')

types: $(VENV)/.dev
	$(BIN)/mypy

sanitize:
	native/tests/sanitize.sh

clean:
	rm -rf $(VENV) build

# Installed anew whenever a source file, native or not, is newer than the installation.
SOURCES := pyproject.toml CMakeLists.txt $(shell find native -type f) $(shell find src -type f -name '*.*' ! -name '*.pyc')

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python $(SOURCES)
	$(BIN)/python -m pip install --quiet '.[demo]'
	touch $@

$(VENV)/.dev: $(VENV)/bin/python $(SOURCES)
	$(BIN)/python -m pip install --quiet '.[dev]'
	touch $@

$(VENV)/.harden: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet '.[harden]'
	touch $@
