"""Find items by what a person types: a title, exactly or nearly so.

Three spellings are tried in turn, and the first that any item has decides:

1. the title as it stands: ``Matrix, The (1999)``
2. without regard to case, accents and where the article stands: ``the matrix (1999)``
3. the same without the year: ``Matrix``, ``the matrix``
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence

_YEAR = re.compile(r"\s*\(\d{4}(?:[-\u2013]\d{0,4})?\)\s*$")
_TRAILING_ARTICLE = re.compile(
    r"^(?P<rest>.*),\s+(?P<article>the|a|an|le|la|les|l'|il|lo|i|gli|el|los|las|un|une|das|der|die)$"
)


class TitleIndex:
    """Item indices by title. Built from titles once, asked many times."""

    def __init__(self, titles: Sequence[str | None]) -> None:
        """Index ``titles[item_index]``; items without a title are never found."""
        self._lookups: list[tuple[Callable[[str], str], dict[str, list[int]]]] = []
        for spell in (str, normalize_title, _without_year):
            found: dict[str, list[int]] = defaultdict(list)
            for index, title in enumerate(titles):
                if title is not None:
                    found[spell(title)].append(index)
            self._lookups.append((spell, dict(found)))

    def find(self, text: str) -> list[int]:
        """Indices of the items that ``text`` may mean: none, one, or several candidates."""
        for spell, found in self._lookups:
            if indices := found.get(spell(text)):
                return indices
        return []


def normalize_title(title: str) -> str:
    """``title`` without case, accents and surplus blanks, its article in front, its year last."""
    decomposed = unicodedata.normalize("NFKD", title)
    plain = "".join(char for char in decomposed if not unicodedata.combining(char))
    plain = " ".join(plain.casefold().split())
    year = _YEAR.search(plain)
    name = plain[: year.start()] if year else plain
    if match := _TRAILING_ARTICLE.match(name):
        name = f"{match['article']} {match['rest']}"
    return f"{name} {year[0].strip()}" if year else name


def _without_year(title: str) -> str:
    """The normalized title less its year and its leading article, if that leaves anything."""
    name = _YEAR.sub("", normalize_title(title))
    return re.sub(r"^(the|a|an) (?=\S)", "", name)
