"""What clusters are called, and what they have in common with genres."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys_core.arrays import Float64Array, IdArray, Int32Array, Int64Array, IntArray
from recsys_core.items.genres import split_genres


@dataclass(frozen=True)
class GenreAgreement:
    """How much clusters and genres have in common, beside what chance gives."""

    adjusted_mutual_information: float
    """Of labels and first genres; 0 is chance, 1 the same partition (Vinh et al., JMLR 2010)."""
    shuffled_mutual_information: float
    """The same for shuffled labels, mean of several shuffles."""
    lift: float
    """Mean over items of their cluster's ``leading_genres`` lift."""
    shuffled_lift: float
    leading_genres: dict[int, tuple[str, float]]
    """Each cluster's most over-represented genre, and how many times its share in the catalogue."""


_SHUFFLES = 20


_LEADING_SHARE = 0.05
"""A leading genre is on at least this share of a cluster's items: one rare title is no genre."""


_NAMING_SHARE = 1 / 3
"""A genre that names a cluster is on at least this share of its items."""


_NAMING_LIFT = 1.4
"""And at least so many times its share in the catalogue: what chance hardly makes.

On ml-latest-small one shuffled cluster in 24 (``nmf``) to 170 (``ease``) has a genre with such a
share and lift; with a lift of 1.3 it is one in 8 to 16. Of the real clusters 7 in 10 have one.
"""


_NAMING_GENRES = 2


_WELL_KNOWN_PART = 3
"""One in so many of a cluster's items is well known enough to stand for it."""


_NAMING_LETTERS = 60
"""A longer title is cut: a name is to be short, and titles are anybody's."""


def measure_genre_agreement(
    cluster: Int32Array, genres: Sequence[str | None], *, seed: int
) -> GenreAgreement | None:
    """Test the third notebook's claim that a cluster holds similar genres.

    Args:
        cluster: [n_items] labels.
        genres: each item's genres, separated by '|', the first its main one.

    Returns:
        None where no item has genres.
    """
    from sklearn.metrics import adjusted_mutual_info_score  # executors run without it

    known = np.array([bool(text) for text in genres])
    if not known.any():
        return None
    labels = cluster[known]
    of_items = [text.split("|") for text in genres if text]
    first = [names[0] for names in of_items]
    rng = np.random.default_rng(seed)
    shuffled = [rng.permutation(labels) for _ in range(_SHUFFLES)]
    leading = _find_leading_genres(labels, of_items)
    return GenreAgreement(
        float(adjusted_mutual_info_score(first, labels)),
        float(np.mean([adjusted_mutual_info_score(first, other) for other in shuffled])),
        _mean_lift(labels, leading),
        float(
            np.mean(
                [_mean_lift(other, _find_leading_genres(other, of_items)) for other in shuffled]
            )
        ),
        leading,
    )


@dataclass(frozen=True)
class _GenreLift:
    """A genre within a cluster."""

    name: str
    share: float
    """Of the cluster's items."""
    lift: float
    """Times its share in the catalogue."""


def _find_leading_genres(
    labels: Int32Array, of_items: Sequence[Sequence[str]]
) -> dict[int, tuple[str, float]]:
    leading = {}
    for label, genres in _measure_lifts(labels, of_items).items():
        # Where every genre is rare, the most frequent ones count.
        least = min(_LEADING_SHARE, max(genre.share for genre in genres))
        first = next(genre for genre in genres if genre.share >= least)
        leading[label] = (first.name, first.lift)
    return leading


def _measure_lifts(
    labels: Int32Array, of_items: Sequence[Sequence[str]]
) -> dict[int, list[_GenreLift]]:
    """The genres of each cluster, by descending lift."""
    overall = Counter(name for names in of_items for name in names)
    lifts = {}
    for label in np.unique(labels).tolist():
        members = np.flatnonzero(labels == label).tolist()
        counts = Counter(name for item in members for name in of_items[item])
        shares = {name: count / len(members) for name, count in counts.items()}
        genres = [
            _GenreLift(name, share, share / (overall[name] / len(of_items)))
            for name, share in shares.items()
        ]
        lifts[int(label)] = sorted(genres, key=lambda genre: (-genre.lift, genre.name))
    return lifts


def _mean_lift(labels: Int32Array, leading: dict[int, tuple[str, float]]) -> float:
    return float(np.mean([leading[label][1] for label in labels.tolist()]))


def name_clusters(
    cluster: Int32Array,
    *,
    item_ids: IdArray,
    titles: Sequence[str | None],
    genres: Sequence[str | None],
    rating_count: Int64Array,
    distance: Float64Array,
) -> dict[int, str]:
    """A short name of each cluster, after what sets it apart: ``Western, Crime: Heat (1995)``.

    Its over-represented genres, where it has any, and the title nearest to its centre among the
    third of its titles with the most ratings: the most rated one of all says what everybody has
    seen, and the nearest of all is often one that nobody knows. An item's id stands where no item
    of the cluster has a title. Two clusters may have one name, where titles repeat.

    Args:
        cluster: [n_items] labels, as all arguments in order of item_id.
        distance: [n_items], to the centre of the item's own cluster.
    """
    leading = _find_naming_genres(cluster, genres)
    names = {}
    for label in np.unique(cluster).tolist():
        members = np.flatnonzero(cluster == label)
        titled = [item for item in members.tolist() if titles[item]]
        named = np.array(titled) if titled else members
        nearest = _find_typical_item(named, rating_count, distance)
        title = titles[nearest] or str(item_ids[nearest])
        if len(title) > _NAMING_LETTERS:
            title = title[: _NAMING_LETTERS - 1] + "\u2026"
        names[int(label)] = ": ".join(filter(None, [", ".join(leading.get(label, [])), title]))
    return names


def _find_typical_item(members: IntArray, rating_count: Int64Array, distance: Float64Array) -> int:
    """The nearest to the centre of the most rated third; ties to the lower index, in both."""
    by_ratings = members[np.lexsort((members, -rating_count[members]))]
    well_known = np.sort(by_ratings[: math.ceil(len(members) / _WELL_KNOWN_PART)])
    return int(well_known[np.argmin(distance[well_known])])  # the first of equals


def list_top_titles(
    cluster: Int32Array,
    *,
    item_ids: IdArray,
    titles: Sequence[str | None],
    rating_count: Int64Array,
    n_titles: int = 10,
) -> dict[int, list[str]]:
    """Each cluster's most rated titles, as the third notebook lists them; by label, ascending.

    Of items with equally many ratings the one with the lower id comes first, and an item without a
    title stands as its id. Arguments are [n_items], in any order.
    """
    id_rank = np.unique(item_ids, return_inverse=True)[1]
    order = np.lexsort((id_rank, -rating_count, cluster))
    top: dict[int, list[str]] = {}
    for item in order.tolist():
        of_cluster = top.setdefault(int(cluster[item]), [])
        if len(of_cluster) < n_titles:
            title = titles[item]
            of_cluster.append(str(item_ids[item]) if title is None else title)
    return top


def _find_naming_genres(cluster: Int32Array, genres: Sequence[str | None]) -> dict[int, list[str]]:
    of_items = [split_genres(text) for text in genres]
    known = [item for item, names in enumerate(of_items) if names]
    lifts = _measure_lifts(cluster[known], [of_items[item] for item in known])
    return {
        label: [
            genre.name
            for genre in of_label
            if genre.share >= _NAMING_SHARE and genre.lift >= _NAMING_LIFT
        ][:_NAMING_GENRES]
        for label, of_label in lifts.items()
    }
