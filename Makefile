# Hourglass: from a clean checkout, `make demo` and `make test` need Python 3.11+ and, for Spark,
# Java 17+; `hourglass doctor` (run by both) says what is missing and how to get it.
#
# pip is told where to look by its own variables: PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_PROXY ...
# constraints.txt pins torch==2.13.0.  Where the registry's build of it is for CUDA, that means
# several GB which a machine without a GPU cannot use: with PyTorch's own registry of CPU builds in
# PIP_EXTRA_INDEX_URL, pip takes 2.13.0+cpu, which the pin accepts.

SHELL := bash
PYTHON ?=
SOURCE ?=
RAW ?=
HOURS ?=
PORT ?= 8080

BIN := .venv/bin
# Airflow and its tasks start further commands by name.
RUN := PATH="$$PWD/$(BIN):$$PATH"
# Nobody is asked before Java is installed in CI; elsewhere `make demo` mends, `make test` only says.
DOCTOR_FIX := $(if $(CI),--fix)

# Files of tests side by side, in their order: the long ones, which come first, would else be last.
# Each process has a Spark of its own, up to 6 GB with what it starts.
MOST := $(shell awk '/^MemTotal/ {n = int($$2 / 6e6); print (n < 1 ? 1 : n > 4 ? 4 : n)}' /proc/meminfo 2>/dev/null)
SIDE_BY_SIDE := -n logical --maxprocesses $(or $(MOST),2) --dist loadfile --no-loadscope-reorder

# The tests start hundreds of processes: none of them compiles what another has compiled.
COMPILED_ONCE := PYTHONDONTWRITEBYTECODE=
OFTEN := HOURGLASS_TEST_KILLS=20 HOURGLASS_TEST_COMMIT_KILLS=40 HOURGLASS_TEST_DELIVERIES=9 \
  HOURGLASS_TEST_EXAMPLES=300 HOURGLASS_TEST_FILES=1000 HOURGLASS_TEST_HISTORIES=50

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-all check docs airflow clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "  make demo SOURCE=name RAW=folder HOURS=n   the demo on a known log (see docs/tutorial.md)"
	@echo "  make airflow PORT=8081                     when 8080 is taken"

venv: ## create .venv with everything installed, once
	@PYTHON='$(PYTHON)' .ci/venv

demo: venv ## the whole loop on one data source, end to end
	$(RUN) hourglass doctor --fix
	$(RUN) hourglass demo $(if $(SOURCE),--source '$(SOURCE)') $(if $(RAW),--raw '$(RAW)') $(if $(HOURS),--hours '$(HOURS)')

test: venv ## doctor, lint, types, layers and all tests
	$(RUN) hourglass doctor $(DOCTOR_FIX)
	@$(MAKE) --no-print-directory check
	$(RUN) $(COMPILED_ONCE) pytest $(SIDE_BY_SIDE) -m 'not nightly'

test-all: venv ## what make test does, and hours of repetition: more kills, deliveries, logs
	$(RUN) hourglass doctor $(DOCTOR_FIX)
	@$(MAKE) --no-print-directory check
	$(RUN) $(COMPILED_ONCE) $(OFTEN) pytest $(SIDE_BY_SIDE)

check: venv ## lint, types and layers only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

docs: .venv/docs ## the documentation as a site, site/index.html; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html; with search: $(BIN)/mkdocs serve"

# What only the site needs is installed for it alone.
.venv/docs: pyproject.toml constraints.txt | venv
	$(BIN)/python -m pip install --disable-pip-version-check --no-input --retries 5 \
	  -c constraints.txt -e '.[docs]'
	@touch $@

airflow: venv ## Airflow with the DAGs, on the lake of the demo
	$(RUN) AIRFLOW__API__PORT='$(PORT)' dags/airflow.sh standalone

clean: ## remove .venv and caches; work/ (the lake and the models) stays
	rm -rf .venv build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
