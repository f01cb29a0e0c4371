"""The ratings of a user as one row with arrays, and the Arrow batches such rows travel in.

Rows with arrays cross between the JVM and Python at a fraction of the cost of a row for each
rating. A user of more than PIECE ratings has several rows, numbered by ``piece`` from 0 and
consecutive, so that no row is large whatever a user has rated.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_matrix

from jobs.tables.columns import ITEM_INDEX, PIECE_NUMBER, RATING, USER_ID
from recsys_core.arrays import Int64Array

PIECE = 10_000
"""Most ratings in one row."""
_ENOUGH = 65_536
"""Ratings gathered before a block is worked on, so that small batches still fill it."""


def whole_users(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Regroup batches so that each holds whole users and, but for the last, enough ratings.

    Args:
        batches: with a column ``user_id`` in which each user's rows are consecutive, also across
            batches; rows without a user come first.
    """
    pending: list[pa.RecordBatch] = []
    n_pending = 0
    for batch in batches:
        if batch.num_rows == 0:
            continue
        pending.append(batch)
        n_pending += count_ratings(batch)
        if n_pending < _ENOUGH:
            continue
        block = _concatenate(pending)
        start = _start_of_last_user(block.column(USER_ID))
        if start:
            yield block.slice(0, start)
        pending = [block.slice(start)]  # its user may go on in the next batch
        n_pending = count_ratings(pending[0])
    if n_pending:
        yield _concatenate(pending)


def count_ratings(batch: pa.RecordBatch) -> int:
    """Entries of the first array column, with one more for each row; rows where there is none."""
    for column in batch.columns:
        if pa.types.is_list(column.type):
            return int(batch.num_rows) + len(column.flatten())
    return int(batch.num_rows)


def _start_of_last_user(user_id: pa.Array) -> int:
    last = user_id[-1]
    return int(pc.index(user_id, last).as_py()) if last.is_valid else len(user_id)


def _concatenate(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    return pa.Table.from_batches(batches).combine_chunks().to_batches()[0]


def cut_pieces(counts: Int64Array) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Cut lists of ``counts`` ratings into rows of at most PIECE.

    Returns:
        For each row its user, its number within the user, and its number of ratings; a user
        without ratings has one empty row.
    """
    n_pieces = np.maximum(-(-counts // PIECE), 1)
    user = np.repeat(np.arange(len(counts)), n_pieces)
    number = np.arange(len(user)) - np.repeat(np.cumsum(n_pieces) - n_pieces, n_pieces)
    return user, number, np.minimum(counts[user] - number * PIECE, PIECE)


def make_lists(lengths: Int64Array, values: pa.Array) -> pa.ListArray:
    """``values`` cut into lists of these lengths."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def number_users(batch: pa.RecordBatch) -> Int64Array:
    """For each row of whole users its user, from 0."""
    users: Int64Array = np.cumsum(batch.column(PIECE_NUMBER).to_numpy() == 0) - 1
    return users


def to_matrix(rows: pa.RecordBatch | pa.Table, n_items: int) -> tuple[pa.Array, csr_matrix]:
    """The users of whole rows and their ratings, CSR float32 [n_users, n_items].

    Args:
        rows: columns of ``jobs.ratings.index``, a user's pieces consecutive and in order.
    """
    batch = _concatenate(rows.to_batches()) if isinstance(rows, pa.Table) else rows
    first_rows = np.flatnonzero(batch.column(PIECE_NUMBER).to_numpy() == 0)
    items, ratings = (batch.column(name) for name in (ITEM_INDEX, RATING))
    ends = np.concatenate([[0], np.cumsum(items.value_lengths().to_numpy(), dtype=np.int64)])
    indptr = np.append(ends[first_rows], ends[-1])
    matrix = csr_matrix(
        (ratings.flatten().to_numpy(), items.flatten().to_numpy(), indptr),
        shape=(len(first_rows), n_items),
    )
    return batch.column(USER_ID).take(pa.array(first_rows)), matrix
