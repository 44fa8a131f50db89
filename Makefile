# From a fresh clone: `make demo` shows what this does, `make test` that it works.
# Both need Python 3.10 to 3.13 and git, and install the rest into .venv. A C++ compiler makes the
# CRF ten times faster, and the tests need it, since they compare with pydensecrf.

SHELL := bash
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python -m

# threads that wait for each other make small runs several times slower on busy cores
export OMP_WAIT_POLICY ?= PASSIVE

STUDY := $(RUN) wsss_lightning -cd experiments/generated hydra/launcher=local device_groups=[[0],[1]] trainer=cpu workers=1
RECORDS := experiments/generated/records

.PHONY: demo study picture pictures docs test tests test-all check lint types floors clean

demo: $(VENV)/.installed ## the whole pipeline on generated data
	$(RUN) wsss_lightning experiment=cam

study: $(VENV)/.installed-dev ## every method on generated data, about three hours; goes on where it stopped
	$(STUDY) -cn methods
	$(STUDY) -cn ablations
	$(STUDY) -cn worlds
	$(RUN) wsss_lightning report runs/generated --out runs/generated/report.html --keep $(RECORDS)
	$(RUN) wsss_lightning report $(RECORDS)/tiny_world $(RECORDS) --out experiments/generated/report.html
	$(VENV)/bin/python experiments/tables.py

picture: $(VENV)/.installed ## the picture of README.md; a few minutes
	$(VENV)/bin/python experiments/pictures.py pipeline --override trainer=cpu

pictures: $(VENV)/.installed ## all pictures of the documentation; about an hour
	$(VENV)/bin/python experiments/pictures.py --override trainer=cpu

docs: $(VENV)/.installed-dev ## the documentation site, in site/; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs build --strict

test: $(VENV)/.installed-dev ## everything that CI runs, all beside each other
	$(MAKE) --no-print-directory --jobs 4 lint types floors docs tests

tests: $(VENV)/.installed-dev
	$(RUN) pytest -n 2 --dist worksteal --durations 40 -m "not long"

test-all: lint types floors ## as test, with benchmarks and many repetitions
	$(RUN) pytest -n 2 --dist worksteal

check: lint types floors ## as test, without the slow tests
	$(RUN) pytest -n 2 -m "not slow and not long"

lint: $(VENV)/.installed-dev
	$(RUN) ruff check .
	$(RUN) ruff format --check .

types: $(VENV)/.installed-dev
	$(RUN) mypy

floors: $(VENV)/.installed-dev
	$(VENV)/bin/lint-imports

clean: ## remove the environment and caches; runs stay
	rm -rf $(VENV) .*_cache .hypothesis dist

# One command installs all, so that torch and torchvision are chosen together. A stamp is younger
# than pyproject.toml as long as nothing has to be installed anew. pip would compile on one core;
# uncompiled, each start would take three times as long where PYTHONDONTWRITEBYTECODE is set.
INSTALL := $(RUN) pip install --quiet --no-compile --editable
# some packages hold files that are not meant to compile
COMPILE := $(RUN) compileall -qq --workers 0 -x /tests/ $(abspath $(VENV))/lib || true

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	@echo "installing PyTorch and the rest into $(VENV); this takes some minutes"
	$(INSTALL) .
	@$(COMPILE)
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	@command -v $${CXX:-c++} > /dev/null || \
		{ echo "there is no C++ compiler; install one (on Debian: apt-get install g++ python3-dev)"; exit 1; }
	@echo "installing PyTorch and the rest into $(VENV); this takes some minutes"
	$(INSTALL) ".[dev]"
	@$(COMPILE)
	@touch $@ $(VENV)/.installed

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "$(PYTHON) is not Python 3.10 to 3.13; name one, as in: make demo PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
