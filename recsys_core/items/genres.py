"""Genres of an item as they come in its row: ``Comedy|Drama``."""

from typing import Final

_SEPARATOR: Final = "|"
_NONE: Final = "(no genres listed)"
"""What MovieLens writes instead of genres."""


def split_genres(text: str | None) -> list[str]:
    """The genres of an item, each once, in their order; none where it has none."""
    names = (text or "").split(_SEPARATOR)
    return [*dict.fromkeys(name for name in names if name and name != _NONE)]
