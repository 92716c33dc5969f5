# make run    set everything up, then fold chignolin for a minute
# make test   set everything up, then the tests
# Both build .venv on first use; PYTHON chooses the interpreter.

VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: run test lint types wheel physics faults gpu-check aot clean

run: $(READY)
	$(BIN)/mdflash run systems/chignolin.yaml

test: $(READY)
	$(BIN)/python -m pytest -n 2 -m "not slow"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

wheel: $(READY)
	bash .ci/wheel $(BIN)/python

physics: $(READY)
	$(BIN)/python -m pytest tests/physics tests/gpu

faults: $(READY)
	$(BIN)/python -m pytest tests/faults

# On a machine with a GPU: PYTHON is an interpreter that has a CUDA build of torch, and triton. Nothing is installed.
gpu-check:
	$(PYTHON) benchmarks/gpu_check.py --reference ../shared/reference

# Registers, spills and shared memory of every GPU kernel, without a GPU (needs triton).
aot: $(READY)
	$(BIN)/python -m pip install --quiet 'triton>=3.6'
	PYTHONPATH=. $(BIN)/python benchmarks/aot.py

# Where no GPU is present, a plain `torch` would bring gigabytes of CUDA packages along.
$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	command -v nvidia-smi >/dev/null || $(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet -e '.[dev,structures]'
	touch $(READY)

clean:
	rm -rf $(VENV) build dist runs
