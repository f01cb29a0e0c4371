"""Fold-in and top-k over flat rating rows that arrive in batches sorted by user.

A user's rows may be cut by a batch boundary, and a batch may hold one user or thousands. What comes
out for a user depends on that user's rows and the model alone.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from recsys_core.arrays import Csr, Float32Array, IdArray, Int32Array
from recsys_core.factor_model import FactorModel
from recsys_core.top_k import RankedItems, TopKScorer

_ROWS_PER_BLOCK = 65_536
"""Rows gathered before scoring, so that small batches still fill the blocks of the product."""


@dataclass(frozen=True)
class RatingRows:
    """Parallel arrays of ratings, all rows of one user together."""

    user_id: IdArray
    """Caller's ids."""
    item_index: Int32Array
    rating: np.ndarray

    def __len__(self) -> int:
        return len(self.user_id)

    def __getitem__(self, part: slice) -> "RatingRows":
        return RatingRows(self.user_id[part], self.item_index[part], self.rating[part])


@dataclass(frozen=True)
class ScoredUsers:
    """Lists of some users; ``lists`` has one entry in ``counts`` for each of ``user_id``."""

    user_id: IdArray
    lists: RankedItems


class UserScorer:
    """Turns a stream of rating rows into ranked lists with one model."""

    def __init__(self, model: FactorModel, k: int) -> None:
        self._model = model
        self._top_k = TopKScorer(model.item_factors, k)

    def score(self, batches: Iterable[RatingRows]) -> Iterator[ScoredUsers]:
        """The list of every user in ``batches``, in the order they come.

        Args:
            batches: rows in which each user's are consecutive, also across batches, and each
                (user, item) stands once.
        """
        for rows in _whole_users(batches):
            user_id, ratings = _to_matrix(rows, self._top_k.n_items)
            lists = self._top_k.rank(self._model.fold_in(ratings), ratings)
            yield ScoredUsers(user_id, lists)


def fold_in_rows(
    model: FactorModel, batches: Iterable[RatingRows]
) -> Iterator[tuple[IdArray, Float32Array]]:
    """User ids [n] and their factors [n, n_columns], for batches as ``UserScorer`` takes them."""
    for rows in _whole_users(batches):
        user_id, ratings = _to_matrix(rows, len(model.item_factors))
        yield user_id, model.fold_in(ratings)


def _to_matrix(rows: RatingRows, n_items: int) -> tuple[IdArray, Csr]:
    """The users of some rows and their CSR ratings [n_users, n_items]."""
    starts = _user_starts(rows.user_id)
    indptr = np.append(starts, len(rows))
    ratings = csr_matrix((rows.rating, rows.item_index, indptr), shape=(len(starts), n_items))
    return rows.user_id[starts], ratings


def _user_starts(user_id: IdArray) -> np.ndarray:
    """Positions at which a new user begins."""
    changes = np.flatnonzero(user_id[1:] != user_id[:-1]) + 1
    return np.concatenate([[0], changes]) if len(user_id) else changes


def _whole_users(batches: Iterable[RatingRows]) -> Iterator[RatingRows]:
    """Regroup batches so that each holds whole users and, but for the last, enough rows."""
    pending: list[RatingRows] = []
    n_pending = 0
    for batch in batches:
        pending.append(batch)
        n_pending += len(batch)
        if n_pending < _ROWS_PER_BLOCK:
            continue
        rows = _concatenate(pending)
        last_start = int(_user_starts(rows.user_id)[-1])  # its user may go on in the next batch
        if last_start:
            yield rows[:last_start]
        pending, n_pending = [rows[last_start:]], len(rows) - last_start
    if n_pending:
        yield _concatenate(pending)


def _concatenate(parts: list[RatingRows]) -> RatingRows:
    if len(parts) == 1:
        return parts[0]
    return RatingRows(
        np.concatenate([part.user_id for part in parts]),
        np.concatenate([part.item_index for part in parts]),
        np.concatenate([part.rating for part in parts]),
    )
