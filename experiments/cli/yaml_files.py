"""Reading YAML files: each is checked before it is parsed, and read once."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigSource
from omegaconf.errors import OmegaConfBaseException

from experiments.cli.errors import UserError, one_line

ALIASES = 20  # in one file; one inside the other, they stand for 1,500 copies at most
DEEPEST = 50  # levels of lists and keys
PACKAGE = re.compile(r"(?:[ \t]*(?:#.*)?\n)*?# *@package +(\S+)")  # among the first comments


@cache  # once a process
def check_files() -> None:
    """Make Hydra check each file that it reads, read it once, as a command composes up to dozens of
    configurations, and find its package also behind other comments. Hydra has no hook for that,
    but a list of readers."""
    readers = Plugins.instance().discover(ConfigSource)
    [files] = [reader for reader in readers if reader.scheme() == "file"]
    load, found = files.load_config, {}

    def load_config(self: ConfigSource, config_path: str) -> Any:
        path = Path(self.path, f"{config_path.removesuffix('.yaml')}.yaml")
        with reading(path) as text:
            key = (self.provider, path, text)
            if key not in found:
                found[key] = load(self, config_path)
                if package := PACKAGE.match(text):
                    found[key].header["package"] = package[1]
        return deepcopy(found[key])  # Hydra changes it

    files.load_config = load_config


@cache
def is_large(text: str) -> bool:
    """Whether a YAML text could fill the memory."""
    aliases = depth = 0
    for event in yaml.parse(text):
        aliases += isinstance(event, yaml.AliasEvent)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if aliases > ALIASES or depth > DEEPEST:
            return True
    return False


@contextmanager
def reading(path: Path) -> Iterator[str]:
    """The text of a YAML file. Raises UserError where it is not UTF-8, is no YAML, or could fill
    the memory."""
    try:
        text = path.read_text(encoding="utf-8")
        if text.startswith("\ufeff"):
            raise ValueError("begins with a byte order mark; save it as UTF-8 without one")
        if is_large(text):
            raise ValueError(f"has over {ALIASES} aliases (*name), or {DEEPEST} nested levels")
        yield text
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise UserError(f"{path}, line {mark.line + 1}: {error.problem}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}: is not UTF-8; save it as UTF-8") from error
    except RecursionError as error:
        raise UserError(f"{path}: refers to itself") from error
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{path}: {one_line(error)}") from error
