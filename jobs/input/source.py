"""A raw frame of input, and its columns by the names that the settings give."""

from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import DataType

from jobs.errors import InputError
from jobs.process.terminal import printable

_SHOWN_COLUMNS = 20
_SHOWN_LETTERS = 80


@dataclass(frozen=True)
class Source:
    """A raw frame of files that share their columns; ``source[name]`` is a column of the file."""

    frame: DataFrame
    types: dict[str, DataType]
    """Type of each column, by the name in the file."""
    columns: dict[str, str]
    """Name in the file -> name in ``frame``."""
    raw: Column
    """The row as text."""
    malformed: Column
    """Whether the row has another number of fields than the header."""
    is_text: bool
    """Whether all columns are text that has yet to be parsed."""
    file: str
    """One of its files, for messages."""

    def __getitem__(self, name: str) -> Column:
        return name_column(self.columns[name])


def name_column(name: str) -> Column:
    """The column of exactly this name, which may hold dots and backticks."""
    return F.col("`" + name.replace("`", "``") + "`")


def require_column(source: Source, name: str, key: str) -> None:
    """Raise InputError, naming the file, its columns and the setting, where ``name`` is missing."""
    if name not in source.columns:
        if any(map(_is_number, source.columns)):  # a row of ratings, which no log may hold
            raise InputError(
                f"{source.file}: no column '{name}': the first line holds numbers, and is no "
                "header; add a line with the columns' names"
            )
        found = ", ".join(map(shorten_name, list(source.columns)[:_SHOWN_COLUMNS]))
        if len(source.columns) > _SHOWN_COLUMNS:
            found += f" and {len(source.columns) - _SHOWN_COLUMNS} more"
        raise InputError(
            f"{source.file}: no column '{name}' (it has: {found}); "
            f"set {key} to the right one, as in --set {key}=NAME"
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def optional_column(
    sources: Sequence[Source], configured: str | None, default: str, key: str
) -> str | None:
    """The configured column, which must exist, or the default one where every source has it."""
    if configured is not None:
        for source in sources:
            require_column(source, configured, key)
        return configured
    return default if all(default in source.columns for source in sources) else None


def shorten_name(text: str) -> str:
    """A column's name, fit for a message."""
    shown = text if len(text) <= _SHOWN_LETTERS else f"{text[:_SHOWN_LETTERS]}..."
    return printable(shown)
