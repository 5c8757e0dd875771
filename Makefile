# `make demo` runs the main job on the sandbox; `make test` passes the tests. Both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# `make VENV=<folder> …` takes an environment that is there already, and installs nothing into it.
ifeq ($(origin VENV),file)
STAMP := $(VENV)/.installed
endif

.DEFAULT_GOAL := help
.PHONY: help install demo dev test slow browser screenshots soak rehearsal resolve oldest newest bench lint format parity configuration lock clean

help:  ## what there is
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

install: $(STAMP)  ## .venv, and nothing else

ifdef STAMP
# uv where it is there and works, because it takes seconds; plain venv and pip otherwise.
$(STAMP): pyproject.toml sandbox/pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 …"; exit 1; }
	@echo "Installing into $(VENV) (once; a minute or less) …"
	@if command -v uv >/dev/null 2>&1 && \
	  uv venv --quiet --allow-existing --python "$$(command -v $(PYTHON))" $(VENV) && \
	  uv pip install --quiet --python $(BIN)/python -c requirements.lock -e './sandbox[large]' -e '.[dev]'; then :; \
	else \
	  $(PYTHON) -m venv $(VENV) && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e './sandbox[large]' -e '.[dev]'; \
	fi
	@touch $(STAMP)
endif

demo: $(STAMP)  ## the main job, end to end, on the sandbox company
	@$(BIN)/intacct-dagster demo $(ARGS)

dev: $(STAMP)  ## the same in the Dagster UI, at http://127.0.0.1:3000
	@$(BIN)/intacct-dagster dev $(ARGS)

test: lint  ## formatting, types, import contracts, tests
	@$(BIN)/pytest -n 2 --dist worksteal -q -m "not slow"

slow: $(STAMP)  ## the tests that `make test` leaves out, and the random worlds in their dozens
	@INTACCT_WORLDS=60 $(BIN)/pytest -n 2 --dist worksteal -q -m "slow or worlds"

# Playwright drives a Chromium that is installed already; nothing else needs either of them.
BROWSER := $(VENV)/.browser
$(BROWSER): $(STAMP)
	@if command -v uv >/dev/null 2>&1; then \
	  uv pip install --quiet --python $(BIN)/python -c requirements.lock -e '.[browser]'; \
	else $(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[browser]'; fi
	@touch $(BROWSER)

browser: $(BROWSER)  ## what a person sees in the UI, tested in Chromium (which must be installed)
	@$(BIN)/pytest -q -p no:cacheprovider browser

screenshots: $(BROWSER)  ## the same, and keeps the pages as the pictures of the docs
	@SCREENSHOTS=$(CURDIR)/docs/images $(BIN)/pytest -q -p no:cacheprovider browser

soak: $(STAMP)  ## the random worlds in their thousands, and new random examples
	@INTACCT_WORLDS=2000 $(BIN)/pytest -n 2 --dist worksteal -q -m "worlds or hypothesis" --hypothesis-profile=new

rehearsal: $(STAMP)  ## from a fresh clone to the first rows, installed and typed as a person does
	@INTACCT_REHEARSAL=install $(BIN)/pytest -q intacct_dagster_tests/test_rehearsal.py

resolve: $(STAMP)  ## does the package resolve beside other Dagster libraries?
	@$(BIN)/python scripts/check_dependencies.py resolve

oldest: $(STAMP)  ## the tests of what touches Dagster, on the lowest versions allowed
	@$(BIN)/python scripts/check_dependencies.py oldest

newest: $(STAMP)  ## the same on the highest
	@$(BIN)/python scripts/check_dependencies.py newest

bench: $(STAMP)  ## how near extraction is to what is possible (LARGE=1: millions of rows as well)
	@$(BIN)/python benchmarks

lint: $(STAMP)  ## formatting, types, import contracts, words
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python scripts/check_words.py

format: $(STAMP)  ## puts the code in order
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

parity: $(STAMP)  ## writes docs/sandbox-parity.md, what the sandbox simulates
	@$(BIN)/python scripts/sandbox_parity.py

configuration: $(STAMP)  ## writes docs/configuration.md, every key of intacct.yaml
	@$(BIN)/python scripts/configuration_page.py

lock:  ## pins what was tested (needs uv)
	@uv pip compile pyproject.toml sandbox/pyproject.toml --extra dev --extra browser --extra large --upgrade --universal \
	  --python-version 3.11 --no-header --no-annotate --quiet -o requirements.lock

clean:  ## removes what runs and installs left behind
	@rm -rf $(VENV) dist sandbox/dist data .dagster .tmp_dagster_home_* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
