"""Exact lists: those of a float64 sort, whatever the blocks, the batch and the magnitudes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from core_examples import are_bit_equal
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from recsys_core.compile.int16_tile import FEATURE
from recsys_core.compile.jit import has_feature
from recsys_core.ranking import top_k
from recsys_core.ranking.first_pass import Float32FirstPass, Int16FirstPass
from recsys_core.ranking.top_k import RankedItems, TopKScorer, choose_width

Draw = Callable[..., np.ndarray]
Factors = tuple[np.ndarray, np.ndarray]  # of users and of items


@pytest.fixture(params=[Float32FirstPass, Int16FirstPass], scope="module", autouse=True)
def _first_pass(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test of this file is of both first passes."""
    if request.param is Int16FirstPass and not has_feature(FEATURE):
        pytest.skip(f"the CPU has no {FEATURE}")
    with set_sizes(choose_first_pass=lambda: request.param):
        yield


def draw_factors(
    n_rows: int, n_columns: int = 6, *, seed: int = 0, scale: float = 1.0
) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (scale * rng.standard_normal((n_rows, n_columns))).astype(np.float32)


def draw_integers(n_rows: int, n_columns: int = 4, *, seed: int = 0) -> np.ndarray:
    """Factors of -2..2: scores are exact in both precisions, and most of them tie."""
    rng = np.random.default_rng(seed)
    return rng.integers(-2, 3, (n_rows, n_columns)).astype(np.float32)


def draw_seen(n_users: int, n_items: int, *, share: float = 0.1, seed: int = 0) -> csr_matrix:
    seen = np.random.default_rng(seed).random((n_users, n_items)) < share
    return csr_matrix(seen.astype(np.float32))


def see_nothing(n_users: int, n_items: int) -> csr_matrix:
    return csr_matrix((n_users, n_items), dtype=np.float32)


def rank_by_sort(users: np.ndarray, items: np.ndarray, seen: csr_matrix, k: int) -> RankedItems:
    """The definition: sort all unseen items by float64 score, then by index."""
    scores = np.zeros((len(users), len(items)))
    for of_users, of_items in zip(users.T.astype(float), items.T.astype(float), strict=True):
        scores += np.multiply.outer(of_users, of_items)
    scores[np.repeat(np.arange(len(users)), np.diff(seen.indptr)), seen.indices] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(scores, order, axis=1)
    listed = best > -np.inf
    return RankedItems(
        listed.sum(axis=1), order[listed].astype(np.int32), best[listed].astype(np.float32)
    )


def assert_same_lists(found: RankedItems, expected: RankedItems) -> None:
    assert found.counts.tolist() == expected.counts.tolist()
    np.testing.assert_array_equal(found.item_index, expected.item_index)
    np.testing.assert_allclose(found.score, expected.score, rtol=1e-6, atol=1e-44)


def assert_exact(users: np.ndarray, items: np.ndarray, seen: csr_matrix, k: int) -> RankedItems:
    """Check the lists against the definition and return them."""
    found = TopKScorer(items, k).rank(users, seen)
    assert_same_lists(found, rank_by_sort(users, items, seen, k))
    return found


def split_lists(lists: RankedItems) -> list[tuple[bytes, bytes]]:
    """Each user's items and scores, as bits."""
    ends = np.cumsum(lists.counts)[:-1]
    return [
        (items.tobytes(), scores.tobytes())
        for items, scores in zip(
            np.split(lists.item_index, ends), np.split(lists.score, ends), strict=True
        )
    ]


@contextmanager
def set_sizes(**sizes: object) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, size in sizes.items():
            patch.setattr(top_k, name, size)
        yield


def draw_heavy_tails(rng: np.random.Generator, n_users: int, n_items: int) -> Factors:
    """A few large factors set the steps of each row, and a few long rows those of all."""
    users, items = rng.standard_cauchy((n_users, 20)), rng.standard_cauchy((n_items, 20))
    return users, items * rng.lognormal(0, 2, (n_items, 1))


def draw_sparse_parts(rng: np.random.Generator, n_users: int, n_items: int) -> Factors:
    """As nmf's: non-negative, mostly zero, columns of different size; many scores are 0."""
    size = 10.0 ** rng.uniform(-2, 2, 15)
    users = rng.exponential(1, (n_users, 15)) * (rng.random((n_users, 15)) < 0.2) / size
    return users, rng.exponential(1, (n_items, 15)) * (rng.random((n_items, 15)) < 0.3) * size


def draw_biases(rng: np.random.Generator, n_users: int, n_items: int) -> Factors:
    """As mf's: items [q, b, 1], users [p, 1, mu + b]; most of a score is the same for all items."""
    users, items = rng.normal(0, 0.1, (n_users, 10)), rng.normal(0, 0.1, (n_items, 10))
    users[:, 8], users[:, 9] = 1, 3.5 + users[:, 9]
    items[:, 9] = 1
    return users, items


def draw_near_ties(rng: np.random.Generator, n_users: int, n_items: int) -> Factors:
    """Items that differ in the last bits of float32."""
    items = np.float32(rng.standard_normal(7)) * (1 + rng.integers(0, 4, (n_items, 7)) * 2.0**-23)
    return rng.standard_normal((n_users, 7)), items


def draw_hidden_differences(rng: np.random.Generator, n_users: int, n_items: int) -> Factors:
    """Two large columns that cancel, over one of differences far below a 16-bit step."""
    users, large = rng.uniform(1, 2, (n_users, 1)), rng.uniform(500, 999, (n_items, 1))
    differences = rng.integers(0, 64, (n_items, 1)) / 1024
    return users * [1, 1, 1], np.hstack([large, differences, -large])


@pytest.mark.parametrize(
    "draw",
    [
        draw_heavy_tails,
        draw_sparse_parts,
        draw_biases,
        draw_near_ties,
        draw_hidden_differences,
    ],
)
@pytest.mark.parametrize("k", [1, 10, 100])
def test_lists_are_exact_whatever_the_factors(
    draw: Callable[[np.random.Generator, int, int], Factors], k: int
) -> None:
    users, items = draw(np.random.default_rng(k), 60, 2500)
    assert_exact(users.astype(np.float32), items.astype(np.float32), draw_seen(60, 2500), k)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 999),
    st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=1, max_size=9),
    st.integers(1, 40),
)
def test_magnitudes_of_columns_do_not_matter(
    seed: int, exponents: list[tuple[int, int]], k: int
) -> None:
    of_users, of_items = np.float32(10.0) ** np.array(exponents, dtype=np.float32).T
    users = draw_factors(7, len(exponents), seed=seed) * of_users
    items = draw_factors(700, len(exponents), seed=seed + 1) * of_items
    assert_exact(users, items, draw_seen(7, 700), k)


@pytest.mark.parametrize("draw", [draw_factors, draw_integers])
@pytest.mark.parametrize("k", [1, 10, 200])
@pytest.mark.parametrize(
    ("n_users", "n_items"),
    [(1, 1), (2, 150), (383, 639), (384, 640), (385, 641), (3, 5000), (769, 300)],
)
def test_lists_are_exact_at_the_borders_of_blocks(
    draw: Draw, n_users: int, n_items: int, k: int
) -> None:
    users, items = draw(n_users, seed=1), draw(n_items, seed=2)
    assert_exact(users, items, draw_seen(n_users, n_items), k)


@pytest.mark.parametrize("n_items", [1, 7, 2049])
def test_k_beyond_the_items_lists_every_unseen_item(n_items: int) -> None:
    seen = draw_seen(5, n_items, share=0.3)
    lists = assert_exact(draw_integers(5), draw_integers(n_items, seed=2), seen, n_items + 3)
    assert lists.counts.tolist() == (n_items - np.diff(seen.indptr)).tolist()


@pytest.mark.parametrize("n_unseen", [0, 1, 3])
def test_few_unseen_items_give_short_lists(n_unseen: int) -> None:
    n_items = 2100
    unseen = np.linspace(5, n_items - 5, n_unseen).astype(int)
    few, none = np.ones(n_items, np.float32), np.zeros(n_items, np.float32)
    few[unseen] = 0
    lists = assert_exact(
        draw_factors(3), draw_factors(n_items, seed=2), csr_matrix([few, none, few]), 10
    )
    assert lists.counts.tolist() == [n_unseen, 10, n_unseen]
    assert set(lists.item_index[lists.user_row != 1].tolist()) == set(unseen.tolist())


def test_a_stored_zero_is_seen() -> None:
    seen = csr_matrix((np.zeros(1, np.float32), [1], [0, 1]), shape=(1, 3))
    lists = TopKScorer(np.float32([[1], [9], [2]]), 3).rank(np.float32([[1]]), seen)
    assert lists.item_index.tolist() == [2, 0]


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_users_without_taste_get_the_lowest_unseen_items(share: float) -> None:
    users = draw_factors(6)
    users[[0, 3, 5]] = 0
    lists = assert_exact(users, draw_factors(2500, seed=2), draw_seen(6, 2500, share=share), 20)
    for row in (0, 3, 5):
        items = lists.item_index[lists.user_row == row]
        assert np.all(np.diff(items) > 0)
        assert not lists.score[lists.user_row == row].any()


@pytest.mark.parametrize("row", [[0.0, 0.0, 0.0], [0.1, -0.7, 0.3]])
def test_identical_items_are_listed_by_index(row: list[float]) -> None:
    items = np.tile(np.float32(row), (2500, 1))
    seen = csr_matrix(np.eye(4, 2500, dtype=np.float32))  # user i has seen item i
    lists = assert_exact(draw_factors(4, 3), items, seen, 3)
    assert lists.item_index.tolist() == [1, 2, 3, 0, 2, 3, 0, 1, 3, 0, 1, 2]


def test_negative_scores_are_ranked_and_seen_items_stay_out() -> None:
    users, items = np.abs(draw_factors(20)) + 1, -np.abs(draw_factors(2100, seed=2)) - 1
    lists = assert_exact(users, items, draw_seen(20, 2100, share=0.9), 30)
    assert lists.score.max() < 0


@pytest.mark.parametrize("of_users", [1e-30, 1e-22, 1e-20, 1.0, 1e15])
@pytest.mark.parametrize("of_items", [1e-30, 1e-22, 1e-20, 1.0, 1e15])
def test_magnitudes_do_not_matter(of_users: float, of_items: float) -> None:
    users, items = draw_factors(9, scale=of_users), draw_factors(2100, seed=2, scale=of_items)
    assert_exact(users, items, draw_seen(9, 2100), 10)


def test_items_of_mixed_magnitudes() -> None:
    items = draw_factors(5000) * 10.0 ** np.random.default_rng(3).uniform(-20, 15, (5000, 1))
    assert_exact(draw_factors(9), items.astype(np.float32), draw_seen(9, 5000), 300)


def test_order_is_that_of_float64_where_float32_loses_it() -> None:
    """Scores of 0..1 left over from sums of up to a million, in steps of up to 1/16."""
    rng = np.random.default_rng(0)
    large = (10 ** rng.uniform(3, 6, 3000)).astype(np.float32)
    items = np.column_stack([large, rng.random(3000).astype(np.float32), -large])
    lists = assert_exact(np.ones((2, 3), np.float32), items, see_nothing(2, 3000), 50)
    rough = (items[:, 0] + items[:, 1]) + items[:, 2]
    assert set(lists.item_index[:50].tolist()) != set(np.argsort(-rough)[:50].tolist())


@pytest.mark.parametrize("first", [0, 1])
def test_users_who_are_done_do_not_stop_the_others(first: int) -> None:
    """The first block serves one half of the users; the other half waits for the last block."""
    items = np.float32([[2, 0]] * 64 + [[1.5, 0]] * 64 + [[0, 1]] * 5)
    users = np.roll(np.float32([[0, 1]] * 70 + [[1, 0]] * 70), 70 * first, axis=0)
    with set_sizes(_WIDTHS=(64,)):
        lists = assert_exact(users, items, see_nothing(140, 133), 5)
    assert set(lists.item_index[lists.score == 1].tolist()) == {*range(128, 133)}


def test_ranks_count_from_one_for_each_user() -> None:
    lists = RankedItems(np.array([2, 0, 3]), np.arange(5, dtype=np.int32), np.zeros(5, np.float32))
    assert lists.rank.tolist() == [1, 2, 1, 2, 3]
    assert lists.user_row.tolist() == [0, 0, 2, 2, 2]


@pytest.mark.parametrize("k", [1, 12, 32, 33, 100, 700])
def test_ever_better_items_and_ever_more_ties_are_cut_back(k: int) -> None:
    """Scores that rise from item to item fill each user's candidates again and again."""
    rising = np.linspace(1, 2, 3000)
    steps = np.repeat(np.arange(1, 31), 100)
    items = np.column_stack([rising, steps, 3 - rising, np.ones(3000)]).astype(np.float32)
    users = np.float32([[1, 0, 0, 0], [0, 1, 0, 0], [-1, 0, 2, 0], [0, 0, 0, 5], [1, 0, 1, 0]])
    assert_exact(users, items, draw_seen(5, 3000, share=0.5), k)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.integers(1, 13), st.integers(1, 600), st.integers(1, 100))
def test_block_sizes_change_nothing(seed: int, n_users: int, n_items: int, k: int) -> None:
    users, items = draw_integers(n_users, seed=seed), draw_integers(n_items, seed=seed + 1)
    with set_sizes(USERS_PER_BLOCK=4, _WIDTHS=(64, 128)):
        assert_exact(users, items, draw_seen(n_users, n_items, share=0.3, seed=seed), k)


@pytest.mark.parametrize(("n_items", "width"), [(1, 384), (640, 640), (641, 384), (3706, 640)])
def test_blocks_leave_few_columns_empty(n_items: int, width: int) -> None:
    assert choose_width(n_items) == width


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.permutations(range(9)), st.integers(1, 30), st.booleans())
def test_a_list_depends_on_its_own_user_alone(
    seed: int, order: list[int], k: int, ties: bool
) -> None:
    draw = draw_integers if ties else draw_factors
    users, items, seen = draw(9, seed=seed), draw(300, seed=seed + 1), draw_seen(9, 300, seed=seed)
    scorer = TopKScorer(items, k)
    lists = split_lists(scorer.rank(users, seen))
    assert split_lists(scorer.rank(users[order], seen[order])) == [lists[row] for row in order]
    alone = [split_lists(scorer.rank(users[[row]], seen[[row]]))[0] for row in range(9)]
    assert alone == lists


def test_a_scorer_keeps_nothing_of_the_last_call() -> None:
    users, items = draw_factors(300), draw_factors(2100, seed=2)
    used, seen = TopKScorer(items, 10), draw_seen(300, 2100)
    used.rank(1000 * users, draw_seen(300, 2100, share=0.9))
    again, fresh = used.rank(users[:7], seen[:7]), TopKScorer(items, 10).rank(users[:7], seen[:7])
    assert are_bit_equal(again.item_index, fresh.item_index)
    assert are_bit_equal(again.score, fresh.score)


def test_no_users_no_lists() -> None:
    lists = TopKScorer(draw_factors(5), 2).rank(draw_factors(0), see_nothing(0, 5))
    assert (len(lists.counts), len(lists.item_index), len(lists.score)) == (0, 0, 0)


def test_dtypes_are_those_of_the_tables() -> None:
    lists = TopKScorer(draw_factors(5), 2).rank(draw_factors(3), see_nothing(3, 5))
    dtypes = [array.dtype for array in (lists.counts, lists.item_index, lists.rank, lists.score)]
    assert dtypes == [np.int64, np.int32, np.int32, np.float32]


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match=f"k = {k}, must be at least 1"):
        TopKScorer(draw_factors(5), k)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_factors_that_are_not_finite_are_refused(bad: float) -> None:
    broken = draw_factors(5)
    broken[3, 2] = bad
    with pytest.raises(ValueError, match="item_factors must be finite"):
        TopKScorer(broken, 2)
    with pytest.raises(ValueError, match="user_factors must be finite"):
        TopKScorer(draw_factors(5), 2).rank(broken, see_nothing(5, 5))


def test_scores_beyond_float32_are_refused() -> None:
    with pytest.raises(ValueError, match="within float32"):
        TopKScorer(draw_factors(5, scale=1e20), 2).rank(
            draw_factors(1, scale=1e20), see_nothing(1, 5)
        )
