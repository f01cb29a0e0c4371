"""The order of lists: its two spellings, for one pair and for an array, say the same."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_core.ranking.exact_order import (
    comes_before,
    keep_best,
    order_by_score,
    sort_best,
    take_lowest_unseen,
)


@pytest.mark.parametrize("scores", [np.array([2, 5, 2, 5, -1]), np.array([2.0, 5, 2, 5, -1])])
def test_the_higher_score_comes_first_and_of_equals_the_lower_index(scores: np.ndarray) -> None:
    assert order_by_score(scores).tolist() == [1, 3, 0, 2, 4]


def test_a_pair_stands_as_it_does_in_the_whole_order() -> None:
    scores = np.random.default_rng(0).integers(-3, 4, 40).astype(np.float64)
    place = np.empty(40, np.int64)
    place[order_by_score(scores)] = np.arange(40)
    for item in range(40):
        for other in range(40):
            before = comes_before(scores[item], item, scores[other], other)
            assert before == (place[item] < place[other])


def test_items_that_all_tie_are_listed_in_order_of_their_index() -> None:
    is_seen, items = np.zeros(6, np.bool_), np.full(3, -1, np.int32)
    scores = np.ones(3, np.float32)
    assert take_lowest_unseen(np.array([4, 0], np.int32), is_seen, items, scores) == 3
    assert items.tolist() == [1, 2, 3]
    assert scores.tolist() == [0, 0, 0]
    assert not is_seen.any()
    assert take_lowest_unseen(np.arange(1, 6, dtype=np.int32), is_seen, items, scores) == 1
    assert items[0] == 0


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-3, 3), max_size=60), st.integers(1, 12), st.randoms())
def test_the_best_are_kept_in_any_order_of_offers(
    scores: list[int], k: int, random: Random
) -> None:
    items = [*range(len(scores))]
    random.shuffle(items)
    best, best_items, n = np.empty(k), np.empty(k, np.int32), 0
    for item in items:
        n = keep_best(best, best_items, n, float(scores[item]), item)
    sort_best(best, best_items, n)
    assert best_items[:n].tolist() == order_by_score(np.array(scores, float)).tolist()[:k]
    assert best[:n].tolist() == sorted(scores, reverse=True)[:k]
