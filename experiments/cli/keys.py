"""The kinds of the keys of a configuration, the values of a kind, and keys that do not exist."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache, partial
from typing import Any

from omegaconf import DictConfig

from experiments.cli.config import PLACE, RESULT, Kind, flatten

_EPOCHS = "a run is a number of whole epochs; set trainer.max_epochs"
_VALIDATED = "each epoch ends with a validation of all images, which its figures come from"
_STEPS = "each batch is a step, with the gradients as they are"
_ONE = "a run trains on one device; launcher=gpus trains several runs at once"
_TRACKED = "runs are kept in MLflow and under checkpoints.root"
REFUSED = {  # of Lightning
    "trainer.max_steps": _EPOCHS,
    "trainer.min_steps": _EPOCHS,
    "trainer.max_time": f"what a run reaches must not depend on the machine's speed; {_EPOCHS}",
    "trainer.val_check_interval": _VALIDATED,
    "trainer.check_val_every_n_epoch": _VALIDATED,
    "trainer.accumulate_grad_batches": f"{_STEPS}; set data.batch_size",
    "trainer.gradient_clip_val": _STEPS,
    "trainer.gradient_clip_algorithm": _STEPS,
    "trainer.limit_test_batches": "the test images are scored all at once, after the training",
    "trainer.limit_predict_batches": "training predicts nothing; see experiments.predict",
    "trainer.use_distributed_sampler": _ONE,
    "trainer.sync_batchnorm": _ONE,
    "trainer.reload_dataloaders_every_n_epochs": "the images stay on the device for all epochs",
    "checkpoints.root": "a network comes from the store, where each run keeps its weights",
    "num_workers": "the images stay on the device for all epochs",
    "workers": "the images stay on the device for all epochs; launcher=local trains runs at once",
    "resume": "the same command goes on by itself from its last checkpoint",
    "trainer.enable_checkpointing": _TRACKED,
    "trainer.default_root_dir": _TRACKED,
    "trainer.enable_autolog_hparams": _TRACKED,
    "trainer.model_registry": _TRACKED,
    "trainer.plugins": "checkpoints and precision have their plugins; set trainer.precision",
    "trainer.barebones": "it would leave out checkpoints and figures",
    "ckpt_path": "the same command goes on by itself from its last checkpoint; with other settings,"
    " more epochs included, it is another run; predict and evaluate take run=ID",
    # of the template for Lightning and Hydra
    "callbacks": "Lightning's are under +trainer.callbacks; see docs/lightning.md",
    "logger": "Lightning's are under +trainer.logger; MLflow has each run in any case",
    "debug": "use +trainer.fast_dev_run=true, +trainer.overfit_batches or +trainer.profiler=simple",
    "hparams_search": "python -m experiments.search searches, with Optuna",
    "test": "with data.holdout=N a run ends with the test images; see experiments.evaluate",
    "tags": "use name=TEXT, or set tags in MLflow",
    "early_stopping": "EarlyStopping is one of +trainer.callbacks; see docs/lightning.md",
    "patience": "EarlyStopping, one of +trainer.callbacks, takes it; see docs/lightning.md",
    "seed_everything": "use seed",
    "threads": "set the environment variable OMP_NUM_THREADS=4",
}
MEANT = {  # other words for keys
    "trainer.accelerator": ("device", "gpu", "cuda"),
    "data": ("dataset",),
    "data.batch_size": ("bs", "batch", "batchsize"),
    "target.val_acc": ("acc", "accuracy"),
    "augmentation.degrees": ("rotation", "rotate"),
    "scheduler": ("schedule", "lr_scheduler"),
    "optimizer": ("optim", "adam", "sgd"),
    "model.widths": ("channels", "layers", "filters", "width"),
    "output": ("out",),
    "optimizer.weight_decay": ("wd", "decay"),
    "model": ("network", "net", "architecture"),
    "filter": ("where", "query"),
    "input": ("image", "images", "file", "folder"),
}

# what limits a run to part of its data: 1 is one batch, and 1.0 are all of them
LIMITS = tuple(
    f"trainer.{key}"
    for key in ("fast_dev_run", "overfit_batches", "limit_train_batches", "limit_val_batches")
)
# of the callbacks of Lightning; the others step the optimizer, set weights or show bars in its way
CALLBACKS = (
    *("Callback", "DeviceStatsMonitor", "EMAWeightAveraging", "EarlyStopping", "LambdaCallback"),
    *("LearningRateMonitor", "ModelCheckpoint", "ModelSummary", "RichModelSummary"),
)


@cache
def kinds(command: str | None = None) -> dict[str, Kind]:
    """The kind of every key of a command, or of all, by its dotted name, as the schema has it."""
    from experiments.cli.schema import SCHEMAS, walk  # --help need not wait for pydantic

    # groups of conf/ that are no keys of their own, and Hydra's settings
    found = {} if command else {"launcher": PLACE, "hydra": PLACE, "search": RESULT}
    for name, schema in SCHEMAS.items():
        found |= walk(schema) if command in (None, name) else ()
    return found


def kind(key: str) -> Kind:
    """The kind of a dotted key: that of its longest prefix in the table, else RESULT."""
    while key not in kinds() and "." in key:
        key = key.rpartition(".")[0]
    return kinds().get(key, RESULT)


def select(cfg: DictConfig, *kinds: Kind) -> dict[str, Any]:
    """The values of the given kinds, resolved, by their dotted keys; see `plain`."""
    found = {key: value for key, value in flatten(cfg).items() if kind(key) in kinds}
    return {key: value if key in LIMITS else plain(value) for key, value in found.items()}


def plain(value: Any) -> Any:
    """A value with its numbers written in one way: 1.0 is 1, also in a list."""
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    # larger ones stay as they are read best: 1e30
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e6
    return int(value) if whole else value


def key_of(override: str) -> str:
    """The key that an override of the command line sets: "model.kernel" of "+model.kernel=5"."""
    return override.lstrip("+~").partition("=")[0].replace("/", ".")


def unknown(key: str, known: Iterable[str]) -> str:
    """A sentence about a key that does not exist, with those that are probably meant."""
    one = key.removesuffix("s")
    if key in REFUSED and (one == key or one not in known):  # a search has worker
        return f"{key} is not for a run: {REFUSED[key]}"
    if key.startswith("space."):
        text = f"there is no key {key}: what varies is given as a whole, such as"
        return f"{text} '+space.model.scale={{low: 0.5, high: 1.0}}', and null for what does not"
    others = [each for each in known if not f"{each}.".startswith(f"{key}.")]
    near = [key.lower()] if key.lower() in others else nearest(key, others)
    hint = f"did you mean {' or '.join(near)}?" if near else "see --cfg job for all keys"
    return f"there is no key {key} in the configuration; {hint}"


def nearest(key: str, known: list[str]) -> list[str]:
    """The keys that one is probably meant to be, at most three: `optimizer.lr` for `lr`.

    1. the key that it is another word for;
    2. else a key with almost the same spelling;
    3. else keys whose last part has all its words, or their first letters; of these, those that
       change the result;
    4. else a key with a similar spelling.
    """
    groups = {each.partition(".")[0] for each in known}
    for meant in (meant for meant, words in MEANT.items() if key in words):
        if meant.partition(".")[0] in groups:
            return [meant]
    alike, last = partial(get_close_matches, n=1), {each: each.split(".")[-1] for each in known}
    name = key.rsplit(".", maxsplit=1)[-1]
    words, initials = {*name.split("_")}, re.sub("([^_])[^_]*_?", r"\1", name)
    means = [one for one in known if words <= {*last[one].split("_")} or last[one] == initials]
    means = [one for one in means if kind(one) is RESULT] or means
    near = alike(key, known, cutoff=0.85) or means or alike(key, known)
    ends = alike(name, last.values())
    return (near or [one for one in known if last[one] in ends])[:3]
