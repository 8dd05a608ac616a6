# `make help` lists the targets. PYTHON is the interpreter that the virtual environment is made with.

PYTHON ?= python3
VENV = .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready
PYTEST = $(BIN)/python -m pytest -q -n auto --dist worksteal

.PHONY: help system venv check test test-slow test-full demo bench dist audit matrix clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

system: ## install pebble, nginx, openssl and systemd where they are missing (Debian, Ubuntu)
	tools/bootstrap

venv: $(READY) ## make the virtual environment, or renew it after a change of its requirements

$(READY): setup.py pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@

check: venv ## lint, types, layout and documentation
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q -m docs

test: system venv ## the tests, without the largest matrices
	$(PYTEST) -m 'not slow'

test-slow: system venv ## the largest matrix alone: every fault at every call of a large account
	$(PYTEST) -m slow tests/test_fault_matrix.py

test-full: system venv ## all tests
	$(PYTEST)

demo: system venv ## issue, deploy, renew and roll back before your eyes, without any account
	$(BIN)/python -m tests.sandbox.demo

bench: venv ## measure
	$(BIN)/python -m benchmarks

dist: venv ## build the source distribution and the wheel
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[package]'
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*

audit: venv ## ask whether a dependency has a known vulnerability
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[package]'
	$(BIN)/python -m pip_audit --skip-editable

matrix: venv ## the tests with old and new certbots and Pythons
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[package]'
	$(BIN)/python -m nox

clean: ## remove everything that was made here
	rm -rf $(VENV) .nox build dist ./*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
