# make: the environment, the comparison, its table. make test: the tests. make ui: MLflow. make flow: the same through Prefect.
PYTHON ?= python3
PORT ?= 5000
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONPATH := $(CURDIR)
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := 1

.PHONY: all environment compare test test-slow lock lock-check lint ui flow clean

all: environment compare

compare:
	@python -m pipeline.check
	@dvc repro
	@python -m pipeline.report

environment: $(BIN)/.ready

$(BIN)/.ready: requirements.lock
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements.lock | cut -d' ' -f1)"
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.lock
	$(BIN)/python -m pipeline.report.offline_plots .dvc/tmp/plots.html
	$(BIN)/dvc config --local plots.html_template tmp/plots.html
	touch $@

test: environment
	python -m pytest -n 2 --dist loadfile -m "not slow and not gpu"

test-slow: environment
	python -m pytest -m slow

LOCK := uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --no-emit-index-url --no-header --quiet

lock: environment
	$(LOCK) -o requirements.lock

lock-check: environment
	@cp requirements.lock .venv/expected.lock
	@$(LOCK) -o .venv/expected.lock
	@diff requirements.lock .venv/expected.lock || (echo "requirements.lock does not fit pyproject.toml; run make lock" && exit 1)

lint: environment
	ruff check .
	ruff format --check .

ui: environment
	python -m pipeline.tracking ui --port $(PORT)

flow: environment
	@python -m pipeline.check
	python -m pipeline.flow

clean:
	rm -rf data runs report checkpoints downloads dvc_plots exports find_lr segments
