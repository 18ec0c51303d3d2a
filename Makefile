# The two commands of the README are `make demo` and `make test`; each sets up all it needs.
PYTHON ?= python3.11
# Where pip finds torch, if not where it finds the rest: TORCH_ARGS="--index-url …"
TORCH_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet --quiet --no-deps --require-hashes

# One more than there are cores, four at most: some tests wait for what they started.
WORKERS := $(shell n=$$(( $$(getconf _NPROCESSORS_ONLN) + 1 )); echo $$(( n < 4 ? n : 4 )))

# For what imports an engine without hearth: tools, and processes of the benchmarks.
export ORT_DISABLE_TELEMETRY := 1
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: help demo serve test check bench lint format stubs front tables references golden pins tools clean

help: ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# A stamp for each set of packages: made again when its pins change.
$(VENV)/.demo: requirements/demo.txt pyproject.toml | $(BIN)/python
	@echo "installing the node into $(VENV) (a minute or two, without a word)"
	@$(INSTALL) -r requirements/demo.txt
	@$(PIP) install --quiet --quiet --no-deps --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt requirements/torch.txt $(VENV)/.demo
	@echo "installing what the tests need into $(VENV) (torch is large)"
	@$(PIP) install --quiet --quiet $(TORCH_ARGS) -r requirements/torch.txt
	@$(INSTALL) -r requirements/dev.txt
	@touch $@

demo: $(VENV)/.demo ## start a node, find it by mDNS, run every ready task on sample photographs
	@$(BIN)/python examples/demo.py

serve: $(VENV)/.demo ## start a node with this folder's settings
	$(BIN)/hearth serve

test: lint ## what CI runs: linters, types, tests
	$(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile

check: lint ## what a change needs while it is made: lint, types, the tests that need no node
	$(BIN)/pytest --unit --quiet --numprocesses $(WORKERS)

bench: $(VENV)/.dev ## every benchmark, short, against its goals
	@missed=; for script in benchmarks/[a-z]*.py; do \
	  echo "$$script"; $(BIN)/python $$script --quick --check || missed="$$missed $$script"; \
	done; if [ -n "$$missed" ]; then echo "goals missed:$$missed"; exit 1; fi

lint: $(VENV)/.dev ## linters, types, and the contract against what was published
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/buf lint proto
	$(BIN)/buf breaking proto --against proto/contract.json

format: $(VENV)/.dev ## mend what can be mended by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

stubs: $(VENV)/.dev ## write src/hearth/contract and the contract's image from proto/
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python proto/generate.py

front: $(VENV)/.dev ## write src/hearth/assets/pixels.onnx
	$(BIN)/python tools/make_front.py

tables: $(VENV)/.dev ## write the README's tables and src/hearth/known.py from the code
	$(BIN)/python tools/make_tables.py

references: $(VENV)/.demo ## write tests/references/mediapipe from mediapipe 0.10.21 itself
	$(BIN)/python tools/mediapipe_reference.py

golden: $(VENV)/.dev ## write tests/golden from what reference implementations answer
	$(BIN)/python tools/make_golden.py

pins: ## write requirements/*.txt from pyproject.toml
	$(PYTHON) -m venv build/uv && build/uv/bin/pip install --quiet uv
	for extra in server demo dev; do \
	  build/uv/bin/uv pip compile --quiet pyproject.toml --extra $$extra --universal \
	    --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-package torch \
	    --no-header --no-annotate --output-file requirements/$$extra.txt; \
	done

tools: ## Debian's tools that some tests use (as root; the tests skip what isn't there)
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends avahi-daemon avahi-utils dbus iproute2 util-linux xvfb
	command -v npm >/dev/null || apt-get install -y -qq --no-install-recommends nodejs npm
	apt-get install -y -qq --no-install-recommends \
	  golang-go golang-google-grpc-dev golang-github-golang-protobuf-1-5-dev

clean: ## remove what the other targets made, but for data/
	rm -rf $(VENV) build dist src/*.egg-info
