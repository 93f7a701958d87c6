# `make demo` and `make test` each do everything on a machine with Python 3.11, git and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test test-slow test-napari zoo zoo-check hypha test-hypha clean

demo: $(VENV)/.ready
	$(BIN)/python packaging/demo.py demo

test: $(VENV)/.ready
	$(BIN)/python -m pytest

test-slow: $(VENV)/.ready
	$(BIN)/python -m pytest -m slow

# the plugin in a real viewer without a screen: napari and Qt (500 MB) come into the same environment,
# so that what they need together with all the rest is seen to fit
test-napari: $(VENV)/.napari
	$(BIN)/python -m pytest tests/test_napari.py

$(VENV)/.napari: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[napari]'
	touch $@

# the packages in zoo_models, from their checkpoints and recipes
zoo: $(VENV)/.ready
	$(BIN)/python packaging/zoo_models.py

zoo-check: $(VENV)/.ready
	$(BIN)/python packaging/zoo_models.py --check

# torch comes first and pinned: a range would let pip choose a newer build of several GB
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[onnx,train,evaluate,prepare,bench,scale,test]'
	touch $@

# a real artifact manager on this machine, to which tests/test_upload.py uploads
hypha: .venv-hypha/.ready

test-hypha: $(VENV)/.ready .venv-hypha/.ready
	$(BIN)/python -m pytest -m hypha

.venv-hypha/.ready: packaging/environments/hypha.txt
	$(PYTHON) -m venv .venv-hypha
	.venv-hypha/bin/python -m pip install --quiet -r packaging/environments/hypha.txt
	touch $@

clean:
	rm -rf $(VENV) .venv-hypha demo
