# make demo: the main job on a fresh machine.  make test: everything that must pass.
PYTHON ?= python3
BIN := .venv/bin
# tests, lint and types in the venv that this file makes; pip takes a CPU wheel of torch if
# its settings (find-links, index) offer one, because 2.13.0+cpu satisfies the pin.

.PHONY: setup demo test lint bench android clean
setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps --constraint constraints.txt espnet
	touch $@

demo: setup
	$(BIN)/deploy-bias demo --output demo/digits-bundle

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: setup
	$(BIN)/pytest

bench: setup
	$(BIN)/python -m benchmarks --output benchmarks/results

# The Kotlin side on a JVM: what Python makes of the demo model, and then the same there.
android: setup
	$(BIN)/python -W ignore android_demo/bundle/src/test/python/expect.py android_demo/target/expected
	mvn --batch-mode --no-transfer-progress --file android_demo verify

clean:
	rm -rf .venv demo android_demo/target android_demo/*/target
