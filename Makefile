# Two commands do everything on a fresh Debian machine as root, and use a cluster that is there:
#   make demo    a cluster, the operator, models, an answer
#   make test    all checks and tests, on a real cluster
.DEFAULT_GOAL := help
SHELL := /bin/bash
# pytest keeps the tests as it has rewritten them: to do so anew takes each of its processes seconds.
unexport PYTHONDONTWRITEBYTECODE

include tests/cluster/cluster.mk

VENV := .venv
PYTHON := $(VENV)/bin/python
# The programs that the test cluster brings (kubectl, helm), and its kubeconfig.
WITH_CLUSTER = eval "$$(python3 -m tests.cluster env)"

.PHONY: help venv demo demo-down test test-unit test-wire test-cluster check format crds chart fuzz \
	bench-autoscaling bench-cluster-day bench-scraping docs docs-serve clean

help: ## Say what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "== installing the Python packages into $(VENV)"
	@command -v python3 >/dev/null || (apt-get update -qq && apt-get install -y -qq python3 >/dev/null)
	@python3 -c 'import ensurepip' 2>/dev/null || (apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null)
	@test -x $(PYTHON) || python3 -m venv $(VENV)
	@$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

venv: $(VENV)/.installed ## Install the project and what its tests need into .venv

demo: venv cluster-up ## Show it: a cluster, the operator, models, answers
	@$(WITH_CLUSTER) && $(PYTHON) -m tests.demo up

demo-down: ## Remove the demo, and the test cluster with it
	@if test -x $(PYTHON); then $(WITH_CLUSTER) && $(PYTHON) -m tests.demo down; fi
	@$(MAKE) --no-print-directory cluster-down

test: check cluster-up servers ## Run all checks and tests, unit to cluster
	@$(WITH_CLUSTER) && $(PYTHON) -m pytest tests -m 'not cluster' --quiet --numprocesses=auto --dist=worksteal
	@$(WITH_CLUSTER) && $(PYTHON) -m pytest tests/cluster -m cluster --durations=15

test-unit: venv servers ## Run the unit tests but the exhaustive ones (under a minute on two cores)
	@$(WITH_CLUSTER) && $(PYTHON) -m pytest tests/unit -m 'not exhaustive' --hypothesis-profile=quick --quiet --numprocesses=auto --dist=worksteal

test-wire: venv servers ## Run the tests against local servers
	@$(WITH_CLUSTER) && $(PYTHON) -m pytest tests/wire --quiet --numprocesses=auto --dist=worksteal

test-cluster: venv cluster-up servers ## Run the tests that need a cluster
	@$(WITH_CLUSTER) && $(PYTHON) -m pytest tests/cluster -m cluster --durations=15

check: venv ## Check style, types, layers and generated files
	@$(VENV)/bin/ruff check operator tests
	@$(VENV)/bin/ruff format --check operator tests
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports --no-cache

fuzz: venv ## Write what nobody should into objects (FUZZ_CASES: how often, of four kinds) and configs (ATHERIS_RUNS)
	@$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable '.[fuzz]'
	@FUZZ_CASES=$(or $(FUZZ_CASES),20000) $(PYTHON) -m pytest tests/unit/fuzzing --quiet --hypothesis-show-statistics
	@$(PYTHON) -m tests.fuzz_config_text $(ATHERIS_RUNS)

bench-autoscaling: venv ## Compare autoscaling policies (a minute; FULL=1: a day; TRACE=file: its load)
	@$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable '.[bench]'
	@$(PYTHON) -m pytest tests/bench_autoscaling/check_*.py --quiet
	@nice -n 19 $(PYTHON) -m tests.bench_autoscaling $(if $(FULL),--full) $(if $(TRACE),--trace $(TRACE)) $(BENCH_ARGS)

bench-cluster-day: venv cluster-up ## A day of load in 8 minutes on the cluster, with plots (DAY=step: a step)
	@$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable '.[bench]'
	@$(WITH_CLUSTER) && $(PYTHON) tests/bench_cluster_day.py --load $(or $(DAY),day)

bench-scraping: venv ## Measure what it costs to ask a thousand pods every five seconds
	@$(PYTHON) tests/bench_scraping.py

format: venv ## Format the code
	@$(VENV)/bin/ruff check --fix --quiet operator tests || true
	@$(VENV)/bin/ruff format operator tests

crds: venv ## Write crds/, the chart's copy and docs/reference from operator/triton_operator/api
	@$(PYTHON) -m triton_operator.api.crd crds
	@rm -f charts/triton-operator/files/crds/*.yaml && cp crds/*.yaml charts/triton-operator/files/crds/
	@$(PYTHON) -m tests.field_reference

docs: venv ## Build the documentation's site into build/site
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict && echo "== build/site/index.html"

docs-serve: venv ## Show the documentation on http://127.0.0.1:8000, and follow changes
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs serve --strict

chart: crds ## Write what the chart holds of other files: CRDs, its values' descriptions and table
	@$(PYTHON) -m tests.chart_values

clean: ## Remove what can be made again, but no cluster
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
