# `make help` lists the targets. PYTHON is the interpreter that the virtual environment is made with,
# SLOW the marks of what test-slow runs.

PYTHON ?= python3
VENV = .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready
LOWEST = .venv-lowest
WITNESS = .venv-witness
WITNESS_NPM = .venv-witness-npm
PYTEST = $(BIN)/python -m pytest -q -n auto --dist worksteal
SLOW ?= slow
PIP = python -m pip install --quiet --disable-pip-version-check

.PHONY: help system venv unit check test test-slow test-full machines test-machines witnesses witnesses-npm lowest demo bench dist audit matrix-waiting matrix clean

help: ## list the targets, with the time that each takes on two cores
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

system: ## install pebble, nginx, HAProxy, Prometheus, openssl and systemd if they are missing (Debian, Ubuntu; 1 min)
	tools/bootstrap

venv: $(READY) ## make the virtual environment, or renew it after a change of its requirements (1 min)

$(READY): setup.py pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/$(PIP) -e '.[test]'
	touch $@

unit: venv ## the tests of each module on its own; needs no other program (30 s)
	$(PYTEST) tests/unit

check: venv ## lint, types, floors, layout and documentation (40 s)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) -m docs

test: system venv ## the tests, without the largest matrices; installs what is missing (20 min)
	$(PYTEST) -m 'not slow and not machines and not witness'

test-slow: system venv ## the largest matrices, 5,000 random histories (45 min of it), each package by itself (70 min)
	$(PYTEST) -m '$(SLOW)'

test-full: system venv ## both of them (90 min)
	$(PYTEST) -m 'not machines and not witness'

machines: system venv ## make the Debian machines of test-machines, once; as root (4 min)
	tools/bootstrap machines
	$(BIN)/python -m tests.machines.roots

test-machines: machines ## check what only a machine with systemd shows; as root (11 min)
	$(PYTEST) tests/machines

witnesses: venv ## let independent clients upload and bind, in an environment of their own (30 s)
	test -x $(WITNESS)/bin/python || $(PYTHON) -m venv $(WITNESS)
	$(WITNESS)/bin/$(PIP) -r tests/witness/requirements.txt
	$(WITNESS)/bin/$(PIP) --no-deps -r tests/witness/requirements-alone.txt
	$(BIN)/python -m pytest -q tests/witness/test_witnesses.py

witnesses-npm: venv ## the same for clients of npm, if node is installed (30 s)
	mkdir -p $(WITNESS_NPM)
	cp tests/witness/package.json tests/witness/package-lock.json $(WITNESS_NPM)
	npm ci --prefix $(WITNESS_NPM) --ignore-scripts --no-audit --no-fund
	$(BIN)/python -m pytest -q tests/witness/test_npm.py

lowest: venv ## the unit tests with the oldest dependencies that setup.py allows (2 min)
	test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(BIN)/python tools/lowest.py > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/$(PIP) -c $(LOWEST)/constraints.txt -e . \
	    apprise hypothesis pytest pytest-timeout pytest-xdist setuptools josepy pyOpenSSL
	$(LOWEST)/bin/python -m pytest -q -n auto --dist worksteal -p no:cacheprovider tests/unit \
	    -W "ignore:CSR support in pyOpenSSL is deprecated:DeprecationWarning" \
	    -W "ignore:X509Extension support in pyOpenSSL is deprecated:DeprecationWarning" \
	    -W "ignore:pkg_resources is deprecated:UserWarning" \
	    -W "ignore:Deprecated call to:DeprecationWarning"

demo: system venv ## issue, deploy, renew and roll back before your eyes, without any account (2 min)
	$(BIN)/python -m tests.sandbox.demo

bench: venv ## measure; prints the tables of docs/performance.md (12 min)
	$(BIN)/python -m benchmarks

dist: venv ## build the source distribution and the wheel (1 min)
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*

audit: venv ## ask whether a dependency has a known vulnerability (1 min)
	$(BIN)/$(PIP) -e '.[package]'
	$(BIN)/python -m pip_audit --skip-editable

matrix-waiting: system venv ## waiting, signals and going back with certbot 2 to 5 (15 min)
	$(BIN)/$(PIP) -e '.[package]'
	$(BIN)/python -m nox -s waiting

matrix: system venv ## all of it, with old and new certbots and Pythons (hours)
	$(BIN)/$(PIP) -e '.[package]'
	$(BIN)/python -m nox

clean: ## remove everything that was made here
	rm -rf $(VENV) $(LOWEST) $(WITNESS) $(WITNESS_NPM) .nox build dist ./*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
