# Everything runs in a virtual environment inside the clone; nothing else is needed but Python.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Installing without compiling takes half the time. What is imported is compiled then, once: whatever the environment says, it is kept.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt
export PYTHONDONTWRITEBYTECODE =

.PHONY: demo test tests coverage test-slow lint types bench-ledger bench-merf bench-tables bench-marginals bench-crash bench-recipe \
	bench-s001 bench-step bench-dynamic bench-vmf bench-pate bench-adlm bench-taught bench-images bench-shapes bench-finetune bench-adaptive \
	bench-mcgen bench-scale bench-membership bench-s001-attack bench-reconstruction bench-audit bench-points bench-memory bench-selection bench-choosing bench-false-alarms clean

demo: $(VENV)/.core
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python examples/demo.py demo-output

# Types are looked at beside the tests: one process of its own, while the tests begin.
test: $(VENV)/.dev lint
	$(MAKE) --no-print-directory --jobs=2 types tests

tests: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n auto --dist loadgroup

# As above with coverage, which takes half as long again.
coverage: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n auto --dist loadgroup --cov=sfumato --cov-report=term:skip-covered

test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

bench-ledger: $(VENV)/.core
	$(BIN)/python benchmarks/ledger_crash.py

bench-merf: $(VENV)/.core
	$(BIN)/python benchmarks/merf.py

bench-tables: $(VENV)/.core
	$(BIN)/python benchmarks/tables.py

# PEER, DPMM: interpreters of environments with smartnoise-synth 1.0.8 and dpmm 0.1.9; a peer is left out without one.
PEERED = $(if $(PEER),--peer $(PEER))
WIDE = --peer $(DPMM) --library dpmm --peers mst --seeds 0 1 2 --limit 7200 --cpu-limit 2700 --memory-limit 8192
bench-marginals: $(VENV)/.core
	$(BIN)/python benchmarks/marginals.py
	$(BIN)/python benchmarks/marginals.py --data german-credit
	$(BIN)/python benchmarks/marginals.py --columns fifteen $(PEERED)
	$(if $(DPMM),$(BIN)/python benchmarks/marginals.py --ours $(WIDE) --work dpmm.jsonl --out benchmarks/results/marginals_dpmm.json)
	$(BIN)/python benchmarks/marginals.py --ours tables.gan tables.augm --work trained.jsonl --out benchmarks/results/tables_trained.json
	$(BIN)/python benchmarks/marginals.py --ours tables.adaptive "tables.adaptive[importance=paid]" tables.mcgen --limit 900 --work others.jsonl \
		--out benchmarks/results/tables_others.json
	$(PIP) --editable '.[graph]'
	$(BIN)/python benchmarks/marginals.py --columns fifteen --ours "tables.marginals[cycles=8]" tables.marginals --work cycles.jsonl \
		--out benchmarks/results/marginals_cycles.json
	$(BIN)/python benchmarks/marginals.py --ours "tables.marginals[cycles=10]" --epsilon 1 4 --seeds 0 1 --work cycles.jsonl \
		--out benchmarks/results/marginals_cycles.json

bench-crash: $(VENV)/.core
	$(BIN)/python benchmarks/training_crash.py

bench-recipe: $(VENV)/.core
	$(BIN)/python benchmarks/recipe.py

bench-s001: $(VENV)/.bench
	$(BIN)/python benchmarks/s001.py

bench-step: $(VENV)/.bench
	$(BIN)/python benchmarks/step.py --out benchmarks/results/step.json

bench-dynamic bench-vmf bench-pate bench-adlm bench-taught bench-mcgen: bench-%: $(VENV)/.core
	$(BIN)/python benchmarks/$*.py

bench-images: $(VENV)/.dev
	$(BIN)/python benchmarks/images.py --method generators.cvae generators.dpgan generators.merf generators.psg generators.sinkhorn generators.diffusion[preset=quick] \
		generators.augm generators.vaegm generators.dp2vae generators.gpate generators.datalens generators.dpmi
	$(BIN)/python benchmarks/images.py --data mnist --epsilon 1 --method generators.taught[preset=lines]
	$(BIN)/python benchmarks/images.py --data mnist --epsilon 10 --method generators.taught[preset=lines,samples=180000,candidates=1]
	$(BIN)/python benchmarks/images.py --data fashion-mnist --method generators.taught[samples=180000,candidates=1]

# What image methods say that they will take of memory, and what they take.
bench-memory: $(VENV)/.dev
	$(BIN)/python benchmarks/memory.py

# Colour, and 8 x 8 pixels: every method at one epsilon on small real sets.
bench-shapes: $(VENV)/.dev
	$(BIN)/python benchmarks/images.py --data digits photographs --epsilon 10 --seeds 0 --out benchmarks/results/shapes.json --method real \
		generators.merf generators.taught generators.cvae generators.dpgan generators.psg generators.sinkhorn generators.diffusion[preset=quick] \
		generators.augm generators.vaegm generators.dp2vae generators.gpate generators.datalens generators.dpmi images.pixelate images.gaussian images.blur

# About 40 minutes on one core; it goes on where it stopped.
bench-points: $(VENV)/.core
	$(BIN)/python benchmarks/perturbation_points.py
	$(BIN)/python benchmarks/perturbation_points.py --equal epsilon --only mnist-logistic census-logistic
	$(BIN)/python benchmarks/perturbation_points.py --only mnist-logistic mnist-network --seeds 1 --attack rmia

bench-adaptive: $(VENV)/.bench
	$(BIN)/python benchmarks/adaptive.py

# Rows of tens of gigabytes go to FOLDER; MILLIONS="1 10 100" for all. Spark is measured where pyspark and Java are.
FOLDER ?= .cache/scale
MILLIONS ?= 1 10
bench-scale: $(VENV)/.core
	$(BIN)/python benchmarks/scale.py --folder $(FOLDER) --millions $(MILLIONS)

# PEER: an interpreter with adversarial-robustness-toolbox; MIA: advanced_mia.py of tensorflow-privacy 0.8.12; RMIA: modules/mia/attacks/rmia.py
# of Privacy Meter (commit e384af8). Left out without them. The second attacks a model that is overfitted on purpose.
PEERS = $(PEERED) $(if $(MIA),--advanced-mia $(MIA)) $(if $(RMIA),--rmia $(RMIA))
bench-membership: $(VENV)/.core
	$(BIN)/python benchmarks/membership.py --cache .cache/membership $(PEERS)
	$(BIN)/python benchmarks/membership.py --cache .cache/membership --records 4000 --epochs 25 --only loss gap entropy --out benchmarks/results/membership_overfitted.json $(PEERS)

bench-s001-attack: $(VENV)/.core
	$(BIN)/python benchmarks/s001_attack.py

bench-finetune: $(VENV)/.bench
	$(BIN)/python benchmarks/finetune.py --cache .cache

# PEER: the interpreter of an environment with sfumato, adversarial-robustness-toolbox 1.20.1 and scikit-image 0.26; INVERTING: a copy of
# github.com/JonasGeiping/invertinggradients (commit 1157b61).
bench-reconstruction: $(VENV)/.core
	$(BIN)/python benchmarks/reconstruction.py $(PEERED) $(if $(INVERTING),--inverting $(INVERTING))
	$(BIN)/python benchmarks/gradient_leakage.py

bench-audit: $(VENV)/.core
	$(BIN)/python benchmarks/audit.py

bench-selection: $(VENV)/.core
	$(BIN)/python benchmarks/selection.py

# From how many rows, at which epsilon, auto's method for tables is ahead.
bench-choosing: $(VENV)/.core
	$(BIN)/python benchmarks/choosing.py

# About 40 minutes on one core; it goes on where it stopped.
bench-false-alarms: $(VENV)/.core
	$(BIN)/python benchmarks/false_alarms.py
	$(BIN)/python benchmarks/false_alarms.py --copied 20 --runs 200

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) --editable .
	touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[dev]'
	touch $(VENV)/.core $@

$(VENV)/.bench: $(VENV)/.core
	$(PIP) --editable '.[bench,finetune,explain]'
	touch $@

clean:
	rm -rf $(VENV) demo-output build dist .pytest_cache .mypy_cache .ruff_cache .coverage
