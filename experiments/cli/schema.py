"""The schema of every command's configuration: for each key its type, its range and its kind.

The identity of a run, its name, its parameters in MLflow, what a study must not change, what a
step file holds, and the page of all keys follow from it. Default values stand in conf/.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from experiments.cli.kinds import JUDGEMENT, LABEL, PLACE
from experiments.cli.lightning_keys import Trainer
from experiments.cli.section import (
    Accuracy,
    Count,
    Margin,
    Name,
    Object,
    OptionalObject,
    Positive,
    Section,
    Seed,
    Text,
)


class Data(Section):
    root: Annotated[Text, PLACE]
    source: Annotated[Object | None, PLACE]
    train: Object
    val: Object
    batch_size: Positive
    eval_batch_size: Annotated[Positive, PLACE]
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
    seed: Positive | list[Seed] | None
    lr: list[float] | None
    dropout: list[float] | None


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
    seed: Seed
    step: Text | None  # steps 10 and 13 differ in nothing else, and their runs are kept apart
    experiment: Text | None
    point: Annotated[Any, LABEL]  # a short form of other keys
    fused: Annotated[Fused, PLACE]
    compile: Literal["auto"] | bool  # changes the last digits
    tf32: Literal[True] | None
    force: Annotated[bool, PLACE]
    until_verdict: Annotated[Margin | Literal["target"] | None, PLACE]
    checkpoints: Annotated[Checkpoints, PLACE]
    tracking: Annotated[Tracking, PLACE]
    budget: Annotated[Budget, JUDGEMENT]
    target: Annotated[Target, JUDGEMENT]
    name: Annotated[Name | None, LABEL]
    description: Annotated[str | None, LABEL]
    why: Annotated[str | None, LABEL]
    published: Annotated[Published | None, LABEL]


class HeldOut(Data):
    holdout: Positive


class Final(Section):
    networks: Count
    seeds: Annotated[int, Field(ge=3)]  # a sequential verdict takes three
    max_epochs: Positive
    steps: Annotated[Text, PLACE]


class Search(Train):
    data: HeldOut
    study: Annotated[Annotated[str, Field(pattern=r"^[\w.-]+$")] | None, LABEL]
    trials: Positive
    full: Count
    smallest_above: Accuracy | None
    space: Object
    sampler: Object
    final: Final
    worker: Annotated[Count, PLACE]
    storage: Annotated[Text, PLACE]


class Gate(Train):
    stage: Annotated[Literal["budget", "evidence", "all"], JUDGEMENT]
    max_parameters: Annotated[Positive | None, JUDGEMENT]
    max_mult_adds: Annotated[Positive | None, JUDGEMENT]
    min_accuracy: Annotated[Accuracy | None, JUDGEMENT]
    judged_by: Annotated[Literal["mean", "lower_bound", "last_epoch"], JUDGEMENT]
    min_seeds: Annotated[Positive, JUDGEMENT]
    baseline: Annotated[Text | None, JUDGEMENT]
    margin: Annotated[Margin, JUDGEMENT]
    junit: Annotated[Text | None, PLACE]


class BenchSettings(Section):
    batches: Positive | None
    epochs: Positive
    folder: Annotated[Text, PLACE]


class Bench(Train):
    what: Annotated[Literal["epoch", "sweep", "start"], PLACE]
    rounds: Annotated[Positive, PLACE]
    bench: Annotated[BenchSettings, PLACE]


class Compare(Section):
    data: Data
    tracking: Annotated[Tracking, PLACE]
    filter: Annotated[Text | None, JUDGEMENT]
    group: Annotated[Annotated[list[Text], Field(min_length=1)] | None, JUDGEMENT]
    against: Annotated[Text, JUDGEMENT]
    margin: Annotated[Margin, JUDGEMENT]
    smallest_difference: Annotated[Margin, JUDGEMENT]
    metric: Annotated[Literal["val/acc", "val/best_acc", "train/acc", "test/acc"] | None, JUDGEMENT]
    html: Annotated[Text | None, PLACE]
    markdown: Annotated[Text | None, PLACE]
    csv: Annotated[Text | None, PLACE]
    attach: Annotated[bool, PLACE]


class Predict(Section):
    run: Text | None
    where: Text | None
    input: Text | None
    output: Annotated[Text | None, PLACE]
    format: Annotated[Literal["full", "submission"], PLACE]
    batch_size: Annotated[Positive, PLACE]
    checkpoints: Annotated[Checkpoints, PLACE]
    tracking: Annotated[Tracking, PLACE]


class Evaluate(Section):
    run: Text | None
    where: Text | None
    data: Data
    split: Literal["train", "val", "test"]
    checkpoints: Annotated[Checkpoints, PLACE]
    tracking: Annotated[Tracking, PLACE]


class Ui(Section):
    port: Annotated[Annotated[int, Field(ge=1, lt=2**16)], PLACE]
    tracking: Annotated[Tracking, PLACE]


class Competition(Section):
    data: Data
    root: Annotated[Text, PLACE]
    rows: Positive
    seed: Seed
    submission: Text | None


SCHEMAS: dict[str, type[Section]] = {
    "train": Train,
    "search": Search,
    "gate": Gate,
    "bench": Bench,
    "compare": Compare,
    "predict": Predict,
    "evaluate": Evaluate,
    "ui": Ui,
    "competition": Competition,
}


def walk(
    schema: type[Section], prefix: str = "", outer: Sequence[Any] = ()
) -> Iterator[tuple[str, Sequence[Any]]]:
    """The dotted keys of a schema, each with its marks, and then those of its section."""
    for name, field in schema.model_fields.items():
        key, marks = prefix + (field.alias or name), (*field.metadata, *outer)
        yield key, marks
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from walk(field.annotation, f"{key}.", marks)
