# `make` regenerates the study on embedded data; `make test` runs the tests. Both set up .venv first.

SHELL := /bin/bash
.DEFAULT_GOAL := study
PYTHON ?= python3.11
CORES ?= all
bin := .venv/bin
# jobs find `python` on the PATH; Flower must not phone home
run := PATH="$(CURDIR)/$(bin):$$PATH" PYTHONPATH=workflow FLWR_TELEMETRY_ENABLED=0

.PHONY: study test fast lint format lock clean litert executorch

study: .venv/installed
	@$(run) $(bin)/python -m autoprune.unlock
	$(run) $(bin)/python -m snakemake --cores $(CORES) --quiet rules host -- all
	@$(run) $(bin)/python -m autoprune.outcome

test: .venv/installed lint
	$(run) $(bin)/python -m pytest

fast: .venv/installed
	$(run) $(bin)/python -m pytest -m "not slow"

lint: .venv/installed
	$(bin)/ruff check workflow tests benchmarks
	$(bin)/ruff format --check workflow tests benchmarks
	$(run) $(bin)/snakefmt --check Snakefile workflow
	$(run) $(bin)/python -m snakemake --lint

format: .venv/installed
	$(bin)/ruff check --fix workflow tests benchmarks
	$(bin)/ruff format workflow tests benchmarks
	$(run) $(bin)/snakefmt Snakefile workflow

.venv/installed: envs/requirements.lock
	$(PYTHON) -m venv .venv
	$(bin)/python -m pip install --quiet --disable-pip-version-check --requirement envs/requirements.lock
	@touch $@

# Extras: more file formats for `deploy: formats` in the configuration.
litert: .venv/installed
	$(bin)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement envs/requirements-litert.txt

executorch: .venv/installed
	$(bin)/python -m pip install --quiet --disable-pip-version-check --requirement envs/requirements-executorch.txt

# Resolve requirements.in anew; a local build tag such as +cpu is no part of a pin.
lock:
	$(PYTHON) -m venv .venv.lock
	.venv.lock/bin/python -m pip install --quiet --requirement envs/requirements.in
	.venv.lock/bin/python -m pip freeze | sed 's/+cpu$$//' > envs/requirements.lock
	rm -rf .venv.lock

clean:
	rm -rf results .snakemake
