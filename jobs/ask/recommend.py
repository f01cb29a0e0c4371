"""The ratings that somebody asks with, and the list they get."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jobs.ask.wording import name_item
from jobs.errors import ConfigError
from recsys_core.query.recommender import ItemKey, Recommendation

_SHOWN_CONTRIBUTIONS = 3


def read_query(text: str | None, rates: Sequence[str]) -> dict[ItemKey, float]:
    """Ratings from ``--query`` (JSON, or a file of it) and repeated ``--rate ITEM=RATING``.

    Raises:
        ConfigError: neither given, JSON that is not an object of numbers, or a malformed rate.
    """
    query: dict[ItemKey, float] = {}
    if text is not None:
        query.update(_parse_json(text))
    for rate in rates:
        key, value = _parse_rate(rate)
        if key in query:
            raise ConfigError(f"--rate {rate}: '{key}' is rated twice in the query")
        query[key] = value
    if not query:
        raise ConfigError('nothing to go by: give ratings with --query or --rate "TITLE=RATING"')
    return query


def _parse_json(text: str) -> dict[ItemKey, float]:
    source = "--query"
    if not text.lstrip().startswith("{"):
        source = f"--query {text}"
        text = _read_file(text)
    try:
        query = json.loads(text, object_pairs_hook=_refuse_repeats)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{source}: not valid JSON: {error}") from None
    if not isinstance(query, dict):
        raise ConfigError(f'{source}: expected an object such as {{"Toy Story (1995)": 5}}')
    return query


def _refuse_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    query = dict(pairs)
    if len(query) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"'{repeated}' is rated twice")
    return query


def _read_file(name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a UTF-8 text file"
        raise ConfigError(f"--query {name}: neither JSON nor a readable file ({reason})") from None


def _parse_rate(rate: str) -> tuple[str, float]:
    match = re.fullmatch(r"(?P<key>.+?)\s*=\s*(?P<rating>[^=]+)", rate, re.DOTALL)
    try:
        if match is None:
            raise ValueError
        return match["key"], float(match["rating"])
    except ValueError:
        raise ConfigError(f'--rate {rate}: expected "TITLE=RATING" or ID=RATING') from None


def format_list(items: Sequence[Recommendation]) -> Iterator[str]:
    """Lines for a terminal: rank, score, title, id; and what brought an item up, if known."""
    for item in items:
        yield f"{item.rank:3d}  {item.score:7.3f}  {name_item(item.item_id, item.title)}"
        for reason in item.because[:_SHOWN_CONTRIBUTIONS]:
            rated = name_item(reason.item_id, reason.title)
            yield f"              {reason.amount:+.3f} from your {reason.rating:g} for {rated}"
