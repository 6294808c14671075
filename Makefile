# make repro: the default suite, from config to comparison.   make test: lint, types, contracts, tests.
SHELL := /bin/bash
PYTHON ?= python3
OVERRIDES ?=
SUITE ?=
BACKENDS ?=
JOBS ?=
VENV := .venv
RUN := source $(VENV)/bin/activate &&
TORCH := torch==2.13.0
# pip's own progress on a terminal; elsewhere our lines alone
PIP := python -m pip install $(shell test -t 2 || echo --quiet) --disable-pip-version-check

.PHONY: install install-backends install-llamacpp repro test test-slow lint lock clean-env

install: $(if $(BACKENDS),install-backends,$(VENV)/.installed)

# BACKENDS="onnxruntime openvino": the part of the lock that these need; cells of the others are skipped. Again adds others.
install-backends:
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pipeline.harness.lock $(BACKENDS) > $(VENV)/requirements.lock
	$(install-torch)
	@echo "install: the packages of $(BACKENDS)"
	@$(RUN) $(PIP) --require-hashes --no-deps --requirement $(VENV)/requirements.lock
	$(install-project)
	$(if $(filter llamacpp,$(BACKENDS)),-@$(MAKE) --no-print-directory install-llamacpp)
	touch $(VENV)/.installed

# torch first, from the index of your choice (TORCH_INDEX_URL); the lock covers the rest, with hashes.
$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else f"error: Python 3.11 to 3.13 is needed, this is {sys.version.split()[0]}; set PYTHON=python3.11")'
	@test -x $(VENV)/bin/python || { echo "install: $(VENV) of $$($(PYTHON) --version)"; $(PYTHON) -m venv $(VENV); }
	$(install-torch)
	@echo "install: the $$(grep -c == requirements.lock) packages of requirements.lock, 2 GB on the disk"
	@$(RUN) $(PIP) --require-hashes --no-deps --requirement requirements.lock
	$(install-project)
	-@$(MAKE) --no-print-directory install-llamacpp
	@$(RUN) python -m compileall -q pipeline stages
	@touch $@ && echo "install: done; source $(VENV)/bin/activate"

define install-torch
@echo "install: $(TORCH)$(if $(TORCH_INDEX_URL), from $(TORCH_INDEX_URL),; on Linux with CUDA unless TORCH_INDEX_URL is set)"
@$(RUN) $(PIP) $(if $(TORCH_INDEX_URL),--index-url $(TORCH_INDEX_URL)) "$(TORCH)"
endef
define install-project
@$(RUN) $(PIP) --no-deps --no-build-isolation --editable .
endef

# llama.cpp is compiled, once: pip keeps the wheel. It must run on other machines, so nothing is tuned to this one.
LLAMACPP_FLAGS := -DGGML_NATIVE=OFF -DLLAVA_BUILD=OFF -DMTMD_BUILD=OFF -DLLAMA_CURL=OFF
ifneq (,$(filter x86_64 amd64 AMD64,$(shell uname -m)))
LLAMACPP_FLAGS += -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON
endif
LLAMACPP_BUILD := $(VENV)/.compile
install-llamacpp:
	@echo "install: llama.cpp, which is compiled once: about 10 minutes on two cores; without it its cells are skipped"
	@mkdir -p $(LLAMACPP_BUILD) && export TMPDIR=$(abspath $(LLAMACPP_BUILD)); \
	  for ((s = 30; ; s += 30)); do sleep 30; \
	    echo "install: llama.cpp, $$(find $$TMPDIR -name '*.o' | wc -l) files compiled in $$((s / 60)) min $$((s % 60)) s"; done & \
	  trap "kill $$! 2>/dev/null; rm -rf $(LLAMACPP_BUILD)" EXIT; \
	  $(RUN) CMAKE_ARGS="$(LLAMACPP_FLAGS)" CMAKE_BUILD_PARALLEL_LEVEL=$${CMAKE_BUILD_PARALLEL_LEVEL:-$$(getconf _NPROCESSORS_ONLN)} \
	  python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement requirements-llamacpp.lock \
	  || { echo "llama.cpp was not compiled (a C++ compiler and the package index are needed): its cells are skipped"; exit 1; }

repro: install
	@$(RUN) { python -m pipeline $(if $(JOBS),run --jobs $(JOBS) $(if $(SUITE),,suite=default),repro) $(if $(SUITE),suite=$(SUITE)) $(OVERRIDES); code=$$?; \
	  echo; echo "Compare the runs:  source $(VENV)/bin/activate && python -m pipeline ui"; exit $$code; }

lint: install
	@$(RUN) ruff check . && ruff format --check . && mypy && lint-imports

test: lint
	@$(RUN) python -m pytest

# The sources that llama-cpp-python is built of: llama.cpp's own script is what our GGUF files are held against.
LLAMACPP_SOURCES := $(VENV)/llama.cpp
$(LLAMACPP_SOURCES): requirements-llamacpp.lock | $(VENV)/.installed
	rm -rf $@ $@.part
	$(RUN) python -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --no-binary llama-cpp-python \
	  --dest $@.part --requirement requirements-llamacpp.lock
	tar -xzf $@.part/llama_cpp_python-*.tar.gz -C $@.part
	mv $@.part/llama_cpp_python-*/vendor/llama.cpp $@ && rm -rf $@.part && touch $@

test-slow: install $(LLAMACPP_SOURCES)
	@$(RUN) LLAMA_CPP_ROOT=$(abspath $(LLAMACPP_SOURCES)) python -m pytest -m slow

lock:
	$(RUN) uv pip compile pyproject.toml --universal --all-extras --generate-hashes --no-emit-package torch --no-emit-package pip --quiet --output-file requirements.lock

# The pages as a site, in site/: in an environment of its own.
SITE_VENV := .venv-site
$(SITE_VENV)/.installed: requirements-site.txt
	test -x $(SITE_VENV)/bin/python || $(PYTHON) -m venv $(SITE_VENV)
	$(SITE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement requirements-site.txt
	touch $@

.PHONY: site
site: $(SITE_VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(SITE_VENV)/bin/mkdocs build --strict --quiet
	@echo "open site/index.html"
