"""A user's list is a function of that user's rows, however they arrive."""

from itertools import pairwise

import numpy as np
import pytest
from core_examples import are_bit_equal, draw_ratings, make_mf, make_nmf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from recsys_core import scoring
from recsys_core.factor_model import FactorModel
from recsys_core.scoring import RatingRows, UserScorer
from recsys_core.top_k import RankedItems, TopKScorer

N_USERS, N_ITEMS, K = 23, 40, 5
RATINGS = draw_ratings(N_USERS, N_ITEMS, density=0.3)
NUMBERS = np.arange(N_USERS, dtype=np.int64) * 7 + 100
NAMES = np.array([f"user-{i:02d}" for i in range(N_USERS)], dtype=object)


def flatten(ratings: csr_matrix, user_ids: np.ndarray) -> RatingRows:
    users = np.repeat(user_ids, np.diff(ratings.indptr))
    return RatingRows(users, ratings.indices.astype(np.int32), ratings.data)


def cut(rows: RatingRows, points: list[int]) -> list[RatingRows]:
    """Batches that end at ``points``; equal points give empty batches."""
    borders = [0, *sorted(points), len(rows)]
    return [rows[start:end] for start, end in pairwise(borders)]


def score(
    batches: list[RatingRows], model: FactorModel, k: int = K
) -> tuple[list[object], RankedItems]:
    """All blocks as one: the users and their lists."""
    blocks = list(UserScorer(model, k).score(batches))
    user_ids = [user for block in blocks for user in block.user_id.tolist()]
    lists = [block.lists for block in blocks]
    return user_ids, RankedItems(
        *(
            np.concatenate([getattr(part, name) for part in lists])
            for name in ("counts", "item_index", "score")
        )
    )


def are_same_lists(left: RankedItems, right: RankedItems) -> bool:
    return all(
        are_bit_equal(getattr(left, name), getattr(right, name))
        for name in ("counts", "item_index", "score")
    )


@pytest.fixture(params=["mf", "mf with biases", "nmf"])
def model(request: pytest.FixtureRequest) -> FactorModel:
    if request.param == "nmf":
        return make_nmf(N_ITEMS)
    return make_mf(N_ITEMS, biases=request.param == "mf with biases")


@pytest.mark.parametrize("user_ids", [NUMBERS, NAMES], ids=["numbers", "names"])
def test_lists_are_those_of_fold_in_and_top_k(model: FactorModel, user_ids: np.ndarray) -> None:
    found_ids, found = score([flatten(RATINGS, user_ids)], model)
    assert found_ids == user_ids.tolist()
    expected = TopKScorer(model.item_factors, K).rank(model.fold_in(RATINGS), RATINGS)
    assert are_same_lists(found, expected)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, RATINGS.nnz), max_size=30),
    st.sampled_from([1, 2, 7, 64, 10**6]),
    st.sampled_from(["numbers", "names"]),
)
def test_batches_change_nothing(points: list[int], rows_per_block: int, ids: str) -> None:
    user_ids, model = (NUMBERS if ids == "numbers" else NAMES), make_mf(N_ITEMS, biases=True)
    rows = flatten(RATINGS, user_ids)
    whole_ids, whole = score([rows], model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "_ROWS_PER_BLOCK", rows_per_block)
        found_ids, found = score(cut(rows, points), model)
    assert found_ids == whole_ids == user_ids.tolist()
    assert are_same_lists(found, whole)


@pytest.mark.parametrize("rows_per_block", [1, 5, 100])
def test_batches_of_one_row_change_nothing(
    model: FactorModel, rows_per_block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = flatten(RATINGS, NAMES)
    whole = score([rows], model)
    monkeypatch.setattr(scoring, "_ROWS_PER_BLOCK", rows_per_block)
    found = score(cut(rows, list(range(1, len(rows)))), model)
    assert found[0] == whole[0]
    assert are_same_lists(found[1], whole[1])


def test_users_come_out_before_the_last_batch_is_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_ROWS_PER_BLOCK", 10)
    rows, taken = flatten(RATINGS, NUMBERS), []
    batches = (taken.append(batch) or batch for batch in cut(rows, list(range(20, len(rows), 20))))
    first = next(UserScorer(make_mf(N_ITEMS), K).score(batches))
    assert len(taken) == 1
    last_user = taken[0].user_id[-1]  # who may go on in the next batch
    assert first.user_id.tolist() == [user for user in NUMBERS.tolist() if user < last_user]


@pytest.mark.parametrize("n_rated", [1, 2, 30])
def test_one_user(n_rated: int) -> None:
    rows = flatten(draw_ratings(1, N_ITEMS, density=1.0), NAMES[:1])[:n_rated]
    user_ids, lists = score([rows], make_nmf(N_ITEMS))
    assert user_ids == ["user-00"]
    assert lists.counts.tolist() == [K]
    assert not set(lists.item_index.tolist()) & set(rows.item_index.tolist())


def test_one_user_of_five_thousand_rows_in_many_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    n_items = 5_004
    model, ratings = make_mf(n_items), draw_ratings(1, n_items, density=1.0)[:, :-4]
    ratings.resize((1, n_items))
    rows = flatten(ratings, NUMBERS[:1])
    monkeypatch.setattr(scoring, "_ROWS_PER_BLOCK", 1_000)
    user_ids, lists = score(cut(rows, list(range(250, len(rows), 250))), model, k=10)
    assert user_ids == [100]
    assert lists.counts.tolist() == [4]
    assert sorted(lists.item_index.tolist()) == [5_000, 5_001, 5_002, 5_003]


def test_counts_are_k_or_what_is_unseen() -> None:
    ratings = draw_ratings(50, 12, density=0.6)
    _, lists = score([flatten(ratings, np.arange(50))], make_mf(12), k=6)
    n_rated = np.diff(ratings.indptr)
    assert lists.counts.tolist() == np.minimum(6, 12 - n_rated[n_rated > 0]).tolist()
    assert len(lists.item_index) == len(lists.score) == lists.counts.sum()


@pytest.mark.parametrize("batches", [[], [flatten(RATINGS, NUMBERS)[:0]]], ids=["none", "empty"])
def test_no_rows_no_lists(batches: list[RatingRows]) -> None:
    assert list(UserScorer(make_mf(N_ITEMS), K).score(batches)) == []
