# Everything a newcomer needs: `make demo` and `make test`. `make help` lists the rest.
# Overrides: PYTHON=the Python to build .venv with, JOBS=processes of `make test`.

PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
# The environment is renewed when the lock, the packaging, the place or the Python changes.
KEY := $(shell { cat requirements.lock pyproject.toml; echo '$(CURDIR) $(PYTHON)'; } | sha256sum | cut -c1-16)
INSTALLED := $(VENV)/installed-$(KEY)

SEED ?= 1
N ?= 20
LENGTH ?= 300
PRESET ?= tiny
BOARD ?= ulx3s
FPGA_PRESET ?= fpga
CLOCK ?= 25

.DELETE_ON_ERROR:
.PHONY: help demo die test lint format operators bench tune link routing training soak regression million coverage formal verilog bitstream netlist docs lock clean

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

$(INSTALLED):
	@command -v $(PYTHON) >/dev/null || { echo "error: no $(PYTHON) on PATH: package python3" >&2; exit 1; }
	@$(PYTHON) tools/check_host.py
	@echo "== Setting up $(VENV), once: about 2 minutes, or as long as 500 MB take to download"
	@start=$$(date +%s) \
	  && $(PYTHON) -m venv $(VENV) \
	  && $(BIN)/python -m pip install --disable-pip-version-check --quiet --requirement requirements.lock \
	  && $(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable . \
	  && rm -f $(VENV)/installed-* && touch $@ \
	  && echo "== $(VENV) is ready after $$(( $$(date +%s) - start )) s"

demo: $(INSTALLED) ## train a classifier with every matmul on the simulated node
	$(BIN)/d1 demo

die: $(INSTALLED) ## multiply matrices on all 354 simulated nodes; writes build/die.svg: some minutes
	$(BIN)/d1 die --heatmap build/die.svg

test: $(INSTALLED) ## run every test
	@mkdir -p build/junit
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal --junitxml build/junit/test.xml $(TESTS)

lint: $(INSTALLED) ## check style and types; warnings are errors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED) ## bring the sources into the style that lint asks for
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

operators: $(INSTALLED) ## every sample that PyTorch has for the operators of the compiler: long
	D1_SAMPLES=all $(BIN)/python -m pytest --timeout 7200 -n $(JOBS) tests/software/torch/test_opinfo.py

bench: $(INSTALLED) ## measure; writes build/bench.json, docs/benchmarks.md and README's table
	$(BIN)/d1 bench --json build/bench.json
	$(BIN)/python tools/write_benchmarks.py build/bench.json

tune: $(INSTALLED) ## measure schedules of products on the RTL, for the compiler to choose from
	$(BIN)/python tools/tune_kernels.py

link: $(INSTALLED) ## run SerDes links for hours: every rate of bit errors, everything else, two dies; renews docs/link.md
	$(BIN)/python tools/link_runs.py
	$(BIN)/python tools/link_soak.py
	$(BIN)/python tools/two_dies.py
	$(BIN)/python tools/write_docs.py

routing: $(INSTALLED) ## route 1000 dies with random dead routers; writes docs/routing_figures.json: half an hour
	$(BIN)/python tools/routing_figures.py
	$(BIN)/python tools/write_docs.py

training: $(INSTALLED) ## train the example's GPT, compare steps on the RTL; renews docs/training.md: about an hour
	$(BIN)/python tools/train_gpt.py curve
	$(BIN)/python tools/train_gpt.py rtl
	$(BIN)/python tools/write_docs.py

soak: $(INSTALLED) ## millions of packets through the mesh, golden and RTL; a die against one Verilog top for 100 000 cycles: SEED=
	$(BIN)/python tools/soak_mesh.py --seed $(SEED)
	$(BIN)/python tools/compare_die.py --seed $(SEED)

regression: $(INSTALLED) ## random programs, RTL against golden: SEED= N= LENGTH= PRESET= WAVES=
	$(BIN)/d1 regression --seed $(SEED) --count $(N) --length $(LENGTH) --preset $(PRESET) $(if $(WAVES),--waves $(WAVES))

million: $(INSTALLED) ## a million random instructions on each preset; writes docs/regression.json: 3 minutes
	for preset in d1 fpga tiny; do \
	  $(BIN)/d1 regression --preset $$preset --seed $(SEED) --instructions 1000000 --length 600 \
	    --least 100 --record docs/regression.json || exit 1; done
	$(BIN)/python tools/write_docs.py

coverage: $(INSTALLED) ## lines of the RTL that the regression reaches: SEED= N= PRESET=; writes build/coverage.txt
	$(BIN)/python tools/coverage.py --seed $(SEED) --count $(N) --preset $(PRESET)

formal: $(INSTALLED) ## prove what tests/formal claims: about 1 minute
	$(BIN)/python tools/formal.py

verilog: $(INSTALLED) ## write build/verilog/PRESET.v for every preset
	$(BIN)/python tools/write_verilog.py build/verilog

bitstream: $(INSTALLED) ## make build/fpga/BOARD/top.bit of a node on an FPGA: BOARD= FPGA_PRESET= CLOCK= in MHz, RECORD=--record
	$(BIN)/python tools/bitstream.py --board $(BOARD) --preset $(FPGA_PRESET) --clock $(CLOCK) $(RECORD)

netlist: $(INSTALLED) ## run digits through two layers on the netlist of a node on an FPGA, bit by bit against golden: an hour, most of it the bitstream's
	$(BIN)/python tools/netlist_inference.py

docs: $(INSTALLED) ## write the generated pages of docs/ anew
	$(BIN)/python tools/write_docs.py

lock: ## renew requirements.lock with the newest versions that pyproject.toml allows
	$(PYTHON) tools/check_host.py
	$(PYTHON) -m venv --clear build/lock
	build/lock/bin/python -m pip install --quiet --editable .[dev]
	build/lock/bin/python tools/write_lock.py requirements.lock

clean: ## remove what was built here; caches of built models stay (`d1 info` shows them)
	rm -rf build $(VENV) .pytest_cache .mypy_cache .ruff_cache
