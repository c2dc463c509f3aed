# make step STEP=13   trains that step of the ladder      make test        runs the tests
# make ui             shows the runs in a browser           make test-slow   runs the tests that take minutes
# make gate           checks the budget of every step     make trial       a short training and its gate
# make setup          the environment and the data, as `make step` needs them
# make test-gpu       what only a GPU can tell            make lint        ruff

PYTHON ?= python3
STEP ?= 13
PORT ?= 5000
STORE ?=
# for the CPU build of PyTorch: the index URL that pytorch.org shows for it
TORCH_INDEX ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: step test test-slow test-gpu lint gate trial ui setup clean

step: setup
	@$(BIN)/python -m experiments.train step=$(STEP) $(ARGS)

test: setup .venv/tests
	@$(BIN)/python -m pytest $(ARGS)

test-slow: setup .venv/tests
	@$(BIN)/python -m pytest -m slow $(ARGS)

# what only a GPU can tell, as a table in mlruns/gpu.md
test-gpu: setup .venv/tests
	@if $(BIN)/python -c 'import torch; exit(not torch.cuda.is_available())'; then \
	    timeout --foreground -s INT 10m $(BIN)/python -m pytest -m gpu --numprocesses=0 $(ARGS); \
	else echo 'test-gpu: PyTorch finds no GPU here, so there is nothing to test'; fi

lint: .venv/tests
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

gate: setup
	@$(BIN)/python -m experiments.gate stage=budget

# one epoch with three seeds, in a store of its own: enough to see that training works
TRIAL := mlruns/trial
SHORT := step=s13 trainer.max_epochs=1
trial: export MLFLOW_TRACKING_URI = sqlite:///$(TRIAL)/mlflow.db
trial: setup
	@rm -rf $(TRIAL)
	@$(BIN)/python -m experiments.train -m $(SHORT) 'seed=range(3)' launcher=local \
	    tracking.artifacts=$(TRIAL)/artifacts checkpoints.root=$(TRIAL)/checkpoints
	@$(BIN)/python -m experiments.compare html=$(TRIAL)/report.html markdown=$(TRIAL)/report.md
	@$(BIN)/python -m experiments.gate stage=evidence $(SHORT) min_accuracy=0.975 junit=$(TRIAL)/gate.xml

ui: setup
	@$(BIN)/python -m experiments.ui $(if $(STORE),tracking.uri='$(STORE)') port=$(PORT)

setup: .venv/installed data/MNIST

.venv/installed: pyproject.toml constraints.txt
	@echo "setting up .venv (once; downloads several GB of packages)"
	@$(PYTHON) -m venv .venv
	@test -z '$(TORCH_INDEX)' || $(PIP) torch torchvision --index-url $(TORCH_INDEX)
	@$(PIP) --editable .
	@touch $@

# Ray, Slurm, PostgreSQL, the browser's driver, pytest, ruff
.venv/tests: .venv/installed
	@echo "adding to .venv what only the tests need (once)"
	@$(PIP) --editable '.[test]'
	@touch $@

data/MNIST: | .venv/installed
	@$(BIN)/python -m experiments.fetch data=mnist

clean:
	rm -rf .venv *.egg-info
