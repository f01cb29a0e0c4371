"""Texts and lists cut to what a page can hold: nothing in an input may swell it."""

from typing import Any

import numpy as np

_MAX_TEXT = 80
"""Characters of a title or id that are shown."""


def shorten(text: str, limit: int = _MAX_TEXT) -> str:
    """A text of at most ``limit`` characters."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def thin(values: list[Any], limit: int) -> list[Any]:
    """At most ``limit`` of the values, evenly spread, the first and the last among them."""
    if len(values) <= limit:
        return values
    places = np.linspace(0, len(values) - 1, limit).round().astype(int)
    return [values[place] for place in places.tolist()]
