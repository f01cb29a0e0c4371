"""What goes to a terminal, and whether there is one."""

import os
import sys


def on_terminal() -> bool:
    """Whether a person watches: ``spark-submit`` pipes its Python's output, and says so here."""
    return os.environ.get("RECSYS_TERMINAL") == "1" or sys.stderr.isatty()


def printable(text: object) -> str:
    """``text`` with control characters replaced: titles are untrusted, and terminals obey them."""
    return "".join(char if char.isprintable() else "\ufffd" for char in str(text))
