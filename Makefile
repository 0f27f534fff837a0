# make demo: the main job on a fresh machine.  make test: everything that must pass.
PYTHON ?= python3
BIN := .venv/bin
# tests, lint and types in the venv that this file makes; pip takes a CPU wheel of torch if
# its settings (find-links, index) offer one, because 2.13.0+cpu satisfies the pin.

.PHONY: setup demo test lint bench node parity-arm64 matrix zoo expected android web clean
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

# onnxruntime-web reads our ONNX test data sets, and runs the page; without it those tests are
# skipped.
WEB := web_demo
node: $(WEB)/node_modules/.ready
$(WEB)/node_modules/.ready: $(WEB)/package-lock.json
	cd $(WEB) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error && \
		touch node_modules/.ready || echo "no onnxruntime-web: its tests will be skipped"

# The same on an emulated 64-bit Arm processor; a job of its own, on Debian.
parity-arm64: setup
	tests/arm64/root.sh .arm64 $(BIN)/python
	$(BIN)/deploy-bias export deploy_bias/data/digits --output .arm64/digits \
		--backend onnx,executorch --precision fp32,int8,int4
	$(BIN)/python -m tests.arm64 .arm64/digits .arm64

# The wheel beside the versions that users have: four environments of several GB, one at a time.
matrix:
	$(PYTHON) -m tests.matrix $(SETS)

# Ordinary modules of many kinds on every backend, and known-bad files: no false alarm, nothing
# missed. An hour, and so a job of its own; the architectures are those of the extra zoo.
zoo: setup
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[zoo]'
	$(BIN)/python -W ignore -m tests.zoo

bench: setup
	$(BIN)/python -m benchmarks --output benchmarks/results

# What Python makes of the demo model: the expectations of the two other languages.
expected: setup
	$(BIN)/python -W ignore -m tests.expected .expected

# The Kotlin side on a JVM.
android: expected
	mvn --batch-mode --no-transfer-progress --file android_demo verify

# The page of web_demo on what Python expects, in Debian's chromium-headless-shell or CHROMIUM; cut
# off from any network where this user may do so.
# SCREENSHOTS=docs writes the pictures of the documentation.
ALONE = $(if $(shell unshare --net ip link set lo up 2>&1),,unshare --net sh -c 'ip link set lo up; exec "$$@"' sh)
web: expected node
	$(BIN)/deploy-bias web .expected/bundle --output $(WEB)/dist \
		--runtime $(WEB)/node_modules/onnxruntime-web
	cd $(WEB) && npx tsc && node --test test/unit/
	cd $(WEB) && PYTHON=$(CURDIR)/$(BIN)/python $(ALONE) npx playwright test

clean:
	rm -rf .venv .arm64 .matrix .expected demo $(WEB)/node_modules $(WEB)/dist android_demo/target android_demo/*/target
