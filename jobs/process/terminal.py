"""What goes to a terminal, and whether there is one."""

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_PIPE_WIDTH = 120


def on_terminal() -> bool:
    """Whether a person watches: ``spark-submit`` pipes its Python's output, and says so here."""
    return os.environ.get("RECSYS_TERMINAL") == "1" or sys.stderr.isatty()


def printable(text: object) -> str:
    """``text`` with control characters replaced: titles are untrusted, and terminals obey them."""
    return "".join(char if char.isprintable() else "\ufffd" for char in str(text))


def open_console() -> "Console":
    """Where tables and summaries go."""
    from rich.console import Console  # which commands that print lines need not wait for

    # Piped output has no width to fit: a log keeps its lines whole.
    width = None if on_terminal() else _PIPE_WIDTH
    return Console(highlight=False, soft_wrap=True, width=width)


def print_table(table: "Table") -> None:
    """Print one table."""
    open_console().print(table)
