"""Business rules of a list: which items it may hold, how many of a kind, and how unlike each other.

``ruled_lists`` makes lists by them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from recsys_core.arrays import Float32Array, Int32Array, Int64Array
from recsys_core.items.genres import split_genres

GENRE, CLUSTER = 0, 1
"""Kinds of groups, in the order of their effects."""
EVERY_OTHER_GENRE: Final = "*"


@dataclass(frozen=True)
class ItemGroups:
    """Which items are of a kind of which a list may hold only so many."""

    starts: Int64Array
    """[n_items + 1]: where each item's groups begin in ``groups``."""
    groups: Int32Array
    """[starts[-1]]: groups of the items, end to end."""
    cap: Int32Array
    """[n_groups]: most items of the group in a list."""
    kind: Int32Array
    """[n_groups]: GENRE or CLUSTER."""

    @property
    def n_items(self) -> int:
        return len(self.starts) - 1


def group_items(
    genres: Sequence[str | None],
    genre_caps: Mapping[str, int],
    cluster: Int32Array,
    cluster_cap: int | None,
) -> ItemGroups:
    """The groups that genre caps and a cap on clusters make of the items.

    Args:
        genres: [n_items], separated by '|'.
        genre_caps: by genre; ``EVERY_OTHER_GENRE`` is for each that is not named.
        cluster: [n_items] labels, at least 0.
        cluster_cap: None where lists may hold any number of a cluster.
    """
    of_items = [split_genres(text) for text in genres]
    other = genre_caps.get(EVERY_OTHER_GENRE)
    names = sorted({name for of_item in of_items for name in of_item})
    caps = {name: genre_caps.get(name, other) for name in names}
    number = {name: at for at, name in enumerate(n for n in names if caps[n] is not None)}
    members = [[number[name] for name in of_item if name in number] for of_item in of_items]
    cap = [cap for cap in caps.values() if cap is not None]
    kind = [GENRE] * len(cap)
    if cluster_cap is not None:
        for of_item, label in zip(members, cluster.tolist(), strict=True):
            of_item.append(len(number) + label)
        n_clusters = int(cluster.max(initial=-1)) + 1
        cap += [cluster_cap] * n_clusters
        kind += [CLUSTER] * n_clusters
    lengths = np.array([len(of_item) for of_item in members], dtype=np.int64)
    return ItemGroups(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.array([group for of_item in members for group in of_item], dtype=np.int32),
        np.array(cap, dtype=np.int32),
        np.array(kind, dtype=np.int32),
    )


@dataclass(frozen=True)
class ListRules:
    """The rules of a night in arrays; broadcast beside the model."""

    groups: ItemGroups
    allowed: Int32Array | None = None
    """[n_allowed] item indices that lists may hold, ascending; None where all may be."""
    min_score: float = -np.inf
    """No item of a lower score, as published in float32, is in a list."""
    diversity: float = 0.0
    """Weight of unlikeness, 0 to 1; at 0 the order is that of the scores."""
    pool: int = 0
    """How many of the best candidates diversity orders; at least k where it does."""
    embeddings: Float32Array | None = field(default=None, repr=False)
    """[n_items, n_factors] whose cosines say how alike items are; only where there is diversity."""

    @property
    def keep_order_of_scores(self) -> bool:
        """Whether scores never rise within a list."""
        return self.diversity == 0

    def count_allowed(self) -> int:
        """Items that lists may hold."""
        return self.groups.n_items if self.allowed is None else len(self.allowed)
