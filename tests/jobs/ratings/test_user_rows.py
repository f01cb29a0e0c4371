"""Rows of a user, regrouped and read as a matrix, however the batches are cut. No Spark."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from jobs.ratings import user_rows
from jobs.ratings.user_rows import cut_pieces, make_lists, to_matrix, whole_users

N_ITEMS = 40
_CELLS = np.random.default_rng(0).random((23, N_ITEMS))
RATINGS = csr_matrix(np.where(_CELLS < 0.3, _CELLS, 0).astype(np.float32))
NUMBERS = pa.array(np.arange(23) * 7 + 100)
NAMES = pa.array([f"user-{i:02d}" for i in range(23)])


def make_rows(ratings: csr_matrix, ids: pa.Array) -> pa.RecordBatch:
    """The columns of ``jobs.ratings.index``."""
    owner, piece, length = cut_pieces(np.diff(ratings.indptr))
    return pa.RecordBatch.from_pydict(
        {
            "user_id": ids.take(pa.array(owner)),
            "piece": pa.array(piece, pa.int32()),
            "item_index": make_lists(length, pa.array(ratings.indices.astype(np.int32))),
            "rating": make_lists(length, pa.array(ratings.data)),
        }
    )


def cut(rows: pa.RecordBatch, points: list[int]) -> list[pa.RecordBatch]:
    borders = [0, *sorted(points), rows.num_rows]
    return [rows.slice(start, end - start) for start, end in pairwise(borders)]


def assert_same(found: csr_matrix, expected: csr_matrix) -> None:
    assert found.shape == expected.shape
    for name in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(0, 60), max_size=20),
    st.sampled_from([1, 3, 10_000]),
    st.sampled_from([1, 20, 10**6]),
    st.booleans(),
)
def test_batches_and_pieces_change_nothing(
    points: list[int], piece: int, enough: int, named: bool
) -> None:
    ids = NAMES if named else NUMBERS
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(user_rows, "PIECE", piece)
        patch.setattr(user_rows, "_ENOUGH", enough)
        rows = make_rows(RATINGS, ids)
        batches = cut(rows, [point * rows.num_rows // 60 for point in points])
        blocks = [to_matrix(block, N_ITEMS) for block in whole_users(batches)]
    assert [user for users, _ in blocks for user in users.to_pylist()] == ids.to_pylist()
    starts = np.cumsum([0, *(len(users) for users, _ in blocks)])
    for (_, matrix), (start, end) in zip(blocks, pairwise(starts), strict=True):
        assert_same(matrix, RATINGS[start:end])


def test_flat_rows_are_regrouped_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """As cleaning gets them: one row a rating, those without a user first."""
    monkeypatch.setattr(user_rows, "_ENOUGH", 4)
    users = [None] * 6 + [1] * 3 + [2] * 9 + [3]
    rows = pa.RecordBatch.from_pydict(
        {"user_id": pa.array(users, pa.int64()), "rating": np.arange(19.0)}
    )
    blocks = list(whole_users(cut(rows, list(range(1, 19)))))
    assert [rating for block in blocks for rating in block.column("rating").to_pylist()] == list(
        np.arange(19.0)
    )
    for user in (1, 2, 3):
        assert sum(user in block.column("user_id").to_pylist() for block in blocks) == 1


def test_blocks_come_out_before_the_last_batch_is_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_rows, "_ENOUGH", 10)
    rows, taken = make_rows(RATINGS, NUMBERS), []
    batches = (taken.append(batch) or batch for batch in cut(rows, list(range(5, 23, 5))))
    first = next(whole_users(batches))
    assert len(taken) == 1
    assert first.num_rows == 4  # the fifth may go on in the next batch


@pytest.mark.parametrize("count", [0, 1, 10_000, 10_001, 100_000])
def test_no_row_holds_more_than_a_piece(count: int) -> None:
    owner, piece, length = cut_pieces(np.array([3, count, 0]))
    of_user = length[owner == 1]
    assert of_user.sum() == count
    assert of_user.max() <= user_rows.PIECE
    assert piece[owner == 1].tolist() == list(range(max(1, -(-count // 10_000))))
    assert length[owner != 1].tolist() == [3, 0]


def test_rows_without_a_user_alone_end_without_an_empty_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(user_rows, "_ENOUGH", 4)
    rows = pa.RecordBatch.from_pydict({"user_id": pa.nulls(9, pa.int64())})
    assert [block.num_rows for block in whole_users(cut(rows, [5]))] == [5, 4]


@pytest.mark.parametrize("batches", [[], [make_rows(RATINGS, NUMBERS)[:0]]], ids=["none", "empty"])
def test_no_rows_no_blocks(batches: list[pa.RecordBatch]) -> None:
    assert list(whole_users(batches)) == []
