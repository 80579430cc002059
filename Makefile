# Everything is installed from uv.lock into .venv; if uv is missing, it is installed into .uv.
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
PYTHON ?= python3

.PHONY: serve observe test conformance eval bench bench-scale loadtest bench-replicas check fmt hooks install dist clean

serve: install
	@exec .venv/bin/memex serve

# Runs Prometheus on a running service, in the foreground; needs Debian's package prometheus.
observe: install
	@exec .venv/bin/memex observe $(ARGS)

# Runs two tests at a time, but tests of whole services one by one, at the end.
test: install
	@exec .venv/bin/pytest -n 2 --no-loadscope-reorder $(ARGS)

# Runs MCP's official conformance suite and the Inspector; npm installs both and a Node.js.
conformance: install tests/conformance/node_modules/installed
	@exec .venv/bin/python -m tests.conformance

# Measures a running service's retrieval on a public benchmark: `make eval DATA=path`, with any of
# K=5,10 MODE= ALPHA= LEXICAL_WEIGHT= FUSION= DIVERSITY= JOBS=4 LIMIT= OUT= URL= FRESH=1.
ifneq ($(filter eval,$(MAKECMDGOALS)),)
ifeq ($(DATA),)
$(error DATA is missing: make eval DATA=path/to/longmemeval_s.json, or a locomo10.json)
endif
endif
eval: install
	@exec .venv/bin/python -m evaluation '$(DATA)' $(if $(K),--k '$(K)') $(if $(MODE),--mode '$(MODE)') \
	  $(if $(ALPHA),--alpha '$(ALPHA)') $(if $(LEXICAL_WEIGHT),--lexical-weight '$(LEXICAL_WEIGHT)') \
	  $(if $(FUSION),--fusion '$(FUSION)') $(if $(DIVERSITY),--diversity '$(DIVERSITY)') $(if $(JOBS),--jobs '$(JOBS)') \
	  $(if $(LIMIT),--limit '$(LIMIT)') $(if $(OUT),--out '$(OUT)') $(if $(URL),--url '$(URL)') \
	  $(if $(FRESH),--fresh)

# Measures the service under load and a baseline, on this machine; needs wrk. See loadtest/README.md.
bench: install
	@exec .venv/bin/python -m loadtest.bench $(ARGS)

# Measures searches among a million memories, on a Postgres of its own. See loadtest/README.md.
bench-scale: install
	@exec .venv/bin/python -m loadtest.scale $(ARGS)

# Runs Locust against a service of its own, or ARGS="--url http://…"; keeps the reports.
loadtest: .venv/bin/locust
	@exec .venv/bin/python -m loadtest.locust_run $(ARGS)

# Measures requests/s by the number of embedder replicas; needs wrk.
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

# From now on each commit in this clone is formatted and checked.
hooks:
	git config core.hooksPath .githooks

install: .venv/installed

# Builds the wheel, which bundles the model: `pip install dist/*.whl` needs nothing of this clone.
dist: $(filter .uv/%,$(UV))
	rm -f dist/memex_serve-*
	$(UV) build --wheel

.venv/installed: pyproject.toml uv.lock $(filter .uv/%,$(UV))
	$(UV) sync --locked
	@touch $@

# Installs Locust in addition; each sync above uninstalls it.
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
	rm -rf .venv .uv dist
