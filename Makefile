# Each target makes what it needs: a virtual environment in .venv and the package in it.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: demo test lint types sanitize clean

demo: $(VENV)/.demo
	$(BIN)/spica demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest --cov=spica --cov-report=term

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
