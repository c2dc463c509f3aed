"""Filters of runs as a user types them, and what MLflow wants instead."""

import re
from contextlib import suppress

from mlflow.exceptions import MlflowException
from mlflow.utils.search_utils import SearchUtils

from experiments.cli.compose import OBJECTS
from experiments.cli.keys import kinds

TAGS = "study", "stage", "trial"  # of the runs of a search
TEXTS = ": parameters and tags are texts, which are compared with = and != only"
CLAUSE = re.compile(  # of a filter: its kind, where it has one, its name, sign and value
    r"(?:(metrics?|param(?:eter)?s?|tags?|attr(?:ibute)?s?|run|datasets?)\.)?(.+?)\s*"
    r"([!<>=]=|[<>=]|\b(?:i?like|is)\b)\s*(.+)"
)


def invalid(key: str, text: str, message: str) -> str:
    """A sentence about a filter that MLflow refuses: with the one that is meant, in the shell's
    quotes, or where that is unknown with MLflow's message."""
    meant = " and ".join(map(clause, re.split(r"\s+and\s+", text, flags=re.IGNORECASE)))
    if meant != text:
        with suppress(MlflowException):
            SearchUtils.parse_search_filter(meant)
            shown = re.sub(r'([\\"$`])', r"\\\1", meant)
            ordered = sum(map(text.count, "<>")) > sum(map(meant.count, "<>"))
            return f'the filter {text} is invalid{TEXTS * ordered}; write {key}="{shown}"'
    return f"the filter {text} is invalid: {message}"


def clause(text: str) -> str:
    """One comparison of a filter, with = for == and all that MLflow wants: params., quotes."""
    found = CLAUSE.fullmatch(text.strip())
    if not found:
        return text
    kind, name, sign, value = found.groups()
    if kind is None:
        name = "val/acc" if name in ("acc", "accuracy") else name
        value = f"s{int(value):02}" if name == "step" and value.isdecimal() else value
        is_tag = name in TAGS
        # keys of the configuration are parameters, but for those that hold others
        known = name.partition(".")[0] in kinds() and not is_tag
        holds = name in OBJECTS or any(key.startswith(f"{name}.") for key in kinds())
        if holds or ("." in name and not known):
            return text
        is_figure = re.fullmatch(r"[\d.e+-]+", value) and not is_tag
        kind = "params" if known else "metrics" if is_figure else "tags"
        kind = "attributes" if name in SearchUtils.VALID_SEARCH_ATTRIBUTE_KEYS else kind
    is_metric = kind.startswith("metric")
    if kind.startswith(("param", "tag")) and sign[0] in "<>":
        sign = "="
    name = name if re.fullmatch(r"[\w.]+|([`\"]).*\1", name) else f"`{name}`"
    value = value if is_metric or value[0] in "'\"" else f"'{value}'"
    return f"{kind}.{name} {'=' if sign in ('==', 'is') else sign} {value}"
