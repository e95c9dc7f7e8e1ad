# Everything here works on a fresh machine with Python >= 3.11 and make: the first target
# makes .venv with the versions of constraints.txt, the others use it.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PEERS  := .venv-peers
PIP     = $(BIN)/python -m pip --disable-pip-version-check install -q -c constraints.txt

.PHONY: demo test test-all lint bench bench-samplers bench-boltzmann clean

$(VENV)/.erg: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	# torch first and pinned: a later package cannot then pull another build of it.
	$(PIP) torch
	$(PIP) -e .
	touch $@

$(VENV)/.test: $(VENV)/.erg
	$(PIP) -e '.[test]'
	touch $@

demo: $(VENV)/.erg
	$(BIN)/erg demo

test: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -q

test-all: test
	$(BIN)/python -m pytest -q -m slow

# The peers' own environment. Its torch is ours, so that a ratio compares libraries and not versions.
$(PEERS)/.peers: constraints.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip --disable-pip-version-check install -q -c constraints.txt torch
	$(PEERS)/bin/python -m pip --disable-pip-version-check install -q -c constraints.txt torchebm==0.8.9 ebmkit==0.16.0 blackjax==1.7.1 thrml==0.1.4 scikit-learn
	$(PEERS)/bin/python -m pip --disable-pip-version-check install -q -c constraints.txt --no-deps rbms==0.5.0 learnergy==2.0.2 tqdm h5py
	touch $@

# Each row is skipped when its result exists: `make bench FORCE=--force` measures all again.
bench: $(VENV)/.erg $(PEERS)/.peers
	$(BIN)/python -m benchmarks.langevin_image $(FORCE)
	$(BIN)/python -m benchmarks.langevin_mlp $(FORCE)
	$(BIN)/python -m benchmarks.memory $(FORCE)
	$(BIN)/python -m benchmarks.tables

TARGETS  := banana gaussian brownian rosenbrock two-modes funnel
SAMPLERS := nuts mams mclmc underdamped
LOG_Z    := gaussian-2 gaussian-16 gaussian-64 gaussian-256 ising rbm

# The samplers' rows, on one thread; hours in all, and each row is skipped when its result exists.
bench-samplers: $(VENV)/.erg $(PEERS)/.peers
	set -e; export OMP_NUM_THREADS=1; \
	for target in $(TARGETS); do for sampler in $(SAMPLERS); do \
	    $(BIN)/python -m benchmarks.low_error $$target $$sampler $(FORCE); done; done; \
	for algorithm in hmc nuts mclmc; do for target in rosenbrock-2 gaussian-100; do \
	    $(BIN)/python -m benchmarks.ess $$algorithm $$target $(FORCE); done; done; \
	for row in $(LOG_Z); do $(BIN)/python -m benchmarks.partition $$row $(FORCE); done; \
	$(BIN)/python -m benchmarks.replica_exchange $(FORCE); \
	$(BIN)/python -m benchmarks.many_chains $(FORCE); \
	$(BIN)/python -m benchmarks.mclmc_bias $(FORCE); \
	$(BIN)/python -m benchmarks.samplers

BOLTZMANN := rbm16\ centred rbm16\ centred-flipped rbm16\ uncentred rbm16\ uncentred-flipped rbm500\ train \
    rbm500\ anneal gibbs dbm\ pretrained deep_binary\ train deep_binary\ anneal recovery thermodynamics uses\ features uses\ free-energy \
    uses\ pretraining hopfield

# The rows of Boltzmann machines; the time of an update on two threads, everything else on one.
bench-boltzmann: $(VENV)/.erg $(PEERS)/.peers
	OMP_NUM_THREADS=2 $(BIN)/python -m benchmarks.boltzmann.update $(FORCE)
	set -e; export OMP_NUM_THREADS=1; for row in $(subst \ ,:,$(BOLTZMANN)); do \
	    $(BIN)/python -m benchmarks.boltzmann.$$(echo $$row | tr : ' ') $(FORCE); done
	$(BIN)/python -m benchmarks.boltzmann.table

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) $(PEERS) build *.egg-info .pytest_cache .hypothesis
