"""Which run a configuration describes: a hash of all that its result depends on."""

import hashlib
import json

from omegaconf import DictConfig

from experiments.program import flatten

# What says where a run happens, how it is judged or how it is shown does not change its result.
ELSEWHERE = (
    "budget.",
    "checkpoints.",
    "description",
    "force",
    "published",
    "target.",
    "tracking.",
    "data.eval_batch_size",
    "data.root",
    "data.source.",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
)


def config_hash(cfg: DictConfig) -> str:
    """Twelve hexadecimal digits, equal for equal experiments with equal seeds."""
    kept = {
        key: value
        for key, value in flatten(cfg).items()
        if value is not None and not key.startswith(ELSEWHERE)  # a key that is new keeps old hashes
    }
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]


def display_name(cfg: DictConfig) -> str:
    """What a person calls the experiment: "step 13" for step=s13, else its own name."""
    name = cfg.step or cfg.experiment or "custom"
    digits = name.removeprefix("s")
    return f"step {int(digits)}" if name.startswith("s") and digits.isdigit() else name
