# make run    set everything up, then fold chignolin with a SchNet for a minute
# make test   set everything up, then run the tests
# Both build .venv on first use; PYTHON chooses the interpreter.

VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Images of containers often forbid Python to keep what it compiled. Then each of the hundreds of processes of the tests
# would compile torch again, for 2 s, and each worker of pytest all of the tests.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test kernels lint types wheel site gallery physics bench faults garbage mutants soak bounds audit sbom gpu-check gpu-wheels aot clean example-ala2 example-teacher

run: $(READY)
	$(BIN)/mdflash run systems/chignolin-schnet.yaml --report

# Each process of pytest begins with a half of its own, and then takes from the other's: they rarely need the same
# kernel at the same time, which both would compile. Three processes took as long on two cores (2026-11-30).
test: kernels
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

# What most tests need, in parallel.
kernels: $(READY)
	$(BIN)/mdflash compile --precision fp32 --precision fp64 --precision mixed16

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

types: $(READY)
	$(BIN)/mypy

wheel: $(READY)
	bash .ci/wheel $(BIN)/python

# The documentation as pages, in build/site; a link that leads nowhere is an error.
site: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

# The pictures of docs/gallery, and the page that shows them; a few minutes on two idle cores.
gallery: $(READY)
	PYTHONPATH=. $(BIN)/python docs/gallery/gallery.py

physics: $(READY)
	$(BIN)/python -m pytest tests/physics tests/gpu
	$(BIN)/python -m pytest -m slow tests --ignore tests/physics --ignore tests/gpu --ignore tests/faults

# The standard benchmark, 4.4 minutes on two otherwise idle cores; rewrites the tables in benchmarks/README.md.
bench: $(READY)
	PYTHONPATH=. $(BIN)/python benchmarks/standard.py

# 200 kills of everything that can be resumed; rewrites the table of docs/reliability.md. Then the other faults.
faults: $(READY)
	PYTHONPATH=. $(BIN)/python -m tests.faults.kills --kills 200 --report docs/reliability.md
	$(BIN)/python -m pytest tests/faults

# 100,000 damaged files of every kind that is read; rewrites the table of docs/reliability.md. 1 at the end: a finding.
garbage: $(READY)
	PYTHONPATH=. $(BIN)/python -m tests.garbage.long --inputs 100000 --report docs/reliability.md

# Deliberate bugs, one at a time in a copy of the tree; rewrites the table of docs/mutants.md. 1 at the end: one
# survived.
mutants: $(READY)
	PYTHONPATH=. $(BIN)/python -m tests.mutants.campaign --report docs/mutants.md

# 512 replicas of chignolin over 10 million steps, an hour or more on two cores: memory, files, speed.
soak: $(READY)
	PYTHONPATH=. $(BIN)/python benchmarks/soak.py --report docs/reliability.md

# The lowest versions that pyproject.toml allows, in an environment of their own; then which Pythons have wheels.
# torch is kept where its lowest version would bring gigabytes of CUDA packages along: BOUNDS_KEEP= takes the lowest.
BOUNDS_KEEP := torch==2.13.0
bounds: $(READY)
	rm -rf .bounds
	$(BIN)/python tools/bounds.py lowest .bounds --keep $(BOUNDS_KEEP) --report docs/reliability.md
	$(BIN)/python tools/bounds.py wheels --report docs/reliability.md

# Known vulnerabilities of what a user installs. 1 at the end: there is one that is not explained in tools/audit.py.
audit: $(READY)
	$(BIN)/python -m pip install --quiet 'pip-audit>=2.7'
	$(BIN)/python tools/audit.py

# What a wheel brings along, as CycloneDX: dist/mdflash.cdx.json.
sbom: $(READY)
	$(BIN)/python -m pip install --quiet 'cyclonedx-bom>=4.6'
	$(BIN)/python tools/sbom.py dist/mdflash.cdx.json

# On a machine with a GPU: PYTHON is an interpreter that has a CUDA build of torch, and triton. Nothing is installed;
# packages that are missing there come from the folder that `make gpu-wheels` fills on a machine with internet.
# Three commands of at most 8.7 minutes each; GPU_COMMANDS="4 5" are what they leave out.
GPU_COMMANDS := 1 2 3
gpu-check:
	failed=0; for command in $(GPU_COMMANDS); do $(PYTHON) tools/gpu_check.py --command $$command \
		--reference ../shared/reference --wheels .gpu-wheels || failed=1; done; exit $$failed

# Wheels for Python 3.12 on 64-bit Linux, 26 MB. Where the machine has no numba either (60 MB more):
# make gpu-wheels GPU_WHEELS="numba llvmlite scipy"
GPU_WHEELS := gemmi mdtraj pydantic==2.14.4 pydantic-core==2.50.5 annotated-types typing-inspection typing-extensions pyyaml \
	safetensors h5py typer rich click shellingham markdown-it-py mdurl pygments pytest pluggy iniconfig packaging
gpu-wheels:
	$(PYTHON) -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
		--platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux_2_17_x86_64 \
		--platform manylinux2014_x86_64 --dest .gpu-wheels $(GPU_WHEELS)
	du -sh .gpu-wheels

# Registers, spills and shared memory of every GPU kernel, without a GPU (needs triton).
aot: $(READY)
	$(BIN)/python -m pip install --quiet 'triton>=3.6'
	PYTHONPATH=. $(BIN)/python tools/aot.py

# Sample alanine dipeptide all-atom, train SchNet on it, and compare: data/, runs/train-ala2, runs/validate-ala2;
# 21 minutes on two cores.
example-ala2: $(READY)
	$(BIN)/mdflash sample examples/ala2/sample.yaml
	$(BIN)/mdflash sample examples/ala2/phi.yaml
	$(BIN)/mdflash sample examples/ala2/psi.yaml
	$(BIN)/mdflash train examples/ala2/train.yaml
	$(BIN)/mdflash validate runs/train-ala2/forcefield --against data/ala2 --replicas 13 --ladder '350 K, 410 K, 480 K, 560 K' \
		--length '1 ns' --settling '100 ps' --interval '0.5 ps' --timestep '2 fs'

# SchNet learns a Gō force field, and must fold like it: runs/teacher.
example-teacher: $(READY)
	$(BIN)/python examples/teacher/teacher.py data runs/teacher/data
	$(BIN)/mdflash train examples/teacher/train.yaml
	$(BIN)/python examples/teacher/teacher.py compare runs/teacher/train/forcefield --temperatures 320 340 360 --walkers 8 --steps 400000

# Where no GPU is present, a plain `torch` would bring gigabytes of CUDA packages along. Python compiles what is
# imported when it is; pip would compile 14,000 files, one after the other.
$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	command -v nvidia-smi >/dev/null || $(BIN)/python -m pip install --quiet --no-compile torch==2.13.0
	$(BIN)/python -m pip install --quiet --no-compile -e '.[dev,structures]'
	touch $(READY)

clean:
	rm -rf $(VENV) build dist runs
