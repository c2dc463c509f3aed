"""The commands, one file each, and the packages that they stand on, one theme each."""

import os
import signal
import sys


def _end(*_: object) -> None:
    os.write(2, b"interrupted\n")
    os._exit(128 + signal.SIGINT)


# python -m experiments.NAME or parsimony: nothing is begun, and an import that fails would print
# 30 lines; `experiments.cli.program` takes over from here
_ours = any(part.partition(".")[0] == __name__ for part in sys.orig_argv)
_command = sys.argv[0].endswith("parsimony") or (sys.argv[0] == "-m" and _ours)
if _command and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _end)
