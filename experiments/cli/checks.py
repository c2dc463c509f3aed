"""Checks of a configuration against its schema, before anything is read."""

import inspect
import json
import shlex
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Any, get_type_hints

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import ConfigDict, Field, PydanticSchemaGenerationError, TypeAdapter, ValidationError

from experiments.cli.compose import OBJECTS, compose
from experiments.cli.config import class_name, leaves
from experiments.cli.errors import UserError, one_line
from experiments.cli.keys import CALLBACKS, kinds, unknown
from experiments.cli.schema import SCHEMAS, Object, Positive

HYDRA = {"_target_": str, "_partial_": bool, "_args_": list, "_convert_": str, "_recursive_": bool}
# ranges of arguments that their class does not check itself
RANGES = {"StepLR": {"step_size": Positive, "gamma": Annotated[float, Field(gt=0)]}}
TYPES = {str: " (text)", list: " (a list)", dict: " (a group of keys)"}
MUST_BE = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "string_too_short": "text that is not empty",
    "too_short": "a list of at least {min_length}",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a group of keys",
    "model_type": "a group of keys",
    "literal_error": "{expected}",
    "greater_than": "above {gt:.12g}",
    "greater_than_equal": "at least {ge:.12g}",
    "less_than": "below {lt:.12g}",
    "less_than_equal": "at most {le:.12g}",
    "too_long": "a list of at most {max_length}",
    "string_pattern_mismatch": "text without special characters",
}


def configured(command: str, overrides: Sequence[str]) -> DictConfig:
    """The configuration that a command has with these overrides. Raises UserError: see `check`."""
    cfg = compose(command, overrides)
    check(cfg, command)
    return cfg


def check(
    cfg: DictConfig, command: str, first: Callable[[DictConfig], None] = lambda _: None
) -> None:
    """Check a configuration by its schema, and by the signatures of its classes.

    UserError: a key is unknown or missing, or a value of the wrong type or range. `first` is called
    once the keys are right, before the classes are imported, which takes seconds.
    """
    values = resolved(cfg)
    try:
        SCHEMAS[command].model_validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        raise UserError("; ".join(explain(error, values))) from error
    first(cfg)
    wrong = [text for key, part in objects(values) for text in check_object(key, part)]
    if wrong := wrong + check_trainer(values):
        raise UserError("; ".join(wrong))


def check_trainer(values: dict[str, Any]) -> list[str]:
    """What is wrong with a trainer beyond its schema: epochs that contradict each other, and
    callbacks of Lightning that do not work here."""
    wrong, is_search, trainer = [], "final" in values, values.get("trainer", {})
    if (least := trainer.get("min_epochs") or 1) > (most := trainer.get("max_epochs", least)):
        wrong.append(f"trainer.min_epochs={least} is above trainer.max_epochs={most}")
    for part in (part for key, part in objects(values) if key.startswith("trainer.callbacks")):
        target, name = str(part.get("_target_")), class_name(part)
        if target.startswith(("pytorch_lightning.", "lightning.")) and name not in CALLBACKS:
            wrong.append(
                f"trainer.callbacks: {name} is not for a run, whose module steps the optimizer by "
                f"itself; these of Lightning's work: {', '.join(CALLBACKS[1:])}"
            )
        judged = name == "EarlyStopping" and str(part.get("monitor")).startswith("val/")
        if judged and (is_search or values["data"]["holdout"] is None):
            what = "with EarlyStopping, the test images would choose the last epoch"
            cure = "leave it out of a search" if is_search else "set data.holdout=5000"
            wrong.append(f"trainer.callbacks: {what}; {cure}")
    return wrong


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """The values of a configuration. Raises UserError where one is missing or refers to nothing."""
    for name in ("target.val_acc", "budget.parameters"):  # other keys may refer to them
        group = name.partition(".")[0]
        if group in cfg and not OmegaConf.is_dict(cfg[group]):
            raise UserError(must_be(group, MUST_BE["dict_type"], cfg[group]))
    try:
        return OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise UserError(f"{error.full_key} has no value; give it one") from error
    except OmegaConfBaseException as error:
        raise UserError(one_line(error)) from error


def objects(values: dict[str, Any]) -> Iterator[tuple[str, Object]]:
    """The parts of a configuration that Hydra is to build, by their keys."""
    for key in OBJECTS:
        if isinstance(values.get(key), dict):
            yield key, values[key]
    for name in ("callbacks", "logger"):
        key, found = f"trainer.{name}", values.get("trainer", {}).get(name)
        if isinstance(found, dict) and "_target_" not in found:
            yield from ((f"{key}.{name}", each) for name, each in found.items())
        elif found:
            yield from ((key, each) for each in (found if isinstance(found, list) else [found]))


def check_object(key: str, part: Object) -> Iterator[str]:
    """What is wrong with an object that Hydra is to build, by the signature of its class."""
    if not isinstance(part.get("_target_"), str):
        choose = (
            f"choose a file of conf/{key} with {key}=NAME" if key in OBJECTS else "name a class"
        )
        yield f"{key} has no _target_; {choose}"
        return
    try:
        hints = arguments_of(get_object(part["_target_"]))
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        yield f"{key}._target_: {one_line(error)}"
        return
    for index, child in enumerate(part.get("_args_", ())):
        if isinstance(child, dict) and "_target_" in child:
            yield from check_object(f"{key}._args_[{index}]", child)
    for name, value in part.items():
        if isinstance(value, dict) and "_target_" in value:
            yield from check_object(f"{key}.{name}", value)
        elif name in hints:
            yield from check_value(f"{key}.{name}", value, hints[name])
        elif "**" not in hints:
            yield unknown(f"{key}.{name}", [f"{key}.{each}" for each in hints])


def arguments_of(made: Any) -> dict[str, Any]:
    """The type of each argument of a class or function by its name, "**" if it takes any. A class
    that passes further arguments on takes those of its base class."""
    found: dict[str, Any] = dict(HYDRA)
    is_class = inspect.isclass(made)
    calls = [vars(each).get("__init__") for each in made.__mro__] if is_class else [made]
    for called in filter(None, calls):
        arguments = inspect.signature(called).parameters.values()
        try:
            hints = get_type_hints(called, include_extras=True)
        except NameError:  # of names that the module imports for type checkers only
            hints = {}
        named = [each.name for each in arguments if each.kind is not each.VAR_KEYWORD]
        found = {name: hints.get(name, Any) for name in named} | found
        if len(named) == len(arguments):
            break
    else:
        found["**"] = Any
    return found | RANGES.get(made.__name__, {})


def check_value(key: str, value: Any, hint: Any) -> list[str]:
    """What is wrong with one argument, by its annotation."""
    config = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
    try:
        TypeAdapter(hint, config=config).validate_json(json.dumps(value, default=str))
    except PydanticSchemaGenerationError:  # an annotation that only its class understands
        pass
    except ValidationError as error:
        return explain(error, value, key)
    return []


def explain(error: ValidationError, values: Any, prefix: str = "") -> list[str]:
    """One sentence for each key that is wrong."""
    sentences, wrong, given = [], defaultdict(dict), {}
    for problem in error.errors():
        key = ".".join([*([prefix] if prefix else []), *keys_of(problem["loc"], values)])
        if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            sentences.append(unknown(key, dict(leaves(values))))
        elif problem["type"] == "missing":
            sentences.append(f"{key} is missing")
        elif problem["type"] != "needs_python_object":  # one of several types that fit no file
            words = MUST_BE.get(problem["type"], problem["msg"])
            wrong[key][words.format(**problem.get("ctx", {}))] = given[key] = problem["input"]
    for key, words in wrong.items():
        if not any(other.startswith(f"{key}.") for other in wrong):
            must = "true or null" if [*words] == ["True"] else " or ".join(words)
            sentences.append(must_be(key, must, given[key]))
    return sentences


def must_be(key: str, words: str, value: Any) -> str:
    """A sentence about a key with a wrong value; and what to write, where it is a group of keys."""
    first = next((one for one in kinds() if one.startswith(f"{key}.")), "")
    shown = value if value and isinstance(value, str) else json.dumps(value, default=str)
    shown += TYPES.get(type(value), "")
    if first and isinstance(value, str | int | float) and not isinstance(value, bool):
        return f"{key} must be {words}, not {shown}; write {shlex.quote(f'{first}={value}')}"
    return f"{key} must be {words}{f' such as {first}' if first else ''}, not {shown}"


def keys_of(path: Iterable[str | int], values: Any) -> list[str]:
    """The keys of an error, without what pydantic adds to tell types apart."""
    keys = []
    for part in path:
        if isinstance(values, list) and isinstance(part, int):
            values = values[part] if part < len(values) else None
        elif isinstance(values, dict):
            values = values.get(part)
        else:
            continue
        keys.append(str(part))
    return keys
