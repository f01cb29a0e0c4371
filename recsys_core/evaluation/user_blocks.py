"""Lists of many users, a block of users at a time, so that memory does not grow with them."""

from collections.abc import Iterator

import numpy as np

from recsys_core.ranking.top_k import RankedItems

_PLACES_AT_ONCE = 2**20
"""Places in the lists of a block of users: 8 MB for each float64 of a place."""


def split_lists(
    lists: RankedItems, *, depth: int, places_at_once: int = _PLACES_AT_ONCE
) -> Iterator[tuple[slice, RankedItems]]:
    """The lists in blocks of whole users: which users, and their lists.

    Args:
        depth: places that a user takes in arrays of a block, as listed or longer.
        places_at_once: most places of a block, which has one user at least.
    """
    n_users = len(lists.counts)
    n_at_once = max(1, places_at_once // depth)
    ends = np.concatenate([[0], np.cumsum(lists.counts)])
    for start in range(0, n_users, n_at_once):
        users = slice(start, min(start + n_at_once, n_users))
        places = slice(ends[users.start], ends[users.stop])
        yield (
            users,
            RankedItems(lists.counts[users], lists.item_index[places], lists.score[places]),
        )
