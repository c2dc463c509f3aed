"""Results of the gate for a build: JUnit's XML, GitHub's annotations and its job summary."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from experiments.cli.files import write
from experiments.cli.tables import markdown, to_markdown
from experiments.cli.text import printable
from experiments.reports.targets import HEADER, MISSED, RIGHT, UNKNOWN, Check


def junit(checks: Sequence[Check], path: Path) -> None:
    """Write a test case for each check: a missed one failed, one without a verdict is an error.

    Raises:
        UserError: the file cannot be written.
    """
    checks = [Check(*map(printable, check)) for check in checks]  # XML has no control characters
    verdicts = [check.verdict for check in checks]
    kinds = {MISSED: "failure", UNKNOWN: "error"}
    counts = {f"{kind}s": str(verdicts.count(verdict)) for verdict, kind in kinds.items()}
    suites = ElementTree.Element("testsuites", name="gate", tests=str(len(checks)), **counts)
    suite = ElementTree.SubElement(suites, "testsuite", suites.attrib)
    for check in checks:
        case = ElementTree.SubElement(suite, "testcase", classname=check.step, name=check.target)
        if check.reason:
            ElementTree.SubElement(case, kinds[check.verdict], message=check.reason)
        text = f"asked: {check.asked or 'nothing'}; measured: {check.measured}"
        ElementTree.SubElement(case, "system-out").text = text
    ElementTree.indent(suites)
    write(path, ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n")


def on_github(checks: Sequence[Check]) -> None:
    """In a build on GitHub, annotate the build and add to its summary."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    failed = [check for check in checks if check.reason]
    for check in failed:
        title = _escaped(f"gate: {check.step}, {check.target}", ":,")
        print(f"::error title={title}::{_escaped(check.reason)}")
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        table = to_markdown(HEADER, [check.cells for check in checks], RIGHT)
        reasons = "".join(f"- {markdown(f'{check.step}: {check.reason}')}\n" for check in failed)
        try:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(f"## Gate\n\n{table}\n{reasons}\n")
        except OSError as error:  # the verdict stays what it is
            print(f"warning: GITHUB_STEP_SUMMARY={summary}: {error.strerror}", file=sys.stderr)


def _escaped(text: str, more: str = "") -> str:
    """Percent signs, line ends and the characters of `more`, as GitHub's commands want them."""
    return "".join(f"%{ord(c):02X}" if c in "%\r\n" + more else c for c in text)
