"""The arguments of Lightning's trainer: those that work here, and why the others do not."""

from typing import Annotated, Literal

from pydantic import Field

from experiments.cli.kinds import PLACE
from experiments.cli.section import Count, Object, Positive, Section, Text

Batches = Positive | Annotated[float, Field(gt=0, le=1)]  # a number of them, or a share
Objects = Object | list[Object]
Switch = Annotated[bool, PLACE]


class Trainer(Section):
    target: Literal["pytorch_lightning.Trainer"] = Field(alias="_target_")
    max_epochs: Positive
    min_epochs: Positive | None = None
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]
    deterministic: bool
    benchmark: bool = False
    callbacks: Objects | None = None
    fast_dev_run: bool | Positive = False
    limit_train_batches: Batches | None = None
    limit_val_batches: Batches | None = None
    overfit_batches: Batches | Literal[0] = 0
    logger: Annotated[Objects | Literal[False] | None, PLACE] = None
    profiler: Annotated[Literal["simple", "advanced"] | None, PLACE] = None
    accelerator: Annotated[Literal["auto", "cpu", "gpu", "cuda", "mps"], PLACE]
    devices: Annotated[Literal[1] | Annotated[list[Count], Field(max_length=1)], PLACE]
    strategy: Annotated[Text, PLACE] = "auto"
    num_nodes: Annotated[Literal[1], PLACE] = 1
    num_sanity_val_steps: Annotated[int, Field(ge=-1), PLACE]
    log_every_n_steps: Annotated[Positive, PLACE] = 50
    enable_progress_bar: Switch = True
    enable_model_summary: Switch
    detect_anomaly: Switch = False
    inference_mode: Switch = True


_EPOCHS = "a run is a number of whole epochs; set trainer.max_epochs"
_VALIDATED = "each epoch ends with a validation of all images, which its figures come from"
_STEPS = "each batch is a step, with the gradients as they are"
_ONE = "a run trains on one device; launcher=gpus trains several runs at once"
_TRACKED = "runs are kept in MLflow and under checkpoints.root"
REFUSED: dict[str, str] = {
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
    "trainer.enable_checkpointing": _TRACKED,
    "trainer.default_root_dir": _TRACKED,
    "trainer.enable_autolog_hparams": _TRACKED,
    "trainer.model_registry": _TRACKED,
    "trainer.plugins": "checkpoints and precision have their plugins; set trainer.precision",
    "trainer.barebones": "it would leave out checkpoints and figures",
    "ckpt_path": "the same command goes on by itself from its last checkpoint; with other settings,"
    " more epochs included, it is another run",
}
