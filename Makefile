# make step STEP=13   trains that step of the ladder      make test    runs the tests
# make ui             shows the runs on 127.0.0.1         make setup   what the two do first
# make gate           holds all steps to their budgets    make trial   a short training, and its gate

PYTHON ?= python3
STEP ?= 13
PORT ?= 5000
STORE ?= sqlite:///mlruns/mlflow.db
BIN := .venv/bin
# 13 and s13 are the ladder's step 13; any other name is a step of your own
NAME := $(shell echo '$(STEP)' | sed -E 's/^0?([0-9])$$/s0\1/; s/^([0-9]+)$$/s\1/')

.PHONY: step test test-slow lint gate trial ui setup clean

step: setup
	@$(BIN)/python -m experiments.train step=$(NAME) $(ARGS)

test: setup
	@$(BIN)/python -m pytest $(ARGS)

# minutes: kills a sweep twenty times, times sweeps
test-slow: setup
	@$(BIN)/python -m pytest -m slow $(ARGS)

lint: setup
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
	@$(BIN)/mlflow ui --backend-store-uri $(STORE) --host 127.0.0.1 --port $(PORT) --workers 1

setup: .venv/installed data/MNIST

.venv/installed: pyproject.toml constraints.txt
	@echo "setting up .venv (once; downloads several GB of packages)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	@touch $@

data/MNIST: | .venv/installed
	@$(BIN)/python -m experiments.fetch data=mnist

clean:
	rm -rf .venv *.egg-info
