# `make demo` and `make test` need nothing but Python >= 3.10 with venv: they make .venv themselves. `make help` lists the rest.
SHELL := /bin/sh
.SHELLFLAGS := -eu -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
PY := $(VENV)/bin/python
CANDIDATES := $(if $(PYTHON),$(PYTHON),python3.13 python3.12 python3.11 python3.10 python3)
PROTO_CANDIDATES := $(if $(PYTHON_PROTO),$(PYTHON_PROTO),python3.12 python3.11 python3.10 python3 ~/.pyenv/versions/3.1[012].*/bin/python)
PYTEST_ARGS ?=
# Most tests wait for most of their time: one worker more than cores, four at the most.
PYTEST_JOBS ?= $(shell cores=$$(getconf _NPROCESSORS_ONLN || echo 1); echo $$((cores < 3 ? cores + 1 : 4)))
# Machines are shared and loud. What fails is tried twice more, and the summary names it either way.
PYTEST_AGAIN ?= --reruns 2 -rR
BENCH_ARGS ?=
# What stands or falls with grpcio's private names, and what stands in for them where they may not be used.
SEAM_TESTS := $(wildcard tests/test_grpcio_*.py) tests/heartbeat/test_engines.py \
	$(patsubst %,tests/channel/test_%.py,cancel_aio interceptors_sync limited_sync)
PRIVATE_TESTS := $(SEAM_TESTS) tests/inband/test_streams.py tests/server/test_limits.py
FALLBACK_TESTS := $(SEAM_TESTS) tests/channel/test_as_stream_sync.py \
	tests/channel/test_layers_aio.py::test_a_server_that_does_not_accept_ends_the_call
TYPED := grpc_heartbeat tests tools $(sort $(patsubst %/,%,$(dir $(wildcard bench/*.py examples/*.py))))

.PHONY: help setup demo test test-oldest test-seams peers test-peers bench proofs proto proto-check wheel-files clean
.PHONY: check lint types imports rules proto-lint

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed-dev ## make .venv with everything that development needs

demo: $(VENV)/.installed-demo ## see it work: three real processes, a freeze, a recovery, the traces
	@$(PY) -m grpc_heartbeat.cli demo

test: $(VENV)/.installed-test ## run all tests (PYTEST_ARGS='-m "not slow"' leaves out those that take seconds)
	@$(PY) -m pytest -n $(PYTEST_JOBS) $(PYTEST_AGAIN) $(PYTEST_ARGS)

test-oldest: .venv-oldest/.installed ## run all tests on the oldest supported releases
	@.venv-oldest/bin/python -m pytest -n $(PYTEST_JOBS) $(PYTEST_AGAIN) $(PYTEST_ARGS)

test-seams: $(VENV)/.installed-test .venv-oldest/.installed ## run the tests of grpcio's private seams and of the public fallback on the oldest and the newest releases
	@for python in .venv-oldest/bin/python $(PY); do \
		echo "$$python: private seams"; \
		$$python -m pytest -q -n $(PYTEST_JOBS) $(PYTEST_AGAIN) -m "not slow" $(PYTEST_ARGS) $(PRIVATE_TESTS); \
		echo "$$python: public fallback"; \
		GRPC_HEARTBEAT_PUBLIC_API_ONLY=1 $$python -m pytest -q -n $(PYTEST_JOBS) $(PYTEST_AGAIN) -m "not slow" $(PYTEST_ARGS) $(FALLBACK_TESTS); \
	done

peers: .peers/.fetched ## fetch etcd, Envoy, nginx, HAProxy, Caddy and Prometheus into .peers, for the tests that talk to them

test-peers: .peers/.fetched $(VENV)/.installed-test ## run the tests that talk to programs of others
	@$(PY) -m pytest -m peers $(PYTEST_ARGS)

bench: $(VENV)/.installed-test ## measure against bare grpcio, and thousands of heartbeats against such as are written today
	@$(PY) -m bench $(BENCH_ARGS)

proofs: $(VENV)/.installed-test ## a million simulated connections, detection of real faults, false alarms (an hour)
	@$(PY) -m bench.simulation
	@$(PY) -m bench.detection
	@$(PY) -m bench.false_alarms

check: lint types imports rules proto-lint proto-check ## lint, types, import rules, generated code fresh

lint: $(VENV)/.installed-dev
	@echo "ruff check";  $(PY) -m ruff check -q .
	@echo "ruff format"; $(PY) -m ruff format -q --check .

types: $(VENV)/.installed-dev
	@echo "mypy";    $(PY) -m mypy --no-error-summary $(TYPED)
	@echo "pyright"; $(PY) -m pyright --pythonpath $(PY) $(TYPED)

imports: $(VENV)/.installed-dev
	@echo "import rules"; $(VENV)/bin/lint-imports --no-logo

rules: $(VENV)/.installed-dev
	@echo "own rules"; $(PY) tools/check_rules.py

proto-lint: $(VENV)/.installed-dev
	@echo "buf lint"; $(VENV)/bin/buf lint

proto-check: .venv-proto/.installed
	@echo "generated code"; .venv-proto/bin/python tools/generate_proto.py --check

proto: .venv-proto/.installed ## generate grpc_heartbeat/v1 from proto/
	@.venv-proto/bin/python tools/generate_proto.py

wheel-files: $(VENV)/.installed-test ## accept the wheel's present files as the pinned list
	@$(PY) -m tests.packaging.wheel

clean: ## remove the virtual environments, caches and build output
	@rm -rf .venv .venv-oldest .venv-proto .peers build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	@find . -name __pycache__ -prune -exec rm -rf {} +

# One stamp per set of extras: the demo does not wait for the development tools. pyproject.toml newer than the stamp
# installs again.
$(VENV)/.installed-demo: EXTRAS := cli,otlp
$(VENV)/.installed-test: EXTRAS := test
$(VENV)/.installed-test: INCLUDED := $(VENV)/.installed-demo
$(VENV)/.installed-dev: EXTRAS := dev
$(VENV)/.installed-dev: INCLUDED := $(VENV)/.installed-test $(VENV)/.installed-demo
$(VENV)/.installed-%: pyproject.toml
	@python=$$(tools/find_python.sh 3.10 3.99 $(CANDIDATES)) && tools/install.sh "$$python" $(VENV) -e ".[$(EXTRAS)]"
	@touch $(INCLUDED) $@

.peers/.fetched: tools/fetch_peers.sh
	@python=$$(tools/find_python.sh 3.10 3.99 $(CANDIDATES)) && tools/fetch_peers.sh "$$python" .peers
	@touch $@

.venv-oldest/.installed: pyproject.toml requirements/oldest.txt
	@python=$$(tools/find_python.sh 3.10 3.13 $(CANDIDATES)) && tools/install.sh "$$python" .venv-oldest -e ".[test]" -c requirements/oldest.txt
	@touch $@

.venv-proto/.installed: requirements/proto.txt
	@python=$$(tools/find_python.sh 3.10 3.12 $(PROTO_CANDIDATES)) && tools/install.sh "$$python" .venv-proto -r requirements/proto.txt
	@touch $@
