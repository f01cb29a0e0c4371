"""Find items by what a person types: a title, exactly or nearly so.

Three spellings are tried in turn, and the first that any item has decides:

1. the title as it stands: ``Matrix, The (1999)``
2. without regard to case, accents and where the article stands: ``the matrix (1999)``
3. the same without article, and without the year where none is given: ``Matrix``
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence

_YEAR = re.compile(r"\s*\(\d{4}(?:[-\u2013]\d{0,4})?\)\s*$")
_TRAILING_ARTICLE = re.compile(
    r"^(?P<rest>.*),\s+(?P<article>the|a|an|le|la|les|l'|il|lo|i|gli|el|los|las|un|une|das|der|die)$"
)


class TitleIndex:
    """Item indices by title. Built from titles once, asked many times."""

    def __init__(self, titles: Sequence[str | None]) -> None:
        """Index ``titles[item_index]``; items without a title are never found."""
        self._exact: dict[str, list[int]] = defaultdict(list)
        self._normalized: dict[str, list[int]] = defaultdict(list)
        self._named: dict[str, list[tuple[str, int]]] = defaultdict(list)  # name -> (year, index)
        for index, title in enumerate(titles):
            if title is not None:
                name, year = _split_year(title)
                self._exact[title].append(index)
                self._normalized[normalize_title(title)].append(index)
                self._named[name].append((year, index))

    def find(self, text: str) -> list[int]:
        """Indices of the items that ``text`` may mean: none, one, or several candidates."""
        if found := self._exact.get(text) or self._normalized.get(normalize_title(text)):
            return found
        name, year = _split_year(text)
        # A year that was given must be the item's.
        return [index for of, index in self._named.get(name, []) if year in ("", of)]


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


def _split_year(title: str) -> tuple[str, str]:
    """The normalized name less its leading article, and the year, '' where there is none."""
    normalized = normalize_title(title)
    year = _YEAR.search(normalized)
    name = normalized[: year.start()] if year else normalized
    return re.sub(r"^(the|a|an) (?=\S)", "", name), year[0].strip() if year else ""
