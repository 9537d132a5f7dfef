PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= runs/demo
# Each test file in one process, as many processes as cores.
WORKERS := -n auto --maxprocesses 8 --dist loadfile

.PHONY: demo test test-all check lint docs wheel-test verify-results benchmark clean

# Install what the demo needs, then run a recipe on the starter data: every stage, a teacher and three students.
demo: $(VENV)/.installed
	$(BIN)/understudy run recipes/demo.toml --out $(OUT)

test: $(VENV)/.installed
	$(BIN)/pytest $(WORKERS)

# The suite, and the wide matrices of models and recipes: minutes more.
test-all: test
	$(BIN)/pytest $(WORKERS) -m wide

check: lint test-all wheel-test verify-results

lint: $(VENV)/.installed
	$(BIN)/ruff format --check src tests benchmarks docs notebooks
	$(BIN)/ruff check src tests benchmarks docs notebooks
	$(BIN)/mypy

# Write the reference of every recipe key from the settings in the code.
docs: $(VENV)/.installed
	$(BIN)/python docs/recipe.py

# The built wheel without extras and without the source tree: the runtime's tests on what a user gets from pip.
wheel-test: $(VENV)/.installed
	$(PYTHON) tests/wheel/check.py

# Recompute the quality figures of the committed runs from their test logits; compare every page's tables with its files.
verify-results: $(VENV)/.installed
	$(BIN)/python benchmarks/verify_results.py

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "understudy needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,bundled,tune]' --group dev
	touch $@

clean:
	rm -rf $(VENV) dist runs .mypy_cache .ruff_cache .pytest_cache .hypothesis
