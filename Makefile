# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.

# PYTHON is the interpreter the virtual environment is made with, 3.10 or later
# SERIES of Tryton, 8.0 or 8.2, each of them in an environment of its own
# ARGS goes to the programs behind test, demo, benchmark and soak
PYTHON ?= python3
SERIES ?= 8.0
ARGS ?=

VENV = .venv$(SERIES:8.0=)
BIN = $(VENV)/bin
RUN = $(BIN)/python -m trytond.modules.marketing_automation
BUILD = .build
STAMP = $(VENV)/.installed
# One installation at a time when make runs more than once
LOCK = $(shell command -v flock > /dev/null && echo flock $(BUILD)/lock)

export PIP_CACHE_DIR = $(CURDIR)/$(BUILD)/pip
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PIP_NO_INPUT = 1

.PHONY: help venv client test test-fast lint doc wheel demo benchmark soak \
	clean

help:
	@echo "make test       tests on SQLite and PostgreSQL, ARGS=\"names\""
	@echo "make test-fast  tests on SQLite without the scenarios"
	@echo "make client     web client from npm, for the tests in the browser"
	@echo "make lint       style of the Python files"
	@echo "make doc        documentation"
	@echo "make wheel      what is distributed can be installed and activated"
	@echo "make demo       playground"
	@echo "make benchmark  measurements"
	@echo "make soak       load and faults for a long time"
	@echo "make clean      remove all that was made"

venv: $(STAMP)

$(STAMP): setup.py pyproject.toml tryton.cfg requirements-dev.txt
	@mkdir -p $(BUILD)
	@echo "Installing into $(VENV)"
	@$(LOCK) $(SHELL) -c ' \
		$(BIN)/python -I -c "import pip" 2> /dev/null \
			|| $(PYTHON) -I -m venv --clear $(VENV) \
			|| { echo "Install python3-venv or set PYTHON"; exit 1; } \
		&& $(BIN)/python -I -m pip install -qq \
			--editable ".[postgresql,test]" "trytond == $(SERIES).*" \
			--requirement requirements-dev.txt \
		&& touch $@'

client: $(STAMP)
	@$(RUN).demo.webclient

test: $(STAMP)
	@$(RUN).tests.run $(ARGS)

test-fast: $(STAMP)
	@$(RUN).tests.run --database sqlite --fast $(ARGS)

lint: $(STAMP)
	@status=0; \
	$(BIN)/flake8 || status=1; \
	$(BIN)/isort --quiet --check-only --diff . || status=1; \
	exit $$status

doc: $(STAMP)
	@if [ -f doc/conf.py ]; then \
		if [ -f doc/requirements-doc.txt ]; then \
			$(BIN)/python -I -m pip install -qq -r doc/requirements-doc.txt; \
		fi; \
		$(BIN)/sphinx-build -T -E -W -n -q doc $(BUILD)/doc; \
	else \
		echo "There is no doc/conf.py"; \
	fi

wheel: $(STAMP)
	@$(RUN).tests.wheel

demo: $(STAMP)
	@$(RUN).demo $(ARGS)

benchmark: $(STAMP)
	@$(RUN).benchmarks $(ARGS)

soak: $(STAMP)
	@$(RUN).tests.soak $(ARGS)

clean:
	rm -rf .venv* $(BUILD) .hypothesis .tox build dist doc/_build *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +
