# CI and the pre-commit hook call only what stands here.
SHELL := /bin/sh
.DELETE_ON_ERROR:
.PHONY: help run test lint gen bench count fuzz fuzz-nginx nginx-proofs waf chaos clean tools peers

export PATH := $(PATH):$(HOME)/.cargo/bin
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= auto
# A wheel is rebuilt only when one of these is newer than its stamp.
SOURCES := $(shell find crates python -type f \( -name '*.rs' -o -name '*.py' -o -name '*.pyi' -o -name '*.toml' \
	-o -name '*.json' -o -name '*.html' \) 2>/dev/null) Cargo.toml Cargo.lock pyproject.toml

help:
	@echo "make run     build, install into $(VENV) and serve examples/hello on port $(PORT)"
	@echo "make test    lints, Rust tests, pytest over the built wheel"
	@echo "make lint    ruff, mypy, rustfmt, clippy, generated files"
	@echo "make gen     write the schema, the Python classes and the reference page from the Rust structs"
	@echo "make bench   compare with nginx, uWSGI, gunicorn and Granian; writes docs/benchmarks.md"
	@echo "make count   instructions and system calls of a request, beside nginx and uWSGI"
	@echo "make fuzz    fuzz the codecs, ten minutes each;  make fuzz-nginx   compare with nginx;  make chaos   the long fault tests"
	@echo "make waf     all regression tests of the OWASP Core Rule Set through a gateway; make test takes each eighth"
	@echo "make clean   remove what was built"

tools:
	@scripts/check-tools.sh

peers:
	@scripts/install-peers.sh

$(VENV)/.made: | tools
	@python=$$(scripts/find-python.sh) && scripts/make-venv.sh "$$python" $(VENV)
	$(BIN)/pip install -q "maturin>=1.16,<2"
	@touch $@

# --- run: the release wheel ---------------------------------------------------------------------------------------
$(VENV)/.hello: examples/hello/requirements.txt $(VENV)/.made
	$(BIN)/pip install -q -r examples/hello/requirements.txt
	@touch $@

# Without --quiet: the first time takes minutes, and cargo says how far it is.
$(VENV)/.release: $(SOURCES) $(VENV)/.made
	@echo "Building the release wheel with all optimisations: 5 to 10 minutes the first time on 2 to 4 cores, 2 to 4 after a change."
	@rm -rf target/wheels/release
	$(BIN)/maturin build --release --interpreter $(BIN)/python --out target/wheels/release
	$(BIN)/pip install -q --force-reinstall --no-deps target/wheels/release/*.whl
	$(BIN)/pip install -q target/wheels/release/*.whl
	@rm -f $(VENV)/.ci && touch $@

run: $(VENV)/.release $(VENV)/.hello
	@echo "Serving examples/hello; Ctrl+C stops it."
	@echo "http://127.0.0.1:$(PORT)"
	@cd examples/hello && exec ../../$(BIN)/buchner serve hello:app --bind 127.0.0.1:$(PORT)

# --- test: a wheel that builds faster --------------------------------------------------------------------------------
$(VENV)/.extras: pyproject.toml $(VENV)/.made
	$(BIN)/python scripts/extras.py test lint | xargs -d '\n' $(BIN)/pip install -q
	@touch $@

$(VENV)/.ci: $(SOURCES) $(VENV)/.made
	@rm -rf target/wheels/ci
	$(BIN)/maturin build --profile ci --quiet --interpreter $(BIN)/python --out target/wheels/ci
	$(BIN)/pip install -q --force-reinstall --no-deps target/wheels/ci/*.whl
	$(BIN)/pip install -q target/wheels/ci/*.whl
	@rm -f $(VENV)/.release && touch $@

test: peers lint $(VENV)/.ci $(VENV)/.extras $(VENV)/.hello
	cargo test --workspace --exclude buchner-py --quiet
	cargo test --manifest-path fuzz/Cargo.toml --target-dir target/fuzz-seeds --quiet
	$(BIN)/python -m pytest -q -n $(JOBS) -m "not chaos"

chaos: peers $(VENV)/.release $(VENV)/.extras $(VENV)/.hello
	$(BIN)/python -m pytest -q -s -m chaos

lint: $(VENV)/.ci $(VENV)/.extras | tools
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	$(BIN)/python scripts/gen.py --check

gen: $(VENV)/.ci $(VENV)/.extras | tools
	$(BIN)/python scripts/gen.py

fuzz: | tools
	fuzz/run.sh

# 1,000 random configurations, 100 requests each, to nginx and to Buchner; ARGS="--seed 2" draws others.
fuzz-nginx: peers $(VENV)/.ci $(VENV)/.extras
	$(BIN)/python tests/fuzz_nginx.py $(ARGS)

# Each supported directive does nothing once, and each of its proofs has to fail; ARGS="gzip geo" looks at these.
nginx-proofs: peers $(VENV)/.ci $(VENV)/.extras
	$(BIN)/python tests/nginx_proofs.py $(ARGS)

# All regression tests of the Core Rule Set through a gateway; SUITE=942 takes those whose names begin so.
SUITE ?= whole
waf: peers $(VENV)/.ci $(VENV)/.extras
	BUCHNER_CRS_SUITE=$(SUITE) $(BIN)/python -m pytest -q -s tests/waf/test_crs_suite.py

# --- bench -----------------------------------------------------------------------------------------------------------
.bench/.made: pyproject.toml | tools
	@mkdir -p .bench && python=$$(scripts/find-python.sh) && scripts/make-venv.sh "$$python" .bench/venv
	.bench/venv/bin/python scripts/extras.py bench | xargs -d '\n' .bench/venv/bin/pip install -q
	-.bench/venv/bin/pip install -q uwsgi   # needs a compiler and Python's headers; Debian's is used otherwise
	@touch $@

bench: peers .bench/.made $(VENV)/.release
	$(BIN)/pip install -q flask
	$(BIN)/python benches/run.py $(ARGS)
	$(BIN)/python benches/count.py

count: peers $(VENV)/.release
	$(BIN)/python benches/count.py $(ARGS)

clean:
	rm -rf target $(VENV) .bench .mypy_cache .ruff_cache .pytest_cache dist
	find python tests benches scripts examples -name __pycache__ -prune -exec rm -rf {} +
