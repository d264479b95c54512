# `make` lists the targets. PYTHON=... selects the interpreter, ARGS=... is passed to pytest.

VENV := .venv
RUN := $(VENV)/bin/python -m

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# mkdocs-material prints a notice about the future of MkDocs on every build.
export NO_MKDOCS_2_WARNING := 1

# Two targets must not install into one environment at the same time, whatever -j says.
.NOTPARALLEL:
.PHONY: help demo dev test test-long test-mlxcel bench evaluate soak coverage mutants lint types docs links build audit clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.installed-demo ## answer two questions about the docs with a local model
	@$(VENV)/bin/mlxcel-integrations demo

dev: $(VENV)/.installed-test $(VENV)/.installed-lint $(VENV)/.installed-docs ## install what tests, checks and pages need, for work on the code
	@echo 'Ready. Your editor should use $(VENV)/bin/python; make test, make lint and make docs run now.'

test: $(VENV)/.installed-test ## run the tests that need no mlxcel binary, except slow ones
	@$(RUN) tests $(ARGS)

test-long: $(VENV)/.installed-test ## run the slow tests
	@$(RUN) tests --long $(ARGS)

test-mlxcel: $(VENV)/.installed-test ## run the tests against the server named by MLXCEL_BIN
	@test -n "$$MLXCEL_BIN" || { echo 'Set MLXCEL_BIN to the mlxcel executable.' >&2; exit 1; }
	@$(RUN) pytest -m mlxcel $(ARGS)

bench: $(VENV)-bench/.installed ## measure our overhead against other packages, into docs/performance.md
	@$(VENV)-bench/bin/python -m tests.benchmarks $(or $(ARGS),--write)

evaluate: $(VENV)/.installed-test ## ask the built-in model 90 questions, in 6 prompts of the frameworks, and search for 100 others
	@$(RUN) tests.evaluation $(ARGS)

soak: $(VENV)/.installed-test ## stress clients and servers for 10 minutes; ARGS="--minutes 3" for less
	@$(RUN) tests.soak $(ARGS)

# The pure folders, and the code that waits for a server.
core := */protocol/*,*/structured/*,*/transport/*,*/operations.py,*/client.py,*/async_client.py

# It prints its tables also after a test has failed, and then fails.
coverage: $(VENV)/.installed-coverage ## run the tests of `make test`, and fail if they cover too little
	@$(RUN) coverage erase
	@$(RUN) coverage run -m tests $(ARGS); tested=$$?; \
	$(RUN) coverage combine --quiet && \
	$(RUN) coverage report --include='$(core)' --fail-under=100 && \
	$(RUN) coverage report --fail-under=95 && \
	exit $$tested

mutants: $(VENV)/.installed-mutants ## change the pure folders in 13,700 ways, and fail if the tests notice too few
	@$(VENV)/bin/mutmut run $(ARGS)
	@$(VENV)/bin/mutmut results --all true | $(RUN) tests.mutants

lint: $(VENV)/.installed-lint ## check style and formatting
	@$(RUN) ruff check
	@$(RUN) ruff format --check

types: $(VENV)/.installed-lint ## check types
	@$(RUN) mypy

docs: $(VENV)/.installed-docs ## build the documentation into site/, and check its links
	@$(RUN) mkdocs build --quiet --strict
	@$(lychee) --offline README.md docs site

links: docs ## check the links to other sites, too
	@$(lychee) README.md docs notebooks/*.ipynb

build: $(VENV)-build/.installed ## build the wheel and the source archive into dist/
	@rm -rf dist
	@$(VENV)-build/bin/poetry check --lock
	@$(VENV)-build/bin/poetry build

audit: $(VENV)-audit/.installed ## look for known vulnerabilities of the lowest and the newest dependencies
	@mkdir -p build
	@for which in lowest-direct highest; do \
	    $(VENV)-audit/bin/uv pip compile --quiet --system-certs --all-extras pyproject.toml \
	        --resolution $$which --output-file build/$$which.txt && \
	    $(VENV)-audit/bin/pip-audit --strict --no-deps --requirement build/$$which.txt || exit 1; \
	done

clean: ## remove environments, caches and everything built
	rm -rf .coverage .coverage.* .venv .venv-* dist build mutants site .benchmarks .cache .hypothesis .*_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# For the pages on GitHub and the built ones, anchors included.
lychee = $(VENV)/bin/lychee --quiet --include-fragments --exclude-loopback --root-dir $(CURDIR)/site

packages_demo := -e '.[ask,langchain,embedded]'
packages_test := -e '.[all,ray]' --group test --group test-langchain --group notebooks --group recipes
packages_coverage := $(packages_test) 'coverage>=7.10,<8'
packages_mutants := $(packages_test) 'mutmut>=3.8,<4'
packages_lint := -e '.[all]' --group lint
packages_docs := -e '.[all]' --group docs --group notebooks

# A stamp is written only after the whole install succeeded, so that a failed one is repeated.
$(VENV)/.installed-%: pyproject.toml | $(VENV)/.made
	@echo 'Installing into $(VENV) for make $* (only now, and when pyproject.toml changes) ...'
	@$(RUN) pip install --quiet $(packages_$*)
	@touch $@

$(VENV)/.made:
	@.ci/make-venv $(VENV)
	@touch $@

# In an environment of its own: Poetry brings some forty packages.
$(VENV)-build/.installed:
	@echo 'Installing Poetry into $(VENV)-build ...'
	@.ci/make-venv $(VENV)-build
	@$(VENV)-build/bin/python -m pip install --quiet 'poetry>=2.2,<3'
	@touch $@

# In an environment of its own, and not in a dependency group, which would be part of the lock file:
# some of these packages need openai 2.
peers := 'langchain-llama-cpp>=0.1,<1' 'langchain-ollama>=1.1,<2' 'langchain-openai>=1.1,<2' \
    'llama-index-embeddings-openai>=0.7,<1' 'llama-index-llms-ollama>=0.11,<1' \
    'llama-index-llms-openai-like>=0.8,<1'

$(VENV)-bench/.installed: pyproject.toml
	@echo 'Installing this package and others like it into $(VENV)-bench ...'
	@.ci/make-venv $(VENV)-bench
	@$(VENV)-bench/bin/python -m pip install --quiet -e '.[all]' --group test $(peers)
	@touch $@

$(VENV)-audit/.installed:
	@echo 'Installing pip-audit into $(VENV)-audit ...'
	@.ci/make-venv $(VENV)-audit
	@$(VENV)-audit/bin/python -m pip install --quiet 'pip-audit>=2.10,<3' 'uv>=0.13,<1'
	@touch $@
