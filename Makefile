# Everything is installed from uv.lock into .venv; uv itself is brought where it is missing.
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
PYTHON ?= python3

.PHONY: serve observe test conformance eval bench bench-scale loadtest bench-replicas check fmt install clean

serve: install
	@exec .venv/bin/memex serve

# Prometheus over a running service, in the foreground; needs Debian's package prometheus.
observe: install
	@exec .venv/bin/memex observe $(ARGS)

# Two at a time, but for the tests of whole services, which come last and one by one.
test: install
	@exec .venv/bin/pytest -n 2 --no-loadscope-reorder $(ARGS)

# Runs MCP's official conformance suite and the Inspector; npm brings both, and a Node.js.
conformance: install tests/conformance/node_modules/installed
	@exec .venv/bin/python -m tests.conformance

# Measures a running service's retrieval on a public benchmark; `make eval DATA=path`, and any of
# K=5,10 MODE= ALPHA= LEXICAL_WEIGHT= FUSION= JOBS=4 LIMIT= OUT= URL= FRESH=1.
ifneq ($(filter eval,$(MAKECMDGOALS)),)
ifeq ($(DATA),)
$(error DATA is missing: make eval DATA=path/to/longmemeval_s.json, or a locomo10.json)
endif
endif
eval: install
	@exec .venv/bin/python -m evaluation '$(DATA)' $(if $(K),--k '$(K)') $(if $(MODE),--mode '$(MODE)') \
	  $(if $(ALPHA),--alpha '$(ALPHA)') $(if $(LEXICAL_WEIGHT),--lexical-weight '$(LEXICAL_WEIGHT)') \
	  $(if $(FUSION),--fusion '$(FUSION)') $(if $(JOBS),--jobs '$(JOBS)') \
	  $(if $(LIMIT),--limit '$(LIMIT)') $(if $(OUT),--out '$(OUT)') $(if $(URL),--url '$(URL)') \
	  $(if $(FRESH),--fresh)

# Measures the service under load beside a baseline, on this machine; needs wrk. loadtest/README.md.
bench: install
	@exec .venv/bin/python -m loadtest.bench $(ARGS)

# Measures searches among a million memories, on a Postgres of its own. loadtest/README.md has more.
bench-scale: install
	@exec .venv/bin/python -m loadtest.scale $(ARGS)

# Runs Locust against a service of its own, or ARGS="--url http://…"; the reports stay.
loadtest: .venv/bin/locust
	@exec .venv/bin/python -m loadtest.locust_run $(ARGS)

# Measures requests/s against the number of embedder replicas; needs wrk.
bench-replicas: install
	@exec .venv/bin/python -m loadtest.replicas $(ARGS)

check: install
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

fmt: install
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

install: .venv/installed

.venv/installed: pyproject.toml uv.lock $(filter .uv/%,$(UV))
	$(UV) sync --locked
	@touch $@

# Locust, beside all else; each sync above takes it away again.
.venv/bin/locust: .venv/installed
	$(UV) sync --locked --inexact --group load
	@touch $@

tests/conformance/node_modules/installed: tests/conformance/package.json tests/conformance/package-lock.json
	@command -v npm >/dev/null || { echo 'make conformance needs npm, which comes with Node.js' >&2; exit 1; }
	npm ci --prefix tests/conformance --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

.uv/bin/uv:
	$(PYTHON) -m venv .uv
	.uv/bin/pip install --quiet --disable-pip-version-check uv

clean:
	rm -rf .venv .uv
