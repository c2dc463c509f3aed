"""All commands by their names: python -m experiments train ..., or parsimony train ..."""

import ast
import difflib
import os
import re
import runpy
import sys
from importlib import import_module
from pathlib import Path

# each is a module of this package, in the order of use; a command does not wait for the others
COMMANDS = (
    *("train", "search", "compare", "gate", "ui", "predict", "evaluate"),
    *("fetch", "competition", "bench"),
)


def main() -> None:
    arguments = sys.argv[1:]
    if arguments[:1] in (["-sc"], ["--shell-completion"]):
        complete()
    elif not arguments or arguments[0] in ("-h", "--help"):
        print("parsimony COMMAND KEY=VALUE ..., or parsimony COMMAND --help\n")
        for name in COMMANDS:
            text = ast.parse(Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8"))
            print(f"{name:12} {ast.get_docstring(text).splitlines()[0]}")
    elif arguments[0] in COMMANDS:
        sys.argv = arguments
        runpy.run_module(f"experiments.{arguments[0]}", run_name="__main__", alter_sys=True)
    else:
        near = difflib.get_close_matches(arguments[0], COMMANDS, n=1) or COMMANDS
        sys.exit(f"error: there is no command {arguments[0]}; choose {', '.join(near)}")


def complete() -> None:
    """Print what Hydra prints for a shell: its script, or the completions of $COMP_LINE."""
    sys.argv[0] = "parsimony"
    begun = re.match(r"\S+\s+(\S+)\s(.*)", os.environ.get("COMP_LINE", ""))
    if begun and begun[1] in COMMANDS:
        os.environ["COMP_LINE"] = f"parsimony {begun[2]}"
    elif "install" not in sys.argv[-1]:
        print(*COMMANDS)
        return
    import_module(f"experiments.{begun[1] if begun else COMMANDS[0]}").main()


if __name__ == "__main__":
    main()
