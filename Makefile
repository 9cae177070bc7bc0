# Everything runs in a virtual environment inside the clone; nothing else is needed but Python.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A fresh machine has no compiled caches; installing with them off halves the time.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-slow lint types bench-ledger bench-merf bench-tables clean

demo: $(VENV)/.core
	$(BIN)/python examples/demo.py demo-output

test: $(VENV)/.dev lint types
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n auto --cov=sfumato --cov-report=term:skip-covered

test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

bench-ledger: $(VENV)/.core
	$(BIN)/python benchmarks/ledger_crash.py

bench-merf: $(VENV)/.core
	$(BIN)/python benchmarks/merf.py

bench-tables: $(VENV)/.core
	$(BIN)/python benchmarks/tables.py

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.core
	$(PIP) --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) demo-output build dist .pytest_cache .mypy_cache .ruff_cache .coverage
