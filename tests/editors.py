"""The JSON schema of step files, by which editors complete and check them.

Its types are those of the project's schema, and for networks, optimizers and the like those of the
signatures of their classes.
"""

import json
import warnings
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from conftest import configure, own_conf
from hydra.utils import get_object
from pydantic import ConfigDict, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError

from experiments.cli.checks import HYDRA, arguments_of
from experiments.cli.schema import SCHEMAS

CONF = own_conf()
GROUPS = ("model", "augmentation", "loss", "optimizer", "scheduler")
FILES = [(kind, path) for kind in ("step", "experiment") for path in (CONF / kind).rglob("*.yaml")]
BUILT = {"type": "object", "required": ["_target_"]}  # an argument that Hydra builds, too


def for_editors(documented: dict[str, tuple[str, str]]) -> str:
    """conf/step.schema.json: what a file of conf/step or conf/experiment may hold; `documented`:
    the default and the meaning of each key."""
    schema = SCHEMAS["train"].model_json_schema(by_alias=True)
    sections = schema["$defs"]

    def describe(section: dict, prefix: str) -> None:
        section.pop("required", None)  # a file holds only what differs
        for name, shape in section["properties"].items():
            key = prefix + name
            inner = sections.get(shape.get("$ref", "").rpartition("/")[2])
            if inner:
                describe(inner, f"{key}.")
                continue
            options = shape.get("anyOf", [shape])
            for one in options:
                one.pop("title", None)
                one.pop("pattern", None)  # of a name, with classes that few validators know
                if one.get("type") == "object" and (CONF / key).is_dir():
                    one["properties"] = {argument: {} for argument in arguments(key)}
            value = or_text(options)
            if meaning := documented.get(key, ("", ""))[1]:
                value["description"] = meaning
            section["properties"][name] = value

    describe(schema, "")
    schema["title"] = "A step or an experiment of Parsimony"
    schema["properties"]["defaults"] = {
        "type": "array",
        "description": "the files that this one extends, such as s13, and _self_ for itself",
    }
    schema["properties"]["hydra"] = {"type": "object", "description": "settings of Hydra"}
    schema["allOf"] = [rule for group in GROUPS for rule in rules(group)]
    known = {target for group in GROUPS for target in targets(group).values()}
    schema["$defs"] |= {target: of_class(target) for target in known}
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


def or_text(options: list[dict]) -> dict:
    """One of these shapes; or ${other.key}, and 6_000, which is a text in YAML 1.2."""
    text = r"^\$\{|^\d[\d_]*$" if "integer" in str(options) else r"^\$\{"
    return {"anyOf": [*options, {"type": "string", "pattern": text}]}


def arguments(group: str) -> list[str]:
    """The keys of all files of a group."""
    files = (yaml.safe_load(path.read_text()) for path in (CONF / group).glob("*.yaml"))
    return sorted({key for file in files for key in file} - {"defaults"})


def targets(group: str) -> dict[str, str]:
    """The class of each file of a group."""
    files = {path.stem: yaml.safe_load(path.read_text()) for path in (CONF / group).glob("*.yaml")}
    return {name: files[name]["_target_"] for name in sorted(files)}


@cache
def composed(kind: str, path: Path) -> Any:
    """The whole configuration of a step or an experiment."""
    return configure("train", f"{kind}={path.relative_to(CONF / kind).with_suffix('')}")


def rules(group: str) -> list[dict]:
    """An object has the arguments of its class: of the `_target_` that the file names, else of the
    file of the group that it chooses, else of what it extends; of a reader's own, any."""
    known = targets(group)
    chosen = {"type": "object", "required": [f"override /{group}"]}
    own_choice = defaults(contains=chosen)
    inherits = {"not": own_choice}
    extended = defaultdict(list)  # by class: the files that have it
    for kind, path in FILES:
        target = (composed(kind, path)[group] or {}).get("_target_")
        extended[target].append(str(path.relative_to(CONF / kind).with_suffix("")))
    own = {"anyOf": [{"type": "object"}, {"const": "_self_"}]}
    usual = (configure("train")[group] or {}).get("_target_")
    found = []
    for name, target in known.items():
        choice = chosen | {"properties": {f"override /{group}": {"const": name}}}
        found.append((defaults(contains=choice), target))
    for target in sorted(set(known.values()) & extended.keys()):
        extends = defaults(contains={"enum": sorted(extended[target])})
        found.append(({"allOf": [inherits, extends]}, target))
    if usual in known.values():
        extends_none = {"properties": {"defaults": {"items": own}}}
        found.append(({"allOf": [inherits, extends_none]}, usual))
    rules = [
        {"if": condition, "then": properties(group, {"if": BUILT, "else": ref(target)})}
        for condition, target in found
    ]
    for target in sorted({*known.values()}):
        named = BUILT | {"properties": {"_target_": {"const": target}}}
        rules.append(properties(group, {"if": named, "then": ref(target)}))
    return rules


def properties(name: str, shape: dict) -> dict:
    return {"properties": {name: shape}}


def defaults(**shape: Any) -> dict:
    """A file with such a list of defaults."""
    return properties("defaults", shape) | {"required": ["defaults"]}


def ref(target: str) -> dict:
    return {"$ref": f"#/$defs/{target}"}


def of_class(target: str) -> dict:
    """The arguments of a class with their types, as far as JSON has these."""
    hints = arguments_of(get_object(target))
    given = [name for name in hints if name not in ("self", "**", *HYDRA)]
    shapes = {key: {} for key in HYDRA} | {name: shape_of(hints[name]) for name in given}
    return {"properties": shapes, "additionalProperties": "**" in hints}


def shape_of(hint: Any) -> dict:
    """The values that an annotation accepts in a file; any where it does not say."""
    config = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
    try:
        with warnings.catch_warnings(action="ignore"):  # of types that no file has, as a tensor
            shape = TypeAdapter(hint, config=config).json_schema()
    except (PydanticSchemaGenerationError, PydanticInvalidForJsonSchema):
        return {}
    if not shape or "$defs" in shape:
        return {}
    return or_text([*shape.get("anyOf", [shape]), BUILT])
