# Each target makes its virtual environment from nothing. VENV=path puts it elsewhere; PYTHON=python3.12 chooses one.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
WORKERS ?= 2
LIBRARIES := libegl1 libgl1 libgomp1 libidn2-0 libudev1 libusb-1.0-0 libx11-6

.PHONY: help system demo test check lint types contracts docs format clean
.DEFAULT_GOAL := help

help:  ## Show this
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.python:
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[audio]"
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@$(BIN)/python -c "import open3d" 2>/dev/null || $(MAKE) --no-print-directory system
	@touch $@

system:  ## Install the libraries that Open3D's wheel needs (Debian, Ubuntu); say how, where that takes a password
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends $(LIBRARIES); \
	else echo "Open3D needs: sudo apt-get install $(LIBRARIES)"; fi

demo: $(VENV)/.installed  ## Install, then turn each of five senses into each other with the shipped model
	$(BIN)/polyjanus demo

test: $(VENV)/.dev  ## Install, then run all tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist worksteal $(ARGS)

check: lint types contracts test  ## Everything that CI runs

lint: $(VENV)/.dev  ## Format and lint, changing nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev  ## Type check: strict in core/
	$(BIN)/pyright --pythonpath $(BIN)/python

contracts: $(VENV)/.dev  ## Who may import whom
	$(BIN)/lint-imports

docs: $(VENV)/.dev  ## Build the documentation in build/docs; a warning is an error
	$(BIN)/python -m sphinx -q -W -b html docs build/docs

format: $(VENV)/.dev  ## Format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## Remove the virtual environment and what builds leave
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
