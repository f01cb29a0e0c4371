"""Exact top-k of user_factors . item_factors without the items each user has seen.

The order is that of the float64 scores, ties going to the lower item index. A float32 product over
blocks finds the few items that can still be in a list; only those are scored in float64. What makes
this exact is the bound on a float32 inner product's rounding error (Higham, *Accuracy and Stability
of Numerical Algorithms*, section 3.1): |fl(u.v) - u.v| <= gamma_n |u|.|v| <= gamma_n ||u|| ||v||.

Items are held in descending order of their norm: the first block then gives a high threshold, and
once ||u|| ||v|| is below every user's threshold all further blocks can be skipped.
"""

from dataclasses import dataclass

import numpy as np

from recsys_core.arrays import (
    Csr,
    Float32Array,
    Float64Array,
    FloatArray,
    Int32Array,
    Int64Array,
)

USERS_PER_BLOCK = 256
ITEMS_PER_BLOCK = 2048
_GROUPS = 128
"""Columns whose maxima bound the first block's k-th best from below, for small k."""
_MAX_CANDIDATES = 256 * USERS_PER_BLOCK
"""Held candidates at which a block of users is cut back to k items each: bounds the memory."""
_LOWEST = float(np.finfo(np.float32).min)
"""The lowest finite score; masked items are at -inf."""


@dataclass(frozen=True)
class RankedItems:
    """Ranked lists of several users, end to end."""

    counts: Int64Array
    """[n_users]: length of each user's list, at most k, less where fewer items are unseen."""
    item_index: Int32Array
    """[counts.sum()]: best first."""
    score: Float32Array
    """[counts.sum()]: the float64 score, rounded."""

    @property
    def user_row(self) -> Int64Array:
        """[counts.sum()]: the row of ``user_factors`` each entry belongs to."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @property
    def rank(self) -> Int32Array:
        """[counts.sum()]: 1 for each user's best item."""
        starts = np.repeat(np.cumsum(self.counts) - self.counts, self.counts)
        return (np.arange(len(self.item_index)) - starts + 1).astype(np.int32)


@dataclass(frozen=True)
class _Candidates:
    """Items that may be in a list: parallel arrays."""

    row: Int64Array
    position: Int64Array
    score: FloatArray


class TopKScorer:
    """Scores blocks of users against all items; holds its buffers between calls.

    Not thread-safe. A list depends on its own user's factors and seen items alone.
    """

    def __init__(self, item_factors: Float32Array, k: int) -> None:
        """Arrange the items for scoring.

        Args:
            item_factors: float32 [n_items, n_columns], finite.
            k: length of the lists, at least 1.

        Raises:
            ValueError: k < 1, no items, or factors that are not finite.
        """
        if len(item_factors) == 0:
            raise ValueError("there are no items to rank")
        if k < 1:
            raise ValueError(f"k = {k}, must be at least 1")
        if not np.isfinite(item_factors).all():
            raise ValueError("item_factors must be finite")
        self.n_items, self.n_columns = item_factors.shape
        self.k = min(k, self.n_items)
        norms = np.linalg.norm(item_factors.astype(np.float64), axis=1)
        self._item_at = np.argsort(-norms, kind="stable")  # position -> item_index
        self._position_of = np.empty_like(self._item_at)
        self._position_of[self._item_at] = np.arange(self.n_items)
        self._factors = item_factors[self._item_at].astype(np.float32, copy=False)
        n_blocks = -(-self.n_items // ITEMS_PER_BLOCK)
        self._blocks = np.zeros((n_blocks, self.n_columns, ITEMS_PER_BLOCK), dtype=np.float32)
        for block, part in enumerate(np.split(self._factors, self._starts()[1:])):
            self._blocks[block, :, : len(part)] = part.T
        self._largest_norms = norms[self._item_at[self._starts()]]
        # One shape for every product: a row's scores then come from the same BLAS kernel wherever
        # the row stands, so lists do not depend on who shares the block.
        self._users = np.zeros((USERS_PER_BLOCK, self.n_columns), dtype=np.float32)
        self._scores = np.empty((USERS_PER_BLOCK, ITEMS_PER_BLOCK), dtype=np.float32)
        self._above = np.empty((USERS_PER_BLOCK, ITEMS_PER_BLOCK), dtype=np.bool_)

    def _starts(self) -> Int64Array:
        return np.arange(0, self.n_items, ITEMS_PER_BLOCK)

    def rank(self, user_factors: Float32Array, seen: Csr) -> RankedItems:
        """The k best unseen items of each user.

        Args:
            user_factors: float32 [n_users, n_columns], finite.
            seen: CSR [n_users, n_items]; its stored entries, zeros included, are left out.

        Returns:
            Ranked lists; a user with fewer than k unseen items gets them all.

        Raises:
            ValueError: user factors that are not finite, or so large that scores overflow.
        """
        largest = np.abs(user_factors).max(initial=0.0) * self.n_columns**0.5
        if not largest * self._largest_norms[0] < np.finfo(np.float32).max / 4:
            raise ValueError("user_factors must be finite and their scores within float32")
        parts = []
        for start in range(0, len(user_factors), USERS_PER_BLOCK):
            end = min(start + USERS_PER_BLOCK, len(user_factors))
            indptr = seen.indptr[start : end + 1]
            rows = np.repeat(np.arange(end - start), np.diff(indptr))
            positions = self._position_of[seen.indices[indptr[0] : indptr[-1]]]
            parts.append(self._rank_block(user_factors[start:end], rows, positions))
        if not parts:
            return RankedItems(
                np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32)
            )
        return RankedItems(
            np.concatenate([part.counts for part in parts]),
            np.concatenate([part.item_index for part in parts]),
            np.concatenate([part.score for part in parts]),
        )

    def _rank_block(
        self, users: Float32Array, seen_row: Int64Array, seen_position: Int64Array
    ) -> RankedItems:
        n_users = len(users)
        self._users[:n_users] = users
        self._users[n_users:] = 0.0
        norms = np.linalg.norm(users.astype(np.float64), axis=1)
        slack = self._rounding_slack(norms)
        seen = _SeenByBlock(seen_row, seen_position, len(self._blocks))
        # All items tie for a user without taste: answered apart, as every item is a candidate.
        tasteless = np.flatnonzero(norms == 0)
        held = [
            self._lowest_unseen(row, seen_position[seen_row == row]) for row in tasteless.tolist()
        ]
        threshold = np.full(USERS_PER_BLOCK, np.inf)  # padding rows find nothing
        threshold[:n_users] = np.where(norms == 0, np.inf, _LOWEST)
        for block in range(len(self._blocks)):
            # The factor covers the rounding of the norms themselves.
            if np.all(norms * self._largest_norms[block] * (1 + 1e-6) < threshold[:n_users]):
                break
            self._score_block(block, *seen.entries(block))
            if block == 0:
                self._raise_threshold(threshold, self._first_kth_best(n_users) - slack)
            held.append(self._collect(block, threshold))
            if sum(len(part.row) for part in held) > _MAX_CANDIDATES:
                held = [self._cut(held, n_users, slack)]
                self._raise_threshold(threshold, self._kth_held(held[0], n_users) - slack)
        best = self._cut(held, n_users, slack)
        counts = np.bincount(best.row, minlength=n_users)
        items = self._item_at[best.position].astype(np.int32)
        return RankedItems(counts, items, best.score.astype(np.float32))

    def _rounding_slack(self, norms: Float64Array) -> Float64Array:
        """Twice the bound on |float32 score - exact score|: once for each side of a comparison."""
        unit = float(np.finfo(np.float32).eps) / 2
        n = self.n_columns + 1
        gamma = n * unit / (1 - n * unit)
        underflow = n * float(np.finfo(np.float32).tiny)  # which no relative bound covers
        slack: Float64Array = 2 * (gamma * norms * self._largest_norms[0] + underflow)
        return slack

    def _score_block(self, block: int, seen_row: Int64Array, seen_column: Int64Array) -> None:
        """Fill the buffer with one block's scores; -inf where seen or past the last item."""
        np.dot(self._users, self._blocks[block], out=self._scores)
        self._scores[:, self.n_items - block * ITEMS_PER_BLOCK :] = -np.inf
        self._scores[seen_row, seen_column] = -np.inf

    def _first_kth_best(self, n_users: int) -> Float64Array:
        """A lower bound on each user's k-th best score, from the block in the buffer."""
        sample = self._scores[:n_users]
        if self.k <= _GROUPS // 2:
            # The k-th largest of group maxima is no larger than the k-th largest of all, and costs
            # a fraction of selecting among all columns.
            sample = sample.reshape(n_users, -1, _GROUPS).max(axis=1)
        kth = min(self.k, sample.shape[1])
        if kth < self.k:
            return np.full(n_users, -np.inf)
        return np.partition(sample, -kth, axis=1)[:, -kth].astype(np.float64)

    @staticmethod
    def _raise_threshold(threshold: Float64Array, bound: Float64Array) -> None:
        rows = threshold[: len(bound)]
        np.maximum(rows, bound, out=rows)

    def _collect(self, block: int, threshold: Float64Array) -> _Candidates:
        """The scores of the buffer that reach their user's threshold."""
        # Compared as float32, rounded down, so that the buffer is not converted. Half the lowest
        # number is below any score, as overflow is refused, and above the mask.
        limit = np.maximum(threshold, _LOWEST / 2).astype(np.float32)
        limit = np.nextafter(limit, np.float32(_LOWEST))
        np.greater_equal(self._scores, limit[:, None], out=self._above)
        found = np.flatnonzero(self._above)
        row, column = np.divmod(found, ITEMS_PER_BLOCK)
        return _Candidates(row, column + block * ITEMS_PER_BLOCK, self._scores.ravel()[found])

    def _lowest_unseen(self, row: int, seen_position: Int64Array) -> _Candidates:
        """The k unseen items of lowest index, for a user whose scores are all zero."""
        seen_items = self._item_at[seen_position]
        reach = min(self.n_items, self.k + len(seen_items))
        items = np.setdiff1d(np.arange(reach), seen_items)[: self.k]
        return _Candidates(
            np.full(len(items), row), self._position_of[items], np.zeros(len(items), np.float32)
        )

    def _cut(self, held: list[_Candidates], n_users: int, slack: Float64Array) -> _Candidates:
        """The exact k best of the candidates for each user, in order of user, then of the list."""
        row = np.concatenate([part.row for part in held])
        position = np.concatenate([part.position for part in held])
        rough = np.concatenate([part.score for part in held])
        keep = rough >= (_kth_largest(row, rough, n_users, self.k) - slack)[row]
        row, position = row[keep], position[keep]
        exact = self._exact_scores(row, position)
        order = np.lexsort((self._item_at[position], -exact, row))
        row, position, exact = row[order], position[order], exact[order]
        starts = np.searchsorted(row, np.arange(n_users))
        best = np.arange(len(row)) - starts[row] < self.k
        return _Candidates(row[best], position[best], exact[best])

    def _exact_scores(self, row: Int64Array, position: Int64Array) -> Float64Array:
        """Float64 inner products of user rows and item positions."""
        scores = np.empty(len(row))
        for start in range(0, len(row), _MAX_CANDIDATES):
            part = slice(start, start + _MAX_CANDIDATES)
            users = self._users[row[part]].astype(np.float64)
            items = self._factors[position[part]].astype(np.float64)
            scores[part] = np.einsum("ij,ij->i", users, items)
        return scores

    def _kth_held(self, best: _Candidates, n_users: int) -> Float64Array:
        """The k-th best score of each user in ``_cut``'s output, -inf where there are fewer."""
        counts = np.bincount(best.row, minlength=n_users)
        kth = np.full(n_users, -np.inf)
        full = counts == self.k
        kth[full] = best.score[np.cumsum(counts)[full] - 1]
        return kth


class _SeenByBlock:
    """Seen entries of a block of users, grouped by the block of items they fall in."""

    def __init__(self, row: Int64Array, position: Int64Array, n_blocks: int) -> None:
        block, column = np.divmod(position, ITEMS_PER_BLOCK)
        # Stable sorting of 16-bit keys is a radix sort: linear.
        order = np.argsort(block.astype(np.uint16 if n_blocks < 2**16 else np.int64), kind="stable")
        self._row, self._column = row[order], column[order]
        self._ends = np.cumsum(np.bincount(block, minlength=n_blocks))

    def entries(self, block: int) -> tuple[Int64Array, Int64Array]:
        """User rows and columns within ``block`` of its seen items."""
        part = slice(self._ends[block - 1] if block else 0, self._ends[block])
        return self._row[part], self._column[part]


def _kth_largest(row: Int64Array, score: FloatArray, n_rows: int, k: int) -> Float64Array:
    """The k-th largest score of each row of a ragged table, -inf where a row has fewer."""
    counts = np.bincount(row, minlength=n_rows)
    width = max(int(counts.max(initial=0)), k)
    order = np.argsort(row.astype(np.uint16), kind="stable")
    starts = np.cumsum(counts) - counts
    table = np.full((n_rows, width), -np.inf, dtype=score.dtype)
    sorted_row = row[order]
    table[sorted_row, np.arange(len(row)) - starts[sorted_row]] = score[order]
    return np.partition(table, width - k, axis=1)[:, width - k].astype(np.float64)
