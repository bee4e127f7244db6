# Everything a newcomer types. Each target first makes the machine ready: scripts/bootstrap.

VENV    := .venv
PYTHON  := $(VENV)/bin/python
READY   := $(VENV)/.ready
MYPY    := build/mypy/nsxdp_agents
PYTEST  := $(PYTHON) -m pytest
# pytest's arguments, such as T=tests/lab or T='-k affinity'
T       ?=
# and in the emulated machine, where all takes 20 times as long
KERNEL_T := -m kernel tests/packets tests/node_agent tests/agents/test_restarts.py
# how many such machines share them, each with 4 GB
MACHINES ?= 1
# parts of the benchmarks; none: all
BENCH   ?=
# a fuzz target; none: all in turn; and seconds for each
TARGET  ?=
SECONDS ?= 60
# the demo's options, such as D=--api-server
D       ?=
# what of the e2e suite make cluster-test runs: conformance, netpol, loadbalancer, network, topology
# or all of them; or a regular expression
SPECS   ?= all
# and which of these not
SKIP    ?=
# the fault run's options, such as F="--minutes 10 --seed 7"
F       ?=

say = @printf '\033[1m== %s\033[0m\n'

.DEFAULT_GOAL := help
.PHONY: help demo test kernel-test cluster-test lint lab build docs bench sanitize coverage fuzz
.PHONY: cluster-page cni-cycles policy-sets faults dist clean

help:  ## Show this
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: build  ## See it work: pods, Services, restarts under traffic (as root)
	@$(PYTHON) examples/demo $(D)

test: lint build  ## Check everything: style, types, then all tests on real OVS and Kubernetes (as root)
	$(say) "tests"
	@$(PYTEST) $(T)

kernel-test: build  ## Send the packets through the kernel's datapath, in an emulated machine (as root)
	$(say) "packets through the kernel's datapath, in an emulated machine"
	@NSXDP_DATAPATH=system NSXDP_SLOWNESS=20 $(PYTHON) -m machine --timeout 10800 --machines $(MACHINES) \
	    $(PYTEST) -v -p no:cacheprovider -o timeout=1200 $(or $(T),$(KERNEL_T))

cluster-test: build  ## Run the agents and Kubernetes's own tests on a cluster of real nodes: SPECS=... (as root)
	@VENV=$(VENV) scripts/bootstrap cluster
	$(say) "a cluster of real nodes"
	@NSXDP_SPECS='$(SPECS)' NSXDP_SKIP='$(SKIP)' $(PYTEST) -v -s -m cluster tests/cluster $(T)

cluster-page: build  ## Write docs/specs.md: what became of Kubernetes's own tests when they ran last
	@$(PYTHON) -m pages.specs

lint: $(READY) $(MYPY)  ## Check style and types only
	$(say) "ruff: style"
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	$(say) "mypy: types"
	@$(VENV)/bin/mypy

build: $(READY)  ## Compile the C core and its bindings in place
	$(say) "the C core and its bindings"
	@flock .build.lock $(PYTHON) setup.py -q build_ext --inplace

docs: build  ## Write the pages of docs/ that come from the code: reference, commands, man pages
	$(say) "pages of docs/"
	@$(PYTHON) -m pages

sanitize: build  ## Test the C core under address and undefined-behaviour sanitizers
	$(say) "the C core under ASan and UBSan"
	@$(PYTEST) tests/core tests/fuzz $(T)

coverage: build  ## Show which lines of the C core no test runs; fail if they are too many
	$(say) "the C core's lines that tests run"
	@$(PYTHON) -m instrument.coverage $(T)

fuzz: build  ## Fuzz the C core, or one target: TARGET=flow_text SECONDS=3600
	$(say) "fuzzing"
	@$(PYTHON) -m fuzz --seconds $(SECONDS) $(TARGET)

cni-cycles: build  ## Add and delete a thousand pods, and see that nothing is left (as root)
	$(say) "a thousand pods come and go"
	@NSXDP_CNI_CYCLES=1000 $(PYTEST) -o timeout=600 tests/node_agent/test_many.py $(T)

policy-sets: build  ## Compare ten thousand random sets of policies with what their APIs say
	$(say) "ten thousand sets of policies"
	@NSXDP_POLICY_SETS=10000 $(PYTEST) -o timeout=3600 tests/policy/test_semantics.py $(T)

faults: build  ## Break everything at random, under traffic: F="--minutes 10 --seed 7" (as root)
	$(say) "faults"
	@$(PYTHON) -m faults $(F)

lab: build  ## Bring up a node with pods to play with (as root)
	@$(VENV)/bin/nsxdp lab up --api

bench: build  ## Run the benchmarks and write docs/benchmarks.md, or parts: BENCH="codec load" (as root)
	$(say) "benchmarks"
	@$(PYTHON) -m bench $(BENCH)

dist: $(READY)  ## Build source distribution and wheel into dist/
	@$(PYTHON) -m build

clean:  ## Remove what was built, but for .venv
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks
	find nsxdp -name '*.so' -delete
	find nsxdp -name '*.pyx' | sed 's/pyx$$/c/' | xargs -r rm -f
	find nsxdp agents bench examples faults machine pages tests -name __pycache__ -prune \
		-exec rm -rf {} +

$(READY): pyproject.toml scripts/bootstrap
	@VENV=$(VENV) scripts/bootstrap
	@touch $@

# nsxdp_agents lives in agents/; mypy looks for packages by their name
$(MYPY):
	@mkdir -p $(@D)
	@ln -sfn ../../agents $@
