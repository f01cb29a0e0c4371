"""What lists are made of, against what a hand works out."""

import numpy as np
import pytest
from core_examples import make_lists
from scipy.sparse import csr_matrix

from recsys_core.evaluation.list_makeup import (
    ItemLikeness,
    count_listed,
    find_tail,
    measure_coverage,
    measure_gini,
    measure_items,
)
from recsys_core.evaluation.metrics import UserMeasure
from recsys_core.evaluation.user_blocks import split_lists
from recsys_core.ranking.top_k import RankedItems

LISTS = make_lists([7, 2, 5], [1, 0, 3, 4], [])


def measure(name: str, lists: RankedItems, rating_count: list[int], k: int) -> UserMeasure:
    measures = measure_items(lists, np.array(rating_count), 8, [1, k])
    (found,) = [one for one in measures if (one.metric, one.k) == (name, k)]
    return found


def test_popularity_and_full_lists_count_what_is_listed() -> None:
    rating_count = [item * 10 for item in range(10)]
    popularity = measure("popularity", LISTS, rating_count, 3)
    assert popularity.value == pytest.approx((70 + 20 + 50 + 10 + 0 + 30) / 6)
    assert measure("full_lists", LISTS, rating_count, 3).value == pytest.approx(2 / 3)


def test_novelty_is_how_many_bits_it_takes_to_name_who_rated_an_item() -> None:
    """8 users: rated by 8 of them 0 bits, by 2 of them 2, by one 3, and by nobody 3 too."""
    lists = make_lists([0, 1, 3], [2, 3])
    novelty = measure("novelty", lists, [8, 2, 1, 0], 2)
    assert novelty.total.tolist() == [0 + 2, 3 + 3]
    assert novelty.value == (0 + 2 + 3 + 3) / 4


def test_the_tail_is_what_the_most_rated_items_with_80_percent_leave() -> None:
    assert find_tail(np.array([1, 5, 1, 3])).tolist() == [True, False, True, False]  # 8 of 10
    assert find_tail(np.array([1, 5, 2, 3])).tolist() == [True, False, False, False]  # 8 of 11
    assert find_tail(np.array([1, 1, 1, 1, 1])).tolist() == [False] * 4 + [True]
    share = measure("tail_share", make_lists([0, 1, 2], [1], [3, 0]), [1, 5, 1, 3], 2)
    assert share.total.tolist() == [1, 0, 1]
    assert share.value == 2 / 5


# Items 0 and 1 are rated by the same two users, 2 by one of them and one other, 3 by nobody.
RATED = csr_matrix(np.array([[5, 1, 0, 0], [2, 4, 3, 0], [0, 0, 1, 0]], np.float32))


def test_diversity_is_how_unlike_the_pairs_of_a_list_are() -> None:
    """Cosines: 1 of items 0 and 1, 1/2 of either and 2, none of any and 3."""
    likeness = ItemLikeness.of(RATED)
    lists = make_lists([0, 1, 2], [0, 2], [3, 1, 0], [1], [])
    of_two, of_three = likeness.measure_diversity(lists, [2, 3])
    assert (of_two.metric, of_two.k, of_three.k) == ("diversity", 2, 3)
    np.testing.assert_allclose(of_two.total, [0, 1 / 2, 1, 0, 0], atol=1e-12)
    expected = [1 - (1 + 1 / 2 + 1 / 2) / 3, 1 / 2, 1 - 1 / 3, 0, 0]
    np.testing.assert_allclose(of_three.total, expected, atol=1e-12)
    assert of_three.value == pytest.approx(np.mean(expected))


def test_a_rating_of_0_makes_items_alike_as_any_other_does() -> None:
    stored = csr_matrix((np.zeros(2, np.float32), [0, 1], [0, 2]), shape=(1, 2))
    (diversity,) = ItemLikeness.of(stored).measure_diversity(make_lists([0, 1]), [2])
    assert diversity.value == pytest.approx(0, abs=1e-12)


def test_diversity_is_measured_on_the_same_1000_users_for_all_models() -> None:
    rng = np.random.default_rng(0)
    ratings = csr_matrix((rng.random((60, 30)) < 0.3).astype(np.float32))
    likeness = ItemLikeness.of(ratings)
    drawn = [rng.permutation(30)[:4] for _ in range(3_000)]
    one, other = make_lists(*map(list, drawn)), make_lists(*map(list, drawn[::-1]))
    (measured,), (same_users,) = (likeness.measure_diversity(lists, [4]) for lists in (one, other))
    assert measured.count.sum() == 1_000
    assert measured.count.tolist() == same_users.count.tolist()
    assert measured.total.tolist() != same_users.total.tolist()
    assert not measured.total[measured.count == 0].any()
    everyone = make_lists(*[list(drawn[user]) for user in np.flatnonzero(measured.count)])
    (alone,) = likeness.measure_diversity(everyone, [4])
    assert alone.total.tolist() == measured.total[measured.count == 1].tolist()


def test_likeness_is_known_from_a_sample_of_the_ratings() -> None:
    rng = np.random.default_rng(1)
    ratings = csr_matrix((rng.random((500, 12)) < 0.4).astype(np.float32))
    assert ItemLikeness.of(ratings, max_users=40).raters.shape == (12, 40)
    lists = make_lists([0, 1, 2, 3, 4, 5])
    exact, sampled = (
        ItemLikeness.of(ratings, max_users=n).measure_diversity(lists, [6])[0].value
        for n in (500, 250)
    )
    assert sampled != exact
    assert sampled == pytest.approx(exact, abs=0.05)


def test_gini_and_coverage_are_of_all_lists_together() -> None:
    n_lists = count_listed(make_lists([0, 1], [2, 0], [0]), 4, 1)
    assert n_lists.tolist() == [2, 0, 1, 0]
    assert measure_coverage(n_lists) == 2 / 4
    # Sorted 0, 0, 1, 2: half the mean difference of all pairs (0, 1, 2, 1, 2, 1), over the mean.
    assert measure_gini(n_lists) == pytest.approx((7 * 2 / 16) / 2 / (3 / 4))
    assert measure_gini(np.array([3, 3, 3])) == 0
    assert measure_gini(np.array([0, 0, 0, 9])) == 1 - 1 / 4
    assert measure_gini(np.zeros(4, np.int64)) == 0


def test_blocks_of_users_hold_every_list_once() -> None:
    lists = make_lists([7, 2, 5], [1, 0, 3, 4], [], [9], [8, 6])
    for places_at_once, sizes in ((4, [1, 1, 1, 1, 1]), (8, [2, 2, 1]), (99, [5])):
        blocks = [*split_lists(lists, depth=4, places_at_once=places_at_once)]
        assert [len(block.counts) for _, block in blocks] == sizes
        assert [users.start for users, _ in blocks] == np.cumsum([0, *sizes])[:-1].tolist()
        for name in ("counts", "item_index", "score"):
            joined = np.concatenate([getattr(block, name) for _, block in blocks])
            assert joined.tolist() == getattr(lists, name).tolist()
