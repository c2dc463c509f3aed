"""The schema of every command's configuration: for each key its type, its range and its kind.

The identity of a run, its name, its parameters in MLflow, what a study must not change, what a
step file holds, and the page of all keys follow from it. Default values stand in conf/.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.dataclasses import dataclass

from experiments.cli.config import JUDGEMENT, LABEL, PLACE, RESULT, Kind

Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Accuracy = Annotated[float, Field(gt=0, le=1)]  # a fraction of the images
Margin = Annotated[float, Field(gt=0, lt=1)]  # a difference of two accuracies
Batches = Positive | Annotated[float, Field(gt=0, le=1)]  # a number of them, or a share
Name = Annotated[str, Field(pattern=r"^[^\p{Cc}\p{Zl}\p{Zp}]*$")]  # one line, no escape codes
StudyName = Annotated[str, Field(pattern=r"^[\w.-]+$")]
Port = Annotated[int, Field(ge=1, lt=2**16)]
Text = Annotated[str, Field(min_length=1)]
Object = dict[str, Any]  # `_target_` and its arguments; checked by the signature of the target
OptionalObject = Annotated[Object | None, Field(default=None)]

T = TypeVar("T")
Place = Annotated[T, PLACE]  # a key without one of these changes the result
Judged = Annotated[T, JUDGEMENT]
Label = Annotated[T, LABEL]


class Section(BaseModel):
    """Keys with their types. No other key is accepted, and no value is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(config=ConfigDict(extra="forbid"))
class Source:
    """Files that are fetched, under data.root, see data/download.py: one value, whose parts are no
    keys of their own."""

    folder: Text
    files: Text
    md5: dict[str, Text] | None = None
    package: dict[str, Text] | None = None


class Trainer(Section):  # keys.REFUSED has the other arguments
    """The arguments of Lightning's trainer that work here; see docs/lightning.md."""

    target: Literal["pytorch_lightning.Trainer"] = Field(alias="_target_")
    max_epochs: Positive
    min_epochs: Positive | None = None
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]
    deterministic: bool
    benchmark: bool = False
    callbacks: Object | list[Object] | None = None
    fast_dev_run: bool | Positive = False
    limit_train_batches: Batches | None = None
    limit_val_batches: Batches | None = None
    overfit_batches: Batches | Literal[0] = 0
    logger: Place[Object | list[Object] | Literal[False] | None] = None
    profiler: Place[Literal["simple", "advanced"] | None] = None
    accelerator: Place[Literal["auto", "cpu", "gpu", "cuda", "mps"]]
    devices: Place[Literal[1] | Annotated[list[Count], Field(max_length=1)]]
    strategy: Place[Literal["auto"]] = "auto"
    num_nodes: Place[Literal[1]] = 1
    num_sanity_val_steps: Place[Annotated[int, Field(ge=-1)]]
    log_every_n_steps: Place[Positive] = 50
    enable_progress_bar: Place[bool] = True
    enable_model_summary: Place[bool]
    detect_anomaly: Place[bool] = False
    inference_mode: Place[bool] = True


class Data(Section):
    root: Place[Text]
    source: Place[Source | None]
    train: Object
    val: Object
    batch_size: Positive
    eval_batch_size: Place[Positive]
    holdout: Positive | None
    in_channels: Positive
    image_size: Positive
    num_classes: Positive
    mean: float
    std: Annotated[float, Field(gt=0)]
    classes: Annotated[list[Count], Field(min_length=1)] | None
    shuffle: bool | None
    transposed: bool
    held_out: Positive | None = None  # of a CSV file
    split: Text | None = None  # of EMNIST


class Fused(Section):
    seed: Positive | Annotated[list[Seed], Field(min_length=1)] | None
    lr: Annotated[list[float], Field(min_length=1)] | None
    dropout: Annotated[list[float], Field(min_length=1)] | None


class Checkpoints(Section):
    root: Text


class Tracking(Section):
    uri: Text
    experiment: Text
    artifacts: Text
    patience: Annotated[float, Field(ge=0)]
    model: bool = True


class Budget(Section):
    parameters: Positive | None
    mult_adds: Positive | None
    bytes: Positive | None


class Target(Section):
    val_acc: Accuracy | None


class Published(Section):
    step: Text
    parameters: Positive | None = None
    train_acc: Accuracy | None = None
    best_val_acc: Accuracy | None = None
    last_val_acc: Accuracy | None = None


class Train(Section):
    model: Object
    data: Data
    augmentation: OptionalObject
    loss: OptionalObject
    optimizer: Object
    scheduler: OptionalObject
    trainer: Trainer
    initial_weights: Literal["xavier"] | None
    branches: Literal[True] | None
    seed: Seed
    step: Text | None  # steps 10 and 13 differ in nothing else, and their runs are kept apart
    experiment: Text | None
    point: Label[Any]  # a short form of other keys
    fused: Place[Fused]
    compile: Literal["auto"] | bool  # changes the last digits
    tf32: Literal[True] | None
    force: Place[bool]
    until_verdict: Place[Margin | Literal["target"] | None]
    checkpoints: Place[Checkpoints]
    tracking: Place[Tracking]
    budget: Judged[Budget]
    target: Judged[Target]
    name: Label[Name | None]
    description: Label[str | None]
    why: Label[str | None]
    published: Label[Published | None]


class HeldOut(Data):
    holdout: Positive


class Final(Section):
    networks: Count
    seeds: Annotated[int, Field(ge=3)]  # a sequential verdict takes three
    max_epochs: Positive
    steps: Place[Text]
    margin: Margin


class Search(Train):
    data: HeldOut
    study: Label[StudyName | None]
    trials: Positive
    full: Count
    smallest_above: Accuracy | None
    space: Object
    sampler: Object
    final: Final
    worker: Place[Count]
    storage: Place[Text]


class Gate(Train):
    stage: Judged[Literal["budget", "evidence", "all"]]
    max_parameters: Judged[Positive | None]
    max_mult_adds: Judged[Positive | None]
    min_accuracy: Judged[Accuracy | None]
    judged_by: Judged[Literal["mean", "lower_bound", "last_epoch"]]
    min_seeds: Judged[Positive]
    baseline: Judged[Text | None]
    margin: Judged[Margin]
    junit: Place[Text | None]


class Bench(Train):
    what: Place[Literal["epoch", "start"]]
    rounds: Place[Positive]
    batches: Place[Positive | None]


class Compare(Section):
    data: Data
    tracking: Place[Tracking]
    filter: Judged[Text | None]
    group: Judged[Annotated[list[Text], Field(min_length=1)] | None]
    against: Judged[Text | Count]  # 13 is step 13
    margin: Judged[Margin]
    smallest_difference: Judged[Margin]
    metric: Judged[Literal["val/acc", "val/best_acc", "train/acc", "test/acc"] | None]
    html: Place[Text | None]
    markdown: Place[Text | None]
    csv: Place[Text | None]
    attach: Place[bool]


class Predict(Section):
    run: Text | None
    where: Text | None
    input: Text | None
    output: Place[Text | None]
    format: Place[Literal["full", "submission"]]
    batch_size: Place[Positive]
    tracking: Place[Tracking]


class Evaluate(Section):
    run: Text | None
    where: Text | None
    data: Data
    split: Literal["train", "val", "test"]
    tracking: Place[Tracking]


class Ui(Section):
    port: Place[Port]
    tracking: Place[Tracking]


class Competition(Section):
    data: Data
    root: Place[Text]
    rows: Positive
    seed: Seed


SCHEMAS = {
    schema.__name__.lower(): schema
    for schema in (Train, Search, Gate, Bench, Compare, Predict, Evaluate, Ui, Competition)
}


def walk(
    schema: type[Section], prefix: str = "", outer: Kind = RESULT
) -> Iterator[tuple[str, Kind]]:
    """The dotted keys of a schema, each with its kind: its own, or else that of its section."""
    for name, field in schema.model_fields.items():
        key = prefix + (field.alias or name)
        kind = next((mark for mark in field.metadata if isinstance(mark, Kind)), outer)
        yield key, kind
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from walk(field.annotation, f"{key}.", kind)
