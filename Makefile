# make demo            annotate the shipped sample CT (sets up what it needs; no torch)
# make demo CT=path    annotate another CT: NIfTI, NRRD, MHA or a DICOM folder
# make test            set up everything and run every suite; TORCH=0 leaves out torch and the suites that need it
# make federation-demo a whole federation on this machine over mutual TLS, to a bundle and an annotated CT (about 5 min)
# make test-federation what takes minutes: server and sites in processes of their own; faults and strangers, their tables
# make lint | bench | clean
# Options: PYTHON=python3.12  VENV=folder  OUT=folder  FORCE=1 (replace a result, corrections included)

SHELL := /bin/bash
MAKEFLAGS += --no-print-directory --no-builtin-rules
.DELETE_ON_ERROR:

# The first interpreter that starts and fits. 3.11 before 3.12: torch has a small CPU build for it.
PYTHON ?= $(shell for name in python3.11 python3.12 python3 python; do \
  "$$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && { echo "$$name"; break; }; done)
VENV ?= .venv
OUT ?= out/demo
CT ?=
TORCH ?= 1

comma := ,
python := $(VENV)/bin/python
install := $(python) -m pip install -qq --disable-pip-version-check
torch := $(shell sed -n 's/^ *"\(torch==[^"]*\)".*/\1/p' pyproject.toml)
extras := $(if $(filter 0,$(TORCH)),test$(comma)slicer,train$(comma)federated$(comma)test$(comma)slicer)


venv_ready := $(VENV)/.ready
core_ready := $(VENV)/.ready-core
test_ready := $(VENV)/.ready-test$(if $(filter 0,$(TORCH)),-without-torch)

# Fast suites first. Each runs in a process of its own: Slicer's libraries stay out of the others.
suites := Testing/test_contract.py Testing/core Testing/phantom $(if $(filter 0,$(TORCH)),,Testing/training Testing/federation) Testing/Python
# One thread each: two in one process slow each other down, and one gives the same sums every time.
export OMP_NUM_THREADS ?= 1
export MPLBACKEND := Agg

federation_ready := $(VENV)/.ready-federation

.PHONY: help demo federation-demo test test-federation lint bench clean
help:
	@sed -n '1,/^$$/s/^# *//p' Makefile

$(venv_ready):
	@if [ -z "$(PYTHON)" ]; then echo "No Python 3.11 or 3.12 found; install one, or name it: make PYTHON=/path/to/python3.11" >&2; exit 2; fi
	@echo "== Python environment in $(VENV) ($$("$(PYTHON)" --version))"
	@$(python) -m pip --version > /dev/null 2>&1 || "$(PYTHON)" -m venv $(VENV)
	@touch $@

$(core_ready): pyproject.toml | $(venv_ready)
	@echo "== Installing the core (once, half a minute or more; no torch)"
	@$(install) -e .
	@touch $@

$(test_ready): pyproject.toml | $(venv_ready)
ifneq ($(TORCH),0)
	@echo "== Installing $(torch) (once)"
	@$(python) -c 'import sys; sys.exit(sys.version_info < (3, 12))' && ! $(python) -c 'import torch' 2>/dev/null && { \
	  echo "   On Python 3.12 this may be a CUDA build of several GB. Python 3.11 (make test PYTHON=python3.11) may find a smaller one;"; \
	  echo "   make test TORCH=0 leaves out torch and the suites that need it."; } || true
	@$(install) "$(torch)"
endif
	@echo "== Installing the core, $(extras) (once, about a minute)"
	@$(install) -e ".[$(extras)]"
	@touch $@ $(core_ready)

$(federation_ready): pyproject.toml | $(venv_ready)
	@echo "== Installing $(torch) and the federation (once)"
	@$(install) "$(torch)"
	@$(install) -e ".[train,federated]"
	@touch $@ $(core_ready)

demo: $(core_ready)
	@set -e; ct="$(CT)"; force="$(if $(FORCE),--force)"; \
	demo=""; if [ -z "$$ct" ]; then ct=$$(ls Resources/SampleData/*.nii.gz | head -n 1); demo="$(OUT)/$$(basename "$$ct" .nii.gz)"; fi; test -n "$$ct"; \
	if [ -n "$$demo" ] && [ -n "$$force" ]; then rm -rf "$$demo"; \
	elif [ -n "$$demo" ] && [ -f "$(OUT)/.written" ]; then \
	  if [ "$$(cat "$$demo"/landmarks.mrk.json "$$demo"/calcification.seg.nrrd 2>/dev/null | cksum)" = "$$(cat "$(OUT)/.written")" ]; then rm -rf "$$demo"; \
	  else echo "$$demo: its labels were changed since the last demo; make demo FORCE=1 replaces them." >&2; exit 2; fi; fi; \
	echo "== Annotating $$ct"; \
	$(VENV)/bin/fedkdtavi annotate "$$ct" --out "$(OUT)" $$force; \
	if [ -n "$$demo" ]; then cat "$$demo"/landmarks.mrk.json "$$demo"/calcification.seg.nrrd | cksum > "$(OUT)/.written"; fi; \
	echo "== Picture: $$(ls -t "$(OUT)"/*/report.png | head -n 1)"; \
	echo "== More: $(VENV)/bin/fedkdtavi --help"

federation-demo: $(federation_ready)
	@rm -rf out/federation-demo
	@$(VENV)/bin/fedkdtavi federation demo --out out/federation-demo --ct "$(or $(CT),$(firstword $(wildcard Resources/SampleData/*.nii.gz)))"

test: $(test_ready)
	@failed=""; for suite in $(suites); do \
	  if [ -z "$$(find $$suite -name 'test_*.py' -print -quit 2>/dev/null)" ]; then continue; fi; \
	  echo "== $$suite"; \
	  QT_QPA_PLATFORM=offscreen $(python) -m pytest --no-header --color=no $(if $(filter 0,$(TORCH)),-m "not torch") $$suite || failed="$$failed $$suite"; \
	done; \
	if [ -n "$$failed" ]; then echo "== Failed:$$failed" >&2; exit 1; fi; \
	echo "== All suites passed"

test-federation: $(test_ready)
	@$(python) -m pytest --no-header --color=no -m processes Testing/federation
	@$(python) Testing/federation/run_faults.py
	@$(python) Testing/federation/run_strangers.py

lint: $(test_ready)
	@$(VENV)/bin/ruff check .
	@PYTHONPATH=FedKDTAVI:training $(VENV)/bin/lint-imports --no-logo

bench: $(core_ready)
	@$(python) Testing/benchmarks/bench_annotate.py

clean:
	@rm -rf $(VENV) out build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find FedKDTAVI training Testing -name __pycache__ -type d -prune -exec rm -rf {} +
