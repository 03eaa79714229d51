# One word for each thing one does here; `make` alone lists them.
# Set-up happens by itself, in .venv, the first time a target needs it and again when the lock or pyproject.toml changes.

PYTHON ?= python3
ARGS ?=

PY := .venv/bin/python
UV := .venv/bin/uv
READY := .venv/ready
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))

# What a caller's shell points elsewhere must not reach in here: a foreign folder could hide one of our packages.
unexport PYTHONHOME PYTHONPATH VIRTUAL_ENV
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Like pip, uv trusts whom the operating system trusts (a company's own certificate authority, say).
export UV_SYSTEM_CERTS ?= true

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help backtest test fuzz faults check bench ui audit docs lock lock-check build format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile
	@echo "  ARGS='...' passes arguments on; PYTHON=... chooses the interpreter (3.11 or later) that .venv is made with"

backtest: $(READY) ## replay the default study and judge every margin model
	.venv/bin/marginlab backtest $(ARGS)

test: $(READY) ## run the test-suite on every core
	$(PY) -m pytest -n auto --maxprocesses 8 --dist worksteal $(ARGS)

fuzz: $(READY) ## damage 10,000 files and make 100,000 calls: no wrong row, no unsound answer
	$(PY) tests/fuzzed_files.py $(ARGS)
	$(PY) tests/fuzzed_calls.py

faults: $(READY) ## strike nights with 10,000 faults (COUNT=...), and see that nothing in force is lost or wrong
	$(PY) tests/night_faults.py $(or $(COUNT),10000) $(ARGS)

check: $(READY) ## format, lint, types, layers, notebooks, locks
	$(PY) -m ruff format --check
	$(PY) -m ruff check
	$(PY) -m mypy
	.venv/bin/lint-imports --no-logo
	$(PY) -m nbstripout --verify $(NOTEBOOKS) </dev/null
	$(PY) -m pytest -n auto --maxprocesses 4 -p no:doctest -o addopts= --nbmake --nbmake-timeout=300 notebooks
	@$(MAKE) --no-print-directory lock-check

bench: $(READY) ## measure the kernels and the replay
	$(PY) benchmarks/bench.py $(ARGS)

ui: $(READY) ## browse the recorded runs
	.venv/bin/marginlab ui $(ARGS)

audit: $(READY) ## prove on every model that tomorrow cannot change today
	.venv/bin/marginlab audit $(ARGS)

docs: .venv/docs/ready ## build the pages of docs/ and the reference into site/; any warning is an error
	NO_MKDOCS_2_WARNING=1 .venv/docs/bin/mkdocs build --quiet --strict
	@echo site/index.html

# The pages have an environment of their own: nobody else pays for it.
.venv/docs/ready: requirements/docs.lock | $(READY)
	@rm -rf .venv/docs && $(PY) -m venv .venv/docs
	@$(call install,.venv/docs/bin/python,requirements/docs.lock)
	@touch $@

format: $(READY) ## format the code, repair what ruff can, strip the notebooks
	$(PY) -m ruff format
	$(PY) -m ruff check --fix
	$(PY) -m nbstripout $(NOTEBOOKS) </dev/null

# ---- Locks: one serves every Python from 3.11 on, and none names an index.

flags = --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header
compile = $(UV) pip compile pyproject.toml $(flags)
compile_docs = $(UV) pip compile --group docs $(flags)

lock: $(READY) ## resolve the dependencies again (ARGS=--upgrade for newer ones)
	$(compile) $(ARGS) --group dev -o requirements/dev.lock
	$(compile) $(ARGS) -c requirements/dev.lock -o requirements/run.lock
	$(compile_docs) $(ARGS) -o requirements/docs.lock

lock-check: $(READY) ## are the locks what pyproject.toml asks for?
	@rm -rf .venv/locks && mkdir .venv/locks && cp requirements/*.lock .venv/locks
	@if echo pip | $(UV) pip compile --quiet --no-cache - >/dev/null 2>&1; then \
	  $(compile) --group dev -o .venv/locks/dev.lock >/dev/null \
	  && $(compile) -c requirements/dev.lock -o .venv/locks/run.lock >/dev/null \
	  && $(compile_docs) -o .venv/locks/docs.lock >/dev/null \
	  && diff -u requirements/dev.lock .venv/locks/dev.lock \
	  && diff -u requirements/run.lock .venv/locks/run.lock \
	  && diff -u requirements/docs.lock .venv/locks/docs.lock \
	  && echo "locks: up to date" || { echo "locks: not what pyproject.toml asks for; run make lock" >&2; exit 1; }; \
	elif [ "$$CI" = true ]; then echo "locks: not checked, uv cannot reach the package index" >&2; exit 1; \
	else echo "locks: not checked, uv cannot reach the package index"; fi

# ---- The wheel, proven in an environment that holds the locked run-time dependencies and nothing of this checkout.

build: $(READY) ## build wheel and sdist, install the wheel in a clean environment and check it there
	rm -rf build dist
	$(UV) build --quiet --no-build-isolation --python $(PY) --out-dir dist
	$(PY) -m venv build/clean
	@$(call install,build/clean/bin/python,requirements/run.lock)
	build/clean/bin/python -m pip install --quiet --no-index --no-deps dist/*.whl
	cd build && clean/bin/python ../scripts/check_wheel.py .. && clean/bin/marginlab --help >/dev/null
	@ls dist

clean: ## remove caches and builds; recorded runs, stored data and .venv stay
	rm -rf build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . \( -path ./.venv -o -path ./mlruns -o -path ./data/store \) -prune -o \
	  -type d \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

# ---- Set-up. The stamp comes last. `.venv/unfinished` holds the process that is at work: an installation killed half-way may
# hold half a package, so it starts afresh (uv and pip keep what was downloaded); one that failed in good order goes on.

# $(1) the interpreter to install for, $(2) the lock
install = $(UV) pip sync --quiet --require-hashes --compile-bytecode --python $(1) $(2) || { \
	echo "      uv could not install them; pip does it, more slowly"; \
	$(1) -m pip install --quiet --require-hashes --no-deps -r $(2); }

# A virtual environment knows its absolute path: one that was moved or copied, or lost its interpreter, is made again.
ifneq "$(shell test -x $(PY) && cat $(READY) 2>/dev/null)" "$(CURDIR)"
.PHONY: $(READY)
endif

$(READY): requirements/dev.lock pyproject.toml
	@echo "set-up of .venv, once (again only when the lock or pyproject.toml changes)"
	@if kill -0 "$$(cat .venv/unfinished 2>/dev/null)" 2>/dev/null; then \
	  echo "process $$(cat .venv/unfinished) is setting up .venv: wait for it, or rm -r .venv if it does something else" >&2; exit 1; fi
	@if [ -e .venv/unfinished ] || [ ! -x $(PY) ] || [ "$$(cat $(READY) 2>/dev/null || pwd -P)" != "$(CURDIR)" ]; then rm -rf .venv; fi
	@[ -x $(PY) ] || { \
	  "$(PYTHON)" -c '' 2>/dev/null \
	    || { echo "there is no $(PYTHON); install Python 3.11 or later, or name one: make PYTHON=/path/to/python" >&2; exit 1; }; \
	  "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "marginlab needs Python 3.11 or later and $(PYTHON) is $$("$(PYTHON)" -V 2>&1);" \
	         "name another: make PYTHON=python3.12" >&2; exit 1; }; \
	  "$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null \
	    || { echo "$(PYTHON) cannot make virtual environments: install python3-venv" >&2; exit 1; }; }
	@mkdir -p .venv && echo $$PPID >.venv/unfinished
	@[ -x $(PY) ] || "$(PYTHON)" -m venv .venv
	@echo "  1/3 environment: $$($(PY) -V)"
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip --default-pip >/dev/null
	@echo "  2/3 locked packages: about a minute"
	@awk '/^[^ ]/ { ours = /^uv==/ } ours' requirements/dev.lock >.venv/uv.txt
	@$(PY) -m pip install --quiet --require-hashes --no-deps --only-binary=:all: -r .venv/uv.txt \
	  || echo "      uv itself could not be installed"
	@$(call install,$(PY),requirements/dev.lock) \
	  || { rm -f .venv/unfinished; echo "the locked packages could not be installed: can pip reach its package index?" >&2; exit 1; }
	@echo "  3/3 marginlab itself, and its kernels compiled"
	@$(PY) -m pip install --quiet --no-deps --no-build-isolation -e . || { rm -f .venv/unfinished; exit 1; }
	@$(PY) -m research.warm || echo "      not compiled now: each kernel will be at its first call"
	@echo "$(CURDIR)" >.venv/ready.new && rm .venv/unfinished && mv .venv/ready.new $(READY)
