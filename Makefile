# GNU make. Every target does its own set-up: `make test` in a fresh clone is one command.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# -qq: pip prints errors only. `make install PIP_QUIET=` shows all of it.
PIP_QUIET ?= -qq
# With xdist a test goes to whichever core is free; tests marked xdist_group stay together.
PYTEST_ARGS ?= -n auto --dist loadgroup
# Which of the tests on SLURM: the slow ones wait for SLURM's own clocks.
SLURM_TESTS ?= not slow
STUDY ?= config/config.yaml
SOURCES := autotune tests examples docs/gen $(wildcard benchmarks)
# The release of torch that the constraints pin; `make constraints TORCH=torch==X.Y.Z` moves it.
TORCH ?= $(shell sed -n 's/^torch==.*/&/p' constraints.txt)

INSTALLED := $(VENV)/.installed
INSTALLED_TORCH := $(VENV)/.installed-torch
# In the environment the constraints also hold for what pip builds with (older pip reads the first, newer the second).
PIP = PIP_CONSTRAINT="$(CURDIR)/constraints.txt" PIP_BUILD_CONSTRAINT="$(CURDIR)/constraints.txt" \
    $(BIN)/python -m pip install $(PIP_QUIET)
# Programs that the tools start themselves (snakemake starts autotune) come from the virtual environment as well.
RUN := PATH="$(CURDIR)/$(BIN):$$PATH"

# Without the advertisement of its successor; strict (a warning is an error) by mkdocs.yml.
MKDOCS := NO_MKDOCS_2_WARNING=1 mkdocs build

export PIP_DISABLE_PIP_VERSION_CHECK := 1
MAKEFLAGS += --no-print-directory
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help install test test-slurm test-browser check lint fix quickstart docs wheel constraints chaos bench clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: $(INSTALLED) ## virtual environment in .venv with Autotune (editable) and all tools
	@echo "ready: source $(BIN)/activate"

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Autotune needs Python 3.11 or later, got $$($(PYTHON) --version); try make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Installing into $(VENV) (about a minute the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) hatchling editables setuptools # the last builds antlr4, of Hydra
	@$(PIP) --no-build-isolation -e '.[dev]'
	@touch $@

# Apart, because it is large and only some tests need it.
$(INSTALLED_TORCH): $(INSTALLED)
	@echo "Installing $(TORCH), for the tests of attention and of torchrun"
	@$(PIP) $(TORCH)
	@touch $@

test-slurm: $(INSTALLED_TORCH) ## tests on a real SLURM cluster on this machine; SLURM_TESTS="slow or not slow" runs all
	@bash tests/slurm/install.sh
	@$(RUN) python -m pytest tests/slurm -p no:cacheprovider --durations=5 -m "$(SLURM_TESTS)"

test-browser: $(INSTALLED) ## the report of 10,000 trials in Chromium, which is installed where this is root on Debian
	@bash tests/browser/install.sh
	@$(RUN) python -m pytest tests/browser -p no:cacheprovider --durations=3

test: $(INSTALLED_TORCH) ## run the tests; PYTEST_ARGS="-k resume" picks some
	@$(RUN) python -m pytest $(PYTEST_ARGS)

lint: $(INSTALLED) ## all checks but the tests
	@$(RUN) ruff format --check --quiet $(SOURCES) || { echo "ruff format: run make fix"; exit 1; }
	@$(RUN) ruff check --quiet --output-format concise $(SOURCES)
	@echo "ruff          ok"
	@$(RUN) mypy --strict --no-error-summary autotune
	@echo "mypy          ok"
	@$(RUN) lint-imports --no-logo > $(VENV)/import-linter.log || { cat $(VENV)/import-linter.log; exit 1; }
	@echo "import-linter ok"
	@$(RUN) snakefmt --check workflow 2> $(VENV)/snakefmt.log || { cat $(VENV)/snakefmt.log; exit 1; }
	@echo "snakefmt      ok"
	@# In a folder of its own, for snakemake writes .snakemake/ where it stands.
	@folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; $(RUN) snakemake --lint --snakefile workflow/Snakefile \
	    --directory "$$folder" > "$$folder/log" 2>&1 || { cat "$$folder/log"; exit 1; }
	@echo "snakemake     ok"
	@$(RUN) $(MKDOCS) --site-dir $(VENV)/site > $(VENV)/mkdocs.log 2>&1 || { cat $(VENV)/mkdocs.log; exit 1; }
	@echo "mkdocs        ok"

check: lint $(INSTALLED_TORCH) ## all checks: format, lint, types, layers, workflow, tests
	@$(RUN) python -m pytest $(PYTEST_ARGS)

fix: $(INSTALLED) ## format the code, and mend what ruff can mend
	@$(RUN) ruff check --fix-only --quiet $(SOURCES)
	@$(RUN) ruff format --quiet $(SOURCES)
	@$(RUN) snakefmt workflow 2> /dev/null
	@$(RUN) python -c 'import json; from autotune.config import json_schema; print(json.dumps(json_schema(), indent=2))' \
	    > workflow/schemas/study.schema.json

quickstart: $(INSTALLED) ## tune a network on scikit-learn's digits: 32 trials, best against defaults
	@$(RUN) autotune study $(STUDY)
	@$(RUN) python -m examples.digits.compare

docs: $(INSTALLED) ## build the documentation into site/
	@$(RUN) $(MKDOCS) > $(VENV)/mkdocs.log 2>&1 || { cat $(VENV)/mkdocs.log; exit 1; }
	@echo "open site/index.html"

wheel: $(INSTALLED) ## build dist/*.whl
	@rm -rf dist
	@$(RUN) python -m build --wheel --no-isolation --outdir dist . > $(VENV)/build.log 2>&1 || { cat $(VENV)/build.log; exit 1; }
	@ls dist/*.whl

constraints: ## resolve the newest versions anew and pin them in constraints.txt
	@folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	$(PYTHON) -m venv "$$folder/venv"; \
	"$$folder/venv/bin/python" -m pip install $(PIP_QUIET) hatchling editables setuptools $(TORCH); \
	"$$folder/venv/bin/python" -m pip install $(PIP_QUIET) --no-build-isolation -e '.[dev]'; \
	"$$folder/venv/bin/python" -m pip check; \
	{ sed -n '/^#/p' constraints.txt; \
	  "$$folder/venv/bin/python" -m pip freeze --all --exclude pip --exclude-editable | sed -n 's/^\([A-Za-z0-9._-]*==[0-9][^+ ]*\).*/\1/p'; \
	} > "$$folder/pinned"; \
	cp "$$folder/pinned" constraints.txt
	@echo "constraints.txt: $$(grep -c == constraints.txt) packages"

chaos: $(INSTALLED) ## kill 20 studies 200 times, and the other hazards: 10 to 20 minutes
	@AUTOTUNE_CHAOS=1 $(RUN) python -m pytest tests/chaos -s -p no:cacheprovider

bench: $(INSTALLED) ## measure what Autotune costs a trial
	@$(RUN) python benchmarks/overhead.py

clean: ## remove the virtual environment, caches, builds and the quickstart's results
	@rm -rf $(VENV) dist build site .autotune .snakemake .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find $(SOURCES) workflow -name __pycache__ -type d -prune -exec rm -rf {} +
