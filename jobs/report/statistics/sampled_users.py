"""Some users: the tops of their lists, and what they rated."""

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from jobs.report.counting.counts import ListCounts
from jobs.report.statistics.limits import shorten

_MAX_SAMPLE_TEXT = 300_000
"""Characters of the sampled users' ids and of the titles of all they have in their lists and have
rated; users beyond them are left out."""


@dataclass(frozen=True)
class SampledUser:
    """The top of one user's list; items are places in ``ReportData.sampled_items``."""

    user: str
    source: str
    items: list[int]
    rated: list[tuple[int, float]]
    """Item and rating, in order of ``ReportData.rated_by``."""


def list_sample(counts: ListCounts, table: pd.DataFrame) -> tuple[list[str], list[SampledUser]]:
    """Names of the sampled users' items, and the users with items as places in them."""
    names = dict(zip(table["item_id"].tolist(), table["name"].tolist(), strict=True))
    ratings = _list_ratings(counts.recent, names)
    places: dict[str, int] = {}
    users: list[SampledUser] = []
    room = _MAX_SAMPLE_TEXT
    for (user, source), rows in counts.sample.sort_values("rank").groupby(["user_id", "source"]):
        item_ids = rows["item_id"].tolist()
        shown = shorten(str(user))
        rated = ratings.get(str(user), [])
        all_ids = [*item_ids, *(item_id for item_id, _ in rated)]
        new = {item_id: names.get(item_id, shorten(item_id)) for item_id in all_ids}
        room -= len(shown) + sum(len(new[item_id]) for item_id in new.keys() - places.keys())
        if room < 0:
            break
        for item_id in all_ids:
            places.setdefault(item_id, len(places))
        listed = [places[item_id] for item_id in item_ids]
        valued = [(places[item_id], rating) for item_id, rating in rated]
        users.append(SampledUser(shown, str(source), listed, valued))
    users.sort(key=lambda sampled: (len(sampled.user), sampled.user))  # 2 comes before 10
    return [names.get(item_id, shorten(item_id)) for item_id in places], users


def _list_ratings(
    recent: pd.DataFrame | None, names: dict[str, str]
) -> dict[str, list[tuple[str, float]]]:
    """By user the rated items and ratings; ``names`` gets those of items outside the catalogue."""
    rated: dict[str, list[tuple[str, float]]] = {}
    if recent is None:
        return rated
    columns = ("user_id", "item_id", "title", "rating")
    for user, item_id, title, rating in zip(
        *(recent.sort_values("place")[name].tolist() for name in columns), strict=True
    ):
        if isinstance(title, str):
            names.setdefault(item_id, shorten(title))
        # Six digits: a page has no use for more, and the input could have any number of them.
        rated.setdefault(user, []).append((item_id, float(f"{rating:.6g}")))
    return rated


def name_order(recent: pd.DataFrame | None) -> Literal["time", "rating"] | None:
    """What puts the ratings of ``recent`` in order; None where there are none."""
    if recent is None:
        return None
    return "time" if recent["timed"].any() else "rating"
