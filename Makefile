# TOPIS. `make demo` and `make test` do all the set-up they need.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
MODE := $(if $(filter 1,$(TOPIS_DEBUG)),debug,release)
STAMP := build/.kernels-$(MODE)
CORES := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
KERNELS := $(wildcard topis/_core/*.pyx topis/_core/*.pxd)
ONLY ?=

.DEFAULT_GOAL := help
.PHONY: help build demo test lint bench debug clean

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/'

build: $(STAMP)  ## make .venv with TOPIS, its kernels and SUMO

$(VENV)/.packages: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip "setuptools>=80"
	$(BIN)/python -m pip install --quiet "cython>=3.2,<4"
	$(BIN)/python -m pip install --quiet --no-deps sumo-rl==1.4.5
	TOPIS_DEBUG=$(TOPIS_DEBUG) TOPIS_REBUILD=1 $(BIN)/python -m pip install --quiet --no-build-isolation -e ".[sumo,dev,cluster]"
	mkdir -p build && rm -f build/.kernels-* && touch $(STAMP) $@

$(STAMP): $(VENV)/.packages setup.py $(KERNELS)
	TOPIS_DEBUG=$(TOPIS_DEBUG) TOPIS_REBUILD=1 $(BIN)/python setup.py --quiet build_ext --inplace
	rm -f build/.kernels-* && touch $@

demo: $(STAMP)  ## simulate Gangnam, fixed time against adaptive, and write a report
	$(BIN)/topis simulate gangnam --controller shipped --controller adaptive --seeds 2 --out demo-report

test: $(STAMP)  ## run the tests
	$(BIN)/python -m pytest -n $(CORES)

lint: $(STAMP)  ## ruff, mypy (strict) and cython-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cython-lint topis/_core

$(VENV)/.peers: $(VENV)/.packages
	$(BIN)/python -m pip install --quiet "duckdb>=1.2,<2" "polars>=1.20"
	$(BIN)/python -m pip install --quiet --no-deps sumoITScontrol==0.1.0
	touch $@

bench: $(STAMP) $(VENV)/.peers  ## benchmarks; ONLY=name picks some
	$(BIN)/python -m pytest bench -p no:xdist $(if $(ONLY),-k $(ONLY)) --benchmark-columns=min,median,rounds

debug:  ## kernels with bounds checks, and the tests on them (the next call rebuilds fast ones)
	$(MAKE) test TOPIS_DEBUG=1

clean:  ## remove what was built
	rm -rf .venv build *.egg-info topis/_core/*.so
