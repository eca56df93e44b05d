# Two commands on a fresh machine: `make demo` and `make test`. Each installs all it needs into .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint clean

demo: .venv/.runtime
	$(BIN)/python examples/demo.py

test: .venv/.test
	$(BIN)/ruff check src tests examples benchmarks
	$(BIN)/ruff format --check --quiet src tests examples benchmarks
	$(BIN)/mypy
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

lint: .venv/.test
	$(BIN)/ruff check --fix src tests examples benchmarks
	$(BIN)/ruff format src tests examples benchmarks
	$(BIN)/mypy

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.runtime: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

.venv/.test: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[train,video,parquet,transcribe,search,test]"
	touch $@ .venv/.runtime

clean:
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache
