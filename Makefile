# `make demo` and `make test` are all that a fresh clone needs; the rest is here too.
PYTHON ?= python3
PORT ?= 7663
MINUTES ?= 3
SECONDS ?= 600
TIMES ?= 20
VENV := .venv
BIN := $(VENV)/bin
# Tests outside of tests/endurance that are longer with PDPP_TEST_LONG=1.
LONG_TOO := tests/unit/test_archive.py tests/e2e/test_benchmarks.py tests/e2e/test_browser.py tests/e2e/test_hostile_requests.py tests/integration/test_listings.py tests/integration/test_reconcile.py tests/integration/test_unclaimed_files.py

.PHONY: help setup setup-tests demo run test test-fast test-long lint audit bench bench-parallel real-input real-taps load trial-ha fuzz mutations screenshots sweep check-deploy lock clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

demo: setup ## Open the dashboard on sample data, in a database of its own
	@$(BIN)/pdpp-ref demo --port $(PORT)

run: setup ## Serve your own database
	@$(BIN)/pdpp-ref serve --port $(PORT)

test: setup-tests lint ## Install what the tests need and run all of them
	$(BIN)/pytest -n auto --dist worksteal

test-fast: $(VENV)/.test-installed ## Test on SQLite alone, in half a minute; run it after each edit
	$(BIN)/pytest --fast -q -n auto --dist worksteal tests/unit tests/integration

test-long: setup-tests ## Run property, crash and fuzz tests for two hours or more
	PDPP_TEST_LONG=1 $(BIN)/pytest -n auto tests/endurance $(LONG_TOO)

lint: setup-tests ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

audit: setup ## Check installed packages for known vulnerabilities (needs PyPI)
	@test -x $(VENV)/audit/bin/pip-audit || { $(PYTHON) -m venv $(VENV)/audit && $(VENV)/audit/bin/pip install --quiet --disable-pip-version-check pip-audit; }
	@$(VENV)/audit/bin/pip-audit --strict --disable-pip --require-hashes -r .ci/requirements.txt

bench: setup-tests $(VENV)/.bench-installed ## Measure everything next to raw, in ten minutes; ARGS="--help" lists the options
	@$(BIN)/python -m tests.benchmarks $(ARGS)

bench-parallel: setup-tests ## Measure importers, small writes and reads of several processes at once
	@$(BIN)/python -m tests.benchmarks.parallel

real-input: setup-tests ## Import 336,776 real flights and a Singer tap, export them, and compare
	@$(BIN)/python -m tests.endurance.real_input

real-taps: setup-tests ## Import from real Singer taps, twice, and kill one half-way
	@$(BIN)/python -m tests.endurance.real_taps

load: setup-tests ## Run owners, operators and importers at once, for MINUTES
	@$(BIN)/python -m tests.endurance.load --minutes $(MINUTES)

trial-ha: setup-tests ## Let the primary of a PostgreSQL cluster fail, TIMES times in four ways; needs root
	@$(BIN)/python -m tests.endurance.high_availability --times $(TIMES)

fuzz: setup-tests ## Fuzz the parser of lines for SECONDS
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -e '.[fuzz]'
	@$(BIN)/python -m tests.endurance.fuzz -max_total_time=$(SECONDS)

mutations: setup-tests ## Remove each safeguard from a copy, and check that a test fails
	@$(BIN)/python -m tests.endurance.mutations

screenshots: setup-tests ## Take screenshots of every state of the dashboard
	@$(BIN)/python -m tests.support.screenshots

sweep: setup-tests ## Look for flaws of every page at every width, and with axe; ARGS="--step 40" takes every tenth
	@$(BIN)/python -m tests.support.sweep $(ARGS)

setup: $(VENV)/.installed

setup-tests: $(VENV)/.test-installed
	@$(BIN)/python -m tests.support.tools

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Python's venv module is missing; on Debian: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.installed: pyproject.toml .ci/requirements.txt $(VENV)/pyvenv.cfg
	@echo "Installing pdpp-ref into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .ci/requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.test-installed: .ci/requirements-test.txt $(VENV)/.installed
	@echo "Installing what the tests need ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .ci/requirements-test.txt
	@touch $@

$(VENV)/.bench-installed: .ci/requirements-bench.txt $(VENV)/.installed
	@echo "Installing what the benchmarks need ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .ci/requirements-bench.txt
	@touch $@

check-deploy: setup-tests ## Run the examples in docs/deploy with nginx, Caddy and systemd's checker
	@$(BIN)/python -m tests.support.check_deploy

lock: ## Pin the newest versions that pyproject.toml allows
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes --no-header --no-annotate --no-emit-index-url pyproject.toml --extra build --extra postgres -o .ci/requirements.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes --no-header --no-annotate --no-emit-index-url pyproject.toml --extra build --extra test -o .ci/requirements-test.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes --no-header --no-annotate --no-emit-index-url pyproject.toml --extra bench --constraint .ci/requirements.txt -o .ci/requirements-bench.txt

clean: ## Remove what was installed and generated, but no data
	rm -rf $(VENV) tests/node/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis
