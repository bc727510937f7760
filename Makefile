# Needs Python 3.11 to 3.13 (with venv), pip and make. Everything is installed into .venv; `rm -r .venv` starts over.
.DEFAULT_GOAL := help
.PHONY: help setup lab check test test-fast test-labs labs-alone test-gpu test-card test-rounding test-browser bench notebooks clean

PYTHON ?= python3.11 python3.12 python3.13 python3 python
VENV := .venv
READY := $(VENV)/.ready
TORCH := $(VENV)/.torch
PIP := $(VENV)/bin/python -m pip --no-input --disable-pip-version-check install -qq --constraint constraints.txt
ALONE := build/alone
MAKE_ALONE := $(VENV)/bin/python tests/elsewhere/wheel_alone.py $(ALONE)
NBVAL := --nbval --nbval-current-env --nbval-cell-timeout=900
NO_CARD := There is no CUDA device that this torch can use, so nothing was run; `labkit doctor` says more
ROUNDING := ATEN_CPU_CAPABILITY=default MKL_CBWR=COMPATIBLE ONEDNN_MAX_CPU_ISA=SSE41
CPU_WHEELS := https://download.pytorch.org/whl/cpu
TORCH_VERSION = $(shell sed -n 's/^torch==//p' constraints.txt)

# Does this Python run, have the right version, and have venv? (A pyenv shim may exist but not run.)
SUITS = -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
# Does the CPU index answer within 5 s? The alarm also ends a name look-up that hangs.
ANSWERS = $(VENV)/bin/python -c 'import signal, urllib.request as u; signal.alarm(5); u.urlopen("$(CPU_WHEELS)/torch/")' >/dev/null 2>&1

help:  ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1  \2/p' Makefile | awk '{ printf "  make %-14s", $$2; $$1 = $$2 = ""; print }'

setup: $(READY)  ## make .venv and install everything, once (PYTHON=… names the interpreter)
	@:

# pip is the last thing installed into a new environment: once it is there, the environment is complete.
$(VENV)/bin/pip:
	@for python in $(PYTHON); do \
	  if "$$python" $(SUITS); then echo "Making $(VENV) with $$($$python --version)"; exec "$$python" -m venv --clear $(VENV); fi; \
	done; \
	echo "No Python 3.11 to 3.13 with venv was found (tried: $(PYTHON)). Install one (Debian, Ubuntu: apt-get install" \
	  "python3 python3-venv), or name it: make PYTHON=/path/to/python" >&2; exit 1

# torch comes first, so that nothing else brings another build: on Linux without a GPU the CPU build, which is a tenth of the size.
$(TORCH): constraints.txt | $(VENV)/bin/pip
	@echo "Installing PyTorch $(TORCH_VERSION) (a minute or more)"
	@cpu=; \
	if [ "$$(uname)" = Linux ] && ! nvidia-smi -L >/dev/null 2>&1; then \
	  if ( $(ANSWERS) ) 2>/dev/null; then cpu="--extra-index-url $(CPU_WHEELS)"; \
	  else echo "$(CPU_WHEELS) does not answer; taking the build that pip finds"; fi; \
	fi; \
	{ [ -n "$$cpu" ] && $(PIP) --timeout 15 --retries 1 $$cpu torch==$(TORCH_VERSION); } || $(PIP) torch==$(TORCH_VERSION)
	@touch $@

$(READY): pyproject.toml constraints.txt $(TORCH)
	@echo "Installing labkit and everything it can use (a minute or more)"
	@$(PIP) --editable '.[all]'
	@touch $@

lab: setup  ## copy the labs to my-labs/ and open JupyterLab (JUPYTER_ARGS="--no-browser --port=8899")
	@$(VENV)/bin/labkit lab -- $(JUPYTER_ARGS)

check: setup  ## ruff: the lint and the format; mypy: the types
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

test-fast: setup  ## the tests of the package without attacks, real kernels and whole labs, two files at once
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m 'not slow and not browser and not gpu' \
	  --ignore=tests/grading

test: setup  ## run every test that needs no browser and no GPU, then test-labs
	@mkdir -p build; nice $(MAKE_ALONE) >build/alone.log 2>&1 & making=$$!; \
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=15 --ignore=tests/grading; \
	status=$$?; wait $$making || status=$$?; cat build/alone.log; exit $$status
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=15 tests/grading
	@$(MAKE) --no-print-directory labs-alone

# The labs are checked where learners are: out of the wheel instead of this folder, beside Colab's versions instead of
# those of constraints.txt. Making that environment takes a minute, mostly of waiting.
test-labs: setup  ## run every lab against its stored outputs, out of the wheel, beside Colab's versions
	@echo "Making $(ALONE) (a minute or more)"; $(MAKE_ALONE)
	@$(MAKE) --no-print-directory labs-alone

labs-alone:
	env -u PYTHONPATH $(ALONE)/bin/pytest -q -n 2 tests/elsewhere tests/quizzes/test_widget.py tests/explorers
	cd $(ALONE)/labs && env -u PYTHONPATH OMP_NUM_THREADS=1 ../bin/pytest -n 2 --dist loadfile --no-loadscope-reorder $(NBVAL) .

test-gpu: setup  ## on a CUDA device: the tests marked gpu, every lab there against the same stored outputs, two benchmarks
	$(if $(shell $(VENV)/bin/python -c 'import torch; torch.cuda.is_available() and print(1)'),,$(error $(NO_CARD)))
	@$(VENV)/bin/python -c 'import torch; print(torch.cuda.get_device_name())'
	$(VENV)/bin/python -m pytest -m gpu
	LABKIT_DEVICE=cuda $(VENV)/bin/python -m pytest $(NBVAL) labs
	$(VENV)/bin/labkit bench sft --device cuda
	$(VENV)/bin/labkit bench sweep --device cuda

# What a GPU would do to the labs, as far as a CPU can show it: on a pretended card every tensor that is forgotten on the
# CPU is refused; and the slow paths of another processor round sums otherwise, as a GPU does.
test-card: setup  ## without a GPU: every lab on a pretended card (tests/pretend_card.py); half an hour
	env OMP_NUM_THREADS=1 JUPYTER_PATH=tests PYTHONPATH=tests $(VENV)/bin/python -m pytest --nbval --nbval-kernel-name pretended-card --nbval-cell-timeout=900 labs

test-rounding: setup  ## every lab against its stored outputs, with sums rounded as on another processor; twenty minutes
	env OMP_NUM_THREADS=1 $(ROUNDING) $(VENV)/bin/python -m pytest $(NBVAL) labs

test-browser: setup  ## run the tests that open pages in Chromium
	$(VENV)/bin/python -m pytest -m browser

bench: setup  ## measure speed and memory beside the peer libraries
	$(VENV)/bin/labkit bench all

notebooks: setup  ## run labs/source/*.py into labs/*.ipynb
	$(VENV)/bin/labkit notebooks build

clean:  ## remove caches and build products; keeps .venv and my-labs/
	rm -rf build dist look-out .pytest_cache .hypothesis .mypy_cache
	find . -path ./$(VENV) -prune -o -path ./my-labs -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -print | xargs rm -rf
