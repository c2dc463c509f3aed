"""YAML files that cannot be read: one line that names the file and the place."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigSource
from omegaconf.errors import OmegaConfBaseException

from experiments.cli.errors import UserError, one_line

ALIASES = 20  # in one file; one inside the other, they stand for 1,500 copies at most
DEEPEST = 50  # levels of lists and keys
LONGEST = 200  # characters of a library's error


def explain_unreadable() -> None:
    """Make Hydra check each file that it reads. It has no hook for that, but a list of readers."""
    for source in Plugins.instance().discover(ConfigSource):
        if source.scheme() == "file":
            source.load_config = _checked(source.load_config)


def _checked(load: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(load)
    def load_config(self: ConfigSource, config_path: str) -> Any:
        path = Path(self.path, f"{config_path.removesuffix('.yaml')}.yaml")
        with readable(path):
            return load(self, config_path)

    return load_config


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Check a YAML file before it is read, and explain what fails while it is.

    Raises:
        UserError: it is not UTF-8 or not YAML, or could fill the memory.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if text.startswith("\ufeff"):
            raise ValueError("begins with a byte order mark; save it as UTF-8 without one")
        aliases = depth = 0
        for event in yaml.parse(text):
            aliases += isinstance(event, yaml.AliasEvent)
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if aliases > ALIASES or depth > DEEPEST:
                raise ValueError(f"holds over {ALIASES} aliases (*name), or {DEEPEST} levels")
        yield
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise UserError(f"{path}, line {mark.line + 1}: {error.problem}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}: is not UTF-8; save it as UTF-8") from error
    except RecursionError as error:
        raise UserError(f"{path}: holds itself") from error
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{path}: {one_line(error)[:LONGEST]}") from error
