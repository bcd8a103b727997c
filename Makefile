# Two commands do everything on a fresh machine: `make repro` and `make test`. The first use builds .venv from
# requirements.lock with uv (fetched into .uv if the machine has none).

UV := $(or $(shell command -v uv),.uv/bin/uv)
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHONPATH := src
# Bytecode saves every stage seconds of start-up; an inherited "1" would switch it off.
export PYTHONDONTWRITEBYTECODE :=
export DO_NOT_TRACK := true
export MLFLOW_DISABLE_TELEMETRY := true

# Runs at a time: `make repro -j 4` or `make repro J=4`; without either, one per GPU, else one per core, at most 8.
J ?= $(patsubst -j%,%,$(filter -j%,$(MAKEFLAGS)))

.PHONY: repro default presets tables verify test test-fast test-long ui bench torture gpu gpu-bundle lock wheel engines
.NOTPARALLEL:

repro: .venv/ready       ## the whole pipeline, from dataset to reports/; MISSING=1 trains only runs without a result in reports/runs
	@pfml repro $(addprefix -j,$(J)) $(addprefix --preset=,$(PRESET)) $(if $(MISSING),--missing)

default: .venv/ready     ## params.yaml and dvc.lock as committed; refuses where something would be lost (SAVE=<name> keeps it)
	@pfml default $(addprefix --save=,$(SAVE))

presets: .venv/ready     ## the paper's own studies and yours: make repro PRESET=<name> runs one
	@pfml presets

tables: .venv/ready      ## the tables, their page and figures again, from the committed results alone
	@pfml tables

verify: .venv/ready      ## are the committed numbers those of this machine? RUNS=3 trains three runs anew
	@pfml verify $(addprefix --runs=,$(RUNS)) $(addprefix --preset=,$(PRESET))

# A file of tests runs in one process, as many at a time as there are cores, at most four.
in_processes := python -m pytest -n auto --maxprocesses=4 --dist loadfile --no-loadscope-reorder

test: .venv/ready        ## all tests but the long ones, or make test TESTS=tests/losses; those for a GPU where there is one
	@$(in_processes) -m "not long and not gpu" $(TESTS)
	@! nvidia-smi -L > /dev/null 2>&1 || python -m pytest -m gpu

test-fast: .venv/ready   ## a minute and a half: settings, labels, formulas of losses, measures, searches
	@$(in_processes) -m "not long and not gpu and not pipeline" tests/settings tests/labels tests/losses/test_library.py tests/retrieval \
		tests/evaluation tests/networks/test_models.py tests/training/test_optimisation.py tests/test_wasserstein.py tests/test_tuning.py

test-long: .venv/ready   ## what takes minutes, or needs LaTeX or a browser
	@$(in_processes) -m long $(TESTS)

engines: .venv/ready     ## Ray, submitit, S3 and PostgreSQL into .venv, for `pfml grid` and its tests (docs/scaling.md)
	$(UV) pip install -q --python .venv/bin/python -c requirements.lock --no-build-isolation --editable '.[ray,slurm,storage,servers]'

ui: .venv/ready          ## browse the runs at http://127.0.0.1:5000
	@pfml ui

bench: .venv/ready       ## measure speed against peers; writes reports/benchmarks.md
	@python benchmarks/run.py

torture: .venv/ready     ## damage a small study in 200 ways, by seed: does it end as if untouched? (hours; goes on where it stopped)
	@python benchmarks/torture.py

gpu: .venv/ready         ## nine minutes on a GPU, into reports/benchmarks.md; without a GPU in miniature (docs/gpu.md)
	@python benchmarks/gpu.py

gpu-bundle: .venv/ready  ## what `make gpu` needs where there is no network: wheels, crops, weights → gpu/bundle
	@python benchmarks/gpu_bundle.py

wheel: .venv/ready       ## the package as a wheel, with its version in the name → dist/
	@rm -rf build  # modules that are gone would come along
	@$(UV) build -q --wheel --offline --no-build-isolation --python .venv/bin/python --out-dir dist
	@rm -rf build src/pfml.egg-info && ls -t dist/*.whl | head -n 1

lock: $(UV)              ## pin the newest versions that pyproject.toml allows
	$(UV) pip compile -q pyproject.toml --extra pipeline --extra export --extra dev --generate-hashes --no-header --universal --no-emit-index-url -o requirements.lock

.venv/locked: requirements.lock | $(UV)
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "python3 >= 3.11 is needed, found " + sys.version)'
	@test -x .venv/bin/python || $(UV) venv -q --python python3 .venv
	$(UV) pip sync -q --python .venv/bin/python --require-hashes --compile-bytecode requirements.lock
	@touch $@

# The project itself, editable: its command `pfml`, and `import pfml` wherever .venv is active. It comes after the
# sync, which removes what the lock does not name.
.venv/ready: .venv/locked pyproject.toml src/pfml/__init__.py
	$(UV) pip install -q --python .venv/bin/python --offline --no-deps --no-build-isolation --reinstall --editable .
	@touch $@

.uv/bin/uv:
	python3 -m venv .uv
	.uv/bin/pip install -q uv
