# Everything here works on a fresh machine with Python >= 3.11 and make: the first target
# makes .venv with the versions of constraints.txt, the others use it.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PEERS  := .venv-peers
PIP     = $(BIN)/python -m pip --disable-pip-version-check install -q -c constraints.txt

.PHONY: demo test test-all lint bench clean

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
	$(PEERS)/bin/python -m pip --disable-pip-version-check install -q -c constraints.txt torchebm==0.8.9 ebmkit==0.16.0
	touch $@

# Each row is skipped when its result exists: `make bench FORCE=--force` measures all again.
bench: $(VENV)/.erg $(PEERS)/.peers
	$(BIN)/python -m benchmarks.langevin_image $(FORCE)
	$(BIN)/python -m benchmarks.langevin_mlp $(FORCE)
	$(BIN)/python -m benchmarks.memory $(FORCE)
	$(BIN)/python -m benchmarks.tables

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) $(PEERS) build *.egg-info .pytest_cache .hypothesis
