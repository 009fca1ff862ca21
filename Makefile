# Everything a developer runs; `make` alone lists it. Each target makes what it needs: Python 3.11 and a package index are enough.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.SUFFIXES:

PYTHON ?= $(shell python3.11 -c "" 2>/dev/null && echo python3.11 || echo python3)
BIN    := .venv/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check
SEEDS  ?= 1000000
ARGS   ?=

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: venv
venv: .venv/.dev ## .venv with the library and everything a developer needs

.PHONY: demo
demo: .venv/.core ## run examples/code_search
	$(BIN)/python examples/code_search/demo.py $(ARGS)

.PHONY: test
test: .venv/.dev ## all tests (ARGS="-k name" to choose)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

.PHONY: check
check: .venv/.dev ## what must pass before a commit: format, lint, types, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright --warnings
	@# --verifytypes asks the python on PATH, not pyproject.toml
	PATH="$(CURDIR)/$(BIN):$$PATH" pyright --verifytypes zpatterns --ignoreexternal
	$(MAKE) --no-print-directory covered
	$(MAKE) --no-print-directory test

.PHONY: format
format: .venv/.dev ## put the code in shape
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

.PHONY: simulate
simulate: .venv/.dev ## whole systems under seeded faults (SEEDS=1000000)
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) $(ARGS)

.PHONY: interop
interop: .venv/.dev ## peers of other makes: majortomo (PyPI), zeromq (npm, if node is there)
	$(PIP) majortomo six figcan pyyaml
	@command -v npm >/dev/null && cd tests/interop/node && npm install --silent --no-audit --no-fund || echo 'npm is missing: without node peers'
	$(BIN)/python -m pytest tests/interop $(ARGS)

.PHONY: chaos
chaos: .venv/.dev ## real processes killed, stopped and cut off, on real sockets
	$(BIN)/python -m tests.chaos $(ARGS)

.PHONY: pgm
pgm: ## publish/subscribe over multicast, with a libzmq that has it, in a network of its own
	.ci/pgm

.PHONY: bench
bench: .venv/.bench ## figures of PERFORMANCE.md, beside other libraries, on this machine
	$(BIN)/python -m benchmarks $(ARGS)

.PHONY: coverage
coverage: .venv/.dev ## tests with line and branch coverage
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# The rooms without I/O are covered by their own tests alone, branch by branch.
PURE       := zpatterns/core/*,zpatterns/wire/*,zpatterns/codec/*,zpatterns/contract.py,zpatterns/endpoint.py,zpatterns/envelope.py,zpatterns/errors.py,zpatterns/policy.py
PURE_TESTS := tests/core tests/wire tests/codec tests/test_contract.py tests/test_endpoint.py tests/test_envelope.py tests/test_errors.py tests/test_policy.py

.PHONY: covered
covered: .venv/.dev ## every branch of core, wire, codec and the like, by their own tests
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(PURE_TESTS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --include='$(PURE)' --fail-under=100

.PHONY: clean
clean: ## remove .venv and everything that was made
	rm -rf .venv .venv-pgm .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.* dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: pip runs again only when pyproject.toml has changed. The larger set makes the smaller ones up to date.
.venv/.core: pyproject.toml | .venv/.made
	$(PIP) -e .
	@touch $@

.venv/.dev: pyproject.toml | .venv/.made
	$(PIP) -e '.[dev]'
	@touch .venv/.core $@

.venv/.bench: pyproject.toml | .venv/.made
	$(PIP) -e '.[bench]'
	@touch .venv/.core .venv/.dev $@

# Debian leaves ensurepip out of python3: a pip that is there may then help, else say which package to install.
.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'zpatterns needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ...' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null && $(PYTHON) -m venv .venv \
		|| { $(PYTHON) -m venv --without-pip .venv && $(PYTHON) -m pip --quiet --python .venv/bin/python install pip; } 2>/dev/null \
		|| { echo 'This Python cannot make a virtual environment. On Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	@touch $@
