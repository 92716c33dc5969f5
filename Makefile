# make run    set everything up, then fold chignolin for a minute
# make test   set everything up, then the tests
# Both build .venv on first use; PYTHON chooses the interpreter.

VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: run test lint types wheel physics faults clean

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
	$(BIN)/python -m pytest tests/physics

faults: $(READY)
	$(BIN)/python -m pytest tests/faults

# Where no GPU is present, a plain `torch` would bring gigabytes of CUDA packages along.
$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	command -v nvidia-smi >/dev/null || $(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet -e '.[dev,structures]'
	touch $(READY)

clean:
	rm -rf $(VENV) build dist runs
