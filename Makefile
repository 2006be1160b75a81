# What a person types here; `make` alone lists it. Needs Python 3.11 or newer, git and make; uses uv when it is there.

UV := $(shell command -v uv)
PYTEST := .venv/bin/pytest
export UV_PYTHON_DOWNLOADS := never

# A name on the PATH may be a shim that fails, so each candidate must run; without uv it must be able to make a venv.
define find_python
python=; for name in python3.13 python3.12 python3.11 python3; do \
	if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
		&& { [ -n "$(UV)" ] || "$$name" -c 'import ensurepip, venv' >/dev/null 2>&1; }; \
	then python=$$("$$name" -c 'import sys; print(sys.executable)'); break; fi; \
done; \
if [ -z "$$python" ]; then \
	echo "sojourn needs Python 3.11 or newer with its venv module: on Debian, apt install python3 python3-venv" >&2; exit 1; \
fi
endef

.PHONY: help
help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

.PHONY: run
run: .venv/installed ## run Sojourn with demo brokers until Ctrl-C
	@exec .venv/bin/sojourn up --demo

.PHONY: test
test: .venv/installed ## run all tests but the slow ones (at most 15 minutes)
	$(PYTEST) -m "not slow" -n 2 --dist loadgroup

.PHONY: test-full
test-full: .venv/installed ## run all tests: 400 kills, an hour of storms, 1000 property seeds, the wheel
	SOJOURN_TEST_PROFILE=full $(PYTEST) -n 2 --dist loadgroup

.PHONY: check
check: .venv/installed ## lint, format, types, and the tests that hold the tree, the docs and the schemas
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	$(PYTEST) -q $(addprefix tests/unit/test_,tidy.py namespace.py imports.py docs.py lock.py)

.PHONY: bench
bench: .venv/installed ## measure throughput beside its limits (docs/performance.md)
	.venv/bin/python -m bench

.PHONY: bench-believe
bench-believe: .venv/installed ## hold the list against the truth over days of injected time (docs/believe.md)
	.venv/bin/python -m bench.believe

.PHONY: bench-kafka
bench-kafka: .venv/installed ## measure workers on real Kafka beside its limits (needs Java 17 and Maven)
	.venv/bin/python -m bench.kafka

.PHONY: install
install: .venv/installed ## install into .venv what requirements.lock names, and Sojourn itself, editable

.PHONY: lock
lock: ## resolve pyproject.toml into requirements.lock (needs uv)
	@[ -n "$(UV)" ] || { echo "make lock needs uv: python3 -m pip install uv" >&2; exit 1; }
	uv pip compile pyproject.toml --extra server --group dev --output-file requirements.lock \
		--universal --python-version 3.11 --fork-strategy fewest --generate-hashes --no-header --no-annotate --quiet

.PHONY: clean
clean: ## remove .venv and caches; data directories stay
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/locked: requirements.lock
	@set -e; if ! .venv/bin/python -c '' 2>/dev/null; then \
		$(find_python); \
		echo "creating .venv with $$python"; \
		if [ -n "$(UV)" ]; then uv venv --quiet --clear --python "$$python" .venv; else "$$python" -m venv --clear .venv; fi; \
	fi
	@echo "installing what requirements.lock names (the first time about 300 MB)"
	@if [ -n "$(UV)" ]; then uv pip sync --quiet --python .venv/bin/python --require-hashes requirements.lock; \
	else .venv/bin/python -m ensurepip >/dev/null && .venv/bin/python -m pip install --quiet --progress-bar on --disable-pip-version-check --require-hashes -r requirements.lock; fi
	@touch $@

.venv/installed: .venv/locked pyproject.toml
	@if [ -n "$(UV)" ]; then uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .; \
	else .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .; fi
	@touch $@
