# make demo: the main job on a fresh machine.  make test: everything that must pass.
PYTHON ?= python3
BIN := .venv/bin
# tests, lint and types in the venv that this file makes; pip takes a CPU wheel of torch if
# its settings (find-links, index) offer one, because 2.13.0+cpu satisfies the pin.

.PHONY: setup demo test lint bench node parity-arm64 matrix zoo android clean
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
	$(BIN)/lint-imports

test: setup node
	$(BIN)/pytest

# onnxruntime-node reads our ONNX test data sets; without it those tests are skipped. No install
# scripts: its own would download CUDA libraries.
NODE := tests/export/node
node: $(NODE)/node_modules/.ready
$(NODE)/node_modules/.ready: $(NODE)/package-lock.json
	cd $(NODE) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error && \
		touch node_modules/.ready || echo "no onnxruntime-node: its tests will be skipped"

# The same on an emulated 64-bit Arm processor; a job of its own, on Debian.
parity-arm64: setup
	tests/arm64/root.sh .arm64 $(BIN)/python
	$(BIN)/deploy-bias export deploy_bias/data/digits --output .arm64/digits \
		--backend onnx,executorch --precision fp32,int8,int4
	$(BIN)/python -m tests.arm64 .arm64/digits .arm64

# The wheel beside the versions that users have: four environments of several GB, one at a time.
matrix:
	$(PYTHON) -m tests.matrix $(SETS)

# Ordinary modules of many kinds, on every backend: no false alarm, nothing missed. Minutes, and so
# a job of its own.
zoo: setup
	$(BIN)/python -W ignore -m tests.zoo

bench: setup
	$(BIN)/python -m benchmarks --output benchmarks/results

# The Kotlin side on a JVM: what Python makes of the demo model, and then the same there.
android: setup
	$(BIN)/python -W ignore android_demo/bundle/src/test/python/expect.py android_demo/target/expected
	mvn --batch-mode --no-transfer-progress --file android_demo verify

clean:
	rm -rf .venv .arm64 .matrix demo $(NODE)/node_modules android_demo/target android_demo/*/target
