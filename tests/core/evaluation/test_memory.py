"""What measuring takes does not grow with users times length of the lists."""

import tracemalloc

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recsys_core.evaluation.list_makeup import (
    ItemLikeness,
    count_listed,
    measure_items,
)
from recsys_core.evaluation.metrics import UserMeasure, measure_lists
from recsys_core.ranking.top_k import RankedItems

N_USERS, N_ITEMS, K, CUTOFFS = 100_000, 20_000, 100, [10, 100]
MOST_BYTES = 200e6
"""Beside lists and ratings; 100 MB as measured, of which half are the figures of each user. With
all users at once it was 740 MB."""


@pytest.fixture(scope="module")
def lists() -> RankedItems:
    steps = np.random.default_rng(0).integers(1, N_ITEMS // K, (N_USERS, K), dtype=np.int32)
    items = np.cumsum(steps, axis=1, dtype=np.int32).ravel()
    return RankedItems(np.full(N_USERS, K), items, np.zeros(len(items), np.float32))


@pytest.fixture(scope="module")
def ratings() -> csr_matrix:
    """20 of each user."""
    items = np.random.default_rng(1).integers(0, N_ITEMS, (N_USERS, 20), dtype=np.int32)
    indptr = np.arange(N_USERS + 1) * 20
    return csr_matrix((np.ones(items.size, np.float32), items.ravel(), indptr), (N_USERS, N_ITEMS))


def measure_all(lists: RankedItems, ratings: csr_matrix) -> list[UserMeasure]:
    counts = np.bincount(ratings.indices, minlength=N_ITEMS)
    count_listed(lists, N_ITEMS, K)
    return [
        *measure_lists(lists, ratings, CUTOFFS),
        *measure_items(lists, counts, N_USERS, CUTOFFS),
        *ItemLikeness.of(ratings).measure_diversity(lists, CUTOFFS),
    ]


def test_100_000_lists_of_100_are_measured_in_little_memory(
    lists: RankedItems, ratings: csr_matrix
) -> None:
    tracemalloc.start()
    try:
        measure_all(lists, ratings)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MOST_BYTES


def test_a_user_is_measured_alike_alone_and_among_100_000(
    lists: RankedItems, ratings: csr_matrix
) -> None:
    users = slice(N_USERS - 2_000, N_USERS)
    places = slice(-2_000 * K, None)
    alone = RankedItems(lists.counts[users], lists.item_index[places], lists.score[places])
    among = measure_lists(lists, ratings, CUTOFFS)
    for one, same in zip(among, measure_lists(alone, ratings[users], CUTOFFS), strict=True):
        assert (one.metric, one.k) == (same.metric, same.k)
        assert one.total[users].tolist() == same.total.tolist()
        assert one.total[users].any()
