# Every target installs first what it needs: see lab/install.sh, which says what it does.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
PACKAGES := .venv/.python
PYTEST_ARGS ?=
# Tests at once: most of them wait for servers, so more than there are processors. In the order of
# the folders: files with few tests, which are the long ones, would else come last, one at a time.
WORKERS ?= 4
SUITE = $(BIN)/coverage run -m pytest -m "not e2e"
KUBECTL ?= kubectl
RUNTIME ?= docker
IMAGE ?= kube-forensics:0.1.0
# The wheels are made for the Python of .venv: the base image has to have the same.
BASE_IMAGE ?= python:$(shell $(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')-slim

export PYTHON

# One lock for every Python and processor that is supported; `UPGRADE=--upgrade make lock` takes newer ones.
LOCK := --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	--no-emit-index-url --no-emit-find-links $(UPGRADE)

.PHONY: help demo demo-slack test lint unit bench soak readers e2e clean install image lock deploy proto

help: ## Show this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

install: $(INSTALLED) ## Make .venv, and install what is missing

$(INSTALLED): pyproject.toml constraints.txt lab/install.sh
	@lab/install.sh

$(PACKAGES): pyproject.toml constraints.txt lab/install.sh
	@lab/install.sh python

demo: $(INSTALLED) ## Capture a compromised container into a private S3, and verify it: RUNTIME=docker|containerd
	@$(BIN)/python -m lab.demo "$(RUNTIME)"

demo-slack: $(INSTALLED) ## The same from Slack: a page in the browser, and the real bot behind it
	@lab/install.sh slack
	@$(BIN)/python -m lab.demo_slack

test: $(INSTALLED) lint ## Everything that must hold: style, types, layers, tests, coverage
	@rm -f .coverage .coverage.*
	$(SUITE) -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS) || { code=$$?; \
		[ $$code -eq 1 ] || exit $$code; \
		echo "Once more, alone, what failed beside others: what passes now is a race to be mended"; \
		$(SUITE) -v --last-failed --last-failed-no-failures none $(PYTEST_ARGS); }
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

lint: $(PACKAGES) ## Style, types and layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(PACKAGES) ## The tests that need no servers
	$(BIN)/pytest tests/unit $(PYTEST_ARGS)

bench: $(INSTALLED) ## Measure everything, for hours; writes docs/: with KUBECONFIG also on that cluster
	@$(BIN)/python -m bench
	@$(BIN)/python -m bench.request
	@$(BIN)/python -m bench.operator
	@$(BIN)/python -m bench.incident
	@$(BIN)/python -m bench.hold
	@$(BIN)/python -m bench.rules
	@$(BIN)/python -m bench.slack
	@$(BIN)/python -m bench.recall
	@$(BIN)/python -m bench.report
	@$(BIN)/python -m bench.timeline

soak: $(INSTALLED) ## Capture again and again, watching for leaks; then attack the reader 100,000 times
	@$(BIN)/python -m bench.soak
	FORENSICS_TEST_SWAPS=100000 $(BIN)/pytest -o timeout=600 tests/unit/collector/files/test_safe_open.py

readers: $(INSTALLED) ## Every command of docs/readers.md, with all tools: installs 900 MB into .lab
	@lab/install.sh readers
	FORENSICS_TEST_READERS=1 $(BIN)/pytest tests/integration/readers/test_other_tools.py $(PYTEST_ARGS)

e2e: $(PACKAGES) ## The tests against the cluster that KUBECONFIG names
	@test -n "$$KUBECONFIG" || { echo "KUBECONFIG names no cluster: set it and try again" >&2; exit 2; }
	$(BIN)/pytest -m e2e tests/e2e $(PYTEST_ARGS)

image: $(PACKAGES) ## Build the container image: IMAGE=name:tag BASE_IMAGE=name:tag
	@rm -rf deploy/image/wheels
	$(BIN)/python -m pip wheel --quiet --require-hashes --requirement deploy/image/requirements.txt --wheel-dir deploy/image/wheels
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir deploy/image/wheels .
	docker build --network none --build-arg BASE_IMAGE="$(BASE_IMAGE)" --tag "$(IMAGE)" deploy/image

lock: $(PACKAGES) ## Make constraints.txt and the image's requirements.txt anew, with hashes
	$(BIN)/uv pip compile $(LOCK) pyproject.toml --all-extras --group dev --output-file constraints.txt
	$(BIN)/uv pip compile $(LOCK) pyproject.toml deploy/image/pip.in --extra all --constraint constraints.txt --output-file deploy/image/requirements.txt

deploy: ## Install into the cluster that kubectl talks to: see docs/install.md
	$(KUBECTL) apply -k deploy

proto: $(INSTALLED) ## Make the code of the protobuf messages again
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. collector/cri/_proto/*.proto lab/cri/*.proto

clean: ## Remove .venv and everything that can be made again
	rm -rf .venv .tox .lab dist build htmlcov deploy/image/wheels .coverage .coverage.* *.egg-info
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
