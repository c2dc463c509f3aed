"""What each key of a configuration means: the one place that says it.

The identity of a run, its name, its parameters in MLflow, what a study must not change, and
what a step file holds all follow from this table.
"""

from enum import Enum
from typing import Any

from omegaconf import DictConfig

from experiments.cli.config import flatten


class Kind(Enum):
    """What a key is for."""

    RESULT = "changes the result"  # part of the identity
    PLACE = "where and how a command runs"
    JUDGEMENT = "what a result is compared with"
    LABEL = "what people call it"


RESULT, PLACE, JUDGEMENT, LABEL = Kind

# Every top-level key, and the keys below it that differ from it. The groups of conf/ that are no
# keys of their own, and Hydra's own settings, stand here for the command line.
KEYS = {
    # a run
    "model": RESULT,
    "data": RESULT,
    "data.root": PLACE,
    "data.source": PLACE,
    "data.eval_batch_size": PLACE,
    "augmentation": RESULT,
    "loss": RESULT,
    "optimizer": RESULT,
    "scheduler": RESULT,
    "trainer": RESULT,
    "trainer.accelerator": PLACE,
    "trainer.devices": PLACE,
    "trainer.num_nodes": PLACE,
    "trainer.strategy": PLACE,
    "seed": RESULT,
    "step": RESULT,  # steps 10 and 13 differ in nothing else, and their runs are kept apart
    "experiment": RESULT,
    "point": LABEL,  # a short form of other keys
    "fused": PLACE,
    "compile": PLACE,
    "force": PLACE,
    "checkpoints": PLACE,
    "tracking": PLACE,
    "budget": JUDGEMENT,
    "target": JUDGEMENT,
    "name": LABEL,
    "description": LABEL,
    "why": LABEL,
    "published": LABEL,
    # a sweep
    "launcher": PLACE,
    "hydra": PLACE,
    # search
    "search": RESULT,
    "space": RESULT,
    "sampler": RESULT,
    "pruner": RESULT,
    "trials": RESULT,
    "smallest_above": RESULT,
    "final": RESULT,
    "final.steps": PLACE,
    "study": LABEL,
    "storage": PLACE,
    "worker": PLACE,
    # gate
    "stage": JUDGEMENT,
    "max_parameters": JUDGEMENT,
    "max_mult_adds": JUDGEMENT,
    "min_accuracy": JUDGEMENT,
    "min_seeds": JUDGEMENT,
    "judged_by": JUDGEMENT,
    "baseline": JUDGEMENT,
    "junit": PLACE,
    # compare
    "filter": JUDGEMENT,
    "group": JUDGEMENT,
    "against": JUDGEMENT,
    "metric": JUDGEMENT,
    "html": PLACE,
    "markdown": PLACE,
    "csv": PLACE,
    "attach": PLACE,
    # predict
    "run": RESULT,
    "where": RESULT,
    "input": RESULT,
    "output": PLACE,
    "format": PLACE,
    "batch_size": PLACE,
    # bench
    "what": RESULT,
    "rounds": RESULT,
    "bench": RESULT,
    "bench.folder": PLACE,
    # competition
    "root": PLACE,
    "rows": RESULT,
    "submission": RESULT,
}


def kind(key: str) -> Kind:
    """The kind of a dotted key: that of its longest prefix in the table, else RESULT."""
    while key not in KEYS and "." in key:
        key = key.rpartition(".")[0]
    return KEYS.get(key, RESULT)


def select(cfg: DictConfig, *kinds: Kind) -> dict[str, Any]:
    """The values of the given kinds, resolved, by their dotted keys."""
    return {key: value for key, value in flatten(cfg).items() if kind(key) in kinds}


def key_of(override: str) -> str:
    """The key that an override of the command line sets: "model.kernel" of "+model.kernel=5"."""
    return override.lstrip("+~").partition("=")[0].replace("/", ".")
