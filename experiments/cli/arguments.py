"""A command line as people type it, in the words that Hydra's grammar understands."""

import re
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

from experiments.cli.compose import groups
from experiments.cli.errors import UserError


def readable(command: str, arguments: Sequence[str]) -> list[str]:
    """The arguments of a command, with what Hydra would not read put as it does.

    step=13 is step s13. GROUP=null is ~GROUP. To predict, model=best is run=best. Any other value
    that is not of Hydra's grammar, such as the filter params.step = 's13', is a text, and gets the
    quotes of one.

    Raises:
        UserError: null is one of the values that a sweep is to choose from.
    """
    if command in ("predict", "evaluate"):  # which have no group of networks
        arguments = [re.sub("^model=", "run=", each) for each in arguments]
    return [_readable(each) if re.match(r"[^-].*=", each) else each for each in arguments]


def _readable(argument: str) -> str:
    key, _, value = argument.partition("=")
    group = key.lstrip("+")
    choices = value.split(",")
    if group == "step" and any(map(str.isdecimal, choices)):
        return f"{key}=" + ",".join(f"s{int(c):02}" if c.isdecimal() else c for c in choices)
    if group in groups() and "null" in choices:
        if len(choices) > 1:
            raise UserError(f"{argument}: a sweep cannot choose null; run ~{key} by itself")
        return f"~{group}"
    try:
        OverridesParser.create().parse_override(argument)
    except HydraException:
        return f"{key}={QuotedString(value, Quote.single).with_quotes()}"
    return argument
