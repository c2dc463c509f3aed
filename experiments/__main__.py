"""All commands by their names: python -m experiments train ..., or parsimony train ..."""

import ast
import difflib
import os
import re
import runpy
import signal
import sys
from importlib import import_module
from pathlib import Path

# each is a module of this package, in the order of use; a command does not wait for the others
COMMANDS = (
    *("train", "search", "compare", "gate", "ui", "predict", "evaluate"),
    *("fetch", "competition", "bench"),
)


def main() -> None:
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in COMMANDS:
        sys.argv = [name, *arguments]
        runpy.run_module(f"experiments.{name}", run_name="__main__", alter_sys=True)
    elif name in ("-sc", "--shell-completion"):
        complete()
    elif name in ("-h", "--help"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end without a word after | head -1
        print("parsimony COMMAND KEY=VALUE ..., or parsimony COMMAND --help\n")
        for name in COMMANDS:
            text = ast.parse(Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8"))
            print(f"{name:12} {ast.get_docstring(text).splitlines()[0]}")
    else:
        near = difflib.get_close_matches(name, COMMANDS, n=1) or COMMANDS
        sys.exit(f"error: there is no command {name}; choose {', '.join(near)}")


def complete() -> None:
    """Print what Hydra prints for a shell: its script, or the completions of $COMP_LINE."""
    sys.argv[0] = "parsimony"
    begun = re.match(r"\S+\s+(\S+)\s(.*)", os.environ.get("COMP_LINE", ""))
    if begun and begun[1] in COMMANDS:
        os.environ["COMP_LINE"] = f"parsimony {begun[2]}"
        import_module(f"experiments.{begun[1]}").main()
    elif "install" in sys.argv[-1]:
        import_module(f"experiments.{COMMANDS[0]}").main()
    else:
        print(*COMMANDS)


if __name__ == "__main__":
    main()
