# Everything is installed from uv.lock into .venv; uv itself is brought where it is missing.
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
PYTHON ?= python3

.PHONY: serve test check fmt install clean

serve: install
	@exec .venv/bin/memex serve

test: install
	@exec .venv/bin/pytest $(ARGS)

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

.uv/bin/uv:
	$(PYTHON) -m venv .uv
	.uv/bin/pip install --quiet --disable-pip-version-check uv

clean:
	rm -rf .venv .uv
