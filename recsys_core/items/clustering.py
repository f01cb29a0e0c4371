"""Clusters of items that users rate alike: KMeans on the item factors.

How many there are, what they are called, and which of an earlier night's each of them is.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys_core.arrays import Float32Array, Float64Array, IdArray, Int32Array, Int64Array
from recsys_core.items.genres import split_genres


@dataclass(frozen=True)
class ItemClusters:
    """A label for every item."""

    cluster: Int32Array
    """[n_items], 0..n_clusters-1."""
    distance: Float64Array
    """[n_items]: Euclidean distance to the centroid of the item's own cluster."""
    centroids: Float64Array
    """[n_clusters, n_factors]."""


def cluster_items(item_embeddings: Float32Array, *, n_clusters: int, seed: int) -> ItemClusters:
    """Label items with scikit-learn's KMeans, as the third notebook does.

    Args:
        item_embeddings: float32 [n_items, n_factors], finite.

    Raises:
        ValueError: more clusters than items.
    """
    if n_clusters > len(item_embeddings):
        raise ValueError(f"{n_clusters} clusters asked of {len(item_embeddings)} items")
    from sklearn.cluster import KMeans  # executors run without it

    kmeans = KMeans(n_clusters=n_clusters, random_state=seed).fit(item_embeddings)
    own_centroid = kmeans.cluster_centers_[kmeans.labels_]
    distance = np.linalg.norm(item_embeddings - own_centroid, axis=1).astype(np.float64)
    return ItemClusters(
        kmeans.labels_.astype(np.int32), distance, kmeans.cluster_centers_.astype(np.float64)
    )


@dataclass(frozen=True)
class ChosenClusters:
    """Labels for the best of several numbers of clusters."""

    clusters: ItemClusters
    silhouettes: dict[int, float]
    """Mean silhouette (-1 to 1, higher is better) by number of clusters, ascending."""


_SILHOUETTE_ITEMS = 5_000
"""Silhouettes compare every item with every other; a larger catalogue is sampled."""


def choose_clusters(
    item_embeddings: Float32Array, *, candidates: Sequence[int], seed: int
) -> ChosenClusters:
    """Cluster into the number whose mean silhouette is largest (Rousseeuw 1987).

    Equally good ones leave it to the smaller number. Of a large catalogue the silhouettes are those
    of a sample of items, the same for each number.

    Args:
        item_embeddings: float32 [n_items, n_factors], finite.
        candidates: numbers of clusters, from 2 to n_items - 1.

    Raises:
        ValueError: no candidates, or one out of that range.
    """
    n_items, numbers = len(item_embeddings), sorted(set(candidates))
    if not numbers or numbers[0] < 2 or numbers[-1] >= n_items:
        raise ValueError(f"numbers of clusters {numbers} for {n_items} items")
    sample = np.arange(n_items)
    if n_items > _SILHOUETTE_ITEMS:
        sample = np.random.default_rng(seed).choice(n_items, _SILHOUETTE_ITEMS, replace=False)
    found = {
        number: cluster_items(item_embeddings, n_clusters=number, seed=seed) for number in numbers
    }
    silhouettes = {
        number: _measure_silhouette(item_embeddings[sample], clusters.cluster[sample])
        for number, clusters in found.items()
    }
    best = max(numbers, key=lambda number: silhouettes[number])  # the first of equals
    return ChosenClusters(found[best], silhouettes)


def _measure_silhouette(items: Float32Array, cluster: Int32Array) -> float:
    from sklearn.metrics import silhouette_score  # executors run without it

    # Of one cluster, or of clusters of one item each, there is none: as bad as can be.
    if not 2 <= len(np.unique(cluster)) < len(items):
        return -1.0
    return float(silhouette_score(items, cluster))


@dataclass(frozen=True)
class AlignedLabels:
    """Labels that mean what they meant in an earlier clustering, and how far they do."""

    cluster: Int32Array
    """[n_items], at least 0; with gaps where an earlier cluster has no successor."""
    shared_items: int
    """Items that had an earlier label."""
    moved_items: int
    """Those of them whose label is another now."""
    adjusted_rand_index: float | None
    """Of the two labels of the shared items; 1 is the same partition, 0 chance (Hubert and Arabie
    1985). None where none is shared."""


def align_labels(cluster: Int32Array, earlier: Int32Array) -> AlignedLabels:
    """Number clusters after the earlier ones that they continue.

    Clusters are paired so that as many items as possible keep their label: the assignment problem
    (Kuhn 1955), on the numbers of items that each pair has in common. A cluster without an earlier
    one that it shares an item with is new; new ones take the free numbers from 0 in order.

    Args:
        cluster: [n_items] labels.
        earlier: [n_items] labels, below 0 for items that had none.
    """
    from scipy.optimize import linear_sum_assignment  # slow to import, and executors need neither
    from sklearn.metrics import adjusted_rand_score

    shared = earlier >= 0
    labels, row = np.unique(cluster, return_inverse=True)
    earlier_labels, column = np.unique(earlier[shared], return_inverse=True)
    common = np.zeros((len(labels), len(earlier_labels)), dtype=np.int64)
    np.add.at(common, (row[shared], column), 1)
    continued = {
        int(new): int(earlier_labels[old])
        for new, old in zip(*linear_sum_assignment(common, maximize=True), strict=True)
        if common[new, old]
    }
    taken = set(continued.values())
    free = (number for number in itertools.count() if number not in taken)
    number_of = [
        continued[position] if position in continued else next(free)
        for position in range(len(labels))
    ]
    aligned = np.array(number_of, dtype=np.int32)[row]
    return AlignedLabels(
        aligned,
        int(shared.sum()),
        int((aligned != earlier)[shared].sum()),
        float(adjusted_rand_score(earlier[shared], aligned[shared])) if shared.any() else None,
    )


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
_NAMING_SHARE = 0.2
"""A genre that names a cluster is on at least this share of its items."""
_NAMING_LIFT = 1.2
"""And at least so many times its share in the catalogue."""
_NAMING_GENRES = 2
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
) -> dict[int, str]:
    """A short name of each cluster, as in ``Western, Crime: Heat (1995)``.

    Its over-represented genres, where it has any, and its most rated title; the id of its most
    rated item where none has a title. Arguments are [n_items], in order of item_id.
    """
    leading = _find_naming_genres(cluster, genres)
    names = {}
    for label in np.unique(cluster).tolist():
        members = np.flatnonzero(cluster == label)
        titled = [item for item in members.tolist() if titles[item]]
        known = np.array(titled) if titled else members
        best = int(known[np.argmax(rating_count[known])])
        title = titles[best] or str(item_ids[best])
        if len(title) > _NAMING_LETTERS:
            title = title[: _NAMING_LETTERS - 1] + "\u2026"
        names[int(label)] = ": ".join(filter(None, [", ".join(leading.get(label, [])), title]))
    return names


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
