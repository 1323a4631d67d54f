# Everything works in a fresh clone: each target makes .venv from the pinned requirements first, and again when they change.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
READY := .venv/.ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo test test-slow test-cluster lint format docs chaos drill fuzz fuzz-archive bench-pipeline bench-plan bench-rd bench-speed bench-readme lock sbom bench-install clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | awk -F'\t' '{ printf "  make %-16s %s\n", $$1, $$2 }'

setup: $(READY)  ## make .venv from the pinned requirements

$(READY): requirements.txt requirements-dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "maepress needs Python 3.11 or newer: install it, or say where it is with PYTHON=..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing the pinned requirements into .venv (some minutes the first time)"
	@$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY)  ## the main job on 220 photographs, in under three minutes; S3=1: on a real S3 server
	@$(BIN)/maepress demo $(if $(filter-out 0,$(S3)),--s3)

# One process more than there are cores, as a third of the time is waiting; never more than four.
PROCESSES = $(shell n=$$(nproc); echo $$((n < 3 ? n + 1 : 4)))

test: $(READY)  ## the tests, in about eight minutes on two cores
	@$(BIN)/python -m pytest -n $(PROCESSES) --no-loadscope-reorder

test-slow: $(READY)  ## the tests that take minutes each: submitted jobs, targets on every kind of image, estimates, kills, broken requests, the site
	@$(BIN)/python -m pytest -m slow

test-cluster: $(READY)  ## clusters of several nodes on this machine: placement of stages, scaling, training
	@$(BIN)/python -m pytest -m cluster

chaos: $(READY)  ## 20 kills of drivers, encoders, tasks and servers: nothing may be lost or encoded twice
	@$(BIN)/python -m tests.chaos

drill: $(READY)  ## a thousand originals released on a real S3 server under change, killed on the way; every key accounted for
	@$(BIN)/python -m pytest -m slow -s tests/pipeline/release/test_drill.py

fuzz: $(READY)  ## 100,000 corrupted payloads: each must end in an error or a picture
	@$(BIN)/python -m tests.fuzz

fuzz-archive: $(READY)  ## 2,000 mutated image files through encode, verify, decode and the viewer: nothing may be lost
	@$(BIN)/python -m tests.fuzz.archive

lint: $(READY)  ## ruff, mypy --strict, the import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(READY)  ## format the code and sort its imports, with ruff
	@$(BIN)/ruff check --fix --select I .
	@$(BIN)/ruff format .

bench-pipeline: $(READY)  ## the pipeline's speed against the sum of its stages
	@$(BIN)/python -m bench.pipeline

bench-plan: $(READY)  ## planning of 10^5 to 10^7 keys: time and memory per key
	@$(BIN)/python -m bench.plan

bench-rd: $(READY)  ## BD-rates against JPEG, WebP, AVIF, JPEG XL and published codecs, by four metrics
	@$(BIN)/python -m bench.rd

bench-speed: $(READY)  ## encode and decode speed beside JPEG, WebP, AVIF and JPEG XL; work and memory
	@$(BIN)/python -m bench.speed

bench-readme: $(READY)  ## the speeds that the README states: medians of three, on a quiet machine
	@OMP_NUM_THREADS=1 $(BIN)/python -m bench.readme

docs: $(READY)  ## build the documentation as a site in build/docs
	@$(BIN)/python -m sphinx -q -W -b html docs build/docs && echo "build/docs/index.html"

lock: $(READY)  ## write the lock files from the installed packages, and their hashes from the index
	@$(BIN)/python .ci/lock.py
	@$(BIN)/python .ci/hashes.py

sbom: $(READY)  ## the software bill of materials (CycloneDX) of the lock, in build/sbom.json
	@mkdir -p build && $(BIN)/python .ci/sbom.py > build/sbom.json && echo build/sbom.json

bench-install:  ## an installation of the codec alone in a fresh environment: packages, MB, seconds to open a file
	@$(PYTHON) -m bench.install

clean:  ## remove .venv, caches and the demo's folder
	@rm -rf .venv demo build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
