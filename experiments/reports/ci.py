"""What a build system reads: JUnit's XML, GitHub's annotations and its job summary."""

import os
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from experiments.cli.files import write
from experiments.reports.targets import HOLDS, MISSED, UNKNOWN, Check

HEADER = ("step", "target", "asked", "measured", "margin", "verdict")


def junit(checks: Sequence[Check], path: Path) -> None:
    """Write a test case for each check: a missed one failed, one without a verdict is an error.

    Raises:
        UserError: the file cannot be written.
    """
    verdicts = [check.verdict for check in checks]
    totals = {"failures": verdicts.count(MISSED), "errors": verdicts.count(UNKNOWN)}
    totals = {name: str(count) for name, count in (("tests", len(checks)), *totals.items())}
    suites = ElementTree.Element("testsuites", name="gate", **totals)
    suite = ElementTree.SubElement(suites, "testsuite", name="gate", **totals)
    for check in checks:
        case = ElementTree.SubElement(suite, "testcase", classname=check.step, name=check.target)
        if check.verdict != HOLDS:
            kind = "failure" if check.verdict == MISSED else "error"
            ElementTree.SubElement(case, kind, message=check.reason)
        text = f"asked: {check.asked or 'nothing'}; measured: {check.measured}"
        ElementTree.SubElement(case, "system-out").text = text
    ElementTree.indent(suites)
    write(path, ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n")


def annotations(checks: Sequence[Check]) -> list[str]:
    """A line for each check that does not hold, as GitHub's runner understands it."""
    return [
        f"::error title={_escaped(f'gate: {check.step}, {check.target}', ':,')}"
        f"::{_escaped(check.reason)}"
        for check in checks
        if check.verdict != HOLDS
    ]


def _escaped(text: str, more: str = "") -> str:
    """Percent signs, line ends and, in a property, colons and commas, as GitHub wants them."""
    return "".join(f"%{ord(c):02X}" if c in "%\r\n" + more else c for c in text)


def markdown(checks: Sequence[Check]) -> str:
    """The checks as a table, those that do not hold with their reasons beneath."""
    lines = ["| " + " | ".join(HEADER) + " |", "|---|---|---|---:|---:|---|"]
    lines += ["| " + " | ".join(check[: len(HEADER)]) + " |" for check in checks]
    lines.append("")
    lines += [f"- {check.step}: {check.reason}" for check in checks if check.verdict != HOLDS]
    return "\n".join([*lines, ""])


def on_github(checks: Sequence[Check]) -> None:
    """Annotate the build and add to its summary, where this is a build of GitHub's."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    for line in annotations(checks):
        print(line)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(f"## Gate\n\n{markdown(checks)}\n")
