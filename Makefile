# make demo    run the example on a local cluster
# make test    run the tests
# make lint    check style and types
# make docs    build the documentation as a site, into build/docs
# make venv    make the environment that the others use, in $(VENV)
# make bench   run the benchmarks (benchmarks/README.md): results in $(DATA)/bench
# make clean   delete what the others made, but not data and results of benchmarks
#
# PYTHON=python3.12  the Python to make the environment with: 3.11 or newer
# VENV=.venv         where the environment is
# DATA=data          where the example keeps its data
# WORKERS=2          processes that run tests
#
# for make bench:
# SCALE=1            scale of TPC-H; or several, as 1,10
# QUERIES=all        which: 1,3,5-8 of TPC-H, g1 to g10 and j1 to j5 of h2o, names of micro-benchmarks, tpch, h2o, micro
# ENGINES=           which: dask_polars, DaskEngine, polars, dask.dataframe, duckdb; all without it
# REPEAT=3           runs of each query on each engine
# MEMORY=auto        memory of each worker process, as 4GB
# BENCH_ARGS=        further arguments of python -m benchmarks

PYTHON ?= python3
VENV ?= .venv
DATA ?= data
WORKERS ?= 2
SCALE ?= 1
QUERIES ?= all
ENGINES ?=
REPEAT ?= 3
MEMORY ?= auto

# Tests start many processes: each of them reads modules that are compiled, also where the environment would have it otherwise.
export PYTHONDONTWRITEBYTECODE :=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test lint docs venv bench clean

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

# The environment is made by the first Python that is new enough. A name on the PATH need not run, so each is tried.
# What is installed is compiled on all cores, which pip does on one; some packages have templates that are no Python.
$(STAMP): pyproject.toml
	@set -e; \
	new_enough='import sys; sys.exit(sys.version_info < (3, 11))'; \
	found=; \
	for python in "$(PYTHON)" python3.13 python3.12 python3.11 python3 python; do \
	    if "$$python" -c "$$new_enough" >/dev/null 2>&1; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "Python 3.11 or newer was not found: install it, or name it with make PYTHON=/path/to/python" >&2; exit 1; \
	fi; \
	if ! "$(BIN)/python" -c "$$new_enough" >/dev/null 2>&1; then \
	    echo "Making $(VENV) with $$found ($$("$$found" --version))"; \
	    if [ -f "$(VENV)/pyvenv.cfg" ]; then clear=--clear; else clear=; fi; \
	    "$$found" -m venv $$clear "$(VENV)" >/dev/null 2>&1 || "$$found" -m venv --without-pip "$(VENV)"; \
	fi; \
	echo "Installing dask_polars and what it needs into $(VENV)"; \
	export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1; \
	if "$(BIN)/python" -m pip --version >/dev/null 2>&1; then \
	    "$(BIN)/python" -m pip install --quiet --no-compile --editable '.[dev]'; \
	else \
	    "$$found" -m pip --python "$(BIN)/python" install --quiet --no-compile --editable '.[dev]'; \
	fi; \
	"$(BIN)/python" -m compileall -qq -j 0 "$(VENV)" || true; \
	touch "$@"

venv: $(STAMP)

demo: $(STAMP)
	PYTHONPATH=. $(BIN)/python examples/etl.py --data $(DATA)/tpch-0.1 --out $(DATA)/revenue.parquet

# Tests that need a cluster form one group, so that only one process starts one.
test: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(PYTEST_ARGS)

$(VENV)/.bench: $(STAMP)
	if "$(BIN)/python" -m pip --version >/dev/null 2>&1; then \
	    "$(BIN)/python" -m pip install --quiet --editable '.[dev,bench]'; \
	else \
	    $(PYTHON) -m pip --python "$(BIN)/python" install --quiet --editable '.[dev,bench]'; \
	fi
	touch "$@"

bench: $(VENV)/.bench
	PYTHONPATH=. $(BIN)/python -m benchmarks --data $(DATA) --out $(DATA)/bench --scale "$(SCALE)" --queries "$(QUERIES)" \
	    --repeat $(REPEAT) --memory $(MEMORY) $(if $(ENGINES),--engines "$(ENGINES)") $(BENCH_ARGS)

lint: $(STAMP)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

# Strict: a link that leads nowhere is an error. Nothing is fetched.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=. $(BIN)/python -m mkdocs build --strict --quiet

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis dask-worker-space
	rm -rf $(DATA)/tpch-0.1 $(DATA)/revenue.parquet
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
