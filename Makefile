# `make` regenerates the study on embedded data; `make test` runs the tests. Both set up .venv first.

SHELL := /bin/bash
.DEFAULT_GOAL := study
PYTHON ?= python3.11
CORES ?= all
# envs/requirements-cuda.lock on Linux with an NVIDIA GPU
LOCK ?= envs/requirements.lock
bin := .venv/bin
# jobs find `python` on the PATH; Flower must not phone home
run := PATH="$(CURDIR)/$(bin):$$PATH" PYTHONPATH=workflow FLWR_TELEMETRY_ENABLED=0
# images of containers set it; then no process keeps what it compiled and each compiles torch anew
unexport PYTHONDONTWRITEBYTECODE
# Tests wait for processes that they start: two at a time keep two cores busy. A worker takes whole
# files, whose tests share what they make.
WORKERS ?= 2
workers := --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: study status verify reference archive test test-all fast soak lint format docs findings litert executorch peers lock lock-cuda newest audit clean

study: .venv/installed
	@$(run) $(bin)/python -m autoprune.check.unlock
	@$(run) $(bin)/python -m snakemake --cores $(CORES) --logger study -- all
	@$(run) $(bin)/python -m autoprune.publish.outcome

# Did a number move? The small study of config/ci.yaml against the reference in tests/reference.
verify: .venv/installed
	$(run) $(bin)/python -m snakemake --cores $(CORES) --quiet rules host --configfile config/ci.yaml -- verify

# Make what that study comes to now the reference, and say what changes.
reference: .venv/installed
	$(run) $(bin)/python -m snakemake --cores $(CORES) --quiet rules host --configfile config/ci.yaml -- all
	$(run) $(bin)/python -m autoprune.check.verify --results results/ci --reference tests/reference --record --overwrite

# What the study is doing, from another terminal or later; a study that is not finished is no error.
status: .venv/installed
	@$(run) $(bin)/python -m autoprune.check.status || test $$? -eq 3

# The finished study as one zip; CONFIG names the overlays it was run with: CONFIG=config/ci.yaml
archive: .venv/installed
	@$(run) $(bin)/python -m autoprune.publish.archive --configfile $(CONFIG)

test: .venv/installed lint
	$(run) $(bin)/python -m pytest $(workers) -m "not long and not soak"

# those and the rest: every page of docs/how-to, the benchmarks, kills, whole files of real data
test-all: test
	$(run) $(bin)/python -m pytest $(workers) -m "long and not soak"

fast: .venv/installed
	$(run) $(bin)/python -m pytest $(workers) -m "not slow and not long and not soak"

lint: .venv/installed
	$(bin)/ruff check workflow tests benchmarks examples
	$(bin)/ruff format --check workflow tests benchmarks examples
	PYTHONPATH=workflow $(bin)/lint-imports --no-cache
	$(bin)/mypy
	$(run) $(bin)/snakefmt --check Snakefile workflow
	$(run) $(bin)/python -m snakemake --lint

format: .venv/installed
	$(bin)/ruff check --fix workflow tests benchmarks examples
	$(bin)/ruff format workflow tests benchmarks examples
	$(run) $(bin)/snakefmt Snakefile workflow

# what is made from the workflow itself: config/README.md, the Flower app's settings in
# workflow/pyproject.toml, and the graph in docs/workflow.md
docs: .venv/installed
	$(run) $(bin)/python -m autoprune.study.page
	$(run) $(bin)/python -m autoprune.study.flower_app
	$(run) $(bin)/python -m autoprune.check.rule_graph

# tables and page of the studies under docs/findings, from their metrics
findings: .venv/installed
	$(run) $(bin)/python -m autoprune.check.committed

.venv/installed: $(LOCK)
	$(PYTHON) -m venv .venv
	# compiling every file of every package takes as long as unpacking them: the second line compiles
	# what jobs import, and says at once if a package does not load
	$(bin)/python -m pip install --quiet --disable-pip-version-check --no-compile --requirement $(LOCK)
	$(bin)/python -W ignore -c "import flwr.serverapp, fvcore.nn, pandas, pytest, seaborn, snakemake.cli, torch"
	# and this package's own steps, so that no run waits for its compiler
	@$(run) $(bin)/python -W ignore -c "import autoprune.models.compiled.convolutions, autoprune.models.compiled.residual"
	@touch $@

# Extras: more file formats for `deploy: formats` in the configuration.
litert: .venv/installed
	$(bin)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement envs/requirements-litert.txt

executorch: .venv/installed
	$(bin)/python -m pip install --quiet --disable-pip-version-check --requirement envs/requirements-executorch.txt

# What benchmarks/federation.py compares with, in an environment of its own that sees .venv's packages.
# BlazeFL asks for a newer Python than it needs: see benchmarks/peers.txt.
peers: .venv/installed
	$(bin)/python -m venv .venv.peers
	$(bin)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" > \
		"$$(.venv.peers/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/study.pth"
	.venv.peers/bin/python -m pip install --quiet --disable-pip-version-check --ignore-requires-python --requirement benchmarks/peers.txt

# Resolve requirements.in anew; a local build tag such as +cpu is no part of a pin.
lock:
	$(PYTHON) -m venv .venv.lock
	.venv.lock/bin/python -m pip install --quiet --requirement envs/requirements.in
	.venv.lock/bin/python -m pip freeze | sed 's/+cpu$$//' > envs/requirements.lock
	rm -rf .venv.lock

# The same pins, and those of the libraries for a GPU that torch asks for on Linux (x86-64): resolved
# from what the packages say of themselves, as they are gigabytes.
lock-cuda: .venv/installed
	$(bin)/uv pip compile --quiet --no-header --no-annotate --no-config --only-binary torch \
		--only-binary torchvision --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
		--constraint envs/requirements.lock --output-file envs/requirements-cuda.lock envs/requirements.in

# The newest versions, none older than requirements.in has, instead of the lock: what will break next?
newest:
	$(PYTHON) -m venv .venv
	sed -E 's/==([0-9]+)\.\*$$/>=\1/; s/==/>=/' envs/requirements.in | $(bin)/python -m pip install --quiet --upgrade --requirement /dev/stdin
	@touch .venv/installed

# Hours: kills, thousands of damaged files, thousands of rounds; AUTOPRUNE_SOAK_INPUTS and _KILLS say how many
soak: .venv/installed
	$(run) $(bin)/python -m pytest -s -m soak

# Known vulnerabilities of what the lock file pins; asks PyPI's advisories, so not in make test
audit:
	$(PYTHON) -m venv .venv.audit
	.venv.audit/bin/python -m pip install --quiet pip-audit
	.venv.audit/bin/pip-audit --strict --disable-pip --no-deps --requirement envs/requirements.lock
	rm -rf .venv.audit

clean:
	rm -rf results .snakemake
